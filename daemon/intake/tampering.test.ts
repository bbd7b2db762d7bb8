import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventInput } from '../core/event.ts';
import type { Incident } from './helper.ts';
import { Tampering } from './tampering.ts';

const kept = { done: true, committed: async () => {}, durable: async () => {} };

test('each incident is recorded once, in order, and again until it could be', async () => {
  const incidents: Incident[] = [];
  const events: EventInput[] = [];
  let full = false;
  const tampering = new Tampering(
    { incidents: async (after) => incidents.filter(({ at }) => at > after) },
    {
      record(event) {
        if (full) throw new Error('full');
        events.push(event);
        return kept;
      },
    },
  );
  await tampering.look();
  incidents.push(
    { at: 1_700_000_000_001, text: 'egress was detached' },
    { at: 1_700_000_000_002, text: 'egress is attached again' },
  );
  full = true;
  await assert.rejects(tampering.look(), /full/);
  full = false;
  await tampering.look();
  await tampering.look();
  incidents.push({ at: 1_700_000_000_003, text: 'the bpffs was unmounted; mounted again' });
  await tampering.look();
  assert.deepEqual(
    events.map(({ type, error, reason }) => [type, error, reason?.split(' (')[0]]),
    [
      ['fault', 'TAMPERED', 'egress was detached'],
      ['fault', 'TAMPERED', 'egress is attached again'],
      ['fault', 'TAMPERED', 'the bpffs was unmounted; mounted again'],
    ],
  );
  assert.match(events[0]?.reason ?? '', /noticed 2023-11-14T22:13:20\.001Z/);
});
