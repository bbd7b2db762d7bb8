/**
 * Conditions (`when:`) in CEL, compiled once. The language is narrowed so that a condition costs at most time linear in
 * what an agent sends: functions are those listed here, `matches` takes a literal pattern and runs in linear time (the
 * library's own is JavaScript's RegExp), and the text of an operation is not looked at within a loop.
 */
import { type ASTNode, Environment } from '@marcbachmann/cel-js';
import type { Question } from '../core/policy.ts';
import { Regex } from './regex.ts';
import { RegexError } from './regex-syntax.ts';

class PrincipalView {
  readonly subject: string;
  readonly groups: readonly string[];
  constructor(q: Question) {
    this.subject = q.session.principal.subject;
    this.groups = q.session.principal.groups;
  }
}

class SessionView {
  readonly id: string;
  readonly command: readonly string[];
  constructor(q: Question) {
    this.id = q.session.id;
    this.command = q.session.command;
  }
}

class ResourceView {
  readonly name: string;
  constructor(q: Question) {
    this.name = q.resource.name;
  }
}

/** Lists are made when a condition asks for them. */
class OperationView {
  readonly #question: Question;
  readonly verb: string;
  readonly text: string;
  constructor(q: Question) {
    this.#question = q;
    this.verb = q.operation.verb;
    this.text = q.operation.text;
  }
  get effects(): string[] {
    return [...new Set(this.#question.operation.accesses.map((access) => access.effect))];
  }
  get tables(): string[] {
    const names = this.#question.operation.accesses.flatMap((access) =>
      [access.object ?? [], access.behind ?? []].flat(),
    );
    return [...new Set(names)];
  }
  get functions(): readonly string[] {
    return this.#question.operation.functions;
  }
}

const LINEAR_MATCHES = 'matchesLinear';
const LOOPS = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);
const TEXT_FUNCTIONS = new Set(['contains', 'startsWith', 'endsWith', 'matches']);
const FUNCTIONS = new Set([
  ...LOOPS,
  ...TEXT_FUNCTIONS,
  'has',
  'size',
  'lowerAscii',
  'upperAscii',
  'trim',
  'string',
  'int',
  'double',
  'timestamp',
  'duration',
  'getFullYear',
  'getMonth',
  'getDate',
  'getDayOfMonth',
  'getDayOfWeek',
  'getDayOfYear',
  'getHours',
  'getMinutes',
  'getSeconds',
]);

/** Thrown at load. `offset` is within the expression. */
export class ConditionError extends Error {
  readonly offset: number;
  /** A word that was not known, for a suggestion, and the words that are. */
  readonly unknown?: { readonly word: string; readonly known: readonly string[] };

  constructor(message: string, offset: number, unknown?: { word: string; known: readonly string[] }) {
    super(message);
    this.name = 'ConditionError';
    this.offset = offset;
    if (unknown !== undefined) this.unknown = unknown;
  }
}

/** What a question looks like to conditions, made once per decision. */
export type Facts = Record<string, unknown>;

export function facts(q: Question): Facts {
  return {
    principal: new PrincipalView(q),
    session: new SessionView(q),
    resource: new ResourceView(q),
    operation: new OperationView(q),
    now: new Date(q.now),
  };
}

export interface Condition {
  readonly source: string;
  /** True when its answer can differ for the same principal, resource and kind of operation. */
  readonly volatile: boolean;
  /** @throws when it can't be evaluated. */
  holds(facts: Facts): boolean;
}

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  principal: ['subject', 'groups'],
  session: ['id', 'command'],
  resource: ['name'],
  operation: ['verb', 'text', 'effects', 'tables', 'functions'],
};

/** Compiles conditions of one policy. */
export class ConditionCompiler {
  readonly #patterns = new Map<string, Regex>();
  readonly #environment: Environment;

