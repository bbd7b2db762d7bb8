/** What the launcher's filter refuses is told, whatever an agent does to who answers it; and it is refused in any case. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { CALLS, refusedCall } from '../../daemon/intake/calls.ts';
import { type Kernel, type KernelRefusal, openKernel } from '../../daemon/intake/kernel.ts';
import { AGENT_UID, cannotRun, type Host, newHost, OTHER_UID, type Result, runToEnd } from './host.ts';
import { refusedWithin } from './refused.ts';

const BUILD = join(import.meta.dirname, '../../build/native');
const LIBRARY = join(BUILD, 'libsluice.so');
/** SLUICE_REFUSED_NAMES_MAX and a turn (2^SLUICE_TURN_BITS ns) of native/sluice.h. */
const NAMES = 8;
const TURN = 1_074;
/** An emulated machine, as of test/vm, is a hundred times slower. */
const EMULATED = process.env.SLUICE_PREBUILT !== undefined;
const PATIENCE_MS = EMULATED ? 200_000 : 20_000;
const SIGNALLED = EMULATED ? 500 : 20_000;
const MANY = EMULATED ? 10_000 : 1_000_000;

/** Tries of test/launch/inside.c, by how they are told. Those of another ABI are the last two. */
const TOLD: Readonly<Record<string, string>> = {
  'AF_NETLINK netfilter': 'socket(AF_NETLINK, NETLINK_NETFILTER)',
  'AF_NETLINK generic': 'socket(AF_NETLINK, NETLINK_GENERIC)',
  'AF_NETLINK sock_diag': 'socket(AF_NETLINK, NETLINK_SOCK_DIAG)',
  'AF_NETLINK uevent': 'socket(AF_NETLINK, NETLINK_KOBJECT_UEVENT)',
  AF_PACKET: 'socket(AF_PACKET)',
  AF_VSOCK: 'socket(AF_VSOCK)',
  AF_ALG: 'socket(AF_ALG)',
  AF_BLUETOOTH: 'socket(AF_BLUETOOTH)',
  AF_KEY: 'socket(AF_KEY)',
  AF_RDS: 'socket(AF_RDS)',
  AF_TIPC: 'socket(AF_TIPC)',
  AF_XDP: 'socket(AF_XDP)',
  AF_SMC: 'socket(AF_SMC)',
  'socketpair AF_TIPC': 'socketpair(AF_TIPC)',
  'unshare user': 'unshare(CLONE_NEWUSER)',
  'clone user': 'clone(CLONE_NEWUSER)',
  setns: 'setns',
  io_uring_setup: 'io_uring_setup',
  io_uring_enter: 'io_uring_enter',
  io_uring_register: 'io_uring_register',
  'seccomp listener': 'seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)',
  bpf: 'bpf(BPF_MAP_CREATE)',
  perf_event_open: 'perf_event_open',
  userfaultfd: 'userfaultfd',
  add_key: 'add_key',
  request_key: 'request_key',
  keyctl: 'keyctl(KEYCTL_GET_KEYRING_ID)',
  'ptrace attach': 'ptrace(PTRACE_ATTACH)',
  'ptrace seize': 'ptrace(PTRACE_SEIZE)',
  process_vm_readv: 'process_vm_readv',
  process_vm_writev: 'process_vm_writev',
  pidfd_getfd: 'pidfd_getfd',
  mount: 'mount',
  umount: 'umount2',
  fsopen: 'fsopen',
  fspick: 'fspick',
  fsconfig: 'fsconfig',
  fsmount: 'fsmount',
  open_tree: 'open_tree',
  open_tree_attr: 'open_tree_attr',
  mount_setattr: 'mount_setattr',
  move_mount: 'move_mount',
  pivot_root: 'pivot_root',
  open_by_handle_at: 'open_by_handle_at',
  init_module: 'init_module',
  finit_module: 'finit_module',
  delete_module: 'delete_module',
  kexec_load: 'kexec_load',
  kexec_file_load: 'kexec_file_load',
  TIOCSTI: 'ioctl(TIOCSTI)',
  TIOCLINUX: 'ioctl(TIOCLINUX)',
  'TIOCSTI with high bits': 'ioctl(TIOCSTI)',
  ...(process.arch === 'x64' && {
    'x32 socket': 'system call 41 of x32',
    '32-bit socket': 'system call 359 of 32-bit x86',
  }),
};
/** Refused without a word, or not by the filter. */
const UNTOLD = ['clone3', 'io_uring_setup of libuv', 'unshare net', 'AF_UNIX', 'AF_NETLINK routes'];

