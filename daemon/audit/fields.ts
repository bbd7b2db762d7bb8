/**
 * Events as fields of systemd's journal. What `sluice audit NAME=value` matches is SLUICE_NAME here, so that `journalctl`
 * finds by the same words; a list is a field that occurs several times.
 */
import type { Event } from '../core/event.ts';
import type { Access } from '../core/operation.ts';
import { message } from './format.ts';

export type Field = readonly [name: string, value: string];

/** journald throws away entries of more than 1024 fields (ENTRY_FIELD_COUNT_MAX). SLUICE_ACCESSES has all of them. */
const OBJECTS = 500;

/** Everything that an event holds. */
export function fieldsOf(event: Event): Field[] {
  const fields: Field[] = [];
  for (const [key, value] of Object.entries(event)) {
    if (key === 'groups') for (const group of value as string[]) fields.push(['SLUICE_GROUP', group]);
    else if (key === 'masks') for (const mask of value as string[]) fields.push(['SLUICE_MASK', mask]);
    else {
      if (key === 'accesses') accessFields(fields, value as Access[]);
      fields.push([nameOf(key), typeof value === 'object' ? JSON.stringify(value) : String(value)]);
    }
  }
  return fields;
}

function accessFields(fields: Field[], accesses: readonly Access[]): void {
  const effects = new Set(accesses.map((access) => access.effect));
  const objects = new Set(accesses.flatMap((access) => [access.object, ...(access.behind ?? [])]));
  for (const effect of effects) fields.push(['SLUICE_EFFECT', effect]);
  for (const object of [...objects].slice(0, OBJECTS)) if (object !== undefined) fields.push(['SLUICE_OBJECT', object]);
}

/** Kept: there are some forty, and each event has twenty of them. */
const names = new Map<string, string>();

/** `bytesIn` is SLUICE_BYTES_IN. */
function nameOf(key: string): string {
  let name = names.get(key);
  if (name === undefined) {
    name = `SLUICE_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    names.set(key, name);
  }
  return name;
}

/** An entry of the journal. */
export function entryOf(event: Event): Field[] {
  return [
    ['SYSLOG_IDENTIFIER', 'sluiced'],
    ['PRIORITY', String(priority(event))],
    ['MESSAGE', message(event)],
    ...fieldsOf(event),
  ];
}

/** syslog(3): what somebody has to look at, should look at, may want to know, and the rest. */
const [ERR, WARNING, NOTICE, INFO, DEBUG] = [3, 4, 5, 6, 7] as const;

function priority({ type, decision, observed }: Event): number {
  // What an agent tried and was refused is no fault of the host's.
  if ((type === 'fault' && decision !== 'deny') || type === 'policy.rejected') return ERR;
  if (decision === 'deny' || type === 'session.refused' || type === 'session.expired') return WARNING;
  if (decision === 'approve' || observed !== undefined || type.startsWith('approval.')) return NOTICE;
  if (type.startsWith('daemon.') || type === 'policy.loaded') return NOTICE;
  return type === 'result' || type.startsWith('flow.') ? DEBUG : INFO;
}