  constructor() {
    const strings = 'list<string>';
    this.#environment = new Environment({
      limits: { maxAstNodes: 400, maxDepth: 32, maxListElements: 200, maxMapEntries: 0, maxCallArguments: 4 },
    })
      .registerType('Principal', { ctor: PrincipalView, fields: { subject: 'string', groups: strings } })
      .registerType('Session', { ctor: SessionView, fields: { id: 'string', command: strings } })
      .registerType('Resource', { ctor: ResourceView, fields: { name: 'string' } })
      .registerType('Operation', {
        ctor: OperationView,
        fields: { verb: 'string', text: 'string', effects: strings, tables: strings, functions: strings },
      })
      .registerVariable('principal', 'Principal')
      .registerVariable('session', 'Session')
      .registerVariable('resource', 'Resource')
      .registerVariable('operation', 'Operation')
      .registerVariable('now', 'google.protobuf.Timestamp')
      .registerFunction(
        `string.${LINEAR_MATCHES}(string): bool`,
        (text: string, pattern: string) => this.#patterns.get(pattern)!.test(text),
        { async: false },
      );
  }

  /** @throws ConditionError */
  compile(source: string): Condition {
    let run: ReturnType<Environment['parse']>;
    try {
      run = this.#environment.parse(source);
    } catch (cause) {
      throw celError(cause);
    }
    const seen: Seen = { volatile: false };
    this.#walk(run.ast, seen, false);
    const checked = run.check();
    if (!checked.valid) throw celError(checked.error);
    if (checked.type !== 'bool')
      throw new ConditionError(`is ${checked.type ?? 'unknown'}, a condition has to be true or false`, 0);
    return {
      source,
      volatile: seen.volatile,
      holds: (given) => {
        const answer: unknown = run(given);
        if (typeof answer !== 'boolean') throw new TypeError('the condition is neither true nor false');
        return answer;
      },
    };
  }

  #walk(node: ASTNode, seen: Seen, looping: boolean): void {
    const { op, args, start } = node;
    if (op === 'id') {
      if (args in FIELDS) throw new ConditionError(`${args} is used by its fields: ${FIELDS[args]!.join(', ')}`, start);
      if (args === 'now') seen.volatile = true;
      return;
    }
    if (op === '.' && args[0].op === 'id' && args[0].args in FIELDS) {
      const [of, field] = [args[0].args, args[1]];
      const fields = FIELDS[of]!;
      if (!fields.includes(field))
        throw new ConditionError(`${of} has no ${field}`, args[0].end + 1, { word: field, known: fields });
      if (of === 'session' || (of === 'operation' && field === 'text')) seen.volatile = true;
      if (looping && of === 'operation' && field === 'text')
        throw new ConditionError('operation.text is not looked at within a loop', start);
      return;
    }
    if (op === 'call' || op === 'rcall') {
      this.#call(node, seen, looping);
      return;
    }
    for (const child of children(args)) this.#walk(child, seen, looping);
  }

  #call(node: ASTNode & { op: 'call' | 'rcall' }, seen: Seen, looping: boolean): void {
    const name = node.args[0];
    const receiver = node.op === 'rcall' ? node.args[1] : null;
    const given = (node.op === 'rcall' ? node.args[2] : node.args[1]) as ASTNode[];
    if (!FUNCTIONS.has(name))
      throw new ConditionError(`${name}() is not a function of conditions`, node.start, {
        word: name,
        known: [...FUNCTIONS],
      });
    const loop = receiver !== null && LOOPS.has(name);
    if (loop && looping) throw new ConditionError('a loop within a loop', node.start);
    if (receiver !== null) this.#walk(receiver, seen, looping);
    for (const argument of given) this.#walk(argument, seen, looping || loop);
    if (TEXT_FUNCTIONS.has(name) && given.some(mentionsText))
      throw new ConditionError(`operation.text can't be what ${name}() looks for`, node.start);
    if (name !== 'matches') return;
    const [pattern] = given;
    if (receiver === null || given.length !== 1 || pattern?.op !== 'value' || typeof pattern.args !== 'string')
      throw new ConditionError('matches() takes one literal pattern: text.matches("…")', node.start);
    try {
      if (!this.#patterns.has(pattern.args)) this.#patterns.set(pattern.args, new Regex(pattern.args));
    } catch (cause) {
      if (cause instanceof RegexError)
        throw new ConditionError(`pattern: ${cause.message} (character ${cause.offset + 1})`, pattern.start);
      throw cause;
    }
    // The library resolves functions by name when it checks types, which comes after this.
    (node.args as unknown[])[0] = LINEAR_MATCHES;
  }
}

interface Seen {
  volatile: boolean;
}

function children(args: unknown): ASTNode[] {
  if (Array.isArray(args)) return args.flatMap(children);
  return typeof args === 'object' && args !== null && 'op' in args ? [args as ASTNode] : [];
}

function mentionsText(node: ASTNode): boolean {
  if (node.op === '.' && node.args[1] === 'text') return true;
  return children(node.args).some(mentionsText);
}

function celError(cause: unknown): ConditionError {
  const error = cause as { summary?: string; message?: string; range?: { start: number } };
  const message = (error.summary ?? error.message ?? 'not valid').split('\n')[0]!;
  const unknown = /^Unknown variable: (\w+)/.exec(message);
  const known = [...Object.keys(FIELDS), 'now'];
  return new ConditionError(
    message.charAt(0).toLowerCase() + message.slice(1),
    error.range?.start ?? 0,
    unknown === null ? undefined : { word: unknown[1]!, known },
  );
}
