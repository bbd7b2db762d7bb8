/** Client of sluice-helper's socket. One request and one answer per connection; native/README.md has the protocol. */
import { connect } from 'node:net';
import { SluiceError } from '../core/errors.ts';

const DEADLINE_MS = 15_000; // longer than the helper takes to give up on processes that do not die
const ANSWER_MAX = 1 << 18; // a listing of all sessions that there can be

export interface HostSession {
  readonly id: string;
  readonly cgroupId: bigint;
  /** uid that may join it. */
  readonly uid: number;
  /** False: no process is in it. */
  readonly populated: boolean;
}

export interface CreatedSession {
  readonly cgroupId: bigint;
  readonly path: string;
  readonly agent?: { readonly uid: number; readonly home: string };
}

export interface HelperStatus {
  /** Every hook is effective, and every guarantee that is required holds. */
  readonly enforcing: boolean;
  /** Name of the first hook that is not, or ''. */
  readonly missing: string;
  readonly hooks: number;
  readonly pinned: number;
  readonly kernel: string;
  /** cgroup of sluice, as in /proc/PID/cgroup. */
  readonly cgroup: string;
  /** Where cgroup v2 is mounted. */
  readonly mount: string;
  /** How many incidents there were since the helper's start. */
  readonly tampered: number;
  /** Names of the hooks that this kernel's choice fell on. */
  readonly attached: readonly string[];
  readonly guarantees: readonly Guarantee[];
}

/** What a session is promised; native/README.md says what each means. */
export interface Guarantee {
  readonly name: string;
  readonly held: boolean;
  /** Without it no session starts. */
  readonly required: boolean;
  /** Hooks, or steps of the launcher (`launch filter`), that hold it. */
  readonly by: readonly string[];
  /** What would hold it, where nothing does. */
  readonly needs: string | null;
}

/**
 * All methods throw SluiceError: HELPER_UNREACHABLE when there is no answer, NOT_ALLOWED, SESSION_UNKNOWN,
 * AGENT_UID_UNAVAILABLE, KERNEL_UNSUPPORTED (a hook is not effective), else INTERNAL with the helper's words.
 */
export interface Helper {
  /**
   * `path` is the cgroup's as in /proc/PID/cgroup. Only `uid` (and root) can start the session's command. `ownUid`: it runs
   * under a uid of the session's own (AGENT_UID_UNAVAILABLE when there is none), which `agent` names, with its home.
   */
  createSession(id: string, uid: number, ownUid?: boolean): Promise<CreatedSession>;
  /** Kills what is in the session and removes its cgroup. */
  endSession(id: string): Promise<void>;
  listSessions(): Promise<HostSession[]>;
  /** Moves this process into the daemon's cgroup, for good: a server that stands in for the daemon. */
  enterDaemonCgroup(): Promise<void>;
  /**
   * Does `work` within the daemon's cgroup: sockets that agents shall reach have to be made there. The process is back where
   * it was when this settles.
   */
  inDaemonCgroup<T>(work: () => T): Promise<T>;
  status(): Promise<HelperStatus>;
  /** How full the kernel's maps are. */
  maps(): Promise<MapFill[]>;
  /** What was done to the programs behind the helper's back after that time, oldest first. */
  incidents(after: number): Promise<Incident[]>;
}

export interface MapFill {
  readonly name: string;
  readonly entries: number;
  readonly most: number;
}

/** Something that the helper noticed, and put back or could not. */
export interface Incident {
  /** Milliseconds since the epoch; no two of a helper have the same. */
  readonly at: number;
  readonly text: string;
}

/** @param path of helper.sock in the helper's run directory */
export function openHelper(path: string): Helper {
  return {
    async createSession(id, uid, ownUid = false) {
      const answer = await ask(path, `create ${id} ${uid}${ownUid ? ' pool' : ''}`);
      const [, cgroupId, cgroup, agentUid, home] = /^(\d+) (\S+)(?: (\d+) (\S+))?$/.exec(answer) ?? [];
      if (!cgroupId || !cgroup || ownUid !== (home !== undefined)) throw garbled(path);
      const session = { cgroupId: BigInt(cgroupId), path: cgroup };
      return home === undefined ? session : { ...session, agent: { uid: Number(agentUid), home } };
    },
    async endSession(id) {
      await ask(path, `end ${id}`);
    },
    async listSessions() {
      const listing = await ask(path, 'list');
      return listing === '' ? [] : listing.split('\n').map((line) => parseSession(line) ?? fail(garbled(path)));
    },
    async enterDaemonCgroup() {
      await ask(path, 'daemon');
    },
    inDaemonCgroup: (work) => within(path, work),
    async incidents(after) {
      const listing = await ask(path, `incidents ${after}`);
      return listing === '' ? [] : listing.split('\n').map((line) => parseIncident(line) ?? fail(garbled(path)));
    },
    async maps() {
      const listing = await ask(path, 'maps');
      return listing === '' ? [] : listing.split('\n').map((line) => parseMap(line) ?? fail(garbled(path)));
    },
    async status() {
      try {
        return JSON.parse(await ask(path, 'status'));
      } catch (cause) {
        throw cause instanceof SluiceError ? cause : garbled(path, cause);
      }
    },
  };
}

