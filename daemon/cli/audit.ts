/** `sluice audit`, `sessions`, `replay`, `verify`: reading what was recorded, from the daemon or from a directory. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { Archive } from '../audit/archive.ts';
import { loadPublicKey } from '../audit/checkpoint.ts';
import { clip, duration, formatter, OUTPUTS, printable, stamp } from '../audit/format.ts';
import { MATCH_FIELDS, parseMatches } from '../audit/match.ts';
import { type AuditSource, type QueryParams, query } from '../audit/query.ts';
import { type SessionSummary, summarise } from '../audit/sessions.ts';
import { parseTime } from '../audit/time.ts';
import { type Verification, verifyChain } from '../audit/verify.ts';
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';

/** What the commands read from; the daemon's side is `auditHandlers`. */
export interface AuditReader extends AuditSource {
  sessions(): Promise<readonly SessionSummary[]>;
  verify(): Promise<Verification>;
}

export interface Terminal {
  readonly out: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Reads a store's files without the daemon. @throws SluiceError AUDIT_QUERY, AUDIT_BROKEN */
export function directoryReader(dir: string, publicKey?: string): AuditReader & { close(): Promise<void> } {
  const archive = new Archive(dir);
  return {
    query: (params) => query(archive, params),
    sessions: () => summarise(archive),
    verify: () => verifyChain(archive, loadPublicKey(publicKey ?? join(dir, 'host.pub'))),
    close: () => archive.close(),
  };
}

const STDOUT: Terminal = { out: process.stdout, now: Date.now };
const DIR = ['--dir <dir>', 'read a store from its directory instead of asking the daemon'] as const;

async function reading<T>(
  source: AuditReader,
  dir: string | undefined,
  use: (reader: AuditReader) => Promise<T>,
  key?: string,
): Promise<T> {
  if (dir === undefined) return use(source);
  const reader = directoryReader(dir, key);
  try {
    return await use(reader);
  } finally {
    await reader.close();
  }
}

interface AuditFlags {
  since?: string;
  until?: string;
  lines?: string | true;
  reverse?: true;
  follow?: true;
  output: string;
  grep?: string;
  session?: string;
  fields?: true;
  pager: boolean;
  dir?: string;
}

export function auditCommand(source: AuditReader, terminal: Terminal = STDOUT): Command {
  return new Command('audit')
    .description('show what was recorded')
    .argument(
      '[matches...]',
      'FIELD=value; the same field again is "or", another field is "and", + is "or" between groups',
    )
    .option('-S, --since <time>', 'from this time on: "2026-11-22 10:00", today, -1h, "20min ago", @1795342800')
    .option('-U, --until <time>', 'up to this time')
    .option('-n, --lines [count]', 'only the newest so many (10 when not said)')
    .option('-r, --reverse', 'newest first')
    .option('-f, --follow', 'show new events as they come')
    .addOption(new Option('-o, --output <kind>', 'how events are written').choices([...OUTPUTS]).default('short'))
    .option(
      '-g, --grep <pattern>',
      'only events whose statement, reason or message contains this; | between alternatives, .* for anything',
    )
    .option('--session <id>', 'only this session; its first characters are enough')
    .option('--fields', 'list the fields that matches can name')
    .option('--no-pager', 'write straight to the terminal')
    .option(...DIR)
    .action(async (matches: string[], flags: AuditFlags) => {
      if (flags.fields === true) {
        terminal.out.write(`${MATCH_FIELDS.join('\n')}\n`);
        return;
      }
      const params = queryOf(matches, flags, terminal.now());
      await reading(source, flags.dir, (reader) => show(reader, params, flags, terminal));
    });
}

/** Flags of the command line as a query. @throws SluiceError AUDIT_QUERY */
export function queryOf(matches: readonly string[], flags: Partial<AuditFlags>, now: number): QueryParams {
  const session = flags.session === undefined ? [] : [`SESSION=${flags.session}`];
  let groups = parseMatches(matches);
  if (session.length > 0) groups = groups.length === 0 ? [session] : groups.map((group) => [...group, ...session]);
  const lines =
    flags.lines === undefined ? (flags.follow === true ? '10' : undefined) : flags.lines === true ? '10' : flags.lines;
  if (lines !== undefined && !/^\d{1,6}$/.test(lines))
    throw new SluiceError('AUDIT_QUERY', `"${lines}" is not a number of lines`);
  return {
    ...(groups.length > 0 && { matches: groups }),
    ...(flags.since !== undefined && { since: parseTime(flags.since, now) }),
    ...(flags.until !== undefined && { until: parseTime(flags.until, now) }),
    ...(lines !== undefined && { lines: Number(lines) }),
    ...(flags.grep !== undefined && { grep: flags.grep }),
    ...(flags.reverse === true && { reverse: true }),
    ...(flags.follow === true && { follow: true }),
  };
}

async function show(source: AuditSource, params: QueryParams, flags: AuditFlags, terminal: Terminal): Promise<void> {
  const tty = terminal.out.isTTY === true;
  const paged = tty && flags.pager && params.follow !== true;
  const pager = paged ? openPager() : null;
  const out = pager?.stdin ?? terminal.out;
  // A pager scrolls sideways, so it gets whole lines.
  const format = formatter(flags.output, { colour: tty, ...(tty && !paged && { width: terminal.out.columns ?? 80 }) });
  let gone = false;
  out.on('error', () => {
    gone = true;
  });
  let any = false;
  for await (const event of source.query(params)) {
    if (gone) break;
    any = true;
    if (!out.write(format(event)) && !gone)
      await Promise.race([once(out, 'drain'), once(out, 'close')]).catch(() => {});
  }
  if (!any && tty && !gone) out.write('-- no entries --\n');
  if (pager !== null) {
    pager.stdin.end();
    await pager.closed;
  }
}

function openPager(): { readonly stdin: Writable; readonly closed: Promise<unknown> } {
  const command = process.env.SLUICE_PAGER ?? process.env.PAGER ?? 'less';
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: ['pipe', 'inherit', 'inherit'],
    env: { ...process.env, LESS: process.env.LESS ?? 'FRSXMK', LESSSECURE: '1' },
  });
  return { stdin: child.stdin, closed: once(child, 'close') };
}

