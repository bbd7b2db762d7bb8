/** What was tried, in words, of what the kernel refused by itself. */
import { refusedCall } from './calls.ts';
import type { KernelRefusal } from './kernel.ts';

export function attempted({ kind, further, detail }: KernelRefusal): string {
  if (kind === 'syscall') return `the system call filter refused ${further ? 'further calls' : refusedCall(detail)}`;
  return `the kernel refused ${further ? 'further' : ''} ${kind} ${detail.join(' ')}`;
}
