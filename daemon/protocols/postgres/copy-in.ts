/**
 * The COPY … FROM STDIN of a session: while it may take data, what a message means hangs on how far it is. The server
 * ignores a Sync amid the data, and answers it where the copy has failed by then, which only the server knows.
 */
import { type Answer, type Answers, answer } from './answers.ts';

export class CopyIn {
  /** The one that went last. */
  #copy: Answer | null = null;
  /** Syncs that were kept back, since nothing of the client's has gone: it may wait for their answers. */
  #syncsKept = 0;
  /** CopyFail was sent for what came behind that Sync. */
  #givenUp = false;

  /** An act goes upstream that asks for data. */
  goes(copy: Answer): void {
    this.#copy = copy;
  }

  /** The server has yet to say whether it takes the data or fails; until then nobody knows what it ignores. */
  get expected(): boolean {
    return this.#copy !== null && this.#copy.copies > 0 && !this.#copy.copyIn;
  }

  get running(): boolean {
    return this.#copy?.copyIn === true;
  }

  /** The server takes data for the answer in front. False: it was not asked to. */
  begins(first: Answer | undefined): boolean {
    if (first === undefined || first.copies === 0 || first.copyIn) return false;
    first.copies--;
    first.copyIn = true;
    this.#syncsKept = 0;
    return true;
  }

  /** CopyData, or with `ends` CopyDone or CopyFail, goes upstream. */
  data(ends: boolean): void {
    this.#syncsKept = 0;
    if (ends && this.#copy !== null) this.#copy.copyIn = false;
  }

  /** A Sync came while data is copied in: the server would ignore it, unless it has failed by now. */
  keepSync(): void {
    this.#syncsKept++;
  }

  /**
   * Something else than data came. Behind a Sync it may be meant for after a failure that is still on its way: told that
   * the copy has failed, the server answers with an error of its own, or with the one on its way.
   */
  giveUp(): 'no' | 'now' | 'before' {
    if (this.#syncsKept === 0) return 'no';
    if (this.#givenUp) return 'before';
    this.#givenUp = true;
    return 'now';
  }

  /** The server failed it. How many Syncs are to go now; their answers are owed already. */
  fails(first: Answer, answers: Answers): number {
    this.#givenUp = false;
    const waiting = first.copyIn ? this.#syncsKept : 0;
    first.copies = 0;
    first.copyIn = false;
    if (waiting > 0) this.#syncsKept = 0;
    for (let i = 0; i < waiting; i++) answers.push(answer('sync'));
    return waiting;
  }
}
