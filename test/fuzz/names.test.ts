/** What names mean while a statement is analysed: the analysis takes its time, and the server answers meanwhile. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { SluiceError } from '../../daemon/core/errors.ts';
import { PgClassified, type Statements } from '../../daemon/protocols/postgres/classify.ts';
import { PostgresCodec } from '../../daemon/protocols/postgres/codec.ts';
import { SessionNames } from '../../daemon/protocols/postgres/session.ts';
import { B, F, message, readyForQuery } from '../../daemon/protocols/postgres/wire.ts';
import type { Act, Outlet } from '../../daemon/protocols/protocol.ts';
import { OBLIGATIONS, statements, TOOLS } from './statements.ts';

const PRINCIPAL = { subject: 'local:agent', groups: [] };
const outlet: Outlet = { toClient() {}, lend: () => true, idle: true, toUpstream() {}, ended() {} };

const parse = (name: string, text: string) => message(F.parse, `${name}\0${text}\0`, Buffer.alloc(2));
const bind = (name: string) => message(F.bind, `\0${name}\0`, Buffer.alloc(6));
const execute = () => message(F.execute, '\0', Buffer.alloc(4));
const runs = (text: string) => [parse('', text), bind(''), execute()];
const sync = message(F.sync);
const close = (name: string) => message(F.close, `S${name}\0`);

const parsed = message(B.parseComplete);
/** With the answer to the Describe that the codec puts in where masks apply. */
const bound = Buffer.concat([message(B.bindComplete), message(B.noData)]);
const closed = message(B.closeComplete);
const done = (tag: string) => message(B.commandComplete, `${tag}\0`);
const failed = message(B.error, 'SERROR\0VERROR\0CXX001\0Mfailed\0\0');
const idle = readyForQuery(0x49);

describe('names that change while a statement is analysed', () => {
  let codec: PostgresCodec;
  /** Texts whose analysis waits until it is released. */
  let slow: Set<string>;
  let release: () => void;
  /** Texts that can't be made out. */
  let broken: Set<string>;

  beforeEach(() => {
    const real = statements(() => false);
    slow = new Set();
    broken = new Set();
    const waiting: (() => void)[] = [];
    release = () => {
      for (const go of waiting.splice(0)) go();
    };
    const gated: Statements = {
      ...real,
      analyze(text, names, types) {
        if (broken.has(text)) throw new SluiceError('STATEMENT_TOO_COMPLEX', 'as it is for a test');
        const made = real.analyze(text, names, types);
        if (!slow.has(text)) return made;
        slow.delete(text);
        return new Promise((resolve) => waiting.push(() => resolve(made)));
      },
    };
    codec = new PostgresCodec({
      statements: gated,
      tools: TOOLS,
      limits: { statement: 4096 },
      session: new SessionNames(),
      obligations: () => OBLIGATIONS,
      parameters: new Map([['client_encoding', 'UTF8']]),
    });
  });

  const next = (): Act => {
    const unit = codec.next();
    if (unit?.kind !== 'act') assert.fail(`expected an act, got ${unit?.kind}`);
    return unit.act;
  };
  const forward = (act: Act, classified: unknown): Buffer => {
    assert.ok(classified instanceof PgClassified);
    const plan = classified.protect(OBLIGATIONS);
    return codec.forward(act, { classified, plan, policy: '0', principal: PRINCIPAL, decisions: [] }, []);
  };
  /** Sends these, and lets all of them through. */
  const send = async (...messages: readonly Buffer[]) => {
    codec.client(Buffer.concat(messages));
    for (let unit = codec.next(); unit !== null; unit = codec.next()) {
      if (unit.kind !== 'act') continue;
      const { act } = unit;
      forward(act, act.verdict?.classified ?? (await codec.classify(act)));
    }
  };
  const answer = (...messages: readonly Buffer[]) => codec.upstream(Buffer.concat(messages), outlet);
  /** Whether what Bind runs under this name is masked. */
  const masked = async (name: string): Promise<boolean> => {
    codec.client(bind(name));
    const classified = await codec.classify(next());
    return (classified.protect(OBLIGATIONS) as unknown as { protections: { withholdErrors: boolean }[] })
      .protections[0]!.withholdErrors;
  };

  test('a prepared statement analysed anew for a SET that is then skipped is masked as before it', async () => {
    await send(parse('n', 'READ'), sync);
    answer(parsed, idle);
    await send(...runs('FAIL'), ...runs('SET a'));
    slow.add('READ');
    codec.client(parse('', 'SHOW'));
    const act = next();
    const classified = codec.classify(act);
    answer(parsed, bound, failed);
    release();
    assert.equal(forward(act, await classified).length, 0);
    await send(sync);
    answer(idle);
    assert.equal(await masked('n'), true);
  });

  test('a statement parsed after a SET that is undone later is masked as before it', async () => {
    await send(...runs('SET a'));
    slow.add('READ');
    codec.client(parse('n', 'READ'));
    const act = next();
    const classified = codec.classify(act);
    answer(parsed, bound, done('SET'));
    release();
    forward(act, await classified);
    await send(...runs('FAIL'), sync);
    answer(parsed, parsed, bound, failed, idle);
    assert.equal(await masked('n'), true);
  });

  test('a name that is prepared anew meanwhile keeps the meaning that the server gave it', async () => {
    await send(parse('n', 'SHOW'), sync);
    answer(parsed, idle);
    await send(close('n'), parse('n', 'SECRET'), ...runs('SET b'));
    slow.add('SHOW');
    codec.client(parse('m', 'READ'));
    const act = next();
    const classified = codec.classify(act);
    answer(closed, parsed, parsed, bound, done('SET'));
    release();
    forward(act, await classified);
    await send(sync);
    answer(parsed, idle);
    assert.equal(await masked('n'), true);
  });

  test('a prepared statement that can no longer be made out is refused', async () => {
    await send(parse('n', 'READ'), sync);
    answer(parsed, idle);
    broken.add('READ');
    await send(...runs('SET a'), sync);
    answer(parsed, bound, done('SET'), idle);
    await send(parse('', 'SHOW'), sync);
    answer(parsed, idle);
    await assert.rejects(masked('n'), { code: 'STATEMENT_TOO_COMPLEX' });
  });

  for (const bytes of [
    message(F.describe),
    message(F.close),
    message(F.close, 'S'),
    message(F.close, 'Sx'),
    message(F.bind),
    message(F.bind, '\0'),
    message(F.execute),
  ])
    test(`a message that ends before its name does is none: ${JSON.stringify(bytes.toString('latin1'))}`, () => {
      codec.client(bytes);
      assert.throws(() => codec.next(), { code: 'PROTOCOL_VIOLATION' });
    });
});
