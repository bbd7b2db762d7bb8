/** How events are written out: journalctl's names for journalctl's kinds. Each function gives whole lines with their newline. */
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { fieldsOf } from './fields.ts';

export const OUTPUTS = ['short', 'cat', 'json', 'json-pretty', 'export'] as const;
export type Output = (typeof OUTPUTS)[number];

export interface FormatOptions {
  /** Columns of the terminal; lines of `short` are cut to it. Absent: not cut. */
  readonly width?: number;
  /** Colour by decision. */
  readonly colour?: boolean;
}

/** @throws SluiceError AUDIT_QUERY */
export function formatter(output: string, options: FormatOptions = {}): (event: Event) => string | Buffer {
  switch (output) {
    case 'short':
      return (event) => short(event, options);
    case 'cat':
      return (event) => `${printable(event.text ?? event.message ?? event.reason ?? '')}\n`;
    case 'json':
      return (event) => `${JSON.stringify(event)}\n`;
    case 'json-pretty':
      return (event) => `${JSON.stringify(event, null, 2)}\n`;
    case 'export':
      return exported;
    default:
      throw new SluiceError('AUDIT_QUERY', `there is no output ${output}`, {
        hint: `the outputs are ${OUTPUTS.join(', ')}`,
      });
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const RESET = '\x1b[0m';
const COLOURS = { deny: '\x1b[31m', approve: '\x1b[33m', allow: '\x1b[32m', fault: '\x1b[31;1m' } as const;

/** `Nov 22 18:44:56` in local time. */
export function stamp(time: number): string {
  const date = new Date(time);
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${MONTHS[date.getMonth()]} ${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** One line: time, session, subject, resource, what was done, how it was decided, by which rule, the statement. */
function short(event: Event, { width, colour }: FormatOptions): string {
  const who = `${stamp(event.time)} ${whose(event)}`;
  const mark = event.type === 'fault' ? 'fault' : (event.decision ?? event.type);
  const line = `${who} ${printable(what(event))}`;
  const shown = width === undefined ? line : clip(line, width);
  if (colour !== true) return `${shown}\n`;
  const code = event.type === 'fault' ? COLOURS.fault : event.decision === undefined ? null : COLOURS[event.decision];
  if (code === null) return `${shown}\n`;
  const at = shown.indexOf(` ${mark}`, who.length) + 1;
  return at > 0 ? `${shown.slice(0, at)}${code}${mark}${RESET}${shown.slice(at + mark.length)}\n` : `${shown}\n`;
}

function whose(event: Event): string {
  return [event.session?.slice(0, 8) ?? '-', event.subject ?? '-', event.resource ?? '-'].map(printable).join(' ');
}

/** As `short`, without the time. */
export function message(event: Event): string {
  return `${whose(event)} ${printable(what(event))}`;
}

function what(event: Event): string {
  const text = event.text ?? '';
  const often = event.count === undefined ? '' : `(${event.count} times)`;
  switch (event.type) {
    case 'operation': {
      const why = event.rule === undefined ? (event.decision === 'allow' ? '' : (event.reason ?? '')) : event.rule;
      const observed = event.observed === undefined ? '' : ` (would ${event.observed})`;
      return words(
        event.verb,
        `${event.decision ?? 'undecided'}${observed}`,
        why && `[${why}]`,
        event.approval && `approval ${event.approval}`,
        text,
        often,
      );
    }
    case 'result':
      return words(
        'result',
        event.error === undefined ? '' : `error ${event.error}`,
        event.rows === undefined ? '' : `${event.rows} ${event.rows === 1 ? 'row' : 'rows'}`,
        event.micros === undefined ? '' : duration(event.micros),
        event.masks === undefined || event.masks.length === 0 ? '' : `masked by ${event.masks.join(', ')}`,
        event.message,
      );
    case 'flow.start':
    case 'flow.end': {
      const to =
        event.address === undefined
          ? ''
          : `to ${event.address.includes(':') ? `[${event.address}]` : event.address}:${event.port ?? '?'}`;
      return words(
        event.type,
        event.exe === undefined ? '' : `${event.exe}[${event.pid ?? '?'}]`,
        to,
        event.decision,
        event.error,
        event.reason ?? event.message,
      );
    }
    default:
      return words(
        event.type,
        event.approval,
        event.decision,
        event.reviewer && `by ${event.reviewer}`,
        event.rule && `[${event.rule}]`,
        event.error,
        event.message ?? event.reason,
        text,
        often,
      );
  }
}

function words(...parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined && part !== '').join(' ');
}

/** Microseconds as a person reads them. */
export function duration(micros: number): string {
  if (micros < 1_000) return `${micros}us`;
  if (micros < 1_000_000) return `${(micros / 1_000).toFixed(1)}ms`;
  const seconds = Math.round(micros / 1_000_000);
  if (micros < 60_000_000) return `${(micros / 1_000_000).toFixed(1)}s`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}h${String(m).padStart(2, '0')}m` : `${m}m${String(s).padStart(2, '0')}s`;
}

/** One line without control characters: what an agent wrote must not steer the auditor's terminal. */
export function printable(text: string): string {
  return (
    text
      .replace(/[\t\r\n\v\f]+/g, ' ')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
      .replace(/[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '\ufffd')
      .toWellFormed()
  );
}

/** Cut to columns. Wide characters (CJK, emoji) take two; combining marks none. */
export function clip(text: string, width: number): string {
  let used = 0;
  let end = 0;
  for (const character of text) {
    const size = columns(character.codePointAt(0)!);
    if (used + size > width) {
      // The mark takes the last column: step back until there is one.
      while (used > width - 1) {
        const last = [...text.slice(0, end)].at(-1)!;
        end -= last.length;
        used -= columns(last.codePointAt(0)!);
      }
      return `${text.slice(0, end)}…`;
    }
    used += size;
    end += character.length;
  }
  return text;
}

function columns(point: number): number {
  if (point < 0x300) return 1;
  if ((point >= 0x300 && point <= 0x36f) || point === 0x200d || (point >= 0xfe00 && point <= 0xfe0f)) return 0;
  const wide =
    (point >= 0x1100 && point <= 0x115f) ||
    (point >= 0x2e80 && point <= 0xa4cf) ||
    (point >= 0xac00 && point <= 0xd7a3) ||
    (point >= 0xf900 && point <= 0xfaff) ||
    (point >= 0xfe30 && point <= 0xfe6f) ||
    (point >= 0xff00 && point <= 0xff60) ||
    (point >= 0x1f300 && point <= 0x1faff) ||
    (point >= 0x20000 && point <= 0x3fffd);
  return wide ? 2 : 1;
}

/**
 * The journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS): fields `NAME=value`, or for values with a newline the
 * name alone, a 64-bit little-endian length and the value; an empty line ends the entry.
 */
function exported(event: Event): Buffer {
  const { seq, hash, time } = event;
  const said = event.text ?? event.message ?? event.reason ?? event.type;
  const parts = [
    Buffer.from(`__CURSOR=sluice;${seq};${hash}\n__REALTIME_TIMESTAMP=${time * 1000}\nSYSLOG_IDENTIFIER=sluice\n`),
  ];
  exportField(parts, 'MESSAGE', said);
  for (const [name, value] of fieldsOf(event)) exportField(parts, name, value);
  parts.push(Buffer.from('\n'));
  return Buffer.concat(parts);
}

function exportField(parts: Buffer[], name: string, value: string): void {
  const text = Buffer.from(value);
  if (text.every((byte) => byte >= 0x20 || byte === 0x09)) {
    parts.push(Buffer.from(`${name}=`), text, Buffer.from('\n'));
    return;
  }
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  parts.push(Buffer.from(`${name}\n`), length, text, Buffer.from('\n'));
}
