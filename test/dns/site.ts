/** A zone of one's own behind sluice: a real server that knows .test, a stack that asks it, and a policy over its names. */
import { type DnsServer, dnsMissing, startDns } from '../harness/dns.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

/** Addresses of documentation (RFC 5737, RFC 3849): nobody is there. */
const RECORDS = [
  'host-record=deb.shop.test,198.51.100.23,2001:db8::17:23',
  'host-record=four.shop.test,198.51.100.24',
  'host-record=six.shop.test,2001:db8::17:24',
  'cname=www.shop.test,cdn.other.test',
  'host-record=cdn.other.test,198.51.100.25',
  'host-record=secret.shop.test,198.51.100.26',
  'host-record=loop.shop.test,127.0.0.1',
  'host-record=meta.shop.test,169.254.169.254',
  'host-record=inside.shop.test,127.0.0.1',
  'txt-record=deb.shop.test,nobody should read this',
  'txt-record=text.shop.test,anybody may read this',
  'mx-host=mail.shop.test,mx.shop.test,10',
  'srv-host=_db._tcp.shop.test,deb.shop.test,5433',
  'ptr-record=23.100.51.198.in-addr.arpa,deb.shop.test',
  // TTLs that can be told apart.
  'local-ttl=61',
  ...Array.from({ length: 90 }, (_, i) => `host-record=many.shop.test,203.0.113.${i + 1}`),
  'host-record=a.zone.test,198.51.100.30',
];

const POLICY = `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
dns:
  - names: [deb.shop.test, four.shop.test, six.shop.test, www.shop.test, many.shop.test, gone.shop.test, loop.shop.test, meta.shop.test]
    who: {groups: [agents]}
  - names: [text.shop.test, mail.shop.test, _db._tcp.shop.test, 23.100.51.198.in-addr.arpa]
    who: {groups: [agents]}
    types: [TXT, MX, SRV, PTR]
  - names: [inside.shop.test]
    who: {groups: [agents]}
    answers: any
  - names: ["*.zone.test"]
    who: {groups: [agents]}
    breadth: accepted
`;

export interface Site {
  readonly dns: DnsServer;
  readonly stack: Stack;
  /** Events of the record, by their fields. */
  events(): Promise<Readonly<Record<string, unknown>>[]>;
  stop(): Promise<void>;
}

export const siteMissing = (): string | false => stackMissing() ?? dnsMissing() ?? false;

/** `more`: further text of the policy. */
export async function openSite(
  records: readonly string[] = [],
  more = '',
  resolvers?: readonly string[],
): Promise<Site> {
  const dns = await startDns([...RECORDS, ...records]);
  const stack = await startStack({
    name: 'dns',
    policy: POLICY + more,
    config: { resolvers: resolvers ?? [`127.0.0.1:${dns.port}`] },
  }).catch(async (error) => {
    await dns.stop();
    throw error;
  });
  return {
    dns,
    stack,
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
    },
  };
}
