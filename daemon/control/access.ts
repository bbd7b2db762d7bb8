/** Who is at the other end of the socket, and what that lets them do. */
import { SluiceError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';

/** SO_PEERCRED: the process that called connect(), unix(7). */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who calls. Everything in it comes from the kernel, the host's name service and the policy. */
export interface Caller extends Peer {
  /** uid that logged in, which sudo leaves as it is; null where nobody did. */
  readonly loginUid: number | null;
  /** systemd unit of the system that it runs in; null: in none. */
  readonly unit: string | null;
}

/**
 * anyone: any local user. mapped: users that the policy knows. auditor: root, the daemon's own uid, members of the audit
 * group. root: uid 0.
 */
export type Access = 'anyone' | 'mapped' | 'auditor' | 'root';

export interface Gate {
  /** @throws where the kernel doesn't say. */
  peer(fd: number): Peer | null;
  /** Whether that process has ended, so that what was found by its pid may be another's. */
  peerIsGone(fd: number): boolean;
  /** Id of the session that a process is in. @throws where that can't be found out, and the peer is refused. */
  sessionOfPid(pid: number): string | null;
  loginUid(pid: number): number | null;
  unitOfPid(pid: number): string | null;
  principalOf(uid: number): Promise<Principal | null>;
  groupsOf(uid: number): Promise<readonly string[]>;
  /** uid of the daemon. */
  readonly ownUid: number;
  /** Group whose members may read the audit. */
  readonly auditGroup: string;
}

/** Lets a connection in. @throws SluiceError NOT_ALLOWED for agents, and for everyone that can't be told from one. */
export function admit(gate: Gate, fd: number): Caller {
  let peer: Peer | null;
  let session: string | null;
  let loginUid: number | null;
  let unit: string | null;
  try {
    peer = gate.peer(fd);
    if (peer === null || peer.pid <= 0) throw new Error('the kernel names no process');
    session = gate.sessionOfPid(peer.pid);
    loginUid = gate.loginUid(peer.pid);
    unit = gate.unitOfPid(peer.pid);
    // An agent that connects and ends would else be taken for whoever has its number next.
    if (gate.peerIsGone(fd)) throw new Error(`process ${peer.pid} is gone`);
  } catch (cause) {
    throw new SluiceError('NOT_ALLOWED', `finding out who called: ${(cause as Error).message}`, {
      hint: 'call from a process of this host, outside of containers, that stays until it is answered',
      cause,
    });
  }
  if (session !== null) {
    throw new SluiceError('NOT_ALLOWED', `this process runs in session ${session}, and an agent can't control sluice`, {
      hint: 'run it outside of the session',
    });
  }
  return { ...peer, loginUid, unit };
}

/** @returns the caller's principal where the level asks for one. @throws SluiceError NOT_ALLOWED. */
export async function authorise(gate: Gate, caller: Caller, access: Access, method: string): Promise<Principal | null> {
  const { uid } = caller;
  const denied = (what: string, hint: string) => new SluiceError('NOT_ALLOWED', `uid ${uid} may not ${what}`, { hint });
  switch (access) {
    case 'anyone':
      return null;
    case 'mapped': {
      const principal = await gate.principalOf(uid);
      if (principal === null) {
        throw denied(`use ${method}: the policy maps it to nobody`, 'add the user or a group of theirs to identities');
      }
      return principal;
    }
    case 'auditor':
      if (uid === 0 || uid === gate.ownUid || (await gate.groupsOf(uid)).includes(gate.auditGroup)) return null;
      throw denied('read the audit', `run it as root or as a member of ${gate.auditGroup}`);
    case 'root':
      if (uid === 0) return null;
      throw denied(`use ${method}`, 'run it as root');
  }
}
