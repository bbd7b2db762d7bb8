/** What /proc says of a local process: whether it is in a session, and who logged in. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Session } from '../core/principal.ts';

/**
 * Mount point of cgroup v2: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host. proc_pid_mountinfo(5): the fields
 * before ` - ` end with optional ones, after it stands the file system's type.
 * @throws Error where there is none.
 */
export function cgroupMount(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): string {
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const mountPoint = before.split(' ')[4];
    if (after.startsWith('cgroup2 ') && mountPoint !== undefined) {
      return mountPoint.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    }
  }
  throw new Error('no cgroup v2 file system is mounted');
}

/** Path within cgroup v2: the line that begins with `0::`, cgroups(7). */
export function cgroupPath(content: string): string | null {
  const line = content.split('\n').find((each) => each.startsWith('0::'));
  return line === undefined ? null : line.slice(3);
}

/**
 * The session that a process belongs to, by its cgroup or one above it; null where it belongs to none.
 * @throws Error when that can't be read, e.g. because the process is gone: then nobody knows, and it may do nothing.
 */
export function sessionOfPid(
  pid: number,
  find: (cgroupId: bigint) => Session | null,
  mount = cgroupMount(),
): Session | null {
  const path = cgroupPath(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
  if (path === null) throw new Error(`process ${pid} has no cgroup v2`);
  const names = path.split('/').filter((name) => name !== '');
  // `/../x`: a cgroup outside of this cgroup namespace. It can't be looked at from here.
  if (names.includes('..')) throw new Error(`process ${pid} is in ${path}, outside of this cgroup namespace`);
  for (let depth = names.length; depth > 0; depth--) {
    const session = find(statSync(join(mount, ...names.slice(0, depth)), { bigint: true }).ino);
    if (session !== null) return session;
  }
  return null;
}

/**
 * The systemd unit of the system that a process runs in; null: in none. The first service or scope on the path of its
 * cgroup: above that stand slices alone, which root makes, and below it anything may stand that was delegated. On a hybrid
 * host the path is that of the hierarchy `name=systemd`; cgroups(7), org.freedesktop.systemd1(5).
 */
export function unitOf(content: string): string | null {
  const line = content.split('\n').find((each) => /^\d+:name=systemd:/.test(each));
  const path = line === undefined ? cgroupPath(content) : line.replace(/^\d+:name=systemd:/, '');
  const names = (path ?? '').split('/').slice(1);
  const at = names.findIndex((name) => !name.endsWith('.slice'));
  return at >= 0 && /\.(service|scope)$/.test(names[at]!) ? names[at]! : null;
}

/** @throws Error when the process is gone. */
export function unitOfPid(pid: number): string | null {
  return unitOf(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
}

/** uid that logged in, which sudo and su leave as it is; null where nobody did (a service, a container). proc_pid_loginuid(5). */
export function loginUid(pid: number): number | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/loginuid`, 'utf8');
  } catch (error) {
    // A kernel without audit has no such file.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const uid = Number(text);
  return uid === 0xffffffff ? null : uid;
}
