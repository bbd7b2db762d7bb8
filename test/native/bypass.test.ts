/** Ways out of a session, each tried by a real process in one. New ones are added here and never removed. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, type Host, newHost, PYTHON, runToEnd } from './host.ts';

describe('a way out of a session', { skip: cannotRun() }, () => {
  let host: Host;
  let session: { id: string; cgroupId: bigint };
  let port: number;

  before(async () => {
    host = newHost();
    await host.startHelper('--unix', `${host.runDir}/helper.sock`);
    port = await host.startDaemon();
    session = await host.session();
  });
  after(() => host.close());

  /** Runs the code in a session and wants exactly these lines. */
  async function gives(code: string, ...lines: string[]): Promise<void> {
    const { stdout, stderr } = await host.python(session.id, code);
    assert.deepEqual([stdout.trim().split('\n'), stderr], [lines, '']);
  }

  test('UDP to anything but port 53 is refused, connected or not, also disguised', () =>
    gives(
      `
def udp(family, address, how, protocol=0):
    s = socket.socket(family, socket.SOCK_DGRAM, protocol)
    return attempt(lambda: getattr(s, how)(address) if how == 'connect' else s.sendto(b'x', address))
print(udp(socket.AF_INET, ('198.51.100.23', 5433), 'connect'))
print(udp(socket.AF_INET, ('198.51.100.23', 5433), 'sendto'))
print(udp(socket.AF_INET, ('198.51.100.23', 443), 'connect'))
print(udp(socket.AF_INET, ('198.51.100.23', 443), 'sendto'))
print(udp(socket.AF_INET, ('224.0.0.251', 5353), 'sendto'))
print(udp(socket.AF_INET6, ('ff02::fb', 5353), 'sendto'))
print(udp(socket.AF_INET, ('198.51.100.23', 853), 'connect'))
print(udp(socket.AF_INET, ('127.0.0.1', 5433), 'sendto'))
print(udp(socket.AF_INET, ('127.0.0.1', ${port}), 'sendto'))
print(udp(socket.AF_INET6, ('2001:db8::17:23', 443), 'connect'))
print(udp(socket.AF_INET6, ('2001:db8::17:23', 443), 'sendto'))
print(udp(socket.AF_INET6, ('::ffff:198.51.100.23', 443), 'connect'))
print(udp(socket.AF_INET6, ('::ffff:198.51.100.23', 443), 'sendto'))
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
unspecified = struct.pack('=H', 0) + struct.pack('!H', 5433) + socket.inet_aton('198.51.100.23') + bytes(8)
n = libc.sendto(s.fileno(), b'x', 1, 0, unspecified, len(unspecified))
print(n, errno.errorcode[ctypes.get_errno()])
`,
      ...Array(13).fill('EPERM'),
      '-1 EPERM',
    ));

  test('a datagram from anywhere but the daemon does not arrive', async () => {
    const receiver = `
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((address, 0)); s.settimeout(1)
    print(s.getsockname()[1], flush=True)
    try: print(s.recv(10), flush=True)
    except TimeoutError: print('nothing', flush=True)
`;
    const sender = `
import subprocess, sys, socket
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    port = int(p.stdout.readline())
    print(socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', (address, port)), p.stdout.readline().strip())
`;
    const launched = host.launch(session.id, ['/usr/bin/python3', '-c', PYTHON + receiver]);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', sender, ...launched]);
    assert.deepEqual([stdout.trim().split('\n'), stderr], [['1 nothing', '1 nothing'], '']);
  });

  test('no socket but TCP and UDP can be made', () =>
    gives(
      `
def make(*a): return attempt(lambda: socket.socket(*a))
IPPROTO_MPTCP, UDPLITE, SCTP, AF_ALG, AF_XDP = 262, 136, 132, 38, 44
print(make(socket.AF_INET, socket.SOCK_STREAM, 6), make(socket.AF_INET6, socket.SOCK_DGRAM, 17))
print(make(socket.AF_INET, socket.SOCK_RAW, 255), make(socket.AF_INET, socket.SOCK_RAW, 1), make(socket.AF_INET6, socket.SOCK_RAW, 58))
print(make(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) != 'done', make(socket.AF_INET6, socket.SOCK_STREAM, IPPROTO_MPTCP) != 'done')
print(make(socket.AF_INET, socket.SOCK_DGRAM, UDPLITE) != 'done', make(socket.AF_INET, socket.SOCK_STREAM, SCTP) != 'done', make(socket.AF_INET, socket.SOCK_SEQPACKET, SCTP) != 'done')
print(make(socket.AF_PACKET, socket.SOCK_RAW), make(socket.AF_VSOCK, socket.SOCK_STREAM), make(AF_ALG, socket.SOCK_SEQPACKET), make(AF_XDP, socket.SOCK_RAW))
print(make(socket.AF_NETLINK, socket.SOCK_RAW, 0), make(socket.AF_NETLINK, socket.SOCK_RAW, 12), make(socket.AF_NETLINK, socket.SOCK_RAW, 16))
print(make(socket.AF_UNIX, socket.SOCK_STREAM), make(43, socket.SOCK_STREAM), make(30, socket.SOCK_STREAM), make(21, socket.SOCK_SEQPACKET))
`,
      'done done',
      'EPERM EPERM EPERM',
      'True True',
      'True True True',
      'EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT',
      'done EAFNOSUPPORT EAFNOSUPPORT',
      'done EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT',
    ));

  test('a socket bound to another interface is refused', () =>
    gives(
      `
s = socket.socket(); print(attempt(lambda: s.setsockopt(socket.SOL_SOCKET, 25, b'eth0\\0')))
print(attempt(lambda: s.setsockopt(socket.SOL_SOCKET, 62, 2)))
`,
      'EPERM',
      'EPERM',
    ));

  test("the daemon's port can't be taken, by whichever address", () =>
    gives(
      `
for family, address in ((socket.AF_INET, '127.0.0.2'), (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'), (socket.AF_INET6, '::ffff:127.0.0.3')):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        print(attempt(lambda: s.bind((address, ${port}))))
`,
      ...Array(8).fill('EPERM'),
    ));

  test('nobody reaches a port that an agent listens on, with or without bind', async () => {
    const code = `
for bound in (True, False):
    s = socket.socket()
    if bound: s.bind(('127.0.0.1', 0))
    s.listen(5); s.settimeout(3)
    print(s.getsockname()[1], flush=True)
    try: s.accept(); print('accepted', flush=True)
    except TimeoutError: print('nobody', flush=True)
`;
    const script = `
import subprocess, sys, socket
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
for _ in range(2):
    s = socket.socket(); s.settimeout(1)
    try: s.connect(('127.0.0.1', int(p.stdout.readline()))); print('connected')
    except TimeoutError: print('timeout')
    print(p.stdout.readline().strip())
`;
    const launched = host.launch(session.id, ['/usr/bin/python3', '-c', PYTHON + code]);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', script, ...launched]);
    assert.deepEqual([stdout.trim().split('\n'), stderr], [['timeout', 'nobody', 'timeout', 'nobody'], '']);
  });

  test('one session does not reach the UNIX sockets of another, nor hands it a socket so', async () => {
    const other = await host.session();
    const name = `sluice-pass-${session.id.slice(0, 8)}`;
    const giver = host.python(
      session.id,
      `
u = socket.socket(socket.AF_UNIX); u.bind('\\0${name}'); u.listen(1)
p = socket.socket(socket.AF_UNIX); p.bind('/tmp/${name}'); os.chmod('/tmp/${name}', 0o777); p.listen(1)
q = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); q.bind('\\0${name}-datagrams')
own = socket.socket(socket.AF_UNIX); own.connect('\\0${name}'); u.accept()[0].sendall(b'own'); print(own.recv(10).decode(), flush=True)
import time
while os.path.exists('/tmp/${name}'): time.sleep(0.05)
`,
    );
    const taker = await host.python(
      other.id,
      `
import time
while not os.path.exists('/tmp/${name}'): time.sleep(0.05)
for path in ('\\0${name}', '/tmp/${name}'): print(attempt(lambda: socket.socket(socket.AF_UNIX).connect(path)))
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print(attempt(lambda: d.sendto(b'x', '\\0${name}-datagrams')))
os.unlink('/tmp/${name}')
`,
    );
    assert.deepEqual([taker.stdout, taker.stderr], ['EPERM\nEPERM\nEPERM\n', '']);
    assert.equal((await giver).stdout, 'own\n');
    await host.helper.endSession(other.id);
  });

  test('the daemon’s own port, straight, is told apart by where the connection meant to go', () =>
    gives(
      `
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::1')):
    origin, _ = connect(family, address, ${port})
    print(origin['address'], origin['port'] == ${port})
`,
      '127.0.0.1 True',
      '0.0.0.0 True',
      '::1 True',
    ));

  test('namespaces of one’s own, other processes and io_uring are refused', () =>
    gives(
      `
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *a):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(x) for x in a])
    return 'done' if r >= 0 else errno.errorcode[ctypes.get_errno()]
x86 = platform.machine() == 'x86_64'
NEWUSER, NEWNET = 0x10000000, 0x40000000
unshare, setns, clone, ptrace, readv, uring, bpf = (272, 308, 56, 101, 310, 425, 321) if x86 else (97, 268, 220, 117, 270, 425, 280)
print(call(unshare, NEWUSER), call(unshare, NEWUSER | NEWNET), call(unshare, NEWNET), call(clone, NEWUSER | 17, 0, 0, 0, 0), call(setns, 0, 0))
print(call(ptrace, 16, os.getppid(), 0, 0), call(ptrace, 0x4206, os.getppid(), 0, 0), call(readv, os.getppid(), 0, 0, 0, 0, 0))
print(call(uring, 8, 0), call(435, 0, 0), call(438, 0, 0, 0), call(bpf, 0, 0, 0))
import fcntl, termios, pty
m, s = pty.openpty()
print(attempt(lambda: fcntl.ioctl(s, termios.TIOCSTI, b'x')))
`,
      'EPERM EPERM EPERM EPERM EPERM',
      'EPERM EPERM EPERM',
      'ENOSYS ENOSYS EPERM EPERM',
      'EPERM',
    ));

  test('a process can’t leave its cgroup, make one below it, or speak to the helper', async () => {
    const { mount } = await host.helper.status();
    const socket = `${host.runDir}/helper.sock`;
    const other = await host.session();
    await gives(
      `
own = '${mount}' + open('/proc/self/cgroup').read().split('0::')[1].split()[0]
print(attempt(lambda: open('${mount}/cgroup.procs', 'w').write(str(os.getpid()))))
print(attempt(lambda: os.mkdir(own + '/below')), attempt(lambda: open(own + '/cgroup.procs', 'w')))
def ask(line):
    u = socket.socket(socket.AF_UNIX); u.connect('${socket}'); u.send(line + b'\\n'); return u.recv(1000).decode().split()[1]
print(ask(b'join ${other.id}'), ask(b'join ${session.id}'), ask(b'daemon'), ask(b'create ${'0'.repeat(32)} ${AGENT_UID}'), ask(b'end ${other.id}'), ask(b'list'), ask(b'status'))
# By the mode of the directory, or by LSM.
print({attempt(lambda: os.listdir('${host.runDir}/bpf/links')), attempt(lambda: open('${host.runDir}/bpf/listener'))} <= {'EACCES', 'EPERM'})
`,
      'EACCES',
      'EACCES EACCES',
      'INSIDE INSIDE INSIDE INSIDE INSIDE INSIDE INSIDE',
      'True',
    );
    await host.helper.endSession(other.id);
  });

  /** The same, as root with every capability: what is refused there, a hook refuses. */
  async function rootGets(
    where: 'here' | 'own netns',
    prepare: string,
    code: string,
    ...lines: string[]
  ): Promise<void> {
    const { mount } = await host.helper.status();
    const enter = `\nwith open('${mount}${host.cgroup}/sessions/${session.id}/cgroup.procs', 'w') as f: f.write(str(os.getpid()))\n`;
    const up = `import subprocess\nsubprocess.run(['/usr/sbin/ip', 'link', 'set', 'lo', 'up'], check=True)\n`;
    const python = ['/usr/bin/python3', '-c', PYTHON + (where === 'here' ? '' : up) + prepare + enter + code];
    const { stdout, stderr } = await runToEnd(where === 'here' ? python : ['/usr/bin/unshare', '-n', ...python]);
    assert.deepEqual([stdout.trim().split('\n'), stderr], [lines, '']);
  }

  test('in a network namespace of its own an agent reaches nothing, though something listens at the port there', () =>
    rootGets(
      'own netns',
      `a = socket.socket(); a.bind(('127.0.0.1', ${port})); a.listen(5)
b = socket.socket(socket.AF_INET6); b.bind(('::1', ${port})); b.listen(5)`,
      `
print(attempt(lambda: connect(socket.AF_INET, '198.51.100.66', 666)))
print(attempt(lambda: connect(socket.AF_INET6, '2001:db8::66', 666)))
`,
      'ECONNREFUSED',
      'ECONNREFUSED',
    ));

  test('raw, ping and MPTCP sockets are refused to root as well', () =>
    rootGets(
      'own netns',
      // In a container /proc/sys may be read-only; a proc of one's own is not.
      `
import subprocess, tempfile
proc = tempfile.mkdtemp()
subprocess.run(['/usr/bin/mount', '-t', 'proc', 'proc', proc], check=True)
try: open(proc + '/sys/net/ipv4/ping_group_range', 'w').write('0 100000')
finally:
    subprocess.run(['/usr/bin/umount', proc], check=True)
    os.rmdir(proc)`,
      `
for a in ((socket.AF_INET, socket.SOCK_RAW, 255), (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_INET, socket.SOCK_DGRAM, 1), (socket.AF_INET6, socket.SOCK_DGRAM, 58), (socket.AF_INET, socket.SOCK_STREAM, 262), (socket.AF_INET6, socket.SOCK_STREAM, 262)):
    print(attempt(lambda: socket.socket(*a)))
`,
      ...Array(6).fill('EPERM'),
    ));

  test('a source route does not carry a connection or a DNS query elsewhere', () =>
    rootGets(
      'here',
      '',
      `
# Socket options are refused already; what was set on a socket before has to be stopped as well.
LSRR = bytes([0x83, 7, 4]) + socket.inet_aton('198.51.100.23') + b'\\0'
s = socket.socket(); print(attempt(lambda: s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, LSRR)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
# IP_RETOPTS beside the datagram itself (ip(7)) goes past the hook of setsockopt.
print(attempt(lambda: u.sendmsg([b'x'], [(socket.IPPROTO_IP, 7, LSRR)], 0, ('127.0.0.1', 53))))
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
SEGMENTS = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + bytes(16) + socket.inet_pton(socket.AF_INET6, 'fd00::66')
print(attempt(lambda: u.setsockopt(41, 57, SEGMENTS)))
# A kernel without segment routing refuses it by itself.
print(attempt(lambda: u.sendmsg([b'x'], [(41, 57, SEGMENTS)], 0, ('::1', 53))) != 'done')
`,
      'EPERM',
      'EPERM',
      'EPERM',
      'True',
    ));
});
