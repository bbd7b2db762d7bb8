/**
 * What the kernel knows about a connection, through libsluice.so. Every call is a system call or two and blocks for
 * microseconds; no privilege is used, the owner of the pinned maps may do all of it.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import { SluiceError } from '../core/errors.ts';
import type { Origin } from '../core/principal.ts';
import { addressText } from './address.ts';

/** `struct sluice_origin` of native/sluice.h: field to [offset, size]. A test holds it against what the library says. */
export const ORIGIN_LAYOUT = {
  sluice_origin: [0, 344],
  address: [0, 16],
  cgroup_id: [16, 8],
  netns_cookie: [24, 8],
  socket_cookie: [32, 8],
  time: [40, 8],
  pid: [48, 4],
  uid: [52, 4],
  gid: [56, 4],
  isn: [60, 4],
  port: [64, 2],
  family: [66, 1],
  protocol: [67, 1],
  exe_len: [68, 2],
  comm: [72, 16],
  exe: [88, 256],
} as const satisfies Record<string, readonly [offset: number, size: number]>;

const L = ORIGIN_LAYOUT;
const ERROR_BYTES = 512;
const PEER_BYTES = 12;

/** Both architectures that sluice runs on are little-endian; the struct is in host order. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** What the kernel knows of an origin: all but its names. */
export type KernelOrigin = Omit<Origin, 'names'>;

export interface Kernel {
  /**
   * Whose connection the accepted socket is, or null when the kernel redirected no such connection: refuse it then.
   * @throws SluiceError INTERNAL when the lookup itself failed, which is no answer either.
   */
  origin(fd: number): KernelOrigin | null;
  /**
   * Whose datagram was read that came from this address and port, or null when the kernel turned no such datagram here:
   * drop it then. Answers once for each datagram.
   * @throws SluiceError INTERNAL when the lookup itself failed
   */
  datagram(address: string, port: number, bytes: Buffer): KernelOrigin | null;
  /**
   * Turns agents' connections and datagrams to this port of 127.0.0.1 and ::1, where this process must listen from within
   * the daemon's cgroup. 0 refuses them.
   * @throws SluiceError INTERNAL
   */
  setListener(port: number): void;
  /** Process at the other end of an accepted UNIX socket, as it was when it connected; null when it can't be told. */
  peer(fd: number): Peer | null;
  /** cgroup v2 path of a process as in /proc/PID/cgroup, or null when it is gone or unreadable. */
  cgroupOfPid(pid: number): string | null;
  close(): void;
}

export interface KernelOptions {
  /** Where sluice-helper pinned the maps: RUNDIR/bpf. */
  readonly pinDir: string;
  /** Path of libsluice.so. */
  readonly library: string;
}

/** @throws SluiceError KERNEL_UNSUPPORTED when the library or the pinned maps can't be opened. */
export function openKernel({ pinDir, library }: KernelOptions): Kernel {
  const lib = load(library);
  const open = lib.func('void *sluice_open(str, _Out_ uint8 *, size_t)');
  const close = lib.func('void sluice_close(void *)');
  const originOf = lib.func('int sluice_origin_of(void *, int, _Out_ uint8 *)');
  const datagramOf = lib.func('int sluice_datagram_of(void *, str, uint, const uint8 *, size_t, _Out_ uint8 *)');
  const setListener = lib.func('int sluice_set_listener(void *, uint)');
  const peerOf = lib.func('int sluice_peer(int, _Out_ uint8 *)');

  const reason = Buffer.alloc(ERROR_BYTES);
  let handle: unknown = open(pinDir, reason, reason.length);
  if (!handle)
    throw new SluiceError('KERNEL_UNSUPPORTED', cString(reason), { hint: 'start sluice-helper on this run directory' });
  // One buffer for every lookup: it is decoded before the next call.
  const record = Buffer.alloc(L.sluice_origin[1]);
  const credentials = Buffer.alloc(PEER_BYTES);
  const opened = () => handle ?? raise('the kernel maps are closed');

  return {
    origin(fd) {
      const found: number = originOf(opened(), fd, record);
      if (found < 0) raise(`cannot look up the origin of descriptor ${fd}: errno ${-found}`);
      return found === 0 ? null : decodeOrigin(record);
    },
    datagram(address, port, bytes) {
      const found: number = datagramOf(opened(), address.replace(/%.*$/, ''), port, bytes, bytes.length, record);
      if (found < 0) raise(`cannot look up the origin of a datagram from ${address} port ${port}: errno ${-found}`);
      return found === 0 ? null : decodeOrigin(record);
    },
    setListener(port) {
      const status: number = setListener(opened(), port);
      if (status < 0) raise(`cannot set the listener to port ${port}: errno ${-status}`);
    },
    peer(fd) {
      if (peerOf(fd, credentials) < 0) return null;
      return { pid: credentials.readUInt32LE(0), uid: credentials.readUInt32LE(4), gid: credentials.readUInt32LE(8) };
    },
    cgroupOfPid,
    close() {
      if (handle) close(handle);
      handle = null;
    },
  };
}

function load(library: string): LibraryHandle {
  try {
    return koffi.load(library);
  } catch (cause) {
    throw new SluiceError('KERNEL_UNSUPPORTED', `cannot load ${library}`, { hint: 'build it: make -C native', cause });
  }
}

function raise(message: string): never {
  throw new SluiceError('INTERNAL', message);
}

/** `bytes` is one `struct sluice_origin`. Its path of the executable is the kernel's; /proc is asked where it has none. */
export function decodeOrigin(bytes: Buffer): KernelOrigin {
  const pid = bytes.readUInt32LE(L.pid[0]);
  return {
    pid,
    uid: bytes.readUInt32LE(L.uid[0]),
    cgroupId: bytes.readBigUInt64LE(L.cgroup_id[0]),
    comm: cString(bytes.subarray(L.comm[0], L.comm[0] + L.comm[1])),
    exe: exeOf(bytes) || exeOfPid(pid),
    address: addressText(bytes, L.address[0]),
    port: bytes.readUInt16LE(L.port[0]),
  };
}

/** Components, last one first, each ended by NUL; an empty one ends a whole path. `…/` begins one that was cut. */
function exeOf(bytes: Buffer): string {
  const length = Math.min(bytes.readUInt16LE(L.exe_len[0]), L.exe[1]);
  if (length === 0) return '';
  const parts = bytes.toString('utf8', L.exe[0], L.exe[0] + length).split('\0');
  parts.pop();
  const whole = parts.at(-1) === '';
  if (!whole) parts.push('…');
  return parts.reverse().join('/');
}

function exeOfPid(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return ''; // gone, or another user's: '' is what Origin says then
  }
}

function cgroupOfPid(pid: number): string | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return null;
  }
  const line = text.split('\n').find((entry) => entry.startsWith('0::'));
  return line === undefined ? null : line.slice('0::'.length);
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}
