/** A turn's events into the journal: chained and written by one call of libsluice. Contract: native/lib/libsluice.h. */
import { constants } from 'node:os';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { SluiceError } from '../core/errors.ts';

/**
 * Chains the records `start` to `end` of the chunk behind the event of hash `before`, and writes them to `position` of the
 * file as one frame. `after`: filled with the hash of the last. Hashes are 32 bytes.
 * @throws the system's error, with `after` as it was; SluiceError INTERNAL for what are no records
 */
export type Append = (
  fd: number,
  position: number,
  chunk: Buffer,
  start: number,
  end: number,
  before: Buffer,
  after: Buffer,
) => void;

const { EBADMSG, EDQUOT, ENOSYS } = constants.errno;

/** @throws SluiceError CONFIG_INVALID when the library can't be loaded. */
export function openAppend(library: string): Append {
  let append: (...words: Parameters<Append>) => number;
  try {
    const bytes = 'uint8_t *, uint32_t, uint32_t, const uint8_t *, uint8_t *';
    append = koffi.load(library).func(`int sluice_journal_append(int, int64_t, ${bytes})`);
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `could not load ${library}`, { cause, hint: 'run make -C native' });
  }
  return (fd, position, chunk, start, end, before, after) => {
    const status = append(fd, position, chunk, start, end, before, after);
    if (status === 0) return;
    if (status === -EBADMSG || status === -ENOSYS)
      throw new SluiceError('INTERNAL', `the audit journal refuses a turn's records: errno ${-status}`);
    // Node has no name for this one.
    const code = status === -EDQUOT ? 'EDQUOT' : getSystemErrorName(status);
    throw Object.assign(new Error(`${code}: ${getSystemErrorMessage(status)}, write`), { code, errno: status });
  };
}
