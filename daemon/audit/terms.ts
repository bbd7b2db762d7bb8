/**
 * Terms: what an event can be found by without reading every event. The store keeps, for each block of BLOCK consecutive
 * events, which terms occur in it; a query reads only the blocks that hold what it asks for.
 */
import type { EventFields, EventInput } from '../core/event.ts';

/** Events per block: the smaller, the less a query reads in vain; the larger, the fewer index entries an event costs. */
export const BLOCK = 1024;

type Indexed = readonly (readonly [name: string, field: 'type' | keyof EventFields])[];

/** Field name in a query, and the event's field. Only values of these are indexed; every other field is matched by reading. */
const OWN: Indexed = [
  ['TYPE', 'type'],
  ['ERROR', 'error'],
];
/** Fields of `about`, when an event has that. */
const ABOUT: Indexed = [
  ['SESSION', 'session'],
  ['FLOW', 'flow'],
  ['SUBJECT', 'subject'],
  ['RESOURCE', 'resource'],
];
/** Fields of `act`. */
const ACT: Indexed = [
  ['DECISION', 'decision'],
  ['RULE', 'rule'],
  ['APPROVAL', 'approval'],
];
const INDEXED: Indexed = [...OWN, ...ABOUT, ...ACT];

export const INDEXED_NAMES: ReadonlySet<string> = new Set(INDEXED.map(([name]) => name));

const VALUE_CHARS = 200;

/** Key of a term in the index. Long values share a key with others of the same beginning: the events themselves decide. */
export function term(name: string, value: string): string {
  return `${name}=${value.slice(0, VALUE_CHARS).toWellFormed().replaceAll('\0', '\ufffd')}`;
}

/** A term that no event before `seq` in the same block had. */
export interface FreshTerm {
  readonly key: string;
  readonly seq: number;
}

/** Collects the terms of one block, each only once. Events are looked at when recorded, so that they need not be kept. */
export class BlockTerms {
  readonly block: number;
  readonly #seen: Map<string, Set<string>> = new Map(INDEXED.map(([name]) => [name, new Set()]));
  /** Shared parts whose terms are collected. */
  readonly #parts = new WeakSet<object>();

  constructor(block: number) {
    this.block = block;
  }

  /** Calls `fresh` for each term of the event that this block did not have yet. */
  add(event: EventInput, fresh: (key: string) => void): void {
    this.#collect(event, OWN, fresh);
    this.#part(event, event.about, ABOUT, fresh);
    this.#part(event, event.act, ACT, fresh);
  }

  #part(event: EventInput, part: EventFields | undefined, fields: Indexed, fresh: (key: string) => void): void {
    if (part === undefined) this.#collect(event, fields, fresh);
    else if (!this.#parts.has(part)) {
      this.#parts.add(part);
      this.#collect(part as EventInput, fields, fresh);
    }
  }

  #collect(event: EventInput, fields: Indexed, fresh: (key: string) => void): void {
    for (const [name, field] of fields) {
      const value = event[field] as string | undefined;
      if (value === undefined || value === null) continue;
      const seen = this.#seen.get(name)!;
      if (seen.has(value)) continue;
      seen.add(value);
      fresh(term(name, value));
    }
  }
}
