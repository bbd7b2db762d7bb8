#!/usr/bin/env node
/** The daemon: puts the stages together. The only place that sees all of them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { Approvals } from '../approvals/approvals.ts';
import { openStore } from '../approvals/store.ts';
import { openAudit } from '../audit/audit.ts';
import { auditHandlers } from '../audit/handlers.ts';
import { handlers } from '../control/handlers.ts';
import { ControlServer } from '../control/server.ts';
import { SluiceError } from '../core/errors.ts';
import type { Session } from '../core/principal.ts';
import { Credentials } from '../credentials/credentials.ts';
import { Flows } from '../flow/flows.ts';
import { lookupBy } from '../flow/lookup.ts';
import { Outbox } from '../flow/outbox.ts';
import { type FlowParts, LIMITS } from '../flow/parts.ts';
import { Resolvers } from '../flow/resolvers.ts';
import { openSend } from '../flow/send.ts';
import { HostsFile } from '../identify/hosts.ts';
import { Identities } from '../identify/identities.ts';
import { LocalUsers } from '../identify/local.ts';
import { SessionNames } from '../identify/names.ts';
import { Provider } from '../identify/oidc/provider.ts';
import { loginUid, sessionOfPid, unitOfPid } from '../identify/process.ts';
import { Sessions } from '../identify/sessions.ts';
import { CertificateAuthority } from '../intake/certificates.ts';
import { Datagrams } from '../intake/datagrams.ts';
import { openHelper } from '../intake/helper.ts';
import { openKernel } from '../intake/kernel.ts';
import { Listener } from '../intake/listener.ts';
import { Tampering } from '../intake/tampering.ts';
import { DETECTOR_NAMES } from '../masking/detectors/table.ts';
import { LivePolicy } from '../policy/live.ts';
import { dns } from '../protocols/dns/dns.ts';
import { scramVerifier, verifierText } from '../protocols/postgres/login/scram.ts';
import { postgresOptions } from '../protocols/postgres/options.ts';
import { TCP_UNREAD, tcpOptions } from '../protocols/tcp/options.ts';
import { tcp } from '../protocols/tcp/tcp.ts';
import { type Config, readConfig } from './config.ts';
import { boundMemory } from './memory.ts';
import { openPostgres } from './postgres.ts';
import { resolvConf, resolverOf } from './resolvers.ts';

/** Sessions whose processes are gone are looked for this often, milliseconds. */
const RECONCILE = 2_000;
const SWEEP = 1_000;
/** Questions for names that wait for resolvers at once, of all sessions. */
const QUESTIONS = 512;

