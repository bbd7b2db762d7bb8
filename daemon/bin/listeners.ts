/**
 * The daemon's listeners over its lives and the helper's. The hooks know them by the cgroup in which they were made, and by a
 * mark in the maps of the helper: a service manager that keeps them gives them back to the next daemon, and where the helper
 * has another cgroup by now, they are made anew.
 */
import { closeSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Helper } from '../intake/helper.ts';
import type { Kernel } from '../intake/kernel.ts';
import { KINDS, type Kind, openSockets, type SocketLibrary, type Sockets } from '../intake/sockets.ts';
import type { Manager } from '../systemd/notify.ts';

export interface ListenersOptions {
  readonly manager: Manager;
  readonly helper: Helper;
  readonly kernel: Kernel;
  /** Path of libsluice.so. */
  readonly library: string;
  /** 0: any that is free. */
  readonly port: number;
}

/** Tries for the port that there was, while the manager has not closed its own yet, and the time between two, milliseconds. */
const TRIES = 50;
const BETWEEN = 20;

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #sockets: SocketLibrary;
  /** The daemon's cgroup, and its inode when the listeners were made. */
  #cgroup = '';
  #inode: bigint | null = null;
  /** As the manager keeps them. */
  #names: readonly string[] = [];

  constructor(options: ListenersOptions) {
    this.#options = options;
    this.#sockets = openSockets(options.library);
  }

  /** Those that the manager kept, or new ones. @throws SluiceError as the helper and the sockets do. */
  async open(): Promise<Sockets> {
    const { manager, port } = this.#options;
    const inode = await this.#look();
    const ours = KINDS.flatMap((kind): [Kind, number][] => {
      const fd = manager.kept.get(this.#nameOf(kind, inode));
      return fd === undefined ? [] : [[kind, fd]];
    });
    const kept = ours.length === 0 ? null : this.#sockets.inherit(new Map(ours));
    const fits = kept !== null && (port === 0 || kept.port === port);
    for (const [name, fd] of manager.kept) {
      if (fits && ours.some(([, our]) => our === fd)) continue;
      manager.forget(name);
      closeSync(fd);
    }
    if (!fits) return this.#make(port, inode);
    this.#names = ours.map(([kind]) => this.#nameOf(kind, inode));
    this.#inode = inode;
    return kept;
  }

  /** The helper was away, and its cgroups with it: what it has now does not know these listeners. */
  get astray(): boolean {
    const inode = inodeOf(this.#cgroup);
    return inode !== null && inode !== this.#inode;
  }

  /**
   * New ones, at the port that they had: packets of connections that go on pass the hooks at the daemon's port alone, so that at
   * another one both ends would wait for each other without end. Whoever has the old ones has closed them.
   * @throws SluiceError as open(); then they are still astray, and it can be tried again.
   */
  async renew(before: number): Promise<Sockets> {
    for (const name of this.#names) this.#options.manager.forget(name);
    this.#names = [];
    const inode = await this.#look();
    for (let tries = 1; ; tries++) {
      try {
        return await this.#make(before, inode);
      } catch (error) {
        if (tries === TRIES) throw error;
        await pause(BETWEEN);
      }
    }
  }

  async #make(port: number, inode: bigint | null): Promise<Sockets> {
    const { helper, manager } = this.#options;
    const sockets = await helper.inDaemonCgroup(() => this.#sockets.open(port));
    for (const [kind, fd] of sockets.descriptors) manager.keep(this.#nameOf(kind, inode), [fd]);
    this.#names = [...sockets.descriptors.keys()].map((kind) => this.#nameOf(kind, inode));
    this.#inode = inode;
    return sockets;
  }

  async #look(): Promise<bigint | null> {
    const { mount, cgroup } = await this.#options.helper.status();
    this.#cgroup = join(mount, cgroup, 'daemon');
    return inodeOf(this.#cgroup);
  }

  #nameOf(kind: Kind, inode: bigint | null): string {
    return `${kind}-${this.#options.kernel.mapsId()}-${inode}`;
  }
}

/** Of a cgroup it is the id that the kernel gives it, which is not used again. */
function inodeOf(path: string): bigint | null {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? null;
}
