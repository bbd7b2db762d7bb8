/** What the policy commands print: like a compiler, one place a line with its source below. */
import type { Decision } from '../core/decision.ts';
import type { Obligations } from '../core/mask.ts';
import type { CaseResult, Classified } from './cases.ts';
import type { Diagnostic } from './diagnostic.ts';
import type { EntriesExplained, Explanation } from './explain.ts';
import type { Checkup } from './load.ts';
import type { Change, Replay } from './replay.ts';
import { plain } from './text.ts';

export type Paint = (style: 'red' | 'yellow' | 'green' | 'bold' | 'dim', text: string) => string;

const CODES = { red: 31, yellow: 33, green: 32, bold: 1, dim: 2 };

/** Colour on a terminal only. */
export const painter = (colour: boolean): Paint =>
  colour ? (style, text) => `\x1b[${CODES[style]}m${text}\x1b[0m` : (_style, text) => text;

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** Longest part of a source line that is shown. */
const MAX_SHOWN = 140;

export function diagnosticReport(d: Diagnostic, text: string | undefined, paint: Paint): string {
  const where = d.line === 0 ? d.file : `${d.file}:${d.line}:${d.column}`;
  const kind = d.severity === 'error' ? paint('red', 'error') : paint('yellow', 'warning');
  const lines = [`${paint('bold', where)}: ${kind}: ${d.path === '' ? '' : `${d.path}: `}${plain(d.message, 1000)}`];
  const source = d.line === 0 ? undefined : text?.split('\n')[d.line - 1];
  if (source !== undefined && source.length <= MAX_SHOWN) {
    const number = String(d.line).padStart(5);
    lines.push(`${paint('dim', `${number} |`)} ${plainLine(source)}`);
    lines.push(
      `${paint('dim', '      |')} ${' '.repeat(d.column - 1)}${paint(d.severity === 'error' ? 'red' : 'yellow', '^')}${d.suggestion === undefined ? '' : ` ${d.suggestion}`}`,
    );
  } else if (d.suggestion !== undefined) lines.push(`      ${d.suggestion}`);
  return lines.join('\n');
}

/** Keeps columns as they are: a tab or a control character becomes one blank. */
const plainLine = (text: string): string => text.replace(/\p{Cc}/gu, ' ');

export function checkReport({ policy, diagnostics, files }: Checkup, paint: Paint): string {
  const texts = new Map(files.map(({ file, text }) => [file, text]));
  const parts = diagnostics.map((d) => diagnosticReport(d, texts.get(d.file), paint));
  const errors = diagnostics.filter((d) => d.severity === 'error').length;
  const warnings = diagnostics.length - errors;
  const found = [
    ...(errors > 0 ? [count(errors, 'error')] : []),
    ...(warnings > 0 ? [count(warnings, 'warning')] : []),
  ].join(' and ');
  if (policy === null) parts.push(`${paint('red', found)} in ${count(files.length, 'file')}`);
  else
    parts.push(
      `${paint('green', 'valid')}: ${count(policy.resources.size, 'resource')}, ${count(policy.ruleCount, 'rule')}, ${count(policy.maskCount, 'mask')} in ${count(files.length, 'file')}, version ${policy.version}${found === '' ? '' : `; ${paint('yellow', found)}`}`,
    );
  return `${parts.join('\n')}\n`;
}

export function casesReport(results: readonly CaseResult[], paint: Paint): string {
  const lines = results.map((result) =>
    result.fault === null
      ? `${paint('green', 'ok')}    ${plain(result.name)}`
      : `${paint('red', 'FAIL')}  ${plain(result.name)}\n      ${paint('dim', `${result.file}:${result.line}:`)} ${plain(result.fault)}`,
  );
  const failed = results.filter((result) => result.fault !== null).length;
  lines.push(
    failed === 0
      ? `${paint('green', `all ${count(results.length, 'case')} as expected`)}`
      : paint('red', `${failed} of ${count(results.length, 'case')} not as expected`),
  );
  return `${lines.join('\n')}\n`;
}

const OUTCOME_STYLE = { allow: 'green', deny: 'red', approve: 'yellow' } as const;

