/** A control socket with real approvals and sessions behind it, for the command line to talk to; kernel parts left out. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import type { Ask } from '../../daemon/approvals/approval.ts';
import { Approvals } from '../../daemon/approvals/approvals.ts';
import { openStore } from '../../daemon/approvals/store.ts';
import type { Peer } from '../../daemon/control/access.ts';
import { handlers } from '../../daemon/control/handlers.ts';
import { ControlServer } from '../../daemon/control/server.ts';
import type { ApprovalTerms } from '../../daemon/core/decision.ts';
import { SluiceError } from '../../daemon/core/errors.ts';
import type { EventInput, Recorder } from '../../daemon/core/event.ts';
import type { Session } from '../../daemon/core/principal.ts';
import { Identities } from '../../daemon/identify/identities.ts';
import { LocalUsers } from '../../daemon/identify/local.ts';
import { loginUid } from '../../daemon/identify/process.ts';
import { Sessions } from '../../daemon/identify/sessions.ts';

export const ROOT = new URL('../..', import.meta.url).pathname;
const SLUICE = join(ROOT, 'daemon/bin/sluice.ts');

export interface Finished {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export async function openDesk(pretend: { session?: string; uid?: number } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
  mkdirSync(join(dir, 'daemon'));
  const events: EventInput[] = [];
  const recorder: Recorder = {
    record(event) {
      events.push(event);
      return { done: true, committed: async () => {}, durable: async () => {} };
    },
  };
  const onFault = (error: unknown) => process.stderr.write(`fault: ${String(error)}\n`);
  const peerOf = koffi.load(join(ROOT, 'build/native/libsluice.so')).func('int sluice_peer(int, _Out_ uint8 *)');
  const credentials = Buffer.alloc(12);
  const approvals = new Approvals({ store: openStore(join(dir, 'approvals')), recorder, onFault });
  let next = 77n;
  const sessions = new Sessions({
    path: join(dir, 'sessions.json'),
    verifier: () => '',
    cgroups: {
      createSession: async (id) => ({ cgroupId: next++, path: `/${id}` }),
      endSession: async () => {},
      listSessions: async () => [],
    },
    mount: dir,
    recorder,
    onEnd: (session) => approvals.endSession(session.id),
    onFault,
  });
  const users = new LocalUsers();
  const principalOf = async (uid: number) => {
    const { user } = await users.get(uid);
    return { subject: `local:${user}`, groups: uid === 0 ? ['dba'] : ['ai-agents'] };
  };
  const server = await ControlServer.open({
    path: join(dir, 'daemon/control.sock'),
    onFault,
    gate: {
      peer(fd): Peer | null {
        if (peerOf(fd, credentials) < 0) return null;
        const uid = pretend.uid ?? credentials.readUInt32LE(4);
        return { pid: credentials.readUInt32LE(0), uid, gid: credentials.readUInt32LE(8) };
      },
      peerIsGone: () => false,
      sessionOfPid: () => pretend.session ?? null,
      loginUid,
      unitOfPid: () => null,
      principalOf,
      groupsOf: async () => [],
      ownUid: 1,
      auditGroup: 'sluice-audit',
    },
    handlers: handlers({
      approvals,
      sessions,
      identities: new Identities({
        ...{ localSessions: true, sessions, recorder, onFault, providers: [] },
        policy: () => {
          throw new Error('no token comes here');
        },
        onExpire() {},
      }),
      audit: {
        async *query() {},
        sessions: async () => [],
        verify: async () => ({}),
      },
      principalOf,
      userOf: async (uid) => (await users.get(uid)).user,
      environment: (_, token) => ({ PGPASSWORD: token, PGSSLROOTCERT: join(dir, 'ca.pem') }),
      ca: join(dir, 'ca.pem'),
      reloadPolicy: async () => {
        throw new SluiceError('POLICY_INVALID', 'policy.yaml:3: unknown key "alow"', { hint: 'did you mean "allow"?' });
      },
      logLevel: (level) => ({ level: level ?? 'info', configured: 'info' }),
      status: () => ({
        state: 'well',
        problems: [],
        version: '0.1.0',
        pid: process.pid,
        port: 15001,
        startedAt: Date.now() - 3_723_000,
        enforcement: { enforcing: true, missing: '', kernel: '6.1.0-18-amd64', hooks: 12, pinned: 12, notHeld: [] },
        policy: {
          version: 'a1b2c3d4e5f60718',
          loadedAt: Date.now() - 3_723_000,
          files: ['/etc/sluice/policy/shop.yaml', '/etc/sluice/policy/payroll.yaml'],
          mode: 'enforce',
          resources: ['shop', 'payroll'],
          rules: 12,
        },
        sessions: sessions.list().length,
        flows: 3,
        flowsMost: 4096,
        approvals: { held: approvals.list({ state: 'pending' }).length, oldestAt: null },
        audit: {
          ...{ refusing: false, events: 1234567, bytes: 482_000_000, quotaBytes: 2_000_000_000, freeBytes: 40e9 },
          ...{ checkpointAt: Date.now() - 8_000, retentionDays: 90 },
        },
        memoryBytes: 96_400_000,
        log: { level: 'info', configured: 'info' },
        listeners: { agents: 'port 15001 of 127.0.0.1 and ::1', control: '/run/sluice/daemon/control.sock' },
      }),
    }),
  });

  return {
    dir,
    events,
    approvals,
    sessions,
    /** Runs the command line to its end. */
    sluice: (args: readonly string[], env: Readonly<Record<string, string>> = {}, input = ''): Promise<Finished> =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [SLUICE, ...args], {
          env: { PATH: process.env.PATH, SLUICE_RUN_DIR: dir, ...env },
        });
        let out = '';
        let err = '';
        child.stdout.on('data', (chunk) => (out += chunk));
        child.stderr.on('data', (chunk) => (err += chunk));
        child.on('error', reject);
        child.on('close', (code) => resolve({ code, out, err }));
        child.stdin.end(input);
      }),
    async close() {
      await server.close();
      await approvals.close();
      rmSync(dir, { recursive: true });
    },
  };
}

const TERMS: ApprovalTerms = {
  reviewers: [],
  quorum: 1,
  within: 600_000,
  hold: 60_000,
  remember: 'once',
  match: 'exact',
};

export function askFor(text: string, terms: Partial<ApprovalTerms> = {}, change: Partial<Ask> = {}): Ask {
  const session: Session = {
    id: '0123456789abcdef0123456789abcdef',
    principal: { subject: 'local:ada', groups: ['ai-agents'] },
    cgroupId: 5n,
    uid: 31_337,
    command: ['claude', '--continue'],
    startedAt: Date.now(),
  };
  return {
    session,
    resource: 'shop',
    operation: {
      protocol: 'postgres',
      verb: text.split(' ')[0]!,
      text,
      fingerprint: '00ff',
      accesses: [{ effect: 'write', object: 'public.orders' }],
      functions: [],
    },
    approval: { ...TERMS, ...terms },
    rule: 'a dba signs off writes',
    reason: 'writes need the word of a dba',
    flowId: 'f1',
    origin: { pid: 4711, uid: 31_337, exe: '/usr/bin/psql', cgroupId: 5n },
    database: 'shop',
    ...change,
  };
}
