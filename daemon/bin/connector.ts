/**
 * Connections of test cases and of `explain`, made out by the codec that makes them out in the daemon: it is given the
 * first bytes of a client and no server. The hello is one of Node's own TLS client.
 */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import { SluiceError } from '../core/errors.ts';
import type { Resource } from '../core/resource.ts';
import type { Connecting, Said } from '../policy/reach.ts';
import { TcpCodec } from '../protocols/tcp/codec.ts';
import type { TcpOptions } from '../protocols/tcp/options.ts';

/** What is surely no TLS. */
const OTHER = Buffer.from('x');

export async function connectTcp(resource: Resource, said: Said): Promise<Connecting> {
  const codec = new TcpCodec(resource, resource.options as unknown as TcpOptions);
  codec.client(said.tls ? await hello(said.servername) : OTHER);
  const unit = codec.next();
  if (unit === null || unit.kind === 'pass' || unit.kind === 'end')
    throw new SluiceError('INTERNAL', 'the first bytes of a connection ask for no decision');
  const [operation] = codec.classify(unit.act).operations;
  if (unit.kind === 'bad') return { operation: operation!, refused: unit.refusal.message };
  // Where anything may be spoken, a hello is looked at once the connection is decided.
  codec.forward();
  const after = codec.next();
  return { operation: operation!, refused: after?.kind === 'bad' ? after.refusal.message : null };
}

async function hello(servername: string | null): Promise<Buffer> {
  const sent: Buffer[] = [];
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      sent.push(chunk);
      wire.emit('said');
      done();
    },
  });
  const said = once(wire, 'said');
  const client = tls.connect({ socket: wire, ...(servername === null ? {} : { servername }) });
  client.on('error', () => {}); // it is let go of before anybody answers
  await said;
  client.destroy();
  return Buffer.concat(sent);
}
