import koffi from 'koffi';
import { SluiceError } from '../core/errors.ts';
import type { SendMany } from './outbox.ts';

/** Of libsluice: native/lib/libsluice.h. */
export interface Sending {
  readonly many: SendMany;
  /** To be called once for a connection: to a peer on this host it is hardly paced. What fails there costs time, and nothing else. Returns 1 for one within the host. */
  unpace(fd: number): number;
}

/** @throws SluiceError KERNEL_UNSUPPORTED when the library can't be loaded. */
export function openSending(path: string): Sending {
  let send: (bytes: Uint8Array, size: number, jobs: Int32Array, count: number) => number;
  let unpace: (fd: number) => number;
  try {
    const library = koffi.load(path);
    send = library.func('int sluice_send_many(const uint8_t *, uint32_t, int32_t *, uint32_t)');
    unpace = library.func('int sluice_unpace(int)');
  } catch (cause) {
    throw new SluiceError('KERNEL_UNSUPPORTED', `cannot load ${path}`, { hint: 'build it: make -C native', cause });
  }
  return {
    many(bytes, jobs, count) {
      const status = send(bytes, bytes.length, jobs, count);
      if (status !== 0) throw new SluiceError('INTERNAL', `sending for ${count} sockets failed: errno ${-status}`);
    },
    unpace,
  };
}
