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
