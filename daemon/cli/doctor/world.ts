/**
 * The world outside of the session, for as long as the doctor works: a folder, a witness on the loopback, as root another in
 * a network namespace of its own behind a veth pair (nothing of it touches the real network), and a process to be attacked.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { accessSync, chmodSync, constants, copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SluiceError } from '../../core/errors.ts';
import { type Helping, type Line, MARK, startHelping } from './probe.ts';

export interface World {
  /** KEY=VALUE words for sluice-probe. */
  readonly words: readonly string[];
  /** sluice-probe, where the agents' account can execute it. */
  readonly probe: string;
  /** Attempts that a witness saw, and where. */
  readonly saw: ReadonlyMap<string, string>;
  /** Attempts to listen that a witness called. */
  readonly called: ReadonlySet<string>;
  /** A witness listens for raw packets on the loopback, too. */
  readonly raw: boolean;
  /** uid of the process that is attacked; null: there is none. */
  readonly victimUid: number | null;
  /** What could not be set up, in words. */
  readonly missing: readonly string[];
  /** Has a witness call a process that listens. */
  call(line: Line): void;
  /** A connection to the witness, for the session to inherit. */
  connection(): Promise<Socket>;
  /** Until nothing more arrives. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

interface Far {
  readonly witness: Helping;
  readonly device: string;
  readonly words: string;
  /** Of this host, as the namespace sees it. */
  readonly v4: string;
  readonly v6: string;
}

const SETTLE_MS = 5_000;
/** Within which a connection has to come through a veth pair that was just made. */
const REACHED_MS = 10_000;

