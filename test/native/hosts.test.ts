/**
 * Hosts that lack what sluice needs, and hosts that have it elsewhere. A mount namespace of the helper's own shows it
 * another host; what it pins is not the host's then, and goes with it.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, DAEMON_UID, type Host, newHost } from './host.ts';

const HELPER = join(import.meta.dirname, '../../build/native/sluice-helper');

describe('a host', { skip: cannotRun() }, () => {
  let host: Host;
  let helper: ChildProcess;

  beforeEach(() => {
    host = newHost();
  });
  afterEach(async () => {
    if (helper.exitCode === null && helper.signalCode === null) {
      helper.kill();
      await once(helper, 'exit');
    }
    await host.close();
  });

  /** Starts the helper where the shell line has been carried out before, until it is ready or has ended. Returns what it said. */
  async function startWhere(line: string): Promise<string> {
    const options = [
      '--run-dir',
      host.runDir,
      '--name',
      host.cgroup.slice(1),
      '--user',
      String(DAEMON_UID),
      '--pool',
      'none',
    ];
    helper = spawn('unshare', ['-m', 'sh', '-c', `${line}`, 'sh', HELPER, ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    for await (const chunk of helper.stderr!) {
      said += chunk;
      if (/: ready: /.test(said)) return said;
    }
    if (helper.exitCode === null) await once(helper, 'exit');
    return said;
  }

  /** It has ended, saying this, and nobody can have a session. */
  async function refuses(line: string, wanted: RegExp): Promise<void> {
    assert.match(await startWhere(line), wanted);
    assert.equal(helper.exitCode, 1);
    await assert.rejects(host.session(), { code: 'HELPER_UNREACHABLE' });
  }

  const WAYS = `
print(attempt(lambda: connect(socket.AF_INET, '198.51.100.23', 5433)))
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 5433))))
`;

  test('whose kernel does not show its types starts no agents', async () => {
    for (const name of ['empty-file', 'empty-folder']) {
      const hide =
        name === 'empty-file'
          ? `mount --bind ${host.runDir}/${name} /sys/kernel/btf/vmlinux`
          : `mount --bind ${host.runDir}/${name} /sys/kernel/btf`;
      if (name === 'empty-file') writeFileSync(join(host.runDir, name), '');
      else mkdirSync(join(host.runDir, name));
      await refuses(`${hide} && exec "$@"`, /does not describe its types.*CONFIG_DEBUG_INFO_BTF.*No session starts/s);
    }
  });

  test('without cgroup v2 starts no agents', () =>
    refuses('umount -R -l /sys/fs/cgroup && exec "$@"', /cgroup ?(v2|2)/i));

  test('where no bpffs can be mounted starts no agents', () =>
    refuses(
      'exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"',
      /cannot mount a bpffs on .*\(needs CAP_SYS_ADMIN and the host's mount namespace\)/,
    ));

  test('that has cgroup v2 alone, at /sys/fs/cgroup, confines as one that has v1 beside it', async () => {
    const unified = 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"';
    assert.match(await startWhere(unified), /: ready: /);
    const status = await host.helper.status();
    assert.deepEqual([status.enforcing, status.mount], [true, '/sys/fs/cgroup']);
    const { id, path } = await host.session(AGENT_UID);
    const { stdout, stderr } = await host.python(
      id,
      `${WAYS}print(open('/proc/self/cgroup').read().split('0::')[1].strip())`,
    );
    assert.deepEqual([stdout, stderr], [`ECONNREFUSED\nEPERM\n${path}\n`, '']);
  });

  test('that has v1 beside it is told apart by where cgroup v2 is', async () => {
    assert.match(await startWhere('exec "$@"'), /: ready: /);
    const { mount } = await host.helper.status();
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((each) => each.split(' ')[4] === mount);
    assert.match(line ?? '', / - cgroup2 /);
    const { id } = await host.session(AGENT_UID);
    assert.equal((await host.python(id, WAYS)).stdout, 'ECONNREFUSED\nEPERM\n');
  });
});
