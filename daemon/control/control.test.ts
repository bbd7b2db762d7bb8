import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, linkSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SluiceError } from '../core/errors.ts';
import type { Gate, Peer } from './access.ts';
import { ControlClient } from './client.ts';
import { ControlServer, type Handlers } from './server.ts';
import { Lines, parseRequest, REQUEST_BYTES } from './wire.ts';

const PEER: Peer = { pid: 4711, uid: 1001, gid: 100 };

/** A gate for one caller, who is in no session unless said otherwise. */
function gate(change: Partial<Gate> = {}): Gate {
  return {
    peer: (fd) => (fd > 2 ? PEER : null),
    peerIsGone: () => false,
    sessionOfPid: () => null,
    loginUid: () => null,
    unitOfPid: () => null,
    principalOf: async (uid) => (uid === 1001 ? { subject: 'local:ada', groups: [] } : null),
    groupsOf: async (uid) => (uid === 1002 ? ['sluice-audit'] : []),
    ownUid: 990,
    auditGroup: 'sluice-audit',
    ...change,
  };
}

const HANDLERS: Handlers = {
  echo: { access: 'anyone', answer: (params, { caller }) => ({ params, uid: caller.uid, big: 2n ** 64n }) },
  who: { access: 'mapped', answer: (_, { principal }) => principal },
  audit: { access: 'auditor', answer: () => 'events' },
  reload: { access: 'root', answer: () => 'done' },
  fault: {
    access: 'anyone',
    answer: () => {
      throw new Error('secret detail');
    },
  },
  refuse: {
    access: 'anyone',
    answer: async () => {
      throw new SluiceError('APPROVAL_FORBIDDEN', 'not you', { hint: 'ask grace' });
    },
  },
  count: {
    access: 'anyone',
    async *answer({ to }) {
      for (let i = 0; i < Number(to); i++) yield i;
    },
  },
  broken: {
    access: 'anyone',
    async *answer() {
      yield 1;
      throw new SluiceError('AUDIT_QUERY', 'half way');
    },
  },
  hang: { access: 'anyone', answer: (_, { signal }) => once(signal, 'abort').then(() => 'stopped') },
};

async function begin(t: TestContext, change: Partial<Gate> = {}, handlers: Handlers = HANDLERS, options = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-control-'));
  const path = join(directory, 'control.sock');
  const faults: unknown[] = [];
  const server = await ControlServer.open({
    path,
    gate: gate(change),
    handlers,
    onFault: (error) => faults.push(error),
    ...options,
  });
  t.after(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });
  const client = async () => {
    const opened = await ControlClient.connect(path);
    t.after(() => opened.close());
    return opened;
  };
  const raw = async () => {
    const socket = connect(path);
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  return { path, faults, client, raw };
}

