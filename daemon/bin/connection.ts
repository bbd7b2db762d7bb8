/** A connection of sluice's own to a PostgreSQL database, for its catalog: never writing. */

import type { Credential, Resource } from '../core/resource.ts';
import { connectUpstream, UpstreamChannel } from '../flow/channel.ts';
import type { FindAddresses } from '../flow/reach.ts';
import type { Connection } from '../protocols/postgres/databases.ts';
import { encrypt } from '../protocols/postgres/greet.ts';
import { QueryClient } from '../protocols/postgres/login/client.ts';
import { STARTUP } from '../protocols/postgres/wire.ts';

/** A login of sluice's own may take so long, milliseconds. */
const LOGIN = 30_000;

/**
 * `account`: where the credential names none.
 * @throws SluiceError UPSTREAM_UNREACHABLE, UPSTREAM_TLS, UPSTREAM_LOGIN, UPSTREAM_LOST, UPSTREAM_VIOLATION, PROTOCOL_TIMEOUT
 */
export async function connectCatalog(
  resource: Resource,
  credential: Credential,
  account: string,
  database: string,
  lookup?: FindAddresses,
): Promise<Connection> {
  const login = new AbortController();
  const timer = setTimeout(() => login.abort(), LOGIN);
  try {
    const channel = new UpstreamChannel(await connectUpstream(resource, login.signal, lookup), login.signal, resource);
    try {
      const binding = await encrypt({ resource }, channel, credential.clientCertificate);
      const client = await QueryClient.login(channel, {
        credential,
        user: account,
        database,
        // Reading waits for nobody: who holds the lock may wait for us.
        parameters: { application_name: 'sluice catalog', default_transaction_read_only: 'on', lock_timeout: '500ms' },
        version: STARTUP.protocol30,
        encrypted: channel.encrypted,
        binding,
      });
      return { client, close: () => channel.end() };
    } catch (error) {
      channel.end();
      throw error;
    }
  } finally {
    clearTimeout(timer);
  }
}
