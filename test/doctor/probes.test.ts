/** Every probe of `sluice doctor` gets out where nothing holds it; a probe that can't is no evidence inside a session. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Finding } from '../../daemon/cli/doctor/findings.ts';
import { GUARANTEES } from '../../daemon/cli/doctor/guarantees.ts';
import type { Try } from '../../daemon/cli/doctor/probe.ts';
import { cgroupMount } from '../../daemon/identify/process.ts';
import { mustSucceed } from '../harness/child.ts';
import { ALLOW_ALL, localPolicy } from '../harness/policy.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const PROBE = join(ROOT, 'build/native/sluice-probe');

/** What a kernel says of what it was built without. */
const ABSENT = /: (EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|ENODEV|ENOSYS|EOPNOTSUPP)$/;
/** Probes that need of the host what it may not have, by what they then say. */
const HOST: Readonly<Record<string, RegExp>> = {
  setns: /^open: EACCES$/, // a container whose process 1 is out of reach
  'core-dump': /names a file$/,
  'vsock-local': /^connect: (ETIMEDOUT|EHOSTUNREACH|EADDRNOTAVAIL|ECONNRESET|EINPROGRESS)$/, // no vsock_loopback
};

describe('outside of a session, where nothing holds it,', { skip: stackMissing() ?? false }, () => {
  let stack: Stack;
  let found: Finding[];
  let missing: string[];

  before(async () => {
    stack = await startStack({ policy: localPolicy(5433, { rules: ALLOW_ALL }), name: 'outside' });
    const script = join(ROOT, 'test/doctor/outside.ts');
    const argv = [process.execPath, '--disable-warning=ExperimentalWarning', script];
    const { stdout } = await mustSucceed([
      ...['unshare', '-n', '-m', ...argv],
      ...[PROBE, join(stack.runDir, 'bpf'), cgroupMount()],
    ]);
    ({ found, missing } = JSON.parse(stdout));
  });
  after(() => stack?.stop());

  test('there is a witness beyond the loopback, and a victim', () => assert.deepEqual(missing, []));

  for (const name of new Set(GUARANTEES.flatMap(({ probes }) => probes.map((each) => each.replace('@near', ''))))) {
    test(`${name} gets out`, (t) => {
      const tries = new Map(found.flatMap(({ tried }) => tried.map((each): [string, Try] => [each.name, each])));
      const mine = [...tries.values()].filter((each) => each.name.replace('@far', '') === name);
      assert.notEqual(mine.length, 0, 'it was not tried');
      for (const { name: full, escaped, how, untried } of mine) {
        if (escaped) continue;
        if (ABSENT.test(how) || HOST[name]?.test(how)) return t.skip(`this host lacks what it needs: ${how}`);
        // There a resolver may listen, which is no witness.
        if (full === 'udp-dns' && untried) continue;
        assert.fail(`${full}: ${how}`);
      }
    });
  }

  test('every probe that there is attacks a guarantee', async () => {
    const { stdout } = await mustSucceed([PROBE, 'list']);
    const listed = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[0]!);
    const used = new Set(GUARANTEES.flatMap(({ probes }) => probes.map((each) => each.replace('@near', ''))));
    assert.deepEqual(
      listed.filter((name) => !used.has(name)),
      [],
    );
    assert.deepEqual(
      [...used].filter((name) => !listed.includes(name)),
      [],
    );
  });
});
