import assert from 'node:assert/strict';
import { test } from 'node:test';
import { B, F, message, STARTUP } from '../wire.ts';
import { saslprep } from './saslprep.ts';
import { MAX_ITERATIONS, ScramClient, ScramError, ScramServer, scramVerifier } from './scram.ts';
import { authenticationOk, TokenLogin } from './token.ts';
import { type LoginOptions, UpstreamLogin } from './upstream.ts';

const options: LoginOptions = {
  credential: { user: 'real', password: 'the-Password' },
  user: 'agent',
  database: 'shop',
  parameters: { application_name: 'psql' },
  version: STARTUP.protocol32,
  encrypted: false,
  binding: null,
};

const int32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const auth = (kind: number, data: Buffer | string = '') => message(B.authentication, int32(kind), data);
const ready = message(B.readyForQuery, 'I');
const refused = (code: string, text: string) => message(B.error, `SFATAL\0C${code}\0M${text}\0\0`);

/** Feeds `server` at once; what was sent and how it ended. */
function upstream(server: Buffer[], changes: Partial<LoginOptions> = {}) {
  const login = new UpstreamLogin({ ...options, ...changes });
  const sent: Buffer[] = [];
  return { end: login.push(Buffer.concat(server), (bytes) => sent.push(bytes)), sent: Buffer.concat(sent) };
}

