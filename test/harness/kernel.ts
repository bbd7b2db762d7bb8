/** What this host has to have and to let us do for BPF programs to hold sessions. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { cgroupMount } from '../../daemon/identify/process.ts';

/** Why nothing can be held here, or null. */
export function kernelMissing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root: it loads BPF programs and makes cgroups';
  try {
    accessSync('/sys/kernel/btf/vmlinux');
  } catch {
    return 'needs a kernel with BTF (/sys/kernel/btf/vmlinux)';
  }
  try {
    accessSync(cgroupMount(), constants.W_OK);
  } catch {
    return 'needs a cgroup v2 that can be written';
  }
  // Root in a container may be refused bpf(2). Without bpftool that can't be told.
  const { error, status } = spawnSync('bpftool', ['prog', 'list'], { stdio: 'ignore', env: { PATH: SYSTEM_PATH } });
  return error === undefined && status !== 0 ? 'needs bpf(2), which is refused here' : null;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
