import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Helper, openHelper } from './helper.ts';

// The real helper is met in test/native; here the answers are those that it would never give, or gives when it refuses.
const dir = mkdtempSync(join(tmpdir(), 'sluice-helper-'));
after(() => rmSync(dir, { recursive: true }));
const ID = '0123456789abcdef0123456789abcdef';

/** One answer, byte by byte. */
async function answered<T>(answer: string, use: (helper: Helper) => Promise<T>): Promise<T> {
  const path = join(dir, 'helper.sock');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      for (const byte of Buffer.from(answer)) socket.write(Buffer.of(byte));
      socket.end();
    });
  }).listen(path);
  await once(server, 'listening');
  try {
    return await use(openHelper(path));
  } finally {
    server.close();
    await once(server, 'close');
  }
}

test('answers become values', async () => {
  assert.deepEqual(await answered(`ok 785 /sluice/sessions/${ID}\n`, (h) => h.createSession(ID, 64802)), {
    cgroupId: 785n,
    path: `/sluice/sessions/${ID}`,
  });
  assert.deepEqual(await answered(`${ID} 18446744073709551615 64802 populated\nok\n`, (h) => h.listSessions()), [
    { id: ID, cgroupId: 18446744073709551615n, uid: 64802, populated: true },
  ]);
  assert.deepEqual(await answered('ok\n', (h) => h.listSessions()), []);
  assert.equal(await answered('ok\n', (h) => h.endSession(ID)), undefined);
});

test('refusals keep the helper’s words and get a code', async () => {
  for (const [answer, code] of [
    ['error DENIED only root\n', 'NOT_ALLOWED'],
    ['error INSIDE a session\n', 'NOT_ALLOWED'],
    ['error UNKNOWN there is none\n', 'SESSION_UNKNOWN'],
    ['error HOOK egress is not effective\n', 'KERNEL_UNSUPPORTED'],
    ['error LIMIT too many\n', 'HELPER_UNREACHABLE'],
    ['error FAILED no\n', 'INTERNAL'],
  ] as const)
    await assert.rejects(
      answered(answer, (h) => h.endSession(ID)),
      { code, message: new RegExp(answer.trim().split(' ').slice(2).join(' ')) },
    );
});

test('an answer that is cut off, too long or not understood is no answer', async () => {
  for (const answer of [
    '',
    'ok',
    'ok\n\n',
    'okay\n',
    'error\n',
    'error DENIED',
    'ok 785\n',
    'ok x /y\n',
    `${ID}\nok\n`,
    'x'.repeat(300_000),
  ])
    await assert.rejects(
      answered<unknown>(answer, (h) => (answer.includes(ID) ? h.listSessions() : h.createSession(ID, 1))),
      { code: 'HELPER_UNREACHABLE' },
      JSON.stringify(answer.slice(0, 40)),
    );
  await assert.rejects(
    answered('ok {\n', (h) => h.status()),
    { code: 'HELPER_UNREACHABLE' },
  );
  await assert.rejects(openHelper(join(dir, 'nothing')).status(), { code: 'HELPER_UNREACHABLE' });
});
