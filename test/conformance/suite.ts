/** What every protocol must pass. A protocol gives a fixture; nothing here knows one by name. */
import assert from 'node:assert/strict';
import { after, before, describe, test as run, type TestFn } from 'node:test';
import { SluiceError } from '../../daemon/core/errors.ts';
import type { Client, Fixture, Part } from './fixture.ts';

/** Long enough for a reviewer who is a test, milliseconds. */
const HOLD = 60_000;
const SHORT_HOLD = 0;

/** What waits for something that never comes fails by itself. */
const test = (name: string, work: TestFn) => run(name, { timeout: 20_000 }, work);

export function conformance(fixture: Fixture): void {
  const { acts, canary } = fixture;
  const part = (name: Part) => ({ skip: fixture.lacks?.[name] ?? false });
  type Place = Awaited<ReturnType<Fixture['open']>>;

  describe(`${fixture.name}: conformance`, { skip: fixture.missing() ?? false }, () => {
    let at: Place;
    before(async () => {
      at = await fixture.open({ hold: HOLD, masks: true });
    });
    after(async () => {
      await at?.close();
    });

    const talk = async (client: Client, steps: readonly Buffer[]): Promise<string> => {
      for (const step of steps) await client.ask(step);
      const bytes = client.bytes().toString('latin1');
      client.vanish();
      return bytes;
    };
    const operations = () => at.stage.recorded.filter(({ event }) => event.type === 'operation');

    const trace = (act: Buffer) => fixture.trace?.(act) ?? act;

    describe('split at every byte', part('split'), () => {
      for (const [name, steps] of Object.entries({ ...fixture.talks, ...fixture.masked })) {
        test(name, async () => {
          const whole = await talk(await at.connect(), steps);
          for (const sides of [
            { client: true, upstream: false },
            { client: false, upstream: true },
            { client: true, upstream: true },
          ]) {
            at.split(sides);
            const parted = await talk(await at.connect(), steps);
            at.split({ client: false, upstream: false });
            assert.equal(parted, whole, JSON.stringify(sides));
          }
        });
      }
      test('on the wire as well', async () => {
        const steps = Object.values(fixture.talks).flat();
        const whole = await talk(await at.connect(), steps);
        at.tap.rules = { up: 1, down: 1 };
        const parted = await talk(await at.connect(), steps);
        at.tap.rules = {};
        assert.equal(parted, whole);
      });
    });

    describe('allowed', () => {
      let plain: Place;
      before(async () => {
        plain = await fixture.open({ hold: HOLD, masks: false });
      });
      after(() => plain?.close());
      for (const [name, steps] of Object.entries(fixture.talks)) {
        test(`${name}: ${fixture.same ? 'what it says is' : 'byte for byte'} as without sluice`, async () => {
          const same = (text: string) => fixture.same?.(Buffer.from(text, 'latin1')) ?? text;
          assert.equal(same(await talk(await plain.connect(), steps)), same(await talk(await plain.direct(), steps)));
        });
      }
    });

    describe('refused', part('refused'), () => {
      test('with rule, reason and hint, on record before it is told; the connection stays usable', async () => {
        const client = await at.connect();
        const before = operations().length;
        const { done, error } = await client.ask(acts.denied);
        assert.equal(done, false);
        assert.equal(error?.code, acts.deniedCode);
        assert.match(error?.message ?? '', acts.deniedSays ?? /"not this"/);
        assert.ok(acts.deniedSays !== undefined || (error?.detail && error.hint));
        const [entry] = operations().slice(before);
        assert.equal(entry?.event.decision, 'deny');
        assert.ok(entry?.committed);
        assert.ok((await client.ask(acts.read)).done);
        client.vanish();
      });
      test('nothing of it reaches the server', async () => {
        const seen: Buffer[] = [];
        const client = await at.connect();
        at.tap.rules = { onUp: (bytes) => seen.push(bytes) };
        await client.ask(acts.denied);
        at.tap.rules = {};
        assert.ok(!Buffer.concat(seen).includes(trace(acts.denied)));
        client.vanish();
      });
      run('what is too large to be looked at, in bounded memory', { timeout: 20_000, ...part('large') }, async () => {
        const client = await at.connect();
        const before = process.memoryUsage().rss;
        const { done, error } = await client.ask(acts.large);
        assert.equal(done, false);
        assert.ok(error);
        assert.ok((await client.ask(acts.read)).done);
        // The message itself was made in this process as well.
        assert.ok(process.memoryUsage().rss - before < 4 * acts.large.length + (32 << 20));
        client.vanish();
      });
    });

    describe('held', part('held'), () => {
      test('a notice, an approval, one effect', async () => {
        const client = await at.connect();
        const before = await at.effects();
        client.send(acts.held);
        const id = await at.stage.request();
        assert.match(await client.notice(), new RegExp(id));
        assert.equal(await at.effects(), before);
        await at.stage.answer(id, 'approve');
        assert.ok((await client.answer()).done);
        assert.equal(await at.effects(), before + 1);
        assert.ok((await client.ask(acts.read)).done);
        client.vanish();
      });
    });

    describe('held for too long', part('held'), () => {
      let short: Place;
      before(async () => {
        short = await fixture.open({ hold: SHORT_HOLD, masks: true });
      });
      after(() => short?.close());
      test('an error with the id; the same act passes once after approval', async () => {
        const client = await short.connect();
        const before = await short.effects();
        const { done, error } = await client.ask(acts.held);
        assert.equal(done, false);
        const id = await short.stage.request();
        assert.match(error?.message ?? '', new RegExp(id));
        assert.equal(await short.effects(), before);
        await short.stage.answer(id, 'approve');
        assert.ok((await client.ask(acts.held)).done);
        assert.equal(await short.effects(), before + 1);
        client.vanish();
      });
    });

    describe('held, and then', part('held'), () => {
      let other: Place;
      before(async () => {
        other = await fixture.open({ hold: HOLD, masks: true });
      });
      after(() => other?.close());
      test('cancelled: the act fails, the connection stays usable', async () => {
        const client = await other.connect();
        const before = await other.effects();
        client.send(acts.held);
        await client.notice();
        await client.cancel();
        assert.equal((await client.answer()).done, false);
        assert.ok((await client.ask(acts.read)).done);
        assert.equal(await other.effects(), before);
        client.vanish();
      });
      test('the client vanishes: nothing is carried out, also when approved afterwards', async () => {
        const client = await other.connect();
        const before = await other.effects();
        client.send(acts.held);
        await client.notice();
        client.vanish();
        await other.stage.idle();
        for (const { id } of other.stage.approvals.list({ state: 'pending' })) await other.stage.answer(id, 'approve');
        assert.equal(await other.effects(), before);
      });
    });

    describe('held, and denied', part('held'), () => {
      let third: Place;
      before(async () => {
        third = await fixture.open({ hold: HOLD, masks: true });
      });
      after(() => third?.close());
      test('denied by the reviewer', async () => {
        const client = await third.connect();
        const before = await third.effects();
        client.send(acts.held);
        const id = await third.stage.request();
        await third.stage.answer(id, 'deny');
        const { done, error } = await client.answer();
        assert.equal(done, false);
        assert.match(error?.message ?? '', new RegExp(id));
        assert.equal(await third.effects(), before);
        assert.ok((await client.ask(acts.read)).done);
        client.vanish();
      });
    });

    describe('masked', part('masked'), () => {
      for (const [name, steps] of Object.entries(fixture.masked)) {
        test(name, async () => {
          const came = await talk(await at.connect(), steps);
          assert.ok(!came.includes(canary), 'a masked value came');
          assert.ok((await talk(await at.direct(), steps)).includes(canary), 'the canary does not come without masks');
        });
      }
    });

    describe('on record', part('on record'), () => {
      const changes = { timeout: 20_000, ...part('changes') };
      run('what changes something is on disk before it goes upstream', changes, async () => {
        const client = await at.connect();
        const states: boolean[] = [];
        at.tap.rules = {
          onUp(bytes) {
            if (!bytes.includes(acts.heldText)) return;
            const last = operations().at(-1);
            states.push(last?.event.text?.includes(acts.heldText) === true && last.durable);
          },
        };
        client.send(acts.held);
        await at.stage.answer(await at.stage.request(), 'approve');
        await client.answer();
        at.tap.rules = {};
        assert.deepEqual([...new Set(states)], [true]);
        client.vanish();
      });
      const full = new SluiceError('AUDIT_FULL', 'the audit store is full');
      test('nothing passes while the recorder refuses, and all does again afterwards', async () => {
        const client = await at.connect();
        const before = await at.effects();
        at.stage.recorderFault = { at: 'record', error: full };
        const seen: Buffer[] = [];
        at.tap.rules = { onUp: (bytes) => seen.push(bytes) };
        for (const act of [acts.read, acts.denied]) {
          const { done, error } = await client.ask(act);
          assert.equal(done, false);
          assert.match(error?.message ?? '', /audit store is full/);
          assert.ok(!Buffer.concat(seen).includes(trace(act)));
        }
        at.tap.rules = {};
        at.stage.recorderFault = null;
        assert.ok((await client.ask(acts.read)).done);
        assert.equal(await at.effects(), before);
        client.vanish();
      });
      test('no byte of a result comes when its record was not kept', async () => {
        const client = await at.connect();
        at.stage.recorderFault = { at: 'committed', error: full };
        const before = client.bytes().length;
        client.send(acts.read);
        const told = fixture.independent ? (await client.answer()).error?.message : await client.ended();
        assert.match(told ?? '', /audit store is full/);
        const came = client.bytes().subarray(before);
        at.stage.recorderFault = null;
        const direct = await at.direct();
        const result = (await direct.ask(acts.read)).text;
        assert.ok(!came.toString('latin1').includes(result));
        for (const each of [client, direct]) each.vanish();
      });
      run('nothing changes when its record did not reach the disk', changes, async () => {
        const client = await at.connect();
        const before = await at.effects();
        at.stage.recorderFault = { at: 'durable', error: full };
        client.send(acts.held);
        await at.stage.answer(await at.stage.request(), 'approve');
        assert.equal((await client.answer()).done, false);
        at.stage.recorderFault = null;
        assert.equal(await at.effects(), before);
        assert.ok((await client.ask(acts.read)).done);
        client.vanish();
      });
    });

    describe('bad input', part('bad input'), () => {
      for (const [name, bytes] of Object.entries(fixture.bad)) {
        test(`${name}: this connection ends with an error, others go on`, async () => {
          const other = await at.connect();
          const client = await at.connect();
          client.send(bytes);
          assert.equal((await client.ended()) === '', fixture.mute === true);
          assert.ok((await other.ask(acts.read)).done);
          other.vanish();
        });
      }
      const half = { timeout: 20_000, ...part('half') };
      run('half a message and then nothing: PROTOCOL_TIMEOUT, others go on', half, async () => {
        const other = await at.connect();
        const client = await at.connect();
        client.send(fixture.half);
        const stall = 20;
        const sweep = setInterval(() => at.stage.flows.sweep(stall), 5);
        assert.match(await client.ended(), fixture.mute ? /^$/ : /begun and not ended/);
        clearInterval(sweep);
        assert.ok((await other.ask(acts.read)).done);
        other.vanish();
        const end = at.stage.recorded.filter(({ event }) => event.type === 'flow.end').at(-1);
        assert.equal(end?.event.error, 'PROTOCOL_TIMEOUT');
      });
      test('every client gone: no flow is left', async () => {
        await at.stage.idle();
        assert.deepEqual(at.stage.faults, []);
      });
    });

    describe('what is no message', part('ignored'), () => {
      for (const [name, bytes] of Object.entries(fixture.ignored ?? {})) {
        test(`${name}: no answer, on record, and the connection goes on`, async () => {
          const client = await at.connect();
          const faults = () => at.stage.recorded.filter(({ event }) => event.type === 'fault');
          const before = faults().length;
          client.send(bytes);
          assert.ok((await client.ask(acts.read)).done);
          const [fault, ...others] = faults().slice(before);
          assert.deepEqual([fault?.event.error, fault?.event.decision, others], ['PROTOCOL_VIOLATION', 'deny', []]);
          client.vanish();
        });
      }
    });

    describe('the server', () => {
      test('resets amid a result: the client is told or cut off, it is on record, others go on', async () => {
        const other = await at.connect();
        const client = await at.connect();
        at.tap.rules = { onDown: () => null };
        client.send(acts.read);
        if (fixture.independent) assert.equal((await client.answer()).done, false);
        else await client.ended();
        at.tap.rules = {};
        if (fixture.independent) assert.ok((await client.ask(acts.read)).done);
        assert.ok((await other.ask(acts.read)).done);
        for (const each of [client, other]) each.vanish();
        await at.stage.idle();
        const ends = at.stage.recorded.filter(
          ({ event }) => event.type === (fixture.independent ? 'result' : 'flow.end'),
        );
        const lost = fixture.independent ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_LOST';
        assert.ok(ends.some(({ event }) => event.error === lost));
      });
      run('lies', { timeout: 20_000, ...part('lies') }, async (t) => {
        const liar = await fixture.liar();
        try {
          for (const lie of fixture.lies) {
            await t.test(lie.name, async () => {
              liar.lie = lie;
              const client = await liar.connect();
              client.send(acts.read);
              if (fixture.independent) await client.answer();
              else await client.ended();
              assert.ok(!client.bytes().includes(canary));
              client.vanish();
              await liar.stage.idle();
              const type = fixture.independent ? 'result' : 'flow.end';
              const end = liar.stage.recorded.filter(({ event }) => event.type === type).at(-1);
              assert.match(
                end?.event.error ?? '',
                lie.error === undefined ? /^UPSTREAM_/ : new RegExp(`^${lie.error}$`),
              );
            });
          }
          assert.deepEqual(liar.stage.faults, []);
        } finally {
          await liar.close();
        }
      });
    });
  });
}
