/**
 * The greeting, drawn once:
 *
 *   SSLRequest → S, TLS with a leaf of the host's CA     GSSENCRequest → N     CancelRequest → carried out, end
 *   StartupMessage → checked → client logs in (token, or nothing) → upstream: TLS, login with the real credential
 *   → AuthenticationOk, the server's parameters, a key of ours, ReadyForQuery
 */
import { SluiceError } from '../../core/errors.ts';
import type { Channel, Host, Opened, Refusal, Upstream } from '../protocol.ts';
import { backendKeyData, type CancelKey, type CancelKeys, cancelRequest } from './cancel.ts';
import type { Statements } from './classify.ts';
import { PostgresCodec } from './codec.ts';
import { channelBinding, parseVerifier } from './login/scram.ts';
import { authenticationOk, TokenLogin } from './login/token.ts';
import { type LoggedIn, LoginRefused, UpstreamLogin } from './login/upstream.ts';
import type { MaskTools } from './mask-tools.ts';
import { errorResponse } from './refusal.ts';
import { SessionNames } from './session.ts';
import { type Opening, readOpening, readStartup, type Startup, TLS_HANDSHAKE } from './startup.ts';
import { B, message, parameterStatus, readyForQuery, STARTUP } from './wire.ts';

export interface GreetParts {
  readonly cancels: CancelKeys;
  /** What is known of the database that this account sees. */
  statements(host: Host, account: string, database: string): Statements;
  /** A flow of this account is about to log in: what is known of the database is looked after meanwhile. */
  expect(host: Host, account: string, database: string): void;
  tools(statements: Statements): MaskTools;
  /** Longest statement that is parsed, bytes. */
  readonly statementLimit: number;
}

export async function greet(host: Host, parts: GreetParts): Promise<Opened | null> {
  const first = await firstPacket(host);
  if (first === null) return null;
  const { packet, certificate } = first;
  if (packet.kind === 'cancel') {
    await carryOut(host, parts.cancels, packet);
    return null;
  }
  if (packet.kind !== 'start') return null;
  const opening = readOpening(packet.parameters);
  checkOptions(host, opening);
  const loggedInClient = await clientLogin(host, packet.version, opening, certificate);
  const upstream = await host.connect();
  const server = await upstreamLogin(host, upstream, opening, packet.version, parts);
  const session = new SessionNames();
  if (opening.searchPath !== null) session.startWith(opening.searchPath);
  if ((server.parameters.get('standard_conforming_strings') ?? 'on') !== 'on') {
    throw new SluiceError(
      'PROTOCOL_UNSUPPORTED',
      'this account has standard_conforming_strings off, and statements can be read in two ways',
      {
        hint: 'turn it on for the account: ALTER ROLE … SET standard_conforming_strings = on',
      },
    );
  }
  const statements = parts.statements(host, server.user, opening.database);
  const { key, entry } = parts.cancels.issue(host.flow.session.id, server.key, packet.version > STARTUP.protocol30);
  const parameters = [...server.parameters].map(([name, value]) => parameterStatus(name, value));
  upstream.unread(server.rest);
  return {
    upstream,
    account: server.user,
    database: opening.database,
    welcome: Buffer.concat([
      loggedInClient,
      ...parameters,
      ...server.notices,
      backendKeyData(key),
      readyForQuery(0x49),
    ]),
    codec: new PostgresCodec({
      statements,
      tools: parts.tools(statements),
      limits: { statement: parts.statementLimit },
      session,
      obligations: () => host.obligations(),
      parameters: server.parameters,
    }),
    onCancel: (abort) => entry.aborts.push(abort),
    abandon: async () => {
      if (server.key !== null) await cancelUpstream(host, server.key);
    },
    close: () => {
      parts.cancels.revoke(key.pid);
      statements.left?.();
    },
  };
}

