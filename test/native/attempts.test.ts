/** Each hook that refuses counts what was tried, by whom, and where to. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { attempted } from '../../daemon/intake/attempts.ts';
import { type Kernel, type KernelRefusal, openKernel } from '../../daemon/intake/kernel.ts';
import { AGENT_UID, cannotRun, type Host, newHost, PYTHON, type Result, runToEnd } from './host.ts';
import { refusedWithin } from './refused.ts';

const LIBRARY = join(import.meta.dirname, '../../build/native/libsluice.so');
/** SLUICE_REFUSED_NAMES_MAX and a turn (2^SLUICE_TURN_BITS ns) of native/sluice.h. */
const APART = 8;
const TURN = 1_074;
/** SLUICE_REFUSALS_MAX and SLUICE_REFUSED_NAMES. */
const REFUSALS_MAX = 32_768;
const NAMES_KIND = 14;

interface Session {
  readonly id: string;
  readonly cgroupId: bigint;
}

describe('an attempt that a hook refuses', { skip: cannotRun() }, () => {
  let host: Host;
  let kernel: Kernel;
  let port: number;
  let attached: readonly string[];

  before(async () => {
    host = newHost();
    await host.startHelper();
    port = await host.startDaemon();
    kernel = openKernel({ pinDir: join(host.runDir, 'bpf'), library: LIBRARY });
    ({ attached } = await host.helper.status());
  });
  after(async () => {
    kernel?.close();
    await host?.close();
  });

  /** What there is of the session once two turns are over. */
  async function taken(session: Session): Promise<KernelRefusal[]> {
    const all = await refusedWithin(kernel, 2 * TURN);
    return all.filter(({ first }) => first.cgroupId === session.cgroupId);
  }
  /** As one sentence each, sorted, with the count; what was counted in two turns is one. */
  function said(list: readonly KernelRefusal[]): string[] {
    const counts = new Map<string, number>();
    for (const each of list) counts.set(attempted(each), (counts.get(attempted(each)) ?? 0) + each.count);
    return [...counts].map(([text, count]) => `${count} ${text}`).sort();
  }
  /** As root with every capability, which nothing but hooks hold. */
  async function byRoot(session: Session, code: string, prepare = ''): Promise<Result> {
    const { mount } = await host.helper.status();
    const enter = `\nwith open('${mount}${host.cgroup}/sessions/${session.id}/cgroup.procs', 'w') as f: f.write(str(os.getpid()))\n`;
    return runToEnd(['/usr/bin/python3', '-c', PYTHON + prepare + enter + code]);
  }
  const needs = (hook: string) => (attached.includes(hook) ? false : `this kernel has no ${hook}`);

  test('is told with its address and its process, of connections and datagrams', async () => {
    const session = await host.session();
    const { stdout, stderr } = await host.python(
      session.id,
      `
UDP = socket.SOCK_DGRAM
for family, address in ((socket.AF_INET, '198.51.100.23'), (socket.AF_INET6, '2001:db8::17:23'), (socket.AF_INET6, '::ffff:198.51.100.24')):
    print(attempt(lambda: socket.socket(family, UDP).connect((address, 443))), attempt(lambda: socket.socket(family, UDP).sendto(b'x', (address, 5433))))
for _ in range(2): attempt(lambda: socket.socket(socket.AF_INET, UDP).sendto(b'x', ('198.51.100.23', 5433)))
print(os.getpid(), os.readlink('/proc/self/exe'))`,
    );
    const lines = stdout.trim().split('\n');
    assert.deepEqual([lines.slice(0, 3), stderr], [Array(3).fill('EPERM EPERM'), '']);
    const list = await taken(session);
    const why = '(nothing was sent: C libraries do so to sort the addresses of a name): UDP leads to nameservers alone';
    assert.deepEqual(said(list), [
      `1 the kernel refused a datagram of a UDP socket to 198.51.100.24 port 5433: UDP leads to nameservers alone`,
      `1 the kernel refused a datagram of a UDP socket to 2001:db8::17:23 port 5433: UDP leads to nameservers alone`,
      `1 the kernel refused connect() of a UDP socket to 198.51.100.23 port 443 ${why}`,
      `1 the kernel refused connect() of a UDP socket to 198.51.100.24 port 443 ${why}`,
      `1 the kernel refused connect() of a UDP socket to 2001:db8::17:23 port 443 ${why}`,
      `3 the kernel refused a datagram of a UDP socket to 198.51.100.23 port 5433: UDP leads to nameservers alone`,
    ]);
    const [pid, exe] = lines[3]!.split(' ');
    for (const { first } of list) assert.deepEqual([first.pid, first.uid, first.exe], [Number(pid), AGENT_UID, exe]);
  });

  test('is none where the C library only sorts addresses, at port 0', async () => {
    const session = await host.session();
    const { stdout } = await host.python(
      session.id,
      `
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('198.51.100.23', 0))))
print(attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('2001:db8::17:23', 0))))`,
    );
    assert.equal(stdout, 'EPERM\nEPERM\n');
    assert.deepEqual(await taken(session), []);
  });

  test('is told by what a socket would have been, an option, a device, and whose port', async () => {
    const session = await host.session();
    const { stdout, stderr } = await byRoot(
      session,
      `
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)), attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 255)))
s = socket.socket(); print(attempt(lambda: s.setsockopt(1, 25, b'lo')), attempt(lambda: s.setsockopt(6, 31, b'smc')), attempt(lambda: s.setsockopt(0, 999, 1)))
print(attempt(lambda: s.bind(('127.0.0.9', ${port}))))
print(attempt(lambda: os.open(there + '/tun', os.O_RDWR)), attempt(lambda: os.mknod(there + '/disk', 0o600 | stat.S_IFBLK, os.makedev(8, 1))))`,
      `
import stat, tempfile
there = tempfile.mkdtemp()
os.mknod(there + '/tun', 0o666 | stat.S_IFCHR, os.makedev(10, 200))`,
    );
    assert.deepEqual([stdout, stderr], ['EPERM EPERM\nEPERM EPERM EPERM\nEPERM\nEPERM EPERM\n', '']);
    const list = await taken(session);
    assert.deepEqual(said(list), [
      `1 the kernel refused bind() of a TCP socket to 127.0.0.9 port ${port}, which is the daemon's`,
      '1 the kernel refused making a node of the block device 8:1',
      '1 the kernel refused opening the character device 10:200 (/dev/net/tun) for reading and writing',
      '1 the kernel refused setsockopt(SOL_IP, 999)',
      '1 the kernel refused setsockopt(SOL_SOCKET, SO_BINDTODEVICE)',
      '1 the kernel refused setsockopt(SOL_TCP, TCP_ULP)',
      '1 the kernel refused socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)',
      '1 the kernel refused socket(AF_INET6, SOCK_RAW, IPPROTO_RAW)',
    ]);
    assert.ok(list.every(({ first }) => first.uid === 0 && first.pid > 0 && first.exe.includes('python')));
  });

  test('is told of a socket of another session, and where no daemon listens', async () => {
    const [session, other] = [await host.session(), await host.session()];
    const { mount } = await host.helper.status();
    const moved = (id: string, pid: string) =>
      `open('${mount}${host.cgroup}/sessions/${id}/cgroup.procs', 'w').write(str(${pid}))`;
    // Moved from outside, as with BPF LSM a process of a session does not leave it.
    const { stdout, stderr } = await runToEnd([
      ...['/usr/bin/python3', '-c'],
      `${PYTHON}
made, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    ${moved(other.id, 'os.getpid()')}
    early = socket.socket(); os.write(made[1], b'x'); os.read(go[0], 1)
    print(attempt(lambda: early.connect(('198.51.100.23', 5433)))); sys.exit()
os.read(made[0], 1); ${moved(session.id, 'child')}; os.write(go[1], b'x'); os.waitpid(child, 0)`,
    ]);
    assert.deepEqual([stdout, stderr], ['EPERM\n', '']);
    // The hook is asked on the cgroup of the socket; the attempt is that of the process.
    const all = [...(await taken(session))];
    const text =
      '1 the kernel refused connect() of a TCP socket to 198.51.100.23 port 5433: the socket was not made in this session';
    assert.deepEqual(
      said(all),
      needs('lsm_socket_connect')
        ? [text]
        : ['1 the kernel refused connect() of a socket from outside the session (lsm/socket_connect)'],
    );
    kernel.setListener(0);
    try {
      const dead = await host.python(
        session.id,
        `print(attempt(lambda: socket.socket().connect(('198.51.100.23', 5434))))`,
      );
      assert.equal(dead.stdout, 'ECONNREFUSED\n');
    } finally {
      kernel.setListener(port);
    }
    assert.deepEqual(said(await taken(session)), [
      '1 the kernel refused connect() of a TCP socket to 198.51.100.23 port 5434: sluiced did not listen',
    ]);
  });

  test('is told of packets that are dropped, with the process that connected where that is known', async () => {
    const session = await host.session();
    const code = `
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('198.51.100.23', 53))
print(attempt(lambda: u.send(b'short')))
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1); print(s.getsockname()[1], os.getpid(), flush=True)
sys.stdin.readline()`;
    const script = `
import subprocess, sys, socket
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(p.stdout.readline().strip()); line = p.stdout.readline().split(); print(*line)
s = socket.socket(); s.bind(('127.0.0.6', 0)); s.settimeout(0.3)
try: s.connect(('127.0.0.1', int(line[0]))); print('connected')
except TimeoutError: print('timeout')
p.communicate('\\n')`;
    const launched = host.launch(session.id, ['/usr/bin/python3', '-c', PYTHON + code]);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', script, ...launched]);
    const [first, listens, reached] = stdout.trim().split('\n');
    assert.deepEqual([first, reached, stderr], ['EPERM', 'timeout', '']);
    const list = await taken(session);
    const [out, inward] = [list.filter(({ detail }) => detail[0] === 0), list.filter(({ detail }) => detail[0] === 1)];
    // A DNS query that is none is not sent on to the daemon.
    assert.deepEqual(said(out), ['1 the kernel dropped a packet of UDP to 198.51.100.23 port 53']);
    assert.deepEqual([out[0]?.first.pid, out[0]?.first.uid], [Number(listens!.split(' ')[1]), AGENT_UID]);
    assert.match(
      said(inward)[0]!,
      /^\d the kernel dropped a packet of TCP from 127\.0\.0\.6 port \d+ to a socket of the session$/,
    );
    assert.ok(inward.every(({ first: { pid, uid, exe } }) => pid === 0 && uid === 0 && exe === ''));
  });

  test('is told apart up to a bound in a turn, and then counted by its kind', async () => {
    const [session, other] = [await host.session(), await host.session()];
    const lost = kernel.refusalsLost();
    const began = Date.now();
    const [flood, quiet] = await Promise.all([
      host.python(
        session.id,
        `
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s = socket.socket()
for n in range(4000):
    attempt(lambda: u.sendto(b'x', ('198.51.%d.%d' % (n // 200, 1 + n % 200), 5433)))
    attempt(lambda: s.setsockopt(0, 100 + n % 500, 1))`,
      ),
      host.python(other.id, `print(attempt(lambda: socket.socket().setsockopt(1, 36, 1)))`),
    ]);
    const turns = Math.ceil((Date.now() - began) / TURN) + 1;
    assert.deepEqual([flood.stderr, quiet.stdout], ['', 'EPERM\n']);
    const all: KernelRefusal[] = [];
    for (const end = Date.now() + 2 * TURN; Date.now() < end; await pause(50)) all.push(...kernel.refusals());
    const list = all.filter(({ first }) => first.cgroupId === session.cgroupId);
    for (const kind of ['sendto', 'option'] as const) {
      const of = list.filter((each) => each.kind === kind);
      assert.equal(
        of.reduce((sum, { count }) => sum + count, 0),
        4000,
        kind,
      );
      assert.ok(of.filter(({ further }) => !further).length <= APART * turns, kind);
      assert.ok(
        of.some(({ further, count }) => further && count > APART),
        kind,
      );
    }
    const further = list.find((each) => each.kind === 'sendto' && each.further)!;
    assert.match(further.first.address, /^198\.51\./);
    assert.deepEqual(said(all.filter(({ first }) => first.cgroupId === other.cgroupId)), [
      '1 the kernel refused setsockopt(SOL_SOCKET, SO_MARK)',
    ]);
    assert.equal(kernel.refusalsLost(), lost);
  });

  test('does not pass where the map is full, and is counted as lost', async () => {
    const session = await host.session();
    const lost = kernel.refusalsLost();
    // SLUICE_REFUSED_NAMES is no refusal: the daemon is not told of these.
    const filled = await runToEnd([
      ...['/usr/bin/python3', '-c'],
      `${PYTHON}
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, form, *a):
    attributes = ctypes.create_string_buffer(struct.pack(form, *a), 120)
    return libc.syscall(ctypes.c_long(321 if platform.machine() == 'x86_64' else 280), ctypes.c_long(command), attributes, ctypes.c_long(120))
path = ctypes.create_string_buffer(sys.argv[1].encode()); refusals = bpf(7, '=Q', ctypes.addressof(path))
key, value, n = ctypes.create_string_buffer(136), ctypes.create_string_buffer(352), 0
while n < 100000:
    struct.pack_into('=Q', key, 0, n + 1); struct.pack_into('=HB', key, 120, ${NAMES_KIND}, n & 1)
    if bpf(2, '=IxxxxQQQ', refusals, ctypes.addressof(key), ctypes.addressof(value), 1) < 0: break
    n += 1
print(n, errno.errorcode[ctypes.get_errno()])`,
      join(host.runDir, 'bpf/refusals'),
    ]);
    assert.equal(filled.stdout, `${REFUSALS_MAX} E2BIG\n`, filled.stderr);
    const { stdout } = await host.python(
      session.id,
      `
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 443))))
print(attempt(lambda: socket.socket().setsockopt(1, 25, b'lo')))`,
    );
    assert.equal(stdout, 'EPERM\nEPERM\n');
    assert.equal(kernel.refusalsLost(), lost + 2);
    assert.deepEqual(await taken(session), []);
    assert.equal((await host.python(session.id, `attempt(lambda: socket.socket().setsockopt(1, 36, 1))`)).stderr, '');
    assert.equal((await taken(session)).length, 1, 'and there is room again');
  });

  test('is told by the LSM hook that refuses it', async (context) => {
    const lacking = needs('lsm_task_kill');
    if (lacking) return context.skip(lacking);
    const { mount } = await host.helper.status();
    const common = `
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
bpf = 321 if platform.machine() == 'x86_64' else 280
outside = os.getppid(); early = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); other = socket.socket()
ours, theirs = socket.socketpair(socket.AF_UNIX); socket.send_fds(ours, [b'x'], [early.fileno()])
def call(f, *a):
    r = f(*a)
    return errno.errorcode[ctypes.get_errno()] if r < 0 else 'done'`;
    // No more at once than are told apart in a turn.
    for (const [code, printed, counted] of [
      [
        `
print(attempt(lambda: socket.socket(16, socket.SOCK_RAW, 12)), attempt(lambda: os.kill(outside, 0)), attempt(lambda: open('/proc/%d/mem' % outside, 'rb')))
open('/proc/%d/stat' % outside).read() # no attempt: of what it must not show the kernel shows zeros
print(attempt(lambda: early.sendto(b'x', ('127.0.0.1', 9))), attempt(lambda: other.connect(('127.0.0.1', 9))), len(socket.recv_fds(theirs, 1, 1)[1]))`,
        'EAFNOSUPPORT EPERM EACCES\nEPERM EPERM 0\n',
        [
          '1 the kernel refused connect() of a socket from outside the session (lsm/socket_connect)',
          '1 the kernel refused signal 0 to a process outside the session (lsm/task_kill)',
          '1 the kernel refused socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)',
          '1 the kernel refused to send by a socket from outside the session (lsm/socket_sendmsg)',
          '1 the kernel refused to take over a socket from outside the session (lsm/file_receive)',
          '1 the kernel refused to trace a process outside the session (lsm/ptrace_access_check)',
        ],
      ],
      [
        `
print(call(libc.syscall, ctypes.c_long(bpf), ctypes.c_long(31), None, ctypes.c_long(0)), attempt(lambda: os.listdir('${host.runDir}/bpf/links')), attempt(lambda: os.open('${mount}${host.cgroup}/cgroup.procs', os.O_WRONLY)))
print(call(libc.mount, b'none', b'/', None, 0x44000, None), call(libc.umount2, b'/proc', 2), call(libc.unshare, 0x10000000))`,
        'EPERM EPERM EPERM\nEPERM EPERM EPERM\n',
        [
          '1 the kernel refused a mount (lsm/sb_mount)',
          '1 the kernel refused a user namespace (lsm/userns_create)',
          '1 the kernel refused bpf(BPF_LINK_GET_NEXT_ID) (lsm/bpf)',
          '1 the kernel refused to reach into a bpffs (lsm/inode_permission)',
          '1 the kernel refused to unmount (lsm/sb_umount)',
          '1 the kernel refused to write to a cgroup (lsm/inode_permission)',
        ],
      ],
    ] as const) {
      const session = await host.session();
      const { stdout, stderr } = await byRoot(session, code, common);
      assert.deepEqual([stdout, stderr], [printed, '']);
      assert.deepEqual(said(await taken(session)), counted);
    }
  });
});
