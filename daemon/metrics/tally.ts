/**
 * Counts what is recorded: all that sluice decides, refuses or meets is an event, so the metrics stand where events pass,
 * and agree with the audit. Labels are bounded: protocols and error codes by the program, resources and rules by the
 * policy. Nothing that an agent says is ever one.
 */
import { ERRORS } from '../core/errors.ts';
import type { EventInput, EventType, Receipt, Recorder } from '../core/event.ts';
import { Counter, type Histogram, type Registry } from './registry.ts';

/** Seconds. From a cache's answer to the longest that a statement may take to be parsed. */
const ADDED = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];
const UPSTREAM = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const HELD = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400];

/** Series of decisions at most. Policies come and go, and what they named stays counted. */
const SERIES = 2_000;
/** Stands for all resources and rules beyond that. */
const OTHERS = '(others)';

const EVENTS: readonly EventType[] = [
  ...(['daemon.start', 'daemon.stop', 'daemon.clock', 'daemon.log'] as const),
  ...(['session.start', 'session.end', 'session.refused', 'session.renewed', 'session.expired'] as const),
  ...(['login.start', 'login.end', 'flow.start', 'flow.end', 'operation', 'result'] as const),
  ...(['approval.requested', 'approval.decided', 'approval.expired', 'approval.used'] as const),
  ...(['policy.loaded', 'policy.rejected', 'fault'] as const),
];

type Decided = Readonly<Record<'allow' | 'deny' | 'approve', Counter>>;
const DECISIONS = ['allow', 'deny', 'approve'] as const;

export class Tally implements Recorder {
  /** How long things took, seconds. */
  readonly added: Histogram;
  readonly held: Histogram;
  readonly #recorder: Recorder;
  readonly #upstream: Histogram;
  readonly #events = new Map<EventType, Counter>();
  readonly #decisions: Counter[];
  /** By protocol, resource and rule. */
  readonly #decided = new Map<string, Map<string, Map<string, Decided>>>();
  #series = 0;
  readonly #observed: Readonly<Record<'deny' | 'approve', Counter>>;
  readonly #errors: Record<'refused' | 'fault' | 'unrecorded', Coded>;
  readonly #bytes: readonly [Counter, Counter];

  constructor(recorder: Recorder, registry: Registry) {
    this.#recorder = recorder;
    const types = EVENTS.map((type) => ({ type }));
    const events = registry.counters('sluice_events_total', 'Events recorded, by type.', types);
    for (const [i, type] of EVENTS.entries()) this.#events.set(type, events[i]!);
    this.#decisions = registry.counters(
      'sluice_decisions_total',
      'Operations decided, by protocol, resource, the rule that decided, and what it said. No rule: none matched.',
    );
    const [deny, approve] = registry.counters(
      'sluice_observed_total',
      'Operations let through by a rule in observe mode that enforced would have been refused or held.',
      [{ decision: 'deny' }, { decision: 'approve' }],
    ) as [Counter, Counter];
    this.#observed = { deny, approve };
    this.#errors = {
      refused: new Coded(registry.counters('sluice_refused_total', 'Operations refused, by the code of the error.')),
      fault: new Coded(
        registry.counters(
          'sluice_faults_total',
          'What was turned away or dropped before it was an operation, and faults, by the code of the error.',
        ),
      ),
      unrecorded: new Coded(
        registry.counters(
          'sluice_unrecorded_total',
          'Events that the audit did not take; what they were about was refused.',
        ),
      ),
    };
    this.#bytes = registry.counters('sluice_flow_bytes_total', 'Bytes of flows that have ended.', [
      { direction: 'in' },
      { direction: 'out' },
    ]) as [Counter, Counter];
    this.added = registry.histogram(
      'sluice_decision_seconds',
      'From the arrival of a whole operation until it went upstream or was refused, without the time held for approval.',
      ADDED,
    );
    this.held = registry.histogram('sluice_hold_seconds', 'How long operations were held for approval.', HELD);
    this.#upstream = registry.histogram(
      'sluice_upstream_seconds',
      'From forwarding an operation until its result ended.',
      UPSTREAM,
    );
  }

  record(event: EventInput): Receipt {
    let receipt: Receipt;
    try {
      receipt = this.#recorder.record(event);
    } catch (error) {
      this.#errors.unrecorded.add((error as { code?: string }).code, 1);
      throw error;
    }
    this.#count(event);
    return receipt;
  }

  #count(event: EventInput): void {
    const counter = this.#events.get(event.type);
    if (counter !== undefined) counter.value++;
    switch (event.type) {
      case 'operation':
        this.#operation(event);
        break;
      case 'result':
        this.#upstream.observe((event.micros ?? 0) / 1e6);
        break;
      case 'flow.end':
        this.#bytes[0].value += event.bytesIn ?? 0;
        this.#bytes[1].value += event.bytesOut ?? 0;
        break;
      case 'fault':
        this.#errors.fault.add(event.error, event.count ?? 1);
        break;
      case 'flow.start':
        // Declined before it was anybody's.
        if (event.error !== undefined) this.#errors.fault.add(event.error, 1);
    }
  }

  #operation(event: EventInput): void {
    const { about = event, act = event, count = 1 } = event;
    const decision = act.decision ?? 'allow';
    const decided = this.#decidedBy(about.protocol ?? event.protocol ?? '', about.resource ?? '', act.rule ?? '');
    decided[decision].value += count;
    if (act.observed !== undefined) this.#observed[act.observed].value += count;
    if (decision === 'deny') this.#errors.refused.add(event.error ?? act.error, count);
  }

  #decidedBy(protocol: string, resource: string, rule: string): Decided {
    let resources = this.#decided.get(protocol);
    if (resources === undefined) {
      resources = new Map();
      this.#decided.set(protocol, resources);
    }
    let rules = resources.get(resource);
    const decided = rules?.get(rule);
    if (decided !== undefined) return decided;
    if (this.#series >= SERIES && resource !== OTHERS) return this.#decidedBy(protocol, OTHERS, OTHERS);
    if (rules === undefined) {
      rules = new Map();
      resources.set(resource, rules);
    }
    const [allow, deny, approve] = DECISIONS.map((decision) => new Counter({ protocol, resource, rule, decision }));
    const made = { allow: allow!, deny: deny!, approve: approve! };
    rules.set(rule, made);
    this.#decisions.push(allow!, deny!, approve!);
    this.#series += DECISIONS.length;
    return made;
  }
}

/** A counter for each code of the table of errors; what is none of them is a server's own. */
class Coded {
  readonly #all: Counter[];
  readonly #byCode = new Map<string, Counter>();

  constructor(all: Counter[]) {
    this.#all = all;
  }

  add(code: string | undefined, count: number): void {
    const known = code !== undefined && Object.hasOwn(ERRORS, code) ? code : 'OTHER';
    let counter = this.#byCode.get(known);
    if (counter === undefined) {
      counter = new Counter({ error: known });
      this.#byCode.set(known, counter);
      this.#all.push(counter);
    }
    counter.value += count;
  }
}
