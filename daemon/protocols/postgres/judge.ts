/**
 * What an act does, under the names and the catalog of now. Named statements and portals were judged when they were made: they
 * are judged anew as soon as the server might read them in another way.
 */
import { SluiceError } from '../../core/errors.ts';
import type { PgAct } from './act.ts';
import { PgClassified, type Statements } from './classify.ts';
import { isPlanned, type Prepared, type SessionNames } from './session.ts';
import type { Analysis, Catalog, Names } from './sql/model.ts';

export class Judge {
  readonly #session: SessionNames;
  readonly #statements: Statements;
  #names: { readonly names: Names; readonly generation: number } | null = null;
  readonly #classified = new WeakMap<object, PgClassified>();

  constructor(session: SessionNames, statements: Statements) {
    this.#session = session;
    this.#statements = statements;
  }

  /** `again`: it waited meanwhile, and others may have changed the catalog. */
  classify(act: PgAct, again: boolean): PgClassified | Promise<PgClassified> {
    if (again) this.#statements.changed();
    const catalog = this.#statements.catalog();
    if (catalog instanceof Promise) return catalog.then((loaded) => this.#classifyWith(act, loaded));
    return this.#classifyWith(act, catalog);
  }

  #classifyWith(act: PgAct, catalog: Catalog): PgClassified | Promise<PgClassified> {
    const session = this.#session;
    const { prepared } = act.step === 'execute' && act.portal !== null ? act.portal : act;
    // A portal stays what it was planned as at its Bind, wherever names lead by now.
    const planned = act.step === 'execute' && prepared !== null;
    const fresh = planned || (prepared?.catalog === catalog.version && prepared.path === session.pathGeneration);
    if (prepared !== null && prepared.analyses !== null && fresh && !prepared.indirect)
      return this.#keep(act, prepared.analyses, () => this.#namesOf(catalog));
    if (act.step === 'bind' && prepared === null) return this.#keep(act, [], () => this.#namesOf(catalog));
    if (session.stale(catalog.version).length > 0) return this.#renew(catalog).then(() => this.#analyze(act, catalog));
    return this.#analyze(act, catalog);
  }

  #analyze(act: PgAct, catalog: Catalog): PgClassified | Promise<PgClassified> {
    const names = this.#namesOf(catalog);
    act.generation = this.#session.pathGeneration;
    const analyses =
      act.step === 'call'
        ? this.#call(act, names)
        : act.step === 'bind'
          ? this.#again(act.prepared!, names)
          : this.#statements.analyze(act.text, names, act.types);
    if (analyses instanceof Promise) return analyses.then((made) => this.#analyzed(act, made, names));
    return this.#analyzed(act, analyses, names);
  }

  /** What it names may have been made by others since the catalog was looked at. */
  #analyzed(act: PgAct, analyses: readonly Analysis[], names: Names): PgClassified | Promise<PgClassified> {
    const { catalog } = names;
    if (act.rechecked || analyses.every(({ unresolved }) => !unresolved)) return this.#keep(act, analyses, () => names);
    act.rechecked = true;
    return this.#statements
      .recheck()
      .then((now) => (now === catalog ? this.#keep(act, analyses, () => names) : this.#classifyWith(act, now)));
  }

  /** FunctionCall: oid(int32) … */
  #call(act: PgAct, names: Names): readonly Analysis[] | Promise<readonly Analysis[]> {
    const { bytes } = act.frame;
    if (bytes.length < 9) throw new SluiceError('PROTOCOL_VIOLATION', 'a FunctionCall without a function came');
    const made = this.#statements.analyzeCall(bytes.readUInt32BE(5), names);
    return made instanceof Promise ? made.then((analysis) => [analysis]) : [made];
  }

  #keep(act: PgAct, analyses: readonly Analysis[], names: () => Names): PgClassified {
    const template = analyses.length === 1 ? analyses[0]!.template : undefined;
    const key = template ?? analyses;
    let made = this.#classified.get(key);
    if (made === undefined) {
      made = new PgClassified(analyses, names(), this.#statements);
      this.#classified.set(key, made);
    }
    if (made.analyses !== analyses) made = new PgClassified(analyses, made.names, this.#statements, made);
    if (act.step === 'bind') act.record = analyses.some(({ plans, operation }) => plans && isPlanned(operation.verb));
    return made;
  }

  /** Analyses named statements anew until all of them hold for the names of now: the server may move these meanwhile. */
  async #renew(catalog: Catalog): Promise<void> {
    const session = this.#session;
    for (let stale = session.stale(catalog.version); stale.length > 0; stale = session.stale(catalog.version)) {
      for (const [name, before] of stale) {
        const path = session.pathGeneration;
        const analyses = await this.#again(before, session.names(catalog)).catch(() => null);
        session.renew(name, before, { ...before, analyses, catalog: catalog.version, path });
      }
    }
  }

  async #again({ text, types, whole }: Prepared, names: Names): Promise<readonly Analysis[]> {
    const statements = this.#statements;
    if (whole === null) return statements.analyze(text, names, types);
    const [prepare] = await statements.analyze(whole, names);
    const change = prepare?.changes.find(({ kind }) => kind === 'prepare');
    if (change?.kind !== 'prepare') throw new SluiceError('INTERNAL', 'a PREPARE is none when it is read again');
    return change.analyses;
  }

  #namesOf(catalog: Catalog): Names {
    if (!this.#session.plain) return this.#session.names(catalog);
    const generation = this.#session.pathGeneration;
    if (this.#names === null || this.#names.names.catalog !== catalog || this.#names.generation !== generation) {
      this.#names = { names: this.#session.names(catalog), generation };
    }
    return this.#names.names;
  }
}
