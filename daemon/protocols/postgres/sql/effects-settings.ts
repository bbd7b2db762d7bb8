/**
 * What setting a parameter of the session means. Three kinds: presentation (no effect), meaning (a session effect, or
 * more), and those that change how later statements are read (never let through: every later text would be parsed
 * otherwise by the server than by sluice).
 */
import type { Effect } from '../../../core/operation.ts';

export interface SettingEffect {
  readonly effects: readonly Effect[];
  readonly forbidden?: string;
  readonly opaque?: string;
}

const NEUTRAL: SettingEffect = { effects: [] };
const SESSION: SettingEffect = { effects: ['session'] };
const PRIVILEGE: SettingEffect = { effects: ['privilege', 'session'] };
const WRITE: SettingEffect = { effects: ['write', 'session'] };

const PRESENTATION = new Set(
  `search_path application_name datestyle intervalstyle timezone extra_float_digits statement_timeout lock_timeout
   idle_in_transaction_session_timeout idle_session_timeout transaction_timeout bytea_output lc_messages lc_monetary
   lc_numeric lc_time geqo_seed xmlbinary timezone_abbreviations default_text_search_config deadlock_timeout
   transaction_isolation default_transaction_isolation transaction_deferrable default_transaction_deferrable
   client_connection_check_interval tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout
   quote_all_identifiers seed`.split(/\s+/),
);

const PRIVILEGED = new Set(
  `role session_authorization is_superuser session_replication_role row_security local_preload_libraries
   session_preload_libraries dynamic_library_path allow_system_table_mods ignore_checksum_failure zero_damaged_pages
   ignore_invalid_pages allow_in_place_tablespaces createrole_self_grant restrict_nonsystem_relation_kind
   check_function_bodies backtrace_functions lo_compat_privileges default_tablespace temp_tablespaces
   default_table_access_method password_encryption`.split(/\s+/),
);

/** Every byte below 128 is ASCII in each of these, whatever stands before it. */
const SAFE_ENCODINGS = new Set(
  `utf8 unicode sqlascii latin1 latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 latin10 iso88591 iso88592 iso88593
   iso88594 iso88595 iso88596 iso88597 iso88598 iso88599 iso885910 iso885913 iso885914 iso885915 iso885916 windows1250
   windows1251 windows1252 windows1253 windows1254 windows1255 windows1256 windows1257 windows1258 windows866 windows874
   win1250 win1251 win1252 win1253 win1254 win1255 win1256 win1257 win1258 win866 win874 win alt abc tcvn tcvn5712 vscii
   koi8 koi8r koi8u eucjp euckr euccn euctw eucjis2004`.split(/\s+/),
);

/** True when a text in this client encoding can be cut into tokens without knowing the encoding. */
export function isSafeEncoding(name: string): boolean {
  return SAFE_ENCODINGS.has(name.toLowerCase().replace(/[^a-z0-9]/g, ''));
}

const UNSAFE_ENCODINGS = new Set(
  `sjis shiftjis mskanji win932 windows932 shiftjis2004 big5 win950 windows950 gbk win936 windows936 gb18030 uhc win949
   windows949 johab`.split(/\s+/),
);

/** Whether a value could change how later texts are read, whatever the parameter that gets it. undefined: not known. */
export function isDangerousValue(value: string | undefined): boolean {
  if (value === undefined || UNSAFE_ENCODINGS.has(value.toLowerCase().replace(/[^a-z0-9]/g, ''))) return true;
  return FALSE.test(value.trim()) || TRUE.test(value.trim());
}

const TRUE = /^(on|true|yes|1|t|tr|tru|y|ye)$/i;
const FALSE = /^(off|false|no|0|f|fa|fal|fals|n|of)$/i;
const QUIET = new Set(['notice', 'warning', 'error', 'fatal', 'panic']);

/**
 * `value`: as text; null: the default, or what it was at the start of the session; undefined: not known.
 * Names are compared as the server does, without case.
 */
export function settingEffect(name: string, value: string | null | undefined): SettingEffect {
  const key = name.toLowerCase();
  switch (key) {
    case 'standard_conforming_strings':
      if (value === null || (value !== undefined && TRUE.test(value))) return NEUTRAL;
      return {
        effects: ['code', 'session'],
        forbidden: 'standard_conforming_strings off changes how later statements are read',
      };
    case 'backslash_quote':
      if (value === null || value?.toLowerCase() === 'safe_encoding') return NEUTRAL;
      return { effects: ['code', 'session'], forbidden: 'backslash_quote changes how later statements are read' };
    case 'client_encoding':
      if (value === null || (value !== undefined && isSafeEncoding(value))) return NEUTRAL;
      return {
        effects: ['code', 'session'],
        forbidden: `client_encoding ${value ?? ''} changes how later statements are read`,
      };
    case 'transaction_read_only':
    case 'default_transaction_read_only':
      return value !== null && value !== undefined && !FALSE.test(value) ? NEUTRAL : WRITE;
    case 'client_min_messages':
      if (value === null || (value !== undefined && QUIET.has(value.toLowerCase()))) return NEUTRAL;
      return { effects: ['session'], opaque: 'messages for debugging may quote any value' };
  }
  if (PRESENTATION.has(key)) return NEUTRAL;
  if (PRIVILEGED.has(key) || key.startsWith('log_') || key.startsWith('debug_')) return PRIVILEGE;
  return SESSION;
}

/** A list of identifiers as search_path has it, `"$user"` resolved; null when it can't be read. */
export function pathOf(list: string, user: string): string[] | null {
  const path: string[] = [];
  // Blanks and letters of ASCII alone, as SplitIdentifierString in varlena.c takes them.
  const part = /[ \t\n\r\f\v]*(?:"((?:[^"]|"")*)"|([^ \t\n\r\f\v,"]+))[ \t\n\r\f\v]*(,|$)/y;
  if (/^[ \t\n\r\f\v]*$/.test(list)) return path;
  for (;;) {
    const found = part.exec(list);
    if (found === null) return null;
    path.push(
      found[1] !== undefined
        ? found[1].replaceAll('""', '"')
        : found[2]!.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
    );
    if (found[3] === '') break;
  }
  return path.map((name) => (name === '$user' ? user : name)).filter((name) => name !== '');
}
