/** Streams of a client: all messages in all orders, over few names, so that they meet; some with bytes changed. */
import { F, message } from '../../daemon/protocols/postgres/wire.ts';
import type { Random } from './random.ts';

const LONG = 'n'.repeat(63);
const NAMES = ['', 'n1', 'n2', `${LONG}x`, `${LONG}y`];
const SQL_NAMES = ['n1', 'n2', `${LONG}x`];
const SIMPLE = ['SHOW', 'SHOW', 'SECRET', 'READ', 'TOUCH', 'FAIL', 'LEAKFAIL', 'FORBID', 'NOSUCH'];

function statement(random: Random, deep = true): string {
  const name = random.pick(SQL_NAMES);
  const choice = random.below(deep ? 20 : 7);
  if (choice < 6) return random.pick(SIMPLE);
  switch (choice) {
    case 6:
      return `${random.pick(['SECRET', 'SHOW', 'READ'])}`;
    case 7:
      return `SET ${random.pick(['a', 'b'])}`;
    case 8:
      return `LOCAL ${random.pick(['a', 'b'])}`;
    case 9:
      return 'BEGIN';
    case 10:
      return random.pick(['COMMIT', 'ROLLBACK']);
    case 11:
      return random.chance(0.2) ? 'DISCARD' : 'BEGIN';
    case 12:
      return `PREPARE ${name} AS ${statement(random, false)}`;
    case 13:
      return `execute ${name}`;
    case 14:
      return `DEALLOCATE ${name}`;
    case 15:
      return `DECLARE ${name} FOR ${random.pick(['SHOW', 'SECRET', 'READ'])}`;
    case 16:
      return `fetch ${name}`;
    case 17:
      return `CLOSE ${name}`;
    case 18:
      return random.pick(['COPYIN', 'COPYOUT', 'COPYSECRET']);
    default:
      return `MAYBE ${random.pick(['a', 'b'])}`;
  }
}

/** What belongs behind a COPYIN. */
function copied(random: Random): Buffer {
  const rows = Array.from({ length: random.below(3) }, () =>
    message(F.copyData, random.chance(0.2) ? 'bad\n' : 'good\n'),
  );
  const sync = random.chance(0.3) ? [message(F.sync)] : [];
  return Buffer.concat([
    ...sync,
    ...rows,
    ...sync,
    random.chance(0.9) ? message(F.copyDone) : message(F.copyFail, 'no\0'),
  ]);
}

const zero = Buffer.alloc(2);

function one(random: Random): Buffer {
  const name = random.pick(NAMES);
  const portal = random.pick(NAMES);
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2: {
      const count = random.chance(0.3) ? random.below(4) : 1;
      const text = Array.from({ length: count }, () => statement(random)).join('; ');
      const data = text.includes('COPYIN') && random.chance(0.8) ? [copied(random)] : [];
      return Buffer.concat([message(F.query, `${text}\0`), ...data]);
    }
    case 3:
    case 4:
      return message(F.parse, `${name}\0${random.chance(0.05) ? '' : statement(random)}\0`, zero);
    case 5:
    case 6:
      return message(F.bind, `${portal}\0${name}\0`, zero, zero, zero);
    case 7:
    case 8: {
      const most = Buffer.alloc(4);
      most.writeInt32BE(random.pick([0, 0, 1, 2]));
      return message(F.execute, `${portal}\0`, most);
    }
    case 9:
      return message(F.describe, `${random.pick(['S', 'P'])}${name}\0`);
    case 10:
      return message(F.close, `${random.pick(['S', 'P'])}${name}\0`);
    case 11:
    case 12:
      return message(F.sync);
    case 13:
      return message(F.flush);
    case 14:
      return random.pick([
        message(F.copyData, random.pick(['good\n', 'bad\n'])),
        message(F.copyDone),
        message(F.copyFail, 'no\0'),
      ]);
    default: {
      // The usual round of a driver.
      const text = statement(random);
      const run = [
        message(F.parse, `${name}\0${text}\0`, zero),
        message(F.bind, `${portal}\0${name}\0`, zero, zero, zero),
        message(F.execute, `${portal}\0`, Buffer.alloc(4)),
        ...(text === 'COPYIN' ? [copied(random)] : []),
      ];
      if (random.chance(0.2)) return message(F.functionCall, Buffer.from([0, 0, 0, random.below(3)]), zero, zero, zero);
      return Buffer.concat(random.chance(0.6) ? [...run, message(F.sync)] : run);
    }
  }
}

/**
 * Something harmless is made ready, the session changes, and what was made ready is used: by one name or by two that the
 * server takes for one. Each part may be missing.
 */
