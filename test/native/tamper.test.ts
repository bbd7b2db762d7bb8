/** Root outside the sessions pulls at what enforces: the helper notices, puts it back, ends what ran meanwhile, and says so. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { cannotRun, type Host, newHost, PYTHON, runToEnd } from './host.ts';

const BPFTOOL = ['/usr/sbin/bpftool', '/usr/bin/bpftool', '/sbin/bpftool'];
const PATIENCE_MS = 30_000;

function bpftool(...args: string[]): string {
  for (const file of BPFTOOL) {
    try {
      return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('there is no bpftool');
}

describe('tampering', { skip: cannotRun() }, () => {
  let host: Host;
  let seen = 0;
  const pin = (name: string) => join(host.runDir, 'bpf', name);

  before(async () => {
    host = newHost();
    await host.startHelper();
    await host.startDaemon();
  });
  after(() => host.close());

  /** Waits until the helper tells of it; what it told before does not count. */
  async function told(wanted: RegExp): Promise<string[]> {
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      const incidents = await host.helper.incidents(seen);
      const last = incidents.find(({ text }) => wanted.test(text));
      if (last) {
        seen = incidents.at(-1)?.at ?? seen;
        return incidents.map(({ text }) => text);
      }
      if (Date.now() > until) throw new Error(`the helper does not tell ${wanted}: ${JSON.stringify(incidents)}`);
      await pause(50);
    }
  }

  async function enforces(): Promise<void> {
    const { enforcing, missing, hooks, pinned } = await host.helper.status();
    assert.deepEqual([enforcing, missing, pinned], [true, '', hooks]);
  }

  /** A command that runs in a session until it is killed. */
  async function running(): Promise<{ ended: Promise<unknown[]>; alive(): boolean }> {
    const { id } = await host.session();
    const [file = '', ...args] = host.launch(id, ['/bin/sh', '-c', 'echo there; exec sleep 600']);
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    return { ended, alive: () => child.exitCode === null && child.signalCode === null };
  }

  test('a pin that was removed is pinned again, and the sessions go on', async () => {
    const session = await running();
    rmSync(pin('links/connect4'));
    assert.deepEqual(await told(/connect4/), ['the pin of connect4 was removed; pinned again']);
    await enforces();
    assert.ok(session.alive());
  });

  test('another link at the place of a pin is replaced', async () => {
    rmSync(pin('links/egress'));
    bpftool('link', 'pin', 'pinned', pin('links/ingress'), pin('links/egress'));
    await told(/the pin of egress/);
    await enforces();
  });

  test('a link that was detached is attached again, and what ran in the sessions meanwhile is killed', async () => {
    for (const name of ['egress', 'connect6', 'device']) {
      const session = await running();
      bpftool('link', 'detach', 'pinned', pin(`links/${name}`));
      const texts = await told(/all processes in sessions were killed/);
      assert.deepEqual(texts.slice(0, 2), [`${name} was detached`, `${name} is attached again`]);
      const [, signal] = await session.ended;
      assert.ok(signal === 'SIGKILL' || !session.alive());
      await enforces();
    }
    const { id } = await host.session();
    const { stdout } = await host.python(
      id,
      `print(connect(socket.AF_INET, '198.51.100.23', 5433)[0]['address'], attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 9))))`,
    );
    assert.equal(stdout, '198.51.100.23 EPERM\n');
  });

  test('an unmounted bpffs is mounted again with all its pins, which the daemon can open', async () => {
    execFileSync('umount', [join(host.runDir, 'bpf')]);
    await told(/the bpffs was unmounted; mounted again/);
    await enforces();
    assert.deepEqual(
      readdirSync(join(host.runDir, 'bpf'))
        .filter((name) => name !== 'links' && !name.endsWith('.debug'))
        .sort(),
      'accepted births datagrams listener listeners origins pending refusals refusals_lost unix_names usage'.split(' '),
    );
    await host.stopDaemon();
    await host.startDaemon();
    const { id } = await host.session();
    const { stdout } = await host.python(id, `print(connect(socket.AF_INET, '198.51.100.23', 5433)[0]['port'])`);
    assert.equal(stdout, '5433\n');
  });

  /** Where the bpffs is mounted once more, as long as the host has processes. */
  const second = () => join('/dev/sluice', join(host.runDir, 'bpf').slice(1).replaceAll('/', '-'));
  const linkId = (at: string) => /^(\d+):/.exec(bpftool('link', 'show', 'pinned', join(at, 'links/connect4')))?.[1];

  test('its second mount is put back', async () => {
    const id = linkId(second());
    assert.ok(id);
    execFileSync('umount', [second()]);
    await told(/the bpffs was unmounted below \/dev\/sluice; mounted again/);
    assert.equal(linkId(second()), id);
    await enforces();
  });

  test('unmounted while no helper runs it goes on holding sessions, and the next takes its pins from the second mount', async () => {
    const id = linkId(second());
    const { id: session } = await host.session();
    const udp = `print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 9))))`;
    const [file = '', ...args] = host.launch(session, [
      ...['/usr/bin/python3', '-uc', `${PYTHON}print('there'); sys.stdin.readline()\n${udp}`],
    ]);
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk) => (said += chunk));
    await once(child.stdout, 'data');
    await host.stopHelper('SIGKILL');
    execFileSync('umount', [join(host.runDir, 'bpf')]);
    child.stdin.end('\n');
    await once(child, 'close');
    assert.equal(said, 'there\nEPERM\n');
    await host.startHelper();
    assert.equal(linkId(join(host.runDir, 'bpf')), id);
    await enforces();
    assert.equal((await host.python(session, udp)).stdout, 'EPERM\n');
  });

  test('only the daemon and root are told of incidents', async () => {
    const ask = `${PYTHON}
u = socket.socket(socket.AF_UNIX); u.connect('${host.runDir}/helper.sock'); u.send(b'incidents 0\\n'); print(u.recv(100).decode().split()[1])`;
    assert.equal((await runToEnd(['/usr/bin/python3', '-c', ask], '', 64802)).stdout, 'DENIED\n');
  });

  test('a foreign program without BPF_F_ALLOW_MULTI above us keeps the helper from starting', async () => {
    const { mount } = await host.helper.status();
    const own = newHost();
    const cgroup = join(mount, own.cgroup);
    execFileSync('mkdir', [cgroup]);
    // Any program of the kind will do: this one is ours, lent by its pin.
    const id = /prog (\d+)/.exec(bpftool('link', 'show', 'pinned', pin('links/bind4')))?.[1] ?? '';
    bpftool('cgroup', 'attach', cgroup, 'bind4', 'id', id);
    await assert.rejects(
      own.startHelper(),
      /a program attached without BPF_F_ALLOW_MULTI on this cgroup or one above it/,
    );
    bpftool('cgroup', 'detach', cgroup, 'bind4', 'id', id);
    await own.close();
  });

  test('where a foreign program keeps a detached link from coming back, nothing runs until it is gone', async () => {
    const { mount } = await host.helper.status();
    const base = join(mount, host.cgroup);
    const foreign = newHost();
    await foreign.startHelper();
    const theirs = join(foreign.runDir, 'bpf/links/bind4');
    const id = /prog (\d+)/.exec(bpftool('link', 'show', 'pinned', theirs))?.[1] ?? '';
    const session = await running();
    bpftool('cgroup', 'attach', base, 'bind4', 'id', id);
    await enforces(); // attached before it came, ours stay
    bpftool('link', 'detach', 'pinned', pin('links/bind4'));
    assert.deepEqual(await told(/all processes in sessions were killed/), [
      'bind4 was detached',
      "bind4 can't be attached again",
      'enforcement had lapsed: all processes in sessions were killed',
    ]);
    await session.ended;
    const { enforcing, missing, guarantees } = await host.helper.status();
    assert.deepEqual(
      [enforcing, missing, guarantees.find(({ name }) => name === 'port')?.held],
      [false, 'bind4', false],
    );
    await assert.rejects(host.session(), { code: 'KERNEL_UNSUPPORTED' });
    bpftool('cgroup', 'detach', base, 'bind4', 'id', id);
    await told(/bind4 is attached again/);
    await enforces();
    await host.session();
    await foreign.close();
  });

  test('a required guarantee that is not held keeps sessions from being made and joined', async () => {
    const own = newHost();
    await own.startHelper('--without', 'device');
    const { enforcing, missing, guarantees } = await own.helper.status();
    assert.deepEqual([enforcing, missing], [false, 'device']);
    assert.deepEqual(
      guarantees.find(({ name }) => name === 'devices'),
      { name: 'devices', held: false, required: true, by: [], needs: 'Linux >= 6.1' },
    );
    await assert.rejects(own.session(), {
      code: 'KERNEL_UNSUPPORTED',
      message: /the guarantee devices is required and does not hold/,
    });
    await own.stopHelper();
    await own.startHelper('--require', 'none', '--without', 'device');
    const { id } = await own.session();
    await own.stopHelper();
    await own.startHelper('--without', 'device');
    assert.match((await own.run(id, ['true'])).stderr, /the guarantee devices is required/);
    await own.stopHelper();
    // And with it again all is well: a hook left out before is attached.
    await own.startHelper();
    assert.equal((await own.helper.status()).enforcing, true);
    assert.equal((await own.run(id, ['true'])).status, 0);
    await own.close();
  });

  test('options that name no guarantee, hook or socket are refused', async () => {
    for (const [options, wanted] of [
      [['--require', 'tcp,everything'], /there is no such guarantee/],
      [['--without', 'nothing'], /there is no such hook/],
      [['--unix', 'relative.sock'], /an absolute path or @/],
    ] as const) {
      const own = newHost();
      await assert.rejects(own.startHelper(...options), wanted);
      await own.close();
    }
  });
});
