/** Which names may be asked for: those of resources, and those under `dns:`. A name that nobody declared does not exist. */
import type { NameDecision, NameQuestion } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';
import { isWho, type Who } from './rule.ts';
import { plain } from './text.ts';

/** What a name may be asked for where nothing else is said: enough to connect. */
export const USUAL_TYPES = ['A', 'AAAA', 'CNAME'] as const;
export const NAME_TYPES = [...USUAL_TYPES, 'MX', 'TXT', 'SRV', 'PTR', 'NS', 'SOA', 'CAA'] as const;

export interface Grant {
  /** For people and the record. */
  readonly rule: string;
  /** Null: everyone, or whoever may use the resource. */
  readonly who: Who | null;
  /** The name is one of this resource's. Null: it stands under dns. */
  readonly resource: string | null;
  readonly types: ReadonlySet<string>;
  readonly inward: boolean;
}

interface Found {
  readonly grant: Grant;
  readonly zone: string | null;
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

  /** `uses`: whether anything is allowed to this principal on a resource. */
  decide({ session, name, type }: NameQuestion, uses: (resource: string) => boolean): NameDecision {
    const { principal } = session;
    const found = this.#find(name).filter(
      ({ grant }) => isWho(grant.who, principal) && (grant.resource === null || uses(grant.resource)),
    );
    const shown = plain(name === '' ? '.' : name, 120);
    if (found.length === 0) return refused(principal, shown);
    const fitting = found.filter(({ grant }) => grant.types.has(type));
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
  #find(name: string): Found[] {
    const found: Found[] = (this.#exact.get(name) ?? []).map((grant) => ({ grant, zone: null }));
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
