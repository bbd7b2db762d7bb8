/** What of each part of sluice may leave the host: configuration, policy, events, the journal. */
import { parseAllDocuments } from 'yaml';
import type { Event } from '../../core/event.ts';
import { type Kept, redact, scrub } from './redact.ts';

const CONFIG: Kept = {
  texts: [
    ...['runDir', 'stateDir', 'policy.*', 'helperSocket', 'pinDir', 'library', 'resolvers.*', 'log'],
    ...['audit.group', 'metrics.socket', 'metrics.group'],
    ...['identity.providers.*.name', 'identity.providers.*.issuer', 'identity.providers.*.algorithms.*'],
  ],
  keys: [
    ...['listen', 'port', 'quotaBytes', 'retentionDays', 'off', 'limits', 'connections', 'sessionConnections'],
    ...[
      'statementBytes',
      'greetingSeconds',
      'stallSeconds',
      'localSessions',
      'audience',
      'clientId',
      'clientSecretFile',
    ],
    ...['scope', 'subjectClaim', 'groupsClaim', 'groupsRequired', 'types', 'clockSkewSeconds', 'maxAgeSeconds', 'ca'],
    'timeoutSeconds',
  ],
};

/** @param text of sluiced.json. What is no JSON is left out whole. */
export function configPart(text: string): string {
  try {
    return `${JSON.stringify(redact(JSON.parse(text), CONFIG), null, 2)}\n`;
  } catch {
    return `(removed: ${text.length} characters that are no JSON)\n`;
  }
}

const WHO = ['groups.*', 'users.*'];
const LISTS = ['rules', 'masks', 'detect', 'dns', 'unix'];
/** In each of the lists. */
const below = (keys: readonly string[]): string[] => keys.flatMap((key) => LISTS.map((list) => `${list}.*.${key}`));
const MANY = ['allow', 'deny', 'approve', 'on', 'tables', 'columns', 'functions', 'verbs', 'names', 'sockets', 'types'];
const POLICY: Kept = {
  texts: [
    ...['apiVersion', 'mode', 'detect', 'detect.*'],
    ...['protocol', 'tls', 'login', 'mode', 'address'].map((key) => `resources.*.${key}`),
    ...['resources.*.credential.systemd', 'resources.*.credential.file'],
    ...below([...MANY, ...MANY.map((key) => `${key}.*`)]),
    ...below(['name', 'with', 'within', 'hold', 'remember', 'match', 'answers', 'who']),
    ...below(['who', 'unless', 'reviewers'].flatMap((key) => WHO.map((who) => `${key}.${who}`))),
    ...['groups.*', 'tokenGroups.*', 'issuer', 'unit'].map((key) => `identities.*.${key}`),
  ],
  keys: [
    'credential',
    'command',
    'user',
    'uid',
    'group',
    'claims',
    'when',
    'reason',
    'hint',
    'quorum',
    'ca',
    'everything',
  ],
};

/** Without comments, conditions, reasons and command lines. What is no YAML is left out whole. */
export function policyPart(text: string): string {
  const documents = parseAllDocuments(text);
  if ('empty' in documents) return '';
  const whole = documents.every(({ errors }) => errors.length === 0);
  if (!whole) return `(removed: ${text.length} characters that are no YAML)\n`;
  return documents.map((each) => `${JSON.stringify(redact(each.toJS(), POLICY), null, 2)}\n`).join('---\n');
}

/** Fields of an event that are numbers, words of ours, or names of the policy. */
const PLAIN = [
  ...([
    'schema',
    'seq',
    'time',
    'type',
    'session',
    'flow',
    'pid',
    'uid',
    'owner',
    'port',
    'protocol',
    'resource',
    'op',
  ] as const),
  ...([
    'textBytes',
    'decision',
    'observed',
    'rule',
    'policy',
    'approval',
    'rows',
    'bytesIn',
    'bytesOut',
    'micros',
    'count',
  ] as const),
  ...(['prev', 'hash'] as const),
];
/** Who and what, as names that only tell one from another. */
const NAMED = [
  'subject',
  'reviewer',
  'exe',
  'address',
  'account',
  'database',
  'issuer',
  'text',
  'fingerprint',
] as const;

export function eventPart(event: Event, nameOf: (value: string) => string): string {
  const out: Record<string, unknown> = {};
  for (const key of PLAIN) if (event[key] !== undefined) out[key] = event[key];
  for (const key of NAMED) if (event[key] !== undefined) out[key] = nameOf(event[key]);
  // Of an upstream's, too: what does not look like a code or a verb is text.
  if (event.error !== undefined) out.error = /^[A-Z0-9_]{1,40}$/.test(event.error) ? event.error : nameOf(event.error);
  if (event.verb !== undefined) out.verb = /^[A-Z][A-Z0-9 ]{0,30}$/.test(event.verb) ? event.verb : nameOf(event.verb);
  if (event.accesses !== undefined)
    out.accesses = event.accesses.map(({ effect, object }) => ({
      effect,
      ...(object !== undefined && { object: nameOf(object) }),
    }));
  if (event.masks !== undefined) out.masks = event.masks.length;
  return `${JSON.stringify(out)}\n`;
}

/**
 * One entry of `journalctl -o json`; null: it is an event, which stands among the events. Of the daemon's lines what is
 * ours stays: its words up to a colon, after which others speak, and where a fault was.
 */
export function journalPart(line: string): string | null {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line);
  } catch {
    return null;
  }
  if (Object.keys(entry).some((key) => key.startsWith('SLUICE_'))) return null;
  const time = new Date(Number(entry.__REALTIME_TIMESTAMP) / 1000);
  const when = Number.isNaN(time.getTime()) ? '-' : time.toISOString();
  const who = String(entry.SYSLOG_IDENTIFIER ?? entry._COMM ?? '-').replace(/[^\w.-]/g, '');
  const message = typeof entry.MESSAGE === 'string' ? entry.MESSAGE : '';
  // The helper reads nothing from the network and no policy: it speaks of hooks, cgroups and paths.
  const said = who === 'sluice-helper' ? scrub(message) : logLine(message);
  return `${when} ${who} ${String(entry.PRIORITY ?? '-').slice(0, 1)} ${said}\n`;
}

/** A line of the daemon's log, as pino writes it. */
function logLine(text: string): string {
  let line: {
    level?: unknown;
    msg?: unknown;
    where?: unknown;
    err?: { type?: unknown; code?: unknown; stack?: unknown };
  };
  try {
    line = JSON.parse(text);
  } catch {
    return words(text);
  }
  const { level, msg, where, err } = line;
  const frames = typeof err?.stack === 'string' ? [...err.stack.matchAll(FRAME)] : [];
  return JSON.stringify({
    ...(typeof level === 'number' && { level }),
    ...(typeof msg === 'string' && { msg: words(msg) }),
    ...(typeof where === 'string' && { where: words(where) }),
    ...(err !== undefined && {
      error: String(err.code ?? err.type ?? '')
        .replace(/\W/g, '')
        .slice(0, 40),
    }),
    ...(frames.length > 0 && { at: frames.map(([, name, place]) => `${name ?? ''} ${place}`.trim()) }),
  });
}

/** A frame of V8's stack traces: the function, the file's own name and the line. */
const FRAME = /^ +at (?:([\w.<># ]+) \()?(?:file:\/\/|node:)[\w./@-]*?([\w.-]+:\d+):\d+\)?$/gm;

/** Up to a colon or a quote, if that is words at all. */
const words = (text: string): string => /^[A-Za-z][A-Za-z ,.'’-]*/.exec(text)?.[0].trim() ?? '(removed)';
