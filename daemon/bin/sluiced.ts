#!/usr/bin/env node
/** The daemon: puts the stages together. The only place that sees all of them. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { Approvals } from '../approvals/approvals.ts';
import { openStore } from '../approvals/store.ts';
import { openAudit } from '../audit/audit.ts';
import { auditHandlers } from '../audit/handlers.ts';
import type { Gate } from '../control/access.ts';
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
import { openSending } from '../flow/send.ts';
import { HostsFile } from '../identify/hosts.ts';
import { Identities } from '../identify/identities.ts';
import { LocalUsers } from '../identify/local.ts';
import { SessionNames } from '../identify/names.ts';
import { NamesFile } from '../identify/names-file.ts';
import { Provider } from '../identify/oidc/provider.ts';
import { loginUid, sessionOfPid, unitOfPid } from '../identify/process.ts';
import { Sessions } from '../identify/sessions.ts';
import { CertificateAuthority } from '../intake/certificates.ts';
import { Datagrams } from '../intake/datagrams.ts';
import { openHelper } from '../intake/helper.ts';
import { openKernel } from '../intake/kernel.ts';
import { Listener } from '../intake/listener.ts';
import { Refusals } from '../intake/refusals.ts';
import { Tampering } from '../intake/tampering.ts';
import { UnixNames } from '../intake/unix-names.ts';
import { Watch } from '../intake/watch.ts';
import { Registry } from '../metrics/registry.ts';
import { MetricsServer } from '../metrics/server.ts';
import { Tally } from '../metrics/tally.ts';
import { LivePolicy } from '../policy/live.ts';
import { dns } from '../protocols/dns/dns.ts';
import { scramVerifier, verifierText } from '../protocols/postgres/login/scram.ts';
import { tcp } from '../protocols/tcp/tcp.ts';
import { openState } from '../state/state.ts';
import { STEPS } from '../state/steps.ts';
import { alone } from './alone.ts';
import { KIT } from './check.ts';
import { Clock, described } from './clock.ts';
import { type Config, readConfig } from './config.ts';
import { Listeners } from './listeners.ts';
import { boundMemory } from './memory.ts';
import { openMetrics } from './metrics.ts';
import { optionsOf, versionOfSluice } from './options.ts';
import { openPostgres } from './postgres.ts';
import { admitReader, metricsAt } from './readers.ts';
import { repeat } from './repeat.ts';
import { resolvConf, resolverOf } from './resolvers.ts';
import { Service } from './service.ts';
import { statusOf } from './status.ts';

/** Between two sweeps while there are connections, or an identity that ends or is renewed soon; and while there is nothing. */
const SWEEP = 1_000;
const SWEEP_IDLE = 5_000;
/** Questions for names that wait for resolvers at once, of all sessions. */
const QUESTIONS = 512;

