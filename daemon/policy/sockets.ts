/** UNIX sockets of the host that sessions may speak to: names as their servers have bound them, in full. */
import { posix } from 'node:path';
import type { Decision } from '../core/decision.ts';
import type { Principal } from '../core/principal.ts';
import { isWho, type Who } from './rule.ts';
import { plain } from './text.ts';

export interface SocketGrant {
  /** For people and the record. */
  readonly rule: string;
  readonly sockets: readonly string[];
  /** Null: everyone. */
  readonly who: Who | null;
  /** `file:line`, for explain. */
  readonly place: string;
}

export interface SocketNote {
  readonly grant: SocketGrant;
  /** Why the entry does not open the socket: it is for others, or names others. Null: it does. */
  readonly miss: 'who' | 'name' | null;
}

export class SocketTable {
  readonly #grants: readonly SocketGrant[];

  constructor(grants: readonly SocketGrant[]) {
    this.#grants = grants;
  }

  /** Every name that stands somewhere, whoever it is for. */
  get names(): Iterable<string> {
    return this.#grants.flatMap(({ sockets }) => sockets);
  }

  /** What the kernel is told for this principal's sessions; it compares names byte by byte. */
  open(principal: Principal): string[] {
    return [...new Set(this.#grants.filter(({ who }) => isWho(who, principal)).flatMap(({ sockets }) => sockets))];
  }

  look(principal: Principal, name: string): SocketNote[] {
    return this.#grants.map((grant) => ({
      grant,
      miss: !grant.sockets.includes(name) ? 'name' : isWho(grant.who, principal) ? null : 'who',
    }));
  }

  /** Whether the name is among those that the kernel is told, and by which entry. */
  decide(principal: Principal, name: string): Decision {
    const found = this.look(principal, name).find(({ miss }) => miss === null);
    const shown = plain(name, 120);
    if (found !== undefined)
      return { outcome: 'allow', rule: found.grant.rule, reason: plain(`${found.grant.rule} opens ${shown}`) };
    return {
      outcome: 'deny',
      rule: null,
      reason: plain(`${shown} stands under no unix entry for ${principal.subject}`),
      hint: 'ask for the socket to be added under unix',
    };
  }
}

/** `sun_path`, unix(7): a path and its NUL, or the NUL before an abstract name and the name. */
const MAX_BYTES = 107;

/** Names whose servers do for a client what it could not do itself. Of an abstract name the part behind the @ is looked at. */
const GIVES_AWAY: readonly (readonly [name: RegExp, what: string])[] = [
  [/(^|\/)docker\.sock$/, 'whoever reaches docker is root on this host'],
  [
    /(^|\/)(containerd|crio|podman|buildkitd|lxd|incus)[^/]*\/[^/]*(\.sock|socket)$/,
    'whoever reaches it starts containers as root',
  ],
  [/(^|\/)system_bus_socket$/, "the system bus leads to systemd and every other of the host's services"],
  [/\/systemd\/private$/, "systemd's private socket starts and stops whatever it is asked to"],
  [/\/user\/\d+\/bus$|\/dbus-[^/]+$/, "a user's bus starts programs outside of the session"],
  [/\.X11-unix\/X\d+$/, 'an X11 client sees the keys of every window and types into it'],
  [/wayland-\d+$/, "a window of the host's desktop is a keyboard and a clipboard"],
  [
    /(^|\/)ssh-[^/]+\/agent\.\d+$|(^|\/)(S\.)?(gpg|ssh)-agent[^/]*$|\/keyring\/[^/]*$/,
    'it signs with keys that the agent must not hold',
  ],
  [/\.s\.PGSQL\.\d+$/, 'statements sent over it are neither seen nor decided: declare a resource instead'],
  [/(^|\/)libvirt-sock[^/]*$|\/snapd\.socket$/, 'its server acts as root for its clients'],
  [/\/sluice\/(helper|daemon\/control)\.sock$/, "sluice's own sockets refuse sessions whatever stands here"],
];

/** What is wrong with a name, and what to write instead; null: nothing. */
export function socketFault(name: string): { message: string; suggestion?: string } | null {
  const length = Buffer.byteLength(name);
  if (/\p{Cc}/u.test(name)) return { message: 'a name has no control characters' };
  if (name.startsWith('@')) {
    if (name.length === 1) return { message: 'an abstract name is empty' };
  } else if (!name.startsWith('/')) {
    return {
      message: `${name} is neither an absolute path nor an abstract name`,
      suggestion: `/run/${posix.basename(name) || 'NAME'}, or @${name} for an abstract one`,
    };
  } else if (/[*?[\]]/.test(name)) {
    return { message: `${name}: sockets are named in full`, suggestion: 'write each of them' };
  } else {
    const plainly = posix.normalize(name).replace(/\/$/, '');
    if (plainly !== name || plainly === '')
      return {
        message: `${name} is not how a server binds a path`,
        ...(plainly === '' ? {} : { suggestion: `did you mean ${JSON.stringify(plainly)}?` }),
      };
  }
  return length > MAX_BYTES ? { message: `has ${length} bytes, and a socket's name at most ${MAX_BYTES}` } : null;
}

/** Why a valid name may still not be meant. */
export function socketWarnings(name: string): string[] {
  const gives = GIVES_AWAY.filter(([pattern]) => pattern.test(name.replace(/^@/, '')));
  const warnings = gives.map(([, what]) => `gives the host away: ${what}`);
  if (/^\/(tmp|var\/tmp|dev\/shm|home)\//.test(name))
    warnings.push('lies where agents may write: they could put a link to another socket there');
  return warnings;
}
