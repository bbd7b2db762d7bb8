/**
 * Requests for approval, decisions on them, and their use. README.md has the states and what each guarantee rests on.
 *
 * State lives in memory and is kept in the store. What makes something possible is on disk before it has effect: a
 * decision is an event on disk, then state on disk, then effect; a use is taken from memory at once (so that of two at
 * the same time one gets it), then from disk, then an event on disk, then the operation proceeds. What only takes
 * something away (expiry, the end of a session) has effect at once, and a failed write of it is reported.
 */
import { SluiceError } from '../core/errors.ts';
import type { Recorder } from '../core/event.ts';
import type { Approval, ApprovalState, Ask, Change, Granted, Pending, Refused, WaitResult } from './approval.ts';
import { bindingKey } from './binding.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import { askerOf, decidedEvent, expiredEvent, requestedEvent, usedEvent } from './events.ts';
import { Feed } from './feed.ts';
import { newId, parseId } from './identifier.ts';
import { deniedError, waitError } from './refusal.ts';
import { checkReview, type Review } from './review.ts';
import type { ApprovalStore } from './store.ts';

export interface ApprovalsOptions {
  readonly store: ApprovalStore;
  readonly recorder: Recorder;
  /** A write that only takes something away failed, in the background. */
  readonly onFault: (error: unknown) => void;
  /** Milliseconds since the epoch, without jumps but those that `clockSet` is told of. Absent: the wall clock. */
  readonly clock?: () => number;
  /** Undecided requests of one session. Default 20. */
  readonly perSession?: number;
  /** Undecided requests in all. Default 500. */
  readonly total?: number;
  /** Bytes of text and parameters that a reviewer is shown; more is refused. Default 65536. */
  readonly textBytes?: number;
}

export interface Filter {
  readonly session?: string;
  readonly state?: ApprovalState;
  /** Closed ones too. */
  readonly all?: boolean;
}

interface Waiter {
  readonly ask: Ask;
  readonly settle: (result: WaitResult | Promise<WaitResult>) => void;
}

interface Entry {
  approval: Approval;
  readonly waiters: Set<Waiter>;
  deadline: Deadline | null;
  /** Settles when the request is recorded and kept; null after that. */
  ready: Promise<void> | null;
  /** Decisions on one approval are taken one after the other. */
  turn: Promise<unknown>;
  deciding: boolean;
}

export class Approvals {
  readonly #store: ApprovalStore;
  readonly #recorder: Recorder;
  readonly #onFault: (error: unknown) => void;
  readonly #limits: { perSession: number; total: number; textBytes: number };
  readonly #byId = new Map<string, Entry>();
  readonly #byKey = new Map<string, Entry>();
  /** Closed ones that the store does not have yet. */
  readonly #closing = new Map<string, Approval>();
  readonly #clock: () => number;
  readonly #deadlines: Deadlines;
  readonly #feed = new Feed<Change>(1000);
  /** Writes under way that nobody waits for, so that close() can. */
  readonly #background = new Set<Promise<void>>();

  /** Takes up what the store holds: requests go on waiting, unused approvals stay usable, what is overdue expires. */
  constructor(options: ApprovalsOptions) {
    this.#store = options.store;
    this.#recorder = options.recorder;
    this.#onFault = options.onFault;
    this.#clock = options.clock ?? (() => Date.now());
    this.#deadlines = new Deadlines(this.#clock);
    this.#limits = {
      perSession: options.perSession ?? 20,
      total: options.total ?? 500,
      textBytes: options.textBytes ?? 65_536,
    };
    for (const approval of this.#store.live()) this.#schedule(this.#insert(approval));
  }

  /**
   * Asks for the operation. Granted: an approval for it was there, and this call used it. Refused: it was denied a short
   * while ago. Pending: it waits for people, together with all others who ask the same.
   * @throws SluiceError APPROVAL_LIMIT, STATEMENT_TOO_LARGE, STATE_FAILED, AUDIT_FULL, AUDIT_FAILED: do not proceed.
   */
  async request(ask: Ask): Promise<Granted | Refused | Pending> {
    const key = bindingKey(ask);
    for (;;) {
      const entry = this.#byKey.get(key);
      if (entry === undefined || this.#overdue(entry)) {
        const made = this.#create(key, ask);
        await made.ready;
        return this.#pending(made, ask, true);
      }
      if (entry.ready !== null) {
        await entry.ready;
        continue;
      }
      const { approval } = entry;
      if (approval.state === 'granted') return this.#use(entry, ask);
      if (approval.state === 'denied') return { kind: 'refused', id: approval.id, error: deniedError(approval) };
      return this.#pending(entry, ask, false);
    }
  }

