/**
 * The journal of systemd, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram for each entry. Nothing
 * waits for it, and what it does not take is for the caller to send again.
 */
import koffi from 'koffi';

/** Names and values; a name may occur again. Names are ours: letters, digits and underscores. */
export type Entry = readonly (readonly [name: string, value: string])[];

export interface Journal {
  /** How many were taken, from the first. Fewer than there are: it has no room, or there is none. */
  send(entries: readonly Entry[]): number;
  close(): void;
}

const SOCKET = '/run/systemd/journal/socket';
/** errno(3): it has no room for more now. Everything else is answered by another socket. */
const EAGAIN = 11;
const LF = 10;

export function openJournal(library: string, path = SOCKET): Journal {
  const lib = koffi.load(library);
  const open: (path: string) => number = lib.func('int sluice_journal_open(str)');
  const send: (fd: number, bytes: Uint8Array, size: number, ends: Uint32Array, count: number) => number = lib.func(
    'int sluice_journal_send(int, const uint8_t *, uint32_t, const uint32_t *, uint32_t)',
  );
  const closeFd: (fd: number) => number = koffi.load('libc.so.6').func('int close(int)');
  let fd = -1;
  const close = () => {
    if (fd >= 0) closeFd(fd);
    fd = -1;
  };
  const out = new Encoder();
  return {
    send(entries) {
      if (fd < 0) fd = open(path);
      if (fd < 0) return 0;
      const ends = out.encode(entries);
      const sent = send(fd, out.bytes, out.bytes.length, ends, ends.length);
      if (sent < 0 && sent !== -EAGAIN) close();
      return Math.max(sent, 0);
    },
    close,
  };
}

/** One after the other in one buffer, which is kept. */
export class Encoder {
  bytes = Buffer.allocUnsafe(65_536);
  #at = 0;

  /** Where each entry ends in `bytes`. */
  encode(entries: readonly Entry[]): Uint32Array {
    this.#at = 0;
    const ends = new Uint32Array(entries.length);
    for (const [i, entry] of entries.entries()) {
      for (const [name, value] of entry) this.#field(name, value);
      ends[i] = this.#at;
    }
    return ends;
  }

  /**
   * `NAME=value LF`, or where the value has a line feed of its own, which would begin another field of the writer's choice:
   * `NAME LF`, its length as 64 bits (little-endian), the value, `LF`.
   */
  #field(name: string, value: string): void {
    this.#room(name.length + 3 * value.length + 10);
    const { bytes } = this;
    let at = this.#at + bytes.write(name, this.#at, 'latin1');
    if (value.includes('\n')) {
      bytes[at++] = LF;
      const length = bytes.write(value, at + 8);
      bytes.writeBigUInt64LE(BigInt(length), at);
      at += 8 + length;
    } else {
      bytes[at++] = 0x3d;
      at += bytes.write(value, at);
    }
    bytes[at++] = LF;
    this.#at = at;
  }

  #room(size: number): void {
    if (this.bytes.length - this.#at >= size) return;
    const larger = Buffer.allocUnsafe(2 * (this.#at + size));
    this.bytes.copy(larger, 0, 0, this.#at);
    this.bytes = larger;
  }
}
