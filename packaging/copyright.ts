/**
 * The copyright file (Debian's machine-readable format 1.0): whose each part is, and the licences' texts in full, each once. That
 * of Node, with those of all that it holds, is a file of its own beside it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NpmPackage, packageFolder } from './npm.ts';
import { LIB } from './tree.ts';

const FILE = /^(?:licen[cs]e|copying)/i;
const NOTICE = /^\s*(?:portions )?copyright\b.*$/gim;

/** Texts that no package brings, or that Debian has on every host. */
const APACHE = 'On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.';

interface Licence {
  /** Short name in the file. */
  readonly name: string;
  readonly holders: readonly string[];
  readonly text: string;
}

/** @throws Error for a package without any text, which nobody may pass on */
function licenceOf(root: string, one: NpmPackage, all: readonly NpmPackage[]): Licence {
  const folder = packageFolder(root, one);
  const file = readdirSync(folder).find((name) => FILE.test(name));
  const text = file === undefined ? '' : readFileSync(join(folder, file), 'utf8').replaceAll('\r', '');
  if (one.license === 'Apache-2.0') return { name: 'Apache-2.0', holders: [authorOf(folder, one)], text: APACHE };
  if (text !== '') {
    const holders = [...text.matchAll(NOTICE)].map(([line]) =>
      line.trim().replace(/^copyright\s*(?:\(c\)|©)?:?\s*/i, ''),
    );
    const words = text
      .replace(NOTICE, '')
      .replace(/^#+ /gm, '')
      .replace(/^\s*(?:\(?the )?mit license(?: \(mit\)|\))?:?\s*$/gim, '');
    return { name: one.license, holders: holders.length > 0 ? holders : [authorOf(folder, one)], text: words };
  }
  // Binaries of another package, which has the text.
  const owner = all.find(({ name }) => one.name !== name && one.name.split('/').at(-1)!.startsWith(`${name}-linux-`));
  if (owner !== undefined) return licenceOf(root, owner, all);
  if (one.license !== 'MIT') throw new Error(`${one.name} is under ${one.license} and has no text of it`);
  return { name: 'MIT', holders: [authorOf(folder, one)], text: '' };
}

function authorOf(folder: string, { name }: NpmPackage): string {
  const { author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    author?: string | { name: string };
  };
  return (typeof author === 'string' ? author : author?.name) || `the authors of ${name}`;
}

/** Paragraphs apart, lines joined: what is the same but for its layout has the same. */
const normal = (text: string): string =>
  text
    .trim()
    .replace(/\s+/g, ' ')
    .toLowerCase()
    .replace(/[^a-z0-9 ]/g, '');

const indented = (text: string): string =>
  text
    .trim()
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trim()}`))
    .join('\n')
    .replace(/(?:\n \.){2,}/g, '\n .');

export function copyright(root: string, packages: readonly NpmPackage[], nodeVersion: string): string {
  const own = readFileSync(join(root, 'packaging/debian/copyright'), 'utf8').trimEnd();
  const texts = new Map<string, { name: string; text: string }>();
  const counts = new Map<string, number>();
  const paragraphs = packages.map((one) => {
    const { name, holders, text } = licenceOf(root, one, packages);
    const whole = text === '' ? firstText(texts, name) : text;
    const key = normal(whole);
    if (!texts.has(key)) {
      const n = (counts.get(name) ?? 0) + 1;
      counts.set(name, n);
      texts.set(key, { name: n === 1 ? name : `${name}-${n}`, text: whole });
    }
    const path = `${LIB}/${one.path}/*`;
    const unique = [...new Set(holders)].join('\n           ');
    return `Files: ${path}\nCopyright: ${unique}\nLicense: ${texts.get(key)!.name}\nComment: ${one.name} ${one.version}`;
  });
  const licences = [...texts.values()]
    .filter(({ name }) => name !== 'Apache-2.0')
    .map(({ name, text }) => `License: ${name}\n${indented(text)}`);
  return `${own.replaceAll('@NODE@', nodeVersion)}\n\n${[...paragraphs, ...licences].join('\n\n')}\n`;
}

/** The text of another package under the same licence: that of MIT differs in whose it is alone. */
function firstText(texts: ReadonlyMap<string, { name: string; text: string }>, name: string): string {
  const known = [...texts.values()].find((one) => one.name === name);
  if (known === undefined) throw new Error(`no package brings the text of ${name}`);
  return known.text;
}
