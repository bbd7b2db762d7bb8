/** The installation: is everything there that the guarantees rest on, and what to do where it is not. */
import type { SluiceError } from '../../core/errors.ts';
import type { HostFacts } from './host.ts';

export interface Check {
  readonly check: string;
  /** advice: it works, and could be better. unknown: it could not be looked at. */
  readonly state: 'ok' | 'advice' | 'fault' | 'unknown';
  readonly found: string;
  /** null where all is well. */
  readonly fix: string | null;
}

/** What the helper's status has, as far as it is looked at. */
export interface HelperFacts {
  readonly enforcing: boolean;
  readonly missing: string;
  readonly hooks: number;
  readonly pinned: number;
  readonly cgroup: string;
  readonly mount: string;
}

/** What the daemon's status has, as far as it is looked at. */
export interface DaemonFacts {
  readonly pid?: number;
  readonly port?: number;
  readonly policy?: { readonly version: string; readonly resources: readonly string[] };
  readonly audit?: { readonly refusing?: boolean; readonly bytes?: number; readonly events?: number };
}

export interface Installation {
  readonly host: HostFacts;
  readonly helper: HelperFacts | SluiceError;
  readonly daemon: DaemonFacts | SluiceError;
  /** Native programs that are missing, by path. */
  readonly lacking: readonly string[];
  /** Account of agents; null: there is none. `processes`: those that run as it outside of sessions. */
  readonly agent: { readonly user: string; readonly uid: number; readonly processes: readonly number[] } | null;
}

const OLDEST = [6, 1] as const;

const ok = (check: string, found: string): Check => ({ check, state: 'ok', found, fix: null });
const fault = (check: string, found: string, fix: string): Check => ({ check, state: 'fault', found, fix });
const advice = (check: string, found: string, fix: string): Check => ({ check, state: 'advice', found, fix });

export function checks({ host, helper, daemon, lacking, agent }: Installation): Check[] {
  return [
    kernel(host.kernel),
    host.btf
      ? ok('btf', 'the kernel describes its types')
      : fault('btf', 'no /sys/kernel/btf/vmlinux', 'boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian’s are'),
    host.cgroupMount === null
      ? fault('cgroup', 'cgroup v2 is not mounted', 'boot with systemd.unified_cgroup_hierarchy=1')
      : ok('cgroup', `v2 at ${host.cgroupMount}${helper instanceof Error ? '' : `, sluice in ${helper.cgroup}`}`),
    modules(host.lsm),
    bpf(host.unprivilegedBpf),
    yama(host.yama),
    programs(lacking),
    account(agent),
    resolver(host.resolvers),
    ...(helper instanceof Error ? [unreachable('helper', helper)] : [ok('helper', 'answers'), hooks(helper)]),
    ...(daemon instanceof Error ? [unreachable('daemon', daemon)] : daemonChecks(daemon)),
  ];
}

function kernel(release: string): Check {
  const [major = 0, minor = 0] = release.split('.').map((each) => Number.parseInt(each, 10));
  const enough = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  return enough
    ? ok('kernel', `Linux ${release}`)
    : fault('kernel', `Linux ${release}`, `Linux ${OLDEST.join('.')} or later is needed`);
}

function modules(lsm: readonly string[] | null): Check {
  if (lsm === null) {
    const fix = 'mount -t securityfs securityfs /sys/kernel/security, or ask as root';
    return { check: 'lsm', state: 'unknown', found: 'the list of security modules can’t be read', fix };
  }
  if (lsm.includes('bpf')) return ok('lsm', lsm.join(','));
  return advice(
    'lsm',
    lsm.join(','),
    `boot with lsm=${[...lsm, 'bpf'].join(',')}: guarantees then rest on more than one hook`,
  );
}

function bpf(disabled: number | null): Check {
  if (disabled === null) return { check: 'bpf', state: 'unknown', found: 'the setting can’t be read', fix: null };
  const found = `kernel.unprivileged_bpf_disabled=${disabled}`;
  return disabled > 0 ? ok('bpf', found) : advice('bpf', found, 'sysctl kernel.unprivileged_bpf_disabled=2');
}

function yama(scope: number | null): Check {
  const fix = 'sysctl kernel.yama.ptrace_scope=1, where agents share an account with other processes';
  if (scope === null) return advice('yama', 'the kernel has no Yama', 'give agents an account that nothing else uses');
  return scope > 0
    ? ok('yama', `kernel.yama.ptrace_scope=${scope}`)
    : advice('yama', 'kernel.yama.ptrace_scope=0', fix);
}

function programs(lacking: readonly string[]): Check {
  return lacking.length === 0
    ? ok('programs', 'sluice-launch and sluice-probe can be executed')
    : fault('programs', `can’t be executed: ${lacking.join(', ')}`, 'install them, or build them: make -C native');
}

function account(agent: Installation['agent']): Check {
  if (agent === null)
    return advice('account', 'no account sluice-agent', 'useradd --system sluice-agent, or name one: --user');
  const { user, uid, processes } = agent;
  if (uid === 0) return fault('account', 'agents would run as root', 'name an account of their own: --user');
  if (processes.length === 0) return ok('account', `${user} (uid ${uid}), used by nothing else`);
  const some = processes.slice(0, 3).join(', ');
  const found = `${user} (uid ${uid}), also that of ${processes.length} processes outside, as ${some}`;
  return advice('account', found, 'give agents an account that nothing else uses: these are within their reach');
}

function resolver(servers: readonly string[]): Check {
  return servers.length > 0
    ? ok('resolver', servers.join(', '))
    : fault('resolver', 'no nameserver in /etc/resolv.conf', 'name one there: agents find no name without');
}

function hooks({ enforcing, missing, hooks, pinned }: HelperFacts): Check {
  const fix = 'restart sluice-helper: it puts them back';
  if (!enforcing) return fault('hooks', missing === '' ? 'not all are effective' : `${missing} is not effective`, fix);
  return pinned === hooks
    ? ok('hooks', `${hooks} attached, effective, pinned`)
    : fault('hooks', `${pinned} of ${hooks} pinned`, `${fix}; without a pin they end with the helper`);
}

function unreachable(check: string, error: SluiceError): Check {
  return fault(check, error.message, error.hint);
}

function daemonChecks({ pid, port, policy, audit }: DaemonFacts): Check[] {
  const resources = policy?.resources ?? [];
  const ready = port !== undefined && port > 0;
  return [
    ready
      ? ok('daemon', `pid ${pid}, port ${port}`)
      : fault('daemon', `pid ${pid}, no port`, 'see the log of sluiced: agents’ connections are refused meanwhile'),
    policy !== undefined && resources.length > 0
      ? ok('policy', `${policy.version}, ${resources.length} ${resources.length === 1 ? 'resource' : 'resources'}`)
      : advice(
          'policy',
          `${policy?.version ?? 'none'}, no resources`,
          'name in the policy what agents may reach; nothing is allowed now',
        ),
    audit?.refusing === true
      ? fault(
          'audit',
          'the store takes no events',
          'make room, or raise audit.quotaBytes: nothing is let through meanwhile',
        )
      : ok('audit', `${(audit?.events ?? 0).toLocaleString('en')} events, room for more`),
  ];
}
