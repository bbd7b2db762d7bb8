/** sluice's own logins against a real server, and real clients' logins at sluice. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { TLSSocket, connect as tlsConnect } from 'node:tls';
import { promisify } from 'node:util';
import { CertificateAuthority } from '../../daemon/intake/certificates.ts';
import { QueryClient } from '../../daemon/protocols/postgres/login/client.ts';
import { channelBinding, scramVerifier } from '../../daemon/protocols/postgres/login/scram.ts';
import { TokenLogin } from '../../daemon/protocols/postgres/login/token.ts';
import { B, message, readyForQuery, STARTUP } from '../../daemon/protocols/postgres/wire.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { streamOf } from '../harness/stream.ts';

const run = promisify(execFile);
const PASSWORD = "pass wörd ª' \\";

suite('login', { skip: postgresMissing() ?? false }, () => {
  let server: PostgresServer;
  let folder: string;
  let ca: string;
  let authority: CertificateAuthority;
  const sockets: Socket[] = [];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-login-'));
    authority = await CertificateAuthority.open(folder);
    ca = readFileSync(join(folder, 'ca.crt'), 'utf8');
    const leaf = await authority.leafFor(['127.0.0.1', 'db.internal']);
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=by_cert',
        '-keyout',
        join(folder, 'client.key'),
        '-out',
        join(folder, 'client.crt'),
      ],
      { stdio: 'ignore' },
    );
    server = await startPostgres({
      tls: { cert: leaf.cert, key: leaf.key, ca: readFileSync(join(folder, 'client.crt'), 'utf8') },
      hba: [
        'host all by_scram 127.0.0.1/32 scram-sha-256',
        'host all by_md5 127.0.0.1/32 md5',
        'host all by_clear 127.0.0.1/32 password',
        'hostssl all by_cert 127.0.0.1/32 cert',
        'host all refused 127.0.0.1/32 reject',
      ],
      sql: `
        SET standard_conforming_strings = on;
        CREATE ROLE by_scram LOGIN PASSWORD '${PASSWORD.replace("'", "''")}';
        CREATE ROLE by_clear LOGIN PASSWORD '${PASSWORD.replace("'", "''")}';
        CREATE ROLE by_cert LOGIN; CREATE ROLE trusted LOGIN; CREATE ROLE refused LOGIN;
        SET password_encryption = 'md5';
        CREATE ROLE by_md5 LOGIN PASSWORD '${PASSWORD.replace("'", "''")}';`,
    });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function dial(tls: { cert?: string; key?: string } | null) {
    const plain = connect(server.port, server.host);
    sockets.push(plain);
    await once(plain, 'connect');
    if (tls === null) return { stream: streamOf(plain), binding: null, encrypted: false };
    const request = Buffer.alloc(8);
    request.writeUInt32BE(8, 0);
    request.writeUInt32BE(STARTUP.ssl, 4);
    plain.write(request);
    const [answer] = (await once(plain, 'data')) as [Buffer];
    assert.equal(answer.toString(), 'S');
    const secure = tlsConnect({ socket: plain, ca, servername: 'db.internal', ...tls });
    await once(secure, 'secureConnect');
    return { stream: streamOf(secure), binding: channelBinding(secure.getPeerX509Certificate()!.raw), encrypted: true };
  }

  async function login(
    user: string,
    tls: { cert?: string; key?: string } | null = null,
    password: string | null = PASSWORD,
    database = 'postgres',
  ) {
    const { stream, binding, encrypted } = await dial(tls);
    const client = await QueryClient.login(stream, {
      credential: password === null ? { user } : { user, password },
      user: 'agent',
      database,
      parameters: { application_name: 'sluice test' },
      version: STARTUP.protocol32,
      encrypted,
      binding,
    });
    return client;
  }

  test('SCRAM-SHA-256 on a plain connection, with a password that SASLprep changes', async () => {
    const client = await login('by_scram');
    assert.deepEqual(await client.query("SELECT current_user, current_setting('application_name'), NULL"), [
      ['by_scram', 'sluice test', null],
    ]);
    assert.equal(client.server.version, STARTUP.protocol30, 'PostgreSQL 15 negotiates 3.2 down');
    assert.ok(client.server.key!.pid > 0 && client.server.key!.secret.length === 4);
    assert.equal(client.server.parameters.get('server_encoding'), 'UTF8');
    client.end();
  });

  test('SCRAM-SHA-256-PLUS inside TLS: the server checks the binding', async () => {
    const client = await login('by_scram', {});
    assert.deepEqual(await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'), [['t']]);
    client.end();
    const { stream, binding } = await dial({});
    assert.ok(binding !== null);
    const wrong = Buffer.from(binding).fill(1);
    await assert.rejects(
      QueryClient.login(stream, {
        credential: { user: 'by_scram', password: PASSWORD },
        user: 'x',
        database: 'postgres',
        parameters: {},
        version: STARTUP.protocol30,
        encrypted: true,
        binding: wrong,
      }),
      { code: 'UPSTREAM_LOGIN', message: /channel binding/ },
    );
  });

  test('MD5, clear text inside TLS only, a client certificate, and trust', async () => {
    const certificate = {
      cert: readFileSync(join(folder, 'client.crt'), 'utf8'),
      key: readFileSync(join(folder, 'client.key'), 'utf8'),
    };
    for (const [user, tls, password] of [
      ['by_md5', null, PASSWORD],
      ['by_clear', {}, PASSWORD],
      ['by_cert', certificate, null],
      ['trusted', null, null],
    ] as const) {
      const client = await login(user, tls, password);
      assert.deepEqual(await client.query('SELECT current_user'), [[user]]);
      client.end();
    }
    await assert.rejects(login('by_clear', null), { code: 'UPSTREAM_LOGIN', message: /clear text/ });
    await assert.rejects(login('by_cert', {}, null), { code: 'UPSTREAM_LOGIN' });
    await assert.rejects(login('by_scram', null, null), { code: 'UPSTREAM_LOGIN', message: /asks for a password/ });
  });

  test('refusals carry the reason and the SQLSTATE, not the password', async () => {
    for (const [attempt, sqlstate] of [
      [() => login('by_scram', null, 'wrong-secret'), '28P01'],
      [() => login('by_md5', {}, 'wrong-secret'), '28P01'],
      [() => login('refused'), '28000'],
      [() => login('trusted', null, null, 'no_such_database'), '3D000'],
    ] as const) {
      await assert.rejects(attempt(), (error: Error & { code?: string; sqlstate?: string }) => {
        assert.equal(error.code, 'UPSTREAM_LOGIN');
        assert.equal(error.sqlstate, sqlstate);
        assert.doesNotMatch(error.message + error.stack, /wrong-secret/);
        return true;
      });
    }
  });

  test('queries run in turn, one that fails leaves the next alone, and a lost server is an error', async () => {
    const client = await login('trusted', null, null);
    const answers = await Promise.allSettled([
      client.query('SELECT 1'),
      client.query('SELECT 1/0'),
      client.batch("SELECT 2; SELECT NULL, ''; SET TIME ZONE 'UTC'"),
      client.query('SELECT i FROM generate_series(1, 100000) i'),
    ]);
    assert.deepEqual(answers[0], { status: 'fulfilled', value: [['1']] });
    assert.match(String((answers[1] as PromiseRejectedResult).reason), /division by zero.*22012/);
    assert.deepEqual(answers[2], { status: 'fulfilled', value: [[['2']], [[null, '']]] });
    assert.equal((answers[3] as PromiseFulfilledResult<unknown[]>).value.length, 100_000);
    await server.psql(`SELECT pg_terminate_backend(${client.server.key!.pid})`);
    await assert.rejects(client.query('SELECT 1'), { code: /UPSTREAM_(LOST|QUERY)/ });
    await assert.rejects(client.query('SELECT 1'), { code: 'UPSTREAM_LOST' });
  });

  test('psql and psycopg2 log in with the token, also where they insist on SCRAM and channel binding', async (context) => {
    const verifier = scramVerifier('the-token');
    const leaf = await authority.leafFor(['127.0.0.1']);
    const binding = channelBinding(leaf.der);
    // The least server that psql -c '' and a driver's connect() need: login, then every question is answered with SET.
    const gate = createServer(async (plain) => {
      sockets.push(plain);
      plain.on('error', () => {});
      let socket: Socket = plain;
      const next = async (): Promise<Buffer> => ((await once(socket, 'data')) as [Buffer])[0];
      try {
        let first = await next();
        if (first.readUInt32BE(4) === STARTUP.ssl) {
          plain.write('S');
          socket = new TLSSocket(plain, { isServer: true, secureContext: leaf.context });
          socket.on('error', () => {});
          first = await next();
        }
        const login = new TokenLogin(verifier, socket === plain ? null : binding);
        socket.write(login.start());
        while (login.push(await next(), (bytes) => socket.write(bytes)) === null);
        socket.write(
          Buffer.concat([
            message(B.parameterStatus, 'server_version\x0015.0\0'),
            message(B.parameterStatus, 'client_encoding\0UTF8\0'),
            readyForQuery(0x49),
          ]),
        );
        for (;;) {
          await next();
          socket.write(Buffer.concat([message(B.commandComplete, 'SET\0'), readyForQuery(0x49)]));
        }
      } catch (error) {
        socket.end(message(B.error, `SFATAL\0C28P01\0M${(error as { code?: string }).code}\0\0`));
      }
    }).listen(0, '127.0.0.1');
    context.after(() => gate.close());
    await once(gate, 'listening');
    const { port } = gate.address() as { port: number };
    const psql = (dsn: string) =>
      run('psql', ['-X', `host=127.0.0.1 port=${port} user=agent dbname=x connect_timeout=10 ${dsn}`, '-c', ';'], {
        env: { PATH: process.env.PATH! },
      });
    const verified = `sslmode=verify-full sslrootcert=${join(folder, 'ca.crt')}`;
    await psql('password=the-token sslmode=disable');
    await psql(`password=the-token ${verified}`);
    await psql(`password=the-token ${verified} channel_binding=require`);
    await assert.rejects(psql('password=wrong sslmode=disable'), /TOKEN_REQUIRED/);
    await assert.rejects(psql(`password=wrong ${verified}`), /TOKEN_REQUIRED/);
    const python = `import psycopg2; psycopg2.connect("host=127.0.0.1 port=${port} user=a dbname=x password=the-token sslmode=require channel_binding=require").close()`;
    await run('/usr/bin/python3', ['-c', python]);
  });
});
