/** SET, RESET, SHOW, and set_config() as the same thing. */
import type { Run } from './analyze-run.ts';
import { pathOf, settingEffect } from './effects-settings.ts';
import { type Field, LOOSE } from './scope.ts';
import { type Body, type Node, optionText } from './scope-tree.ts';

/** Notes what setting `name` does. `value`: null: its default; undefined: not known. */
export function setParameter(run: Run, name: string, value: string | null | undefined, local: boolean): void {
  const { effects, forbidden, opaque } = settingEffect(name, value);
  run.reachAll(effects);
  run.forbidden ??= forbidden;
  run.opaque ??= opaque;
  if (ROLES.has(name.toLowerCase())) become(run, value);
  if (name.toLowerCase() !== 'search_path') return;
  const path = value === null ? 'default' : value === undefined ? null : pathOf(value, run.catalog.user);
  run.changes.push({ kind: 'search-path', path: path ?? 'unknown', local });
}

const ROLES = new Set(['role', 'session_authorization']);

/** "$user" of search_path is another schema, or none, for another role. */
function become(run: Run, role: string | null | undefined): void {
  const { schemas, user } = run.catalog;
  const same = role !== undefined && (role === null || !schemas.has(role)) && !schemas.has(user);
  if (!same) run.changes.push({ kind: 'search-path', path: 'unknown', local: false });
}

export function setStatement(run: Run, body: Body): void {
  const name = String(body.name ?? '');
  const local = body.is_local === true;
  const args = (body.args ?? []) as Node[];
  switch (body.kind) {
    case 'VAR_RESET_ALL':
      run.changes.push({ kind: 'search-path', path: 'default', local: false });
      return;
    case 'VAR_RESET':
    case 'VAR_SET_DEFAULT':
      setParameter(run, name, null, local);
      return;
    case 'VAR_SET_MULTI':
      setTransaction(run, name, args);
      return;
    case 'VAR_SET_VALUE': {
      if (name.toLowerCase() !== 'search_path') {
        setParameter(run, name, valueText(args), local);
        return;
      }
      const path = args.map(optionText);
      const known = path.every((part) => part !== undefined);
      run.changes.push({
        kind: 'search-path',
        path: known
          ? path.map((part) => (part === '$user' ? run.catalog.user : part)).filter((part) => part !== '')
          : 'unknown',
        local,
      });
      return;
    }
    case 'VAR_SET_CURRENT':
      // Only within CREATE FUNCTION and ALTER … SET.
      setParameter(run, name, undefined, local);
      return;
  }
  run.unknown(`unknown form of SET ${String(body.kind)}`);
}

function valueText(args: readonly Node[]): string | undefined {
  const parts = args.map(optionText);
  return parts.includes(undefined) ? undefined : parts.join(', ');
}

/** SET TRANSACTION, SET SESSION CHARACTERISTICS, and the options of BEGIN. */
export function transactionOptions(run: Run, options: readonly Node[] | undefined): void {
  for (const option of options ?? []) {
    const { defname, arg } = (option.DefElem ?? {}) as Body;
    if (defname !== 'transaction_read_only') continue;
    setParameter(run, 'transaction_read_only', optionText(arg), true);
  }
}

function setTransaction(run: Run, name: string, args: readonly Node[]): void {
  if (name === 'TRANSACTION SNAPSHOT') run.reach('session');
  transactionOptions(run, args);
}

export function showStatement(run: Run, body: Body): readonly Field[] {
  run.reach('read');
  const name = String(body.name ?? '');
  if (name.toLowerCase() === 'all')
    return ['name', 'setting', 'description'].map((column) => ({ name: column, value: LOOSE }));
  return [{ name, value: LOOSE }];
}
