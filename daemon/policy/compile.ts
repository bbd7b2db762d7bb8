/** From validated entries to what decides: names resolved, patterns and conditions compiled, breadth and sense checked. */

import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { EFFECTS, type Effect } from '../core/operation.ts';
import type { CredentialSource, Resource } from '../core/resource.ts';
import { AddressTable, type HostPort, isLoopback, parseHostPort, parseName } from './address.ts';
import { type Condition, ConditionCompiler, ConditionError } from './condition.ts';
import { type Diagnostic, type Path, suggest } from './diagnostic.ts';
import { validate } from './issues.ts';
import { type Grant, GrantTable, USUAL_TYPES } from './names.ts';
import type { DetectRule, MaskRule } from './obligation.ts';
import { columnPatternFault, type NamePattern, NameSet, namePattern } from './pattern.ts';
import type { Parts } from './policy.ts';
import type { Kind, Rule, Who } from './rule.ts';
import {
  type DnsEntry,
  type IdentityEntry,
  type Kit,
  type MaskEntry,
  milliseconds,
  type People,
  type PolicyFile,
  type ResourceEntry,
  type RuleEntry,
  type UnixEntry,
} from './schema.ts';
import { type SocketGrant, socketFault, socketWarnings } from './sockets.ts';
import { type Report, reporter, type Source } from './source.ts';
import { plain } from './text.ts';

export interface Checked {
  readonly source: Source;
  readonly policy: PolicyFile;
}

const EVERYTHING = 'everything';
const DNS_PORT = 53;
const SUBJECT_OF_MANY = 'a subject on an entry for many would make them one person';

/** Faults and warnings go to `into`; the result is only of use when no error is among them. */
export function compile(
  files: readonly Checked[],
  version: string,
  kit: Kit,
  into: Diagnostic[],
): Omit<Parts, 'warnings'> {
  const compiler = new Compiler(kit, into);
  for (const file of files) compiler.resources(file);
  for (const file of files) compiler.file(file);
  return { ...compiler.parts, version, files: files.map(({ source }) => source.file) };
}

class Compiler {
  readonly #kit: Kit;
  readonly #into: Diagnostic[];
  readonly #conditions = new ConditionCompiler();
  /** `resource shop` → place, for names that have to be unique over all files. */
  readonly #taken = new Map<string, string>();
  readonly #resources = new Map<string, Resource>();
  readonly #observed = new Set<string>();
  readonly #unread = new Set<string>();
  readonly #addresses = new AddressTable();
  readonly #grants = new GrantTable();
  readonly #sockets: SocketGrant[] = [];
  readonly #askers: (Who | null)[] = [];
  readonly #identities: IdentityEntry[] = [];
  readonly #rules: Rule[] = [];
  readonly #masks: MaskRule[] = [];
  readonly #detect: DetectRule[] = [];

  constructor(kit: Kit, into: Diagnostic[]) {
    this.#kit = kit;
    this.#into = into;
  }

  get parts(): Omit<Parts, 'version' | 'files' | 'warnings'> {
    return {
      resources: this.#resources,
      observed: this.#observed,
      unread: this.#unread,
      addresses: this.#addresses,
      names: this.#grants,
      sockets: this.#sockets,
      askers: this.#askers,
      identities: this.#identities,
      rules: this.#rules,
      masks: this.#masks,
      detect: this.#detect,
    };
  }

