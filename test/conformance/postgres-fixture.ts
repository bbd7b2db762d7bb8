/** PostgreSQL's words for the conformance suite. */
import net from 'node:net';
import { B, F, message, readyForQuery } from '../../daemon/protocols/postgres/wire.ts';
import { postgresMissing } from '../harness/postgres.ts';
import type { Answer, Client, Fixture, Lie } from './fixture.ts';
import { ALLOW, CANARY, openFor, openPostgresStage } from './postgres-stage.ts';
import {
  bind,
  cancel,
  close,
  copyData,
  copyDone,
  describe,
  execute,
  fields,
  flush,
  int32,
  type Message,
  parse,
  query,
  run,
  shown,
  sync,
  Wire,
} from './postgres-wire.ts';
import type { Sides } from './splitting.ts';

const policy = (hold: number, masks = true): string => `
${ALLOW}
  - name: not this
    deny: [read, write, ddl]
    who: {groups: [agents]}
    on: db
    tables: [public.forbidden]
    reason: it is forbidden
    hint: use open.forbidden
  - name: ask first
    approve: [write]
    who: {groups: [agents]}
    on: db
    tables: [public.done]
    reviewers: {groups: [reviewers]}
    hold: ${hold / 1000}s
${masks ? MASKS : ''}`;

const MASKS = `
masks:
  - {name: numbers, on: db, columns: [public.people.ssn], with: redact}
detect: [emails]
`;

class PostgresClient implements Client {
  readonly #wire: Wire;
  readonly #port: number;
  #notices: string[] = [];

  constructor(wire: Wire, port: number) {
    this.#wire = wire;
    this.#port = port;
  }

  static async connect(port: number): Promise<PostgresClient> {
    return new PostgresClient(await Wire.open(port), port);
  }

  async ask(act: Buffer): Promise<Answer> {
    this.send(act);
    return this.answer();
  }

  send(bytes: Buffer): void {
    this.#wire.send(bytes);
  }

