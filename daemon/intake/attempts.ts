/** What was tried, in words, of what the kernel refused by itself. */
import type { KernelRefusal } from './kernel.ts';

export function attempted({ kind, further, detail }: KernelRefusal): string {
  return `the kernel refused ${further ? 'further' : ''} ${kind} ${detail.join(' ')}`;
}
