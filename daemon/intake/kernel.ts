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

/** `struct sluice_unix_name`, in the same way. */
export const UNIX_NAME_LAYOUT = {
  sluice_unix_name: [0, 120],
  session: [0, 8],
  length: [8, 4],
  name: [12, 108],
} as const satisfies Record<string, readonly [offset: number, size: number]>;

/** `struct sluice_refused`, in the same way. */
export const REFUSED_LAYOUT = {
  sluice_refused: [0, 488],
  'key.name': [0, 120],
  'key.kind': [120, 2],
  'key.turn': [122, 1],
  'key.further': [123, 1],
  'key.detail': [124, 12],
  'refusal.count': [136, 8],
  'refusal.first': [144, 344],
} as const satisfies Record<string, readonly [offset: number, size: number]>;

const L = ORIGIN_LAYOUT;
const U = UNIX_NAME_LAYOUT;
const R = REFUSED_LAYOUT;
/** `enum sluice_refusal_kind`, from 1. */
const REFUSAL_KINDS = [
  'unix',
  'connections',
  'datagrams',
  'session',
  'connect',
  'sendto',
  'socket',
  'option',
  'device',
  'bind',
  'packet',
  'hook',
  'syscall',
] as const;
/** Those that were to go somewhere; a packet that can't be read was, too, but that is not known. */
const PLACED: ReadonlySet<string> = new Set([
  'connections',
  'datagrams',
  'session',
  'connect',
  'sendto',
  'bind',
  'packet',
]);
/**
 * Refusals taken by one call, which copies so much memory: the first of each look, as it mostly finds nothing, and further ones,
 * each of which walks the map from its beginning.
 */
const REFUSALS_AT_FIRST = 16;
const REFUSALS_AT_ONCE = 512;
/** More than the map has room for: a walk that others change may begin again. */
const MAX_UNIX_NAMES = 65_536;
/** errno(3): the map is full. */
const E2BIG = 7;
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

/** A UNIX socket of the host that one session may speak to: `/path`, or `@name` for an abstract one. */
export interface UnixName {
  readonly cgroupId: bigint;
  readonly name: string;
}

