/** What a statement changes of what names mean in its session, as session.ts keeps it. */
import { type Change, isIndirect } from './session.ts';
import type { Analysis } from './sql/model.ts';

/** What sets a search_path for certain; set_config() may be called for no row, or for the transaction only. */
const SETS = new Set(['SET', 'RESET', 'DISCARD', 'DISCARD ALL']);

/** What runs procedural code at the top, where it may COMMIT and ROLLBACK. */
const CODE = new Set(['CALL', 'DO']);

const NONE: readonly never[] = [];

/** Parallel to the statements; most of them change nothing that a session means by names. */
export function changesIn(analyses: readonly Analysis[]): readonly (readonly Change[])[] {
  if (analyses.every(({ changes, operation }) => changes.length === 0 && !CODE.has(operation.verb))) return NONE;
  return analyses.map(changesOf);
}

function changesOf(analysis: Analysis): Change[] {
  const made: Change[] = [];
  // Their code may end the transaction that a search_path was set in.
  if (CODE.has(analysis.operation.verb)) made.push({ kind: 'rollback' });
  for (const change of analysis.changes) {
    switch (change.kind) {
      case 'search-path':
        made.push({
          kind: 'path',
          path: change.path,
          local: change.local,
          certain: SETS.has(analysis.operation.verb),
        });
        break;
      case 'prepare':
        made.push({
          kind: 'prepared',
          name: change.name,
          value: {
            text: change.text,
            types: [],
            whole: change.whole,
            analyses: change.analyses,
            catalog: -1,
            path: -1,
            indirect: isIndirect(change.text, change.analyses),
          },
        });
        break;
      case 'deallocate':
        made.push(
          change.name === null ? { kind: 'all-prepared-gone' } : { kind: 'prepared', name: change.name, value: null },
        );
        break;
      case 'declare':
        made.push({ kind: 'cursor', name: change.name, outputs: change.outputs });
        break;
      case 'close':
        made.push({ kind: 'cursor-gone', name: change.name });
        break;
      case 'notify':
        made.push({ kind: 'notify', payload: change.payload });
        break;
      case 'rollback':
      case 'rollback-to':
        made.push({ kind: 'rollback' });
        break;
      case 'commit':
      case 'discard':
      case 'catalog':
        made.push({ kind: change.kind });
        break;
      default:
        break;
    }
  }
  return made;
}
