/** A cgroup that goes and comes back without its programs: nothing may be started in it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, type Host, newHost, OTHER_UID, runToEnd } from '../native/host.ts';

/** Gives a directory the owner that the helper looks for, which only root can. */
const CLAIM = `
import os, sys
os.setxattr(sys.argv[1], 'trusted.sluice.owner', sys.argv[2].encode())
if len(sys.argv) > 3: os.setxattr(sys.argv[1], 'trusted.sluice.agent', sys.argv[3].encode())
`;

describe('a cgroup that is removed and made anew', { skip: cannotRun() }, () => {
  let host: Host;
  let mount: string;

  beforeEach(async () => {
    host = newHost();
    await host.startHelper();
    mount = (await host.helper.status()).mount;
  });
  afterEach(() => host.close());

  const claim = (path: string, ...uids: number[]) =>
    execFileSync('/usr/bin/python3', ['-c', CLAIM, `${mount}${path}`, ...uids.map(String)]);
  const started = async (line: readonly string[], uid?: number) => {
    const { status, stdout, stderr } = await runToEnd(line, '', uid);
    assert.deepEqual([status, stdout], [125, ''], stderr);
    return stderr;
  };

  test('a session’s own is nobody’s, and nothing is started in it', async () => {
    const [own, plain] = [await host.ownSession(), await host.session(AGENT_UID)];
    const nothing = async () => {
      assert.match(await started(host.front(own.id, ['/bin/echo', 'ran']), OTHER_UID), /error UNKNOWN/);
      assert.match(await started(host.launch(plain.id, ['/bin/echo', 'ran'])), /error UNKNOWN/);
    };
    for (const { path } of [own, plain]) rmdirSync(`${mount}${path}`);
    await nothing();
    for (const { path } of [own, plain]) mkdirSync(`${mount}${path}`);
    await nothing();
    for (const { path } of [own, plain]) rmdirSync(`${mount}${path}`);
  });

  test('that of all sessions has no programs: the helper says so, starts nothing, and mends it when it starts', async () => {
    const [own, plain] = [await host.ownSession(), await host.session(AGENT_UID)];
    for (const path of [own.path, plain.path, `${host.cgroup}/sessions`]) rmdirSync(`${mount}${path}`);
    for (const path of [`${host.cgroup}/sessions`, own.path, plain.path]) mkdirSync(`${mount}${path}`);
    claim(own.path, OTHER_UID, own.uid);
    claim(plain.path, AGENT_UID);
    const { enforcing } = await host.helper.status();
    assert.equal(enforcing, false);
    await started(host.front(own.id, ['/bin/echo', 'ran']), OTHER_UID);
    await started(host.launch(plain.id, ['/bin/echo', 'ran']));
    await assert.rejects(host.session());
    await assert.rejects(host.ownSession());

    await host.stopHelper();
    await host.startHelper();
    assert.equal((await host.helper.status()).enforcing, true);
    // What was made by hand stands below the new programs now, and they hold there.
    const { stdout } = await host.python(
      plain.id,
      `print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 9))))`,
    );
    assert.equal(stdout, 'EPERM\n');
  });

  test('a program that is detached while a session waits for its command keeps the command from starting', async () => {
    const [own, plain] = [await host.ownSession(), await host.session(AGENT_UID)];
    const bpftool = ['/usr/sbin/bpftool', '/usr/bin/bpftool'].find((path) => existsSync(path)) ?? 'bpftool';
    execFileSync(bpftool, ['link', 'detach', 'pinned', join(host.runDir, 'bpf/links/connect4')]);
    assert.match(
      await started(host.front(own.id, ['/bin/echo', 'ran']), OTHER_UID),
      /error HOOK connect4 is not effective/,
    );
    assert.match(await started(host.launch(plain.id, ['/bin/echo', 'ran'])), /error HOOK connect4 is not effective/);
  });
});
