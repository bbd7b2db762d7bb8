/**
 * Policy files as text: found, read within bounds, parsed as YAML 1.2 with the position of every node. What YAML allows
 * and a policy doesn't need is refused: tags, directives, merge keys, several documents in a file, duplicate keys, more
 * than a few aliases.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { SluiceError } from '../core/errors.ts';
import { type Diagnostic, type Path, pathText } from './diagnostic.ts';

/** Bytes of one file. */
const MAX_FILE = 1 << 20;
const MAX_FILES = 500;
/** Bytes of all files. */
const MAX_TOTAL = 8 << 20;
const MAX_DEPTH = 24;
const MAX_ALIASES = 50;
/** Columns of indentation: with it the depth of block style is bounded too. */
const MAX_INDENT = 80;
/** Lexemes of one file, about 12,000 lines: the parser's search for duplicate keys is quadratic. */
const MAX_LEXEMES = 60_000;

export interface Source {
  readonly file: string;
  readonly text: string;
  /** Plain data, `undefined` where the file could not be parsed. */
  readonly data: unknown;
  /** Position of the value at a path, or of the nearest one above it. `key`: of its key. */
  locate(path: Path, key?: boolean): { line: number; column: number };
}

/** Adds a diagnostic at a place of one file. */
export type Report = (
  path: Path,
  message: string,
  more?: { suggestion?: string; key?: boolean; warning?: boolean },
) => void;

export function reporter(source: Source, into: Diagnostic[]): Report {
  return (path, message, more) => {
    const at = source.locate(path, more?.key);
    into.push({
      severity: more?.warning ? 'warning' : 'error',
      file: source.file,
      ...at,
      path: pathText(path),
      message,
      ...(more?.suggestion === undefined ? {} : { suggestion: more.suggestion }),
    });
  };
}

const isPolicyName = (name: string): boolean =>
  /\.ya?ml$/.test(name) && !/\.test\.ya?ml$/.test(name) && !name.startsWith('.');

/**
 * Files named, and for a folder its *.yaml and *.yml in order of name, without hidden ones and *.test.yaml; not what lies
 * in folders within it.
 * @throws SluiceError POLICY_UNREADABLE when a path can't be read; POLICY_INVALID when a folder holds no policy or the
 * bounds on number and size are passed.
 */
export function readPaths(paths: readonly string[]): { file: string; text: string }[] {
  const files: string[] = [];
  for (const path of paths) {
    const names = unreadable(path, () => (statSync(path).isDirectory() ? readdirSync(path) : null));
    if (names === null) {
      files.push(path);
      continue;
    }
    const found = names.filter(isPolicyName).sort();
    if (found.length === 0) throw new SluiceError('POLICY_INVALID', `there is no *.yaml file in ${path}`);
    files.push(...found.map((name) => join(path, name)));
  }
  if (files.length === 0) throw new SluiceError('POLICY_INVALID', 'no policy file was named');
  if (files.length > MAX_FILES)
    throw new SluiceError('POLICY_INVALID', `a policy has at most ${MAX_FILES} files, this one ${files.length}`);
  let total = 0;
  return [...new Set(files)].map((file) => {
    const size = unreadable(file, () => statSync(file));
    if (!size.isFile()) throw new SluiceError('POLICY_UNREADABLE', `${file} is not a file`);
    if (size.size > MAX_FILE)
      throw new SluiceError(
        'POLICY_INVALID',
        `${file}: a policy file has at most ${MAX_FILE} bytes, this one ${size.size}`,
      );
    const bytes = unreadable(file, () => readFileSync(file));
    total += bytes.length;
    if (bytes.length > MAX_FILE || total > MAX_TOTAL)
      throw new SluiceError('POLICY_INVALID', `${file}: the policy is larger than ${MAX_TOTAL} bytes`);
    try {
      return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
    } catch (cause) {
      throw new SluiceError('POLICY_INVALID', `${file}: not valid UTF-8`, { cause });
    }
  });
}

