/** The policy in force: one immutable object per version of the files. */
import type { Decision } from '../core/decision.ts';
import type { Obligations } from '../core/mask.ts';
import type { LocalIdentity, NameDecision, NameQuestion, Policy, Question } from '../core/policy.ts';
import type { Principal, VerifiedToken } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { AddressTable } from './address.ts';
import { Bench, byName, withObserved } from './decide.ts';
import type { Diagnostic } from './diagnostic.ts';
import { principalFrom, principalFromToken } from './identity.ts';
import type { GrantTable, NameNote } from './names.ts';
import { type DetectRule, type MaskRule, ObligationTable } from './obligation.ts';
import { NameTable } from './pattern.ts';
import { isWho, type Rule, type Who } from './rule.ts';
import type { IdentityEntry } from './schema.ts';
import { type SocketGrant, type SocketNote, SocketTable } from './sockets.ts';

export interface Parts {
  readonly version: string;
  readonly files: readonly string[];
  readonly resources: ReadonlyMap<string, Resource>;
  /** Resources declared in a file in observe mode. */
  readonly observed: ReadonlySet<string>;
  /** Resources of which nothing is read: only rules that name them let anything through. */
  readonly unread: ReadonlySet<string>;
  readonly addresses: AddressTable;
  readonly names: GrantTable;
  readonly identities: readonly IdentityEntry[];
  readonly sockets: readonly SocketGrant[];
  /** Who stands in dns and unix entries. */
  readonly askers: readonly (Who | null)[];
  readonly rules: readonly Rule[];
  readonly masks: readonly MaskRule[];
  readonly detect: readonly DetectRule[];
  readonly warnings: readonly Diagnostic[];
}

/** Made once for a principal and resource. */
interface Seat {
  /** What enforcement goes by. */
  readonly enforced: Bench;
  /** All rules, those in observe mode too. Null: none is. */
  readonly all: Bench | null;
  readonly obligations: Obligations;
}

/** Seats kept by what a principal is, for principals that come as new objects for each session. */
const MAX_SEATS = 10_000;

export class CompiledPolicy implements Policy {
  readonly version: string;
  readonly files: readonly string[];
  readonly resources: ReadonlyMap<string, Resource>;
  readonly volatile: boolean;
  readonly warnings: readonly Diagnostic[];
  readonly #parts: Parts;
  /** In order of name. */
  readonly #rules: readonly Rule[];
  readonly #names = new NameTable();
  readonly #obligations: ObligationTable;
  readonly #sockets: SocketTable;
  readonly #users: ReadonlySet<string>;
  #seats = new Map<string, Seat>();
  /** The same seats by identity of the principal: the way of every statement after the first. */
  #near = new WeakMap<Principal, Map<string, Seat>>();

  constructor(parts: Parts) {
    this.version = parts.version;
    this.files = parts.files;
    this.resources = parts.resources;
    this.warnings = parts.warnings;
    this.#parts = parts;
    this.#rules = [...parts.rules].sort(byName);
    this.volatile = parts.rules.some((rule) => rule.when?.volatile === true);
    this.#obligations = new ObligationTable(parts.masks, parts.detect);
    this.#sockets = new SocketTable(parts.sockets);
    const whos = [
      ...parts.askers,
      ...parts.rules.map((rule) => rule.who),
      ...parts.masks.map((rule) => rule.unless),
      ...parts.detect.map((rule) => rule.unless),
    ];
    this.#users = new Set(whos.flatMap((who) => [...(who?.users ?? [])]));
  }

  get ruleCount(): number {
    return this.#rules.length;
  }

