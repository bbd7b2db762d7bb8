/** Servers that nobody reads, behind sluice: by TLS, in clear text, and one that speaks first; all on one address. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { CertificateAuthority } from '../../daemon/intake/certificates.ts';
import { type DnsServer, startDns } from '../harness/dns.ts';
import { type Stack, startStack } from '../harness/stack.ts';

export const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
export const BODY = Buffer.from(Array.from({ length: 1 << 21 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));

/** A repository as git reads one without a server of its own, and one package as npm and pip ask for it. */
const PAGES: Readonly<Record<string, string | Buffer>> = {
  '/big': BODY,
  '/repo.git/info/refs': `${'17'.repeat(20)}\trefs/heads/main\n`,
  '/left-pad': JSON.stringify({
    name: 'left-pad',
    'dist-tags': { latest: '1.3.0' },
    versions: { '1.3.0': { name: 'left-pad', version: '1.3.0', dist: { tarball: 'https://mirror.shop.test/x.tgz' } } },
  }),
};

export interface Site {
  readonly stack: Stack;
  readonly dns: DnsServer;
  /** What clients have to trust. */
  readonly ca: string;
  /** Ports of the servers. */
  readonly tls: number;
  readonly echo: number;
  readonly banner: number;
  readonly closed: number;
  /** Server names that clients of the TLS server sent, and how many connections it got. */
  readonly seen: (string | false)[];
  accepted(): number;
  events(): Promise<Readonly<Record<string, unknown>>[]>;
  stop(): Promise<void>;
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

export async function openSite(): Promise<Site> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-tcp-'));
  chmodSync(dir, 0o755);
  const authority = await CertificateAuthority.open(join(dir, 'ca'));
  const ca = join(dir, 'trusted.pem');
  writeFileSync(ca, authority.pem, { mode: 0o644 });
  const names = ['mirror.shop.test', 'files.shop.test', 'other.shop.test', 'noname.shop.test', 'hidden.shop.test'];
  const leaf = await authority.leafFor([...names, 'any.shop.test', 'held.shop.test']);
  const web = http.createServer((request, response) => {
    const page = PAGES[(request.url ?? '').replace(/\?.*$/, '')];
    if (request.method === 'GET') response.end(page ?? `hello from ${request.headers.host}\n`);
    else {
      const hash = createHash('sha256');
      request.on('data', (chunk) => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')));
    }
  });
  const seen: (string | false)[] = [];
  let accepted = 0;
  const secure = tls.createServer({ cert: leaf.cert, key: leaf.key, ALPNProtocols: ['http/1.1'] }, (socket) => {
    seen.push(socket.servername ?? false);
    web.emit('connection', socket);
  });
  secure.on('connection', () => accepted++).on('tlsClientError', () => {});
  // Answers once the client ended its side.
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => {
    const parts: Buffer[] = [];
    socket.on('error', () => {}).on('data', (chunk: Buffer) => parts.push(chunk));
    socket.on('end', () => socket.end(Buffer.concat([Buffer.from('got '), ...parts])));
  });
  // Says something and ends its side, then hears the client out.
  const heard: string[] = [];
  const banner = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.end('ready\n');
    socket.on('data', (chunk: Buffer) => heard.push(String(chunk)));
  });
  const closing = net.createServer();
  const ports = {
    tls: await listening(secure),
    echo: await listening(echo),
    banner: await listening(banner),
    closed: await listening(closing),
  };
  closing.close();
  const dns = await startDns(
    [...names, 'any.shop.test', 'held.shop.test'].map((name) => `host-record=${name},127.0.0.1`),
  );
  const stack = await startStack({
    name: 'tcp',
    config: { resolvers: [`127.0.0.1:${dns.port}`] },
    policy: policy(ports),
  });
  return {
    stack,
    dns,
    ca,
    ...ports,
    seen,
    accepted: () => accepted,
    async events() {
      const { stdout } = await stack.sluice(['audit', '-o', 'json', '-n', '100000']);
      return stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    },
    async stop() {
      await stack.stop();
      await dns.stop();
      for (const server of [secure, echo, banner]) server.close();
      web.closeAllConnections();
      rmSync(dir, { recursive: true });
    },
  };
}

const policy = (ports: { tls: number; echo: number; banner: number; closed: number }): string => `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
dns:
  - names: [mirror.shop.test, files.shop.test, other.shop.test, noname.shop.test, hidden.shop.test, any.shop.test, held.shop.test]
    who: {groups: [agents]}
    answers: any
resources:
  mirror: {protocol: tcp, address: "mirror.shop.test:${ports.tls}"}
  files: {protocol: tcp, address: "files.shop.test:${ports.tls}"}
  forbidden: {protocol: tcp, address: "hidden.shop.test:${ports.tls}"}
  held: {protocol: tcp, address: "held.shop.test:${ports.tls}"}
  noname: {protocol: tcp, address: "noname.shop.test:${ports.tls}", options: {servername: optional}}
  echo: {protocol: tcp, address: "any.shop.test:${ports.echo}", options: {speaks: anything}}
  banner: {protocol: tcp, address: "any.shop.test:${ports.banner}", options: {speaks: anything}}
  closed: {protocol: tcp, address: "any.shop.test:${ports.closed}"}
rules:
  - name: agents fetch packages
    allow: [network]
    who: {groups: [agents]}
    on: [mirror, files, noname, echo, banner, closed]
  - name: somebody looks first
    approve: [network]
    who: {groups: [agents]}
    on: held
    reviewers: anyone
    hold: 60s
`;