function unreadable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SluiceError('POLICY_UNREADABLE', `could not read ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Content hash of all files, 16 lower-case hex characters: names without folders, so that a copy elsewhere is the same version. */
export function versionOf(files: readonly { file: string; text: string }[]): string {
  const hash = createHash('sha256');
  for (const { file, text } of files) hash.update(`${basename(file)}\0${Buffer.byteLength(text)}\0${text}`);
  return hash.digest('hex').slice(0, 16);
}

/** Parses one file. Faults go to `into`; `data` is then undefined. */
export function parseSource(file: string, text: string, into: Diagnostic[]): Source {
  const lines = new LineCounter();
  const fault = (message: string, offset: number, suggestion?: string): void => {
    const { line, col } = lines.linePos(offset);
    into.push({
      severity: 'error',
      file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      path: '',
      message,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  };
  const empty: Source = { file, text, data: undefined, locate: () => ({ line: 1, column: 1 }) };
  // Before the parser: it recurses with nesting, and a megabyte of "- - - -" ends the process while it composes an error.
  const excess = tooMuch(text);
  if (excess !== null) {
    fault(excess.message, excess.offset);
    return empty;
  }
  let doc: Document.Parsed;
  try {
    doc = parseDocument(text, {
      lineCounter: lines,
      version: '1.2',
      schema: 'core',
      merge: false,
      uniqueKeys: true,
      prettyErrors: false,
    });
  } catch (cause) {
    fault(`not YAML: ${(cause as Error).message}`, 0);
    return empty;
  }
  const before = into.length;
  for (const error of [...doc.errors, ...doc.warnings]) {
    fault(
      error.code === 'MULTIPLE_DOCS' ? 'a policy file is one YAML document' : oneLine(error.message),
      error.pos[0],
      error.code === 'TAB_AS_INDENT' ? 'indent with spaces' : undefined,
    );
  }
  if (/^%/m.test(text.split(/^---/m)[0] ?? '')) fault('YAML directives are not used in policy', 0);
  refuse(doc, fault);
  if (into.length > before) return empty;
  let data: unknown;
  try {
    data = doc.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    fault(`aliases: ${oneLine((cause as Error).message)}`, 0);
    return empty;
  }
  const locate = (path: Path, key?: boolean): { line: number; column: number } => {
    const { line, col } = lines.linePos(offsetOf(doc, path, key === true));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  return { file, text, data, locate };
}

const oneLine = (text: string): string => text.replace(/\s+/g, ' ').trim();

const FLOW_START = /^[[{]$/;
const NESTING_MARK = /^[-?:]$/;
/** The lexer puts this before a plain or block scalar. */
const SCALAR = '\u001f';

/** What of a text passes the bounds, by the lexer alone, which is flat and linear. */
function tooMuch(text: string): { message: string; offset: number } | null {
  let flow = 0;
  let marks = 0;
  let count = 0;
  let offset = 0;
  let before = '\n';
  for (const lexeme of new Lexer().lex(text)) {
    if (++count > MAX_LEXEMES) return { message: 'too long for one policy file: split it', offset };
    if (before === SCALAR) marks = 0;
    else if (FLOW_START.test(lexeme)) flow++;
    else if (lexeme === ']' || lexeme === '}') flow = Math.max(0, flow - 1);
    else if (lexeme === '\n') marks = 0;
    else if (NESTING_MARK.test(lexeme)) marks++;
    else if (before === '\n' && /^ +$/.test(lexeme) && lexeme.length > MAX_INDENT)
      return { message: `indented more than ${MAX_INDENT} columns`, offset };
    if (flow > MAX_DEPTH || marks > MAX_DEPTH) return { message: `nested more than ${MAX_DEPTH} deep`, offset };
    before = lexeme;
    if (lexeme !== SCALAR && lexeme !== '\u0002') offset += lexeme.length;
  }
  return null;
}

function refuse(doc: Document.Parsed, fault: (message: string, offset: number) => void): void {
  const offset = (node: Node): number => node.range?.[0] ?? 0;
  let aliases = 0;
  visit(doc, (_key, node, path) => {
    if (path.length > MAX_DEPTH * 2) {
      fault(`nested more than ${MAX_DEPTH} deep`, isNode(node) ? offset(node) : 0);
      return visit.BREAK;
    }
    if (isPair(node)) {
      const name = node.key;
      if (isScalar(name) && typeof name.value !== 'string')
        fault(`the key ${String(name.value)} is not text: put it in quotes`, offset(name));
      else if (!isScalar(name)) fault('a key has to be plain text', isNode(name) ? offset(name) : 0);
    } else if (isAlias(node)) {
      if (++aliases === MAX_ALIASES + 1) fault(`more than ${MAX_ALIASES} aliases`, offset(node));
    } else if (isNode(node) && node.tag !== undefined) {
      fault(`the tag ${node.tag} is not used in policy`, offset(node));
    }
    return undefined;
  });
}

function offsetOf(doc: Document.Parsed, path: Path, wantKey: boolean): number {
  let node: unknown = doc.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (let i = 0; i < path.length; i++) {
    if (isAlias(node)) node = node.resolve(doc);
    const step = path[i]!;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === step);
      if (pair === undefined) break;
      const key = pair.key as Node;
      if ((wantKey && i === path.length - 1) || !isNode(pair.value)) return key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
    } else break;
    if (!isNode(node)) break;
    offset = node.range?.[0] ?? offset;
  }
  return offset;
}
