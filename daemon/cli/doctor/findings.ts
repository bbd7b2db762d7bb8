/** What the attempts, the witnesses and the helper say of each guarantee, put together. */
import { GUARANTEES, type Guarantee } from './guarantees.ts';
import type { Try } from './probe.ts';

/** One entry of `guarantees` in the helper's status. */
export interface Claim {
  readonly name: string;
  readonly held: boolean;
  readonly required?: boolean;
  readonly by: readonly string[];
  readonly needs: string | null;
}

/** The helper's status as far as it matters here; null: it does not answer. */
export interface Enforcement {
  readonly enforcing: boolean;
  /** First hook that is not in place, or ''. */
  readonly missing: string;
  readonly guarantees?: readonly Claim[];
}

/** What the session said; null: none could be opened. */
export interface Tried {
  readonly tries: readonly Try[];
  /** uid of the session's processes. */
  readonly uid: number;
}

export interface Witnessed {
  readonly saw: ReadonlyMap<string, string>;
  readonly called: ReadonlySet<string>;
  readonly raw: boolean;
  readonly victimUid: number | null;
}

export interface Finding {
  readonly guarantee: string;
  readonly says: string;
  readonly required: boolean;
  /** null: it could not be found out. */
  readonly held: boolean | null;
  /** What keeps it; where it is not held, what should. */
  readonly by: readonly string[];
  /** What would close it; null where it is held. */
  readonly needs: string | null;
  readonly tried: readonly Try[];
}

export const OWN_UID = 'own uid';

export function findings(tried: Tried | null, witnessed: Witnessed | null, enforcement: Enforcement | null): Finding[] {
  const tries = tried === null || witnessed === null ? [] : judge(tried.tries, witnessed);
  const claims = new Map(enforcement?.guarantees?.map((claim) => [claim.name, claim]));
  const ownUid =
    tried !== null && witnessed !== null && witnessed.victimUid !== null && tried.uid !== witnessed.victimUid;
  const known = GUARANTEES.map((guarantee) => {
    const claim = claims.get(guarantee.name);
    claims.delete(guarantee.name);
    return find(guarantee, claim ?? implied(guarantee, enforcement), tries, ownUid);
  });
  // A helper of a later version may promise more than this table attacks: its word is all there is.
  const others = [...claims.values()].map(({ name, held, required = false, by, needs }) => ({
    guarantee: name,
    says: 'said by sluice-helper, not tried',
    required,
    held,
    by,
    needs,
    tried: [],
  }));
  return [...known, ...others];
}

/** 0: all that is required is held. 1: one is not. 2: of one it could not be found out. */
export function exitStatus(found: readonly Finding[]): 0 | 1 | 2 {
  const held = found.filter((each) => each.required).map((each) => each.held);
  return held.includes(false) ? 1 : held.includes(null) ? 2 : 0;
}

/** A return value alone is no escape: somebody outside has seen it, or the call had its effect. */
function judge(tries: readonly Try[], { saw, called, raw }: Witnessed): Try[] {
  return tries.map((each) => {
    const at = saw.get(each.name);
    if (at !== undefined) return { ...each, escaped: true, how: `${at}: the witness outside got it` };
    if (each.sent && !raw && NEEDS_RAW.test(each.name)) {
      return { ...each, untried: true, how: `${each.how}; only root can see whether it arrived` };
    }
    if (each.name.startsWith('inbound-') && !each.escaped && !called.has(each.name)) {
      return { ...each, untried: true, how: `${each.how}; no witness called` };
    }
    return each.sent ? { ...each, how: `${each.how}; nothing arrived outside` } : each;
  });
}

/** Probes on the loopback whose witness needs root. */
const NEEDS_RAW = /^(ping|raw-|packet-)[^@]*$/;

/** What a helper that lists no guarantees says of one: its hooks are in place unless one of them is missing. */
function implied(guarantee: Guarantee, enforcement: Enforcement | null): Claim | undefined {
  if (enforcement === null || enforcement.enforcing) return undefined;
  const { missing } = enforcement;
  if (missing !== '' && !guarantee.by.includes(missing)) return undefined;
  return {
    name: guarantee.name,
    held: false,
    by: guarantee.by,
    needs: `${missing === '' ? 'hooks are' : `the hook ${missing} is`} not in place: restart sluice-helper`,
  };
}

/** `x` in the table stands for `x` and `x@far`, `x@near` for that on the loopback alone. */
function attacks({ probes }: Guarantee, name: string): boolean {
  return probes.includes(name.replace(/@far$/, '')) || probes.includes(`${name}@near`);
}

function find(guarantee: Guarantee, claim: Claim | undefined, all: readonly Try[], ownUid: boolean): Finding {
  const tried = all.filter((each) => attacks(guarantee, each.name));
  const { name, says } = guarantee;
  const base = { guarantee: name, says, required: claim?.required ?? guarantee.required, tried };
  const by = claim !== undefined && claim.by.length > 0 ? claim.by : guarantee.by;
  if (tried.some((each) => each.escaped)) {
    return { ...base, held: false, by, needs: claim?.held === false ? (claim.needs ?? guarantee.fix) : guarantee.fix };
  }
  const complete = tried.some((each) => !each.untried);
  if (guarantee.byOwnUid && ownUid && complete) {
    return { ...base, held: true, by: claim?.held ? [...claim.by, OWN_UID] : [OWN_UID], needs: null };
  }
  if (claim?.held === false) return { ...base, held: false, by, needs: claim.needs ?? guarantee.fix };
  if (!complete) return { ...base, held: null, by, needs: tried[0]?.how ?? null };
  return { ...base, held: true, by, needs: null };
}