/** What the kernel refused to one session in about a second. */
export interface KernelRefusal {
  /**
   * unix: the socket of `name`. connections, datagrams: more than a session may have. session: connections and datagrams of a
   * session that there is no room to count for. The others: `enum sluice_refusal_kind` of native/sluice.h.
   */
  readonly kind: (typeof REFUSAL_KINDS)[number];
  /** Others of the kind, beyond those that are counted apart: neither name nor detail say what. */
  readonly further: boolean;
  /** What was refused, more closely, as `enum sluice_refusal_kind` says for each kind; 0 where it says nothing. */
  readonly detail: readonly [number, number, number];
  /** Of kind unix: as UnixName has it; '' for a socket that has none. Of others ''. */
  readonly name: string;
  readonly count: number;
  /** Who it was the first time, and where to; no address: ''. pid 0: a packet, of which no process is known. */
  readonly first: KernelOrigin;
}

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
  /** Tells the maps of this helper from others, in which the listeners would not be known. @throws SluiceError INTERNAL */
  mapsId(): number;
  /**
   * Turns agents' connections and datagrams to this port of 127.0.0.1 and ::1, where this process must listen from within
   * the daemon's cgroup. 0 refuses them.
   * @throws SluiceError INTERNAL
   */
  setListener(port: number): void;
  /**
   * Lets a session speak to a UNIX socket of the host, or no more; connections that there are go on.
   * @throws SluiceError INTERNAL when the map is full, or does not take the name
   */
  allowUnix(name: UnixName, allow: boolean): void;
  /** What is allowed to single sessions. @throws SluiceError INTERNAL */
  unixNames(): UnixName[];
  /** What was refused until about a second ago and was not taken before. @throws SluiceError INTERNAL */
  refusals(): KernelRefusal[];
  /** How many more there were, for which there was no room. @throws SluiceError INTERNAL */
  refusalsLost(): number;
  /** Process at the other end of an accepted UNIX socket, as it was when it connected; null when it can't be told. */
  peer(fd: number): Peer | null;
  /** Whether that process has ended, so that its number may be another's. Kernels before 6.5 can't tell: false. */
  peerIsGone(fd: number): boolean;
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
  const mapsId = lib.func('int64_t sluice_maps_id(void *)');
  const setListener = lib.func('int sluice_set_listener(void *, uint)');
  const unixAllow = lib.func('int sluice_unix_allow(void *, const uint8 *, int)');
  const unixNext = lib.func('int sluice_unix_next(void *, const uint8 *, _Out_ uint8 *)');
  const refusalsOf = lib.func('int sluice_refusals(void *, _Out_ uint8 *, uint)');
  const lostOf = lib.func('int sluice_refusals_lost(void *, _Out_ uint8 *)');
  const peerOf = lib.func('int sluice_peer(int, _Out_ uint8 *)');
  const peerIsGone = lib.func('int sluice_peer_is_gone(int)');

  const reason = Buffer.alloc(ERROR_BYTES);
  let handle: unknown = open(pinDir, reason, reason.length);
  if (!handle)
    throw new SluiceError('KERNEL_UNSUPPORTED', cString(reason), { hint: 'start sluice-helper on this run directory' });
  // One buffer for every lookup: it is decoded before the next call.
  const record = Buffer.alloc(L.sluice_origin[1]);
  const credentials = Buffer.alloc(PEER_BYTES);
  const few = Buffer.alloc(REFUSALS_AT_FIRST * R.sluice_refused[1]);
  const many = Buffer.alloc(REFUSALS_AT_ONCE * R.sluice_refused[1]);
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
    mapsId() {
      const id = Number(mapsId(opened()));
      return id > 0 ? id : raise(`cannot inspect the maps: errno ${-id}`);
    },
    setListener(port) {
      const status: number = setListener(opened(), port);
      if (status < 0) raise(`cannot set the listener to port ${port}: errno ${-status}`);
    },
    allowUnix(name, allow) {
      const status: number = unixAllow(opened(), encodeUnixName(name), allow ? 1 : 0);
      if (status === -E2BIG)
        raise(
          `the kernel has no room for another UNIX socket of a session: ${name.name} of cgroup ${name.cgroupId} stays closed`,
        );
      if (status < 0)
        raise(
          `cannot ${allow ? 'allow' : 'close'} the UNIX socket ${name.name} of cgroup ${name.cgroupId}: errno ${-status}`,
        );
    },
    unixNames() {
      const names: UnixName[] = [];
      let after: Buffer | null = null;
      for (let n = 0; n < MAX_UNIX_NAMES; n++) {
        const next = Buffer.alloc(U.sluice_unix_name[1]);
        const found: number = unixNext(opened(), after, next);
        if (found < 0) raise(`cannot list the UNIX sockets that are allowed: errno ${-found}`);
        if (found === 0) break;
        const name = decodeUnixName(next);
        if (name.cgroupId !== 0n) names.push(name);
        after = next;
      }
      return names;
    },
    refusals() {
      const all: KernelRefusal[] = [];
      for (let bytes = few; ; bytes = many) {
        const size = R.sluice_refused[1];
        const count: number = refusalsOf(opened(), bytes, bytes.length / size);
        if (count < 0) raise(`cannot take what the kernel refused: errno ${-count}`);
        for (let i = 0; i < count; i++) all.push(decodeRefusal(bytes.subarray(i * size, (i + 1) * size)));
        if (count < bytes.length / size) return all;
      }
    },
    refusalsLost() {
      const bytes = Buffer.alloc(8);
      const status: number = lostOf(opened(), bytes);
      if (status < 0) raise(`cannot read how many refusals the kernel could not count: errno ${-status}`);
      return Number(bytes.readBigUInt64LE());
    },
    peer(fd) {
      if (peerOf(fd, credentials) < 0) return null;
      return { pid: credentials.readUInt32LE(0), uid: credentials.readUInt32LE(4), gid: credentials.readUInt32LE(8) };
    },
    peerIsGone: (fd) => peerIsGone(fd) !== 0,
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
export function decodeOrigin(bytes: Buffer, unknownExe: (pid: number) => string = exeOfPid): KernelOrigin {
  const pid = bytes.readUInt32LE(L.pid[0]);
  return {
    pid,
    uid: bytes.readUInt32LE(L.uid[0]),
    cgroupId: bytes.readBigUInt64LE(L.cgroup_id[0]),
    comm: cString(bytes.subarray(L.comm[0], L.comm[0] + L.comm[1])),
    exe: exeOf(bytes) || unknownExe(pid),
    address: addressText(bytes, L.address[0]),
    port: bytes.readUInt16LE(L.port[0]),
  };
}

/** @throws SluiceError INTERNAL for a name of more bytes than an address has. */
export function encodeUnixName({ cgroupId, name }: UnixName): Buffer {
  const bytes = Buffer.alloc(U.sluice_unix_name[1]);
  const text = Buffer.from(name.replace(/^@/, '\0'));
  if (text.length > U.name[1]) raise(`the name of a UNIX socket is too long: ${name}`);
  bytes.writeBigUInt64LE(cgroupId, U.session[0]);
  bytes.writeUInt32LE(text.length, U.length[0]);
  text.copy(bytes, U.name[0]);
  return bytes;
}

export function decodeUnixName(bytes: Buffer): UnixName {
  const length = Math.min(bytes.readUInt32LE(U.length[0]), U.name[1]);
  return {
    cgroupId: bytes.readBigUInt64LE(U.session[0]),
    name: bytes.toString('utf8', U.name[0], U.name[0] + length).replace(/^\0/, '@'),
  };
}

export function decodeRefusal(bytes: Buffer): KernelRefusal {
  const [at, size] = R['refusal.first'];
  const [detail] = R['key.detail'];
  const kind =
    REFUSAL_KINDS[bytes.readUInt16LE(R['key.kind'][0]) - 1] ?? raise('the kernel refused for a reason unknown here');
  // By now the number may be another process's, so /proc is not asked.
  const first = decodeOrigin(bytes.subarray(at, at + size), () => '');
  const noAddress = !PLACED.has(kind) || (kind === 'packet' && first.port === 0 && first.address === '::');
  return {
    kind,
    further: bytes.readUInt8(R['key.further'][0]) !== 0,
    detail: [bytes.readUInt32LE(detail), bytes.readUInt32LE(detail + 4), bytes.readUInt32LE(detail + 8)],
    name: kind === 'unix' ? decodeUnixName(bytes.subarray(R['key.name'][0])).name : '',
    count: Number(bytes.readBigUInt64LE(R['refusal.count'][0])),
    first: { ...first, ...(noAddress && { address: '' }), cgroupId: bytes.readBigUInt64LE(R['key.name'][0]) },
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
