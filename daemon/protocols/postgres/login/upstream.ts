/**
 * The login of sluice at a real server, as a state machine: bytes in, bytes out. The credential goes in and never comes
 * out: an error quotes the server only after the password was taken out of its words.
 * Source: PostgreSQL documentation, "Message Flow", Start-up.
 */
import { createHash } from 'node:crypto';
import { SluiceError } from '../../../core/errors.ts';
import type { Credential } from '../../../core/resource.ts';
import { B, cstring, errorField, F, message, STARTUP } from '../wire.ts';
import { type Message, MessageReader } from './messages.ts';
import { ScramClient, ScramError } from './scram.ts';

/** First int32 of an Authentication message. */
const AUTH = {
  ok: 0,
  kerberos: 2,
  cleartext: 3,
  md5: 5,
  gss: 7,
  sspi: 9,
  sasl: 10,
  saslContinue: 11,
  saslFinal: 12,
} as const;

/** Nothing in a login is longer; an error message may come near. */
const MAX_LOGIN_MESSAGE = 64 << 10;
/** ParameterStatus and notices until the server is ready. */
const MAX_LOGIN_MESSAGES = 1_000;
/** Protocol 3.2 allows secret keys of up to 256 bytes; before it they have 4. */
const MAX_KEY = 256;

export interface LoginOptions {
  readonly credential: Credential;
  /** Account where the credential names none. */
  readonly user: string;
  readonly database: string;
  /** Further parameters of the StartupMessage: application_name, options, … */
  readonly parameters: Readonly<Record<string, string>>;
  /** STARTUP.protocol30 or protocol32. */
  readonly version: number;
  /** The connection is inside TLS. */
  readonly encrypted: boolean;
  /** channelBinding() of the server's certificate; null without TLS or where there is none. */
  readonly binding: Buffer | null;
}

export interface LoggedIn {
  readonly user: string;
  /** What both sides speak from now on; lower than asked for when the server negotiated. */
  readonly version: number;
  /** Protocol options (`_pq_.…`) that the server does not know. */
  readonly unknownOptions: readonly string[];
  readonly parameters: ReadonlyMap<string, string>;
  /** Null when the server sent none: its queries can't be cancelled. */
  readonly key: { readonly pid: number; readonly secret: Buffer } | null;
  /** NoticeResponse messages that came along, whole. */
  readonly notices: readonly Buffer[];
  /** Bytes that followed ReadyForQuery. */
  readonly rest: Buffer;
}

/** UPSTREAM_LOGIN with what the server said. */
export class LoginRefused extends SluiceError {
  /** The server's SQLSTATE; class 28 is about the credential, others about the database or the server. */
  readonly sqlstate: string;
  /** Its MESSAGE, without the credential. */
  readonly said: string;

  constructor(sqlstate: string, said: string) {
    super('UPSTREAM_LOGIN', `the server refused the login: ${said} (SQLSTATE ${sqlstate})`);
    this.sqlstate = sqlstate;
    this.said = said;
  }
}

export class UpstreamLogin {
  readonly #options: LoginOptions;
  readonly #user: string;
  readonly #reader = new MessageReader(MAX_LOGIN_MESSAGE, 'UPSTREAM_VIOLATION');
  readonly #parameters = new Map<string, string>();
  readonly #notices: Buffer[] = [];
  readonly #unknownOptions: string[] = [];
  #version: number;
  #key: LoggedIn['key'] = null;
  #scram: ScramClient | null = null;
  /** first: nothing came; asked: the password was sent; proving, verified: SCRAM; in: AuthenticationOk. */
  #step: 'first' | 'asked' | 'scram-first' | 'proving' | 'verified' | 'in' | 'done' = 'first';
  #count = 0;

  constructor(options: LoginOptions) {
    this.#options = options;
    this.#user = options.credential.user ?? options.user;
    this.#version = options.version;
  }

