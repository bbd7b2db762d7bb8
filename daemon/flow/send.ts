import koffi from 'koffi';
import { SluiceError } from '../core/errors.ts';
import type { SendMany } from './outbox.ts';

/** @throws SluiceError KERNEL_UNSUPPORTED when the library can't be loaded. */
export function openSend(library: string): SendMany {
  let send: (bytes: Uint8Array, size: number, jobs: Int32Array, count: number) => number;
  try {
    send = koffi.load(library).func('int sluice_send_many(const uint8_t *, uint32_t, int32_t *, uint32_t)');
  } catch (cause) {
    throw new SluiceError('KERNEL_UNSUPPORTED', `cannot load ${library}`, { hint: 'build it: make -C native', cause });
  }
  return (bytes, jobs, count) => {
    const status = send(bytes, bytes.length, jobs, count);
    if (status !== 0) throw new SluiceError('INTERNAL', `sending for ${count} sockets failed: errno ${-status}`);
  };
}
