import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Session } from '../core/principal.ts';
import { cgroupMount, cgroupPath, loginUid, sessionOfPid, unitOf } from './process.ts';

test('cgroup v2 is found on unified and hybrid hosts', () => {
  const unified = '25 18 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n';
  const hybrid =
    '30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 24 0:27 / /sys/fs/cgroup/a\\040b rw - cgroup2 none rw\n';
  assert.equal(cgroupMount(unified), '/sys/fs/cgroup');
  assert.equal(cgroupMount(hybrid), '/sys/fs/cgroup/a b');
  assert.throws(() => cgroupMount('22 1 0:5 / /proc rw - proc proc rw\n'), /no cgroup v2/);
  assert.equal(cgroupPath('12:cpu:/x\n0::/user.slice/y\n'), '/user.slice/y');
  assert.equal(cgroupPath('12:cpu:/x\n'), null);
});

test('a process that nobody can look at is not taken for one outside of all sessions', () => {
  const none = () => null;
  assert.equal(sessionOfPid(process.pid, none), null);
  assert.throws(() => sessionOfPid(0x7fff_ffff, none), /ENOENT/);
});

test('a process is in the session of its cgroup and of the one above', async (t) => {
  const base = join(cgroupMount(), `sluice-test-${process.pid}`);
  const inner = join(base, 'inner');
  try {
    mkdirSync(inner, { recursive: true });
  } catch (error) {
    t.skip(`needs to make a cgroup: ${(error as Error).message}`);
    return;
  }
  const child = spawn('cat', { stdio: ['pipe', 'ignore', 'inherit'] });
  t.after(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
    rmdirSync(inner);
    rmdirSync(base);
  });
  const session = { id: 's' } as Session;
  const at = (path: string) => (id: bigint) => (id === statSync(path, { bigint: true }).ino ? session : null);
  assert.equal(sessionOfPid(child.pid!, at(inner)), null);
  writeFileSync(join(inner, 'cgroup.procs'), String(child.pid));
  assert.equal(sessionOfPid(child.pid!, at(inner)), session);
  assert.equal(sessionOfPid(child.pid!, at(base)), session);
  assert.equal(sessionOfPid(process.pid, at(base)), null);
});

test('who logged in is a uid or nobody', () => {
  const uid = loginUid(process.pid);
  assert.ok(uid === null || (Number.isInteger(uid) && uid < 0xffffffff));
});

test('the systemd unit is the first that only the service manager can have made', () => {
  for (const [content, unit] of [
    ['0::/system.slice/agent.service\n', 'agent.service'],
    ['0::/system.slice/system-agent.slice/agent@1.service/below/other.service\n', 'agent@1.service'],
    ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service\n', 'user@1000.service'],
    ['0::/user.slice/user-1000.slice/session-3.scope\n', 'session-3.scope'],
    ['12:pids:/x\n1:name=systemd:/system.slice/agent.service\n0::/sluice/agent.service\n', 'agent.service'],
    ['1:name=systemd:/\n0::/other.service\n', null],
    ['0::/own/agent.service\n', null],
    ['0::/../agent.service\n', null],
    ['0::/\n', null],
    ['', null],
  ] as const)
    assert.equal(unitOf(content), unit, content);
});
