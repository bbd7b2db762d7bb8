/**
 * One HTTPS request to a provider, with an answer in JSON. TLS is verified, redirects are not followed, time and size are
 * bounded. Errors name the address and never quote what was sent or answered: both hold tokens.
 */
import { readFileSync } from 'node:fs';
import https from 'node:https';
import tls from 'node:tls';
import { SluiceError } from '../../core/errors.ts';

/** Bytes of an answer; discovery documents and key sets have some thousands. */
const ANSWER_BYTES = 512 * 1024;

export interface Line {
  /** PEM bundle. Absent: the system's. */
  readonly ca?: string;
  /** Milliseconds for the whole of one request. */
  readonly timeout: number;
}

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** @param form sent by POST. Absent: GET. @throws SluiceError IDENTITY_UNAVAILABLE. */
export function requestJson(url: string, line: Line, form?: Readonly<Record<string, string>>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (what: string, cause?: unknown) =>
      reject(new SluiceError('IDENTITY_UNAVAILABLE', `asking ${shown(url)}: ${what}`, { cause }));
    const body = form === undefined ? undefined : new URLSearchParams({ ...form }).toString();
    let target: URL;
    let ca: string | string[];
    try {
      target = new URL(url);
      if (target.protocol !== 'https:') throw new Error('it is not https');
      // Read anew each time, so that a CA that changes needs no restart.
      ca = line.ca === undefined ? systemCertificates() : readFileSync(line.ca, 'utf8');
    } catch (cause) {
      fail((cause as Error).message, cause);
      return;
    }
    const seconds = line.timeout / 1000;
    const signal = AbortSignal.timeout(line.timeout);
    const request = https.request(
      target,
      {
        method: body === undefined ? 'GET' : 'POST',
        agent: false,
        ca,
        minVersion: 'TLSv1.2',
        signal,
        headers: {
          accept: 'application/json',
          ...(body !== undefined && {
            'content-type': 'application/x-www-form-urlencoded',
            'content-length': Buffer.byteLength(body),
          }),
        },
      },
      (response) => {
        const status = response.statusCode ?? 0;
        if (status >= 300 && status < 400) {
          request.destroy();
          fail(`it answered with a redirect (${status}), and none is followed`);
          return;
        }
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes <= ANSWER_BYTES) chunks.push(chunk);
          else {
            fail(`its answer is longer than ${ANSWER_BYTES / 1024} KiB`);
            request.destroy();
          }
        });
        response.on('error', (cause) => fail(signal.aborted ? late(seconds) : 'it broke off', cause));
        response.on('end', () => {
          const parsed = parseObject(Buffer.concat(chunks));
          if (parsed === null) fail(`it answered with status ${status} and no JSON object`);
          else resolve({ status, body: parsed });
        });
      },
    );
    request.on('error', (cause: NodeJS.ErrnoException) => fail(signal.aborted ? late(seconds) : why(cause), cause));
    request.end(body);
  });
}

const late = (seconds: number): string => `it did not answer within ${seconds} s`;

/** What people can act on; Node's text may name more than that. */
function why(cause: NodeJS.ErrnoException): string {
  switch (cause.code) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name is not known';
    case 'ECONNRESET':
      return 'it closed the connection';
    default:
      return cause.message.split('\n')[0]!.slice(0, 200);
  }
}

/** Without query, which may hold what is nobody's business. */
function shown(url: string): string {
  return url.split(/[?#]/)[0]!.slice(0, 300);
}

function parseObject(bytes: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The host's store, as its other programs have it; Node's own list where the host has none. */
function systemCertificates(): string[] {
  const found = tls.getCACertificates('system');
  return found.length > 0 ? found : tls.getCACertificates('bundled');
}
