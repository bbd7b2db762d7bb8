/**
 * Proof that the chain is whole: every event is hashed again, joined to the one before it, and held against what was signed.
 * What it can't prove without a copy elsewhere stands in README.md.
 */
import type { KeyObject } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { digest, GENESIS, links } from './canonical.ts';
import { holds, keyName, type Mark } from './checkpoint.ts';
import type { Log } from './log.ts';
import type { Entry } from './run.ts';
import { BLOCK } from './terms.ts';

export type ProblemKind = 'changed' | 'removed' | 'moved' | 'truncated' | 'rewritten' | 'signature';

export interface Problem {
  readonly kind: ProblemKind;
  /** Sequence number of the event meant, or of the first of several. */
  readonly seq: number;
  /** One sentence that names the event. */
  readonly message: string;
  /** What is still known of the event. */
  readonly time?: number;
  readonly session?: string;
  readonly verb?: string;
}

export interface Verification {
  readonly ok: boolean;
  readonly events: number;
  /** 0 and 0: no events. */
  readonly first: number;
  readonly last: number;
  readonly firstTime: number;
  readonly lastTime: number;
  readonly checkpoints: number;
  /** Newest event that a signature vouches for; 0: none. */
  readonly signedUpTo: number;
  /** Last event that retention removed; 0: none. */
  readonly prunedUpTo: number;
  readonly key: string;
  /** At most PROBLEMS of them. */
  readonly problems: readonly Problem[];
}

export const PROBLEMS = 20;

export async function verifyChain(log: Log, key: KeyObject): Promise<Verification> {
  const problems: Problem[] = [];
  const report = (problem: Problem): void => {
    if (problems.length < PROBLEMS) problems.push(problem);
  };
  // Signed statements first: whatever is signed later is about later events.
  const trusted = (mark: Mark | null, kind: Mark['kind']): Mark | null => {
    if (mark === null) return null;
    if (mark.kind === kind && mark.chain === log.chain && holds(mark, key)) return mark;
    report({
      kind: 'signature',
      seq: mark.seq,
      message: `the ${kind} of event ${mark.seq} does not bear this host's signature for this chain`,
    });
    return null;
  };
  const head = trusted(log.head(), 'head');
  const pruned = trusted(log.pruned(), 'pruned');
  const marks = new Map<number, Mark>();
  for (const mark of log.marks()) if (trusted(mark, 'checkpoint') !== null) marks.set(mark.seq, mark);
  if (head === null && log.head() === null && marks.size > 0) {
    report({
      kind: 'truncated',
      seq: Math.max(...marks.keys()),
      message: 'the head file is missing, so the end of the chain is not known',
    });
  }
  if (head !== null) marks.set(head.seq, head);

  const range = log.range();
  const walk = new Walk(pruned?.seq ?? 0, pruned?.hash ?? GENESIS, report);
  let signedUpTo = pruned?.seq ?? 0;
  for (
    let from = range?.first ?? 1;
    range !== null && from <= range.last;
    from = (Math.floor(from / BLOCK) + 1) * BLOCK
  ) {
    const to = Math.min(range.last + 1, (Math.floor(from / BLOCK) + 1) * BLOCK);
    for (const entry of log.read(from, to)) {
      const hash = walk.step(entry);
      const mark = marks.get(entry.seq);
      if (mark === undefined) continue;
      if (mark.hash === hash) signedUpTo = entry.seq;
      else walk.contradicted(entry, mark);
      marks.delete(entry.seq);
    }
    walk.keep();
    await turn();
  }
  const last = walk.finish();
  for (const mark of [...marks.values()].sort((a, b) => a.seq - b.seq)) {
    if (mark.seq > last) {
      report({
        kind: 'truncated',
        seq: last + 1,
        message: `the chain ends at event ${last}, but event ${mark.seq} was signed on ${new Date(mark.time).toISOString()}: events ${last + 1} to ${mark.seq} are missing`,
      });
      break;
    }
  }
  return {
    ok: problems.length === 0,
    events: walk.count,
    first: range?.first ?? 0,
    last,
    firstTime: walk.firstTime,
    lastTime: walk.lastTime,
    checkpoints: [...log.marks()].length,
    signedUpTo,
    prunedUpTo: pruned?.seq ?? 0,
    key: keyName(key),
    problems,
  };
}

/** Walks along the chain. A broken link has two ends; the event after says which of them was touched. */
class Walk {
  count = 0;
  firstTime = 0;
  lastTime = 0;
  #seq: number;
  #hash: string;
  #before: Entry | null = null;
  /** The link between these two does not hold, and nothing has said yet whose fault it is. */
  #broken: { before: Entry | null; at: Entry } | null = null;
  readonly #report: (problem: Problem) => void;

