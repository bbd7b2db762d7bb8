/**
 * The first packets of a connection, which have no letter:  length(int32, counts itself) code(int32) rest
 * Source: PostgreSQL documentation, StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.
 */
import { SluiceError } from '../../core/errors.ts';
import { cstring, MAX_STARTUP, STARTUP } from './wire.ts';

export type Startup =
  | { readonly kind: 'ssl' | 'gssenc' }
  | { readonly kind: 'cancel'; readonly pid: number; readonly secret: Buffer }
  | { readonly kind: 'start'; readonly version: number; readonly parameters: ReadonlyMap<string, string> };

/** First byte of a TLS record that holds a handshake: the client begins TLS without asking (PostgreSQL 17). */
export const TLS_HANDSHAKE = 0x16;

/**
 * Reads one packet from the front of `bytes`. Null: more bytes are needed.
 * @throws SluiceError PROTOCOL_VIOLATION, PROTOCOL_UNSUPPORTED.
 */
export function readStartup(bytes: Buffer): { packet: Startup; size: number } | null {
  if (bytes.length < 8) return null;
  const size = bytes.readUInt32BE(0);
  if (size < 8 || size > MAX_STARTUP) throw violation(`the first packet has the length ${size}`);
  if (bytes.length < size) return null;
  const code = bytes.readUInt32BE(4);
  if (code === STARTUP.ssl || code === STARTUP.gssenc) {
    if (size !== 8) throw violation('an SSLRequest or GSSENCRequest with something behind it');
    return { packet: { kind: code === STARTUP.ssl ? 'ssl' : 'gssenc' }, size };
  }
  if (code === STARTUP.cancel) {
    // CancelRequest: pid(int32) secret(4 to 256 bytes)
    if (size < 16 || size > 12 + 256) throw violation('a CancelRequest with an impossible key');
    return {
      packet: { kind: 'cancel', pid: bytes.readUInt32BE(8), secret: Buffer.from(bytes.subarray(12, size)) },
      size,
    };
  }
  if (code >>> 16 !== 3) {
    throw new SluiceError(
      'PROTOCOL_UNSUPPORTED',
      `the client speaks protocol ${code >>> 16}.${code & 0xffff}; sluice speaks 3.0 and 3.2`,
    );
  }
  // StartupMessage: { name\0 value\0 }… \0
  const parameters = new Map<string, string>();
  let at = 8;
  while (at < size - 1) {
    const name = cstring(bytes, at, size);
    const value = name === null || name.text === '' ? null : cstring(bytes, name.next, size);
    if (name === null || value === null) throw violation('a StartupMessage whose parameters have no end');
    parameters.set(name.text, value.text);
    at = value.next;
  }
  if (at !== size - 1 || bytes[at] !== 0) throw violation('a StartupMessage without its end');
  return { packet: { kind: 'start', version: code, parameters }, size };
}

/** Settings that a client may bring along; all others it can SET later, where they are decided. Lower case. */
const HARMLESS = new Set([
  'application_name',
  'bytea_output',
  'client_encoding',
  'client_min_messages',
  'cpu_tuple_cost',
  'cursor_tuple_fraction',
  'datestyle',
  'default_transaction_deferrable',
  'default_transaction_isolation',
  'effective_cache_size',
  'enable_bitmapscan',
  'enable_hashagg',
  'enable_hashjoin',
  'enable_indexonlyscan',
  'enable_indexscan',
  'enable_material',
  'enable_memoize',
  'enable_mergejoin',
  'enable_nestloop',
  'enable_parallel_hash',
  'enable_partitionwise_aggregate',
  'enable_partitionwise_join',
  'enable_seqscan',
  'enable_sort',
  'enable_tidscan',
  'extra_float_digits',
  'from_collapse_limit',
  'geqo',
  'hash_mem_multiplier',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'intervalstyle',
  'jit',
  'join_collapse_limit',
  'lock_timeout',
  'maintenance_work_mem',
  'max_parallel_workers_per_gather',
  'plan_cache_mode',
  'random_page_cost',
  'search_path',
  'seq_page_cost',
  'statement_timeout',
  'tcp_keepalives_count',
  'tcp_keepalives_idle',
  'tcp_keepalives_interval',
  'tcp_user_timeout',
  'temp_buffers',
  'timezone',
  'transaction_timeout',
  'work_mem',
]);

