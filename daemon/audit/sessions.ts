/** Sessions as the audit tells them: from session.start and session.end, and a count of what went on between. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Event } from '../core/event.ts';
import type { Log } from './log.ts';
import { BLOCK } from './terms.ts';

export interface SessionSummary {
  readonly id: string;
  readonly subject: string;
  readonly command: string;
  /** Milliseconds since the epoch; 0: the start was deleted by retention. */
  readonly start: number;
  /** Null: no end recorded. */
  readonly end: number | null;
  /** Time of the newest event. */
  readonly seen: number;
  readonly flows: number;
  readonly operations: number;
  readonly denied: number;
  /** Operations that waited for a person. */
  readonly held: number;
}

type Tally = { -readonly [K in keyof SessionSummary]: SessionSummary[K] };

/** `type` and `session` stand at the front of the canonical form, so most events need no parsing to be counted. */
const FRONT = /^\{"schema":\d+,"seq":\d+,"time":(\d+),"type":"([a-z.]+)"(?:,"session":"([0-9A-Za-z_-]{1,64})")?/;
const DENY = Buffer.from('"decision":"deny"');
const APPROVE = Buffer.from('"decision":"approve"');

/** All sessions, oldest first. */
export async function summarise(log: Log): Promise<SessionSummary[]> {
  const sessions = new Map<string, Tally>();
  const range = log.range();
  for (let block = Math.floor((range?.first ?? 0) / BLOCK); range !== null && block * BLOCK <= range.last; block++) {
    const from = Math.max(range.first, block * BLOCK);
    for (const { bytes } of log.read(from, Math.min(range.last + 1, (block + 1) * BLOCK))) {
      const front = FRONT.exec(bytes.toString('latin1', 0, 200));
      const id = front?.[3];
      if (front === null || id === undefined) continue;
      let tally = sessions.get(id);
      if (tally === undefined) {
        tally = {
          id,
          subject: '',
          command: '',
          start: 0,
          end: null,
          seen: 0,
          flows: 0,
          operations: 0,
          denied: 0,
          held: 0,
        };
        sessions.set(id, tally);
      }
      count(tally, front[2]!, Number(front[1]), bytes);
    }
    await turn();
  }
  return [...sessions.values()].sort((a, b) => a.start - b.start);
}

function count(tally: Tally, type: string, time: number, bytes: Buffer): void {
  tally.seen = time;
  switch (type) {
    case 'operation':
      tally.operations++;
      if (bytes.includes(DENY)) tally.denied++;
      else if (bytes.includes(APPROVE)) tally.held++;
      break;
    case 'flow.start':
      tally.flows++;
      break;
    case 'session.start': {
      const event = JSON.parse(bytes.toString('utf8')) as Event;
      tally.start = time;
      tally.subject = event.subject ?? '';
      tally.command = event.text ?? event.message ?? event.exe ?? '';
      break;
    }
    case 'session.end':
      tally.end = time;
      break;
  }
}
