/** Connections that policy lets through unread, by name and port. */
import type { Protocol } from '../protocol.ts';
import { farewellTo, TcpCodec } from './codec.ts';
import { readHello } from './hello.ts';
import type { TcpOptions } from './options.ts';

const NONE = Buffer.alloc(0);

export const tcp: Protocol = {
  name: 'tcp',
  can: { refuse: true, hold: true, mask: false },
  speaksFirst: 'client',
  /** A TLS hello, which is then told by an alert that nobody serves it. */
  recognise(first) {
    const { kind } = readHello(first);
    return kind === 'hello' ? 'yes' : kind === 'more' ? 'more' : 'no';
  },
  serverName(first) {
    const hello = readHello(first);
    return hello.kind === 'more' ? 'more' : hello.kind === 'hello' && !hello.encrypted ? hello.server : null;
  },
  async greet(host) {
    return {
      codec: new TcpCodec(host.resource, host.resource.options as unknown as TcpOptions),
      // No packet may leave for what policy refuses.
      upstream: null,
      welcome: NONE,
      onCancel() {},
      close() {},
    };
  },
  async decline(client) {
    const first = await client.read();
    if (first !== null) client.write(farewellTo(first));
  },
  farewell: () => NONE,
};
