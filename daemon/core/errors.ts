/**
 * Every error that a user can meet, with its stable code. One table, held against README.md of this folder by a test.
 * `what` says what happened, `todo` what to do about it.
 */
export const ERRORS = {
  // policy
  POLICY_DENIED: {
    what: 'a rule of the policy, or the lack of one, refuses the operation',
    todo: 'ask for a rule, or use what the hint names',
  },
  POLICY_INVALID: {
    what: 'a policy file is not valid',
    todo: 'correct the file at the line given; the policy before it stays in force',
  },
  POLICY_UNREADABLE: { what: 'a policy file could not be read', todo: 'check the path and its permissions' },
  // approvals
  APPROVAL_PENDING: {
    what: 'a person has to approve the operation and has not yet',
    todo: 'send the same operation again once the approval named is given',
  },
  APPROVAL_DENIED: { what: 'a reviewer refused the operation', todo: 'ask the reviewer named' },
  APPROVAL_EXPIRED: { what: 'nobody decided the approval in time', todo: 'send the operation again to ask anew' },
  APPROVAL_UNKNOWN: { what: 'there is no such approval', todo: 'see sluice approvals list' },
  APPROVAL_FORBIDDEN: { what: 'this person may not decide this approval', todo: 'ask a member of the groups named' },
  APPROVAL_CANCELLED: {
    what: 'the client cancelled the operation while it was held',
    todo: 'send it again; the request for approval stays',
  },
  APPROVAL_LIMIT: { what: 'too many operations wait for a decision', todo: 'decide or wait for those that wait' },
  APPROVAL_DECIDED: { what: 'the approval has been decided already', todo: 'see sluice approvals show' },
  // masking
  MASK_UNTRACED: {
    what: 'a result may hold a protected value on a way that masking cannot follow',
    todo: 'write the statement so that protected columns are plain outputs',
  },
  MASK_CONDITION: { what: 'a protected column is used in a condition', todo: 'leave the column out of conditions' },
  MASK_ROW_TOO_LARGE: {
    what: 'one row is larger than masking holds in memory',
    todo: 'select fewer or smaller columns',
  },
  // statement and protocol
  STATEMENT_UNPARSABLE: { what: 'the statement could not be parsed', todo: 'correct its syntax' },
  STATEMENT_TOO_LARGE: { what: 'the statement is longer than sluice parses', todo: 'send it in parts' },
  STATEMENT_TOO_COMPLEX: {
    what: 'the statement is nested too deeply or takes too long to parse',
    todo: 'send a simpler one',
  },
  PROTOCOL_VIOLATION: { what: 'bytes came that the protocol does not allow', todo: 'check the client' },
  PROTOCOL_UNSUPPORTED: {
    what: 'the client asked for a part of the protocol that sluice does not let through',
    todo: 'see the protocol folder for what is supported',
  },
  PROTOCOL_TIMEOUT: { what: 'a message was begun and not ended in time', todo: 'check the client and the network' },
  // names
  NAME_UNKNOWN: {
    what: 'the name belongs to no resource that this principal may use and stands in no dns entry of the policy',
    todo: 'ask for the name to be added to the policy',
  },
  NAME_TYPE: {
    what: 'the policy lets the name be asked for, but not for records of this type',
    todo: 'ask for the type to be added to a dns entry of the policy',
  },
  NAME_LIMIT: {
    what: 'the session asks for too many names, or for one that looks like data',
    todo: 'ask less often, or have the names written out in the policy',
  },
  NAME_INWARD: {
    what: 'the answer for a name pointed at the host itself, its link or a metadata service',
    todo: 'correct the record, or say answers: any in a dns entry of the policy',
  },
  SOCKET_REFUSED: {
    what: 'the UNIX socket is one of the host’s that the session may not reach',
    todo: 'ask for the socket to be added under unix in the policy',
  },
  TLS_NAME: {
    what: 'the client did not ask, by TLS, for the name of the resource',
    todo: 'connect by the name of the resource, with SNI and without encrypted client hello',
  },
  // intake
  KERNEL_REFUSED: {
    what: 'the kernel refused what a process of a session tried',
    todo: 'see the message for what it was; resources are reached by connections over TCP, names by asking for them',
  },
  REFUSALS_LOST: {
    what: 'more was refused than could be counted',
    todo: 'nothing of it passed; see which sessions are refused so much',
  },
  FLOW_UNKNOWN: {
    what: 'a connection or datagram came that the kernel did not redirect',
    todo: 'connect to the real address from within a session',
  },
  FLOW_NO_SESSION: { what: 'the process does not belong to a running session', todo: 'start it with sluice run' },
  FLOW_NO_RESOURCE: {
    what: 'the address belongs to no resource of the policy',
    todo: 'add the resource to the policy',
  },
  FLOW_LIMIT: { what: 'too many connections are open', todo: 'close some' },
  // identity
  IDENTITY_REQUIRED: {
    what: 'a session needs a verified token here and none was given',
    todo: 'run sluice login, or give a token: --token-file FILE, or SLUICE_ID_TOKEN',
  },
  IDENTITY_REFUSED: {
    what: 'the token is not one that this host accepts',
    todo: 'see the reason; get a token of the issuer and audience that sluiced.json names',
  },
  IDENTITY_EXPIRED: {
    what: 'the identity that the session runs for has ended and could not be renewed',
    todo: 'renew it outside of the session: run sluice login, or put a new token into its file; what was open has to be connected anew',
  },
  IDENTITY_UNAVAILABLE: {
    what: 'the identity provider could not be asked',
    todo: 'check that it runs and that sluiced reaches it; sessions go on until their tokens end',
  },
  LOGIN_FAILED: {
    what: 'the login was not completed',
    todo: 'run sluice login again',
  },
  // upstream
  UPSTREAM_UNREACHABLE: {
    what: 'the resource did not answer',
    todo: 'check that it runs and that its address is right',
  },
  UPSTREAM_TLS: {
    what: 'the resource could not be verified by TLS',
    todo: 'check tls, ca and the certificate of the resource',
  },
  UPSTREAM_LOGIN: { what: 'the resource refused the credential', todo: 'check the credential that the policy names' },
  UPSTREAM_LOST: { what: 'the resource closed the connection', todo: 'connect again' },
  UPSTREAM_VIOLATION: {
    what: 'the resource sent what its protocol does not allow',
    todo: 'check what listens at its address',
  },
  UPSTREAM_QUERY: {
    what: "the resource refused a question of sluice's own",
    todo: 'see the reason; the account needs what every role may do by default',
  },
  CATALOG_UNAVAILABLE: {
    what: 'the catalog of the database could not be read, so statements cannot be judged',
    todo: 'check that the account may connect and read the system catalogs',
  },
  CREDENTIAL_UNAVAILABLE: { what: 'the credential named by the policy could not be read', todo: 'check its source' },
  TOKEN_REQUIRED: { what: 'the policy wants the session token as password', todo: 'use SLUICE_TOKEN as the password' },
  // audit
  AUDIT_FULL: {
    what: 'the audit store is full or its disk is',
    todo: 'make room or raise the quota; operations go on by themselves then',
  },
  AUDIT_FAILED: { what: 'the audit store could not write', todo: 'see the daemon log' },
  AUDIT_BROKEN: {
    what: 'the audit chain does not hold',
    todo: 'keep the store as evidence and compare with a copy elsewhere',
  },
  AUDIT_QUERY: { what: 'a query of the audit is not valid', todo: 'see sluice audit --help' },
  // host
  NOT_ALLOWED: { what: 'the caller may not do this', todo: 'run it as the user named' },
  DAEMON_UNREACHABLE: { what: 'sluiced does not answer on its socket', todo: 'start sluiced' },
  HELPER_UNREACHABLE: { what: 'sluice-helper does not answer on its socket', todo: 'start sluice-helper as root' },
  KERNEL_UNSUPPORTED: { what: 'this kernel or host lacks what enforcement needs', todo: 'see the hook named' },
  TAMPERED: {
    what: 'the kernel side of sluice was changed behind its back',
    todo: 'find out who did it; sessions that ran while enforcement had lapsed were ended',
  },
  MEMORY_LIMIT: {
    what: 'sluiced came near the memory limit of its unit, and ended in order to be started again',
    todo: 'raise MemoryHigh= if it happens under load; report it if memory grows without',
  },
  CONFIG_INVALID: { what: 'the configuration of the daemon is not valid', todo: 'correct the setting named' },
  AGENT_UID_UNAVAILABLE: {
    what: 'there is no uid of its own for the agent',
    todo: 'end a session, enlarge the pool (sluice-helper --pool), or run it with --same-user',
  },
  SESSION_UNKNOWN: { what: 'there is no such session', todo: 'see sluice sessions' },
  STATE_FAILED: {
    what: 'the daemon could not keep its own state on disk',
    todo: 'make room and check the permissions of the path named',
  },
  STATE_NEWER: {
    what: 'the state on disk was written by a later version of sluice',
    todo: 'install that version again, or have it take the state back: sluiced --rollback-state',
  },
  INTERNAL: { what: 'sluice met a fault of its own and refused', todo: 'report it with the daemon log' },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** An error with a stable code. `message` says what was attempted, on what, and what to do about it. */
export class SluiceError extends Error {
  readonly code: ErrorCode;
  /** What would be allowed or whom to ask; falls back to the table's `todo`. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, options?: { hint?: string; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SluiceError';
    this.code = code;
    this.hint = options?.hint ?? ERRORS[code].todo;
  }
}