/** The first packet that is more than a question about encryption; null when the client left. */
async function firstPacket(host: Host): Promise<{ packet: Startup; certificate: Buffer | null } | null> {
  let bytes: Buffer = Buffer.alloc(0);
  let certificate: Buffer | null = null;
  // TLS once, GSSAPI once, then the message itself.
  for (let questions = 0; questions < 4; ) {
    const chunk = await host.client.read();
    if (chunk === null) return null;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    if (bytes[0] === TLS_HANDSHAKE && !host.client.encrypted) {
      host.client.unread(bytes);
      bytes = Buffer.alloc(0);
      certificate = await host.startTls('postgresql');
      questions++;
      continue;
    }
    const read = readStartup(bytes);
    if (read === null) continue;
    const left = bytes.subarray(read.size);
    if (read.packet.kind === 'start' || read.packet.kind === 'cancel') {
      host.client.unread(left);
      return { packet: read.packet, certificate };
    }
    questions++;
    if (left.length > 0) {
      // Sent in clear text before the answer, to be taken for encrypted afterwards (CVE-2021-23214).
      throw new SluiceError(
        'PROTOCOL_VIOLATION',
        'the client sent bytes after its question for encryption without waiting for the answer',
      );
    }
    bytes = Buffer.alloc(0);
    if (read.packet.kind === 'ssl' && !host.client.encrypted) {
      host.client.write(Buffer.from('S'));
      certificate = await host.startTls();
    } else host.client.write(Buffer.from('N'));
  }
  throw new SluiceError('PROTOCOL_VIOLATION', 'the client asks for encryption again and again');
}

/** Encryption is answered with no: what is told here is no secret, and a certificate would have to be made for it. */
export async function decline(client: Channel, refusal: Refusal): Promise<void> {
  let bytes: Buffer = Buffer.alloc(0);
  for (let questions = 0; questions < 4; ) {
    const chunk = await client.read();
    if (chunk === null) return;
    bytes = Buffer.concat([bytes, chunk]);
    const read = readStartup(bytes);
    if (read === null) continue;
    questions++;
    bytes = bytes.subarray(read.size);
    if (read.packet.kind === 'cancel') return;
    if (read.packet.kind === 'start') {
      client.write(errorResponse(refusal, 'FATAL'));
      return;
    }
    client.write(Buffer.from('N'));
  }
}

function checkOptions(host: Host, opening: Opening): void {
  const { name, options } = host.resource;
  const databases = options.databases as readonly string[] | undefined;
  if (databases !== undefined && !databases.includes(opening.database)) {
    throw new SluiceError(
      'POLICY_DENIED',
      `sluice: the policy does not open database "${opening.database}" of ${name}`,
      {
        hint: `open are: ${databases.join(', ')}`,
      },
    );
  }
  if (opening.replication && options.replication !== true) {
    throw new SluiceError('PROTOCOL_UNSUPPORTED', `replication connections to ${name} are not allowed`, {
      hint: 'the resource needs options: replication: true',
    });
  }
}

/** What is to be sent before the parameters: version negotiation and AuthenticationOk, where not sent already. */
async function clientLogin(host: Host, version: number, opening: Opening, certificate: Buffer | null): Promise<Buffer> {
  const negotiation =
    version > STARTUP.protocol32 || opening.extensions.length > 0
      ? negotiate(version, opening.extensions)
      : Buffer.alloc(0);
  if (host.resource.login === 'none') return Buffer.concat([negotiation, authenticationOk()]);
  const verifier = host.verifier();
  if (verifier === null) throw new SluiceError('TOKEN_REQUIRED', 'the session has ended');
  host.client.write(negotiation);
  const login = new TokenLogin(parseVerifier(verifier), certificate === null ? null : channelBinding(certificate));
  host.client.write(login.start());
  for (;;) {
    const chunk = await host.client.read();
    if (chunk === null) throw new SluiceError('TOKEN_REQUIRED', 'the client left without a password');
    const left = login.push(chunk, (bytes) => host.client.write(bytes));
    if (left === null) continue;
    host.client.unread(left);
    return Buffer.alloc(0);
  }
}

