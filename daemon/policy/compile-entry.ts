/** What entries of every kind have in common: a place, a name that is theirs alone, whom they are about, how broad they are. */
import type { Path } from './diagnostic.ts';
import type { Who } from './rule.ts';
import type { People, RuleEntry } from './schema.ts';
import type { Report, Source } from './source.ts';

/** The word for all resources, and for all effects. */
export const EVERYTHING = 'everything';

export const placeOf = (source: Source, path: Path): string => `${source.file}:${source.locate(path).line}`;

export function whoOf(people: People | undefined): Who | null {
  return people === undefined ? null : { groups: new Set(people.groups), users: new Set(people.users) };
}

/** Names that have to be unique over all files: one name, one thing. */
export class Taken {
  /** `resource shop` → place. */
  readonly #places = new Map<string, string>();

  /** False, and reported with both places, when there is one already. `key`: the name is the key at `path`. */
  take(kind: string, name: string, source: Source, path: Path, report: Report, key = false): boolean {
    const at = source.locate(path, key);
    const before = this.#places.get(`${kind} ${name}`);
    if (before !== undefined) {
      report(path, `there is already a ${kind} named ${JSON.stringify(name)} at ${before}`, { key });
      return false;
    }
    this.#places.set(`${kind} ${name}`, `${source.file}:${at.line}:${at.column}`);
    return true;
  }
}

export function starGroups(entry: Pick<RuleEntry, 'who'>, path: Path, report: Report): void {
  if (entry.who === 'everyone') return;
  for (const key of ['groups', 'users'] as const) {
    for (const [i, value] of (entry.who[key] ?? []).entries())
      if (/[*?]/.test(value))
        report([...path, 'who', key, i], `${value}: ${key} are named in full`, {
          suggestion: 'who: everyone is all',
        });
  }
}

/** An error, or a warning where the entry accepts it. */
export function broad(accepted: 'accepted' | undefined, what: string, where: Path, report: Report): void {
  if (accepted === undefined)
    report(where, `too broad: ${what}`, { suggestion: 'narrow it, or say breadth: accepted' });
  else report(where, `broad: ${what}`, { warning: true });
}

/** Warns of an entry that accepts breadth and has none. */
export function unneeded(accepted: 'accepted' | undefined, path: Path, report: Report): void {
  if (accepted !== undefined) report([...path, 'breadth'], 'nothing here is broad: leave it out', { warning: true });
}
