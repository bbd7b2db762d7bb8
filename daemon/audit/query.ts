/** Reading events by what they say. Runs beside the daemon's own work: a block of events, then the event loop has its turn. */
import { setImmediate as turn } from 'node:timers/promises';
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { digest } from './canonical.ts';
import type { Log } from './log.ts';
import { Group, type Matches, Pattern } from './match.ts';
import { blockEnd } from './run.ts';
import { BLOCK, INDEXED_NAMES } from './terms.ts';

/** JSON values only: it travels over the control socket. Absent members don't restrict. */
export interface QueryParams {
  readonly matches?: Matches;
  /** Milliseconds since the epoch, inclusive. */
  readonly since?: number;
  readonly until?: number;
  /** Pattern of match.ts, looked for in text, reason and message. */
  readonly grep?: string;
  /** Only the newest so many. */
  readonly lines?: number;
  /** Newest first. */
  readonly reverse?: boolean;
  /** Goes on with new events until the consumer stops. */
  readonly follow?: boolean;
  /** Only events after this sequence number. */
  readonly after?: number;
}

/** Where a command reads from: the daemon, or a directory. */
export interface AuditSource {
  query(params: QueryParams): AsyncIterable<Event>;
}

/**
 * The events that match, oldest first unless `reverse`.
 * @throws SluiceError AUDIT_QUERY
 */
export async function* query(log: Log, params: QueryParams, signal?: AbortSignal): AsyncGenerator<Event> {
  const filter = new Filter(params);
  if (params.follow === true && params.reverse === true) {
    throw new SluiceError('AUDIT_QUERY', '--follow and --reverse exclude each other');
  }
  const edge = log.range()?.last ?? 0;
  if (params.lines === undefined) yield* scan(log, filter, params.after ?? 0, edge, params.reverse ?? false);
  else {
    // Newest first finds them soonest; only their numbers are kept, so that a large count costs little memory.
    const found: number[] = [];
    if (params.lines > 0) {
      for await (const event of scan(log, filter, params.after ?? 0, edge, true)) {
        if (params.reverse) yield event;
        if (found.push(event.seq) >= params.lines) break;
      }
    }
    if (!params.reverse) yield* pick(log, found.reverse());
  }
  if (params.follow === true) yield* follow(log, filter, edge, signal);
}

/** Events by number, oldest first: block by block, so that neighbours are read together. */
async function* pick(log: Log, seqs: readonly number[]): AsyncGenerator<Event> {
  for (let at = 0; at < seqs.length; ) {
    const [first, end] = [seqs[at]!, blockEnd(seqs[at]!)];
    const wanted = new Set<number>();
    for (; at < seqs.length && seqs[at]! < end; at++) wanted.add(seqs[at]!);
    const found: Event[] = [];
    for (const { seq, bytes } of log.read(first, seqs[at - 1]! + 1)) if (wanted.has(seq)) found.push(parse(bytes));
    yield* found;
    await turn();
  }
}

async function* follow(log: Log, filter: Filter, from: number, signal?: AbortSignal): AsyncGenerator<Event> {
  let edge = from;
  let wake: (() => void) | null = null;
  const poke = (): void => {
    wake?.();
    wake = null;
  };
  const unsubscribe = log.subscribe(poke);
  signal?.addEventListener('abort', poke);
  try {
    while (signal?.aborted !== true) {
      const last = log.range()?.last ?? 0;
      if (last > edge) {
        yield* scan(log, filter, edge, last, false);
        edge = last;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unsubscribe();
    signal?.removeEventListener('abort', poke);
  }
}

class Filter {
  readonly groups: readonly Group[];
  readonly since: number;
  readonly until: number;
  readonly #pattern: Pattern | null;

  constructor(params: QueryParams) {
    this.groups = (params.matches ?? []).map((group) => new Group(group));
    this.since = params.since ?? Number.NEGATIVE_INFINITY;
    this.until = params.until ?? Number.POSITIVE_INFINITY;
    this.#pattern = params.grep === undefined ? null : new Pattern(params.grep);
    if (this.since > this.until) throw new SluiceError('AUDIT_QUERY', 'since is later than until');
  }

  possible(bytes: Buffer): boolean {
    return this.groups.length === 0 || this.groups.some((group) => group.possible(bytes));
  }

  matches(event: Event): boolean {
    if (event.time < this.since || event.time > this.until) return false;
    if (this.groups.length > 0 && !this.groups.some((group) => group.matches(event))) return false;
    const pattern = this.#pattern;
    return pattern === null || pattern.found(event.text) || pattern.found(event.reason) || pattern.found(event.message);
  }

  /** Blocks to read; null: all. */
  blocks(log: Log): Set<number> | null {
    if (this.groups.length === 0) return null;
    const union = new Set<number>();
    for (const group of this.groups) {
      const sets = group.fields
        .filter(({ name }) => INDEXED_NAMES.has(name))
        .map(({ name, values, prefix }) => log.blocksOf(name, values, prefix));
      const [first, ...others] = sets;
      if (first === undefined) return null;
      for (const block of first) if (others.every((blocks) => blocks.has(block))) union.add(block);
    }
    return union;
  }
}

/** Events with after < seq <= upTo that match. */
async function* scan(log: Log, filter: Filter, after: number, upTo: number, reverse: boolean): AsyncGenerator<Event> {
  const range = log.range();
  if (range === null) return;
  const first = Math.max(range.first, after + 1);
  const last = Math.min(range.last, upTo);
  const wanted = filter.blocks(log);
  const [low, high] = [Math.floor(first / BLOCK), Math.floor(last / BLOCK)];
  for (let i = 0; i <= high - low; i++) {
    const block = reverse ? high - i : low + i;
    if (wanted !== null && !wanted.has(block)) continue;
    const span = log.span(block);
    if (span !== null && (span.to < filter.since || span.from > filter.until)) continue;
    const found: Event[] = [];
    for (const { bytes } of log.read(
      Math.max(first, block * BLOCK),
      Math.min(last + 1, (block + 1) * BLOCK),
      reverse,
    )) {
      if (!filter.possible(bytes)) continue;
      const event = parse(bytes);
      if (filter.matches(event)) found.push(event);
    }
    yield* found;
    await turn();
  }
}

/** An event whose bytes are not one is shown as such instead of ending the query: finding it is what the auditor is after. */
export function parse(bytes: Buffer): Event {
  const hash = digest(bytes);
  try {
    const event = JSON.parse(bytes.toString('utf8')) as Event;
    if (typeof event === 'object' && event !== null && typeof event.seq === 'number') return { ...event, hash };
  } catch {
    // Falls through to the stand-in.
  }
  return {
    schema: 0,
    seq: 0,
    time: 0,
    type: 'fault',
    message: 'a stored event is not readable, see sluice verify',
    prev: '',
    hash,
  };
}
