/**
 * Running sessions: which principal stands behind which cgroup. The kernel's cgroup id of a process is the only thing that
 * a flow's session is found by. Kept in a file, so that a daemon that starts again knows the sessions that run on.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import type { EventFields, EventInput, Recorder } from '../core/event.ts';
import type { Principal, Session, TokenIdentity } from '../core/principal.ts';
import { cgroupMount } from './process.ts';
import { type Kept, SessionFile } from './session-file.ts';

/** What the kernel side does for sessions; sluice-helper answers it. */
export interface Cgroups {
  /** Makes the session's cgroup, which this uid may start a command in: as itself, or under a uid of the session's own. */
  createSession(id: string, uid: number, ownUid: boolean): Promise<CreatedCgroup>;
  /** Kills what is left in it and removes it. SESSION_UNKNOWN when it is gone already. */
  endSession(id: string): Promise<void>;
  listSessions(): Promise<readonly CgroupState[]>;
}

export interface CreatedCgroup {
  readonly cgroupId: bigint;
  /** As in /proc/PID/cgroup. */
  readonly path: string;
  /** The uid of the session's own and its home directory, where one was asked for. */
  readonly agent?: { readonly uid: number; readonly home: string };
}

export interface CgroupState {
  readonly id: string;
  readonly cgroupId: bigint;
  /** Whether any process is in it. */
  readonly populated: boolean;
}

export interface SessionsOptions {
  /** File that the running sessions are kept in. */
  readonly path: string;
  readonly cgroups: Cgroups;
  readonly recorder: Recorder;
  /** A session begins: before it is told to whoever asked for it, and so before anything runs in it. Its failure undoes all. */
  readonly onOpen?: (session: Session) => void;
  /** The principal or the identity of a session is another. Must not throw. */
  readonly onChange?: (session: Session) => void;
  /** A session has ended, for whatever reason: flows are closed, what was remembered for it is forgotten. Must not throw. */
  readonly onEnd: (session: Session) => void;
  readonly onFault: (error: unknown) => void;
  /** Where cgroup v2 is mounted. Default: found in /proc/self/mountinfo. */
  readonly mount?: string;
  /** What is kept of a token so that a client can prove it by challenge and response, in a text form of its own. */
  verifier(token: string): string;
  /** How long a new session may stay without a process, milliseconds. Default 60,000. */
  readonly launchTime?: number;
  /** Monotonic, milliseconds. Absent: performance.now. */
  readonly elapsed?: () => number;
}

export interface Opening {
  readonly principal: Principal;
  /** What the principal rests on. Absent: the local mapping. */
  readonly identity?: TokenIdentity;
  /** uid whose session it is, and under which the agent runs unless it gets a uid of its own. */
  readonly uid: number;
  readonly ownUid?: boolean;
  readonly command: readonly string[];
  /** Of the process that asks for it. */
  readonly pid?: number;
  /** The command's program, as that process found it. */
  readonly exe?: string;
}

export interface Opened {
  readonly session: Session;
  /** For the agent's environment. Given out here and nowhere else. */
  readonly token: string;
  /** The session's cgroup, as in /proc/PID/cgroup. */
  readonly path: string;
  /** Home directory that goes with a uid of its own; it is gone when the session is. */
  readonly home?: string;
}

interface Running {
  /** One object for as long as it runs: flows see at once when its principal changes. */
  readonly session: { -readonly [K in keyof Session]: Session[K] };
  readonly path: string;
  readonly tokenHash: Buffer;
  readonly verifier: string;
  /** Whether a process has been seen in it: an empty cgroup is over only after that. */
  launched: boolean;
  /** Since when it is known here, by the monotonic clock. */
  readonly since: number;
}

