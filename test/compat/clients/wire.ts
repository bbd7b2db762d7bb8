/** What a JDBC driver says, message by message; prints every byte that comes back, but for keys and process numbers. */
import { connect } from 'node:net';

const socket = connect({ host: process.env.PGHOST!, port: Number(process.env.PGPORT) });
let got = Buffer.alloc(0);
let wake = () => {};
socket.on('data', (chunk) => {
  got = Buffer.concat([got, chunk]);
  wake();
});
socket.on('close', () => {
  console.log('closed');
});

const int16 = (n: number) => Buffer.from([n >> 8, n & 255]);
const int32 = (n: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(n);
  return bytes;
};
const text = (value: string) => Buffer.from(`${value}\0`);
const frame = (letter: string, ...parts: Buffer[]) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(letter), int32(body.length + 4), body]);
};
const parse = (name: string, sql: string, types: number[] = []) =>
  frame('P', text(name), text(sql), int16(types.length), ...types.map(int32));
const bind = (
  portal: string,
  name: string,
  values: (string | Buffer | null)[],
  formats: number[] = [],
  results: number[] = [],
) =>
  frame(
    'B',
    text(portal),
    text(name),
    int16(formats.length),
    ...formats.map(int16),
    int16(values.length),
    ...values.flatMap((value) =>
      value === null ? [int32(-1)] : [int32(Buffer.from(value).length), Buffer.from(value)],
    ),
    int16(results.length),
    ...results.map(int16),
  );
const describe = (kind: 'S' | 'P', name: string) => frame('D', Buffer.from(kind), text(name));
const execute = (portal: string, rows = 0) => frame('E', text(portal), int32(rows));
const close = (kind: 'S' | 'P', name: string) => frame('C', Buffer.from(kind), text(name));
const sync = frame('S');
const flush = frame('H');
const query = (sql: string) => frame('Q', text(sql));

/** Prints messages until `count` of this letter came. */
async function until(letter: string, count = 1): Promise<void> {
  for (let seen = 0; seen < count; ) {
    while (got.length < 5 || got.length < got.readInt32BE(1) + 1) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const size = got.readInt32BE(1) + 1;
    const kind = String.fromCharCode(got[0]!);
    console.log(
      kind,
      kind === 'K'
        ? size
        : got
            .subarray(5, size)
            .toString('latin1')
            .replaceAll(/[^ -~]/g, (c) => `\\x${c.charCodeAt(0).toString(16)}`),
    );
    got = got.subarray(size);
    if (kind === letter) seen++;
  }
}

const startup = Buffer.concat([
  int32(196608),
  ...[
    'user',
    process.env.PGUSER!,
    'database',
    'postgres',
    'client_encoding',
    'UTF8',
    'DateStyle',
    'ISO',
    'TimeZone',
    'UTC',
    'extra_float_digits',
    '2',
  ].map(text),
  Buffer.from([0]),
]);
socket.write(Buffer.concat([int32(startup.length + 4), startup]));
await until('Z');

async function step(name: string, readies: number, ...messages: Buffer[]): Promise<void> {
  console.log(`-- ${name}`);
  socket.write(Buffer.concat(messages));
  await until('Z', readies);
}