  /** Live ones in the order of asking; with `all`, closed ones after them, last first. */
  list(filter: Filter = {}): Approval[] {
    const live = [...this.#byId.values()].filter((entry) => entry.ready === null).map((entry) => entry.approval);
    live.sort((a, b) => a.requestedAt - b.requestedAt);
    const stored = filter.all ? this.#store.closed().filter((each) => !this.#closing.has(each.id)) : [];
    const closed = filter.all ? [...this.#closing.values()].reverse().concat(stored) : [];
    return [...live, ...closed].filter(
      (each) =>
        (filter.session === undefined || each.session === filter.session) &&
        (filter.state === undefined || each.state === filter.state),
    );
  }

  /** @throws SluiceError APPROVAL_UNKNOWN. */
  show(text: string): Approval {
    const id = parseId(text);
    const entry = id === null ? undefined : this.#byId.get(id);
    const approval = entry?.ready === null ? entry.approval : id === null ? undefined : this.#closed(id);
    if (approval === undefined) throw new SluiceError('APPROVAL_UNKNOWN', `there is no approval ${text}`);
    return approval;
  }

  /**
   * Takes one reviewer's verdict. One denial denies; approvals count until the quorum is reached.
   * @throws SluiceError APPROVAL_UNKNOWN, APPROVAL_EXPIRED, APPROVAL_DECIDED, APPROVAL_FORBIDDEN; STATE_FAILED,
   * AUDIT_FULL, AUDIT_FAILED: the verdict had no effect.
   */
  async decide(review: Review): Promise<Approval> {
    const { id } = this.show(review.id);
    const entry = this.#byId.get(id);
    if (entry === undefined) throw closedError(this.show(id));
    const mine = entry.turn.then(() => this.#decide(entry, review));
    entry.turn = mine.catch(() => {});
    return mine;
  }

  /** Changes from now on. A reader that falls 1,000 behind is dropped with APPROVAL_LIMIT. */
  watch(signal?: AbortSignal): AsyncIterableIterator<Change> {
    return this.#feed.subscribe(signal);
  }

  /**
   * The session has ended: what is remembered for it is forgotten. A single-use approval outlives it, since the same
   * person sends the same statement again from the next one.
   */
  endSession(session: string): void {
    for (const entry of [...this.#byId.values()]) {
      const { approval } = entry;
      if (approval.session === session && approval.terms.remember === 'session') {
        this.#close(entry, 'withdrawn', 'the session ended');
      }
    }
  }

  /** The clock was set, by so many milliseconds: what people have left of their time stays as it was. */
  clockSet(by: number): void {
    this.#deadlines.shift(by);
    for (const entry of this.#byId.values()) {
      const { expiresAt } = entry.approval;
      if (expiresAt === null) continue;
      entry.approval = { ...entry.approval, expiresAt: expiresAt + by };
      if (entry.ready === null) this.#later(this.#store.put(entry.approval));
    }
  }

  /** The session's identity has ended: nobody is asked any more for what it waits for. */
  withdraw(session: string, reason: string): void {
    for (const entry of [...this.#byId.values()]) {
      const { approval, ready } = entry;
      if (approval.session === session && approval.state === 'pending' && ready === null) {
        this.#close(entry, 'withdrawn', reason);
      }
    }
  }

  /** After a restart: ends every session that is not among those running. */
  keepSessions(running: ReadonlySet<string>): void {
    const gone = new Set([...this.#byId.values()].map((entry) => entry.approval.session));
    for (const session of gone) if (!running.has(session)) this.endSession(session);
  }

  /** Waiters end with `timeout`; requests stay in the store. */
  async close(): Promise<void> {
    this.#deadlines.clear();
    this.#feed.close();
    for (const { waiters } of this.#byId.values()) for (const waiter of [...waiters]) waiter.settle('timeout');
    await Promise.allSettled([...this.#byId.values()].map((entry) => entry.turn));
    await Promise.allSettled(this.#background);
    await this.#store.close();
  }

  #closed(id: string): Approval | undefined {
    return this.#closing.get(id) ?? this.#store.get(id);
  }

  #insert(approval: Approval): Entry {
    const entry: Entry = {
      approval,
      waiters: new Set(),
      deadline: null,
      ready: null,
      turn: Promise.resolve(),
      deciding: false,
    };
    this.#byId.set(approval.id, entry);
    this.#byKey.set(approval.key, entry);
    return entry;
  }

  #create(key: string, ask: Ask): Entry {
    const { session, operation, approval: terms } = ask;
    const bytes = Buffer.byteLength(operation.text) + parameterBytes(ask.parameters);
    if (bytes > this.#limits.textBytes) {
      throw new SluiceError(
        'STATEMENT_TOO_LARGE',
        `${bytes} bytes are more than a reviewer is shown (${this.#limits.textBytes}), so nobody can approve them`,
        { hint: 'send the operation in smaller parts' },
      );
    }
    let mine = 0;
    let all = 0;
    for (const { approval } of this.#byId.values()) {
      if (approval.state !== 'pending') continue;
      all++;
      if (approval.session === session.id) mine++;
    }
    if (mine >= this.#limits.perSession || all >= this.#limits.total) {
      const whose = mine >= this.#limits.perSession ? `${mine} of this session's operations` : `${all} operations`;
      throw new SluiceError('APPROVAL_LIMIT', `${whose} wait for approval already`);
    }
    let id = newId();
    while (this.#byId.has(id) || this.#closed(id) !== undefined) id = newId();
    const now = this.#clock();
    const entry = this.#insert({
      id,
      state: 'pending',
      key,
      subject: session.principal.subject,
      groups: session.principal.groups,
      uid: session.uid,
      session: session.id,
      command: session.command,
      flow: ask.flowId,
      asker: askerOf(ask),
      resource: ask.resource,
      protocol: operation.protocol,
      ...(ask.account !== undefined && { account: ask.account }),
      ...(ask.database !== undefined && { database: ask.database }),
      verb: operation.verb,
      text: operation.text,
      ...(ask.parameters !== undefined && { parameters: ask.parameters }),
      fingerprint: operation.fingerprint,
      accesses: operation.accesses,
      rule: ask.rule,
      reason: ask.reason,
      terms,
      votes: [],
      requestedAt: now,
      expiresAt: now + terms.within,
      closedAt: null,
    });
    entry.ready = this.#announce(entry);
    return entry;
  }

  /** Only a request that is recorded and kept can be seen, joined and decided. */
  async #announce(entry: Entry): Promise<void> {
    try {
      await this.#recorder.record(requestedEvent(entry.approval)).committed();
      await this.#store.put(entry.approval);
    } catch (error) {
      this.#remove(entry);
      throw error;
    }
    entry.ready = null;
    this.#schedule(entry);
    this.#publish('requested', entry);
  }

  #pending(entry: Entry, ask: Ask, created: boolean): Pending {
    const { id, expiresAt, terms } = entry.approval;
    return {
      kind: 'pending',
      id,
      expiresAt: expiresAt ?? 0,
      created,
      reviewers: terms.reviewers,
      wait: async (ms, signal) => {
        const result = await this.#wait(entry, ask, ms, signal);
        if (result === 'approved') return { granted: true, result };
        return { granted: false, result, error: waitError(entry.approval, result) };
      },
    };
  }

  #wait(entry: Entry, ask: Ask, ms: number, signal?: AbortSignal): Promise<WaitResult> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        ask,
        settle: (result) => {
          entry.waiters.delete(waiter);
          this.#deadlines.cancel(hold);
          signal?.removeEventListener('abort', giveUp);
          resolve(result);
        },
      };
      const giveUp = () => waiter.settle('timeout');
      const hold = this.#deadlines.add(this.#clock() + ms, giveUp);
      signal?.addEventListener('abort', giveUp, { once: true });
      entry.waiters.add(waiter);
      if (signal?.aborted) giveUp();
      else if (entry.approval.state !== 'pending' || this.#overdue(entry)) this.#wake(entry);
    });
  }

  /** Serves all waiters, in the order of their calls: of a single use the first one gets it. */
  #wake(entry: Entry): void {
    for (const waiter of [...entry.waiters]) {
      const { state } = entry.approval;
      if (state === 'granted') waiter.settle(this.#use(entry, waiter.ask).then(() => 'approved'));
      else if (state === 'denied' || state === 'used') waiter.settle(state);
      else waiter.settle('expired');
    }
  }

  /** The approval is taken before the first await. On a failed write it stays taken, and the operation does not proceed. */
  async #use(entry: Entry, ask: Ask): Promise<Granted> {
    const { approval } = entry;
    if (approval.terms.remember === 'once') {
      const used: Approval = { ...approval, state: 'used', expiresAt: null, closedAt: this.#clock() };
      entry.approval = used;
      this.#remove(entry);
      await this.#keepClosed(used);
    } else if (approval.expiresAt !== null) {
      // Its first use: from here on it holds until the session ends.
      entry.approval = { ...approval, expiresAt: null };
      this.#schedule(entry);
      await this.#store.put(entry.approval);
    }
    await this.#recorder.record(usedEvent(approval, ask)).durable();
    this.#publish('used', entry);
    const reviewers = approval.votes.filter((vote) => vote.verdict === 'approve').map((vote) => vote.subject);
    return { kind: 'granted', id: approval.id, reviewers };
  }

  async #decide(entry: Entry, review: Review): Promise<Approval> {
    const before = entry.approval;
    if (before.state !== 'pending' || this.#overdue(entry)) throw closedError(entry.approval);
    checkReview(before, review);
    // From here on the request does not expire under the reviewer's hands; if the verdict fails, it may.
    entry.deciding = true;
    try {
      await this.#recorder.record(decidedEvent(before, review)).durable();
      const at = this.#clock();
      const { verdict, reason } = review;
      const vote = { subject: review.reviewer.subject, verdict, ...(reason !== undefined && { reason }), at };
      const votes = [...before.votes, vote];
      const agreed = votes.filter((each) => each.verdict === 'approve').length;
      const state = verdict === 'deny' ? 'denied' : agreed >= before.terms.quorum ? 'granted' : 'pending';
      const expiresAt = state === 'pending' ? entry.approval.expiresAt : at + before.terms.within;
      const after: Approval = { ...before, votes, state, expiresAt };
      await this.#store.put(after);
      if (entry.approval.closedAt !== null) {
        // Its session ended meanwhile, and that stands.
        await this.#store.put(entry.approval);
        throw closedError(entry.approval);
      }
      entry.approval = after;
    } finally {
      entry.deciding = false;
      this.#schedule(entry);
    }
    const { state } = entry.approval;
    this.#publish(state === 'granted' || state === 'denied' ? state : 'voted', entry);
    const decided = entry.approval;
    if (state !== 'pending') this.#wake(entry);
    return decided;
  }

  /** Sets the timer for the present state. */
  #schedule(entry: Entry): void {
    if (entry.deadline !== null) this.#deadlines.cancel(entry.deadline);
    const { expiresAt, closedAt } = entry.approval;
    entry.deadline =
      expiresAt === null || closedAt !== null ? null : this.#deadlines.add(expiresAt, () => void this.#overdue(entry));
  }

  /** Whether its time is over; then it is closed here and now, since a timer may be late. */
  #overdue(entry: Entry): boolean {
    const { state, expiresAt, closedAt } = entry.approval;
    if (closedAt !== null) return true;
    if (expiresAt === null || expiresAt > this.#clock() || entry.deciding || entry.ready !== null) return false;
    if (state === 'denied') this.#close(entry, 'denied', null);
    else this.#close(entry, 'expired', state === 'granted' ? 'approved and not used in time' : 'not decided in time');
    return true;
  }

  /** Ends what nobody used. Has effect at once; the event and the state follow. */
  #close(entry: Entry, state: 'expired' | 'withdrawn' | 'denied', reason: string | null): void {
    entry.approval = { ...entry.approval, state, expiresAt: null, closedAt: this.#clock() };
    this.#remove(entry);
    const { approval } = entry;
    this.#closing.set(approval.id, approval);
    const keep = async () => {
      if (reason !== null) await this.#recorder.record(expiredEvent(approval, reason)).committed();
      await this.#keepClosed(approval);
    };
    this.#later(keep());
    if (state !== 'denied') this.#publish(state, entry);
    this.#wake(entry);
  }

  #later(work: Promise<void>): void {
    const done = work.catch(this.#onFault);
    this.#background.add(done);
    void done.finally(() => this.#background.delete(done));
  }

  async #keepClosed(approval: Approval): Promise<void> {
    this.#closing.set(approval.id, approval);
    await this.#store.put(approval);
    this.#closing.delete(approval.id);
  }

  #remove(entry: Entry): void {
    const { id, key } = entry.approval;
    this.#byId.delete(id);
    if (this.#byKey.get(key) === entry) this.#byKey.delete(key);
    if (entry.deadline !== null) this.#deadlines.cancel(entry.deadline);
    entry.deadline = null;
  }

  #publish(type: Change['type'], entry: Entry): void {
    this.#feed.publish({ type, approval: entry.approval });
  }
}

function parameterBytes(parameters: Ask['parameters']): number {
  let bytes = 0;
  for (const value of parameters ?? []) bytes += value === null ? 4 : Buffer.byteLength(value);
  return bytes;
}

function closedError(approval: Approval): SluiceError {
  const { id, state, votes } = approval;
  if (state === 'expired' || state === 'withdrawn') {
    const why = state === 'expired' ? 'has expired' : 'went with its session';
    return new SluiceError('APPROVAL_EXPIRED', `approval ${id} ${why}`);
  }
  const by = votes.map((vote) => vote.subject).join(', ');
  return new SluiceError('APPROVAL_DECIDED', `approval ${id} is decided already: ${state}${by && ` (${by})`}`);
}
