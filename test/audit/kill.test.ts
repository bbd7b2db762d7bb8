import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Archive } from '../../daemon/audit/archive.ts';
import { openAudit } from '../../daemon/audit/audit.ts';
import { loadPublicKey } from '../../daemon/audit/checkpoint.ts';
import { verifyChain } from '../../daemon/audit/verify.ts';

const WRITER = new URL('writer.ts', import.meta.url).pathname;

/** Runs the writer until it has acknowledged `until` events more, kills it, and returns the last one that it acknowledged. */
async function killed(dir: string, perTurn: number, until: number): Promise<number> {
  const child = spawn(process.execPath, [WRITER, dir, String(perTurn)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let first: number | null = null;
  let acknowledged = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, number] = line.split(' ');
    if (word === 'open') first = Number(number);
    else acknowledged = Math.max(acknowledged, Number(number));
    if (first !== null && acknowledged - first >= until) child.kill('SIGKILL');
  }
  return acknowledged;
}

test('kill -9 at any moment loses no acknowledged event, and the chain goes on', { timeout: 120_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-kill-'));
  try {
    // Different counts end at different moments: before the first drain, within one, after segments were reused.
    for (const [perTurn, until] of [
      [1, 1],
      [1, 40],
      [3, 700],
      [7, 5_000],
      [1, 333],
      [200, 30_000],
      [3, 4_100],
    ] as const) {
      const acknowledged = await killed(dir, perTurn, until);
      const archive = new Archive(dir);
      const found = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
      assert.deepEqual(found.problems, []);
      assert.ok(found.last >= acknowledged, `event ${acknowledged} was acknowledged, the chain ends at ${found.last}`);
      assert.equal(found.events, found.last, 'no gap');
      for (const { seq, bytes } of archive.read(Math.max(1, acknowledged - 5), acknowledged + 1)) {
        assert.equal(JSON.parse(bytes.toString('utf8')).op, seq);
      }
      await archive.close();
    }
    const store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
    await store.record({ type: 'daemon.stop' }).durable();
    assert.deepEqual((await verifyChain(store, store.publicKey)).problems, []);
    await store.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('fdatasync of the journal ends before durable is told', { timeout: 60_000 }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-sync-'));
  const trace = join(dir, 'trace');
  try {
    const child = spawn(
      'strace',
      ['-f', '-y', '-e', 'trace=write,pwrite64,fdatasync,fsync', '-o', trace, process.execPath, WRITER, dir, '3'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let durable = 0;
    let missing = false;
    child.on('error', () => {
      missing = true;
    });
    let pid = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith('d ') || ++durable < 20) continue;
      // Killing strace would leave its child running: the child is named in the trace.
      pid ||= Number(readFileSync(trace, 'utf8').split(' ', 1)[0]);
      process.kill(pid, 'SIGKILL');
      break;
    }
    if (missing) return t.skip('strace is not installed');
    let synced = false;
    let told = 0;
    for (const line of readFileSync(trace, 'utf8').split('\n')) {
      if (/fdatasync\(\d+<[^>]*\/journal\.\d+>\)\s+= 0/.test(line) || /<\.\.\. fdatasync resumed>\)\s+= 0/.test(line))
        synced = true;
      else if (/(pwrite64|write)\(\d+<[^>]*\/journal\.\d+>/.test(line)) synced = false;
      else if (/write\(1<[^>]*>, "d \d/.test(line)) {
        assert.ok(synced, `told without a sync: ${line}`);
        told++;
      }
    }
    assert.ok(told >= 19, `${told} seen`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
