/**
 * Terms: what an event can be found by without reading every event. The store keeps, for each block of BLOCK consecutive
 * events, which terms occur in it; a query reads only the blocks that hold what it asks for.
 */
import type { EventFields, EventInput } from '../core/event.ts';

/** Events per block: the smaller, the less a query reads in vain; the larger, the fewer index entries an event costs. */
export const BLOCK = 1024;

/** Names in a query. Only values of these are indexed; every other field is matched by reading. */
const NAMES = ['TYPE', 'ERROR', 'SESSION', 'FLOW', 'SUBJECT', 'RESOURCE', 'DECISION', 'RULE', 'APPROVAL'] as const;

export const INDEXED_NAMES: ReadonlySet<string> = new Set(NAMES);

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

/**
 * Collects the terms of one block, each only once. Events are looked at when recorded, so that they need not be kept; their
 * fields are named one by one because this is done for every event.
 */
export class BlockTerms {
  readonly block: number;
  readonly #seen: readonly Set<string>[] = NAMES.map(() => new Set());
  /** Shared parts whose terms are collected. */
  readonly #parts = new WeakSet<object>();

  constructor(block: number) {
    this.block = block;
  }

  /** Calls `fresh` for each term of the event that this block did not have yet. */
  add(event: EventInput, fresh: (key: string) => void): void {
    this.#see(0, event.type, fresh);
    if (event.error !== undefined) this.#see(1, event.error, fresh);
    const { about, act } = event;
    if (about === undefined) this.#addAbout(event, fresh);
    else if (!this.#parts.has(about)) {
      this.#parts.add(about);
      this.#addAbout(about, fresh);
    }
    if (act === undefined) this.#addAct(event, fresh);
    else if (!this.#parts.has(act)) {
      this.#parts.add(act);
      this.#addAct(act, fresh);
    }
  }

  #addAbout(fields: EventFields, fresh: (key: string) => void): void {
    this.#see(2, fields.session, fresh);
    this.#see(3, fields.flow, fresh);
    this.#see(4, fields.subject, fresh);
    this.#see(5, fields.resource, fresh);
  }

  #addAct(fields: EventFields, fresh: (key: string) => void): void {
    this.#see(6, fields.decision, fresh);
    this.#see(7, fields.rule, fresh);
    this.#see(8, fields.approval, fresh);
  }

  /** @param name index in NAMES */
  #see(name: number, value: string | null | undefined, fresh: (key: string) => void): void {
    if (value === undefined || value === null) return;
    const seen = this.#seen[name]!;
    if (seen.has(value)) return;
    seen.add(value);
    fresh(term(NAMES[name]!, value));
  }
}
