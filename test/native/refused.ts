import { setTimeout as pause } from 'node:timers/promises';
import type { Kernel, KernelRefusal } from '../../daemon/intake/kernel.ts';

/**
 * What the kernel counted and counts in so many milliseconds. Each look has one of the two turns, and two looks some time apart
 * may have the same one, so there are many.
 */
export async function refusedWithin(kernel: Kernel, ms: number): Promise<KernelRefusal[]> {
  const all: KernelRefusal[] = [];
  for (const end = performance.now() + ms; performance.now() < end; await pause(50)) all.push(...kernel.refusals());
  return all;
}
