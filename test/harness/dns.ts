/** A real DNS server of one's own: dnsmasq, which answers what it is told and says what it was asked. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { ended } from './child.ts';
import { freePort } from './port.ts';

const DNSMASQ = '/usr/sbin/dnsmasq';
const READY_WITHIN = 10_000;

/** Why there is no such server here, or null. */
export const dnsMissing = (): string | null =>
  existsSync(DNSMASQ) ? null : `${DNSMASQ} is not installed (setup/packages has it)`;

export interface DnsServer {
  readonly port: number;
  /** What it was asked so far: `A deb.example.test`, in its spelling. */
  asked(): string[];
  /** All that it wrote. */
  log(): string;
  stop(): Promise<void>;
}

export interface DnsPlace {
  /** Before its command: into a network namespace. Absent: the caller's. */
  readonly enter?: readonly string[];
  /** Where it listens. Absent: both addresses of loopback. */
  readonly addresses?: readonly string[];
}

/** `records`: options of dnsmasq, as `host-record=a.test,10.1.2.3`. It knows all of .test and nothing else. */
export async function startDns(
  records: readonly string[],
  port = 0,
  { enter = [], addresses = ['127.0.0.1', '::1'] }: DnsPlace = {},
): Promise<DnsServer> {
  const at = port === 0 ? await freePort() : port;
  const options = [
    'no-daemon',
    'conf-file=/dev/null',
    'no-resolv',
    'no-hosts',
    'bind-interfaces',
    'user=root',
    'pid-file',
    'log-queries',
    'local=/test/',
    `port=${at}`,
    ...addresses.map((address) => `listen-address=${address}`),
    ...records,
  ];
  // When whoever started it is killed, the kernel stops it.
  const argv = [...enter, 'setpriv', '--pdeathsig', 'TERM', DNSMASQ, ...options.map((option) => `--${option}`)];
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let log = '';
  const ready = Promise.withResolvers<void>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (/cleared cache|started, /.test(log)) ready.resolve();
  });
  child.once('exit', () => ready.reject(new Error(`dnsmasq ended:\n${log}`)));
  const timer = setTimeout(() => ready.reject(new Error(`dnsmasq was not ready:\n${log}`)), READY_WITHIN);
  await ready.promise.finally(() => clearTimeout(timer));
  return {
    port: at,
    asked: () => [...log.matchAll(/query\[([^\]]+)\] (\S+) from/g)].map(([, type, name]) => `${type} ${name}`),
    log: () => log,
    stop: () => ended(child),
  };
}
