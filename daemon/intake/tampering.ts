/** What the helper saw done to the kernel side, made part of the record. */
import type { Recorder } from '../core/event.ts';
import type { Helper } from './helper.ts';

/**
 * Records the incidents that are new since the last call. A daemon that starts anew records once more what the helper still
 * knows: twice is better than never.
 */
export class Tampering {
  #after = 0;
  readonly #helper: Pick<Helper, 'incidents'>;
  readonly #recorder: Recorder;

  constructor(helper: Pick<Helper, 'incidents'>, recorder: Recorder) {
    this.#helper = helper;
    this.#recorder = recorder;
  }

  /** @throws SluiceError when the helper does not answer or the event can't be kept; it is tried again with the next call. */
  async look(): Promise<void> {
    for (const { at, text } of await this.#helper.incidents(this.#after)) {
      const reason = `${text} (noticed ${new Date(at).toISOString()})`;
      await this.#recorder.record({ type: 'fault', error: 'TAMPERED', reason }).committed();
      this.#after = at;
    }
  }
}
