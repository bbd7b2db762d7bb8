/** node-postgres at work; prints all that it sees. */
import pg from 'pg';
// @ts-expect-error it has no types
import Cursor from 'pg-cursor';

const client = new pg.Client();
const say = (...what: unknown[]) => console.log(JSON.stringify(what));
client.on('notice', (notice) => say('notice', notice));
client.on('notification', ({ channel, payload }) => say('notification', channel, payload));
await client.connect();

interface Said {
  readonly command?: string;
  readonly rowCount?: number | null;
  readonly rows?: unknown;
  readonly fields?: unknown;
}

async function attempt(work: Promise<unknown>): Promise<void> {
  try {
    const result = await work;
    for (const each of (Array.isArray(result) ? result : [result]) as (Said | undefined)[])
      say(each?.command, each?.rowCount, each?.rows, each?.fields, each);
  } catch (error) {
    say((error as Error).message, { ...(error as object) });
  }
}

await attempt(client.query('SELECT * FROM people WHERE id < 4 ORDER BY id'));
await attempt(client.query('SELECT id, name, born, pay, picture FROM people WHERE id = $1', [7]));
await attempt(
  client.query({ text: 'SELECT id, name, picture, pay FROM people WHERE id = $1', values: [8], binary: true } as never),
);
for (const id of [1, 2, 3])
  await attempt(client.query({ name: 'one', text: 'SELECT name FROM people WHERE id = $1', values: [id] }));
await attempt(client.query({ text: 'SELECT id, tags FROM people WHERE id < $1', values: [4], rowMode: 'array' }));
await attempt(client.query("SELECT 1 AS a; SELECT 2 AS b; INSERT INTO parted VALUES ('2024-01-01', 1)"));
await attempt(client.query('SELECT 1; SELECT 1/0; SELECT 2'));
await attempt(client.query('SELECT $1::int', ['x']));
await attempt(client.query({ name: 'broken', text: 'SELECT nosuch FROM people WHERE id = $1', values: [1] }));
await attempt(client.query('SELEC'));
await attempt(client.query(''));
await attempt(client.query('SELECT complain($1)', ['node']));
// All sent before the first is answered by those who pipeline; queued by those who do not.
await Promise.all([
  ...Array.from({ length: 30 }, (_, i) => attempt(client.query('SELECT $1::int + 1 AS n, count(*) FROM people', [i]))),
  attempt(client.query('SELECT 1/$1::int', [0])),
  attempt(client.query({ name: 'one', text: 'SELECT name FROM people WHERE id = $1', values: [9] })),
]);
const cursor = client.query(new Cursor('SELECT id, name FROM people WHERE id > $1 ORDER BY id', [10]));
say(await cursor.read(3), await cursor.read(100));
await cursor.close();
const failing = client.query(new Cursor('SELECT 100 / (15 - id) FROM people WHERE id > $1 ORDER BY id', [10]));
await attempt(failing.read(2));
await attempt(failing.read(100));
await failing.close().catch(() => {});
await attempt(client.query('LISTEN news'));
await attempt(client.query("NOTIFY news, 'payload'"));
await attempt(client.query('BEGIN'));
await attempt(client.query('SELECT 1/0'));
await attempt(client.query('SELECT 1'));
await attempt(client.query('COMMIT'));
await attempt(client.query('SELECT current_setting($1)', ['transaction_isolation']));
const pool = new pg.Pool({ max: 3 });
say(
  await Promise.all(Array.from({ length: 20 }, async (_, i) => (await pool.query('SELECT $1::text AS t', [i])).rows)),
);
await pool.end();
const wrong = await new pg.Client({ database: 'nosuch' }).connect().catch((error) => error);
say(wrong.message, wrong.code);
await client.end();
