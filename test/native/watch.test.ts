/** The helper's verb `watch`: what is told, to whom, and what one who watches can do to the helper. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openKernel } from '../../daemon/intake/kernel.ts';
import { cannotRun, DAEMON_UID, type Host, newHost, OTHER_UID, runToEnd } from './host.ts';
import { refusedWithin } from './refused.ts';

const LIBRARY = join(import.meta.dirname, '../../build/native/libsluice.so');
/** Between two looks of the helper, milliseconds; and a time in which there are two on a slow machine. */
const TICK = 1_000;
const SOON = 10 * TICK;
/** WATCHERS_MAX of native/helper/server.c. */
const WATCHERS = 8;

const ASK = `
import socket, sys
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(b'watch\\n')
print(u.makefile().readline(), end='')
`;

describe('who watches', { skip: cannotRun() }, () => {
  let host: Host;
  let socket: string;
  const open = new Set<Socket>();

  before(async () => {
    host = newHost();
    await host.startHelper();
    await host.startDaemon();
    socket = join(host.runDir, 'helper.sock');
  });
  afterEach(() => {
    for (const each of open) each.destroy();
    open.clear();
  });
  after(() => host?.close());

  interface Watcher {
    readonly lines: string[];
    readonly client: Socket;
    readonly closed: Promise<void>;
    /** The first line of this kind from now on. */
    next(kind: string): Promise<void>;
    /** Until there is no line of this kind for more than two looks; what was under way may make some before. */
    quiet(kind: string): Promise<void>;
  }

  /** Has its first line. */
  async function watcher(): Promise<Watcher> {
    const client = connect(socket).setEncoding('utf8');
    open.add(client);
    const lines: string[] = [];
    let rest = '';
    client.on('data', (text) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      lines.push(...parts);
    });
    client.on('error', () => {});
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    client.write('watch\n');
    const until = async (seen: () => boolean, what: string) => {
      for (const end = performance.now() + SOON; !seen(); await pause(20))
        if (performance.now() > end) throw new Error(`no ${what}: ${JSON.stringify(lines)}`);
    };
    await until(() => lines.length > 0 || client.destroyed, 'answer');
    return {
      ...{ lines, client, closed },
      next(kind) {
        const before = lines.length;
        return until(() => lines.indexOf(kind, before) >= 0, `line ${kind}`);
      },
      async quiet(kind) {
        for (const end = performance.now() + SOON; ; ) {
          const before = lines.length;
          await pause(2.5 * TICK);
          if (!lines.includes(kind, before)) return;
          assert.ok(performance.now() < end, `it goes on and on: ${JSON.stringify(lines)}`);
        }
      },
    };
  }

  test('is told of nothing while nothing happens', async () => {
    const { lines, client } = await watcher();
    await pause(3 * TICK);
    assert.deepEqual(lines, ['ok']);
    client.destroy();
  });

  test('is told of a session that begins, is populated and ends, and while one is empty', async () => {
    const watching = await watcher();
    const { id } = await host.session();
    await watching.next('sessions');
    await watching.next('sessions'); // it is empty still
    const agent = host.run(id, ['/bin/sleep', '600']);
    while (!(await host.helper.listSessions()).find((each) => each.id === id)?.populated) await pause(20);
    await watching.next('sessions');
    // What launches have beside them does not count.
    await watching.quiet('sessions');
    await host.helper.endSession(id);
    await agent;
    await watching.next('sessions');
    assert.deepEqual(new Set(watching.lines.slice(1)), new Set(['sessions']));
    watching.client.destroy();
  });

  test('is told once a tick that there are refusals, until they are taken, however many there are', async () => {
    const kernel = openKernel({ pinDir: join(host.runDir, 'bpf'), library: LIBRARY });
    const { id } = await host.session();
    const watching = await watcher();
    const flood = `
import time
end = time.time() + 3
while time.time() < end:
    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('198.51.100.23', 5433)))
`;
    const began = performance.now();
    await host.python(id, flood);
    const ticks = (performance.now() - began) / TICK;
    const told = watching.lines.filter((line) => line === 'refusals').length;
    assert.ok(told >= 2 && told <= ticks + 2, JSON.stringify(watching.lines));
    await watching.next('refusals');
    assert.ok((await refusedWithin(kernel, 2.5 * TICK)).some(({ kind }) => kind === 'connect'));
    await watching.quiet('refusals');
    // Those that could not be counted leave nothing but a number.
    const lost = join(host.runDir, 'bpf/refusals_lost');
    execFileSync('/usr/sbin/bpftool', `map update pinned ${lost} key 0 0 0 0 value 7 0 0 0 0 0 0 0`.split(' '));
    await watching.next('refusals');
    await host.helper.endSession(id);
    kernel.close();
    watching.client.destroy();
  });

  test('is told of an incident', async () => {
    const watching = await watcher();
    execFileSync('umount', [join(host.runDir, 'bpf')]);
    await watching.next('incidents');
    await pause(2.5 * TICK);
    assert.equal(watching.lines.filter((line) => line === 'incidents').length, 1);
    assert.equal((await host.helper.incidents(0)).length, 1);
    watching.client.destroy();
  });

  test('is the daemon or root, and never in a session', async () => {
    const as = async (uid: number) => (await runToEnd(['/usr/bin/python3', '-c', ASK, socket], '', uid)).stdout;
    assert.equal(await as(DAEMON_UID), 'ok\n');
    assert.match(await as(OTHER_UID), /^error DENIED only the daemon's user/);
    // Under the very uid of the daemon.
    const { id } = await host.session(DAEMON_UID);
    // Connected from outside, as the hooks let nobody connect from within.
    const inside = `
import socket, sys
def connected():
    u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); return u
def ask(u, line):
    u.send(line + b'\\n')
    return u.makefile().readline()
first, second = connected(), connected()
print(ask(first, b'join ' + sys.argv[2].encode()) + ask(second, b'watch'), end='')
`;
    const answers = await runToEnd(['/usr/bin/python3', '-c', inside, socket, id], '', DAEMON_UID);
    assert.match(answers.stdout, /^ok\nerror INSIDE /, answers.stderr);
    await host.helper.endSession(id);
  });

  test('does so until it closes its end or says something more, and only so many do', async () => {
    const all = await Promise.all(Array.from({ length: WATCHERS }, watcher));
    assert.deepEqual(
      all.map(({ lines }) => lines[0]).filter((line) => line !== 'ok'),
      [],
    );
    const refused = await watcher();
    assert.match(refused.lines[0] ?? '', /^error LIMIT 8 watch already/);
    all[0]?.client.end();
    all[1]?.client.write('watch\n');
    await Promise.all([all[0]?.closed, all[1]?.closed]);
    const [one, two] = [await watcher(), await watcher()];
    assert.deepEqual([one.lines[0], two.lines[0]], ['ok', 'ok']);
    for (const { client } of [...all, one, two]) client.destroy();
  });

  test('who does not read is dropped, and holds up nobody', async () => {
    const { id } = await host.session(); // empty: there is a line in each tick
    const deaf = connect(socket);
    open.add(deaf);
    deaf.write('watch\n');
    deaf.pause();
    const watching = await watcher();
    const sockets = () =>
      readFileSync('/proc/net/unix', 'utf8')
        .split('\n')
        .filter((line) => line.endsWith(` ${socket}`) && line.includes(' 03 ')).length;
    const before = sockets();
    assert.ok(before >= 2);
    for (const end = performance.now() + 3 * SOON; sockets() === before; await pause(100))
      assert.ok(performance.now() < end, 'it is still there');
    const waiting: Buffer[] = [];
    deaf.on('data', (chunk) => waiting.push(chunk));
    const gone = new Promise((resolve) => deaf.once('close', resolve));
    deaf.resume();
    await gone;
    const lines = Buffer.concat(waiting).toString().split('\n');
    assert.ok(lines.length < 16, `${lines.length} lines waited for it`);
    await watching.next('sessions');
    assert.equal((await host.helper.status()).enforcing, true);
    await host.helper.endSession(id);
    watching.client.destroy();
  });

  test('is not waited for longer than other clients are when it stays', async () => {
    const watching = await watcher();
    await pause(2_000 + 1.5 * TICK); // the deadline of requests, and the look after it
    assert.deepEqual([watching.client.destroyed, ...watching.lines], [false, 'ok']);
    await host.stopHelper();
    await watching.closed;
    await host.startHelper();
  });
});
