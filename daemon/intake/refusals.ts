/**
 * What the kernel refuses by itself, made part of the record: UNIX sockets of the host, what goes beyond the limits of a
 * session, and every other attempt that a hook refused. It counts, and is asked once a second, so that an agent which tries
 * without end makes a few events a second.
 */
import type { Decision } from '../core/decision.ts';
import type { EventFields, EventInput, Recorder } from '../core/event.ts';
import type { Principal, Session } from '../core/principal.ts';
import { attempted, verbOf } from './attempts.ts';
import type { Kernel, KernelRefusal } from './kernel.ts';

export interface RefusalsOptions {
  readonly kernel: Pick<Kernel, 'refusals' | 'refusalsLost'>;
  session(cgroupId: bigint): Session | null;
  /** What policy says of a UNIX socket, and its version. */
  decide(principal: Principal, name: string): Decision & { readonly policy: string };
  readonly recorder: Recorder;
  onFault(error: unknown): void;
}

/** Sessions are remembered beyond their end: what their last second held is taken after it. Milliseconds. */
const REMEMBERED = 10_000;
/** Refusals that wait until the record takes them; what comes beyond is counted as lost. */
const WAITING = 256;

export class Refusals {
  readonly #options: RefusalsOptions;
  readonly #ended = new Map<bigint, { readonly session: Session; readonly until: number }>();
  #waiting: KernelRefusal[] = [];
  /** Lost in the kernel as far as it is on record, and lost here since. */
  #lost = { kernel: 0, here: 0 };
  #behind = false;

  constructor(options: RefusalsOptions) {
    this.#options = options;
  }

  /** The record has not taken all that was found: look() tries it again. */
  get behind(): boolean {
    return this.#behind;
  }

  /** To be called when there is something, once a second at most. @throws SluiceError INTERNAL when the kernel does not tell. */
  look(): void {
    const { kernel } = this.#options;
    const now = performance.now();
    for (const [cgroup, { until }] of this.#ended) if (until < now) this.#ended.delete(cgroup);
    const found = [...this.#waiting, ...kernel.refusals()];
    const kept = found.findIndex((refusal) => !this.#record(eventOf(refusal, this.#whose(refusal), this.#options)));
    this.#waiting = kept < 0 ? [] : found.slice(kept, kept + WAITING);
    if (kept >= 0) for (const { count } of found.slice(kept + WAITING)) this.#lost.here += count;
    const told = this.#tellLost(kernel.refusalsLost());
    this.#behind = kept >= 0 || !told;
  }

  ended(session: Session): void {
    this.#ended.set(session.cgroupId, { session, until: performance.now() + REMEMBERED });
  }

  #whose({ first: { cgroupId } }: KernelRefusal): Session | null {
    return this.#options.session(cgroupId) ?? this.#ended.get(cgroupId)?.session ?? null;
  }

  #tellLost(kernel: number): boolean {
    const count = kernel - this.#lost.kernel + this.#lost.here;
    if (count <= 0) return true;
    const message = `${count} refusals of the kernel's could not be counted by what they were`;
    const told = this.#record({ type: 'fault', error: 'REFUSALS_LOST', message, count });
    if (told) this.#lost = { kernel, here: 0 };
    return told;
  }

  /** False: the record does not take it now. */
  #record(event: EventInput): boolean {
    try {
      this.#options.recorder.record(event);
      return true;
    } catch (error) {
      this.#options.onFault(error);
      return false;
    }
  }
}

function eventOf(refusal: KernelRefusal, session: Session | null, options: RefusalsOptions): EventInput {
  const { kind, count, first } = refusal;
  const about: EventFields = {
    ...(session !== null && {
      ...{ session: session.id, subject: session.principal.subject, groups: session.principal.groups },
      ...(session.principal.issuer !== undefined && { issuer: session.principal.issuer }),
    }),
    // Of a dropped packet there may be no process: then none is told, and not one with the uid of root.
    ...(first.pid !== 0 && { pid: first.pid, uid: first.uid, exe: first.exe }),
    cgroup: String(first.cgroupId),
    ...(count > 1 && { count }),
  };
  const to = { address: first.address, port: first.port };
  switch (kind) {
    case 'unix':
      return { type: 'operation', ...about, ...socketOf(refusal, session, options) };
    case 'connections': {
      const message = `the kernel refused ${times(count, 'connection')}: the session has as many open as one may have`;
      return { type: 'fault', ...about, ...to, decision: 'deny', error: 'FLOW_LIMIT', message };
    }
    case 'datagrams': {
      const message = `the kernel dropped ${times(count, 'datagram')}: the session sends more in a second than one may`;
      return { type: 'fault', ...about, ...to, decision: 'deny', error: 'NAME_LIMIT', message };
    }
    case 'session': {
      const message = `the kernel refused ${times(count, 'connection')}: it has no room to count those of another session`;
      return { type: 'fault', ...about, ...to, decision: 'deny', error: 'FLOW_LIMIT', message };
    }
    default: {
      const where = first.address === '' ? {} : first.port === 0 ? { address: first.address } : to;
      const said = {
        verb: verbOf(refusal),
        decision: 'deny',
        error: 'KERNEL_REFUSED',
        message: attempted(refusal),
      } as const;
      return { type: 'fault', ...about, ...where, ...said };
    }
  }
}

function socketOf({ further, name }: KernelRefusal, session: Session | null, { decide }: RefusalsOptions): EventFields {
  const common = { protocol: 'unix', verb: 'CONNECT', decision: 'deny', error: 'SOCKET_REFUSED' } as const;
  if (further || name === '') {
    const what = further ? 'further sockets' : 'a socket without a name';
    const accesses = [{ effect: 'network' as const }];
    return { ...common, text: `CONNECT ${what}`, accesses, message: `sluice: ${what} of the host's` };
  }
  const decision = session === null ? null : decide(session.principal, name);
  const reason =
    decision === null
      ? 'no session has the cgroup of the process'
      : decision.outcome === 'deny'
        ? decision.reason
        : 'it was not open to the session then, although the policy lets it now';
  return {
    ...common,
    ...{ address: name, text: `CONNECT ${name}`, accesses: [{ effect: 'network', object: name }] },
    ...{ reason, message: `sluice: ${reason}` },
    ...(decision !== null && { policy: decision.policy }),
  };
}

const times = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
