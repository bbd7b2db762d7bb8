/** What the stages see of the policy in force. The policy folder implements it; one immutable object per version. */
import type { Decision } from './decision.ts';
import type { Obligations } from './mask.ts';
import type { Operation } from './operation.ts';
import type { Principal, Session, VerifiedToken } from './principal.ts';
import type { Resource } from './resource.ts';

export interface Question {
  readonly session: Session;
  readonly resource: Resource;
  readonly operation: Operation;
  /** Milliseconds since the epoch, for conditions on time. */
  readonly now: number;
}

/** A question for the records of a name, as DNS asks it. */
export interface NameQuestion {
  readonly session: Session;
  /** Lower case, without a last dot; what is no host name by its letters is never known. */
  readonly name: string;
  /** `A`, `TXT`: a type's name in the RFCs. */
  readonly type: string;
}

export interface NameDecision extends Decision {
  /** The name may be asked for, if not for this type. */
  readonly known: boolean;
  /** Answers may hold addresses of the host itself, of its link, and of metadata services. */
  readonly inward: boolean;
  /** The zone, where a pattern `*.zone` alone lets the name be asked for: below it, the agent chose the labels. */
  readonly zone: string | null;
}

/** Who a local process is, as the host says it. */
export interface LocalIdentity {
  readonly uid: number;
  readonly user: string;
  readonly groups: readonly string[];
  /** The systemd unit that it runs in. Absent: in none, or it does not count here. */
  readonly unit?: string;
}

export interface Policy {
  /** Hash of the content of all files, lower-case hex, 16 characters. */
  readonly version: string;
  readonly resources: ReadonlyMap<string, Resource>;
  /** The resource at this original destination, or null. `names`: DNS names that the session resolved to this address. */
  resourceAt(address: string, port: number, names?: readonly string[]): Resource | null;
  /**
   * All resources that this destination may mean: several where names of more than one were resolved to the address.
   * `resourceAt` takes none of them then.
   */
  resourcesAt(address: string, port: number, names?: readonly string[]): readonly Resource[];
  /** Whether this principal may ask for the name: one of a resource that it may use, or one of the policy's `dns`. */
  resolve(question: NameQuestion): NameDecision;
  /** UNIX sockets of the host that sessions of this principal may speak to: `/path`, or `@name` for an abstract one. */
  unixSockets(principal: Principal): readonly string[];
  /** Whether that one is among them, and by which entry. */
  unixSocket(principal: Principal, name: string): Decision;
  /** Principal of a local identity by the policy's `identities:`; null where none is mapped. */
  principalOf(local: LocalIdentity): Principal | null;
  /** Principal of a verified token by the policy's `identities:`; null where no entry names its issuer and matches. */
  principalOfToken(token: VerifiedToken): Principal | null;
  decide(question: Question): Decision;
  /** True when `decide` can answer differently for the same operation at another time or text (a `when:` that looks at them): such answers are not cached. */
  readonly volatile: boolean;
  /** Same object for the same principal groups and resource: a cache key. */
  obligations(principal: Principal, resource: Resource): Obligations;
  /** True when this principal can never be allowed anything but `read` here: the upstream session is then opened read-only too. */
  readsOnly(principal: Principal, resource: Resource): boolean;
}