async function start(config: Config): Promise<() => Promise<void>> {
  const log = pino({ level: config.log, base: null }, pino.destination({ dest: 2, sync: true }));
  const onFault = (error: unknown, where?: string) => log.error({ err: error, where }, 'fault');
  const helper = openHelper(config.helperSocket ?? join(config.runDir, 'helper.sock'));
  // Before any socket: one made outside of the daemon's cgroup would accept without attribution.
  await helper.enterDaemonCgroup();
  const kernel = openKernel({ pinDir: config.pinDir ?? join(config.runDir, 'bpf'), library: config.library });
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const state = (name: string) => join(config.stateDir, name);

  const { retentionDays } = config.audit;
  const audit = await openAudit({
    dir: state('audit'),
    quotaBytes: config.audit.quotaBytes,
    clock: Date.now,
    ...(retentionDays === undefined ? {} : { retention: { ageMs: retentionDays * 86_400_000 } }),
  });
  let onPolicy: () => void = () => {};
  const live = new LivePolicy(
    config.policy,
    {
      protocols: { postgres: { options: postgresOptions }, tcp: { options: tcpOptions, unread: TCP_UNREAD } },
      detectors: DETECTOR_NAMES,
    },
    {
      loaded(policy) {
        audit.record({ type: 'policy.loaded', policy: policy.version });
        log.info({ policy: policy.version }, 'policy loaded');
        onPolicy();
      },
      rejected(error, inForce) {
        audit.record({ type: 'policy.rejected', policy: inForce.version, error: error.code, message: error.message });
        log.error({ inForce: inForce.version }, `policy rejected, the one before stays in force: ${error.message}`);
      },
    },
  );
  const users = new LocalUsers();
  const approvals = new Approvals({ store: openStore(state('approvals')), recorder: audit, onFault });
  const flows = new Flows();
  const hosts = new HostsFile();
  const names = new SessionNames((address) => hosts.namesOf(address));
  const sessions = new Sessions({
    path: state('sessions.json'),
    verifier: (token) => verifierText(scramVerifier(token)),
    cgroups: helper,
    recorder: audit,
    onFault,
    onEnd(session) {
      flows.endSession(session.id, new SluiceError('FLOW_NO_SESSION', 'the session has ended'));
      approvals.endSession(session.id);
      names.forget(session.id);
    },
  });
  const { providers, localSessions = providers.length === 0 } = config.identity;
  const identities = new Identities({
    ...{ localSessions, sessions, onFault, recorder: audit },
    providers: providers.map((settings) => new Provider(settings)),
    policy: () => live.current,
    onExpire(session, error) {
      flows.endSession(session.id, error);
      approvals.withdraw(session.id, 'the identity of its session ended');
    },
  });
  onPolicy = () => void identities.remap().catch(onFault);
  await sessions.reconcile();
  approvals.keepSessions(new Set(sessions.list().map((session) => session.id)));
  const authority = await CertificateAuthority.open(state('ca'));
  // Agents' clients have to be able to read the certificate, and nothing else of the state.
  const ca = join(config.runDir, 'daemon/ca.pem');
  writeFileSync(ca, authority.pem, { mode: 0o644 });

  const configured = config.resolvers?.map((text) => resolverOf(text)!);
  const lookup = configured === undefined ? {} : { lookup: lookupBy(configured, (name) => hosts.addressesOf(name)) };
  const credentials = new Credentials();
  const postgres = await openPostgres({
    credentials,
    stateDir: config.stateDir,
    library: config.library,
    statementBytes: config.limits.statementBytes,
    ...lookup,
    onFault,
  });
  const parts: FlowParts = {
    policy: () => live.current,
    recorder: audit,
    approve: (ask) => approvals.request(ask),
    credential: async (resource) => (resource.credential === undefined ? null : credentials.read(resource.credential)),
    secureContext: async (names) => (await authority.leafFor(names)).context,
    tokenIs: (session, text) => sessions.tokenIs(session, text),
    verifier: (session) => sessions.verifier(session),
    expired: (session) => identities.expired(session),
    onFault,
    ...lookup,
    outbox: new Outbox(openSend(config.library)),
    limits: { ...LIMITS, greeting: config.limits.greetingSeconds * 1000, stall: config.limits.stallSeconds * 1000 },
  };
  const fromHost = resolvConf();
  const resolvers = new Resolvers({ servers: () => configured ?? fromHost(), limit: QUESTIONS });
  const protocols = [postgres.protocol, tcp].map((protocol) => [protocol.name, protocol] as const);
  flows.serve(parts, new Map(protocols), {
    responder: dns,
    ask: resolvers.ask,
    // An answer may come when the session is over.
    remember(session, name, addresses) {
      if (sessions.get(session) !== null) names.remember(session, name, addresses);
    },
  });

  const arrivals = {
    session: (cgroupId: bigint) => sessions.find(cgroupId),
    names: (session: string, address: string) => names.of(session, address),
    recorder: audit,
    onFault,
  };
  const listener = new Listener({
    ...arrivals,
    origin: (fd) => kernel.origin(fd),
    datagrams: new Datagrams({
      ...arrivals,
      origin: (address, port, bytes) => kernel.datagram(address, port, bytes),
      arrive: (arrival) => flows.datagram(arrival),
    }),
    arrive: (arrival) => flows.arrive(arrival),
    limit: config.limits.connections,
  });
  const port = await listener.listen(config.listen.port);
  const find = (cgroupId: bigint): Session | null => sessions.find(cgroupId);
  const auditDesk = auditHandlers(audit);
  const started = Date.now();
  const control = await ControlServer.open({
    path: join(config.runDir, 'daemon/control.sock'),
    onFault,
    gate: {
      peer: (fd) => kernel.peer(fd),
      sessionOfPid: (pid) => sessionOfPid(pid, find)?.id ?? null,
      loginUid,
      unitOfPid,
      principalOf: (uid) => users.principalOf(uid, live.current),
      groupsOf: async (uid) => (await users.get(uid)).groups,
      ownUid: process.getuid!(),
      auditGroup: config.audit.group,
    },
    handlers: handlers({
      approvals,
      sessions,
      identities,
      audit: auditDesk,
      ca,
      principalOf: (uid, unit) => users.principalOf(uid, live.current, unit),
      environment: (_session, token) => postgres.environment(token, ca, [...live.current.resources.values()]),
      async reloadPolicy() {
        const error = live.reload();
        if (error !== null) throw error;
        return { policy: live.current.version };
      },
      status: async () => ({
        version: live.current.version,
        policy: live.current.version,
        resources: [...live.current.resources.keys()],
        port,
        pid: process.pid,
        started,
        sessions: sessions.list().length,
        flows: flows.size,
        approvals: approvals.list({ state: 'pending' }).length,
        audit: audit.state,
        enforcement: await helper.status().catch((error: Error) => ({ enforcing: false, missing: error.message })),
        memory: process.memoryUsage.rss(),
      }),
    }),
  });
  live.watch();
  await audit.record({ type: 'daemon.start', pid: process.pid, policy: live.current.version }).durable();
  // From here on agents' connections come to us; before, they were refused.
  kernel.setListener(port);
  log.info({ port, policy: live.current.version }, 'sluiced ready');
  const reconcile = repeat(RECONCILE, () => sessions.reconcile(), onFault);
  const tampering = new Tampering(helper, audit);
  const incidents = repeat(RECONCILE, () => tampering.look(), onFault);
  const sweep = repeat(
    SWEEP,
    async () => {
      identities.sweep();
      flows.sweep(Date.now(), parts.limits.stall);
    },
    onFault,
  );

  let stopping = false;
  return async () => {
    if (stopping) return;
    stopping = true;
    log.info('sluiced stops');
    kernel.setListener(0);
    reconcile.stop();
    incidents.stop();
    sweep.stop();
    listener.close();
    live.close();
    await flows.close(new SluiceError('UPSTREAM_LOST', 'sluiced stops'));
    await control.close();
    await approvals.close();
    await postgres.close();
    audit.record({ type: 'daemon.stop', pid: process.pid });
    await audit.close();
    kernel.close();
  };
}

/** Does it again and again, one at a time. */
function repeat(ms: number, work: () => Promise<unknown>, onFault: (error: unknown) => void): { stop(): void } {
  let timer: NodeJS.Timeout;
  let stopped = false;
  const turn = () => {
    work()
      .catch(onFault)
      .finally(() => {
        if (!stopped) timer = setTimeout(turn, ms);
      });
  };
  timer = setTimeout(turn, ms);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

const at = process.argv.indexOf('--config');
const file = at > 0 ? process.argv[at + 1] : '/etc/sluice/sluiced.json';
try {
  if (process.getuid!() === 0)
    throw new SluiceError('NOT_ALLOWED', 'sluiced does not run as root', { hint: 'run it as the user sluice' });
  boundMemory();
  const stop = await start(readConfig(file ?? ''));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // Whatever hangs must not keep a service manager waiting.
      setTimeout(() => process.exit(1), 10_000).unref();
      stop().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
} catch (error) {
  const known = error instanceof SluiceError;
  process.stderr.write(
    known
      ? `sluiced: ${error.message} (${error.code})\n         ${error.hint}\n`
      : `sluiced: ${(error as Error).stack}\n`,
  );
  process.exit(1);
}
