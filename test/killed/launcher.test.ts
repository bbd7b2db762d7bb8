/**
 * The launcher is killed wherever it enters or leaves a system call, each of its ends: in place, the front, inside, and who answers its filter. What
 * there is of the agent's command then is in its session and confined as ever, and goes with the launcher.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { AGENT_UID, cannotRun, type Host, newHost, OTHER_UID } from '../native/host.ts';

const PATIENCE_MS = 30_000;
/** More than any of them has steps. */
const STEPS_MAX = 5000;

interface Remains {
  readonly pid: number;
  readonly cgroup: string;
  readonly status: string;
}

/** Processes that are the command with this mark: shells, as the launcher has the mark among its words as well. */
function remains(mark: string): Remains[] {
  const found: Remains[] = [];
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      if (words[0] !== '/bin/sh' || !words.includes(mark)) continue;
      const cgroup = /^0::(.*)$/m.exec(readFileSync(`/proc/${name}/cgroup`, 'utf8'))?.[1] ?? '';
      found.push({ pid: Number(name), cgroup, status: readFileSync(`/proc/${name}/status`, 'utf8') });
    } catch {} // gone
  }
  return found;
}

describe('a launcher that is killed', { skip: cannotRun() }, () => {
  let host: Host;
  let step: string;
  let helperPid: number;
  /** Where there is nothing to read, and no end either. */
  let nothing: number;

  before(async () => {
    host = newHost();
    await host.startHelper();
    helperPid = host.helperPid();
    step = join(host.runDir, 'step');
    const fifo = join(host.runDir, 'nothing');
    execFileSync('mkfifo', [fifo]);
    nothing = openSync(fifo, 'r+');
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', step, join(import.meta.dirname, 'step.c')]);
  });
  after(async () => {
    await host.close();
    closeSync(nothing);
  });

  const end = (mark: string) => {
    for (const { pid } of remains(mark)) process.kill(pid, 'SIGKILL');
  };

  async function empty(id: string, meanwhile: () => void): Promise<void> {
    const until = Date.now() + PATIENCE_MS;
    while ((await host.helper.listSessions()).find((session) => session.id === id)?.populated) {
      if (Date.now() > until) throw new Error('something of the session is left');
      meanwhile();
      await pause(5);
    }
  }

  /**
   * Kills at each step until there is none left. Returns how many there were, and at how many the command ran. `outlived`: by
   * the command, which then has to be ended.
   */
  async function everyStep(
    { id, path, uid }: { id: string; path: string; uid: number },
    how: readonly string[],
    line: (command: readonly string[]) => string[],
    outlived = false,
  ): Promise<{ steps: number; ran: number }> {
    let ran = 0;
    let busyUntil = 0;
    for (let n = 1; n < STEPS_MAX; n++) {
      const mark = `mark-${id}-${n}`;
      const words = line(['/bin/sh', '-c', 'echo here >&2; read line', mark]);
      const child = spawn(step, [String(n), ...how, ...words], { stdio: [nothing, 'pipe', 'pipe'] });
      let out = '';
      let err = '';
      child.stdout!.on('data', (chunk) => (out += chunk));
      child.stderr!.on('data', (chunk) => {
        err += chunk;
        // It runs, and when it is gone the launcher comes to its last steps. One whose launcher was killed has to be ended by
        // that: where this comes too early, it merely proves less.
        if (/^here$/m.test(err)) setTimeout(() => out === '' && end(mark), 30);
      });
      await once(child, 'exit');
      let runs = false;
      const look = () => {
        for (const each of remains(mark)) {
          runs = true;
          confined(each);
        }
      };
      const confined = ({ pid, cgroup, status }: Remains) => {
        assert.equal(cgroup, path, `${how[0]}, step ${n}: ${out}process ${pid} runs outside of the session`);
        const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1];
        assert.deepEqual(['Uid', 'NoNewPrivs', 'Seccomp', 'CapEff', 'CapBnd'].map(field), [
          ...[String(uid), '1', '2', '0'.repeat(16), '0'.repeat(16)],
        ]);
      };
      look();
      if (out === 'passed\n') end(mark); // in place it has become the command
      await empty(id, () => {
        if (!outlived) return;
        look();
        end(mark);
      });
      // The process that answers the filter of the launcher before holds the lock until it executes its program, which may be
      // later than that launcher's death. Nothing was started then, so this was no step.
      if (err.includes('error BUSY the session has begun already')) {
        busyUntil ||= Date.now() + PATIENCE_MS;
        assert.ok(Date.now() < busyUntil, err);
        assert.equal(runs, false);
        await pause(5);
        n--;
        continue;
      }
      busyUntil = 0;
      if (runs) ran++;
      assert.deepEqual(remains(mark), []);
      if (out === 'passed\n') return { steps: n, ran };
      assert.match(out, /^killed \d+ -?\d+\n$/, err);
    }
    throw new Error('it has no last step');
  }

  test('in place', { timeout: 230_000 }, async (t) => {
    const session = await host.session();
    const done = await everyStep({ ...session, uid: AGENT_UID }, ['self'], (command) =>
      host.launch(session.id, command),
    );
    t.diagnostic(JSON.stringify(done));
    assert.ok(done.steps > 50);
  });

  test('the front', { timeout: 230_000 }, async (t) => {
    const session = await host.ownSession();
    const done = await everyStep(session, ['self'], (command) => asOther(host.front(session.id, command)));
    t.diagnostic(JSON.stringify(done));
    assert.ok(done.steps > 50);
  });

  test('the end inside', { timeout: 230_000 }, async (t) => {
    const session = await host.ownSession();
    const done = await everyStep(session, ['child-of', String(helperPid), '2'], (command) =>
      asOther(host.front(session.id, command)),
    );
    t.diagnostic(JSON.stringify(done));
    assert.ok(done.steps > 50);
    assert.equal((await host.helper.status()).enforcing, true);
  });

  test('who answers the filter', { timeout: 230_000 }, async (t) => {
    const session = await host.session();
    const done = await everyStep(
      { ...session, uid: AGENT_UID },
      ['child-of', String(helperPid), '1'],
      (command) => host.launch(session.id, command),
      true,
    );
    t.diagnostic(JSON.stringify(done));
    assert.ok(done.steps > 50);
    // It says that it answers at one of its last steps, and until then nothing is started.
    assert.ok(done.ran > 0 && done.ran < done.steps / 2, `it ran at ${done.ran}`);
  });

  /** The first program is none of the steps that count, and not one that keeps privilege. */
  const asOther = (line: readonly string[]) => [
    ...['/usr/bin/setpriv', '--reuid', String(OTHER_UID), '--regid', String(OTHER_UID), '--clear-groups'],
    ...line,
  ];
});