function scene(random: Random): Buffer {
  const names = random.pick([
    ['n1', 'n1'],
    ['n1', 'n2'],
    [`${LONG}x`, `${LONG}y`],
  ] as const);
  const name = () => random.pick(names);
  // What is used may itself go by a name, which changes.
  const other = random.pick(['n1', 'n2', 'n3']);
  const maybe = (bytes: Buffer, probability = 0.85) => (random.chance(probability) ? [bytes] : []);
  const sync = () => maybe(message(F.sync), 0.6);
  const query = (text: string) => message(F.query, `${text}\0`);
  const parse = (text: string, as: string) => message(F.parse, `${as}\0${text}\0`, zero);
  const bind = (portal: string, of: string) => message(F.bind, `${portal}\0${of}\0`, zero, zero, zero);
  const execute = (portal: string) => message(F.execute, `${portal}\0`, Buffer.from([0, 0, 0, random.below(2)]));
  const run = (text: string) => Buffer.concat([parse(text, ''), bind('', ''), execute('')]);
  const either = (text: string) =>
    random.chance(0.5) ? Buffer.concat([...sync(), query(text)]) : Buffer.concat([run(text), ...sync()]);
  const secret = random.pick(['SECRET', 'READ', 'LEAKFAIL']);
  const ends = () => either(random.pick(['BEGIN', 'COMMIT', 'ROLLBACK', 'DISCARD']));
  const themes = {
    path: {
      uses: ['READ', 'TOUCH'],
      changes: [
        () => either(`SET ${random.pick(['a', 'b'])}`),
        () => either(`LOCAL ${random.pick(['a', 'b'])}`),
        () => either(`MAYBE ${random.pick(['a', 'b'])}`),
        () => Buffer.concat([run('BEGIN'), run(`SET ${random.pick(['a', 'b'])}`)]),
        () => run('ROLLBACK'),
        () => run('FAIL'),
        ends,
      ],
    },
    names: {
      uses: ['SHOW', `execute ${other}`, `execute ${other}`],
      changes: [
        () => either(random.pick([`DEALLOCATE ${name()}`, `PREPARE ${name()} AS ${secret}`])),
        () => query(`DEALLOCATE ${random.pick([other, name()])}; PREPARE ${random.pick([other, name()])} AS ${secret}`),
        () => Buffer.concat([run(`DEALLOCATE ${other}`), run(`PREPARE ${other} AS ${secret}`)]),
        () => Buffer.concat([message(F.close, `S${name()}\0`), parse(secret, name())]),
        () => bind('', 'nowhere'),
      ],
    },
    cursors: {
      uses: ['SHOW', `fetch ${other}`],
      changes: [
        () => query(`CLOSE ${random.pick([other, name()])}; DECLARE ${random.pick([other, name()])} FOR ${secret}`),
        () => Buffer.concat([run(`CLOSE ${other}`), run(`DECLARE ${other} FOR ${secret}`)]),
        () => query(`COMMIT; BEGIN; DECLARE ${name()} FOR ${secret}`),
        () => either(random.pick([`CLOSE ${name()}`, `DECLARE ${name()} FOR ${secret}`])),
        () => Buffer.concat([message(F.close, `P${name()}\0`), parse(secret, ''), bind(name(), '')]),
        ends,
      ],
    },
  };
  const { uses, changes } = random.pick(Object.values(themes));
  const use = random.pick(uses);
  const change = () => random.pick(changes)();
  // What earlier scenes left would make most of this one fail.
  const gone = [...names, other].map((each) => message(F.close, `S${each}\0`));
  return Buffer.concat([
    ...maybe(Buffer.concat([message(F.sync), query('ROLLBACK'), ...gone, message(F.sync)]), 0.9),
    ...maybe(either(`SET ${random.pick(['a', 'b'])}`), 0.4),
    ...maybe(either('BEGIN'), 0.7),
    ...maybe(query(`PREPARE ${random.pick([other, name()])} AS SHOW`), 0.4),
    ...maybe(query(`DECLARE ${random.pick([other, name()])} FOR SHOW`), 0.4),
    ...maybe(parse(use, name())),
    ...maybe(bind(name(), name())),
    ...sync(),
    ...Array.from({ length: 1 + random.below(3) }, change),
    ...sync(),
    ...maybe(bind(name(), name()), 0.4),
    ...maybe(execute(name())),
    ...sync(),
    ...maybe(query(random.pick(['READ', 'TOUCH', use])), 0.5),
    message(F.sync),
    ...maybe(query('ROLLBACK'), 0.5),
  ]);
}

export function clientStream(random: Random, count: number): Buffer {
  const scenes = random.chance(0.6);
  const make = () => (scenes && random.chance(0.9) ? scene(random) : one(random));
  return Buffer.concat(Array.from({ length: scenes ? Math.ceil(count / 10) : count }, make));
}

/** Some bytes changed, left out, put in, or a piece of the stream again. */
export function mutated(random: Random, bytes: Buffer): Buffer {
  let made = bytes;
  for (let i = random.below(4) + 1; i > 0 && made.length > 0; i--) {
    const at = random.below(made.length);
    const to = Math.min(made.length, at + random.below(16));
    const piece = made.subarray(at, to);
    switch (random.below(4)) {
      case 0:
        made = Buffer.from(made);
        made[at] = random.below(256);
        break;
      case 1:
        made = Buffer.concat([made.subarray(0, at), made.subarray(to)]);
        break;
      case 2:
        made = Buffer.concat([
          made.subarray(0, at),
          Buffer.from([random.pick([0, 1, 4, 0x7f, 0xff])]),
          made.subarray(at),
        ]);
        break;
      default:
        made = Buffer.concat([made.subarray(0, at), piece, made.subarray(at)]);
    }
  }
  return made;
}
