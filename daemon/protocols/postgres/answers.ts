/**
 * The answers that the server still owes, in order: each message that goes upstream and is answered has one entry here,
 * and what comes back is read against the first. Source: PostgreSQL documentation, "Message Flow" (protocol-flow.html).
 */

import type { PgPlan } from './classify.ts';
import type { Change, Portal } from './session.ts';

export type Step = 'query' | 'parse' | 'bind' | 'describe' | 'execute' | 'close' | 'sync' | 'call';

export interface Answer {
  readonly step: Step;
  /** The codec put it in by itself: its answer is not for the client. */
  readonly injected: boolean;
  /** Error that takes the place of the server's own: the act was refused. */
  readonly replacement: Buffer | null;
  /** Numbers of the recorded operations, one per statement. */
  readonly ops: readonly number[];
  readonly plan: PgPlan | null;
  readonly portal: Portal | null;
  /** Per statement: what holds once it is acknowledged. */
  readonly changes: readonly (readonly Change[])[];
  /** Statement of the batch that is being answered. */
  at: number;
  /** How many statements of it will still ask for data (COPY … FROM STDIN). */
  copies: number;
  /** CopyInResponse came and CopyDone or CopyFail has not gone yet. */
  copyIn: boolean;
}

const NONE: readonly never[] = [];

export function answer(step: Step, set: Partial<Answer> = {}): Answer {
  return {
    step,
    injected: set.injected ?? false,
    replacement: set.replacement ?? null,
    ops: set.ops ?? NONE,
    plan: set.plan ?? null,
    portal: set.portal ?? null,
    changes: set.changes ?? NONE,
    at: 0,
    copies: set.copies ?? 0,
    copyIn: false,
  };
}

/** A queue that does not move its elements at every shift. */
export class Answers {
  #items: Answer[] = [];
  #head = 0;

  get first(): Answer | undefined {
    return this.#items[this.#head];
  }

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: Answer): void {
    this.#items.push(item);
  }

  shift(): Answer | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#items.length) {
      // Setting its length to 0 gives the same memory back, by a call into the runtime.
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }
}