  /** length(int32) version(int32) (name\0 value\0)* \0 */
  start(): Buffer {
    const { parameters, database, version } = this.#options;
    const pairs = Object.entries({ ...parameters, user: this.#user, database });
    for (const [name, value] of pairs) {
      if (name === '' || name.includes('\0') || value.includes('\0')) {
        throw new SluiceError('PROTOCOL_VIOLATION', 'a start-up parameter holds a NUL or has no name');
      }
    }
    const body = Buffer.from(
      pairs
        .map(([name, value]) => `${name}\0${value}\0`)
        .join('')
        .concat('\0'),
    );
    const head = Buffer.alloc(8);
    head.writeUInt32BE(8 + body.length, 0);
    head.writeUInt32BE(version, 4);
    return Buffer.concat([head, body]);
  }

  /**
   * Takes bytes of the server; what is to be sent goes to `send`. Null while more has to come.
   * @throws SluiceError UPSTREAM_LOGIN (LoginRefused), UPSTREAM_VIOLATION
   */
  push(chunk: Buffer, send: (bytes: Buffer) => void): LoggedIn | null {
    this.#reader.push(chunk);
    while (this.#step !== 'done') {
      const next = this.#reader.next();
      if (next === null) return null;
      if (++this.#count > MAX_LOGIN_MESSAGES) throw violation('it sent too many messages');
      this.#take(next, send);
    }
    return {
      user: this.#user,
      version: this.#version,
      unknownOptions: this.#unknownOptions,
      parameters: this.#parameters,
      key: this.#key,
      notices: this.#notices,
      rest: this.#reader.rest(),
    };
  }

  #take({ letter, body }: Message, send: (bytes: Buffer) => void): void {
    if (letter === B.error) throw this.#refused(body);
    if (letter === B.notice) this.#notices.push(message(letter, body));
    else if (letter === B.negotiateProtocolVersion && this.#step === 'first') this.#negotiate(body);
    else if (letter === B.authentication && this.#step !== 'in') this.#authenticate(body, send);
    else if (this.#step !== 'in') throw violation(`message ${shown(letter)} came before the login was through`);
    else if (letter === B.parameterStatus) this.#parameter(body);
    else if (letter === B.backendKeyData) this.#cancelKey(body);
    else if (letter === B.readyForQuery && body.length === 1) this.#step = 'done';
    else throw violation(`message ${shown(letter)} came during the login`);
  }

  #refused(body: Buffer): SluiceError {
    return new LoginRefused(
      errorField(body, 'C') ?? 'XX000',
      this.#withoutPassword(errorField(body, 'M') ?? 'no reason given'),
    );
  }

  #withoutPassword(text: string): string {
    const { password } = this.#options.credential;
    return password ? text.replaceAll(password, '…') : text;
  }

  /**
   * NegotiateProtocolVersion body: version(int32) count(int32) (option\0)*. The documentation calls the first a minor
   * version; servers send the whole number.
   */
  #negotiate(body: Buffer): void {
    if (body.length < 8) throw violation('its NegotiateProtocolVersion is malformed');
    const given = body.readUInt32BE(0);
    const version = given < 0x10000 ? 0x30000 | given : given;
    if (version >>> 16 !== 3 || version > this.#options.version)
      throw violation(`it offers protocol version ${version >>> 16}.${version & 0xffff}`);
    let at = 8;
    for (let left = body.readUInt32BE(4); left > 0; left--) {
      const option = cstring(body, at, body.length);
      if (option === null) throw violation('its NegotiateProtocolVersion is malformed');
      this.#unknownOptions.push(option.text);
      at = option.next;
    }
    this.#version = version;
  }

  #authenticate(body: Buffer, send: (bytes: Buffer) => void): void {
    if (body.length < 4) throw violation('its authentication request is malformed');
    const kind = body.readUInt32BE(0);
    const data = body.subarray(4);
    const first = this.#step === 'first';
    if (kind === AUTH.ok) {
      // In the middle of SCRAM this would be a server that skips the proof of knowing the password.
      if (this.#step === 'scram-first' || this.#step === 'proving')
        throw violation('it ended SCRAM without proving itself');
      this.#step = 'in';
    } else if (kind === AUTH.cleartext && first) {
      if (!this.#options.encrypted)
        throw refusal('the server asks for the password in clear text on a connection without TLS');
      this.#step = 'asked';
      send(message(F.password, `${this.#password()}\0`));
    } else if (kind === AUTH.md5 && first && data.length === 4) {
      this.#step = 'asked';
      send(message(F.password, `md5${md5(md5(this.#password(), this.#user), data)}\0`));
    } else if (kind === AUTH.sasl && first) {
      this.#scram = this.#scrammed(() => new ScramClient(this.#password(), cstrings(data), this.#options.binding));
      const clientFirst = Buffer.from(this.#scram.first());
      const length = Buffer.alloc(4);
      length.writeUInt32BE(clientFirst.length);
      this.#step = 'scram-first';
      send(message(F.password, `${this.#scram.mechanism}\0`, length, clientFirst));
    } else if (kind === AUTH.saslContinue && this.#step === 'scram-first') {
      this.#step = 'proving';
      send(
        message(
          F.password,
          this.#scrammed(() => this.#scram!.final(data.toString('utf8'))),
        ),
      );
    } else if (kind === AUTH.saslFinal && this.#step === 'proving') {
      this.#scrammed(() => this.#scram!.verify(data.toString('utf8')));
      this.#step = 'verified';
    } else if (kind === AUTH.gss || kind === AUTH.sspi || kind === AUTH.kerberos) {
      throw refusal('the server asks for Kerberos, GSSAPI or SSPI, which sluice does not speak');
    } else {
      throw violation(`authentication request ${kind} came out of turn`);
    }
  }

  #password(): string {
    const { password, clientCertificate } = this.#options.credential;
    if (password !== undefined) return password;
    throw refusal(
      `the server asks for a password, and the credential has ${clientCertificate ? 'only a certificate' : 'none'}`,
    );
  }

  #scrammed<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      if (error instanceof ScramError) throw refusal(`the server's SCRAM can't be accepted: ${error.message}`);
      throw error;
    }
  }

  #parameter(body: Buffer): void {
    const name = cstring(body, 0, body.length);
    const value = name && cstring(body, name.next, body.length);
    if (!name || !value) throw violation('its ParameterStatus is malformed');
    this.#parameters.set(name.text, value.text);
  }

  /** pid(int32) key(4 bytes; protocol 3.2: up to 256) */
  #cancelKey(body: Buffer): void {
    const size = body.length - 4;
    if (size < 4 || size > (this.#version > STARTUP.protocol30 ? MAX_KEY : 4))
      throw violation('its BackendKeyData is malformed');
    this.#key = { pid: body.readUInt32BE(0), secret: Buffer.from(body.subarray(4)) };
  }
}

function md5(text: string, salt: string | Buffer): string {
  return createHash('md5').update(text).update(salt).digest('hex');
}

/** (name\0)* \0 */
function cstrings(data: Buffer): string[] {
  const names: string[] = [];
  for (let at = 0; at < data.length && data[at] !== 0; ) {
    const name = cstring(data, at, data.length);
    if (name === null) throw violation('its list of SASL mechanisms is malformed');
    names.push(name.text);
    at = name.next;
  }
  return names;
}

function shown(letter: number): string {
  return JSON.stringify(String.fromCharCode(letter));
}

function refusal(text: string): SluiceError {
  return new SluiceError('UPSTREAM_LOGIN', text);
}

function violation(text: string): SluiceError {
  return new SluiceError('UPSTREAM_VIOLATION', `the server broke the login protocol: ${text}`);
}