async function start(config: Config): Promise<() => Promise<void>> {
  const log = pino({ level: config.log, base: null }, pino.destination({ dest: 2, sync: true }));
  const onFault = (error: unknown, where?: string) => log.error({ err: error, where }, 'fault');
  const helperSocket = config.helperSocket ?? join(config.runDir, 'helper.sock');
  const helper = openHelper(helperSocket);
  const pins = { pinDir: config.pinDir ?? join(config.runDir, 'bpf'), library: config.library };
  const kernel = openKernel(pins);
  const service = new Service(config, log);
  const listeners = new Listeners({
    ...{ manager: service.manager, helper, kernel },
    ...{ library: config.library, port: config.listen.port },
  });
  const sockets = await listeners.open();
  const version = versionOfSluice();
  await openState({ dir: config.stateDir, version, steps: STEPS, say: (text) => log.info(text) });
  const clock = new Clock();
  const state = (name: string) => join(config.stateDir, name);

  const { retentionDays } = config.audit;
  const store = await openAudit({
    dir: state('audit'),
    quotaBytes: config.audit.quotaBytes,
    clock: Date.now,
    library: config.library,
    ...(retentionDays === undefined ? {} : { retention: { ageMs: retentionDays * 86_400_000 } }),
  });
  service.follow(store);
  const registry = new Registry();
  const audit = new Tally(store, registry);
  let onPolicy: () => void = () => {};
  /** There is something to sweep for. */
  let onSweep: () => void = () => {};
  const live = new LivePolicy(config.policy, KIT, {
    loaded(policy) {
      audit.record({ type: 'policy.loaded', policy: policy.version });
      log.info({ policy: policy.version }, 'policy loaded');
      onPolicy();
    },
    rejected(error, inForce) {
      audit.record({ type: 'policy.rejected', policy: inForce.version, error: error.code, message: error.message });
      log.error({ inForce: inForce.version }, `policy rejected, the one before stays in force: ${error.message}`);
    },
  });
  const users = new LocalUsers();
  const approvals = new Approvals({ store: openStore(state('approvals')), recorder: audit, onFault, clock: clock.now });
  const flows = new Flows();
  const hosts = new HostsFile();
  const names = new SessionNames({
    host: (address) => hosts.namesOf(address),
    file: new NamesFile(state('names')),
    onFault: (error) => onFault(error, 'names of sessions'),
  });
  const sessions = new Sessions({
    path: state('sessions.json'),
    verifier: (token) => verifierText(scramVerifier(token)),
    cgroups: helper,
    recorder: audit,
    onFault,
    onOpen() {
      unixNames.set(unixSockets());
      onSweep();
    },
    // Principals change with their tokens, and end with them.
    onChange() {
      trySockets();
      onSweep();
    },
    onEnd(session) {
      flows.endSession(session.id, new SluiceError('FLOW_NO_SESSION', 'the session has ended'));
      approvals.endSession(session.id);
      names.forget(session.id);
      refusals.ended(session);
      trySockets();
    },
  });
  names.restore(new Set(sessions.list().map(({ id }) => id)));
  const { providers, localSessions = providers.length === 0 } = config.identity;
  const identities = new Identities({
    ...{ localSessions, sessions, onFault, recorder: audit },
    providers: providers.map((settings) => new Provider(settings)),
    policy: () => live.current,
    onLogin: () => onSweep(),
    onExpire(session, error) {
      flows.endSession(session.id, error);
      approvals.withdraw(session.id, 'the identity of its session ended');
    },
  });
  const refusals = new Refusals({
    kernel,
    session: (cgroupId) => sessions.find(cgroupId),
    decide: (principal, name) => ({ ...live.current.unixSocket(principal, name), policy: live.current.version }),
    recorder: audit,
    onFault: (error) => onFault(error, 'refusals of the kernel'),
  });
  const unixNames = new UnixNames(kernel, {
    failing: (error) => onFault(error, 'UNIX sockets'),
    again: () => log.info('all UNIX sockets that the policy lets are open again'),
  });
  /** UNIX sockets of the host, for each session by its principal of this moment. */
  const unixSockets = () =>
    sessions.list().flatMap((session) => {
      if (identities.expired(session) !== null) return [];
      return live.current.unixSockets(session.principal).map((name) => ({ cgroupId: session.cgroupId, name }));
    });
  const trySockets = () => unixNames.keep(unixSockets());
  onPolicy = () => {
    trySockets();
    void identities.remap().catch(onFault);
  };
  trySockets();
  await sessions.reconcile();
  approvals.keepSessions(new Set(sessions.list().map((session) => session.id)));
  const authority = await CertificateAuthority.open(state('ca'));
  // Agents' clients have to be able to read the certificate, and nothing else of the state.
  const ca = join(config.runDir, 'daemon/ca.pem');
  writeFileSync(ca, authority.pem);
  chmodSync(ca, 0o644); // whatever the umask is

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
    outbox: new Outbox(openSending(config.library)),
    timings: audit,
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
    arrive(arrival) {
      flows.arrive(arrival);
      onSweep();
    },
    limit: config.limits.connections,
    sessionLimit: config.limits.sessionConnections,
  });
  await listener.listen(sockets);
  const { port } = sockets;
  /** Behind a helper that was stopped and has other cgroups now. One that has other maps needs another daemon. */
  const relisten = async () => {
    if (!listeners.astray) return;
    const now = openKernel(pins);
    const maps = now.mapsId();
    now.close();
    if (maps !== kernel.mapsId()) {
      log.warn('sluice-helper has other maps than it had: sluiced ends, to be started again');
      process.kill(process.pid, 'SIGTERM');
      return;
    }
    listener.close();
    await listener.listen(await listeners.renew(port));
    kernel.setListener(listener.port);
    log.warn('the cgroups of sluice-helper were made anew: sluiced listens in them');
  };
  const find = (cgroupId: bigint): Session | null => sessions.find(cgroupId);
  const auditDesk = auditHandlers(store);
  /** What is done whether or not the record takes it: a full audit is looked into with the log turned up. */
  const note = (type: 'daemon.clock' | 'daemon.log', reason: string) => {
    try {
      audit.record({ type, pid: process.pid, reason });
    } catch (error) {
      onFault(error, reason);
    }
  };
  const startedAt = Date.now();
  let jumps = 0;
  const held = () => approvals.list({ state: 'pending' });
  const connections = () => ({ open: flows.size, most: config.limits.connections });
  const logLevel = () => ({ level: log.level, configured: config.log });
  const at = metricsAt(config);
  const controlPath = join(config.runDir, 'daemon/control.sock');
  const gate: Gate = {
    peer: (fd) => kernel.peer(fd),
    peerIsGone: (fd) => kernel.peerIsGone(fd),
    sessionOfPid: (pid) => sessionOfPid(pid, find)?.id ?? null,
    loginUid,
    unitOfPid,
    principalOf: (uid) => users.principalOf(uid, live.current),
    groupsOf: async (uid) => (await users.get(uid)).groups,
    ownUid: process.getuid!(),
    auditGroup: config.audit.group,
  };
  const metrics = openMetrics(registry, {
    version,
    policy: () => ({ version: live.current.version, loadedAt: live.loadedAt, rejected: live.rejected !== null }),
    sessions: () => sessions.list().length,
    flows: connections,
    heldSince: () => held().map(({ requestedAt }) => requestedAt),
    asking: () => resolvers.asking,
    audit: store,
    helper,
    lost: () => kernel.refusalsLost(),
    jumps: () => jumps,
  });
  const metricsServer =
    at === null
      ? null
      : await MetricsServer.open({
          at,
          admit: (socket) => admitReader(gate, socket, config.metrics.group),
          text: metrics.text,
          onFault: (error) => onFault(error, 'metrics'),
        });
  const control = await ControlServer.open({
    path: controlPath,
    onFault,
    gate,
    handlers: handlers({
      approvals,
      sessions,
      identities,
      audit: auditDesk,
      ca,
      principalOf: (uid, unit) => users.principalOf(uid, live.current, unit),
      userOf: (uid) =>
        users.get(uid).then(
          ({ user }) => user,
          () => String(uid), // the name service does not answer
        ),
      environment: (_session, token) => postgres.environment(token, ca, [...live.current.resources.values()]),
      async reloadPolicy() {
        const error = live.reload();
        if (error !== null) throw error;
        return { policy: live.current.version };
      },
      logLevel(level) {
        if (level !== undefined && level !== log.level) {
          note('daemon.log', `log level ${log.level} to ${level}`);
          log.info({ from: log.level, to: level }, 'log level');
          log.level = level;
        }
        return logLevel();
      },
      status: () =>
        statusOf({
          version,
          startedAt,
          policy: live,
          sessions: () => sessions.list().length,
          flows: connections,
          held,
          audit: store,
          retentionDays: retentionDays ?? null,
          helper: () => helper.status(),
          port: listener.port,
          listeners: {
            agents: `port ${listener.port} of 127.0.0.1 and ::1`,
            control: controlPath,
            ...(at !== null && { metrics: 'socket' in at ? at.socket : `127.0.0.1:${at.port}` }),
          },
          logLevel,
          jumps: () => jumps,
        }),
    }),
  });
  live.watch();
  await audit.record({ type: 'daemon.start', pid: process.pid, policy: live.current.version }).durable();
  // From here on agents' connections come to us; before, they were refused.
  kernel.setListener(port);
  log.info({ port, policy: live.current.version }, 'sluiced ready');
  const tampering = new Tampering(helper, audit);
  const watch = new Watch({
    path: helperSocket,
    look: {
      incidents: () => relisten().then(() => tampering.look()),
      sessions: () => sessions.reconcile().then(trySockets),
      refusals: () => refusals.look(),
    },
    onFault,
  });
  const isIdle = () =>
    flows.size === 0 && !unixNames.failing && !refusals.behind && identities.next > Date.now() + 2 * SWEEP_IDLE;
  const sweep = repeat(
    () => (isIdle() ? SWEEP_IDLE : SWEEP),
    async (late) => {
      metrics.late(late);
      const jump = clock.look();
      if (jump !== null) {
        jumps++;
        log.warn(jump, described(jump));
        if (!jump.slept) approvals.clockSet(jump.by);
        note('daemon.clock', described(jump));
      }
      identities.sweep();
      flows.sweep(parts.limits.stall);
      if (unixNames.failing) trySockets();
      if (refusals.behind) refusals.look();
    },
    onFault,
  );
  onSweep = () => sweep.within(SWEEP);
  service.ready({
    audit: store,
    control: controlPath,
    vitals: { statements: postgres.answers },
    status() {
      const held = approvals.list({ state: 'pending' }).length;
      return `${sessions.list().length} sessions, ${flows.size} connections, ${held} held for approval; policy ${live.current.version}`;
    },
  });

  let stopping = false;
  return async () => {
    if (stopping) return;
    stopping = true;
    log.info('sluiced stops');
    service.stopping();
    // Listeners that stay open after us wait for the next daemon; who closes them, if none comes, refuses.
    if (!service.manager.present) kernel.setListener(0);
    watch.close();
    sweep.stop();
    listener.close();
    live.close();
    await flows.close(new SluiceError('UPSTREAM_LOST', 'sluiced stops'));
    await metricsServer?.close();
    await control.close();
    await approvals.close();
    await postgres.close();
    audit.record({ type: 'daemon.stop', pid: process.pid });
    await service.close();
    await store.close();
    kernel.close();
  };
}

/** The command line is not valid; getopt's own. */
const USAGE = 2;
let failed = USAGE;
try {
  const { act, config: file } = optionsOf(process.argv.slice(2));
  failed = 1;
  if (act !== 'run') {
    process.stdout.write(await alone(act, file));
    process.exit(0);
  }
  if (process.getuid!() === 0)
    throw new SluiceError('NOT_ALLOWED', 'sluiced does not run as root', { hint: 'run it as the user sluice' });
  boundMemory();
  const stop = await start(readConfig(file));
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
  process.exit(failed);
}