test('the vector of RFC 7677', () => {
  // Its client-first names a user; PostgreSQL takes the name from the StartupMessage, so ours is checked through the server side.
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
  const server = new ScramServer(scramVerifier('pencil', salt, 4096), null, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0');
  assert.equal(
    server.first('SCRAM-SHA-256', 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO'),
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  );
  assert.equal(
    server.final(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    ),
    'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  );
});

const both = (password: string, token: string, clientBinding: Buffer | null, serverBinding: Buffer | null) => {
  const server = new ScramServer(scramVerifier(token), serverBinding);
  const client = new ScramClient(password, server.mechanisms, clientBinding);
  const final = server.final(client.final(server.first(client.mechanism, client.first())));
  if (final !== null) client.verify(final);
  return final === null ? 'wrong' : client.mechanism;
};

test('client and server agree, with channel binding where both have it', () => {
  const binding = Buffer.alloc(32, 7);
  assert.equal(both('geheim ü', 'geheim ü', null, null), 'SCRAM-SHA-256');
  assert.equal(both('x', 'x', binding, binding), 'SCRAM-SHA-256-PLUS');
  assert.equal(both('x', 'x', null, binding), 'SCRAM-SHA-256');
  assert.equal(both('x', 'x', binding, null), 'SCRAM-SHA-256');
  assert.equal(both('x', 'y', null, null), 'wrong');
});

test('another certificate on the way, or a mechanism taken off the list, is noticed', () => {
  assert.throws(() => both('x', 'x', Buffer.alloc(32, 7), Buffer.alloc(32, 8)), ScramError);
  const server = new ScramServer(scramVerifier('x'), Buffer.alloc(32, 7));
  const client = new ScramClient('x', ['SCRAM-SHA-256'], Buffer.alloc(32, 7));
  assert.throws(() => server.first(client.mechanism, client.first()), ScramError);
});

test('a server that does not know the password, asks too much or breaks the nonce is not believed', () => {
  const client = new ScramClient('x', ['SCRAM-SHA-256'], null, 'abc');
  assert.throws(() => client.final('r=xyz,s=AAAA,i=4096'), /nonce/);
  assert.throws(() => client.final('r=abc,s=AAAA,i=4096'), /nonce/);
  assert.throws(() => client.final(`r=abcd,s=AAAA,i=${MAX_ITERATIONS + 1}`), /iterations/);
  assert.throws(() => client.final('r=abcd,s=AAAA,i=0'), /malformed/);
  assert.throws(() => client.final('m=x,r=abcd,s=AAAA,i=4096'), /malformed/);
  client.final('r=abcd,s=AAAA,i=4096');
  assert.throws(() => client.verify(`v=${Buffer.alloc(32).toString('base64')}`), /signature/);
  assert.throws(() => client.verify('e=invalid-proof'), /malformed/);
  assert.throws(() => new ScramClient('x', ['SCRAM-SHA-1'], null), ScramError);
});

test('SASLprep as PostgreSQL does it (RFC 4013, section 3, and what it leaves alone)', () => {
  assert.equal(saslprep('I\u00adX'), 'IX');
  assert.equal(saslprep('user'), 'user');
  assert.equal(saslprep('\u00aa'), 'a');
  assert.equal(saslprep('\u2168'), 'IX');
  assert.equal(saslprep('a\u00a0b'), 'a b');
  assert.equal(saslprep('\u0007\u2168'), '\u0007\u2168', 'a control character: left alone');
  assert.equal(saslprep('\u0627\u0031\u2168'), '\u0627\u0031\u2168', 'mixed direction: left alone');
});

test('the StartupMessage has the account of the credential, and the parameters of the client', () => {
  assert.equal(
    new UpstreamLogin(options).start().toString('latin1', 4),
    '\0\x03\0\x02application_name\0psql\0user\0real\0database\0shop\0\0',
  );
  assert.throws(() => new UpstreamLogin({ ...options, database: 'a\0user\0postgres' }).start(), {
    code: 'PROTOCOL_VIOLATION',
  });
});

test('what the server says until it is ready is kept, and what follows too', () => {
  const { end, sent } = upstream([
    message(B.negotiateProtocolVersion, int32(196608), int32(1), '_pq_.x\0'),
    auth(0),
    message(B.parameterStatus, 'client_encoding\0UTF8\0'),
    message(B.notice, 'SNOTICE\0Mhello\0\0'),
    message(B.backendKeyData, int32(4711), Buffer.from('abcd')),
    ready,
    Buffer.from('rest'),
  ]);
  assert.equal(sent.length, 0);
  assert.deepEqual(end?.key, { pid: 4711, secret: Buffer.from('abcd') });
  assert.equal(end?.version, STARTUP.protocol30);
  assert.deepEqual(end?.unknownOptions, ['_pq_.x']);
  assert.equal(end?.parameters.get('client_encoding'), 'UTF8');
  assert.equal(end?.notices.length, 1);
  assert.equal(end?.rest.toString(), 'rest');
});

test('a key of protocol 3.2 may be long, one of 3.0 may not', () => {
  const long = message(B.backendKeyData, int32(1), Buffer.alloc(256, 1));
  assert.equal(upstream([auth(0), long, ready]).end?.key?.secret.length, 256);
  assert.throws(() => upstream([auth(0), long], { version: STARTUP.protocol30 }), { code: 'UPSTREAM_VIOLATION' });
  const longer = message(B.backendKeyData, int32(1), Buffer.alloc(257, 1));
  assert.throws(() => upstream([auth(0), longer]), { code: 'UPSTREAM_VIOLATION' });
});

test('MD5 is answered; clear text only inside TLS; others are refused by name', () => {
  // SELECT 'md5' || md5(md5('the-Password' || 'real') || 'salt')
  assert.match(upstream([auth(5, 'salt')]).sent.toString('latin1'), /^p\0\0\0\x28md5[0-9a-f]{32}\0$/);
  assert.throws(() => upstream([auth(3)]), { code: 'UPSTREAM_LOGIN', message: /clear text/ });
  assert.equal(upstream([auth(3)], { encrypted: true }).sent.toString('latin1', 5), 'the-Password\0');
  assert.throws(() => upstream([auth(7)]), { code: 'UPSTREAM_LOGIN', message: /GSSAPI/ });
  assert.throws(() => upstream([auth(99)]), { code: 'UPSTREAM_VIOLATION' });
  assert.throws(() => upstream([auth(3)], { encrypted: true, credential: {} }), { code: 'UPSTREAM_LOGIN' });
});

test('a server may not skip its proof, ask twice, or speak out of turn', () => {
  const sasl = auth(10, 'SCRAM-SHA-256\0\0');
  for (const broken of [
    [sasl, auth(0)],
    [sasl, auth(12, 'v=x')],
    [sasl, sasl],
    [auth(5, 'salt'), auth(3)],
    [ready],
    [message(B.dataRow, '')],
    [auth(0), auth(0)],
    [auth(0), message(B.dataRow, '')],
    [message(B.negotiateProtocolVersion, int32(0x40000), int32(0))],
    [message(B.authentication, 'x')],
    [Buffer.from('R\x7f\xff\xff\xff')],
    [Buffer.from('R\0\0\0\x03')],
    [auth(0), ...Array.from({ length: 1_001 }, () => message(B.parameterStatus, 'a\0b\0'))],
  ]) {
    assert.throws(() => upstream(broken), { code: 'UPSTREAM_VIOLATION' });
  }
});

test('an error of the server comes through without the password, even when the server repeats it', () => {
  assert.throws(
    () => upstream([auth(3), refused('28P01', 'wrong password "the-Password" for "real"')], { encrypted: true }),
    (error: Error & { sqlstate?: string; code?: string }) => {
      assert.equal(error.code, 'UPSTREAM_LOGIN');
      assert.equal(error.sqlstate, '28P01');
      assert.doesNotMatch(JSON.stringify(error) + error.message + error.stack, /the-Password/);
      return true;
    },
  );
});

/** Carries a login of ours at ours out, in pieces of one byte or whole. */
function tokenLogin(password: string, token: string, binding: Buffer | null, pieces: boolean) {
  const server = new TokenLogin(scramVerifier(token), binding);
  const client = new UpstreamLogin({ ...options, credential: { password }, binding, encrypted: binding !== null });
  const cut = (bytes: Buffer) => (pieces ? [...bytes].map((byte) => Buffer.from([byte])) : [bytes]);
  let toClient = server.start();
  let rest: Buffer | null = null;
  while (toClient.length > 0) {
    const toServer: Buffer[] = [];
    for (const piece of cut(toClient)) client.push(piece, (bytes) => toServer.push(bytes));
    const answers: Buffer[] = [];
    for (const piece of toServer.flatMap(cut)) rest = server.push(piece, (bytes) => answers.push(bytes));
    toClient = Buffer.concat(answers);
  }
  return rest;
}

test('the token logs in, split at every byte too, with and without channel binding; another does not', () => {
  for (const pieces of [false, true]) {
    for (const binding of [null, Buffer.alloc(32, 1)]) {
      assert.equal(tokenLogin('token', 'token', binding, pieces)?.length, 0);
      assert.throws(() => tokenLogin('other', 'token', binding, pieces), { code: 'TOKEN_REQUIRED' });
    }
  }
  assert.equal(authenticationOk().toString('hex'), '520000000800000000');
});

test('nonsense of the client is refused', () => {
  const login = () => new TokenLogin(scramVerifier('x', Buffer.alloc(16), 1), null);
  const drop = () => {};
  for (const bytes of [
    message(F.query, 'select 1\0'),
    message(F.password, 'x\0'),
    message(F.password, 'SCRAM-SHA-256\0', int32(99), 'n,,n=,r=abc'),
    message(F.password, 'SCRAM-SHA-256-PLUS\0', int32(11), 'n,,n=,r=abc'),
    message(F.password, 'SCRAM-SHA-256\0', int32(-1)),
    Buffer.from('p\x7f\0\0\0'),
  ]) {
    assert.throws(() => login().push(bytes, drop), { code: 'PROTOCOL_VIOLATION' });
  }
  const half = login();
  half.push(message(F.password, 'SCRAM-SHA-256\0', int32(11), 'n,,n=,r=abc'), drop);
  assert.throws(() => half.push(message(F.password, 'c=biws,r=abc,p=AAAA'), drop), { code: 'PROTOCOL_VIOLATION' });
});
