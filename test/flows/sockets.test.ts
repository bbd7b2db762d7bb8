/** UNIX sockets by policy through the whole of sluice: opened with a session, closed by a reload, never another's. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { stackMissing, startStack } from '../harness/stack.ts';

const NAME = `@sluice-test-${randomBytes(4).toString('hex')}`;
const SERVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1].replace('@', '\\0', 1)); s.listen(50)
print('ready', flush=True); sys.stdin.read()
`;
/** Tries at once and again after each line that it is given, saying what came of it. */
const AGENT = `
import errno, socket, sys
def reach():
    try: socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace('@', '\\0', 1)); return 'done'
    except OSError as e: return errno.errorcode[e.errno]
print(reach(), flush=True)
for line in sys.stdin: print(reach(), flush=True)
`;
const policy = (groups: string, open: boolean) => `apiVersion: sluice/v1
identities:
  - {user: sluice-agent, groups: [${groups}]}
unix: ${open ? `[{sockets: ["${NAME}"], who: {groups: [builders]}}]` : '[]'}
`;

test('a socket that policy names is there for who may, from the first moment, and until it is withdrawn', {
  skip: stackMissing() ?? false,
}, async () => {
  const server = spawn('/usr/bin/python3', ['-c', SERVER, NAME], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(server.stdout, 'data');
  const stack = await startStack({ policy: policy('builders', true), name: 'sockets' });
  try {
    const child = stack.agent(['/usr/bin/python3', '-c', AGENT, NAME], { stdio: ['pipe', 'pipe', 'inherit'] });
    const said = async () => String((await once(child.stdout!, 'data'))[0]).trim();
    const again = async () => {
      child.stdin!.write('\n');
      return said();
    };
    assert.equal(await said(), 'done');
    await stack.setPolicy(policy('builders', false));
    assert.equal(await again(), 'EPERM');
    await stack.setPolicy(policy('builders', true));
    assert.equal(await again(), 'done');
    // A daemon that starts again closes what the one before had opened and policy names no more.
    await stack.kill('SIGKILL');
    assert.equal(await again(), 'done');
    await stack.restart();
    assert.equal(await again(), 'done');
    // Sessions that begin later, under another policy, are others.
    await stack.setPolicy(policy('readers', true));
    assert.equal((await stack.run(['/usr/bin/python3', '-c', AGENT, NAME], { input: '' })).stdout.trim(), 'EPERM');
    child.stdin!.end();
    await once(child, 'exit');
    // Both refusals are on record, the second of a session that was over when the kernel was asked.
    const recorded = async () => {
      const { stdout } = await stack.sluice(['audit', '-o', 'json', `ADDRESS=${NAME}`]);
      return stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    let events = await recorded();
    for (const deadline = Date.now() + 10_000; events.length < 2 && Date.now() < deadline; ) events = await recorded();
    assert.equal(events.length, 2);
    const { uid } = JSON.parse((await stack.sluice(['audit', '-o', 'json', '-n', '1', 'TYPE=session.start'])).stdout);
    for (const event of events) {
      const { type, protocol, verb, text, decision, error, subject } = event;
      assert.deepEqual(
        [type, protocol, verb, text, decision],
        ['operation', 'unix', 'CONNECT', `CONNECT ${NAME}`, 'deny'],
      );
      assert.deepEqual(
        [error, subject, event.uid, event.count],
        ['SOCKET_REFUSED', 'local:sluice-agent', uid, undefined],
      );
      assert.match(String(event.exe), /\/python3/);
      assert.ok(event.session && event.cgroup && event.pid && event.policy);
    }
    assert.notEqual(events[0]!.session, events[1]!.session);
    // In no order within a second. The policy had changed again when the first was read; groups are those of its session.
    const reasons = events.map(({ reason }) => String(reason)).sort();
    for (const reason of reasons)
      assert.match(reason, /not open to the session then|stands under no unix entry for local:/);
    assert.ok(reasons.some((reason) => /stands under no unix entry/.test(reason)));
    const diff = await stack.sluice(['policy', 'diff', `${stack.dir}/policy`]);
    assert.match(
      diff.stdout,
      /deny -> allow {2}local:sluice-agent on unix: .*\n.*\n.*\n2 operations: 1 would change, 1 as before/,
    );
  } finally {
    await stack.stop();
    server.stdin.end();
  }
});

test('connections beyond the limit of a session are refused in the kernel, and on record by their number', {
  skip: stackMissing() ?? false,
}, async () => {
  const limit = 4;
  const stack = await startStack({
    policy: policy('builders', false),
    name: 'limit',
    helper: ['--flows-max', String(limit)],
  });
  try {
    const tried = 20;
    const { stdout, stderr } = await stack.run([
      '/usr/bin/python3',
      '-c',
      `
import errno, socket
kept, refused = [], 0
for n in range(${tried}):
    s = socket.socket(); s.setblocking(False)
    refused += s.connect_ex(('198.51.100.23', 5433)) == errno.ENOBUFS
    kept.append(s)
print(refused)`,
    ]);
    const refused = Number(stdout);
    assert.ok(refused >= tried - 2 * limit, stdout + stderr);
    let counted = 0;
    for (const deadline = Date.now() + 10_000; counted < refused && Date.now() < deadline; ) {
      const told = await stack.sluice(['audit', '-o', 'json', 'TYPE=fault', 'ERROR=FLOW_LIMIT']);
      const events = told.stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line));
      counted = events.reduce((sum, { count = 1 }) => sum + count, 0);
      for (const { address, port, subject } of events)
        assert.deepEqual([address, port, subject], ['198.51.100.23', 5433, 'local:sluice-agent']);
    }
    assert.equal(counted, refused);
    assert.match(
      (await stack.sluice(['audit', 'ERROR=FLOW_LIMIT'])).stdout,
      /the kernel refused [0-9]+ connections: .* \([0-9]+ times\)\n/,
    );
  } finally {
    await stack.stop();
  }
});
