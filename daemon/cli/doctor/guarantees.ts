/** The one table of what a session is promised: which probes attack it, which hooks keep it, what helps where it is not kept. */

export interface Guarantee {
  /** As sluice-helper names it in its status. */
  readonly name: string;
  readonly says: string;
  /** Where the helper does not say: does `sluice doctor` fail without it? */
  readonly required: boolean;
  /** What keeps it, where the helper does not say: names of BPF programs, and steps of sluice-launch (`launch …`). */
  readonly by: readonly string[];
  /** Names in `sluice-probe list`; `@near` behind one: only on the loopback, else at every witness. */
  readonly probes: readonly string[];
  /** A uid that no process outside has keeps it too, whatever the kernel has. */
  readonly byOwnUid?: true;
  /** What to do where a probe got out although the hooks are there. */
  readonly fix: string;
}

const RESTART = 'restart sluice-helper, and report this with the output of sluice doctor --json';
const LSM = 'boot with bpf in lsm= (cat /sys/kernel/security/lsm shows the list)';
const OWN_UID = `give agents an account that nothing else uses, or ${LSM}`;
const LAUNCHER = 'start agents by sluice run alone; sluice-launch has to be of the same version as sluice-helper';

export const GUARANTEES: readonly Guarantee[] = [
  {
    name: 'tcp',
    says: 'every TCP connection goes to sluiced',
    required: true,
    by: ['connect4', 'connect6', 'sock_create', 'client_sockops', 'daemon_sockops'],
    probes: [
      ...['tcp4', 'tcp6', 'tcp-mapped', 'tcp-fastopen', 'tcp-fastopen-connect', 'tcp-reconnect', 'tcp-bound-source'],
      ...['tcp-io-uring', 'tcp-daemon-port', 'mptcp', 'smc'],
    ],
    fix: RESTART,
  },
  {
    name: 'udp',
    says: 'no datagram leaves; DNS goes to sluiced',
    required: true,
    by: ['connect4', 'connect6', 'sendmsg4', 'sendmsg6', 'egress'],
    probes: [
      ...[
        'udp4',
        'udp4-connected',
        'udp6',
        'udp6-connected',
        'udp-mapped',
        'udp-unspec',
        'udp-sendmmsg',
        'udp-pktinfo',
      ],
      ...['udp-corked', 'udp-dns', 'udplite'],
    ],
    fix: RESTART,
  },
  {
    name: 'raw',
    says: 'no raw or ping socket',
    required: true,
    by: ['sock_create'],
    probes: ['ping4', 'ping6', 'raw-icmp', 'raw-protocol', 'raw-protocol6', 'raw-header'],
    fix: RESTART,
  },
  {
    name: 'packets',
    says: 'no packet leaves by another way, frames included',
    required: true,
    by: ['egress', 'launch filter'],
    probes: ['packet-raw', 'packet-datagram'],
    fix: RESTART,
  },
  {
    name: 'inbound',
    says: 'nobody outside reaches what an agent listens on',
    required: true,
    by: ['ingress', 'egress'],
    probes: ['inbound-tcp4', 'inbound-tcp4-unbound', 'inbound-tcp6', 'inbound-udp4', 'inbound-udp6'],
    fix: RESTART,
  },
  {
    name: 'loopback',
    says: "the host's own services only by way of sluiced",
    required: true,
    by: ['connect4', 'connect6', 'egress', 'ingress'],
    probes: ['tcp4@near', 'tcp6@near', 'udp4@near', 'udp6@near', 'inbound-tcp4@near', 'inbound-udp4@near'],
    fix: RESTART,
  },
  {
    name: 'port',
    says: "nobody takes sluiced's port",
    required: true,
    by: ['bind4', 'bind6'],
    probes: ['port-beside', 'port-shared', 'port-datagram', 'port-any'],
    fix: RESTART,
  },
  {
    name: 'options',
    says: 'no socket option leads round sluiced',
    required: true,
    by: ['connect4', 'connect6', 'egress'],
    probes: ['tcp-mark', 'tcp-bind-device', 'tcp-transparent'],
    fix: RESTART,
  },
  {
    name: 'devices',
    says: 'no device that carries packets or holds memory',
    required: true,
    by: ['launch privileges'],
    probes: ['tun', 'device-node', 'devices'],
    fix: 'take the device away from the account of the agents (chmod, groups), or run a kernel with cgroup device programs',
  },
  {
    name: 'families',
    says: 'no socket of another family',
    required: true,
    by: ['sock_create', 'launch filter'],
    probes: [
      ...[
        'vsock',
        'vsock-local',
        'vsock-datagram',
        'alg',
        'xdp',
        'sctp',
        'sctp-many',
        'dccp',
        'l2tp',
        'smc-family',
        'tipc',
      ],
      ...['rds', 'can', 'bluetooth', 'key', 'netlink-netfilter', 'netlink-generic', 'netlink-connector', 'any-family'],
    ],
    fix: LAUNCHER,
  },
  {
    name: 'unix',
    says: 'no UNIX socket of the host',
    required: true,
    by: ['connect_unix', 'sendmsg_unix'],
    probes: [
      ...['unix-stream', 'unix-seqpacket', 'unix-datagram', 'unix-sendto', 'unix-symlink', 'unix-abstract'],
      ...['unix-abstract-datagram', 'unix-services', 'unix-helper'],
    ],
    fix: `give no more to sluice-helper --unix than agents need; else Linux 6.7 or later, or ${LSM}`,
  },
  {
    name: 'inherited',
    says: 'no socket from before the session',
    required: true,
    by: ['launch descriptors'],
    probes: ['inherited'],
    fix: LAUNCHER,
  },
  {
    name: 'passed',
    says: 'no socket that somebody outside hands in',
    required: true,
    by: ['connect_unix', 'sendmsg_unix', 'launch filter'],
    probes: ['passed-stream', 'passed-datagram', 'passed-connected', 'pidfd-getfd'],
    fix: `Linux 6.7 or later, or ${LSM}`,
  },
  {
    name: 'cgroup',
    says: "no process leaves its session's cgroup",
    required: true,
    by: ['launch privileges'],
    probes: ['cgroup-procs', 'cgroup-above', 'cgroup-below', 'cgroup-clone', 'cgroup-orphan'],
    fix: 'take write access to cgroup v2 away from the account of the agents: no delegation to it',
  },
  {
    name: 'bpf',
    says: 'no BPF program, map or link is touched',
    required: true,
    by: ['launch filter'],
    probes: ['bpf-map', 'bpf-link', 'bpf-program', 'bpf-pins'],
    fix: `sysctl kernel.unprivileged_bpf_disabled=2; ${LAUNCHER}`,
  },
  {
    name: 'mounts',
    says: 'nothing is mounted or unmounted',
    required: true,
    by: ['launch privileges'],
    probes: ['mount', 'umount', 'fsopen', 'open-tree'],
    fix: LAUNCHER,
  },
  {
    name: 'namespaces',
    says: 'no namespace of its own or of others',
    required: true,
    by: ['launch filter'],
    probes: ['userns', 'userns-net', 'userns-mount', 'userns-clone', 'userns-clone3', 'netns', 'setns', 'setns-pidfd'],
    fix: `${LAUNCHER}; sysctl user.max_user_namespaces=0 closes it for the whole host`,
  },
  {
    name: 'ptrace',
    says: "no other process's memory, files or keys",
    required: false,
    by: ['launch filter'],
    probes: [
      ...['ptrace-attach', 'ptrace-seize', 'process-vm-readv', 'proc-mem', 'proc-mem-write', 'proc-environ', 'proc-fd'],
      ...['prlimit', 'keyring'],
    ],
    byOwnUid: true,
    fix: `${OWN_UID}; sysctl kernel.yama.ptrace_scope=1 helps in part`,
  },
  {
    name: 'kill',
    says: 'no signal to a process outside',
    required: false,
    by: [],
    probes: ['kill', 'sigqueue', 'pidfd-signal', 'fcntl-owner'],
    byOwnUid: true,
    fix: OWN_UID,
  },
  {
    name: 'privileges',
    says: 'no capability, and no way to get one',
    required: true,
    by: ['launch privileges'],
    probes: ['capabilities', 'new-privileges', 'setuid', 'module', 'perf', 'kernel-settings'],
    fix: `${LAUNCHER}; sysctl kernel.perf_event_paranoid=2 where perf is the one`,
  },
  {
    name: 'terminal',
    says: "nothing is typed into the user's terminal",
    required: true,
    by: ['launch filter'],
    probes: ['terminal'],
    fix: `${LAUNCHER}; sysctl dev.tty.legacy_tiocsti=0 closes it for the whole host`,
  },
  {
    name: 'handover',
    says: 'no work is left for a process outside to do',
    required: true,
    by: ['launch privileges'],
    probes: ['spools', 'core-dump'],
    fix: 'take write access to the folder named away from the agents; sysctl kernel.core_pattern=core where dumps are the way',
  },
];

export const guaranteeOf = (name: string): Guarantee | undefined => GUARANTEES.find((each) => each.name === name);