const byId = 'SELECT id, name, born, pay FROM people WHERE id = $1';
await step(
  'unnamed, described by portal',
  1,
  parse('', byId, [23]),
  bind('', '', ['3']),
  describe('P', ''),
  execute(''),
  sync,
);
await step('unnamed again without Parse', 1, bind('', '', ['4']), execute(''), sync);
await step('described by statement, binary', 1, parse('S_1', byId, [0]), describe('S', 'S_1'), sync);
for (let i = 1; i <= 6; i++) {
  const name = i < 5 ? '' : 'S_5';
  const head = i <= 5 ? [parse(name, byId, [23])] : [];
  await step(
    `switch to server-prepared, ${i}`,
    1,
    ...head,
    bind('', name, [int32(i)], [1], [1]),
    describe('P', ''),
    execute('', 1),
    sync,
  );
}
await step(
  'fetch size in a transaction',
  1,
  parse('', 'BEGIN'),
  bind('', '', []),
  execute(''),
  parse('', 'SELECT id FROM people ORDER BY id', []),
  bind('C_1', '', []),
  describe('P', 'C_1'),
  execute('C_1', 5),
  sync,
);
await step('next fetch', 1, execute('C_1', 5), sync);
await step('closed', 1, close('P', 'C_1'), sync);
await step('committed', 1, parse('', 'COMMIT'), bind('', '', []), execute(''), sync);
const insert = [
  parse('S_6', 'INSERT INTO parted VALUES ($1::text::date, $2) RETURNING n', [25, 23]),
  describe('S', 'S_6'),
];
await step(
  'batch of Binds before one Sync',
  1,
  ...insert,
  ...[1, 2, 3, 4, 5].flatMap((n) => [bind('', 'S_6', [`2024-05-0${n}`, String(n)]), describe('P', ''), execute('')]),
  sync,
);
await step(
  'batch with a failure in the middle',
  1,
  ...['2024-05-06', '1999-01-01', '2024-05-07'].flatMap((day) => [bind('', 'S_6', [day, '9']), execute('')]),
  sync,
);
await step('what it left', 1, query('SELECT count(*) FROM parted WHERE n = 9'));
await step(
  'several Syncs at once',
  4,
  parse('', 'SELECT 1'),
  bind('', '', []),
  execute(''),
  sync,
  parse('', 'SELECT 1/0'),
  bind('', '', []),
  execute(''),
  sync,
  query('SELECT 3'),
  sync,
);
await step(
  'errors of the protocol of names',
  3,
  bind('', 'nosuch', []),
  sync,
  execute('nosuch'),
  sync,
  describe('S', 'nosuch'),
  sync,
);
await step('a name twice', 1, parse('S_7', 'SELECT 1'), parse('S_7', 'SELECT 2'), sync);
await step('closing what is not there', 1, close('S', 'nosuch'), close('P', 'nosuch'), sync);
await step('wrong count of parameters', 1, bind('', 'S_5', []), sync);
await step('a value that does not fit', 1, bind('', 'S_5', ['x']), sync);
await step('two statements in Parse', 1, parse('', 'SELECT 1; SELECT 2'), sync);
await step('empty', 2, parse('', ''), bind('', '', []), describe('P', ''), execute(''), sync, query(''));
console.log('-- flush');
socket.write(Buffer.concat([parse('', 'SELECT 5'), describe('S', ''), flush]));
await until('T');
await step('after flush', 1, sync);
await step(
  'function call',
  1,
  frame('F', int32(1317), int16(1), int16(0), int16(1), int32(5), Buffer.from('hello'), int16(0)),
);
await step(
  'copy in by extended query',
  1,
  parse('', 'COPY parted FROM STDIN'),
  bind('', '', []),
  execute(''),
  sync,
  frame('d', Buffer.from('2024-07-01\t1\n')),
  frame('c'),
  sync,
);
await step(
  'copy in that the client gives up',
  1,
  query('COPY parted FROM STDIN'),
  frame('d', Buffer.from('2024-07-01\t1\n')),
  frame('f', text('given up')),
);
await step('copy out', 1, query('COPY (SELECT id, name FROM people WHERE id < 4) TO STDOUT'));
await step('failed transaction', 3, query('BEGIN'), query('SELEC'), query('SELECT 1'));
await step('rolled back', 1, query('ROLLBACK'));
await step('an unknown setting', 1, query('SET nosuch = 1'));
await step('large', 1, parse('', 'SELECT repeat($1, 100)', [25]), bind('', '', ['ä'.repeat(3)]), execute(''), sync);
socket.write(frame('X'));
