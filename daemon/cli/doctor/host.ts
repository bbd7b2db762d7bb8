/** What the files of the host say, for the checks. All of it null where it can't be read. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';

export interface HostFacts {
  /** `6.1.0-18-amd64` */
  readonly kernel: string;
  readonly btf: boolean;
  /** Where cgroup v2 is mounted. */
  readonly cgroupMount: string | null;
  /** Security modules in force. */
  readonly lsm: readonly string[] | null;
  readonly unprivilegedBpf: number | null;
  /** kernel.yama.ptrace_scope; null: there is no Yama. */
  readonly yama: number | null;
  readonly resolvers: readonly string[];
}

export function readHost(): HostFacts {
  return {
    kernel: release(),
    btf: read('/sys/kernel/btf/vmlinux', 1) !== null,
    cgroupMount: mounted(read('/proc/self/mountinfo') ?? ''),
    lsm: read('/sys/kernel/security/lsm')?.trim().split(',') ?? null,
    unprivilegedBpf: number('/proc/sys/kernel/unprivileged_bpf_disabled'),
    yama: number('/proc/sys/kernel/yama/ptrace_scope'),
    resolvers: [...(read('/etc/resolv.conf') ?? '').matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1]!),
  };
}

/** Processes of a uid that are in no session (of whichever sluice on this host). */
export function processesOf(uid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return statSync(join('/proc', pid)).uid === uid && !IN_SESSION.test(read(join('/proc', pid, 'cgroup')) ?? '');
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);
}

const IN_SESSION = /^0::.*\/sessions\/[0-9a-f]{32}(\/|$)/m;

function mounted(mountinfo: string): string | null {
  const line = mountinfo.split('\n').find((each) => / - cgroup2 /.test(each));
  return line?.split(' ')[4] ?? null;
}

function number(path: string): number | null {
  const text = read(path);
  return text === null ? null : Number(text);
}

/** @param limit only whether it can be read matters beyond so many bytes */
function read(path: string, limit?: number): string | null {
  try {
    if (limit !== undefined) {
      statSync(path);
      return '';
    }
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