async function everything(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

const code = (expected: string) => (error: unknown) => error instanceof SluiceError && error.code === expected;

test('anyone may connect, and is known by the kernel alone', async (t) => {
  const { path, client } = await begin(t);
  assert.equal(statSync(path).mode & 0o777, 0o666);
  const answer = await (await client()).call('echo', { uid: 0, text: 'é\n' });
  assert.deepEqual(answer, { params: { uid: 0, text: 'é\n' }, uid: 1001, big: '18446744073709551616' });
});

test('requests on one connection are answered independently', async (t) => {
  const { client } = await begin(t);
  const daemon = await client();
  const hanging = daemon.call('hang').catch((error) => error);
  const answers = await Promise.all([daemon.call('who'), daemon.call('echo'), daemon.call('who')]);
  assert.equal(answers.length, 3);
  daemon.close();
  assert.ok((await hanging) instanceof SluiceError);
});

test('a process inside of a session is refused everything, root or not', async (t) => {
  for (const uid of [1001, 0]) {
    const { client } = await begin(t, { peer: () => ({ ...PEER, uid }), sessionOfPid: () => 'abc123' });
    for (const method of ['echo', 'reload', 'audit']) {
      await assert.rejects((await client()).call(method), (error: unknown) => {
        return code('NOT_ALLOWED')(error) && /session abc123.*agent/.test((error as Error).message);
      });
    }
  }
});

test('a caller that nobody can vouch for is refused', async (t) => {
  const fail = () => {
    throw new Error('ENOENT');
  };
  const unknown: Partial<Gate>[] = [
    { peer: () => null },
    { peer: () => ({ ...PEER, pid: 0 }) },
    { peer: fail },
    { sessionOfPid: fail },
    { loginUid: fail },
    { unitOfPid: fail },
    { peerIsGone: () => true },
  ];
  for (const change of unknown) {
    const { client } = await begin(t, change);
    await assert.rejects((await client()).call('echo'), code('NOT_ALLOWED'));
  }
});

test('who may do what', async (t) => {
  const may = async (uid: number) => {
    const { client } = await begin(t, { peer: () => ({ ...PEER, uid }) });
    const daemon = await client();
    const allowed: string[] = [];
    for (const method of ['echo', 'who', 'audit', 'reload']) {
      await daemon.call(method).then(
        () => allowed.push(method),
        (error) => assert.ok(code('NOT_ALLOWED')(error)),
      );
    }
    return allowed.join(' ');
  };
  assert.equal(await may(1001), 'echo who', 'a user that the policy maps');
  assert.equal(await may(1002), 'echo audit', 'a member of the audit group');
  assert.equal(await may(990), 'echo audit', 'the daemon itself');
  assert.equal(await may(0), 'echo audit reload', 'root');
  assert.equal(await may(1003), 'echo', 'anybody else');
});

test('errors keep their code and hint; faults do not tell what they are', async (t) => {
  const { client, faults } = await begin(t);
  const daemon = await client();
  await assert.rejects(daemon.call('refuse'), { code: 'APPROVAL_FORBIDDEN', message: 'not you', hint: 'ask grace' });
  await assert.rejects(daemon.call('fault'), (error: SluiceError) => {
    return error.code === 'INTERNAL' && !error.message.includes('secret');
  });
  assert.equal((faults[0] as Error).message, 'secret detail');
  for (const method of ['nope', 'toString', '__proto__', 'constructor']) {
    await assert.rejects(daemon.call(method), code('PROTOCOL_UNSUPPORTED'));
  }
});

test('a stream comes whole and in order, also to a slow reader with calls in between', async (t) => {
  const { client } = await begin(t);
  const daemon = await client();
  let expected = 0;
  for await (const item of daemon.stream('count', { to: 20_000 })) {
    assert.equal(item, expected++);
    if (expected % 5_000 === 0) await daemon.call('echo');
  }
  assert.equal(expected, 20_000);
});

test('a stream that breaks off says why after what came before', async (t) => {
  const { client } = await begin(t);
  const seen: unknown[] = [];
  await assert.rejects(async () => {
    for await (const item of (await client()).stream('broken')) seen.push(item);
  }, code('AUDIT_QUERY'));
  assert.deepEqual(seen, [1]);
});

test('leaving a stream stops it at the daemon', async (t) => {
  const stopped = Promise.withResolvers<void>();
  const endless: Handlers = {
    ...HANDLERS,
    endless: {
      access: 'anyone',
      async *answer(_, { signal }) {
        yield 'first';
        await once(signal, 'abort');
        stopped.resolve();
      },
    },
  };
  const { client } = await begin(t, {}, endless);
  const daemon = await client();
  for await (const item of daemon.stream('endless')) {
    assert.equal(item, 'first');
    break;
  }
  await stopped.promise;
  assert.ok(await daemon.call('echo'), 'the connection stays usable');
});

test('a caller that goes takes what it waited for with it', async (t) => {
  const stopped = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const { client } = await begin(
    t,
    {},
    {
      wait: {
        access: 'anyone',
        async answer(_, { signal }) {
          started.resolve();
          await once(signal, 'abort');
          stopped.resolve();
        },
      },
    },
  );
  const daemon = await client();
  daemon.call('wait').catch(() => {});
  await started.promise;
  daemon.close();
  await stopped.promise;
});

test('lines that are no requests end the connection with a reason, and only that connection', async (t) => {
  const { client, raw } = await begin(t);
  const other = await client();
  const garbage = [
    'GET / HTTP/1.1\r\n',
    '\n',
    'null\n',
    '[]\n',
    '"x"\n',
    '{}\n',
    '{"id":1}\n',
    '{"id":"1","method":"echo"}\n',
    '{"id":1.5,"method":"echo"}\n',
    '{"id":1,"method":"echo","params":[]}\n',
    '{"id":1,"method":"echo","params":null}\n',
    Buffer.from([0xff, 0xfe, 0x0a]),
    '\u0000\n',
    `{"id":1,"method":"hang"}\n{"id":1,"method":"hang"}\n`,
  ];
  for (const bytes of garbage) {
    const socket = await raw();
    socket.write(bytes);
    const answer = JSON.parse((await everything(socket)).trim());
    assert.equal(answer.id, null, String(bytes));
    assert.equal(answer.error.code, 'PROTOCOL_VIOLATION', String(bytes));
  }
  assert.ok(await other.call('echo'));
});

test('a line without end is cut off at its bound', async (t) => {
  const { raw } = await begin(t);
  const socket = await raw();
  const answer = everything(socket);
  const part = Buffer.alloc(64 * 1024, 'a');
  for (let sent = 0; sent <= REQUEST_BYTES; sent += part.length) socket.write(part);
  assert.match(await answer, /longer than 262144 bytes/);
});

test('more requests than a connection may have are refused one by one', async (t) => {
  const { client } = await begin(t, {}, HANDLERS, { requests: 2 });
  const daemon = await client();
  const held = [daemon.call('hang'), daemon.call('hang')];
  await assert.rejects(daemon.call('echo'), code('NOT_ALLOWED'));
  daemon.close();
  assert.deepEqual(
    (await Promise.allSettled(held)).map((each) => each.status),
    ['rejected', 'rejected'],
  );
});

test('more connections than there may be are told so', async (t) => {
  const { client } = await begin(t, {}, HANDLERS, { connections: 2 });
  const [first, second] = [await client(), await client()];
  await Promise.all([first.call('echo'), second.call('echo')]);
  await assert.rejects((await client()).call('echo'), /too many connections/);
});

test('a client that has sent all it has to say still gets its answer', async (t) => {
  const { raw } = await begin(t);
  const socket = await raw();
  socket.end('{"id":7,"method":"who"}\n');
  assert.deepEqual(JSON.parse(await everything(socket)), { id: 7, result: { subject: 'local:ada', groups: [] } });
});

test('an idle connection is closed', async (t) => {
  const { raw } = await begin(t, {}, HANDLERS, { idle: 20 });
  const socket = await raw();
  socket.write('{"id":1,');
  // A reset, where the time was over before a busy host had what was written read.
  const said = await everything(socket).catch((error: NodeJS.ErrnoException) => error.code);
  assert.ok(said === '' || said === 'ECONNRESET', said);
});

test('the socket of a dead daemon is replaced, that of a live one is not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-control-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'control.sock');
  const options = { path, gate: gate(), handlers: HANDLERS, onFault: () => {} };
  const first = await ControlServer.open(options);
  await assert.rejects(ControlServer.open(options), code('CONFIG_INVALID'));
  assert.ok(await (await ControlClient.connect(path)).call('echo'), 'the first one goes on');
  await first.close();
  // A socket that is left behind: bound, and nobody listens.
  const dead = createServer().listen(path);
  await once(dead, 'listening');
  const kept = join(directory, 'kept');
  linkSync(path, kept);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(kept, path);
  const second = await ControlServer.open(options);
  assert.ok(await (await ControlClient.connect(path)).call('echo'));
  await second.close();
});

test('no daemon is told by its reason', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-control-'));
  t.after(() => rmSync(directory, { recursive: true }));
  await assert.rejects(ControlClient.connect(join(directory, 'none.sock')), /no such socket/);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  chmodSync(file, 0o666);
  await assert.rejects(ControlClient.connect(file), /nobody listens/);
});

test('requests split at every byte are the same requests', () => {
  const bytes = Buffer.from(
    '{"id":1,"method":"a","params":{"x":"é"}}\n{"id":2,"cancel":true}\n{"id":3,"method":"b"}\n',
  );
  const whole = [...new Lines(100).feed(bytes)].map(parseRequest);
  assert.equal(whole.length, 3);
  for (let at = 0; at <= bytes.length; at++) {
    const lines = new Lines(100);
    const parts = [...lines.feed(bytes.subarray(0, at)), ...lines.feed(bytes.subarray(at))];
    assert.deepEqual(parts.map(parseRequest), whole);
    assert.equal(lines.partial, false);
  }
  const single = new Lines(100);
  assert.deepEqual([...bytes].flatMap((byte) => [...single.feed(Buffer.of(byte))]).map(parseRequest), whole);
});
