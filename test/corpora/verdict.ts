/** What a verdict of the harness means here. */

export type Corpus = 'leaks' | 'effects' | 'benign';

/** One line of a corpus file, as far as it is looked at. */
export interface Case {
  readonly id: string;
  readonly family: string;
  readonly reads_only?: 'refuse' | 'allow' | 'either';
}

export interface Judged {
  readonly corpus: Corpus;
  readonly id: string;
  readonly family: string;
  /** The harness's word, or `not-run` when it gave none for this case. */
  readonly verdict: string;
  /** False: not scored, since either outcome is right. */
  readonly scored: boolean;
  readonly wrong: boolean;
  /** What the harness said besides. */
  readonly details: Readonly<Record<string, unknown>>;
}

const RIGHT: Readonly<Record<Exclude<Corpus, 'effects'>, readonly string[]>> = {
  leaks: ['masked', 'blocked'],
  // `identical-unmasked` would mean that protected values came through.
  benign: ['identical'],
};

/** `silent` is not enough for a write that must be refused: the agent has to be told. */
const RIGHT_EFFECTS: Readonly<Record<string, readonly string[]>> = {
  refuse: ['refused'],
  // No mask is in force here: the same values as direct are meant to come.
  allow: ['identical', 'identical-unmasked'],
  either: ['either-effect', 'either-refused', 'either-silent'],
};

export function judge(corpus: Corpus, one: Case, details: Readonly<Record<string, unknown>> | undefined): Judged {
  const verdict = typeof details?.verdict === 'string' ? details.verdict : 'not-run';
  const expected = one.reads_only ?? 'refuse';
  const right = corpus === 'effects' ? (RIGHT_EFFECTS[expected] ?? []) : RIGHT[corpus];
  const wrong = !right.includes(verdict);
  const scored = wrong || corpus !== 'effects' || expected !== 'either';
  return { corpus, id: one.id, family: one.family, verdict, scored, wrong, details: details ?? {} };
}

/** The line of the summary: `leaks: N of M`, `effects: N wrong of M`, `benign: N changed of M`. */
export function summary(corpus: Corpus, judged: readonly Judged[]): string {
  const scored = judged.filter((one) => one.scored);
  const wrong = scored.filter((one) => one.wrong).length;
  const word = { leaks: '', effects: ' wrong', benign: ' changed' }[corpus];
  return `${corpus}: ${wrong}${word} of ${scored.length}`;
}
