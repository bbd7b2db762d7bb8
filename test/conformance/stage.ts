/**
 * Flows in this process, everything real: policy from files, audit on disk, approvals, masking; only the kernel's part is
 * left out, as each connection is told whose it is. The recorder can be made to fail, and notes what was recorded when.
 */
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Approvals } from '../../daemon/approvals/approvals.ts';
import { openStore } from '../../daemon/approvals/store.ts';
import { openAudit } from '../../daemon/audit/audit.ts';
import type { EventInput, Receipt, Recorder } from '../../daemon/core/event.ts';
import type { Flow, Session } from '../../daemon/core/principal.ts';
import { Flows } from '../../daemon/flow/flows.ts';
import { Outbox } from '../../daemon/flow/outbox.ts';
import { type FlowLimits, type FlowParts, LIMITS } from '../../daemon/flow/parts.ts';
import { type ResolverAddress, Resolvers } from '../../daemon/flow/resolvers.ts';
import { openSending } from '../../daemon/flow/send.ts';
import { SessionNames } from '../../daemon/identify/names.ts';
import { loadPolicy } from '../../daemon/policy/load.ts';
import type { CompiledPolicy } from '../../daemon/policy/policy.ts';
import type { Kit } from '../../daemon/policy/schema.ts';
import type { Protocol, Responder } from '../../daemon/protocols/protocol.ts';

const LIBRARY = new URL('../../build/native/libsluice.so', import.meta.url).pathname;

export interface Recorded {
  readonly event: EventInput;
  committed: boolean;
  durable: boolean;
}

/** How the recorder fails: not at all, at once, or when its promises are asked. */
export type RecorderFault = null | { readonly at: 'record' | 'committed' | 'durable'; readonly error: Error };

