/**
 * What names stand for, the unnamed one among them. That one comes and goes with every statement: a Map would get a new table
 * each time it is cleared, and the old ones, linked to the new, would fill the heap until the next full collection.
 */
export class Bindings<T> {
  #unnamed: T | undefined;
  readonly #named = new Map<string, T>();

  /** With the unnamed one. */
  get size(): number {
    return this.#named.size + (this.#unnamed === undefined ? 0 : 1);
  }

  get named(): ReadonlyMap<string, T> {
    return this.#named;
  }

  get(name: string): T | undefined {
    return name === '' ? this.#unnamed : this.#named.get(name);
  }

  set(name: string, value: T): void {
    if (name === '') this.#unnamed = value;
    else this.#named.set(name, value);
  }

  delete(name: string): void {
    if (name === '') this.#unnamed = undefined;
    else this.#named.delete(name);
  }

  clear(): void {
    this.#unnamed = undefined;
    if (this.#named.size > 0) this.#named.clear();
  }
}