function decisionLines(decision: Decision, paint: Paint): string[] {
  const outcome = paint(OUTCOME_STYLE[decision.outcome], decision.outcome);
  const observed =
    decision.observed === undefined ? '' : ` (observed: ${paint(OUTCOME_STYLE[decision.observed], decision.observed)})`;
  const lines = [`${outcome}${observed}: ${decision.reason}`];
  if (decision.outcome !== 'allow' && decision.hint !== undefined) lines.push(`  hint: ${decision.hint}`);
  if (decision.approval !== undefined) {
    const { reviewers, quorum, within, hold, remember, match } = decision.approval;
    lines.push(
      `  approval: ${quorum} of ${reviewers.length === 0 ? 'anyone but the requester' : reviewers.join(', ')}; held ${hold / 1000} s, lives ${within / 1000} s, for ${match === 'exact' ? 'this very text' : 'texts that differ in constants'}, ${remember === 'once' ? 'once' : 'for the session'}`,
    );
  }
  return lines;
}

/** What becomes of an act that no rule denies, beside the decision. Empty: nothing, or that is not known. */
function handlingLines(act: Classified, obligations: Obligations, paint: Paint): string[] {
  const refused = act.refused?.(obligations) ?? null;
  if (refused !== null) return [`${paint('red', 'refused all the same')}: ${plain(refused, 300)}`];
  const masked = act.masked?.(obligations) ?? [];
  return masked.length === 0 ? [] : [`${paint('yellow', 'masked')}: ${plain(masked.join(', '), 300)}`];
}

export function explainReport(
  { decision, notes }: Explanation,
  act: Classified,
  obligations: Obligations,
  what: string,
  paint: Paint,
): string {
  const lines = [paint('bold', plain(what, 200)), ...decisionLines(decision, paint)];
  if (decision.outcome !== 'deny') lines.push(...handlingLines(act, obligations, paint));
  lines.push('');
  const width = Math.min(44, Math.max(0, ...notes.map(({ rule }) => rule.name.length)));
  for (const { rule, matches, why, decides } of notes) {
    const mark = decides ? paint('bold', '*') : ' ';
    const kind = rule.kind.padEnd(7);
    const result =
      matches.length > 0
        ? `${paint(OUTCOME_STYLE[rule.kind], 'matches')} ${plain(matches.join(', '), 160)}`
        : paint('dim', `no: ${plain(why, 200)}`);
    lines.push(`${mark} ${kind} ${rule.name.padEnd(width)}  ${result}${rule.observe ? ' (observe)' : ''}`);
    lines.push(`${' '.repeat(10)}${paint('dim', rule.place)}`);
  }
  if (notes.length === 0) lines.push('  there is no rule');
  return `${lines.join('\n')}\n`;
}

/** Of a name or a socket. */
export function entriesReport({ decision, further, notes }: EntriesExplained, what: string, paint: Paint): string {
  const lines = [paint('bold', plain(what, 300)), ...decisionLines(decision, paint)];
  lines.push(...further.map((text) => `  ${plain(text, 300)}`), '');
  const width = Math.min(44, Math.max(0, ...notes.map(({ name }) => name.length)));
  for (const { name, place, why, decides } of notes) {
    const result = why === null ? paint('green', 'lets it') : paint('dim', `no: ${plain(why, 200)}`);
    lines.push(`${decides ? paint('bold', '*') : ' '} ${name.padEnd(width)}  ${result}`);
    lines.push(`    ${paint('dim', place)}`);
  }
  if (notes.length === 0) lines.push('  nothing in the policy names it');
  return `${lines.join('\n')}\n`;
}

const ruleName = (rule: string | null): string => (rule === null ? 'no rule' : `"${plain(rule, 100)}"`);

function changeLines(change: Change, paint: Paint): string[] {
  const arrow = `${paint(OUTCOME_STYLE[change.from], change.from)} -> ${paint(OUTCOME_STYLE[change.to], change.to)}`;
  return [
    `${String(change.count).padStart(7)}  ${arrow}  ${plain(change.subject, 60)} on ${plain(change.resource, 60)}: ${ruleName(change.fromRule)} -> ${ruleName(change.toRule)}`,
    `         ${paint('dim', `${change.verb === '' ? '' : `${plain(change.verb, 40)}: `}${plain(change.text, 110)}`)}`,
    `         ${plain(change.reason, 200)}`,
  ];
}

export function replayReport(result: Replay, paint: Paint): string {
  const lines = result.changes.flatMap((change) => changeLines(change, paint));
  const changed = result.changes.reduce((sum, change) => sum + change.count, 0);
  lines.push(
    `${count(result.operations, 'operation')}: ${changed === 0 ? paint('green', 'none would change') : paint('yellow', `${changed} would change`)}, ${result.unchanged} as before`,
  );
  if (result.uncertain > 0)
    lines.push(`${count(result.uncertain, 'operation')} decided on cut text, which a condition may look at`);
  for (const [why, n] of result.skipped) lines.push(`${count(n, 'operation')} not decided: ${why}`);
  return `${lines.join('\n')}\n`;
}