export function sessionsCommand(source: AuditReader, terminal: Terminal = STDOUT): Command {
  return new Command('sessions')
    .description('running and past sessions')
    .option('--running', 'only those that have not ended')
    .option('-n, --lines <count>', 'only the newest so many')
    .addOption(new Option('-o, --output <kind>', 'how they are written').choices(['short', 'json']).default('short'))
    .option(...DIR)
    .action(async (flags: { running?: true; lines?: string; output: string; dir?: string }) => {
      let sessions = [...(await reading(source, flags.dir, (reader) => reader.sessions()))];
      if (flags.running === true) sessions = sessions.filter((session) => session.end === null);
      if (flags.lines !== undefined) sessions = sessions.slice(-Math.max(1, Number.parseInt(flags.lines, 10) || 1));
      if (flags.output === 'json') for (const session of sessions) terminal.out.write(`${JSON.stringify(session)}\n`);
      else terminal.out.write(sessionTable(sessions, terminal));
    });
}

export function sessionTable(sessions: readonly SessionSummary[], terminal: Terminal): string {
  const rows = sessions.map((session) => [
    session.id.slice(0, 8),
    printable(session.subject) || '-',
    session.start === 0 ? 'before records' : stamp(session.start),
    session.end === null ? 'running' : duration((session.end - (session.start || session.end)) * 1_000),
    String(session.flows),
    String(session.operations),
    String(session.denied),
    printable(session.command),
  ]);
  const table = [['SESSION', 'SUBJECT', 'START', 'DURATION', 'FLOWS', 'OPS', 'DENIED', 'COMMAND'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const numeric = new Set([4, 5, 6]);
  const width = terminal.out.isTTY === true ? (terminal.out.columns ?? 80) : Number.POSITIVE_INFINITY;
  return table
    .map((row) =>
      row
        .map((cell, i) => (numeric.has(i) ? cell.padStart(widths[i]!) : i === 7 ? cell : cell.padEnd(widths[i]!)))
        .join('  '),
    )
    .map((line) => `${clip(line.trimEnd(), width)}\n`)
    .join('');
}

/** Longest pause of a replay, however long the agent thought. */
const PAUSE_MS = 3_000;

export function replayCommand(source: AuditReader, terminal: Terminal = STDOUT): Command {
  return new Command('replay')
    .description('what one session did, in order and in its own time')
    .argument('<id>', 'session; its first characters are enough')
    .option('--speed <factor>', 'times as fast', '1')
    .option('--no-wait', 'at once')
    .option(...DIR)
    .action(async (id: string, flags: { speed: string; wait: boolean; dir?: string }) => {
      const speed = Number(flags.speed);
      if (!(speed > 0))
        throw new SluiceError('AUDIT_QUERY', `"${flags.speed}" is not a speed`, { hint: 'for example --speed 4' });
      await reading(source, flags.dir, (reader) =>
        replay(reader, id, flags.wait ? speed : Number.POSITIVE_INFINITY, terminal),
      );
    });
}

async function replay(source: AuditSource, prefix: string, speed: number, terminal: Terminal): Promise<void> {
  if (!/^[0-9a-zA-Z_-]{4,64}$/.test(prefix)) throw new SluiceError('SESSION_UNKNOWN', `"${prefix}" is no session id`);
  let id: string | undefined;
  let start = 0;
  let before = 0;
  for await (const event of source.query({ matches: [[`SESSION=${prefix}`]] })) {
    if (id === undefined) {
      id = event.session;
      start = before = event.time;
      terminal.out.write(`session ${id}, ${printable(event.subject ?? '-')}, ${stamp(start)}\n`);
    } else if (event.session !== id) {
      throw new SluiceError('SESSION_UNKNOWN', `several sessions begin with "${prefix}"`, {
        hint: 'give more characters of the id',
      });
    }
    const pause = Math.min((event.time - before) / speed, PAUSE_MS);
    if (pause >= 1) await wait(pause);
    before = event.time;
    const line = replayLine(event, event.time - start);
    if (line !== '') terminal.out.write(line);
  }
  if (id === undefined) throw new SluiceError('SESSION_UNKNOWN', `there is no session ${prefix} in the audit`);
}

function replayLine(event: Event, offset: number): string {
  const at = `+${(offset / 1_000).toFixed(3)}`.padStart(10);
  const flow = event.flow === undefined ? '' : `${event.flow.slice(0, 4)}#${event.op ?? ''} `;
  switch (event.type) {
    case 'operation': {
      const by = event.rule === undefined ? '' : ` [${printable(event.rule)}]`;
      const why =
        event.decision === 'allow' || event.reason === undefined ? '' : `\n${' '.repeat(11)}${printable(event.reason)}`;
      return `${at} ${flow}${event.decision ?? ''}${by} ${printable(event.text ?? event.verb ?? '')}${why}\n`;
    }
    case 'result': {
      const parts = [
        event.error === undefined
          ? ''
          : `error ${event.error}${event.message === undefined ? '' : ` ${printable(event.message)}`}`,
        event.rows === undefined ? '' : `${event.rows} ${event.rows === 1 ? 'row' : 'rows'}`,
        event.micros === undefined ? '' : duration(event.micros),
        event.masks === undefined || event.masks.length === 0 ? '' : `masked by ${printable(event.masks.join(', '))}`,
      ].filter((part) => part !== '');
      return `${at} ${flow}→ ${parts.join(', ') || 'done'}\n`;
    }
    default: {
      const more = [
        event.resource,
        event.approval,
        event.decision,
        event.reviewer,
        event.text ?? event.message ?? event.reason,
      ];
      return `${at} ${flow}${event.type}${more
        .filter((part) => part !== undefined)
        .map((part) => ` ${printable(part)}`)
        .join('')}\n`;
    }
  }
}

export function verifyCommand(source: AuditReader, terminal: Terminal = STDOUT): Command {
  return new Command('verify')
    .description('prove that the audit chain is whole')
    .option(...DIR)
    .option(
      '--key <file>',
      'public key to verify with, with --dir: a copy kept elsewhere proves more than the one in the directory',
    )
    .action(async (flags: { dir?: string; key?: string }) => {
      if (flags.key !== undefined && flags.dir === undefined) throw new SluiceError('AUDIT_QUERY', '--key needs --dir');
      const found = await reading(source, flags.dir, (reader) => reader.verify(), flags.key);
      terminal.out.write(verdict(found));
      if (!found.ok) process.exitCode = 1;
    });
}

export function verdict(found: Verification): string {
  if (!found.ok) {
    const lines = found.problems.map(({ kind, message }) => `${kind}: ${printable(message)}\n`);
    return `NOT OK, the audit chain does not hold (key ${found.key})\n${lines.join('')}`;
  }
  if (found.events === 0) return `OK, no events (key ${found.key})\n`;
  const pruned = found.prunedUpTo === 0 ? '' : `, events up to ${found.prunedUpTo} deleted by retention`;
  return (
    `OK, ${found.events} events, ${found.first} to ${found.last}, ${stamp(found.firstTime)} to ${stamp(found.lastTime)}${pruned}\n` +
    `${found.checkpoints} ${found.checkpoints === 1 ? 'checkpoint' : 'checkpoints'}, signed up to event ${found.signedUpTo} by key ${found.key}\n`
  );
}
