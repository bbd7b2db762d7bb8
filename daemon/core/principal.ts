/** Who is behind a flow, and which flow it is. Nothing that an agent sends can change a value in this file. */

export interface Principal {
  /** Stable identity: an OIDC `sub`, or `local:<user name>` for a mapped local identity. */
  readonly subject: string;
  /** Groups from the verified token or from the policy's mapping of local identities. Empty: in no group. */
  readonly groups: readonly string[];
}

/** One run of an agent. The kernel's cgroup id says for every flow which session it belongs to. */
export interface Session {
  /** Random, 128 bits, lower-case hex. */
  readonly id: string;
  readonly principal: Principal;
  /** cgroup v2 id (inode number of the session's cgroup directory). */
  readonly cgroupId: bigint;
  /** uid that asked for the session. */
  readonly uid: number;
  /** uid of the session's own that the agent runs under. Absent: it runs under `uid`. */
  readonly agentUid?: number;
  /** pid of the process that asked for it. */
  readonly pid?: number;
  /** Command line as the user gave it, for people to recognise the session by. */
  readonly command: readonly string[];
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** What the kernel recorded about the process that called connect(). */
export interface Origin {
  readonly pid: number;
  readonly uid: number;
  readonly cgroupId: bigint;
  /** Kernel comm, at most 15 bytes. */
  readonly comm: string;
  /** Path of the executable, or '' when the process was gone before it could be read. */
  readonly exe: string;
  /** Where the agent meant to go, textual IPv4 or IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
}

/** One intercepted connection. */
export interface Flow {
  /** Random, 64 bits, lower-case hex. */
  readonly id: string;
  readonly session: Session;
  readonly origin: Origin;
  readonly startedAt: number;
}
