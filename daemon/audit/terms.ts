/**
 * Terms: what an event can be found by without reading every event. The store keeps, for each block of BLOCK consecutive
 * events, which terms occur in it; a query reads only the blocks that hold what it asks for.
 */
import type { EventFields, EventInput } from '../core/event.ts';

/** Events per block: the smaller, the less a query reads in vain; the larger, the fewer index entries an event costs. */
export const BLOCK = 1024;

/** Field name in a query, and the event's field. Only values of these are indexed; every other field is matched by reading. */
const INDEXED: readonly (readonly [string, 'type' | keyof EventFields])[] = [
  ['TYPE', 'type'],
  ['SESSION', 'session'],
  ['FLOW', 'flow'],
  ['SUBJECT', 'subject'],
  ['RESOURCE', 'resource'],
  ['DECISION', 'decision'],
  ['RULE', 'rule'],
  ['APPROVAL', 'approval'],
  ['ERROR', 'error'],
];

export const INDEXED_NAMES: ReadonlySet<string> = new Set(INDEXED.map(([name]) => name));

const VALUE_CHARS = 200;

/** Key of a term in the index. Long values share a key with others of the same beginning: the events themselves decide. */
export function term(name: string, value: string): string {
  return `${name}=${value.slice(0, VALUE_CHARS).toWellFormed().replaceAll('\0', '\ufffd')}`;
}

/** Collects the terms of one block, each only once. */
export class BlockTerms {
  readonly block: number;
  readonly #seen: Map<string, Set<string>> = new Map(INDEXED.map(([name]) => [name, new Set()]));

  constructor(block: number) {
    this.block = block;
  }

  /** Calls `fresh` for each term of the event that this block did not have yet. */
  add(event: EventInput, fresh: (key: string) => void): void {
    for (const [name, field] of INDEXED) {
      const value = (field === 'type' ? event.type : (event[field] ?? event.about?.[field] ?? event.act?.[field])) as
        | string
        | undefined;
      if (value === undefined || value === null) continue;
      const seen = this.#seen.get(name)!;
      if (seen.has(value)) continue;
      seen.add(value);
      fresh(term(name, value));
    }
  }
}