  async answer(): Promise<Answer> {
    // COPY IN: the data follows in the same bytes.
    return answered(await this.#wire.ready());
  }

  async notice(): Promise<string> {
    const came = await this.#wire.until(({ letter }) => letter === 'N');
    this.#notices.push(...came.map(shown));
    return came.map(shown).join('\n');
  }

  cancel(): Promise<void> {
    return cancel(this.#port, this.#wire.key);
  }

  bytes(): Buffer {
    return this.#wire.all;
  }

  async ended(): Promise<string> {
    return (await this.#wire.end()).map(shown).join('\n');
  }

  vanish(): void {
    this.#wire.close();
  }
}

function answered(came: readonly Message[]): Answer {
  const failed = came.find(({ letter }) => letter === 'E');
  const text = came.map(shown).join('\n');
  if (failed === undefined) return { done: came.at(-1)?.letter === 'Z', text };
  const { C: code = '', M = '', D, H } = fields(failed.body);
  return { done: false, text, error: { code, message: M, ...(D ? { detail: D } : {}), ...(H ? { hint: H } : {}) } };
}

const all = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts);
const SSN = 'SELECT id, ssn FROM people ORDER BY id';
const copyIn = (table: string, ...lines: readonly string[]): Buffer =>
  all(query(`COPY ${table} FROM STDIN`), ...lines.map((line) => copyData(`${line}\n`)), copyDone);

const lie = (name: string, bytes: Buffer, then: Lie['then'] = 'wait'): Lie => ({ name, bytes, then });
const int16 = (value: number): Buffer => int32(value).subarray(2);
const described = message(
  B.rowDescription,
  int16(1),
  'a\0',
  int32(0),
  int16(0),
  int32(25),
  int16(-1),
  int32(-1),
  int16(0),
);
const row = message(B.dataRow, int16(1), int32(CANARY.length), CANARY);

export const postgresFixture: Fixture = {
  name: 'postgres',
  missing: postgresMissing,
  lacks: { ignored: 'every message is answered, or ends the connection' },

  async open({ hold, masks }) {
    let sides: Sides = { client: false, upstream: false };
    const made = await openPostgresStage(policy(hold, masks), () => sides);
    await made.server.psql('CREATE TABLE scratch (a int, b text)');
    return {
      stage: made.stage,
      tap: made.tap,
      connect: () => PostgresClient.connect(made.stage.port),
      direct: () => PostgresClient.connect(made.server.port),
      effects: async () => Number(await made.server.psql('SELECT count(*) FROM done')),
      split(wanted) {
        sides = wanted;
      },
      close: () => made.close(),
    };
  },

  async liar() {
    const made = await openPostgresStage(policy(1000));
    const now = { lie: postgresFixture.lies[0]! };
    const server = net.createServer({ noDelay: true }, (near) => between(near, made.server.port, () => now.lie));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const sluice = await openFor(port, policy(1000));
    return Object.assign(now, {
      stage: sluice.stage,
      connect: () => PostgresClient.connect(sluice.stage.port),
      async close() {
        await sluice.close();
        server.close();
        await made.close();
      },
    });
  },

  acts: {
    read: query('SELECT 40 + 2 AS answer'),
    denied: query('SELECT what FROM forbidden'),
    deniedCode: '42501',
    held: query("INSERT INTO done VALUES ('held')"),
    heldText: "INSERT INTO done VALUES ('held')",
    large: query(`SELECT '${'x'.repeat(10_000_000)}'`),
  },
  canary: CANARY,

  masked: {
    'simple query': [query(SSN)],
    'expression and alias': [query("SELECT upper(ssn) || 'x' AS name, ssn AS id FROM people LIMIT 2")],
    'extended, without Describe': [all(run(SSN), sync)],
    'extended, Describe of the statement': [
      all(parse(SSN, 's'), describe('S', 's'), bind([], { name: 's' }), execute(), sync),
    ],
    'extended, Describe of the portal': [all(parse(SSN), bind(), describe('P'), execute(), sync)],
    'extended, binary': [all(parse(SSN), bind([], { formats: [1] }), execute(), sync)],
    'prepared once, run again': [
      all(parse(SSN, 's'), sync),
      all(bind([], { name: 's' }), execute(), sync),
      all(bind([], { name: 's', formats: [0, 1] }), execute(), sync),
    ],
    'portal resumed': [all(parse(SSN), bind(), execute('', 2), execute('', 1), execute(), sync)],
    'portal resumed after Sync': [
      query('BEGIN'),
      all(parse(SSN), bind([], { portal: 'p' }), execute('p', 2), sync),
      all(execute('p', 2), sync),
      all(execute('p'), close('P', 'p'), sync),
    ],
    cursor: [query(`BEGIN; DECLARE c CURSOR FOR ${SSN}`), query('FETCH 2 FROM c; FETCH ALL FROM c'), query('COMMIT')],
    'PREPARE and EXECUTE': [query(`PREPARE p AS ${SSN}`), query('EXECUTE p')],
    COPY: [query('COPY people TO STDOUT'), query(`COPY (${SSN}) TO STDOUT (FORMAT csv, HEADER)`)],
    'COPY, extended': [all(run('COPY people TO STDOUT'), sync)],
    RETURNING: [query('BEGIN'), query('UPDATE people SET id = id RETURNING *'), query('ROLLBACK')],
    'several statements': [query(`SELECT 1; ${SSN}; SELECT 2; SELECT ssn FROM people WHERE id = 2`)],
    'an error that quotes it': [query('SELECT ssn::int FROM people')],
    'an error that quotes it, extended': [all(run('SELECT ssn::int FROM people'), sync)],
    'row as a whole': [query('SELECT people FROM people'), query('SELECT to_json(people) FROM people')],
  },

  talks: {
    'simple queries': [
      query('SELECT 1'),
      query(''),
      query(';;'),
      query("SELECT 1; SELECT 'two', NULL; SELECT 3 WHERE false"),
      query('SELECT 1 / 0'),
      query('SELECT no_such_column'),
      query("SELECT repeat('x', 70000)"),
      query('SELECT \'é€𝄞\' AS "ä"'),
    ],
    'a transaction that fails': [
      query('BEGIN'),
      query('SELECT 1 / 0'),
      query('SELECT 1'),
      all(run('SELECT 1'), sync),
      query('ROLLBACK'),
      query('SELECT 1'),
    ],
    extended: [
      all(parse('SELECT $1::int + 1'), describe('S'), bind(['41']), describe('P'), execute(), sync),
      all(
        parse('SELECT generate_series(1, 5)', 's'),
        bind([], { name: 's', portal: 'p' }),
        execute('p', 2),
        execute('p', 2),
        execute('p', 2),
        sync,
      ),
      all(bind([], { name: 's', formats: [1] }), execute(), close('S', 's'), sync),
      all(bind([], { name: 's' }), execute(), sync),
      all(run(''), sync),
      all(run('SELECT 1 / 0'), run('SELECT 1'), sync),
      all(run('SELECT $1::text', ['x'.repeat(200_000)]), sync),
      sync,
    ],
    'COPY in and out': [
      query('BEGIN'),
      copyIn('scratch', '1\tone', '2\ttwo'),
      query('COPY scratch TO STDOUT'),
      all(run('COPY scratch FROM STDIN'), copyData('3\tthree\n'), copyDone, sync),
      query('TABLE scratch'),
      query('ROLLBACK'),
      copyIn('scratch', 'not a number\tx'),
      query('SELECT 1'),
    ],
    flushed: [all(run('SELECT 1'), flush, run('SELECT 2'), flush, sync)],
  },

  half: query('SELECT 1').subarray(0, 9),

  bad: {
    'an unknown letter': Buffer.from([0x01]),
    'a letter of the server': Buffer.from('T'),
    'a length of 1 GB': all(Buffer.from([F.query]), int32(0x40000000)),
    'a negative length': all(Buffer.from([F.query]), int32(-1)),
    'the length 0': all(Buffer.from([F.parse]), int32(0)),
    'the length 3': all(Buffer.from([F.sync]), int32(3)),
    'a long Describe': all(Buffer.from([F.describe]), int32(70_000)),
    'a name without end': message(F.describe, 'Sname'),
    'a Bind without end of its names': message(F.bind, 'name'),
    'a password': message(F.password, 'secret\0'),
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: db\r\n\r\n'),
  },

  lies: [
    lie('a length of 0', all(Buffer.from([B.rowDescription]), int32(0))),
    lie('a length of 2 GB', all(Buffer.from([B.dataRow]), int32(0x7fffffff))),
    lie('a negative length', all(Buffer.from([B.commandComplete]), int32(-1))),
    lie('an unknown letter', message(0x01, 'x')),
    lie('a letter of a client', message(F.query, 'SELECT 1\0')),
    lie('a login again', message(B.authentication, int32(0))),
    lie('an answer to a Parse that nobody sent', message(B.parseComplete)),
    lie('ReadyForQuery twice', all(readyForQuery(0x49), readyForQuery(0x49))),
    lie('CopyInResponse to a SELECT', message(B.copyInResponse, Buffer.from([0, 0, 0]))),
    lie('a RowDescription that counts one field too many', message(B.rowDescription, int16(2), described.subarray(7))),
    lie('a RowDescription that counts 65535 fields', message(B.rowDescription, int16(-1))),
    lie('rows without a description', all(row, message(B.commandComplete, 'SELECT 1\0'), readyForQuery(0x49)), 'close'),
    lie('COPY data that nobody asked for', all(message(B.copyData, `${CANARY}\n`), readyForQuery(0x49)), 'close'),
    lie('a row that counts more fields than it has', all(described, message(B.dataRow, int16(3), row.subarray(7)))),
    lie('a field that is longer than its row', all(described, message(B.dataRow, int16(1), int32(999), CANARY))),
    lie('a field of length -2', all(described, message(B.dataRow, int16(1), int32(-2), CANARY))),
    lie('half a row, then gone', row.subarray(0, 12), 'close'),
    lie('half a row, then reset', row.subarray(0, 12), 'reset'),
    lie('nothing, then gone', Buffer.alloc(0), 'close'),
    lie('half a control message', all(Buffer.from([B.commandComplete]), int32(100)), 'close'),
    lie('a control message of 500 MB', all(Buffer.from([B.error]), int32(500_000_000))),
  ],
};

/** The real server up to the end of the login, and the whole way for sluice's own questions; then the lie. */
function between(near: net.Socket, port: number, now: () => Lie): void {
  const far = net.connect({ port, host: '127.0.0.1' });
  let first = true;
  let lies = false;
  let ready = false;
  near.on('data', (bytes) => {
    if (first) lies = !bytes.includes('sluice catalog');
    first = false;
    if (!lies || !ready) {
      far.write(bytes);
      return;
    }
    const { bytes: lie, then } = now();
    if (lie.length > 0) near.write(lie);
    if (then === 'close') near.end();
    else if (then === 'reset') setImmediate(() => near.resetAndDestroy());
  });
  far.on('data', (bytes) => {
    ready ||= bytes.includes(readyForQuery(0x49));
    near.write(bytes);
  });
  const end = () => {
    near.destroy();
    far.destroy();
  };
  for (const socket of [near, far]) socket.on('error', end).on('close', end);
}
