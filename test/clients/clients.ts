/** The clients, as people have them: each with its command line for a host and its own words for what went wrong. */
import { join } from 'node:path';
import { gitMissing, goMissing, JAVA, javaMissing, without } from './installed.ts';
import type { Site } from './site.ts';
import { PACKAGE, SAYS } from './wares.ts';

export interface Client {
  readonly name: string;
  /** Why it can't be tried here, or false. */
  readonly missing: string | false;
  argv(host: string, site: Site): readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Program of the process that asks and connects, as the kernel tells it. */
  readonly exe: RegExp;
  /** What it comes to: the web server, or the database. */
  readonly to: 'web' | 'db';
  /** What it prints once it has what it came for, from the server at that address. */
  readonly got: (host: string, at: string) => string;
  /** What it says on stderr of how it resolves. Absent: nothing. */
  readonly resolver?: RegExp;
  /** Its words, on stderr, where a name does not exist. */
  readonly unknown: RegExp;
  /** Those where the connection is refused. */
  readonly refused: RegExp;
}

const page = (host: string, at: string) => `hello from ${host} at ${at}\n`;
const ware = () => `${SAYS}\n`;
const answer = (_host: string, at: string) => `answer from ${at}\n`;

export const CLIENTS: readonly Client[] = [
  {
    name: 'curl',
    missing: without('/usr/bin/curl', 'setup/packages has it'),
    argv: (host) => ['curl', '-sS', `https://${host}/`],
    exe: /^\/usr\/bin\/curl$/,
    to: 'web',
    got: page,
    unknown: /Could not resolve host/,
    refused: /alert access denied/,
  },
  {
    name: 'git',
    missing: gitMissing,
    argv: (host) => ['sh', '-c', `git clone -q https://${host}/repo.git && cat repo/README`],
    exe: /\/git-remote-https?$/,
    to: 'web',
    got: ware,
    unknown: /Could not resolve host/,
    refused: /unable to access .*(alert|Access was) denied/,
  },
  {
    name: 'pip',
    missing: without('/usr/bin/pip3', 'npm run test:longer installs it'),
    argv: (host) => [
      'sh',
      '-c',
      `pip3 install -q --index-url https://${host}/simple/ --target lib ${PACKAGE} && python3 -c 'import sys; sys.path.append("lib"); import ${PACKAGE}; print(${PACKAGE}.SAYS)'`,
    ],
    exe: /^\/usr\/bin\/python3\.\d+$/,
    to: 'web',
    got: ware,
    unknown: /Name or service not known[\s\S]*No matching distribution found/,
    refused: /ACCESS_DENIED[\s\S]*No matching distribution found/,
  },
  {
    name: 'npm',
    missing: without('/usr/bin/npm', 'apt-get install npm'),
    argv: (host) => [
      'sh',
      '-c',
      `echo registry=https://${host}/ >.npmrc && npm install --loglevel=error --no-progress ${PACKAGE} >&2 && node -p 'require("${PACKAGE}")'`,
    ],
    // node brings roots of its own, and is told of the host's like this.
    env: { NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt' },
    exe: /\/node$/,
    to: 'web',
    got: ware,
    unknown: /ENOTFOUND/,
    refused: /alert access denied/,
  },
  {
    name: 'psql',
    missing: false,
    argv: (host, site) => [
      'psql',
      ...['-h', host, '-p', String(site.port), '-d', 'postgres', '-U', 'shop'],
      ...['-XAtc', "select 'answer from ' || host(inet_server_addr())"],
    ],
    exe: /^\/usr\/lib\/postgresql\/\d+\/bin\/psql$/,
    to: 'db',
    got: answer,
    unknown: /could not translate host name .*Name or service not known/,
    refused: /no resource at/,
  },
  {
    name: 'python asyncio',
    missing: false,
    argv: (host, site) => ['python3', join(site.programs, 'fetch.py'), host],
    exe: /^\/usr\/bin\/python3\.\d+$/,
    to: 'web',
    got: page,
    unknown: /gaierror.*Name or service not known/,
    refused: /SSLError.*ACCESS_DENIED/,
  },
  // Which one it takes depends on resolv.conf and nsswitch.conf; here each has its turn.
  ...(
    [
      ['Go, with its own resolver', 'go', /forcing use of Go's resolver/],
      ['Go, with the resolver of the C library', 'cgo', /using cgo DNS resolver/],
    ] as const
  ).map(([name, resolver, said]) => ({
    name,
    resolver: said,
    missing: goMissing,
    argv: (host: string, site: Site) => [join(site.programs, 'fetch'), `https://${host}/`],
    env: { GODEBUG: `netdns=${resolver}+1` },
    exe: /\/programs\/fetch$/,
    to: 'web' as const,
    got: page,
    unknown: /no such host/,
    refused: /tls: access denied/,
  })),
  {
    name: 'Java',
    missing: javaMissing,
    argv: (host, site) => [JAVA.java, '-cp', site.programs, 'Fetch', `https://${host}/`],
    exe: /\/jvm\/.*\/bin\/java$/,
    to: 'web',
    got: page,
    unknown: /UnknownHostException/,
    refused: /access_denied/,
  },
];
