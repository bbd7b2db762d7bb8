/** How it looks. Colour is on a terminal alone, and never the only thing that tells. */
import { clip, visible, wrap } from '../screen.ts';
import type { Check } from './checks.ts';
import type { Finding } from './findings.ts';

export interface Style {
  readonly width: number;
  readonly colour: boolean;
  /** Every attempt with its outcome. */
  readonly verbose: boolean;
}

const RED = 31;
const GREEN = 32;
const YELLOW = 33;
const DIM = 2;

/** Above this, lines get too long to read. */
const WIDEST = 100;

export function guaranteesTable(found: readonly Finding[], style: Style): string {
  const paint = painter(style);
  const width = Math.min(style.width, WIDEST);
  const name = Math.max(...found.map((each) => each.guarantee.length), 9);
  const head = `HELD  ${'GUARANTEE'.padEnd(name)}  WHAT IT SAYS, AND BY WHICH HOOKS\n`;
  const rows = found.map((each) => {
    const [word, colour] =
      each.held === null
        ? (['?', YELLOW] as const)
        : each.held
          ? (['yes', GREEN] as const)
          : (['NO', each.required ? RED : YELLOW] as const);
    const indent = ' '.repeat(6 + name + 2);
    const block = (text: string, lead = '') =>
      wrap(visible(text), width - indent.length - lead.length)
        .map((line, i) => `${indent}${i === 0 ? lead : ' '.repeat(lead.length)}${line}\n`)
        .join('');
    const says = clip(`${each.says}${each.required ? '' : ' (not required)'}`, width - indent.length);
    let out = `${paint(colour, word.padEnd(4))}  ${each.guarantee.padEnd(name)}  ${says}\n`;
    if (each.held === true) out += paint(DIM, block(each.by.join(', ')));
    for (const line of escapes(each)) out += block(line, '! ');
    if (each.held !== true && each.needs !== null) out += block(each.needs, each.held === false ? '→ ' : '  ');
    if (style.verbose) for (const line of attempts(each)) out += paint(DIM, block(line, '· '));
    return out;
  });
  return `${head}${rows.join('')}`;
}

/** Attempts that got out, those with the same outcome on one line. */
function escapes({ tried }: Finding): string[] {
  const by = new Map<string, string[]>();
  for (const { name, escaped, how } of tried) if (escaped) by.set(how, [...(by.get(how) ?? []), name]);
  return [...by].map(([how, names]) => `${names.join(', ')}: ${how}`);
}

function attempts({ tried }: Finding): string[] {
  return tried
    .filter((each) => !each.escaped)
    .map(({ name, how, untried }) => `${name}: ${untried ? 'not tried, ' : ''}${how}`);
}

export function checksTable(found: readonly Check[], style: Style): string {
  const paint = painter(style);
  const width = Math.min(style.width, WIDEST);
  const name = Math.max(...found.map((each) => each.check.length), 9);
  const words = { ok: ['ok', GREEN], advice: ['hint', YELLOW], fault: ['BAD', RED], unknown: ['?', YELLOW] } as const;
  const indent = ' '.repeat(6 + name + 2);
  return `      ${'INSTALLED'.padEnd(name)}  FOUND\n${found
    .map(({ check, state, found: what, fix }) => {
      const lines = wrap(visible(what), width - indent.length);
      const advice = fix === null ? [] : wrap(visible(fix), width - indent.length - 2);
      const [word, colour] = words[state];
      return [
        `${paint(colour, word.padEnd(4))}  ${check.padEnd(name)}  ${lines[0]}\n`,
        ...lines.slice(1).map((line) => `${indent}${line}\n`),
        ...advice.map((line, i) => `${indent}${i === 0 ? '→ ' : '  '}${line}\n`),
      ].join('');
    })
    .join('')}`;
}

/** The last lines: what all of it comes to. */
export function summary(found: readonly Finding[], notes: readonly string[], style: Style): string {
  const paint = painter(style);
  const count = (held: boolean | null) => found.filter((each) => each.held === held);
  const list = (some: readonly Finding[]) => some.map((each) => each.guarantee).join(', ');
  const lacking = count(false);
  const unknown = count(null);
  const required = [...lacking, ...unknown].filter((each) => each.required);
  const tries = new Set(found.flatMap((each) => each.tried.filter((one) => !one.untried).map((one) => one.name))).size;
  const said = (sentences: readonly string[]) => {
    const all = [...sentences, ...notes.map((note) => `Note: ${note}.`)];
    const text = all.flatMap((line) => wrap(visible(line), Math.min(style.width, WIDEST))).join('\n');
    return `${paint(required.length > 0 ? RED : GREEN, text)}\n`;
  };
  const lines = [
    `${count(true).length} of ${found.length} guarantees are held, after ${tries} attempts to break them.`,
  ];
  if (tries === 0) {
    const byWord = lacking.length === 0 ? [] : [`By what sluice-helper says, not held: ${list(lacking)}.`];
    return said([`None of the ${found.length} guarantees could be tried.`, ...byWord]);
  }
  if (lacking.length > 0) lines.push(`Not held: ${list(lacking)}.`);
  if (unknown.length > 0) lines.push(`Not found out: ${list(unknown)}.`);
  if (required.length > 0) lines.push(`Of those, required: ${list(required)}.`);
  else if (lacking.length + unknown.length > 0) lines.push('None of those is required.');
  return said(lines);
}

/** SGR, ECMA-48 8.3.117, line by line so that a pager that cuts lines keeps the rest as it is. */
function painter({ colour }: Style): (code: number, text: string) => string {
  if (!colour) return (_, text) => text;
  return (code, text) => text.replace(/[^\n]+/g, (line) => `\x1b[${code}m${line}\x1b[0m`);
}