/** Says what it is to whoever finds it in a log. */
const TOKEN_PREFIX = 'sluice_';

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #file: SessionFile;
  readonly #mount: string;
  readonly #elapsed: () => number;
  readonly #byId = new Map<string, Running>();
  readonly #byCgroup = new Map<bigint, Running>();
  /** Ids whose cgroup may be there before they are known. */
  readonly #opening = new Set<string>();

  /** @throws SluiceError STATE_FAILED when the file is there and can't be read: guessing whose flows those are is no way on. */
  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#elapsed = options.elapsed ?? (() => performance.now());
    this.#mount = options.mount ?? cgroupMount();
    this.#file = new SessionFile(options.path);
    for (const { tokenHash, ...kept } of this.#file.read()) {
      this.#insert({ ...kept, tokenHash: Buffer.from(tokenHash, 'hex') });
    }
  }

  /**
   * Starts a session: cgroup made, kept on disk, recorded on disk, in this order; a failure undoes what was done.
   * @throws SluiceError STATE_FAILED, AUDIT_FULL, AUDIT_FAILED, and what the helper throws.
   */
  async open(opening: Opening): Promise<Opened> {
    const id = randomBytes(16).toString('hex');
    this.#opening.add(id);
    try {
      return await this.#open(id, { ...opening, command: opening.command.map(withoutPassword) });
    } finally {
      this.#opening.delete(id);
    }
  }

  /** The session of this cgroup, or null. */
  find(cgroupId: bigint): Session | null {
    return this.#byCgroup.get(cgroupId)?.session ?? null;
  }

  get(id: string): Session | null {
    return this.#byId.get(id)?.session ?? null;
  }

  /** The session that this token was given to, or null. */
  byToken(token: string): Session | null {
    const hash = digest(token);
    for (const running of this.#byId.values()) {
      if (timingSafeEqual(running.tokenHash, hash)) return running.session;
    }
    return null;
  }

  /** Whether this is the token of the session. */
  tokenIs(session: Session, text: string): boolean {
    const running = this.#byId.get(session.id);
    return running !== undefined && timingSafeEqual(running.tokenHash, digest(text));
  }

  /** The session's cgroup, as in /proc/PID/cgroup; null when the session has ended. */
  cgroupOf(session: Session): string | null {
    return this.#byId.get(session.id)?.path ?? null;
  }

  /** For challenge-response logins; null when the session has ended. */
  verifier(session: Session): string | null {
    return this.#byId.get(session.id)?.verifier ?? null;
  }

  /**
   * Another principal from here on, recorded on disk first.
   * @throws SluiceError AUDIT_FULL, AUDIT_FAILED: it is as before; STATE_FAILED: a daemon that starts again has the one before.
   */
  async renew(session: Session, principal: Principal, identity: TokenIdentity): Promise<void> {
    const running = this.#byId.get(session.id);
    if (running?.session !== session) return;
    const renewed = { ...session, principal, identity };
    const before = session.identity?.expiredAt;
    await this.#options.recorder.record({ ...aboutSession(renewed), type: 'session.renewed' }).durable();
    // Ended while it was being recorded, by who had a reason: that stands.
    if (session.identity?.expiredAt !== before) return;
    // Nothing may be cut off or decided anew where nothing is different.
    if (!samePrincipal(running.session.principal, principal)) running.session.principal = principal;
    running.session.identity = identity;
    this.#options.onChange?.(session);
    await this.#save();
  }

  /** Says why it could not be renewed. */
  note(session: Session, problem: string): void {
    const running = this.#byId.get(session.id);
    if (running?.session === session && session.identity !== undefined) {
      running.session.identity = { ...session.identity, problem };
    }
  }

  /** The identity of the session has ended. What takes away has effect at once, and a failed write of it is reported. */
  expire(session: Session, now: number): void {
    const running = this.#byId.get(session.id);
    if (running?.session !== session || session.identity === undefined) return;
    running.session.identity = { ...session.identity, expiredAt: now };
    this.#options.onChange?.(session);
    const reason = session.identity?.problem;
    void this.#keep({ ...aboutSession(session), type: 'session.expired', ...(reason !== undefined && { reason }) });
  }

  list(): Session[] {
    return [...this.#byId.values()].map((running) => running.session);
  }

  /**
   * Ends a session: from here on its flows belong to nobody, its token is dead, its processes are killed.
   * @throws SluiceError SESSION_UNKNOWN; what the helper throws, and the session has ended nevertheless.
   */
  async end(id: string, reason: string): Promise<void> {
    const running = this.#byId.get(id);
    if (running === undefined) throw new SluiceError('SESSION_UNKNOWN', `there is no running session ${id}`);
    this.#remove(running.session);
    this.#options.onEnd(running.session);
    try {
      await this.#removeCgroup(id);
    } finally {
      await this.#keep({ ...aboutSession(running.session), type: 'session.end', reason });
    }
  }

  /**
   * Compares with the cgroups that there are; at the start, and then when something changed. Sessions whose cgroup is gone have
   * ended; those whose command is over are ended; a cgroup that nobody knows is removed.
   */
  async reconcile(): Promise<void> {
    const states = new Map((await this.#options.cgroups.listSessions()).map((each) => [each.id, each]));
    const now = this.#elapsed();
    for (const running of [...this.#byId.values()]) {
      const { session } = running;
      const state = states.get(session.id);
      states.delete(session.id);
      const young = now - running.since < (this.#options.launchTime ?? 60_000);
      if (state === undefined) {
        // One that was opened while the list was under way is not in it.
        if (!young || running.launched) await this.#over(session.id, 'its cgroup is gone');
      } else if (state.cgroupId !== session.cgroupId) {
        await this.#over(session.id, 'its cgroup is another one');
      } else if (state.populated) {
        await this.#launched(running);
      } else if (running.launched || hasRun(join(this.#mount, running.path))) {
        // Its process may have joined after the list was made: what ran and is not there now is gone.
        if (isPopulated(join(this.#mount, running.path))) await this.#launched(running);
        else await this.#over(session.id, 'its last process is gone');
      } else if (!young) {
        await this.#over(session.id, 'no process was started in it');
      }
    }
    for (const { id } of states.values()) {
      if (!this.#byId.has(id) && !this.#opening.has(id)) await this.#removeCgroup(id).catch(this.#options.onFault);
    }
  }

  async #open(id: string, { principal, identity, uid, ownUid = false, command, pid, exe }: Opening): Promise<Opened> {
    const token = TOKEN_PREFIX + randomBytes(32).toString('base64url');
    const { cgroupId, path, agent } = await this.#options.cgroups.createSession(id, uid, ownUid);
    const session: Session = {
      ...{ id, principal, cgroupId, uid, command, startedAt: Date.now() },
      ...(identity !== undefined && { identity }),
      ...(agent !== undefined && { agentUid: agent.uid }),
      ...(pid !== undefined && { pid }),
      ...(exe !== undefined && { exe }),
    };
    try {
      const other = this.#byCgroup.get(cgroupId);
      if (other !== undefined) {
        throw new SluiceError('INTERNAL', `cgroup ${cgroupId} of a new session belongs to session ${other.session.id}`);
      }
      this.#insert({
        session,
        path,
        tokenHash: digest(token),
        verifier: this.#options.verifier(token),
        launched: false,
      });
      await this.#save();
      this.#options.onOpen?.(session);
      await this.#options.recorder.record({ ...aboutSession(session), type: 'session.start' }).durable();
    } catch (error) {
      this.#remove(session);
      await this.#removeCgroup(id).catch(this.#options.onFault);
      await this.#save().catch(this.#options.onFault);
      throw error;
    }
    return { session, token, path, ...(agent !== undefined && { home: agent.home }) };
  }

  async #removeCgroup(id: string): Promise<void> {
    try {
      await this.#options.cgroups.endSession(id);
    } catch (error) {
      if (!(error instanceof SluiceError && error.code === 'SESSION_UNKNOWN')) throw error;
    }
  }

  async #launched(running: Running): Promise<void> {
    if (running.launched) return;
    running.launched = true;
    await this.#save().catch(this.#options.onFault);
  }

  async #over(id: string, reason: string): Promise<void> {
    if (this.#byId.has(id)) await this.end(id, reason).catch(this.#options.onFault);
  }

  /** A fact already: on record and in the file, each whatever comes of the other. A failed write is reported, not thrown. */
  async #keep(event: EventInput): Promise<void> {
    const ways = [async () => this.#options.recorder.record(event).committed(), () => this.#save()];
    for (const way of ways) await way().catch(this.#options.onFault);
  }

  #insert(kept: Omit<Running, 'since'>): void {
    const running = { ...kept, since: this.#elapsed() };
    this.#byId.set(running.session.id, running);
    this.#byCgroup.set(running.session.cgroupId, running);
  }

  #remove(session: Session): void {
    this.#byId.delete(session.id);
    if (this.#byCgroup.get(session.cgroupId)?.session === session) this.#byCgroup.delete(session.cgroupId);
  }

  #save(): Promise<void> {
    return this.#file.write(() =>
      Array.from(
        this.#byId.values(),
        ({ session, path, tokenHash, verifier, launched }): Kept => ({
          session,
          path,
          tokenHash: tokenHash.toString('hex'),
          verifier,
          launched,
        }),
      ),
    );
  }
}

/** Whether any process used the cgroup's processors: a command may come and go between two looks at it. cgroups(7), cpu.stat. */
function hasRun(path: string): boolean {
  try {
    return /^usage_usec [1-9]/m.test(readFileSync(join(path, 'cpu.stat'), 'utf8'));
  } catch {
    // Not readable: then the time allowed for launching decides.
    return false;
  }
}

/** Whether a process is in the cgroup, cgroup.events. One that is gone has none; one that can't be read is let be. */
function isPopulated(path: string): boolean {
  try {
    return !/^populated 0/m.test(readFileSync(join(path, 'cgroup.events'), 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

/** Connection URLs carry passwords, and a command line is shown and recorded. */
export function withoutPassword(word: string): string {
  return word.replace(/(\w:\/\/[^\s:/@]*):[^\s/@]*@/g, '$1:***@');
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** What every event about a session has. */
export function aboutSession(session: Session): EventFields {
  const { id, principal, uid, agentUid = uid, pid, command, exe = command[0], cgroupId } = session;
  return {
    session: id,
    subject: principal.subject,
    groups: principal.groups,
    ...(principal.issuer !== undefined && { issuer: principal.issuer }),
    ...(pid !== undefined && { pid }),
    uid: agentUid,
    owner: uid,
    ...(exe !== undefined && { exe }),
    cgroup: String(cgroupId),
    text: command.join(' '),
  };
}

function samePrincipal(a: Principal, b: Principal): boolean {
  return a.subject === b.subject && a.issuer === b.issuer && JSON.stringify(a.groups) === JSON.stringify(b.groups);
}
