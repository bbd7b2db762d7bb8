/**
 * The daemon's listeners: TCP and UDP at one port, on both loopback addresses or on the one that the host has. The kernel
 * knows them as the daemon's by the cgroup in which they were made, whoever has them later: so they can be kept by the
 * service manager while the daemon is started again, and what agents send meanwhile waits in them.
 */
import koffi from 'koffi';
import { SluiceError } from '../core/errors.ts';

/** In the order of native/lib/service.c. */
export const KINDS = ['tcp4', 'tcp6', 'udp4', 'udp6'] as const;
export type Kind = (typeof KINDS)[number];

export interface Sockets {
  readonly port: number;
  /** Descriptors. A host without IPv6 has but two. */
  readonly descriptors: ReadonlyMap<Kind, number>;
}

export interface SocketLibrary {
  /** To be called within the daemon's cgroup. `port` 0: any that is free. @throws SluiceError CONFIG_INVALID. */
  open(port: number): Sockets;
  /** Takes over what was kept; null where these are not whole, or not what their names say. */
  inherit(descriptors: ReadonlyMap<Kind, number>): Sockets | null;
}

export function openSockets(library: string): SocketLibrary {
  const lib = koffi.load(library);
  const listen: (port: number, out: Int32Array) => number = lib.func('int sluice_listen(uint32_t, _Out_ int32_t *)');
  const inherit: (fd: number, kind: number) => number = lib.func('int sluice_inherit(int, uint32_t)');
  return {
    open(port) {
      const out = new Int32Array(KINDS.length);
      const got = listen(port, out);
      if (got < 0) {
        const what = `could not listen on port ${port} of the loopback addresses, TCP and UDP: errno ${-got}`;
        throw new SluiceError('CONFIG_INVALID', what);
      }
      return {
        port: got,
        descriptors: new Map(KINDS.map((kind, i) => [kind, out[i]!] as const).filter(([, fd]) => fd >= 0)),
      };
    },
    inherit(descriptors) {
      const ports = [...descriptors].map(([kind, fd]) => inherit(fd, KINDS.indexOf(kind)));
      const [port = -1] = ports;
      const whole = (['4', '6'] as const).every(
        (family) => descriptors.has(`tcp${family}`) === descriptors.has(`udp${family}`),
      );
      if (port <= 0 || !whole || !descriptors.has('tcp4') || ports.some((other) => other !== port)) return null;
      return { port, descriptors };
    },
  };
}
