/** Ways out that are not packets: sockets of other families, UNIX sockets, descriptors, cgroups, devices, other processes. */
import type { Way } from './way.ts';

const UNIX = ['connect_unix', 'sendmsg_unix', 'lsm_unix_stream_connect', 'lsm_unix_may_send'];
const HANDED = ['lsm_socket_connect', 'lsm_socket_sendmsg', 'lsm_file_receive'];

/** A device node that everybody may open: not its mode has to hold. */
const node = (major: number, minor: number) => `
import stat, tempfile
there = tempfile.mkdtemp(); os.chmod(there, 0o755); os.environ['NODE'] = there + '/node'
os.mknod(there + '/node', 0o666 | stat.S_IFCHR, os.makedev(${major}, ${minor})); os.chmod(there + '/node', 0o666)`;

export const LOCAL: readonly Way[] = [
  {
    row: '9',
    name: 'AF_PACKET',
    hooks: ['lsm_socket_create'],
    launch: 'filter',
    code: `s = make(socket.AF_PACKET, RAW); s.bind(('out', 0)); s.send(b'\\xff' * 12 + b'\\x88\\xb5' + TOKEN.ljust(50))`,
  },
  {
    row: '10',
    name: 'AF_VSOCK',
    hooks: ['lsm_socket_create'],
    launch: 'filter',
    code: `make(socket.AF_VSOCK, STREAM); print('ESCAPED')`,
  },
  {
    row: '11',
    name: 'UNIX socket of the host, by path',
    hooks: UNIX,
    code: `s = socket.socket(socket.AF_UNIX); s.connect(DIRECTORY + '/stream'); s.send(TOKEN)`,
  },
  {
    row: '11',
    name: 'UNIX socket of the host, abstract',
    hooks: UNIX,
    code: `s = socket.socket(socket.AF_UNIX); s.connect('\\0' + DIRECTORY); s.send(TOKEN)`,
  },
  {
    row: '11',
    name: 'UNIX datagram to a service of the host, sendto',
    hooks: UNIX,
    code: `socket.socket(socket.AF_UNIX, DGRAM).sendto(TOKEN, DIRECTORY + '/datagram')`,
  },
  {
    row: '11',
    name: 'UNIX datagram to a service of the host, connected',
    hooks: UNIX,
    code: `s = socket.socket(socket.AF_UNIX, DGRAM); s.connect(DIRECTORY + '/datagram'); s.send(TOKEN)`,
  },
  {
    row: '11',
    name: 'UNIX socket of the host, in packets',
    hooks: UNIX,
    code: `s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(DIRECTORY + '/packets'); s.send(TOKEN)`,
  },
  {
    row: '12',
    name: 'another socket mounted over an allowed path',
    hooks: ['lsm_unix_stream_connect', 'lsm_sb_mount'],
    launch: 'privileges',
    helperOptions: (directory) => ['--unix', `${directory}/allowed`],
    code: `
if libc.unshare(0x20000) < 0: raise OSError(ctypes.get_errno(), 'unshare')
libc.mount(b'none', b'/', None, 0x44000, None)
if libc.mount((DIRECTORY + '/stream').encode(), (DIRECTORY + '/allowed').encode(), None, 0x1000, None) < 0: raise OSError(1, 'mount')
s = socket.socket(socket.AF_UNIX); s.connect(DIRECTORY + '/allowed'); s.send(TOKEN)`,
  },
  {
    row: '12',
    name: 'a path of its own that turns into a link to the socket of the host',
    hooks: UNIX,
    code: `
import tempfile, threading
d = tempfile.mkdtemp(); own = socket.socket(socket.AF_UNIX); own.bind(d + '/own'); own.listen(100); os.symlink(DIRECTORY + '/stream', d + '/link'); os.symlink(d + '/own', d + '/x')
stop = time.time() + 1
def flip():
    while time.time() < stop:
        for target in ('link', 'own'): os.symlink(d + '/' + target, d + '/new'); os.rename(d + '/new', d + '/x')
threading.Thread(target=flip).start()
while time.time() < stop:
    s = socket.socket(socket.AF_UNIX); s.settimeout(0.1)
    try: s.connect(d + '/x'); s.send(TOKEN)
    except OSError: pass
    s.close()`,
  },
  {
    row: '14',
    name: 'a socket made before the session',
    hooks: HANDED,
    launch: 'descriptors',
    prepare: `early = socket.socket(I, DGRAM); os.dup2(early.fileno(), 9, inheritable=True)`,
    code: `s = socket.socket(fileno=9); s.sendto(TOKEN, (FAR, PORT))`,
  },
  {
    row: '14',
    name: 'a socket that an accomplice hands over (SCM_RIGHTS)',
    hooks: [...UNIX, ...HANDED],
    code: `
u = socket.socket(socket.AF_UNIX); u.connect(DIRECTORY + '/accomplice'); _, (fd,), _, _ = socket.recv_fds(u, 1, 1)
socket.socket(fileno=fd).send(TOKEN); time.sleep(0.1)`,
  },
  {
    row: '14',
    name: 'a socket taken from another process (pidfd_getfd)',
    hooks: ['lsm_ptrace_access_check', ...HANDED],
    launch: 'filter',
    code: `
fd = syscall((438, 438), syscall((434, 434), OUTSIDE[0], 0), OUTSIDE[1], 0)
socket.socket(fileno=fd).send(TOKEN); time.sleep(0.1)`,
  },
  {
    row: '15',
    name: 'its pid written to another cgroup',
    hooks: ['lsm_inode_permission'],
    launch: 'privileges',
    code: `
open(CGROUP + '/cgroup.procs', 'w').write(str(os.getpid())); print('ESCAPED')`,
  },
  {
    row: '15',
    name: 'a child made in another cgroup (clone3)',
    hooks: ['lsm_inode_permission'],
    launch: 'filter',
    untold: 'C libraries try clone3 at each thread, and its flags are behind a pointer',
    code: `
fd = os.open(CGROUP, os.O_RDONLY)
a = ctypes.create_string_buffer(struct.pack('=11Q', 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, fd), 88)
if syscall((435, 435), a, 88) == 0: os._exit(0)
print('ESCAPED')`,
  },
  {
    row: '16',
    name: 'a user namespace, and a network of its own',
    hooks: ['lsm_userns_create'],
    launch: 'filter',
    code: `
if libc.unshare(0x50000000) < 0: raise OSError(ctypes.get_errno(), 'unshare')
print('ESCAPED')`,
  },
  {
    row: '20',
    name: 'TUN device',
    hooks: ['device'],
    prepare: node(10, 200),
    code: `
try: os.open(os.environ['NODE'], os.O_RDWR)
except OSError as e:
    if e.errno in (errno.ENODEV, errno.ENXIO): print('IMPOSSIBLE')
    raise
print('ESCAPED')`,
  },
  {
    row: '24',
    name: 'orders to a process outside, by a FIFO',
    hooks: [],
    launch: 'privileges',
    code: `open(DIRECTORY + '/orders', 'wb').write(TOKEN)`,
  },
  {
    row: '25',
    name: 'ptrace of a process outside',
    hooks: ['lsm_ptrace_access_check'],
    launch: 'filter',
    code: `
syscall((101, 117), 0x4206, OUTSIDE[2], 0, 0); print('ESCAPED')`,
  },
  {
    row: '25',
    name: 'memory of a process outside, /proc/PID/mem',
    hooks: ['lsm_ptrace_access_check'],
    launch: 'privileges',
    code: `open('/proc/%d/mem' % OUTSIDE[2], 'r+b'); print('ESCAPED')`,
  },
  {
    row: '25',
    name: 'a process outside is killed',
    hooks: ['lsm_task_kill'],
    launch: 'privileges',
    code: `os.kill(OUTSIDE[2], 0); os.kill(OUTSIDE[2], signal.SIGCONT); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'netfilter by netlink',
    hooks: ['lsm_socket_create'],
    launch: 'filter',
    code: `make(socket.AF_NETLINK, RAW, 12); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'AF_ALG, crypto in the kernel',
    hooks: ['lsm_socket_create'],
    launch: 'filter',
    code: `make(38, socket.SOCK_SEQPACKET); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'AF_XDP',
    hooks: ['lsm_socket_create'],
    launch: 'filter',
    code: `make(44, RAW); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'routes changed by netlink',
    hooks: [],
    launch: 'privileges',
    code: `
import subprocess
subprocess.run(['ip', 'route', 'replace', '203.0.113.0/24', 'via', '198.51.100.23'], check=True, stderr=subprocess.DEVNULL); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'bpf(2), with which links are detached',
    hooks: ['lsm_bpf'],
    launch: 'filter',
    // BPF_LINK_GET_NEXT_ID
    code: `
a = ctypes.create_string_buffer(64)
syscall((321, 280), 31, a, 64); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'a pin unlinked',
    hooks: ['lsm_inode_permission'],
    launch: 'privileges',
    code: `
os.listdir(RUN + '/bpf/links'); os.close(os.open(RUN + '/bpf/links', os.O_RDONLY)); os.mkdir(RUN + '/bpf/links/x'); os.rmdir(RUN + '/bpf/links/x'); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'the bpffs unmounted',
    hooks: ['lsm_sb_umount'],
    launch: 'privileges',
    // In a mount namespace of its own, so that the helper's stays as it is.
    code: `
if libc.unshare(0x20000) < 0: raise OSError(1, 'unshare')
if libc.umount2((RUN + '/bpf').encode(), 2) < 0: raise OSError(1, 'umount')
print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'a cgroup hierarchy mounted anew',
    hooks: ['lsm_sb_mount'],
    launch: 'privileges',
    prepare: `import tempfile; there = tempfile.mkdtemp(); os.environ['THERE'] = there; os.chmod(there, 0o777)`,
    code: `
if libc.unshare(0x20000) < 0: raise OSError(1, 'unshare')
if libc.mount(b'c', os.environ['THERE'].encode(), b'cgroup2', 0, None) < 0: raise OSError(1, 'mount')
print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'a mount by the newer calls (fsopen, fsmount, move_mount)',
    hooks: ['lsm_move_mount'],
    launch: 'privileges',
    prepare: `import tempfile; there = tempfile.mkdtemp(); os.environ['THERE'] = there; os.chmod(there, 0o777)`,
    code: `
if libc.unshare(0x20000) < 0: raise OSError(1, 'unshare')
fs = syscall((430, 430), ctypes.create_string_buffer(b'cgroup2'), 0); syscall((431, 431), fs, 6, 0, 0, 0); m = syscall((432, 432), fs, 0, 0)
syscall((429, 429), m, ctypes.create_string_buffer(b''), -100, ctypes.create_string_buffer(os.environ['THERE'].encode()), 4); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'namespaces of another process (setns, nsenter)',
    hooks: [],
    launch: 'filter',
    code: `
fd = os.open('/proc/self/ns/net', os.O_RDONLY)
if libc.setns(fd, 0) < 0: raise OSError(1, 'setns')
print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'the log of the kernel, as a device (as memory, ports and disks are)',
    hooks: ['device'],
    prepare: node(1, 11),
    code: `os.open(os.environ['NODE'], os.O_RDONLY); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'a device node made by itself',
    hooks: ['device'],
    launch: 'privileges',
    code: `
import stat, tempfile
os.mknod(tempfile.mkdtemp() + '/tun', 0o600 | stat.S_IFCHR, os.makedev(10, 200)); print('ESCAPED')`,
  },
  {
    row: 'more',
    name: 'a kernel module',
    hooks: [],
    launch: 'privileges',
    code: `
try: syscall((313, 273), -1, ctypes.create_string_buffer(b''), 0)
except OSError as e: print({errno.EBADF: 'ESCAPED', errno.ENOSYS: 'refused' if HELD else 'IMPOSSIBLE'}.get(e.errno, 'refused'))`,
  },
];
