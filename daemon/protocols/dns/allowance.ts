/**
 * How much one session may ask. Names that policy writes out in full can carry nothing away; below a `*.zone` the agent
 * chooses the labels, and whoever has the zone reads them. So those are bounded in length, in number, and in how much a
 * name can say.
 */

export const BOUNDS = {
  /** Questions per second, and how many at once after a pause. */
  rate: 100,
  burst: 500,
  /** Below a zone: characters of a label, labels, and bits that the part below can hold by the letters used in it. */
  label: 40,
  labels: 4,
  bits: 96,
  /** Different names below one zone in an hour. */
  names: 200,
} as const;

const HOUR = 3_600_000;
/** Zones that are kept count of. */
const ZONES = 256;

export class Allowance {
  #tokens: number = BOUNDS.burst;
  #at = 0;
  readonly #zones = new Map<string, { since: number; readonly names: Set<string> }>();

  /** Counts a question. False: too many. `now` in milliseconds. */
  take(now: number): boolean {
    this.#tokens = Math.min(BOUNDS.burst, this.#tokens + (Math.max(0, now - this.#at) / 1000) * BOUNDS.rate);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Why a name below a zone must not be asked, or null. Both in lower case, without a last dot. */
  below(name: string, zone: string, now: number): string | null {
    const part = name.slice(0, -(zone.length + 1));
    const labels = part.split('.');
    if (labels.length > BOUNDS.labels) return `more than ${BOUNDS.labels} labels below ${zone}`;
    if (labels.some((label) => label.length > BOUNDS.label))
      return `a label of more than ${BOUNDS.label} characters below ${zone}`;
    if (bitsOf(part) > BOUNDS.bits) return `labels below ${zone} that look like data, not like a name`;
    let seen = this.#zones.get(zone);
    if (seen === undefined || now - seen.since > HOUR) {
      if (seen === undefined && this.#zones.size >= ZONES) return `names below more than ${ZONES} zones`;
      seen = { since: now, names: new Set() };
      this.#zones.set(zone, seen);
    }
    if (!seen.names.has(part) && seen.names.size >= BOUNDS.names)
      return `more than ${BOUNDS.names} different names below ${zone} within an hour`;
    seen.names.add(part);
    return null;
  }
}

/** Shannon's entropy of the letters, times their number. */
function bitsOf(text: string): number {
  const counts = new Map<string, number>();
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  let sum = 0;
  for (const count of counts.values()) sum += count * Math.log2(text.length / count);
  return sum;
}