export interface Stage {
  readonly port: number;
  /** The same for datagrams, where the stage answers questions. */
  readonly datagramPort: number;
  readonly approvals: Approvals;
  readonly recorded: readonly Recorded[];
  readonly faults: unknown[];
  readonly flows: Flows;
  recorderFault: RecorderFault;
  /** Limits of flows that begin from now on. */
  limits: FlowLimits;
  /** Groups of whoever connects from now on. */
  groups: readonly string[];
  readonly policyText: string;
  setPolicy(text: string): void;
  /** Resolves when there is a request for approval that was not seen before. */
  request(): Promise<string>;
  answer(id: string, verdict: 'approve' | 'deny'): Promise<unknown>;
  /** Resolves when no flow runs any more. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** What flows of a stage are about: a resource and its protocol, or questions that sluice answers itself. */
export type StageOptions = {
  readonly policy: string;
  readonly kit: Kit;
} & (
  | { readonly resource: string; readonly protocol: Protocol }
  | { readonly responder: Responder; readonly resolvers: readonly ResolverAddress[] }
);

export async function openStage(options: StageOptions): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-stage-'));
  mkdirSync(join(dir, 'policy'));
  let versions = 0;
  const load = (text: string): CompiledPolicy => {
    // Each version under a name of its own, so that the same text twice makes two versions.
    const path = join(dir, 'policy', `${versions++}.yaml`);
    writeFileSync(path, text);
    return loadPolicy([path], options.kit);
  };
  let text = options.policy;
  let policy = load(text);
  const audit = await openAudit({ dir: join(dir, 'audit'), quotaBytes: 1 << 30, clock: Date.now });
  const recorded: Recorded[] = [];
  const faults: unknown[] = [];
  const recorder: Recorder = {
    record(event) {
      const fault = event.type === 'operation' ? stage.recorderFault : null;
      if (fault?.at === 'record') throw fault.error;
      // What several events share comes as one object.
      const entry: Recorded = { event: { ...event, ...event.act }, committed: false, durable: false };
      recorded.push(entry);
      return watched(audit.record(event), entry, fault);
    },
  };
  const approvals = new Approvals({
    store: openStore(join(dir, 'approvals')),
    recorder: audit,
    onFault: (error) => faults.push(error),
  });
  const flows = new Flows();
  const parts: FlowParts = {
    policy: () => policy,
    recorder,
    approve: (ask) => approvals.request(ask),
    credential: async () => null,
    secureContext: async () => {
      throw new Error('no TLS on the stage');
    },
    tokenIs: () => false,
    verifier: () => null,
    expired: () => null,
    onFault: (error) => faults.push(error),
    outbox: new Outbox(openSending(LIBRARY)),
    timings: { added: { observe() {} }, held: { observe() {} } },
    get limits() {
      return stage.limits;
    },
  };
  if ('protocol' in options) flows.serve(parts, new Map([[options.protocol.name, options.protocol]]));
  else {
    const resolvers = new Resolvers({ servers: () => options.resolvers, limit: 64 });
    const names = new SessionNames({ host: () => [] });
    const { responder } = options;
    flows.serve(parts, new Map(), {
      responder,
      ask: resolvers.ask,
      remember: (session, name, addresses) => names.remember(session, name, addresses),
    });
  }
  /** Where agents meant to go. */
  const meant = (): { host: string; port: number } =>
    'protocol' in options
      ? policy.resources.get(options.resource)!
      : { host: '198.51.100.53', port: options.responder.port };
  let count = 0;
  const server = net.createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    flows.arrive({ flow: flowOf(++count, stage.groups, meant()), socket });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const datagrams = createSocket('udp4', (bytes, from) => {
    const { session, origin } = flowOf(++count, stage.groups, meant());
    flows.datagram({ session, origin, bytes, reply: (reply) => datagrams.send(reply, from.port, from.address) });
  });
  await new Promise<void>((resolve) => datagrams.bind(0, '127.0.0.1', resolve));
  const seen = new Set<string>();
  const stage: Stage = {
    port,
    datagramPort: datagrams.address().port,
    approvals,
    recorded,
    faults,
    flows,
    recorderFault: null,
    limits: LIMITS,
    groups: ['agents'],
    get policyText() {
      return text;
    },
    setPolicy(next) {
      policy = load(next);
      text = next;
    },
    async request() {
      for (;;) {
        const found = approvals.list({ state: 'pending' }).find(({ id }) => !seen.has(id));
        if (found !== undefined) {
          seen.add(found.id);
          return found.id;
        }
        await turn();
      }
    },
    answer: (id, verdict) =>
      approvals.decide({ id, reviewer: { subject: 'a-reviewer', groups: ['reviewers'] }, uids: [], verdict }),
    async idle() {
      while (flows.size > 0) await turn();
    },
    async close() {
      server.close();
      datagrams.close();
      await stage.idle();
      await approvals.close();
      await audit.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return stage;
}

/** One turn of everything that waits. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

function watched(receipt: Receipt, entry: Recorded, fault: RecorderFault): Receipt {
  const failing = (at: 'committed' | 'durable') => fault?.at === at;
  return {
    get done() {
      if (failing('committed')) return false;
      if (receipt.done) entry.committed = true;
      return receipt.done;
    },
    async committed() {
      if (failing('committed')) throw fault!.error;
      await receipt.committed();
      entry.committed = true;
    },
    async durable() {
      if (failing('durable')) throw fault!.error;
      await receipt.durable();
      entry.committed = true;
      entry.durable = true;
    },
  };
}

function flowOf(count: number, groups: readonly string[], to: { host: string; port: number }): Flow {
  const session: Session = {
    id: `session-${groups.join('-')}`,
    principal: { subject: 'an-agent', groups },
    cgroupId: 4711n,
    uid: 4711,
    command: ['agent'],
    startedAt: 0,
  };
  return {
    id: `flow-${count}`,
    session,
    origin: {
      pid: 4711,
      uid: 4711,
      cgroupId: 4711n,
      comm: 'agent',
      exe: '/usr/bin/agent',
      address: to.host,
      port: to.port,
      names: [],
    },
    startedAt: Date.now(),
  };
}