  resources({ source, policy }: Checked): void {
    const report = reporter(source, this.#into);
    for (const [name, entry] of Object.entries(policy.resources)) {
      const path = ['resources', name];
      if (name === EVERYTHING)
        report(path, "a resource can't be named everything, rules say that for all of them", { key: true });
      if (!this.#unique('resource', name, source, path, report, true)) continue;
      const resource = this.#resource(name, entry, path, source, report);
      this.#resources.set(name, resource);
      if (policy.mode === 'observe') this.#observed.add(name);
    }
  }

  file({ source, policy }: Checked): void {
    const report = reporter(source, this.#into);
    const place = (path: Path): string => placeOf(source, path);
    policy.identities.forEach((entry, i) => {
      this.#identity(entry, ['identities', i], report);
    });
    policy.dns.forEach((entry, i) => {
      this.#dns(entry, ['dns', i], source, report);
    });
    policy.unix.forEach((entry, i) => {
      this.#unix(entry, ['unix', i], source, report);
    });
    policy.rules.forEach((entry, i) => {
      const path = ['rules', i];
      this.#unique('rule', entry.name, source, [...path, 'name'], report, false);
      this.#rules.push(this.#rule(entry, path, report, policy.mode === 'observe', place(path)));
    });
    policy.masks.forEach((entry, i) => {
      this.#mask(entry, ['masks', i], source, report, place(['masks', i]));
    });
    policy.detect.forEach((entry, i) => {
      const path = ['detect', i];
      const full =
        typeof entry === 'string'
          ? { detectors: [entry], with: 'redact' as const, on: EVERYTHING, unless: undefined }
          : entry;
      full.detectors.forEach((name, j) => {
        if (!this.#kit.detectors.includes(name))
          report(
            typeof entry === 'string' ? path : [...path, 'detectors', j],
            `there is no detector ${JSON.stringify(name)}`,
            suggest(name, this.#kit.detectors),
          );
      });
      this.#detect.push({
        detectors: full.detectors,
        with: full.with,
        on: this.#on(full.on ?? EVERYTHING, [...path, 'on'], report),
        unless: whoOf(full.unless),
        place: place(path),
      });
    });
  }

  /** One name, one thing, over all files: the diagnostic names both places. */
  #unique(kind: string, name: string, source: Source, path: Path, report: Report, key: boolean): boolean {
    const at = source.locate(path, key);
    const before = this.#taken.get(`${kind} ${name}`);
    if (before !== undefined) {
      report(path, `there is already a ${kind} named ${JSON.stringify(name)} at ${before}`, { key });
      return false;
    }
    this.#taken.set(`${kind} ${name}`, `${source.file}:${at.line}:${at.column}`);
    return true;
  }

  #resource(name: string, entry: ResourceEntry, path: Path, source: Source, report: Report): Resource {
    const known = Object.hasOwn(this.#kit.protocols, entry.protocol);
    let options: Readonly<Record<string, unknown>> = {};
    if (!known)
      report(
        [...path, 'protocol'],
        `there is no protocol ${JSON.stringify(entry.protocol)}`,
        suggest(entry.protocol, Object.keys(this.#kit.protocols)),
      );
    else
      options = (validate(this.#kit.protocols[entry.protocol]!.options, entry.options ?? {}, report, [
        ...path,
        'options',
      ]) ?? {}) as Readonly<Record<string, unknown>>;
    const credential = this.#credential(entry, path, report);
    const unread = known ? this.#kit.protocols[entry.protocol]!.unread : undefined;
    if (unread !== undefined) {
      this.#unread.add(name);
      report([...path, 'protocol'], `passed unread: ${unread}`, { warning: true });
      for (const key of ['credential', 'login', 'ca'] as const)
        if (entry[key] !== undefined)
          report([...path, key], `nothing of ${name} is read, so ${key} has no use`, { key: true });
    }
    if (entry.login === 'token' && credential === undefined)
      report(
        [...path, 'login'],
        "login: token needs a credential: the client's password is then the session token, and can't go through",
        {},
      );
    if (entry.tls === 'off' && entry.ca !== undefined) report([...path, 'ca'], 'ca has no use with tls: off', {});
    const parsed = parseHostPort(entry.address);
    const at = typeof parsed === 'string' ? { host: entry.address, port: 0, below: false } : parsed;
    if (typeof parsed === 'string') report([...path, 'address'], parsed);
    else if (parsed.below)
      report([...path, 'address'], "sluice connects to this address: it can't be a pattern", {
        suggestion: 'patterns stand under also:',
      });
    if ((entry.tls === 'off' || entry.tls === 'require') && credential !== undefined && !isLoopback(at.host))
      report([...path, 'tls'], `the credential goes to a server that is not verified (tls: ${entry.tls})`, {
        warning: true,
      });
    const resource: Resource = Object.freeze({
      name,
      protocol: entry.protocol,
      host: at.host,
      port: at.port,
      also: Object.freeze([...(entry.also ?? [])]),
      tls: entry.tls,
      login: entry.login ?? (credential === undefined ? 'none' : 'token'),
      options: Object.freeze(options),
      ...(entry.ca === undefined ? {} : { ca: entry.ca }),
      ...(credential === undefined ? {} : { credential }),
    });
    let broad = false;
    const addresses: [string, Path][] = [
      [entry.address, [...path, 'address']],
      ...(entry.also ?? []).map((text, i): [string, Path] => [text, [...path, 'also', i]]),
    ];
    for (const [text, where] of addresses) {
      const one = parseHostPort(text);
      if (typeof one === 'string') {
        if (where.at(-1) !== 'address') report(where, one);
        continue;
      }
      if (one.below && where.at(-1) !== 'address') {
        broad = true;
        this.#broad(entry.breadth, `${text} takes in every name below ${one.host}`, where, report);
      }
      this.#askFor(one, resource, where, source, report);
      const other = this.#addresses.add(one, resource);
      if (other !== null) report(where, `${text} is already an address of ${other.name}`);
    }
    if (entry.breadth !== undefined && !broad)
      report([...path, 'breadth'], 'nothing here is broad: leave it out', { warning: true });
    return resource;
  }

  /** Whoever may use a resource may ask for its names. */
  #askFor({ host, port, below }: HostPort, { name }: Resource, path: Path, source: Source, report: Report): void {
    if (port === DNS_PORT)
      report(path, `port ${DNS_PORT} is answered by sluice itself, whatever the address`, {
        suggestion: 'names that agents may ask for stand under dns:',
      });
    if (isIP(host) !== 0) return;
    const types = new Set<string>(USUAL_TYPES);
    const rule = `resource ${name}`;
    const place = placeOf(source, path);
    this.#grants.add(host, below, { rule, who: null, resource: name, types, inward: false, place });
  }

  #dns(entry: DnsEntry, path: Path, source: Source, report: Report): void {
    if (entry.name !== undefined) this.#unique('dns entry', entry.name, source, [...path, 'name'], report, false);
    const grant: Omit<Grant, 'rule'> = Object.freeze({
      place: placeOf(source, path),
      who: entry.who === 'everyone' ? null : whoOf(entry.who),
      resource: null,
      types: new Set<string>(entry.types ?? USUAL_TYPES),
      inward: entry.answers === 'any',
    });
    this.#askers.push(grant.who);
    let broad = false;
    for (const [i, text] of entry.names.entries()) {
      const where = [...path, 'names', i];
      const one = parseName(text);
      if (typeof one === 'string') {
        report(where, one);
        continue;
      }
      if (one.below) {
        broad = true;
        this.#broad(entry.breadth, `agents choose the names below ${one.host}, whose server sees them`, where, report);
      }
      this.#grants.add(one.host, one.below, { ...grant, rule: plain(entry.name ?? `dns ${text}`) });
    }
    if (entry.breadth !== undefined && !broad)
      report([...path, 'breadth'], 'nothing here is broad: leave it out', { warning: true });
  }

  #unix(entry: UnixEntry, path: Path, source: Source, report: Report): void {
    if (entry.name !== undefined) this.#unique('unix entry', entry.name, source, [...path, 'name'], report, false);
    entry.sockets.forEach((socket, i) => {
      const fault = socketFault(socket);
      if (fault !== null) report([...path, 'sockets', i], fault.message, fault);
      else for (const warning of socketWarnings(socket)) report([...path, 'sockets', i], warning, { warning: true });
    });
    this.#starGroups(entry, path, report);
    const who = entry.who === 'everyone' ? null : whoOf(entry.who);
    this.#askers.push(who);
    const rule = plain(entry.name ?? `unix ${entry.sockets[0]}`);
    const place = placeOf(source, path);
    this.#sockets.push(Object.freeze({ rule, sockets: Object.freeze([...entry.sockets]), who, place }));
  }

