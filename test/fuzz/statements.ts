/** Stands in for the analysis of SQL: says of the small language what the real one says of SQL, in the same words. */
import { SluiceError } from '../../daemon/core/errors.ts';
import type { Obligations } from '../../daemon/core/mask.ts';
import type { Operation } from '../../daemon/core/operation.ts';
import type { Statements } from '../../daemon/protocols/postgres/classify.ts';
import type { MaskTools } from '../../daemon/protocols/postgres/mask-tools.ts';
import type { Analysis, Catalog, Names, Origin, SessionChange } from '../../daemon/protocols/postgres/sql/model.ts';
import { errorField, message } from '../../daemon/protocols/postgres/wire.ts';
import { MASKED, type Statement, statementsOf } from './language.ts';

const MASK = { name: 'secrets', columns: ['*.secret'], with: 'redact', conditions: 'allow' } as const;
export const OBLIGATIONS: Obligations = { masks: [MASK], detect: [], detectWith: 'redact' };

const CATALOG: Catalog = {
  version: 1,
  server: 150000,
  user: 'fuzz',
  database: 'fuzz',
  searchPath: ['b'],
  schemas: new Set(['a', 'b']),
  relation: () => undefined,
  relationByOid: () => undefined,
  relationsNamed: () => [],
  functionsNamed: () => [],
  functionByOid: () => undefined,
  operatorFunctions: () => [],
  columnsOfDomain: () => [],
  typeCode: () => ({ functions: [], checks: [] }),
  typeCodeOf: () => ({ functions: [], checks: [] }),
  unnamed: [],
  relationOfType: () => undefined,
};

const PLAIN: Origin = { columns: [], plain: true };
const SECRET: Origin = { columns: [], plain: true, untraced: 'secret' };

/** `later`: whether this answer comes as a promise. */
export function statements(later: () => boolean): Statements {
  return {
    catalog: () => (later() ? Promise.resolve(CATALOG) : CATALOG),
    recheck: () => Promise.resolve(CATALOG),
    analyze(text, names) {
      const made = analyzeAll(text, names);
      return later() ? Promise.resolve(made) : made;
    },
    analyzeCall: (oid) => analysis('FunctionCall', oid === 1 ? 'forbidden' : 'plain', {}),
    protect(analysed) {
      const outputs = analysed.outputs?.map((origin) => (origin === SECRET ? { mask: MASK, plain: true } : null));
      const withheld = analysed.outputs === null || analysed.outputs.includes(SECRET);
      return { outputs: outputs ?? 'all', withholdErrors: withheld, masks: [MASK.name] };
    },
    maskOf: () => null,
    changed: () => {},
  };
}

/** Whether policy refuses it. */
export function forbidden(operation: Operation): boolean {
  return operation.unclassified === 'forbidden';
}

type Kind = 'plain' | 'secret' | 'forbidden' | 'silent' | 'unknown';

function analysis(verb: string, kind: Kind, set: Partial<Analysis>): Analysis {
  const operation: Operation = {
    protocol: 'postgres',
    verb,
    text: verb,
    fingerprint: '0',
    accesses: [{ effect: 'read' }],
    functions: [],
    ...(kind === 'forbidden' ? { unclassified: 'forbidden' } : {}),
  };
  const outputs = kind === 'plain' ? [PLAIN] : kind === 'secret' ? [SECRET] : kind === 'unknown' ? null : [];
  const none = { uses: [], relations: [], defines: [], columns: [], renamedSchemas: [], changes: [] };
  return { ...none, operation, outputs, ...set };
}

/** @throws SluiceError STATEMENT_UNPARSABLE */
function analyzeAll(text: string, start: Names): readonly Analysis[] {
  let names = start;
  return statementsOf(text).map((statement) => {
    const made = analyzeOne(statement, names);
    for (const change of made.changes) names = after(names, start, change);
    return made;
  });
}

