/**
 * Metrics and their text, the Prometheus exposition format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). Of one's own because counting stands on the path of each statement:
 * adding to a counter here is adding to a number, 2 ns; prom-client 15 takes 360 ns, as it hashes labels each time.
 */

export type Labels = Readonly<Record<string, string>>;
export type Kind = 'counter' | 'gauge' | 'histogram';

/** What is asked when the metrics are read: values with their labels. */
export type Reading = () => Iterable<readonly [Labels, number]>;

interface Family {
  readonly name: string;
  readonly kind: Kind;
  readonly help: string;
  write(line: (suffix: string, labels: Labels, value: number) => void): void;
}

export class Counter {
  value = 0;
  readonly labels: Labels;

  constructor(labels: Labels) {
    this.labels = labels;
  }
}

/** Counts in buckets; `bounds` are their upper ends, ascending, in the metric's unit. */
export class Histogram {
  readonly bounds: readonly number[];
  /** The last one is what is above all bounds. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.counts[i]!++;
    this.sum += value;
  }
}

export class Registry {
  readonly #families: Family[] = [];

  /** Counters are kept with the array that is given back: push another one to add a series. */
  counters(name: string, help: string, initial: readonly Labels[] = []): Counter[] {
    const all = initial.map((labels) => new Counter(labels));
    this.#add(name, 'counter', help, (line) => {
      for (const { labels, value } of all) line('', labels, value);
    });
    return all;
  }

  counter(name: string, help: string): Counter {
    return this.counters(name, help, [{}])[0]!;
  }

  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const made = new Histogram(bounds);
    this.#add(name, 'histogram', help, (line) => {
      let count = 0;
      for (const [i, bound] of bounds.entries()) {
        count += made.counts[i]!;
        line('_bucket', { le: numeral(bound) }, count);
      }
      count += made.counts[bounds.length]!;
      line('_bucket', { le: '+Inf' }, count);
      line('_sum', {}, made.sum);
      line('_count', {}, count);
    });
    return made;
  }

  /** Asked each time that the metrics are read. */
  read(kind: 'counter' | 'gauge', name: string, help: string, reading: Reading): void {
    this.#add(name, kind, help, (line) => {
      for (const [labels, value] of reading()) line('', labels, value);
    });
  }

  get names(): readonly string[] {
    return this.#families.map(({ name }) => name);
  }

  /** A family without a series is left out, with its help. */
  text(): string {
    let text = '';
    for (const { name, kind, help, write } of this.#families) {
      let lines = '';
      write((suffix, labels, value) => {
        lines += `${name}${suffix}${written(labels)} ${numeral(value)}\n`;
      });
      if (lines !== '') text += `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${kind}\n${lines}`;
    }
    return text;
  }

  #add(name: string, kind: Kind, help: string, write: Family['write']): void {
    this.#families.push({ name, kind, help, write });
  }
}

function written(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

function numeral(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}
