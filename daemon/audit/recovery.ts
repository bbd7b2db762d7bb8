/** What a store finds when it is opened: where its chain ends, and what the journal still holds of it. */
import { SluiceError } from '../core/errors.ts';
import { decode, digest, GENESIS } from './canonical.ts';
import { type Pruned, readHead } from './checkpoint.ts';
import { readJournal } from './journal.ts';
import { blockEnd, type Entry, pack, RECORD_HEADER, RUN_BYTES, type Stretch } from './run.ts';
import type { Table } from './table.ts';
import { BLOCK, BlockTerms, type FreshTerm } from './terms.ts';

const PUT_BYTES = 2_097_152;

export interface End {
  readonly seq: number;
  readonly hash: string;
  /** Of the last event, milliseconds since the epoch. */
  readonly time: number;
}

/**
 * Puts what the journal holds into LMDB and says where the chain ends.
 * @throws SluiceError AUDIT_BROKEN when the chain ends before its signed head.
 */
export async function recover(dir: string, table: Table): Promise<End> {
  let end = endOf(table);
  const entries = readJournal(dir, end);
  for (let at = 0; at < entries.length; ) {
    const stretches: Stretch[] = [];
    const fresh: FreshTerm[] = [];
    for (let bytes = 0; at < entries.length && bytes < PUT_BYTES; ) {
      const part = leading(entries, at);
      const terms = new BlockTerms(Math.floor(part[0]!.seq / BLOCK));
      const from = end.time;
      for (const { seq, bytes } of part) {
        const event = decode(bytes);
        terms.add(event, (key) => fresh.push({ key, seq }));
        end = { seq, hash: event.hash, time: event.time };
      }
      const chunk = pack(part);
      stretches.push({ first: part[0]!.seq, last: end.seq, chunk, start: 0, end: chunk.length, from, to: end.time });
      bytes += chunk.length;
      at += part.length;
    }
    await table.put(stretches, fresh, null);
  }
  const head = readHead(dir);
  if (head !== null && head.seq > end.seq) {
    throw new SluiceError(
      'AUDIT_BROKEN',
      `the audit chain in ${dir} ends at event ${end.seq}, but event ${head.seq} was signed as its head: events are missing. Move the directory aside as evidence to start a new chain`,
    );
  }
  return end;
}

function endOf(table: Table): End {
  const range = table.range();
  const bytes = range === null ? undefined : table.get(range.last);
  if (range !== null && bytes !== undefined) {
    return { seq: range.last, hash: digest(bytes), time: decode(bytes).time };
  }
  const pruned = table.state<Pruned>('pruned');
  return { seq: pruned?.seq ?? 0, hash: pruned?.hash ?? GENESIS, time: 0 };
}

/** The entries from `at` on that make one stretch: one or more, of one block. */
function leading(entries: readonly Entry[], at: number): Entry[] {
  const bound = blockEnd(entries[at]!.seq);
  let end = at;
  for (let bytes = 0; end < entries.length && entries[end]!.seq < bound; end++) {
    bytes += RECORD_HEADER + entries[end]!.bytes.length;
    if (bytes > RUN_BYTES && end > at) break;
  }
  return entries.slice(at, end);
}