function analyzeOne({ verb, name, inner }: Statement, names: Names): Analysis {
  const reachesB = names.paths.some((path) => path[0] === 'b');
  const changes = (...made: readonly SessionChange[]) => analysis(verb, 'silent', { changes: made });
  const path = name === 'b' ? ['b'] : ['a'];
  switch (verb) {
    case 'SECRET':
    case 'LEAKFAIL':
      return analysis(verb, 'secret', {});
    case 'FORBID':
      return analysis(verb, 'forbidden', {});
    case 'READ':
      return analysis(verb, reachesB ? 'secret' : 'plain', {});
    case 'TOUCH':
      return analysis(verb, reachesB ? 'forbidden' : 'plain', {});
    case 'SET':
      return changes({ kind: 'search-path', path, local: false });
    case 'LOCAL':
      return analysis('SET', 'silent', { changes: [{ kind: 'search-path', path, local: true }] });
    case 'MAYBE':
      return changes({ kind: 'search-path', path, local: false });
    case 'BEGIN':
      return changes({ kind: 'begin' });
    case 'COMMIT':
      return changes({ kind: 'commit' });
    case 'ROLLBACK':
      return changes({ kind: 'rollback' });
    case 'DISCARD':
      return changes({ kind: 'discard' }, { kind: 'search-path', path: 'default', local: false });
    case 'PREPARE': {
      if (inner === null) throw new SluiceError('STATEMENT_UNPARSABLE', 'PREPARE of nothing');
      const made = analyzeOne(inner, names);
      const text = `${inner.verb} ${inner.name}`;
      const whole = `PREPARE ${name} AS ${text}`;
      const kept = { kind: 'prepare', name, text, whole, analyses: [made] } as const;
      return made.operation.unclassified ? { ...made, changes: [kept] } : changes(kept);
    }
    case 'execute': {
      const runs = { kind: 'prepared', name } as const;
      const known = names.prepared.get(name);
      // A name that is not known may mean anything.
      if (known === undefined || known.length === 0) return analysis(verb, 'forbidden', { runs });
      const { copyIn: _, ...made } = known[0]!;
      return { ...made, runs, changes: [] };
    }
    case 'DEALLOCATE':
      return changes({ kind: 'deallocate', name });
    case 'DECLARE': {
      if (inner === null) throw new SluiceError('STATEMENT_UNPARSABLE', 'DECLARE of nothing');
      const made = analyzeOne(inner, names);
      return analysis(verb, made.operation.unclassified ? 'forbidden' : 'silent', {
        outputs: [],
        changes: [{ kind: 'declare', name, outputs: made.outputs }],
      });
    }
    case 'fetch': {
      const known = names.cursors.get(name);
      const outputs = known?.flatMap((each) => each ?? [SECRET]);
      const kind = outputs === undefined ? 'unknown' : outputs.includes(SECRET) ? 'secret' : 'plain';
      return analysis(verb, kind, { runs: { kind: 'cursor', name } });
    }
    case 'CLOSE':
      return changes({ kind: 'close', name });
    case 'COPYIN':
      return analysis(verb, 'silent', { copyIn: true });
    case 'COPYOUT':
    case 'COPYSECRET':
      return analysis(verb, verb === 'COPYOUT' ? 'plain' : 'secret', {
        copyOut: { format: 'text', delimiter: '\t', null: '\\N', quote: '"', escape: '"', header: false },
      });
    default:
      return analysis(verb, 'plain', {});
  }
}

function after(names: Names, start: Names, change: SessionChange): Names {
  switch (change.kind) {
    case 'search-path': {
      const path = Array.isArray(change.path) ? change.path : CATALOG.searchPath;
      // What was prepared under another path is not followed within one text.
      const prepared = new Map([...names.prepared.keys()].map((name) => [name, []]));
      return { ...names, prepared, paths: [...names.paths, path] };
    }
    case 'commit':
    case 'rollback':
    case 'discard':
      return { ...names, paths: [...start.paths, ...names.paths, CATALOG.searchPath] };
    case 'prepare':
      return { ...names, prepared: new Map(names.prepared).set(change.name, change.analyses) };
    case 'declare': {
      const cursors = new Map(names.cursors);
      return { ...names, cursors: cursors.set(change.name, [...(cursors.get(change.name) ?? []), change.outputs]) };
    }
    default:
      return names;
  }
}

const NO_MEMORY = { keep() {}, reclaim() {} };

/** Masks whole rows and whole copies; the real ones have a fuzzer of their own beside them. */
export const TOOLS: MaskTools = {
  rows(outputs) {
    if (outputs !== 'all' && outputs.every((output) => output === null)) return null;
    const field = Buffer.from(MASKED);
    const size = Buffer.alloc(6);
    size.writeUInt16BE(1);
    size.writeInt32BE(field.length, 2);
    return {
      mask(bytes, start, end) {
        const rows: Buffer[] = [];
        for (let at = start; at < end; at += bytes.readUInt32BE(at + 1) + 1) rows.push(message(0x44, size, field));
        return Buffer.concat(rows);
      },
      memory: NO_MEMORY,
    };
  },
  copy(outputs) {
    if (outputs !== 'all' && outputs.every((output) => output === null)) return null;
    return { messages: () => message(0x64, `${MASKED}\n`), memory: NO_MEMORY, end: () => Buffer.alloc(0) };
  },
  withhold: (body) => Buffer.from(`SERROR\0VERROR\0C${errorField(body, 'C') ?? 'XX000'}\0M${MASKED}\0\0`),
  scanReport: (body) => body,
  scanText: (text) => text,
  column: () => null,
};
