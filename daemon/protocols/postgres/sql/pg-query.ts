/**
 * PostgreSQL's own parser (libpg-query 18, WebAssembly), called below its JavaScript wrapper: the wrapper turns the tree
 * into objects, which the Worker would have to clone again. Here the tree stays the JSON text that the C code wrote, so
 * that handing it over costs a copy of a string. Measured on a join of two tables: cloning the objects 103 microseconds,
 * the string 2, JSON.parse at the far end 24. Also bounds the tree before any of it becomes a JavaScript value.
 */
// @ts-expect-error: the emscripten module has no types of its own.
import load from 'libpg-query/wasm/libpg-query.js';

/** Deepest nesting of objects and arrays in a tree. A chain `1+1+…` nests twice per term; callers walk trees by recursion. */
export const MAX_TREE_DEPTH = 2_000;
/** Longest tree, bytes of JSON. A list of small constants grows 13 times when it becomes a tree. */
export const MAX_TREE_BYTES = 8 << 20;

/** Emscripten's module, as far as it is used. Pointers are byte offsets into HEAPU8; PgQueryParseResult and PgQueryError are read by offset. */
interface Wasm {
  readonly HEAPU8: Uint8Array;
  readonly HEAPU32: Uint32Array;
  _malloc(size: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
  _wasm_fingerprint(text: number): number;
  _wasm_parse_plpgsql(text: number): number;
  _wasm_free_string(text: number): void;
}

/** What PostgreSQL says of a text that it can't parse. `position` counts characters from 1, 0 where unknown. */
export interface SyntaxFault {
  readonly message: string;
  readonly position: number;
}

/** The tree is deeper or longer than the bounds above. */
export class TreeTooLarge extends Error {}

export class PgQuery {
  readonly #wasm: Wasm;

  constructor(wasm: Wasm) {
    this.#wasm = wasm;
  }

  static async load(): Promise<PgQuery> {
    return new PgQuery(await load());
  }

  /** Size of the WebAssembly memory, bytes. It never shrinks. */
  get heapBytes(): number {
    return this.#wasm.HEAPU8.length;
  }

  /**
   * JSON of the parse result (`{version, stmts: [{stmt, stmt_location, stmt_len}]}`), or PostgreSQL's complaint.
   * PgQueryParseResult: char *parse_tree, char *stderr_buffer, PgQueryError *error. PgQueryError: char *message, *funcname,
   * *filename, int lineno, int cursorpos (characters from 1), char *context.
   * @throws TreeTooLarge; RangeError or a RuntimeError of WebAssembly when the stack ran out: the instance is then lost.
   */
  parse(text: string): string | SyntaxFault {
    return this.#with(text, (pointer) => {
      const result = this.#wasm._wasm_parse_query_raw(pointer);
      if (result === 0) throw new TreeTooLarge('the parser has no memory left');
      try {
        const error = this.#word(result + 8);
        if (error !== 0) {
          return { message: this.#string(this.#word(error)), position: Math.max(0, this.#word(error + 16) | 0) };
        }
        const tree = this.#word(result);
        if (tree === 0) throw new TreeTooLarge('the parser gave no tree');
        const end = this.#end(tree, MAX_TREE_BYTES);
        if (end < 0) throw new TreeTooLarge('the parse tree is too long');
        const bytes = this.#wasm.HEAPU8.subarray(tree, end);
        if (bytes.length > MAX_TREE_DEPTH && depthOf(bytes) > MAX_TREE_DEPTH) {
          throw new TreeTooLarge('the statement is nested too deeply');
        }
        return utf8(bytes);
      } finally {
        this.#wasm._wasm_free_parse_result(result);
      }
    });
  }

  /** 16 hex digits, the same for statements that differ only in constants. @throws Error when the text does not parse */
  fingerprint(text: string): string {
    const answer = this.#call(text, (pointer) => this.#wasm._wasm_fingerprint(pointer));
    if (!/^[0-9a-f]{16}$/.test(answer)) throw new Error(`no fingerprint: ${answer.slice(0, 200)}`);
    return answer;
  }

  /** JSON of PL/pgSQL's own tree for a CREATE FUNCTION or DO text, or its complaint. Throws as parse does. */
  plpgsql(text: string): string | SyntaxFault {
    const answer = this.#call(text, (pointer) => this.#wasm._wasm_parse_plpgsql(pointer));
    return answer.startsWith('{') ? answer : { message: answer.slice(0, 500), position: 0 };
  }

  #call(text: string, run: (pointer: number) => number): string {
    return this.#with(text, (pointer) => {
      const result = run(pointer);
      if (result === 0) throw new TreeTooLarge('the parser has no memory left');
      try {
        return this.#string(result);
      } finally {
        this.#wasm._wasm_free_string(result);
      }
    });
  }

  #with<T>(text: string, run: (pointer: number) => T): T {
    const length = Buffer.byteLength(text);
    const pointer = this.#wasm._malloc(length + 1);
    if (pointer === 0) throw new TreeTooLarge('the parser has no memory left');
    try {
      const heap = this.#wasm.HEAPU8;
      Buffer.from(heap.buffer, pointer, length).write(text);
      heap[pointer + length] = 0;
      return run(pointer);
    } finally {
      this.#wasm._free(pointer);
    }
  }

  #word(pointer: number): number {
    return this.#wasm.HEAPU32[pointer >> 2] ?? 0;
  }

  /** Offset of the NUL that ends the C string, or -1 when it is longer than `limit`. */
  #end(pointer: number, limit: number): number {
    const end = this.#wasm.HEAPU8.indexOf(0, pointer);
    return end < 0 || end - pointer > limit ? -1 : end;
  }

  #string(pointer: number): string {
    if (pointer === 0) return '';
    const end = this.#end(pointer, MAX_TREE_BYTES);
    if (end < 0) throw new TreeTooLarge('the answer of the parser is too long');
    return utf8(this.#wasm.HEAPU8.subarray(pointer, end));
  }
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Deepest nesting of well-formed JSON. Brackets within strings don't count. */
function depthOf(json: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]!;
    if (byte === QUOTE) {
      for (i++; i < json.length && json[i] !== QUOTE; i++) if (json[i] === BACKSLASH) i++;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > deepest) deepest = depth;
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
    }
  }
  return deepest;
}
