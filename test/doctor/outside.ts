/**
 * Every probe, outside of any session: each has to get out here, or it could not fail inside. In network and mount
 * namespaces of its own, so that ping sockets can be switched on. Prints one JSON array.
 *
 * Arguments: sluice-probe, the helper's pins.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findings } from '../../daemon/cli/doctor/findings.ts';
import { tryAll } from '../../daemon/cli/doctor/session.ts';
import { openWorld } from '../../daemon/cli/doctor/world.ts';
import { mustSucceed } from '../harness/child.ts';

const [probe = '', pins = '', mount = ''] = process.argv.slice(2);
const dir = mkdtempSync(join(tmpdir(), 'sluice-outside-'));

// In a container /proc/sys may be read-only; a proc of one's own is not.
const prepare = `
  ip link set lo up
  mount -t proc proc ${dir}
  echo 0 2000000000 > ${dir}/sys/net/ipv4/ping_group_range
  umount ${dir}`;
await mustSucceed(['sh', '-ec', prepare]);

/** Stands for a daemon that believes what a PROXY header says. */
const proxy = createServer((client) => {
  client.once('data', (first) => {
    const [, , , to = '', , port] = first.toString('latin1').split(/[ \r]/);
    const upstream = connect(Number(port), to, () => upstream.end(first));
    upstream.on('error', () => {});
  });
  client.on('error', () => {});
  // A port of this namespace alone that no client's socket is given: some probes bind it for datagrams.
}).listen({ host: '127.0.0.1', port: 4711, reusePort: true });
await once(proxy, 'listening');
const agent = createServer().listen(join(dir, 'agent.sock'));
await once(agent, 'listening');

const { port } = proxy.address() as { port: number };
process.env.SSH_AUTH_SOCK = join(dir, 'agent.sock');
const world = await openWorld(probe, { uid: 0, gid: 0 });
try {
  const words = [`daemon=${port}`, `pins=${pins}`, `cgroup=${mount}`];
  const tried = await tryAll([], world, words);
  const found = findings(tried, world, null);
  process.stdout.write(JSON.stringify({ found, missing: world.missing }));
} finally {
  await world.close();
  proxy.close();
  agent.close();
  rmSync(dir, { recursive: true, force: true });
}