describe('what the filter refuses', { skip: cannotRun() }, () => {
  let host: Host;
  let kernel: Kernel;
  let mount: string;
  let program: string;

  before(async () => {
    host = newHost();
    await host.startHelper();
    kernel = openKernel({ pinDir: join(host.runDir, 'bpf'), library: LIBRARY });
    ({ mount } = await host.helper.status());
    program = join(host.runDir, 'calls');
    for (const source of ['launch/inside.c', 'native/calls.c']) {
      const name = basename(source, '.c');
      // A guest of test/vm has no compiler and is given what was built.
      if (process.env.SLUICE_PREBUILT) copyFileSync(join(BUILD, name), join(host.runDir, name));
      else execFileSync('cc', ['-pthread', '-o', join(host.runDir, name), join(import.meta.dirname, '..', source)]);
    }
  });
  after(async () => {
    kernel?.close();
    await host?.close();
  });

  /** All that is there once that time is over. */
  const taken = (ms = 2 * TURN): Promise<KernelRefusal[]> => refusedWithin(kernel, ms);
  /** What is told while something goes on, and of it. */
  async function during<T>(work: () => Promise<T>): Promise<{ list: KernelRefusal[]; result: T }> {
    const list: KernelRefusal[] = [];
    const take = setInterval(() => list.push(...kernel.refusals()), 100);
    const result = await work().finally(() => clearInterval(take));
    list.push(...(await taken()));
    assert.equal(kernel.refusalsLost(), 0);
    return { list, result };
  }
  const of = (list: readonly KernelRefusal[], { cgroupId }: { cgroupId: bigint }) =>
    list.filter(({ kind, first }) => kind === 'syscall' && first.cgroupId === cgroupId);
  const sum = (list: readonly KernelRefusal[]) => list.reduce((all, { count }) => all + count, 0);
  const words = (list: readonly KernelRefusal[]) => list.map(({ detail }) => refusedCall(detail)).sort();

  async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
    for (const end = Date.now() + PATIENCE_MS; ; await pause(20)) {
      const found = await look();
      if (found) return found;
      if (Date.now() > end) throw new Error(`in vain: ${what}`);
    }
  }

  /** Processes that answer for a session; of every one where none is named. */
  function answering(id = ''): number[] {
    const base = `${mount}${host.cgroup}/answers`;
    if (!existsSync(base)) return [];
    return readdirSync(base, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name.startsWith(id))
      .flatMap(({ name }) => readFileSync(`${base}/${name}/cgroup.procs`, 'utf8').split('\n'))
      .filter((line) => line !== '')
      .map(Number);
  }

  /** A command in a session that goes on; `line` is the next that it prints. */
  function started(argv: readonly string[], uid?: number) {
    const [file = '', ...args] = argv;
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], ...(uid && { uid, gid: uid, cwd: '/' }) });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return {
      child,
      line: async () => (await lines.next()).value as string,
      end: async () => {
        const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null;
        child.kill('SIGKILL');
        await gone;
      },
    };
  }

  test('every call of it is told by name, and what programs try at each start is not', async () => {
    const names = [...Object.keys(TOLD), ...UNTOLD];
    const groups = Array.from({ length: Math.ceil(names.length / NAMES) }, (_, n) =>
      names.slice(n * NAMES, (n + 1) * NAMES),
    );
    const sessions = await Promise.all(groups.map(() => host.session()));
    const { list } = await during(async () => {
      for (const [n, group] of groups.entries()) {
        const { stdout, stderr } = await host.run(sessions[n]!.id, [join(host.runDir, 'inside'), ...group]);
        assert.deepEqual([stdout.trim().split('\n').length, stderr], [group.length, ''], group.join());
      }
    });
    for (const [n, group] of groups.entries()) {
      const told = of(list, sessions[n]!);
      const expected = group.flatMap((name) => TOLD[name] ?? []);
      // Two of them are one call: ioctl() takes the low half of its request.
      assert.deepEqual(words(told), [...new Set(expected)].sort());
      assert.equal(sum(told), expected.length);
    }
    const seen = new Set(list.filter(({ kind }) => kind === 'syscall').map(({ detail }) => CALLS[detail[0] - 1]));
    const all = process.arch === 'x64' ? CALLS : CALLS.filter((name) => name !== 'foreign');
    assert.deepEqual([...seen].sort(), [...all].sort());
    for (const { id } of sessions) await host.helper.endSession(id);
  });

  test('whose it was is told of the process, also where a thread called; in place and under a uid of its own', async () => {
    const place = await host.session();
    const own = await host.ownSession();
    const { list, result } = await during(() =>
      Promise.all([
        host.run(place.id, [program, 'thread']),
        runToEnd(host.front(own.id, [program, 'thread']), '', OTHER_UID),
      ]),
    );
    for (const [n, uid] of [AGENT_UID, own.uid].entries()) {
      const [, pid, thread] = result[n]!.stdout.trim().split(' ').map(Number);
      assert.notEqual(pid, thread, result[n]!.stderr);
      const [{ first, count } = assert.fail('nothing told'), ...more] = list.filter((each) => each.first.uid === uid);
      assert.deepEqual(more, []);
      assert.deepEqual([first.pid, first.exe, first.comm, count], [pid, program, 'calls', 1]);
    }
    await host.helper.endSession(own.id);
  });

  test('of the path of a program that is too long the end is told', async () => {
    const session = await host.session();
    const directory = join(host.runDir, ...Array.from({ length: 16 }, (_, n) => `${n}`.padStart(20, 'directory-')));
    mkdirSync(directory, { recursive: true });
    const far = join(directory, 'calls');
    copyFileSync(program, far);
    const { list } = await during(() => host.run(session.id, [far, 'thread']));
    const { exe } = of(list, session)[0]!.first;
    assert.match(exe, /^…\/.{200,256}$/);
    assert.ok(far.endsWith(exe.slice(1)), exe);
  });

  test('beyond the first kinds of a turn others are counted together, and no other session’s', async () => {
    const [loud, quiet] = [await host.session(), await host.session()];
    const families = `import socket\nfor n in range(50, 250):\n  try: socket.socket(n, 1)\n  except OSError: pass`;
    const began = Date.now();
    const { list } = await during(() =>
      Promise.all([
        host.run(loud.id, ['/usr/bin/python3', '-c', families]),
        host.run(quiet.id, [program, 'filter', 'TRACE']),
      ]),
    );
    const turns = Math.ceil((Date.now() - began) / TURN) + 1;
    const told = of(list, loud);
    assert.equal(sum(told), 200);
    assert.ok(told.filter(({ further }) => !further).length <= NAMES * turns);
    assert.ok(told.some(({ further, count }) => further && count > NAMES));
    assert.deepEqual(words(of(list, quiet)), ['socket(AF_PACKET)']);
  });

  test('a million calls of 64 threads are counted to the last one, in a few entries, while another session goes on', async () => {
    const [loud, quiet] = [await host.session(), await host.session()];
    const began = Date.now();
    const { list, result } = await during(async () => {
      const flood = host.run(loud.id, [program, 'flood', '64', String(MANY)]);
      const one = () => host.run(quiet.id, [program, 'thread']);
      const over = flood.then(() => null);
      let others = 0;
      for (let each: Result | null = await one(); each !== null; each = await Promise.race([over, one()])) {
        assert.match(each.stdout, /^97 /, each.stderr);
        others++;
      }
      return { ...(await flood), others };
    });
    assert.deepEqual([result.stdout, result.stderr], [`${MANY - (MANY % 64)}\n`, '']);
    assert.equal(sum(of(list, loud)), MANY - (MANY % 64));
    assert.ok(result.others > 0 && sum(of(list, quiet)) >= result.others, `${result.others} others`);
    const entries = of(list, loud).length;
    assert.ok(entries <= Math.ceil((Date.now() - began) / TURN) + 1, `${entries} entries`);
  });

  test('each is told once, whatever signals come while it waits', async () => {
    const session = await host.session();
    const { list, result } = await during(() =>
      host.run(session.id, [program, 'signals', String(SIGNALLED), EMULATED ? '5000' : '50']),
    );
    assert.equal(result.stdout, `${SIGNALLED} 1\n`);
    assert.equal(sum(of(list, session)), SIGNALLED);
  });

  test('who is killed while it waits keeps nobody else from an answer; a storm of children gets all of theirs', async () => {
    const session = await host.session();
    const killed = await host.run(session.id, [program, 'killed', '100']);
    assert.deepEqual([killed.stdout, killed.stderr], ['97\n', '']);
    const { list, result } = await during(() => host.run(session.id, [program, 'fork', '500']));
    assert.equal(result.stdout, '500\n');
    assert.ok(sum(of(list, session)) >= 500);
  });

  test('an agent’s own filter hides what it refuses itself, and lets nothing through', async () => {
    const filters = [
      ['ERRNO', 'ENOTTY', []],
      ['NOTIFY', 'ENOSYS', []],
      ['TRACE', 'EAFNOSUPPORT', ['socket(AF_PACKET)']],
    ] as const;
    const sessions = await Promise.all(filters.map(() => host.session()));
    const { list, result } = await during(() =>
      Promise.all(filters.map(([action], n) => host.run(sessions[n]!.id, [program, 'filter', action]))),
    );
    for (const [n, [action, end, told]] of filters.entries())
      assert.deepEqual([result[n]!.stdout, words(of(list, sessions[n]!))], [`${end}\n`, told], action);
  });

  test('an agent finds who answers, and can neither stop, trace nor look into it', async () => {
    const session = await host.ownSession();
    const script = `
import os, signal, ctypes, errno
def attempt(f):
    try: f(); return 'done'
    except OSError as e: return errno.errorcode[e.errno]
name = b'--answer\\x00--session\\x00${session.id}' # \\0 and a digit would be another byte
pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]
def line(pid):
    try: return open('/proc/%d/cmdline' % pid, 'rb').read()
    except OSError: return b''
[pid] = [p for p in pids if name in line(p)]
print(pid)
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM): print(attempt(lambda: os.kill(pid, number)))
libc = ctypes.CDLL(None, use_errno=True)
print(errno.errorcode[ctypes.set_errno(0) or (libc.ptrace(16, pid, 0, 0), ctypes.get_errno())[1]])
for what in ('mem', 'maps', 'environ', 'stack', 'syscall', 'fd/3', 'root/etc', 'cwd/etc'):
    print(what, attempt(lambda: os.listdir('/proc/%d/%s' % (pid, what)) if what.endswith('etc') else open('/proc/%d/%s' % (pid, what), 'rb').read(1)))
print(attempt(lambda: os.listdir('/proc/%d/fd' % pid)))
print(attempt(lambda: os.sched_setaffinity(pid, [0])), attempt(lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)))
print(attempt(lambda: open('/proc/%d/oom_score_adj' % pid, 'w')))`;
    const inside = ['/usr/bin/python3', '-c', script];
    const { stdout, stderr } = await runToEnd(host.front(session.id, inside), '', OTHER_UID);
    assert.equal(stderr, '');
    const [pid, ...ends] = stdout.trim().split('\n');
    assert.ok(Number(pid) > 0, stdout);
    assert.equal(ends.length, 3 + 1 + 8 + 3, stdout);
    for (const end of ends) assert.match(end, /^(\S+ )?(EPERM|EACCES)( EPERM)?$/, stdout);
    await host.helper.endSession(session.id);
  });

  test('what it keeps of root is to look at processes, and it is in no session', async () => {
    const session = await host.session();
    const agent = started(host.launch(session.id, [program, 'loop']));
    assert.equal(await agent.line(), 'EAFNOSUPPORT');
    const [pid = assert.fail('nobody answers'), ...more] = answering(session.id);
    assert.deepEqual(more, []);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
    const traces = (1n << 19n).toString(16).padStart(16, '0'); // CAP_SYS_PTRACE
    assert.deepEqual(['CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Threads'].map(field), [
      traces,
      traces,
      '0'.repeat(16),
      '0'.repeat(16),
      '1',
      '2',
      '1',
    ]);
    const open = readdirSync(`/proc/${pid}/fd`).length;
    assert.equal(open, 4, 'the program that counts, its cgroup, /proc and the listener');
    assert.match(
      readFileSync(`/proc/${pid}/cgroup`, 'utf8'),
      new RegExp(`^0::${host.cgroup}/answers/${session.id}-0$`, 'm'),
    );
    await agent.end();
  });

  test('killed, it leaves everything refused; the helper tells of it, and the next launch has another', async () => {
    const session = await host.session();
    const agents = [0, 1].map(() => started(host.launch(session.id, [program, 'loop'])));
    for (const agent of agents) assert.equal(await agent.line(), 'EAFNOSUPPORT');
    const [first = 0, second = 0, ...more] = answering(session.id);
    assert.ok(second > 0 && more.length === 0, 'one for each launch');
    process.kill(first, 'SIGTERM');
    process.kill(first, 'SIGKILL');
    assert.equal(await Promise.race(agents.map((agent) => agent.line())), 'ENOSYS');
    await until('the incident', async () =>
      (await host.helper.incidents(0)).some(({ text }) =>
        text.includes(`what answers a filter of session ${session.id} was ended`),
      ),
    );
    const again = await host.run(session.id, [program, 'thread']);
    assert.equal(again.stdout.split(' ')[0], '97');
    for (const agent of agents) await agent.end();
    await until('its end', () => answering(session.id).length === 0);
    // Those that ended with their launches are no incident.
    await until(
      'cgroups that are gone',
      () => !readdirSync(`${mount}${host.cgroup}/answers`).some((name) => name.startsWith(session.id)),
    );
    assert.equal((await host.helper.incidents(0)).length, 1);
  });

  test('it outlives the helper, whose next one makes sessions, knows it, and tells when it is killed', async () => {
    const session = await host.session();
    const agent = started(host.launch(session.id, [program, 'loop']));
    assert.equal(await agent.line(), 'EAFNOSUPPORT');
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await host.stopHelper(signal);
      const { list } = await during(async () => {});
      assert.deepEqual(words(of(list, session).slice(0, 1)), ['socket(AF_PACKET)'], 'while there is no helper');
      await host.startHelper();
    }
    const { list } = await during(async () => {});
    assert.deepEqual(words(of(list, session).slice(0, 1)), ['socket(AF_PACKET)'], 'with the next helper');
    const own = await host.ownSession();
    const next = await runToEnd(host.front(own.id, [program, 'thread']), '', OTHER_UID);
    assert.equal(next.stdout.split(' ')[0], '97', next.stderr);
    await host.helper.endSession(own.id);
    for (const pid of answering(session.id)) process.kill(pid, 'SIGKILL');
    assert.equal(await agent.line(), 'ENOSYS');
    await until('the incident', async () =>
      (await host.helper.incidents(0)).some(({ text }) => text.includes(session.id)),
    );
    await agent.end();
  });

  test('the end of a session leaves none, nor does a launcher that is killed or a command that ends', async () => {
    const [own, plain] = [await host.ownSession(), await host.session()];
    const front = started(host.front(own.id, [program, 'loop']), OTHER_UID);
    assert.equal(await front.line(), 'EAFNOSUPPORT');
    const place = started(host.launch(plain.id, [program, 'loop']));
    assert.equal(await place.line(), 'EAFNOSUPPORT');
    assert.deepEqual([answering(own.id).length, answering(plain.id).length], [1, 1]);
    await front.end();
    await until('the end of a session whose front was killed', () => answering(own.id).length === 0);
    await host.helper.endSession(own.id);
    await host.helper.endSession(plain.id);
    await until('the end of an ended session', () => answering(plain.id).length === 0);
    await place.end();
    await host.run((await host.session()).id, ['/bin/true']);
    await until('no cgroup of any', () =>
      readdirSync(`${mount}${host.cgroup}/answers`, { withFileTypes: true }).every((entry) => !entry.isDirectory()),
    );
    assert.deepEqual(answering(), []);
  });

  test('nothing is started when nobody will answer', async () => {
    const broken = join(host.runDir, 'broken');
    const script = (answer: string) =>
      `#!/bin/sh\ncase "$1" in --answer) ${answer};; *) exec ${host.launcher} "$@";; esac\n`;
    for (const answer of ['exit 1', 'exec sleep 600']) {
      writeFileSync(broken, script(answer), { mode: 0o755 });
      await host.stopHelper();
      await host.startHelper('--launcher', broken);
      const [own, plain] = [await host.ownSession(), await host.session()];
      const results = await Promise.all([
        runToEnd(host.front(own.id, ['/bin/echo', 'ran']), '', OTHER_UID),
        runToEnd(host.launch(plain.id, ['/bin/echo', 'ran'])),
      ]);
      for (const { status, stdout, stderr } of results) {
        assert.deepEqual([status, stdout], [125, ''], stderr);
        assert.match(stderr, /nobody answers for the system call filter|the session was not entered/);
      }
      for (const { id } of [own, plain]) await host.helper.endSession(id);
    }
    await until('the last of them', () => answering().length === 0);
    await host.stopHelper();
    await host.startHelper();
  });

  test('what is handed over instead of a listener is not taken', async () => {
    const session = await host.session();
    const script = `
import array, os, socket, sys
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(b'join %s answer\\n' % sys.argv[2].encode())
print(u.recv(100).decode().strip())
if sys.argv[3] == 'file': fds = [os.open('/dev/null', os.O_RDWR)]
if sys.argv[3] == 'named':
    fds = [os.memfd_create('anon_inode:seccomp notify')]
if sys.argv[3] == 'two': fds = [0, 1]
if sys.argv[3] == 'none': fds = []
try:
    u.sendmsg([b'\\n'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])
    print(repr(u.recv(100)))
except OSError as e: print(type(e).__name__)`;
    for (const what of ['file', 'named', 'two', 'none']) {
      const argv = ['/usr/bin/python3', '-c', script, join(host.runDir, 'helper.sock'), session.id, what];
      const { stdout, stderr } = await runToEnd(argv, '', AGENT_UID);
      assert.equal(stderr, '');
      assert.match(stdout, /^ok\n(b''|ConnectionResetError|BrokenPipeError)\n$/, what);
    }
    await until('the end of who waited', () => answering(session.id).length === 0);
  });
});
