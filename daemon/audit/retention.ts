/** Deletes the oldest events, in whole blocks, and leaves a signed record of it. Only when told to. */
import { SluiceError } from '../core/errors.ts';
import type { Ages } from './age.ts';
import { digest } from './canonical.ts';
import type { Pruned } from './checkpoint.ts';
import type { Signer } from './signer.ts';
import type { Table } from './table.ts';
import { BLOCK } from './terms.ts';

export interface Limits {
  /** Absent: no limit of that kind. */
  readonly ageMs?: number;
  readonly bytes?: number;
}

/** Deleted in one step, which must be short. */
const PRUNE_BLOCKS = 8;
/** Between two times that are kept. */
const KEEP_MS = 60_000;

export class Retention {
  readonly #limits: Limits;
  readonly #table: Table;
  readonly #signer: Signer;
  readonly #ages: Ages;
  #agesKept = 0;
  #first: number;

  constructor(limits: Limits, table: Table, signer: Signer, ages: Ages) {
    this.#limits = limits;
    this.#table = table;
    this.#signer = signer;
    this.#ages = ages;
    this.#first = table.range()?.first ?? 1;
  }

  /** Number of the oldest event that is kept. */
  get first(): number {
    return this.#first;
  }

  /** How far it is behind a clock that jumped ahead, milliseconds. */
  get behindMs(): number {
    return this.#limits.ageMs === undefined ? 0 : this.#ages.behind;
  }

  /** As many steps as it takes to delete more than the `events` that came in. */
  async prune(events: number): Promise<void> {
    for (let steps = 1 + events / (PRUNE_BLOCKS * BLOCK); steps > 0 && (await this.#step()); ) steps--;
  }

  /** Deletes a few of the oldest blocks when that is due. False: it is not. */
  async #step(): Promise<boolean> {
    const { ageMs, bytes } = this.#limits;
    const range = this.#table.range();
    if (range === null || (ageMs === undefined && bytes === undefined)) return false;
    const firstBlock = Math.floor(range.first / BLOCK);
    // The block being written stays, so that a chain always has an end.
    const lastBlock = Math.floor(range.last / BLOCK) - 1;
    const now = ageMs === undefined ? 0 : await this.#age();
    const excess = bytes === undefined ? 0 : this.#table.bytesUsed - bytes;
    const bytesOfBlock = this.#table.bytesUsed / (lastBlock - firstBlock + 2);
    let block = firstBlock;
    while (block <= lastBlock && block < firstBlock + PRUNE_BLOCKS) {
      const tooOld = ageMs !== undefined && (this.#table.span(block)?.to ?? 0) < now - ageMs;
      const tooMuch = excess > (block - firstBlock) * bytesOfBlock;
      if (!tooOld && !tooMuch) break;
      block++;
    }
    if (block === firstBlock) return false;
    const upTo = block * BLOCK - 1;
    const end = this.#table.get(upTo);
    if (end === undefined) throw new SluiceError('AUDIT_BROKEN', `event ${upTo} is missing, nothing was deleted`);
    await this.#table.prune(range.first, upTo, this.#signer.sign('pruned', upTo, digest(end)) as Pruned);
    this.#first = upTo + 1;
    return true;
  }

  /** Kept, so that a daemon that is started again under a wrong clock is no faster at deleting. */
  async #age(): Promise<number> {
    const now = this.#ages.now();
    if (Math.abs(now - this.#agesKept) >= KEEP_MS) {
      await this.#table.setState('ages', now);
      this.#agesKept = now;
    }
    return now;
  }
}
