/** Who is behind a flow, and which flow it is. Nothing that an agent sends can change a value in this file. */

export interface Principal {
  /**
   * Stable identity: `<provider>:<subject of the token>`, so that two providers can't name the same one, or
   * `local:<user name>` for a mapped local identity.
   */
  readonly subject: string;
  /** Groups that the policy's `identities:` give to the verified token or to the local user. Empty: in no group. */
  readonly groups: readonly string[];
  /** `iss` of the token that says so. Absent: a local identity. */
  readonly issuer?: string;
}

/** A token's subject and claims after everything about the token itself was verified. */
export interface VerifiedToken {
  /** Name of the provider in the configuration. */
  readonly provider: string;
  readonly issuer: string;
  /** Value of the configured subject claim. */
  readonly subject: string;
  /** Values of the configured groups claim. */
  readonly groups: readonly string[];
  /** All of them, for `claims:` of the policy. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** When it is too old, clock skew included. Milliseconds since the epoch. */
  readonly until: number;
}

/** What a session's principal rests on when that is a token. */
export interface TokenIdentity {
  /** Name of the provider in the configuration. */
  readonly provider: string;
  /** login: the owner's `sluice login`, which the daemon renews. presented: a token that `sluice run` gave and renews. */
  readonly source: 'login' | 'presented';
  /** When it ends unless it is renewed before. Milliseconds since the epoch. */
  readonly until: number;
  /** Why the last attempt to renew it failed. Absent: none did. */
  readonly problem?: string;
  /** It has ended and the session may do nothing until it is renewed. Milliseconds since the epoch; absent: it holds. */
  readonly expiredAt?: number;
}

/** One run of an agent. The kernel's cgroup id says for every flow which session it belongs to. */
export interface Session {
  /** Random, 128 bits, lower-case hex. */
  readonly id: string;
  /** Another object after each renewal: what was decided for the one before counts no more. */
  readonly principal: Principal;
  /** Absent: the principal is a local identity, which does not end. */
  readonly identity?: TokenIdentity;
  /** cgroup v2 id (inode number of the session's cgroup directory). */
  readonly cgroupId: bigint;
  /** uid that asked for the session. */
  readonly uid: number;
  /** uid of the session's own that the agent runs under. Absent: it runs under `uid`. */
  readonly agentUid?: number;
  /** pid of the process that asked for it, and then turned into the command, or stands for it where it was started. */
  readonly pid?: number;
  /** The command's program, as whoever asked for the session found it. Absent: as the command line names it. */
  readonly exe?: string;
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
  /** Names that this session was given for the address, and those that the host's own file has for it. Lower case. */
  readonly names: readonly string[];
}

/** One intercepted connection. */
export interface Flow {
  /** Random, 64 bits, lower-case hex. */
  readonly id: string;
  readonly session: Session;
  readonly origin: Origin;
  readonly startedAt: number;
}
