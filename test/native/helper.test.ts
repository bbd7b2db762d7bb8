/** The helper's socket: who may ask what, and what a client that misbehaves can do to the others. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, DAEMON_UID, type Host, newHost, OTHER_UID, runToEnd } from './host.ts';

/** Asks as another uid, by a process of its own. Answers the helper's whole answer. */
const ASK = `
import socket, sys
for line in sys.argv[2:]:
    u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(line.encode() + b'\\n')
    print(u.makefile().read(), end='')
`;

/** Asks for the daemon's place, and says which priority this process and its autogroup have then. */
const FAVOURED = `
import os, socket, sys
os.setsid()
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(b'daemon\\n'); answer = u.makefile().read().split()[0]
group = open('/proc/self/autogroup').read().split('nice ')[1].strip() if os.path.exists('/proc/self/autogroup') else None
print(answer, os.getpriority(os.PRIO_PROCESS, 0), group, os.sched_getscheduler(0) == os.SCHED_BATCH)
`;

/** An end by reset is one too: the helper leaves bytes unread when it refuses. */
const closed = (client: Socket) => new Promise<void>((resolve) => client.once('close', () => resolve()));

describe('sluice-helper', { skip: cannotRun() }, () => {
  let host: Host;
  let socket: string;

  before(async () => {
    host = newHost();
    await host.startHelper();
    socket = join(host.runDir, 'helper.sock');
  });
  after(() => host.close());

  const askAs = async (uid: number, ...lines: string[]) =>
    (await runToEnd(['/usr/bin/python3', '-c', ASK, socket, ...lines], '', uid)).stdout.trim().split('\n');
  const fresh = () => randomBytes(16).toString('hex');

  async function raw(bytes: string | Buffer): Promise<string> {
    const client = connect(socket);
    client.on('error', () => {});
    client.write(bytes);
    const chunks: Buffer[] = [];
    client.on('data', (chunk) => chunks.push(chunk));
    await closed(client);
    return Buffer.concat(chunks).toString();
  }

  test('the daemon, and nobody else, is given more of the processor than the agents that wait for it', async () => {
    const asked = async (uid: number) =>
      (await runToEnd(['/usr/bin/python3', '-c', FAVOURED, socket], '', uid)).stdout.trim();
    assert.match(await asked(DAEMON_UID), /^ok -10 (-10|None) True$/);
    // As it was, whatever the tests run under.
    assert.match(await asked(OTHER_UID), new RegExp(`^error ${getPriority()} (0|None) False$`));
  });

  test('only the daemon and root create, end and list sessions or enter the daemon’s cgroup', async () => {
    const session = await host.session();
    const codes = (
      await askAs(OTHER_UID, 'daemon', 'listen', `create ${fresh()} ${OTHER_UID}`, `end ${session.id}`, 'list')
    ).map((l) => l.split(' ').slice(0, 2).join(' '));
    assert.deepEqual(codes, Array(5).fill('error DENIED'));
    const id = fresh();
    const lines = await askAs(DAEMON_UID, `create ${id} ${AGENT_UID}`, `end ${id}`, 'daemon');
    assert.match(lines[0] ?? '', new RegExp(`^ok \\d+ ${host.cgroup}/sessions/${id}$`));
    assert.deepEqual(lines.slice(1), ['ok', 'ok']);
    await host.helper.endSession(session.id);
  });

  test('who listens is in the daemon’s cgroup meanwhile, and afterwards where it came from', async () => {
    const own = () => readFileSync('/proc/self/cgroup', 'utf8').match(/^0::(.*)$/m)?.[1];
    const before = own();
    assert.equal(await host.helper.inDaemonCgroup(own), `${host.cgroup}/daemon`);
    assert.equal(own(), before);
    await assert.rejects(
      host.helper.inDaemonCgroup(() => {
        throw new Error('nothing to listen on');
      }),
      /nothing to listen on/,
    );
  });

  test('only the owner joins a session, once, and no other after it', async () => {
    const [mine, also] = [await host.session(AGENT_UID), await host.session(AGENT_UID)];
    assert.match((await askAs(OTHER_UID, `join ${mine.id}`))[0] ?? '', /^error DENIED .*64802, not to 64803/);
    const lines = await askAs(AGENT_UID, `join ${mine.id}`, `join ${also.id}`, `join ${mine.id}`, 'status');
    assert.equal(lines[0], 'ok');
    for (const line of lines.slice(1)) assert.match(line, /^error INSIDE /);
    assert.match((await askAs(AGENT_UID, `join ${fresh()}`))[0] ?? '', /^error UNKNOWN /);
    for (const { id } of [mine, also]) await host.helper.endSession(id);
  });

  test('a session’s owner, id and population stand in the listing; ending it kills what is in it', async () => {
    const session = await host.session(AGENT_UID);
    const agent = host.run(session.id, ['/bin/sh', '-c', 'echo in; exec sleep 600']);
    while (!(await host.helper.listSessions()).find((entry) => entry.id === session.id)?.populated);
    const [entry] = await host.helper.listSessions();
    assert.deepEqual(entry, { id: session.id, cgroupId: session.cgroupId, uid: AGENT_UID, populated: true });
    await host.helper.endSession(session.id);
    assert.equal((await agent).status, null);
    assert.deepEqual(await host.helper.listSessions(), []);
    await assert.rejects(host.helper.endSession(session.id), { code: 'SESSION_UNKNOWN' });
  });

  test('requests that are not understood are refused', async () => {
    for (const [request, code] of [
      ['\n', 'ARGUMENT'],
      ['dance\n', 'ARGUMENT'],
      ['status now\n', 'ARGUMENT'],
      ['daemon\0\n', 'ARGUMENT'],
      [`${'x'.repeat(4096)}`, 'ARGUMENT'],
      ['create ../../escape 64802\n', 'ARGUMENT'],
      [`create ${'A'.repeat(32)} 64802\n`, 'ARGUMENT'],
      [`create ${fresh()} -1\n`, 'ARGUMENT'],
      [`create ${fresh()} 4294967295\n`, 'ARGUMENT'],
      [`create ${fresh()} 64802x\n`, 'ARGUMENT'],
      [`create ${fresh()}\n`, 'ARGUMENT'],
      ['join ../daemon\n', 'UNKNOWN'],
      ['end .\n', 'UNKNOWN'],
    ] as const)
      assert.match(await raw(request), new RegExp(`^error ${code} .*\n$`), JSON.stringify(request));
    assert.deepEqual(await host.helper.listSessions(), []);
    const session = await host.session();
    await assert.rejects(host.helper.createSession(session.id, 1), { code: 'INTERNAL', message: /there already/ });
    await host.helper.endSession(session.id);
  });

  test('a request may come byte by byte, and two requests on one connection are one', async () => {
    const client = connect(socket);
    await once(client, 'connect');
    for (const byte of 'status\n') client.write(byte);
    const [answer] = await once(client, 'data');
    assert.match(String(answer), /^ok \{/);
    assert.equal((await raw('status\nstatus\n')).split('\n').length, 2);
  });

  test('clients that say nothing hold up neither root nor the daemon, and are dropped', async () => {
    const idle = await Promise.all(
      Array.from({ length: 70 }, async () => {
        const client: Socket = connect(socket);
        client.on('error', () => {});
        await once(client, 'connect');
        return client;
      }),
    );
    const gone = idle.map((client) => {
      client.resume();
      return closed(client);
    });
    await Promise.all(gone);
    const crowd = `
import socket, sys
idle = [socket.socket(socket.AF_UNIX) for _ in range(60)]
for u in idle: u.connect(sys.argv[1])
print('ready', flush=True)
sys.stdin.readline()
`;
    const child = spawn('/usr/bin/python3', ['-c', crowd, socket], { uid: OTHER_UID, gid: OTHER_UID, cwd: '/' });
    await once(child.stdout, 'data');
    try {
      assert.equal((await host.helper.status()).enforcing, true);
      assert.deepEqual(await askAs(DAEMON_UID, 'list'), ['ok']);
    } finally {
      child.stdin.end('\n');
      await once(child, 'close');
    }
  });

  test('a second helper on the run directory, and a detach under a running one, are refused', async () => {
    await assert.rejects(host.startHelper(), /another sluice-helper runs on/);
    const { status, stderr } = host.detach('--kill');
    assert.equal(status, 1);
    assert.match(stderr, /another sluice-helper runs on/);
    assert.equal((await host.helper.status()).enforcing, true);
  });

  test('detaching is refused while a session runs, and leaves nothing when it does not', async () => {
    const own = newHost();
    await own.startHelper();
    const { mount } = await own.helper.status();
    const session = await own.session();
    const agent = own.run(session.id, ['/bin/sleep', '600']);
    while (!(await own.helper.listSessions())[0]?.populated);
    await own.stopHelper();
    const refused = own.detach();
    assert.equal(refused.status, 3);
    assert.match(refused.stderr, /1 sessions are running/);
    await own.close();
    await agent;
    assert.equal(existsSync(`${mount}${own.cgroup}`), false);
    assert.equal(existsSync(own.runDir), false);
  });

  test('a user who is not there, root as daemon and a run directory open to others are refused', async () => {
    for (const [options, wanted] of [
      [['--user', 'no-such-user'], /there is no such user/],
      [['--user', '0'], /must not be root/],
      [['--name', '../x'], /is no name for a cgroup/],
      [['--cgroup-root', '/nowhere'], /cannot open the cgroup \/nowhere/],
      [['--run-dir', '/tmp'], /must belong to root and be writable by nobody else/],
    ] as const) {
      const own = newHost();
      await assert.rejects(own.startHelper(...options), wanted);
      rmSync(own.runDir, { recursive: true });
    }
  });
});