/** Encodings in which a byte below 0x80 is always the ASCII character: text is read as the server reads it. */
const UNSAFE_ENCODINGS =
  /^(sjis|shiftjis|shiftjis2004|shift_jis_2004|mskanji|win932|windows932|big5|win950|windows950|gbk|win936|windows936|gb18030|uhc|win949|windows949|johab)$/;

export interface Opening {
  readonly user: string;
  readonly database: string;
  /** As asked for, without user, database and replication. */
  readonly settings: Readonly<Record<string, string>>;
  readonly searchPath: readonly string[] | null;
  readonly replication: boolean;
  /** Protocol extensions (`_pq_.name`) that were asked for; none is known. */
  readonly extensions: readonly string[];
}

/**
 * What a StartupMessage asks for, with `options` taken apart.
 * @throws SluiceError PROTOCOL_VIOLATION, PROTOCOL_UNSUPPORTED with the setting named.
 */
export function readOpening(parameters: ReadonlyMap<string, string>): Opening {
  const user = parameters.get('user') ?? '';
  if (user === '') throw violation('a StartupMessage without a user');
  const settings: Record<string, string> = {};
  const extensions: string[] = [];
  let searchPath: readonly string[] | null = null;
  const set = (name: string, value: string) => {
    const key = name.toLowerCase().replaceAll('-', '_');
    const readOnly = key === 'default_transaction_read_only' && /^(on|true|yes|1)$/i.test(value);
    if (!readOnly && !HARMLESS.has(key)) {
      throw new SluiceError('PROTOCOL_UNSUPPORTED', `the setting ${name} can't be brought along at login`, {
        hint: 'use SET after the login, where policy decides it',
      });
    }
    if (
      key === 'client_encoding' &&
      UNSAFE_ENCODINGS.test(value.toLowerCase().replace(/['"]/g, '').replaceAll('-', ''))
    ) {
      throw new SluiceError(
        'PROTOCOL_UNSUPPORTED',
        `under client_encoding ${value} statements can be read in two ways`,
        { hint: 'use UTF8' },
      );
    }
    if (key === 'client_min_messages' && /^(debug|log)/i.test(value)) {
      throw new SluiceError(
        'PROTOCOL_UNSUPPORTED',
        `client_min_messages ${value} would send the server's log to the client`,
      );
    }
    if (key === 'search_path') searchPath = splitPath(value, user);
    settings[key] = value;
  };
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database' || name === 'replication') continue;
    if (name.startsWith('_pq_.')) extensions.push(name);
    else if (name === 'options') for (const [key, setting] of readOptions(value)) set(key, setting);
    else set(name, value);
  }
  const replication = parameters.get('replication');
  return {
    user,
    database: parameters.get('database') || user,
    settings,
    searchPath,
    replication: replication !== undefined && !/^(off|false|no|0)$/i.test(replication),
    extensions,
  };
}

/** The server's command line (`-c name=value`, `--name=value`), words parted by blanks, `\` taking the next character as it is. */
function* readOptions(text: string): IterableIterator<[string, string]> {
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (/[ \t\n\r\v\f]/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (c === '\\') word = (word ?? '') + (text[++i] ?? '');
    else word = (word ?? '') + c;
  }
  if (word !== null) words.push(word);
  for (let i = 0; i < words.length; i++) {
    let setting = words[i]!;
    if (setting === '-c') setting = words[++i] ?? '';
    else if (setting.startsWith('-c')) setting = setting.slice(2);
    else if (setting.startsWith('--')) setting = setting.slice(2);
    else setting = '';
    const equals = setting.indexOf('=');
    if (equals < 1)
      throw new SluiceError('PROTOCOL_UNSUPPORTED', 'options may only hold settings, as in -c name=value');
    yield [setting.slice(0, equals), setting.slice(equals + 1)];
  }
}

/**
 * A search_path as a setting's text: names parted by commas, folded unless quoted. White space and folding are ASCII's, as
 * they are for the server: what only Unicode calls a blank is part of the name.
 */
export function splitPath(text: string, user: string): string[] {
  const names = text.match(/"(?:[^"]|"")*"|[^,]+/g) ?? [];
  return names
    .map((part) => part.replace(/^[ \t\n\r\v\f]+|[ \t\n\r\v\f]+$/g, ''))
    .filter((part) => part !== '')
    .map((part) =>
      part.startsWith('"') && part.endsWith('"')
        ? part.slice(1, -1).replaceAll('""', '"')
        : part.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
    )
    .map((name) => (name === '$user' ? user : name));
}

function violation(what: string): SluiceError {
  return new SluiceError('PROTOCOL_VIOLATION', `${what} came`);
}