  constructor(seq: number, hash: string, report: (problem: Problem) => void) {
    this.#seq = seq;
    this.#hash = hash;
    this.#report = report;
  }

  /** Returns the hash of the entry. */
  step(entry: Entry): string {
    const hash = digest(entry.bytes);
    const link = links(entry.bytes);
    this.count++;
    const time = link?.time ?? 0;
    if (this.firstTime === 0) this.firstTime = time;
    this.lastTime = time;
    if (entry.seq <= this.#seq) {
      this.#blame(true);
      this.#report({
        kind: 'moved',
        seq: entry.seq,
        message: `${name(entry)} stands in a place of event ${entry.seq} that comes after event ${this.#seq}`,
        ...known(entry.bytes),
      });
    } else if (entry.seq !== this.#seq + 1) {
      this.#blame(true);
      const to = entry.seq - 1;
      const what = to === this.#seq + 1 ? `event ${to} was removed` : `events ${this.#seq + 1} to ${to} were removed`;
      this.#report({
        kind: 'removed',
        seq: this.#seq + 1,
        message: `${what}: ${this.#before === null ? 'the chain begins with' : `${name(this.#before)} is followed by`} ${name(entry)}`,
      });
    } else if (link === null) {
      this.#blame(true);
      this.#report({
        kind: 'changed',
        seq: entry.seq,
        message: `event ${entry.seq} was changed: it is no longer an event`,
        ...known(entry.bytes),
      });
    } else if (link.seq !== entry.seq) {
      this.#blame(true);
      this.#report({
        kind: 'moved',
        seq: entry.seq,
        message: `the events were reordered: in the place of event ${entry.seq} stands ${name(entry)}`,
        ...known(entry.bytes),
      });
    } else if (link.prev !== this.#hash && this.#intact) {
      if (this.#broken !== null) this.#blame(false);
      else this.#broken = { before: this.#before, at: entry };
    } else if (this.#broken !== null) this.#blame(true);
    // After a place whose content is not what belongs there, the next link says nothing new.
    this.#intact = link !== null && link.seq === entry.seq;
    this.#before = entry;
    this.#seq = entry.seq;
    this.#hash = hash;
    return hash;
  }

  #intact = true;

  /** To be called before the event loop goes on: the memory of events that were not in a block yet is used again then. */
  keep(): void {
    const copy = (entry: Entry) => ({ seq: entry.seq, bytes: Buffer.from(entry.bytes) });
    if (this.#before !== null) this.#before = copy(this.#before);
    if (this.#broken !== null) {
      const { before, at } = this.#broken;
      this.#broken = { before: before === null ? null : copy(before), at: copy(at) };
    }
  }

  /** The next event vouches for the later end of the broken link, or does not. */
  #blame(laterIsGood: boolean): void {
    const broken = this.#broken;
    if (broken === null) return;
    this.#broken = null;
    const guilty = laterIsGood && broken.before !== null ? broken.before : broken.at;
    this.#report({ kind: 'changed', seq: guilty.seq, message: `${name(guilty)} was changed`, ...known(guilty.bytes) });
  }

  /** A signed hash differs. If a change was found already, that is why; else the chain was calculated anew. */
  contradicted(entry: Entry, mark: Mark): void {
    if (this.#broken !== null) {
      this.#blame(false);
      return;
    }
    this.#report({
      kind: 'rewritten',
      seq: entry.seq,
      message: `${name(entry)} is not what was signed on ${new Date(mark.time).toISOString()}: it, or the chain before it, was written anew`,
      ...known(entry.bytes),
    });
  }

  /** Returns the last sequence number. */
  finish(): number {
    this.#blame(true);
    return this.#seq;
  }
}

function known(bytes: Buffer): { time?: number; session?: string; verb?: string } {
  try {
    const { time, session, verb } = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
    return {
      ...(typeof time === 'number' && { time }),
      ...(typeof session === 'string' && { session }),
      ...(typeof verb === 'string' && { verb }),
    };
  } catch {
    return {};
  }
}

function name(entry: Entry): string {
  const { time, session, verb } = known(entry.bytes);
  const seq = links(entry.bytes)?.seq ?? entry.seq;
  const parts = [
    time === undefined ? null : new Date(time).toISOString(),
    session === undefined ? null : `session ${session.slice(0, 8)}`,
    verb ?? null,
  ];
  const told = parts.filter((part) => part !== null).join(', ');
  return told === '' ? `event ${seq}` : `event ${seq} (${told})`;
}
