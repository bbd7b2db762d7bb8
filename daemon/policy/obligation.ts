/** Which masks and detectors hold for whom and where. */
import type { ColumnMask, MaskKind, Obligations } from '../core/mask.ts';
import type { Principal } from '../core/principal.ts';
import { isWho, type Who } from './rule.ts';

export interface MaskRule {
  readonly mask: ColumnMask;
  /** Null: every resource. */
  readonly on: ReadonlySet<string> | null;
  /** Who is exempt. Null: nobody. */
  readonly unless: Who | null;
  readonly place: string;
}

export interface DetectRule {
  readonly detectors: readonly string[];
  readonly with: MaskKind;
  readonly on: ReadonlySet<string> | null;
  readonly unless: Who | null;
  readonly place: string;
}

/** Strictest first: where several masks are about one column, the first that matches is the one to carry out. */
const STRICTNESS: readonly MaskKind[] = ['redact', 'null', 'hash', 'tokenize', 'partial'];
const strictness = (kind: MaskKind): number => STRICTNESS.indexOf(kind);

export const strictest = (kinds: readonly MaskKind[]): MaskKind =>
  [...kinds].sort((a, b) => strictness(a) - strictness(b))[0] ?? 'redact';

/** Answers with the same object for the same answer. */
export class ObligationTable {
  readonly #masks: readonly MaskRule[];
  readonly #detect: readonly DetectRule[];
  readonly #answers = new Map<string, Obligations>();

  constructor(masks: readonly MaskRule[], detect: readonly DetectRule[]) {
    const name = ({ mask }: MaskRule): string => mask.name;
    this.#masks = [...masks].sort(
      (a, b) => strictness(a.mask.with) - strictness(b.mask.with) || (name(a) < name(b) ? -1 : 1),
    );
    this.#detect = detect;
  }

  for(principal: Principal, resource: string): Obligations {
    const holds = (rule: MaskRule | DetectRule): boolean =>
      (rule.on === null || rule.on.has(resource)) && (rule.unless === null || !isWho(rule.unless, principal));
    const masks = this.#masks.filter(holds);
    const detect = this.#detect.filter(holds);
    const detectors = [...new Set(detect.flatMap((rule) => rule.detectors))].sort();
    const detectWith = strictest(detect.map((rule) => rule.with));
    const key = JSON.stringify([masks.map((rule) => this.#masks.indexOf(rule)), detectors, detectWith]);
    let answer = this.#answers.get(key);
    if (answer === undefined) {
      answer = Object.freeze({
        masks: Object.freeze(masks.map((rule) => rule.mask)),
        detect: Object.freeze(detectors),
        detectWith,
      });
      this.#answers.set(key, answer);
    }
    return answer;
  }
}
