/** What may stand under `options:` of a resource that is passed unread. */
import { z } from 'zod';

export const tcpOptions = z.strictObject({
  speaks: z
    .enum(['tls', 'anything'])
    .default('tls')
    .describe(
      'tls: what does not begin with a TLS handshake is refused. anything: it passes, and nothing says what it is. Absent: tls.',
    ),
  servername: z
    .enum(['required', 'optional'])
    .default('required')
    .describe(
      'May a TLS client leave the server name out? One that it sends has to be the resource’s. Absent: required.',
    ),
  encryptedHello: z
    .enum(['refuse', 'allow'])
    .default('refuse')
    .describe(
      'May a TLS client encrypt the name that it asks for (ECH)? Then nothing says which one it is. Some browsers send the extension as noise. Absent: refuse.',
    ),
});

export type TcpOptions = z.output<typeof tcpOptions>;

/** What `sluice policy check` says of each such resource. */
export const TCP_UNREAD = 'whoever may connect can send and fetch anything there, and only its size is recorded';
