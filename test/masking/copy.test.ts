/** COPY … TO STDOUT of a real server through a relay that masks one column: psql reads text and csv, asyncpg binary. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { randomMaskKey } from '../../daemon/masking/key.ts';
import { Scanner } from '../../daemon/masking/scanner.ts';
import type { CopyOut } from '../../daemon/protocols/postgres/sql/model.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Relay, type RelayMask, startRelay } from './relay.ts';

const run = promisify(execFile);
const PYTHON = '/usr/bin/python3';
const TEXT: CopyOut = { format: 'text', delimiter: '\t', null: '\\N', quote: '"', escape: '"', header: false };
const CSV: CopyOut = { ...TEXT, format: 'csv', delimiter: ',', null: '' };

const SETUP = String.raw`
  CREATE TABLE people (id int, secret text, note text);
  INSERT INTO people VALUES
    (1, 'canary one', 'plain'), (2, E'can\tary\n"two"', E'tab\there, "quoted", back\\slash'), (3, NULL, NULL), (4, '', ''),
    (5, E'\\N canary', E'\\.'), (6, 'canary|,;''', E'line\r\nends'), (7, 'canary "" é', 'é [redacted]');
  INSERT INTO people SELECT g, 'canary ' || g, repeat('x', g % 300) FROM generate_series(8, 2000) g;
  CREATE TABLE masked AS SELECT id, CASE WHEN secret IS NULL THEN NULL ELSE '[redacted]' END AS secret, note FROM people;
`;

const CASES: readonly (readonly [options: string, copy: CopyOut])[] = [
  ['', TEXT],
  ["(DELIMITER '|', NULL 'nix')", { ...TEXT, delimiter: '|', null: 'nix' }],
  ["(DELIMITER '[')", { ...TEXT, delimiter: '[' }],
  ['(HEADER)', { ...TEXT, header: true }],
  ['(FORMAT csv)', CSV],
  ['(FORMAT csv, HEADER, FORCE_QUOTE (id, note))', { ...CSV, header: true }],
  [
    `(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'nix')`,
    { ...CSV, delimiter: ';', quote: "'", escape: '\\', null: 'nix' },
  ],
];

describe('COPY TO STDOUT', { skip: postgresMissing() ?? false }, () => {
  let server: PostgresServer;
  let relay: Relay;
  let mask: RelayMask;
  const key = randomMaskKey();
  const base = { kind: 'redact', plain: true, key, detection: null } as const;
  const columns = { plan: [false, true, false], types: [23, 25, 25] };
  before(async () => {
    server = await startPostgres({ sql: SETUP });
    relay = await startRelay(server, () => mask);
  });
  after(async () => {
    relay?.close();
    await server?.stop();
  });

  const psql = async (port: number, sql: string): Promise<string> => {
    const args = ['-X', '-q', '-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', '-d', 'postgres', '-c', sql];
    return (await run('psql', args, { env: { ...process.env, PGSSLMODE: 'disable' } })).stdout;
  };

  for (const [options, copy] of CASES)
    test(`COPY ${options || 'as it is'}: the same bytes as of a table that holds the masks`, async () => {
      mask = { ...base, copy: { ...columns, options: copy } };
      const got = await psql(relay.port, `COPY people TO STDOUT ${options}`);
      // In text, a marker that a value could be says nothing of NULL any more.
      const guess = copy.format === 'text' && copy.null !== '\\N' && copy.null !== '';
      const source = guess ? "(SELECT id, coalesce(secret, '[redacted]'), note FROM masked)" : 'masked';
      const wanted = await psql(server.port, `COPY ${source} TO STDOUT ${options}`);
      assert.equal(got, wanted);
      assert.ok(!got.includes('canary'));
    });

  test('binary, read by asyncpg, and content found in it', async () => {
    mask = {
      ...base,
      detection: { scanner: new Scanner(['emails']), with: 'redact' },
      copy: { ...columns, options: { ...TEXT, format: 'binary' } },
    };
    const script = `
import asyncio, asyncpg, io, sys
async def main():
    c = await asyncpg.connect(host='127.0.0.1', port=${relay.port}, user='postgres', database='postgres', ssl=False)
    out = io.BytesIO()
    await c.copy_from_query("SELECT id, secret, CASE id WHEN 1 THEN 'to a@b.io' ELSE note END FROM people", output=out, format='binary')
    sys.stdout.buffer.write(out.getvalue())
asyncio.run(main())`;
    const { stdout } = await run(PYTHON, ['-c', script], { encoding: 'buffer', maxBuffer: 1 << 26 });
    assert.ok(!stdout.includes('canary'));
    assert.ok(!stdout.includes('a@b.io'));
    assert.ok(stdout.includes('to [redacted]'));
    assert.equal(stdout.readInt16BE(stdout.length - 2), -1);
    // The server takes it back.
    await run(PYTHON, [
      '-c',
      `
import asyncio, asyncpg, io, sys
async def main():
    c = await asyncpg.connect(host='127.0.0.1', port=${server.port}, user='postgres', database='postgres', ssl=False)
    await c.execute('CREATE TABLE back (id int, secret text, note text)')
    await c.copy_to_table('back', source=io.BytesIO(bytes.fromhex(sys.argv[1])), format='binary')
asyncio.run(main())`,
      hexOfFirstRows(stdout),
    ]);
    assert.equal(await server.psql("SELECT count(*) FROM back WHERE secret = '[redacted]'"), '3');
  });
});

/** Header, the first four rows and a trailer: an argument has to be short. */
function hexOfFirstRows(stream: Buffer): string {
  let at = 19;
  for (let row = 0; row < 4; row++) {
    at += 2;
    for (let column = 0; column < 3; column++) at += 4 + Math.max(0, stream.readInt32BE(at));
  }
  return Buffer.concat([stream.subarray(0, at), Buffer.of(0xff, 0xff)]).toString('hex');
}