  #credential({ credential }: ResourceEntry, path: Path, report: Report): CredentialSource | undefined {
    if (credential === undefined) return undefined;
    const { systemd, file, command, user } = credential;
    const where = [...path, 'credential'];
    if ([systemd, file, command].filter((source) => source !== undefined).length !== 1)
      report(where, 'needs exactly one of systemd, file and command');
    if (command !== undefined && !isAbsolute(command[0]!))
      report([...where, 'command', 0], 'has to be an absolute path');
    const account = user === undefined ? {} : { user };
    if (systemd !== undefined) return Object.freeze({ systemd, ...account });
    if (file !== undefined) return Object.freeze({ file, ...account });
    return Object.freeze({ command: Object.freeze([...(command ?? [])]), ...account });
  }

  #identity(entry: IdentityEntry, path: Path, report: Report): void {
    const { user, uid, group, unit, issuer } = entry;
    const ways = [user, uid, issuer === undefined ? group : undefined, unit, entry.default, issuer];
    if (ways.filter((way) => way !== undefined).length !== 1)
      report(path, 'needs exactly one of user, uid, group, unit, default and issuer');
    if (entry.subject !== undefined && issuer !== undefined)
      report([...path, 'subject'], 'the subject of a token is its own');
    else if (entry.subject !== undefined && user === undefined && uid === undefined)
      report([...path, 'subject'], SUBJECT_OF_MANY);
    for (const key of ['claims', 'tokenGroups'] as const)
      if (entry[key] !== undefined && issuer === undefined)
        report([...path, key], 'only tokens have them: name their issuer', { key: true });
    this.#identities.push(entry);
  }

  #rule(entry: RuleEntry, path: Path, report: Report, observe: boolean, place: string): Rule {
    const kinds = (['allow', 'deny', 'approve'] as const).filter((kind) => entry[kind] !== undefined);
    if (kinds.length !== 1)
      report(
        path,
        kinds.length === 0
          ? 'needs one of allow, deny and approve'
          : `has ${kinds.join(' and ')}: a rule does one of them`,
      );
    const kind: Kind = kinds[0] ?? 'deny';
    const effects = entry[kind] ?? EVERYTHING;
    const tables = this.#names(entry.tables, [...path, 'tables'], report);
    if (kind !== 'approve') {
      for (const key of ['reviewers', 'quorum', 'within', 'hold', 'remember', 'match'] as const) {
        if (entry[key] !== undefined) report([...path, key], `${key} goes with approve only`, { key: true });
      }
    } else if (entry.reviewers === undefined)
      report(path, 'an approve rule needs reviewers', { suggestion: 'reviewers: {groups: […]}, or reviewers: anyone' });
    if (entry.remember === 'session' && entry.match === 'exact')
      report([...path, 'match'], 'remember: session is about the same kind of operation: it needs match: fingerprint');
    if (kind === 'allow' && entry.columns !== undefined)
      report([...path, 'columns'], "columns can't be allowed one by one: rows come whole", {
        key: true,
        suggestion: 'deny the others, or mask them',
      });
    for (const [i, column] of (entry.columns ?? []).entries())
      if (/[.*]/.test(column))
        report([...path, 'columns', i], `${column} is not the name of a column`, {
          suggestion: 'tables stand under tables:',
        });
    const rule: Rule = {
      name: plain(entry.name),
      kind,
      everything: effects === EVERYTHING,
      effects: new Set<Effect>(effects === EVERYTHING ? EFFECTS : effects),
      who: entry.who === 'everyone' ? null : whoOf(entry.who),
      on: this.#on(entry.on, [...path, 'on'], report),
      tables,
      columns: entry.columns === undefined ? null : new Set(entry.columns),
      functions: this.#names(entry.functions, [...path, 'functions'], report),
      verbs: entry.verbs?.map((verb, i) => this.#verb(verb, [...path, 'verbs', i], report)) ?? null,
      when: this.#when(entry.when, [...path, 'when'], report),
      reason: entry.reason === undefined ? null : plain(entry.reason),
      hint: entry.hint === undefined ? null : plain(entry.hint),
      terms: kind === 'approve' ? termsOf(entry) : null,
      observe,
      place,
    };
    this.#starGroups(entry, path, report);
    this.#breadthOf(rule, entry, path, report);
    return rule;
  }

  #verb(verb: string, path: Path, report: Report): string {
    const words = verb.toUpperCase().replace(/\s+/g, ' ');
    if (words.endsWith(' *')) return words.slice(0, -1);
    if (words.includes('*')) report(path, `${verb}: a * stands for the words after the first, as DROP *`);
    return words;
  }

  #starGroups(entry: Pick<RuleEntry, 'who'>, path: Path, report: Report): void {
    if (entry.who === 'everyone') return;
    for (const key of ['groups', 'users'] as const) {
      for (const [i, value] of (entry.who[key] ?? []).entries())
        if (/[*?]/.test(value))
          report([...path, 'who', key, i], `${value}: ${key} are named in full`, {
            suggestion: 'who: everyone is all',
          });
    }
  }

  #breadthOf(rule: Rule, entry: RuleEntry, path: Path, report: Report): void {
    if (rule.kind === 'deny') {
      if (entry.breadth !== undefined)
        report([...path, 'breadth'], 'a deny rule may always be broad: leave it out', { warning: true });
      return;
    }
    const broad: [string, Path][] = [];
    if (rule.who === null && rule.on === null) broad.push(['it is about everyone on everything', [...path, 'who']]);
    if (rule.kind === 'allow' && rule.everything) broad.push(['it allows everything', [...path, 'allow']]);
    const star = rule.tables?.patterns.findIndex((pattern) => pattern.schema === null && pattern.name === null) ?? -1;
    if (star >= 0) broad.push([`${entry.tables![star]} is every object there is`, [...path, 'tables', star]]);
    for (const [what, where] of broad) this.#broad(entry.breadth, what, where, report);
    if (broad.length === 0 && entry.breadth !== undefined)
      report([...path, 'breadth'], 'nothing here is broad: leave it out', { warning: true });
  }

  #broad(accepted: 'accepted' | undefined, what: string, where: Path, report: Report): void {
    if (accepted === undefined)
      report(where, `too broad: ${what}`, { suggestion: 'narrow it, or say breadth: accepted' });
    else report(where, `broad: ${what}`, { warning: true });
  }

  #mask(entry: MaskEntry, path: Path, source: Source, report: Report, place: string): void {
    for (const [i, column] of entry.columns.entries()) {
      const fault = columnPatternFault(column);
      if (fault !== null)
        report(
          [...path, 'columns', i],
          fault.message,
          fault.suggestion === undefined ? {} : { suggestion: fault.suggestion },
        );
    }
    const on = this.#on(entry.on, [...path, 'on'], report);
    const name = plain(entry.name ?? `mask of ${entry.columns[0]}`);
    if (entry.name !== undefined) this.#unique('mask', name, source, [...path, 'name'], report, false);
    const mask = Object.freeze({
      name,
      columns: Object.freeze([...entry.columns]),
      with: entry.with,
      conditions: entry.conditions,
    });
    this.#masks.push({ mask, on, unless: whoOf(entry.unless), place });
  }

  #on(on: string | readonly string[], path: Path, report: Report): ReadonlySet<string> | null {
    if (on === EVERYTHING) return null;
    const names = typeof on === 'string' ? [on] : on;
    names.forEach((name, i) => {
      const where = typeof on === 'string' ? path : [...path, i];
      if (name === EVERYTHING)
        report(where, 'everything stands by itself, not in a list', { suggestion: 'on: everything' });
      else if (!this.#resources.has(name))
        report(where, `there is no resource ${JSON.stringify(name)}`, suggest(name, this.#resources.keys()));
    });
    return new Set(names);
  }

  #names(patterns: readonly string[] | undefined, path: Path, report: Report): NameSet | null {
    if (patterns === undefined) return null;
    const good: NamePattern[] = [];
    patterns.forEach((text, i) => {
      const parsed = namePattern(text);
      if ('message' in parsed)
        report([...path, i], parsed.message, parsed.suggestion === undefined ? {} : { suggestion: parsed.suggestion });
      else good.push(parsed);
    });
    return new NameSet(good);
  }

  #when(source: string | undefined, path: Path, report: Report): Condition | null {
    if (source === undefined) return null;
    try {
      return this.#conditions.compile(source);
    } catch (cause) {
      if (!(cause instanceof ConditionError)) throw cause;
      const near = cause.unknown === undefined ? {} : suggest(cause.unknown.word, cause.unknown.known);
      report(path, `${cause.message} (character ${cause.offset + 1} of the condition)`, near);
      return null;
    }
  }
}

const placeOf = (source: Source, path: Path): string => `${source.file}:${source.locate(path).line}`;

function whoOf(people: People | undefined): Who | null {
  return people === undefined ? null : { groups: new Set(people.groups), users: new Set(people.users) };
}

function termsOf(entry: RuleEntry): NonNullable<Rule['terms']> {
  const remember = entry.remember ?? 'once';
  return Object.freeze({
    reviewers: Object.freeze(
      entry.reviewers === undefined || entry.reviewers === 'anyone' ? [] : [...entry.reviewers.groups],
    ),
    quorum: entry.quorum ?? 1,
    within: milliseconds(entry.within ?? '10m'),
    hold: milliseconds(entry.hold ?? '60s'),
    remember,
    match: entry.match ?? (remember === 'session' ? 'fingerprint' : 'exact'),
  });
}
