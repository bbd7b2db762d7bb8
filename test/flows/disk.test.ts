/** A full disk under the audit: new operations are refused and say so, and go on when there is room. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

/** Takes all the room that its disk has left. */
function fill(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (const piece of [Buffer.alloc(1 << 16), Buffer.alloc(1)]) {
      try {
        for (;;) writeSync(fd, piece);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(fd);
  }
}

suite('a full disk', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;
  let disk: string;

  before(async () => {
    database = await startPostgres({ sql: 'CREATE TABLE counter AS SELECT 0 AS n;' });
    disk = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', disk]).status, 0);
    const [, , uid, gid] = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((line) => line.startsWith('sluice:'))!
      .split(':');
    chownSync(disk, Number(uid), Number(gid));
    stack = await startStack({
      name: 'disk',
      config: { stateDir: disk },
      policy: `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${database.port}
    tls: off
    login: none
rules:
  - name: agents write
    allow: [read, write]
    who: {groups: [agents]}
    on: db
`,
    });
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
    if (disk !== undefined) {
      spawnSync('umount', ['-l', disk]);
      rmdirSync(disk);
    }
  });

  test('new operations are refused with 53100 and the reason, and go on when there is room', {
    timeout: 90_000,
  }, async () => {
    const filler = join(disk, 'filler');
    const script = `
import os, sys, psycopg2
connection = psycopg2.connect(host="127.0.0.1", port=${database.port}, user="postgres", dbname="postgres", sslmode="disable")
connection.autocommit = True
cursor = connection.cursor()
done = 0
for line in sys.stdin:
    try:
        cursor.execute("UPDATE counter SET n = n + 1 /* %s */" % ("x" * 8000))
        done += 1
        print("done", done, flush=True)
    except psycopg2.Error as error:
        print("refused", error.pgcode, str(error).split("\\n")[0], flush=True)
`;
    const child = stack.agent(['/usr/bin/python3', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    let wake = () => {};
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      wake();
    });
    const once = async (): Promise<string> => {
      text = '';
      child.stdin!.write('go\n');
      while (!text.endsWith('\n')) {
        assert.equal(child.exitCode, null, 'the agent has ended');
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return text.trim();
    };
    assert.equal(await once(), 'done 1');
    fill(filler);
    let said = await once();
    let done = 1;
    // What LMDB has room for within its file still goes.
    while (said.startsWith('done')) {
      done = Number(said.split(' ')[1]);
      said = await once();
    }
    assert.match(said, /^refused 53100 sluice: .*(full|disk|room|space)/);
    assert.match(await once(), /^refused 53100/);
    assert.equal(await database.psql('SELECT n FROM counter'), String(done));
    rmSync(filler);
    said = await once();
    while (said.startsWith('refused 53100')) said = await once();
    assert.equal(said, `done ${done + 1}`);
    child.stdin!.end();
    assert.equal(await database.psql('SELECT n FROM counter'), String(done + 1));
    const { stdout } = await stack.sluice(['audit', '--no-pager', '-o', 'cat', 'VERB=UPDATE', 'DECISION=allow']);
    assert.equal(stdout.match(/UPDATE counter/g)?.length, done + 1);
    const verified = await stack.sluice(['verify']);
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  });
});
