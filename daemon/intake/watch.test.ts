import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Time, virtualTime } from '../../test/harness/time.ts';
import { type Change, Watch } from './watch.ts';

// The real helper is met in test/native/watch.test.ts; this one says what is wanted of it.
const dir = mkdtempSync(join(tmpdir(), 'sluice-watch-'));
after(() => rmSync(dir, { recursive: true }));
const KINDS: readonly Change[] = ['incidents', 'sessions', 'refusals'];

/** A helper, and who watches it. */
class Scene {
  readonly #path = join(dir, randomUUID());
  readonly #clients = new Set<Socket>();
  #server: Server | null = null;
  #seen: Change[] = [];
  readonly faults: unknown[] = [];
  watch: Watch | null = null;
  connections = 0;

  /** `answer`: of each connection; null: none. `lives`: milliseconds, then it is closed. */
  async up(answer: string | null, lives?: number): Promise<void> {
    this.#server = createServer((client) => {
      this.connections++;
      this.#clients.add(client);
      client.on('error', () => {});
      client.once('data', (text) => {
        assert.equal(String(text), 'watch\n');
        if (answer !== null) client.write(answer);
      });
      if (lives !== undefined) setTimeout(() => client.destroy(), lives);
    }).listen(this.#path);
    await once(this.#server, 'listening');
  }

  async down(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    this.#clients.clear();
    if (this.#server === null) return;
    this.#server.close();
    await once(this.#server, 'close');
    this.#server = null;
  }

  tell(text: string): void {
    for (const client of this.#clients) client.write(text);
  }

  begin(look: Partial<Record<Change, () => unknown>> = {}): void {
    const each = (kind: Change) => () => {
      this.#seen.push(kind);
      return look[kind]?.();
    };
    this.watch = new Watch({
      path: this.#path,
      look: { incidents: each('incidents'), sessions: each('sessions'), refusals: each('refusals') },
      onFault: (error) => this.faults.push(error),
    });
  }

  /** Looks since the last call. */
  looks(): Change[] {
    const before = this.#seen;
    this.#seen = [];
    return before;
  }

  count(kind: Change): number {
    return this.#seen.filter((each) => each === kind).length;
  }

  async end(): Promise<void> {
    this.watch?.close();
    await this.down();
  }
}

/** Time is the test's own. */
function scene(name: string, run: (scene: Scene, time: Time) => Promise<void>): void {
  test(`who is told by the helper: ${name}`, async (t) => {
    const scene = new Scene();
    const time = virtualTime(t);
    try {
      await run(scene, time);
    } finally {
      await scene.end();
    }
  });
}

scene('everything is looked at when the helper begins to tell, and then what it tells', async (scene, time) => {
  await scene.up('ok\n');
  scene.begin();
  await time.until(() => KINDS.every((kind) => scene.count(kind) === 1), 900); // sooner than by the clock
  assert.equal(scene.watch?.connected, true);
  scene.looks();
  await time.pass(2_500); // polling would have looked
  assert.deepEqual(scene.looks(), []);
  for (const byte of 'sessions\nanother\n') scene.tell(byte);
  await time.until(() => scene.count('sessions') === 1);
  scene.tell('incidents\nrefusals\n');
  await time.until(() => scene.count('incidents') === 1 && scene.count('refusals') === 1);
  assert.equal(scene.looks().length, 3);
  assert.deepEqual(scene.faults, []);
});

scene('however much is told, it is looked at once a second, and one at a time', async (scene, time) => {
  await scene.up('ok\n');
  let inside = 0;
  let most = 0;
  const slow = async () => {
    most = Math.max(most, ++inside);
    await time.wait(1_200);
    inside--;
  };
  scene.begin({ sessions: slow });
  await time.until(() => scene.watch?.connected === true);
  for (let ms = 0; ms < 2_300; ms += 10) {
    scene.tell('refusals\nsessions\n');
    await time.pass(10);
  }
  assert.deepEqual([scene.count('refusals'), scene.count('sessions')], [3, 2]);
  assert.equal(most, 1);
  const before = scene.count('sessions');
  await time.pass(1_500); // what was told last is not forgotten
  assert.equal(scene.count('sessions'), before + 1);
});

scene('without a helper everything is looked at by the clock, and at once when there is one', async (scene, time) => {
  scene.begin();
  await time.pass(3_500);
  assert.equal(scene.watch?.connected, false);
  assert.deepEqual(
    KINDS.map((kind) => scene.count(kind)),
    [1, 1, 3],
  );
  scene.looks();
  await scene.up('ok\n');
  await time.until(() => scene.watch?.connected === true, 500);
  await time.until(() => scene.count('incidents') === 1, 100);
  await time.until(() => KINDS.every((kind) => scene.count(kind) >= 1));
  await scene.down();
  await time.until(() => scene.watch?.connected === false);
  scene.looks();
  await time.pass(2_500);
  assert.deepEqual(
    KINDS.map((kind) => scene.count(kind)),
    [1, 1, 2],
  );
});

scene(
  'a helper that takes the connection and says nothing, or refuses, or is another, does not tell',
  async (scene, time) => {
    for (const answer of [null, 'error LIMIT 8 watch already\n', `${'x'.repeat(10_000)}`, 'okay\n', '\n']) {
      await scene.up(answer);
      scene.begin();
      await time.pass(answer === null ? 2_600 : 1_300);
      assert.equal(scene.watch?.connected, false, String(answer));
      assert.ok(scene.count('refusals') >= (answer === null ? 2 : 1));
      scene.looks();
      // Of those that say why, once.
      assert.equal(scene.faults.splice(0).length, answer?.endsWith('\n') ? 1 : 0);
      scene.watch?.close();
      await scene.down();
    }
  },
);

scene('what failed is tried again soon, by whoever it was told', async (scene, time) => {
  await scene.up('ok\n');
  let fails = true;
  scene.begin({
    sessions: async () => {
      if (fails) throw new Error('not now');
    },
    refusals: () => {
      if (fails) throw new Error('nor this');
    },
  });
  await time.until(() => scene.count('sessions') === 2 && scene.count('refusals') >= 2);
  assert.ok(scene.faults.length >= 4);
  fails = false;
  scene.looks();
  await time.until(() => scene.count('sessions') === 1);
  scene.looks();
  await time.pass(2_500);
  assert.deepEqual(scene.looks(), []);
});

scene('a helper that is stopped tells nothing, and is looked behind all the same', async (scene, time) => {
  await scene.up('ok\n');
  scene.begin();
  await time.until(() => KINDS.every((kind) => scene.count(kind) === 1));
  scene.looks();
  await time.pass(11_000);
  assert.deepEqual(scene.looks(), ['refusals']);
});

scene('one that goes as soon as it has come is not asked ever more often', async (scene, time) => {
  await scene.up('ok\n', 20);
  scene.begin();
  await time.pass(12_000);
  const before = scene.connections;
  await time.pass(3_000);
  assert.ok(scene.connections - before <= 4, `${scene.connections - before} connections in three seconds`);
  assert.ok(scene.count('refusals') <= 17, `${scene.count('refusals')} looks at refusals`);
});
