/** From validated entries to what decides: names resolved, patterns and conditions compiled, breadth and sense checked. */
import { placeOf, starGroups, Taken, whoOf } from './compile-entry.ts';
import { Resources } from './compile-resources.ts';
import { Rules } from './compile-rules.ts';
import type { Diagnostic, Path } from './diagnostic.ts';
import type { Parts } from './policy.ts';
import type { Who } from './rule.ts';
import type { IdentityEntry, Kit, PolicyFile, UnixEntry } from './schema.ts';
import { type SocketGrant, socketFault, socketWarnings } from './sockets.ts';
import { type Report, reporter, type Source } from './source.ts';
import { plain } from './text.ts';

export interface Checked {
  readonly source: Source;
  readonly policy: PolicyFile;
}

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
  readonly #into: Diagnostic[];
  readonly #taken = new Taken();
  readonly #resources: Resources;
  readonly #rules: Rules;
  readonly #sockets: SocketGrant[] = [];
  readonly #users: (Who | null)[] = [];
  readonly #identities: IdentityEntry[] = [];

  constructor(kit: Kit, into: Diagnostic[]) {
    this.#into = into;
    this.#resources = new Resources(kit, this.#taken);
    this.#rules = new Rules(kit, this.#taken, this.#resources.all);
  }

  get parts(): Omit<Parts, 'version' | 'files' | 'warnings'> {
    const { all, observed, unread, addresses, grants, askers } = this.#resources;
    const { rules, masks, detect } = this.#rules;
    return {
      ...{ resources: all, observed, unread, addresses, names: grants },
      ...{ sockets: this.#sockets, askers: [...askers, ...this.#users], identities: this.#identities },
      ...{ rules, masks, detect },
    };
  }

  resources({ source, policy }: Checked): void {
    this.#resources.declare(policy, source, reporter(source, this.#into));
  }

  file({ source, policy }: Checked): void {
    const report = reporter(source, this.#into);
    const observe = policy.mode === 'observe';
    for (const [i, entry] of policy.identities.entries()) this.#identity(entry, ['identities', i], report);
    for (const [i, entry] of policy.dns.entries()) this.#resources.dns(entry, ['dns', i], source, report);
    for (const [i, entry] of policy.unix.entries()) this.#unix(entry, ['unix', i], source, report);
    for (const [i, entry] of policy.rules.entries()) this.#rules.rule(entry, ['rules', i], source, report, observe);
    for (const [i, entry] of policy.masks.entries()) this.#rules.mask(entry, ['masks', i], source, report);
    for (const [i, entry] of policy.detect.entries()) this.#rules.detectors(entry, ['detect', i], source, report);
  }

  #unix(entry: UnixEntry, path: Path, source: Source, report: Report): void {
    if (entry.name !== undefined) this.#taken.take('unix entry', entry.name, source, [...path, 'name'], report);
    entry.sockets.forEach((socket, i) => {
      const fault = socketFault(socket);
      if (fault !== null) report([...path, 'sockets', i], fault.message, fault);
      else for (const warning of socketWarnings(socket)) report([...path, 'sockets', i], warning, { warning: true });
    });
    starGroups(entry, path, report);
    const who = entry.who === 'everyone' ? null : whoOf(entry.who);
    this.#users.push(who);
    const rule = plain(entry.name ?? `unix ${entry.sockets[0]}`);
    const place = placeOf(source, path);
    this.#sockets.push(Object.freeze({ rule, sockets: Object.freeze([...entry.sockets]), who, place }));
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
}