/** `MILLISECONDS text` */
function parseIncident(line: string): Incident | null {
  const match = /^(\d+) (.+)$/.exec(line);
  return match ? { at: Number(match[1]), text: match[2] ?? '' } : null;
}

/** `NAME ENTRIES MOST` */
function parseMap(line: string): MapFill | null {
  const match = /^(\w+) (\d+) (\d+)$/.exec(line);
  return match ? { name: match[1] ?? '', entries: Number(match[2]), most: Number(match[3]) } : null;
}

/** `ID CGROUP-ID UID populated|empty` */
function parseSession(line: string): HostSession | null {
  const match = /^([0-9a-f]{32}) (\d+) (\d+) (populated|empty)$/.exec(line);
  if (!match) return null;
  const [, id = '', cgroupId = '', uid, state] = match;
  return { id, cgroupId: BigInt(cgroupId), uid: Number(uid), populated: state === 'populated' };
}

/**
 * Answer: any lines of a listing, then `ok[ RESULT]`, or `error CODE text`; the helper closes after it.
 * @returns RESULT, or the listing's lines where there is one.
 */
async function ask(path: string, request: string): Promise<string> {
  const lines = (await exchange(path, request)).split('\n');
  const end = lines.pop() === '' ? (lines.pop() ?? '') : ''; // without its newline an answer is not whole
  if (end === 'ok') return lines.join('\n');
  if (lines.length === 0 && end.startsWith('ok ')) return end.slice('ok '.length);
  throw answered(request, `${end}\n`, path);
}

function refused(request: string, code: string, text: string): SluiceError {
  const message = `sluice-helper refuses "${request}": ${text}`;
  switch (code) {
    case 'DENIED':
    case 'INSIDE':
      return new SluiceError('NOT_ALLOWED', message);
    case 'UNKNOWN':
      return new SluiceError('SESSION_UNKNOWN', message);
    case 'POOL':
      return new SluiceError('AGENT_UID_UNAVAILABLE', message);
    case 'HOOK':
      return new SluiceError('KERNEL_UNSUPPORTED', message);
    case 'HOMELESS':
      return new SluiceError('HELPER_UNREACHABLE', message, { hint: 'try again in some seconds' });
    case 'LIMIT':
    case 'TIMEOUT':
      return new SluiceError('HELPER_UNREACHABLE', message, { hint: 'try again when it is less busy' });
    default:
      return new SluiceError('INTERNAL', message);
  }
}

function garbled(path: string, cause?: unknown): SluiceError {
  return new SluiceError('HELPER_UNREACHABLE', `what answers on ${path} is no sluice-helper of this version`, {
    cause,
  });
}

function fail(error: SluiceError): never {
  throw error;
}

/** `listen` is answered twice: when this process is there, and, after its end of the connection was closed, when it is back. */
async function within<T>(path: string, work: () => T): Promise<T> {
  let result: { readonly value: T } | null = null;
  const text = await exchange(path, 'listen', (first) => {
    if (first !== 'ok\n') throw answered('listen', first, path);
    result = { value: work() };
  });
  if (result === null || text !== 'ok\nok\n') throw answered('listen', text.replace(/^ok\n/, ''), path);
  return (result as { readonly value: T }).value;
}

function answered(request: string, text: string, path: string): SluiceError {
  const refusal = /^error ([A-Z]+) (.*)\n$/.exec(text);
  return refusal ? refused(request, refusal[1] ?? '', refusal[2] ?? '') : garbled(path);
}

/** @param first what is done with the first line of the answer; then this end is closed */
function exchange(path: string, request: string, first?: (text: string) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let bytes = 0;
    const done = () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('utf8'));
    };
    const lose = (why: string, cause?: unknown) => {
      socket.destroy();
      reject(new SluiceError('HELPER_UNREACHABLE', `cannot ask sluice-helper on ${path}: ${why}`, { cause }));
    };
    socket.setTimeout(DEADLINE_MS, () => lose(`no answer within ${DEADLINE_MS / 1000} s`));
    // A refusal may come before the request was read; what there is of it is read first, then the reset.
    socket.on('error', (error) => (bytes > 0 ? done() : lose(error.message, error)));
    socket.on('connect', () => socket.write(`${request}\n`));
    let begun = first === undefined;
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes > ANSWER_MAX) return lose('its answer is too long');
      chunks.push(chunk);
      if (begun || !chunk.includes(10)) return;
      begun = true;
      try {
        first?.(Buffer.concat(chunks).toString('utf8'));
        socket.end();
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
    socket.on('end', done);
  });
}
