import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { KIT, SHOP } from './fixture.ts';
import { LivePolicy } from './live.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-live-'));
after(() => rmSync(folder, { recursive: true }));

const RULE = (name: string): string =>
  `${SHOP}rules:\n  - {name: ${name}, allow: [read], who: {groups: [g]}, on: shop}\n`;

test('a bad set of files leaves the old one in force and says why', () => {
  const file = join(folder, 'one.yaml');
  writeFileSync(file, RULE('a'));
  const said: string[] = [];
  const live = new LivePolicy([file], KIT, {
    loaded: (policy, before) => said.push(`loaded ${policy.version} after ${before?.version}`),
    rejected: (error, inForce) => said.push(`${error.code} ${inForce.version}`),
  });
  const first = live.current;
  assert.equal(live.reload(), null);
  assert.equal(live.current, first, 'the same content is no new version');
  writeFileSync(file, `${RULE('a')}x: [`);
  assert.equal(live.reload()?.code, 'POLICY_INVALID');
  assert.equal(live.current, first);
  rmSync(file);
  assert.equal(live.reload()?.code, 'POLICY_UNREADABLE');
  assert.equal(live.current, first);
  writeFileSync(file, RULE('b'));
  assert.equal(live.reload(), null);
  assert.notEqual(live.current.version, first.version);
  assert.deepEqual(said, [
    `loaded ${first.version} after undefined`,
    `POLICY_INVALID ${first.version}`,
    `POLICY_UNREADABLE ${first.version}`,
    `loaded ${live.current.version} after ${first.version}`,
  ]);
});

test('without a first good version there is no policy', () => {
  const file = join(folder, 'bad.yaml');
  writeFileSync(file, 'x: 1');
  assert.throws(() => new LivePolicy([file], KIT), /unknown key/);
});

test('changes are picked up: written, replaced, and a folder exchanged whole', { timeout: 30_000 }, async () => {
  const dir = join(folder, 'watched');
  mkdirSync(dir);
  writeFileSync(join(dir, 'a.yaml'), RULE('a'));
  let wake: () => void = () => {};
  let events = 0;
  const changed = () => {
    events++;
    wake();
  };
  const live = new LivePolicy([dir], KIT, { loaded: changed, rejected: changed });
  live.watch();
  const keep = setInterval(() => {}, 1000);
  const until = async (good: () => boolean): Promise<void> => {
    while (!good())
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  try {
    const first = live.current.version;
    writeFileSync(join(dir, 'a.yaml'), RULE('b'));
    await until(() => live.current.version !== first);
    const second = live.current.version;
    writeFileSync(join(dir, 'next'), RULE('c'));
    renameSync(join(dir, 'next'), join(dir, 'a.yaml'));
    await until(() => live.current.version !== second);
    const third = live.current.version;
    const before = events;
    writeFileSync(join(dir, 'b.yaml'), 'broken: [');
    await until(() => events > before);
    assert.equal(live.current.version, third);
    mkdirSync(join(folder, 'fresh'));
    writeFileSync(join(folder, 'fresh', 'a.yaml'), RULE('d'));
    renameSync(dir, join(folder, 'old'));
    renameSync(join(folder, 'fresh'), dir);
    await until(() => live.current.version !== third);
    const fourth = live.current.version;
    writeFileSync(join(dir, 'a.yaml'), RULE('e'));
    await until(() => live.current.version !== fourth);
  } finally {
    clearInterval(keep);
    live.close();
  }
});
