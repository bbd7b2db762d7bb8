/** Which names may be asked for: those of resources, and those under `dns:`. A name that nobody declared does not exist. */
import type { NameDecision, NameQuestion } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';
import { isWho, type Who } from './rule.ts';
import { plain } from './text.ts';

/** What a name may be asked for where nothing else is said: enough to connect. */
export const USUAL_TYPES = ['A', 'AAAA', 'CNAME'] as const;
export const NAME_TYPES = [...USUAL_TYPES, 'MX', 'TXT', 'SRV', 'PTR', 'NS', 'SOA', 'CAA'] as const;
/** Further ones that have a name in questions and that no policy lets; the rest goes by its number, as TYPE43. */
export const OTHER_TYPES = ['ANY', 'HTTPS', 'SVCB', 'AXFR', 'IXFR'] as const;

export interface Grant {
  /** For people and the record. */
  readonly rule: string;
  /** Null: everyone, or whoever may use the resource. */
  readonly who: Who | null;
  /** The name is one of this resource's. Null: it stands under dns. */
  readonly resource: string | null;
  readonly types: ReadonlySet<string>;
  readonly inward: boolean;
  /** `file:line`, for explain. */
  readonly place: string;
}

/** A grant that takes a name in. */
export interface NameNote {
  readonly grant: Grant;
  /** Null: it has the very name. */
  readonly zone: string | null;
  /** Why it does not let this be asked for: it is for others, nothing is allowed on its resource, not this type. Null: it does. */
  readonly miss: 'who' | 'resource' | 'type' | null;
}

export class GrantTable {
  readonly #exact = new Map<string, Grant[]>();
  readonly #zones = new Map<string, Grant[]>();

  /** `below`: every name below `host`, and not itself. */
  add(host: string, below: boolean, grant: Grant): void {
    const table = below ? this.#zones : this.#exact;
    const there = table.get(host);
    if (there === undefined) table.set(host, [grant]);
    else there.push(grant);
  }

  /** Full names that stand somewhere, whoever may ask for them. */
  get names(): Iterable<string> {
    return this.#exact.keys();
  }

  /** What `decide` goes by: each grant for the name or for a zone above it. */
  look({ session, name, type }: NameQuestion, uses: (resource: string) => boolean): NameNote[] {
    const miss = (grant: Grant): NameNote['miss'] => {
      if (!isWho(grant.who, session.principal)) return 'who';
      if (grant.resource !== null && !uses(grant.resource)) return 'resource';
      return grant.types.has(type) ? null : 'type';
    };
    return this.#find(name).map(({ grant, zone }) => ({ grant, zone, miss: miss(grant) }));
  }

  /** `uses`: whether anything is allowed to this principal on a resource. */
  decide(question: NameQuestion, uses: (resource: string) => boolean): NameDecision {
    const { session, name, type } = question;
    const found = this.look(question, uses).filter(({ miss }) => miss === null || miss === 'type');
    const shown = plain(name === '' ? '.' : name, 120);
    if (found.length === 0) return refused(session.principal, shown);
    const fitting = found.filter(({ miss }) => miss === null);
    const inward = fitting.some(({ grant }) => grant.inward);
    const best = fitting.find(({ zone }) => zone === null) ?? fitting[0];
    if (best === undefined) {
      const types = [...new Set(found.flatMap(({ grant }) => [...grant.types]))];
      return {
        outcome: 'deny',
        rule: null,
        reason: `${shown} may be asked for ${types.join(', ')}, not for ${plain(type, 20)}`,
        hint: `ask for ${plain(type, 20)} to be added to the types of a dns entry`,
        known: true,
        inward: false,
        zone: null,
      };
    }
    return {
      outcome: 'allow',
      rule: best.grant.rule,
      reason: plain(`${best.grant.rule} lets the name be asked for`),
      known: true,
      inward,
      zone: best.zone,
    };
  }

  /** Exact ones first, then those of the nearest zones. */
  #find(name: string): Omit<NameNote, 'miss'>[] {
    const found: Omit<NameNote, 'miss'>[] = (this.#exact.get(name) ?? []).map((grant) => ({ grant, zone: null }));
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const zone = name.slice(dot + 1);
      for (const grant of this.#zones.get(zone) ?? []) found.push({ grant, zone });
    }
    return found;
  }
}

function refused(principal: Principal, shown: string): NameDecision {
  return {
    outcome: 'deny',
    rule: null,
    reason: plain(`${shown} is no name of a resource that ${principal.subject} may use, and stands under no dns entry`),
    hint: 'ask for the name to be added under dns, or as the address of a resource',
    known: false,
    inward: false,
    zone: null,
  };
}
