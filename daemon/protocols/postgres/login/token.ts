/**
 * The login of an agent's client at sluice, as a state machine: bytes in, bytes out. The session token is the password.
 * It is asked for by SCRAM-SHA-256, not in clear text: clients may be set to refuse clear text (`require_auth`) or to
 * insist on channel binding, and the token then never crosses the connection. A client too old for SCRAM can't log in.
 */
import { SluiceError } from '../../../core/errors.ts';
import { B, cstring, F, message } from '../wire.ts';
import { MessageReader } from './messages.ts';
import { ScramError, ScramServer, type ScramVerifier } from './scram.ts';

const AUTH_OK = 0;
const AUTH_SASL = 10;
const AUTH_SASL_CONTINUE = 11;
const AUTH_SASL_FINAL = 12;

const MAX_LOGIN_MESSAGE = 8 << 10;

/** AuthenticationOk: all there is where `login: none`. */
export function authenticationOk(): Buffer {
  return authentication(AUTH_OK, '');
}

export class TokenLogin {
  readonly #scram: ScramServer;
  readonly #reader = new MessageReader(MAX_LOGIN_MESSAGE, 'PROTOCOL_VIOLATION');
  #step: 'first' | 'final' | 'done' = 'first';

  /** `binding`: channelBinding() of the certificate shown to the client; null without TLS. */
  constructor(token: ScramVerifier, binding: Buffer | null) {
    this.#scram = new ScramServer(token, binding);
  }

  /** AuthenticationSASL: (mechanism\0)* \0 */
  start(): Buffer {
    return authentication(AUTH_SASL, `${this.#scram.mechanisms.join('\0')}\0\0`);
  }

  /**
   * Takes bytes of the client; what is to be sent goes to `send`, AuthenticationOk included. Null while more has to
   * come, then the bytes that followed the login.
   * @throws SluiceError TOKEN_REQUIRED, PROTOCOL_VIOLATION
   */
  push(chunk: Buffer, send: (bytes: Buffer) => void): Buffer | null {
    this.#reader.push(chunk);
    while (this.#step !== 'done') {
      const next = this.#reader.next();
      if (next === null) return null;
      if (next.letter !== F.password) throw violation('the client answered the password request with something else');
      try {
        if (this.#step === 'first') this.#first(next.body, send);
        else this.#final(next.body, send);
      } catch (error) {
        if (error instanceof ScramError) throw violation(`the client's SCRAM can't be accepted: ${error.message}`);
        throw error;
      }
    }
    return this.#reader.rest();
  }

  /** SASLInitialResponse: mechanism\0 length(int32) client-first */
  #first(body: Buffer, send: (bytes: Buffer) => void): void {
    const mechanism = cstring(body, 0, body.length);
    if (mechanism === null || mechanism.next + 4 > body.length) throw violation('the SASLInitialResponse is malformed');
    const from = mechanism.next + 4;
    if (body.readUInt32BE(mechanism.next) !== body.length - from)
      throw violation('the SASLInitialResponse is malformed');
    send(authentication(AUTH_SASL_CONTINUE, this.#scram.first(mechanism.text, body.toString('utf8', from))));
    this.#step = 'final';
  }

  #final(body: Buffer, send: (bytes: Buffer) => void): void {
    const answer = this.#scram.final(body.toString('utf8'));
    if (answer === null) throw new SluiceError('TOKEN_REQUIRED', 'the password is not the token of this session');
    send(Buffer.concat([authentication(AUTH_SASL_FINAL, answer), authenticationOk()]));
    this.#step = 'done';
  }
}

function authentication(kind: number, data: string): Buffer {
  const code = Buffer.alloc(4);
  code.writeUInt32BE(kind);
  return message(B.authentication, code, data);
}

function violation(text: string): SluiceError {
  return new SluiceError('PROTOCOL_VIOLATION', text);
}