/** NegotiateProtocolVersion: newest minor version(int32) count(int32) { option\0 }… */
function negotiate(version: number, extensions: readonly string[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(Math.min(version, STARTUP.protocol32), 0);
  head.writeUInt32BE(extensions.length, 4);
  return message(B.negotiateProtocolVersion, head, extensions.map((name) => `${name}\0`).join(''));
}

async function upstreamLogin(
  host: Host,
  upstream: Upstream,
  opening: Opening,
  version: number,
  parts: Pick<GreetParts, 'expect'>,
): Promise<LoggedIn> {
  const credential = (await host.credential()) ?? {};
  parts.expect(host, credential.user ?? opening.user, opening.database);
  const binding = await encrypt(host, upstream, credential.clientCertificate);
  const settings: Record<string, string> = { ...opening.settings };
  if (host.readsOnly) settings.default_transaction_read_only = 'on';
  if (opening.replication) settings.replication = 'database';
  const login = new UpstreamLogin({
    credential,
    user: opening.user,
    database: opening.database,
    parameters: settings,
    version: Math.min(version, STARTUP.protocol32),
    encrypted: upstream.encrypted,
    binding,
  });
  upstream.write(login.start());
  for (;;) {
    const chunk = await upstream.read();
    if (chunk === null)
      throw new SluiceError('UPSTREAM_LOST', `${host.resource.name} closed the connection during the login`);
    try {
      const server = login.push(chunk, (bytes) => upstream.write(bytes));
      if (server !== null) return server;
    } catch (error) {
      throw error instanceof LoginRefused ? refusedLogin(host, error) : error;
    }
  }
}

/** SQLSTATE class 28, invalid authorization specification: what it says of our credential is not for the client. */
const OF_CREDENTIAL = /^28/;

/** In the server's own words where they are about the client's wishes: its database, or a credential that it brought. */
function refusedLogin(host: Host, error: LoginRefused): SluiceError {
  const told = new SluiceError('UPSTREAM_LOGIN', `${host.resource.name} refused the login: ${error.said}`, {
    cause: error,
  });
  if (host.resource.credential !== undefined && OF_CREDENTIAL.test(error.sqlstate)) return told;
  return Object.assign(told, { complaint: error.said, state: error.sqlstate });
}

/** TLS with the server where the resource wants it. Returns what SCRAM binds to; null without TLS. */
export async function encrypt(
  host: Pick<Host, 'resource'>,
  upstream: Upstream,
  clientCertificate?: { readonly cert: string; readonly key: string },
): Promise<Buffer | null> {
  if (host.resource.tls === 'off') return null;
  const request = Buffer.alloc(8);
  request.writeUInt32BE(8, 0);
  request.writeUInt32BE(STARTUP.ssl, 4);
  upstream.write(request);
  // The answer is one bare byte.
  const answer = await upstream.read();
  if (answer === null)
    throw new SluiceError('UPSTREAM_TLS', `${host.resource.name} closed the connection when asked for TLS`);
  if (answer.length !== 1 || answer[0] !== 0x53) {
    throw new SluiceError(
      'UPSTREAM_TLS',
      `${host.resource.name} does not offer TLS, and the policy says tls: ${host.resource.tls}`,
    );
  }
  return channelBinding(await upstream.startTls(clientCertificate === undefined ? {} : { clientCertificate }));
}

/** CancelRequest: answered with nothing, whether the key was right or not, as the server does. */
async function carryOut(host: Host, cancels: CancelKeys, packet: Extract<Startup, { kind: 'cancel' }>): Promise<void> {
  const entry = cancels.find(host.flow.session.id, packet.pid, packet.secret);
  if (entry === null) return;
  for (const abort of entry.aborts) abort();
  if (entry.upstream === null) return;
  await cancelUpstream(host, entry.upstream);
}

async function cancelUpstream(host: Host, key: CancelKey): Promise<void> {
  const upstream = await host.connect();
  await encrypt(host, upstream);
  upstream.write(cancelRequest(key));
  // The server closes when it has signalled the query.
  await upstream.read();
  upstream.end();
}