/** @param agent whom a victim is to run as (root only); null: nobody, or the caller where that is not root. */
export async function openWorld(probe: string, agent: { uid: number; gid: number } | null): Promise<World> {
  const nonce = randomBytes(12).toString('hex');
  const dir = mkdtempSync(join(tmpdir(), 'sluice-doctor-'));
  chmodSync(dir, 0o755);
  const missing: string[] = [];
  const saw = new Map<string, string>();
  const called = new Set<string>();
  const helping: Helping[] = [];
  let drained: (() => void)[] = [];
  let device: string | null = null;
  const hear = (line: Line) => {
    if (typeof line.saw === 'string' && !saw.has(line.saw)) saw.set(line.saw, String(line.at));
    if (typeof line.called === 'string') called.add(line.called);
    if (line.drained === true) drained.shift()?.();
  };
  const close = async () => {
    await Promise.all(helping.map((each) => each.end()));
    // It goes with its namespace, but that is taken down by the kernel when it finds the time.
    if (device !== null) spawnSync('ip', ['link', 'del', device], { stdio: 'ignore' });
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const reachable = reachableProbe(probe, dir);
    const near = await startHelping([reachable, 'witness', `nonce=${nonce}`, `dir=${dir}`], hear);
    helping.push(near);
    const words = [`nonce=${nonce}`, `dir=${dir}`, `near=127.0.0.1,::1,${near.ready.port},lo`];
    const far = await openFar(reachable, nonce, hear).catch((error: Error) => {
      missing.push(`no witness beyond the loopback: ${error.message}`);
      return null;
    });
    if (far !== null) {
      device = far.device;
      helping.push(far.witness);
      words.push(far.words);
    }
    const root = process.getuid!() === 0;
    const victim = root && agent === null ? null : await openVictim(reachable, words, nonce, agent, hear);
    if (victim === null) missing.push('no process to attack: this host has no account for agents');
    else {
      helping.push(victim);
      words.push(`victim=${victim.ready.pid},${victim.ready.secret},${victim.ready.fd}`);
    }
    return {
      words,
      probe: reachable,
      saw,
      called,
      raw: near.ready.raw === true,
      victimUid: victim === null ? null : root ? agent!.uid : process.getuid!(),
      missing,
      call({ listen, family, type, port, far: fromFar }) {
        const host = family === 4 ? (far?.v4 ?? '') : (far?.v6 ?? '');
        const order = (address: string) => `dial ${type} ${address} ${port} ${listen}`;
        if (fromFar === true) far?.witness.tell(order(host));
        else near.tell(order(family === 4 ? '127.0.0.1' : '::1'));
      },
      connection: () =>
        new Promise((resolve, reject) => {
          const socket = connect(Number(near.ready.port), '127.0.0.1', () => resolve(socket));
          socket.once('error', reject);
        }),
      async settle() {
        const witnesses = far === null ? [near] : [near, far.witness];
        const quiet = Promise.all(witnesses.map(() => new Promise<void>((resolve) => drained.push(resolve))));
        for (const each of witnesses) each.tell('drain');
        const late = new Promise<never>((_, reject) =>
          setTimeout(() => reject(new Error('the witness does not answer')), SETTLE_MS).unref(),
        );
        await Promise.race([quiet, late]);
        drained = [];
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The program itself where everyone can reach it, else a copy: a checkout may lie in /root. @throws SluiceError CONFIG_INVALID. */
function reachableProbe(probe: string, dir: string): string {
  try {
    accessSync(probe, constants.X_OK);
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `${probe} can't be executed`, {
      hint: 'install it, build it (make -C native), or say where it is by SLUICE_LIB_DIR',
      cause,
    });
  }
  let open = (statSync(probe).mode & 0o001) !== 0;
  for (let at = dirname(probe); open && at !== '/'; at = dirname(at)) open = (statSync(at).mode & 0o001) !== 0;
  if (open) return probe;
  const copy = join(dir, 'sluice-probe');
  copyFileSync(probe, copy);
  chmodSync(copy, 0o755);
  return copy;
}

/** The namespace, with addresses for benchmarks (RFC 2544) and a local IPv6 prefix (RFC 4193). @throws Error where there can be none. */
async function openFar(probe: string, nonce: string, hear: (line: Line) => void): Promise<Far> {
  if (process.getuid!() !== 0) throw new Error('needs root');
  const witness = await startHelping(['unshare', '-n', probe, 'witness', 'far', `nonce=${nonce}`], hear, {
    env: { PATH: SYSTEM_PATH },
  });
  const device = `sluice${nonce.slice(0, 8)}`;
  const v4 = `198.18.${randomInt(1, 255)}.`;
  const v6 = `fd5a:${nonce.slice(0, 4)}:${nonce.slice(4, 8)}::`;
  const script = `
    ip link add ${device} type veth peer name sluice0 netns ${witness.child.pid}
    ip addr add ${v4}33/30 dev ${device}
    ip -6 addr add ${v6}21/64 dev ${device} nodad || true
    ip link set ${device} up
    inside() { nsenter -t ${witness.child.pid} -n ip "$@"; }
    inside addr add ${v4}34/30 dev sluice0
    inside -6 addr add ${v6}22/64 dev sluice0 nodad || true
    inside link set sluice0 up
    inside link set lo up`;
  const { status, stderr } = spawnSync('sh', ['-ec', script], { encoding: 'utf8', env: { PATH: SYSTEM_PATH } });
  if (status !== 0) {
    await witness.end();
    throw new Error(stderr.trim().split('\n').at(-1) || 'ip(8) failed');
  }
  const { port } = witness.ready;
  // A host without IPv6 has no way out by it.
  const [reached] = await Promise.all([`${v4}34`, `${v6}22`].map((host) => isReached(host, Number(port))));
  if (!reached) {
    await witness.end();
    spawnSync('ip', ['link', 'del', device], { stdio: 'ignore' });
    throw new Error('it cannot be reached from this host');
  }
  return {
    witness,
    device,
    words: `far=${v4}34,${v6}22,${port},${device}`,
    v4: `${v4}33`,
    v6: `${v6}21`,
  };
}

/**
 * Does a connection come through before long? The first packets of a new device wait for both ends to be up and to find each
 * other, or are lost and sent again after a second: time that an attempt does not have, which then would prove nothing.
 */
async function isReached(host: string, port: number): Promise<boolean> {
  const until = Date.now() + REACHED_MS;
  do {
    const code = await new Promise<string | undefined>((resolve) => {
      const socket = connect(port, host, () => done(''));
      const done = (said: string | undefined) => {
        socket.destroy();
        resolve(said);
      };
      socket.once('error', (error: NodeJS.ErrnoException) => done(error.code));
      socket.setTimeout(REACHED_MS, () => done('ETIMEDOUT'));
    });
    if (code === '') return true;
    // No address of this family, or nobody listens in it.
    if (code === 'ENETUNREACH' || code === 'EADDRNOTAVAIL' || code === 'ECONNREFUSED') return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < until);
  return false;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function openVictim(
  probe: string,
  words: readonly string[],
  nonce: string,
  agent: { uid: number; gid: number } | null,
  hear: (line: Line) => void,
): Promise<Helping> {
  return startHelping([probe, 'victim', ...words], hear, {
    ...(process.getuid!() === 0 && agent !== null && { uid: agent.uid, gid: agent.gid }),
    env: { SECRET: `${MARK}${nonce} victim` },
  });
}