  /** Resources, and rules, whose refusals are recorded and not carried out. */
  get observing(): { readonly resources: readonly string[]; readonly rules: number } {
    return { resources: [...this.#parts.observed], rules: this.#rules.filter((rule) => rule.observe).length };
  }

  get maskCount(): number {
    return this.#parts.masks.length;
  }

  resourceAt(address: string, port: number, names?: readonly string[]): Resource | null {
    return this.#parts.addresses.find(address, port, names);
  }

  resourcesAt(address: string, port: number, names?: readonly string[]): readonly Resource[] {
    return this.#parts.addresses.all(address, port, names);
  }

  resolve(question: NameQuestion): NameDecision {
    return this.#parts.names.decide(question, (resource) => this.#uses(question.session.principal, resource));
  }

  unixSockets(principal: Principal): readonly string[] {
    return this.#sockets.open(principal);
  }

  unixSocket(principal: Principal, name: string): Decision {
    return this.#sockets.decide(principal, name);
  }

  /** For `explain`: what `resolve` and `unixSocket` go by, and the names that there are. */
  nameNotes(question: NameQuestion): NameNote[] {
    return this.#parts.names.look(question, (resource) => this.#uses(question.session.principal, resource));
  }

  socketNotes(principal: Principal, name: string): SocketNote[] {
    return this.#sockets.look(principal, name);
  }

  get names(): Iterable<string> {
    return this.#parts.names.names;
  }

  get socketNames(): Iterable<string> {
    return this.#sockets.names;
  }

  /** Whether anything is allowed to this principal there. */
  #uses(principal: Principal, resource: string): boolean {
    const { enforced, all } = this.#seat(principal, resource);
    return enforced.anything || all?.anything === true;
  }

  principalOf(local: LocalIdentity): Principal | null {
    return principalFrom(this.#parts.identities, local);
  }

  principalOfToken(token: VerifiedToken): Principal | null {
    return principalFromToken(this.#parts.identities, token);
  }

  decide(question: Question): Decision {
    const seat = this.#seat(question.session.principal, question.resource.name);
    const enforced = seat.enforced.decide(question);
    return seat.all === null ? enforced : withObserved(enforced, seat.all.decide(question));
  }

  obligations(principal: Principal, resource: Resource): Obligations {
    return this.#seat(principal, resource.name).obligations;
  }

  readsOnly(principal: Principal, resource: Resource): boolean {
    const { enforced } = this.#seat(principal, resource.name);
    // Observe mode promises not to stand in the way, so nothing may be taken from the session upstream.
    if (this.#parts.observed.has(resource.name)) return false;
    return [...enforced.possible].every((effect) => effect === 'read' || effect === 'session');
  }

  /** What `explain` looks through: the rules about this principal and resource are in `enforced` or `all`. */
  benches(
    principal: Principal,
    resource: string,
  ): {
    readonly enforced: Bench;
    readonly all: Bench | null;
    readonly rules: readonly Rule[];
    readonly names: NameTable;
  } {
    const { enforced, all } = this.#seat(principal, resource);
    return { enforced, all, rules: this.#rules, names: this.#names };
  }

  #seat(principal: Principal, resource: string): Seat {
    let near = this.#near.get(principal);
    let seat = near?.get(resource);
    if (seat !== undefined) return seat;
    const user = this.#users.has(principal.subject) ? principal.subject : null;
    const key = JSON.stringify([resource, user, [...new Set(principal.groups)].sort()]);
    seat = this.#seats.get(key);
    if (seat === undefined) {
      seat = this.#makeSeat(principal, resource);
      if (this.#seats.size >= MAX_SEATS) this.#seats = new Map();
      this.#seats.set(key, seat);
    }
    if (near === undefined) {
      near = new Map();
      this.#near.set(principal, near);
    }
    near.set(resource, seat);
    return seat;
  }

  #makeSeat(principal: Principal, resource: string): Seat {
    // A resource that this policy doesn't know has no rules, whatever `on: everything` says.
    const known = this.resources.has(resource);
    const rules = known
      ? this.#rules.filter((rule) => isOn(rule, resource, this.#parts.unread) && isWho(rule.who, principal))
      : [];
    const lenient = this.#parts.observed.has(resource);
    const enforcedRules = rules.filter((rule) => !rule.observe);
    const all = lenient || enforcedRules.length < rules.length ? new Bench(rules, resource, this.#names, false) : null;
    return {
      enforced: new Bench(enforcedRules, resource, this.#names, lenient),
      all,
      obligations: this.#obligations.for(principal, resource),
    };
  }
}

/** `on: everything` forbids everywhere, and lets nothing through that is not read. */
export function isOn(rule: Rule, resource: string, unread: ReadonlySet<string>): boolean {
  return rule.on === null ? rule.kind === 'deny' || !unread.has(resource) : rule.on.has(resource);
}
