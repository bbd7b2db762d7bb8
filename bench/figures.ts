/** Figures of one kind, taken in turns on several paths, and what they are held against. */

export interface Sample {
  /** What was measured, e.g. `pgbench simple, 8 clients`. */
  readonly measure: string;
  readonly path: string;
  readonly value: number;
  readonly unit: string;
}

/** `of` divided by the median on `against`, held to at least `least`. */
export interface Requirement {
  readonly measure: string;
  readonly path: string;
  readonly against: string;
  readonly least: number;
}

export interface Ratio extends Requirement {
  readonly ratio: number;
  readonly met: boolean;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export class Figures {
  readonly samples: Sample[] = [];

  add(measure: string, path: string, value: number, unit: string): void {
    this.samples.push({ measure, path, value, unit });
  }

  /** Median over the rounds. NaN when there is no sample. */
  of(measure: string, path: string): number {
    const values = this.samples.filter((sample) => sample.measure === measure && sample.path === path);
    return values.length === 0 ? Number.NaN : median(values.map((sample) => sample.value));
  }

  ratio(requirement: Requirement): Ratio {
    const ratio = this.of(requirement.measure, requirement.path) / this.of(requirement.measure, requirement.against);
    return { ...requirement, ratio, met: ratio >= requirement.least };
  }

  /** One line per measure, one column per path. */
  table(): string {
    const paths = [...new Set(this.samples.map((sample) => sample.path))];
    const measures = [...new Map(this.samples.map((sample) => [sample.measure, sample.unit]))];
    const cell = (value: number) =>
      Number.isNaN(value) ? '' : value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 2 : 0 });
    const rows = measures.map(([measure, unit]) => [
      measure,
      unit,
      ...paths.map((path) => cell(this.of(measure, path))),
    ]);
    const lines = [['', '', ...paths], ...rows];
    const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
    return lines
      .map((line) =>
        line
          .map((text, column) => (column < 2 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)))
          .join('  ')
          .trimEnd(),
      )
      .join('\n');
  }
}
