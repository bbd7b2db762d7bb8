/** The record of what came and belongs to nobody. */
import { type ErrorCode, SluiceError } from '../core/errors.ts';
import type { EventInput, Recorder } from '../core/event.ts';
import type { Session } from '../core/principal.ts';
import type { KernelOrigin } from './kernel.ts';

export function turnedAway(
  to: { readonly recorder: Recorder; session(cgroupId: bigint): Session | null; onFault(error: unknown): void },
  origin: KernelOrigin | null,
  error: unknown,
): void {
  const code: ErrorCode = error instanceof SluiceError ? error.code : 'INTERNAL';
  if (code === 'INTERNAL') to.onFault(error);
  const session = origin === null ? null : to.session(origin.cgroupId);
  const about: Partial<EventInput> =
    origin === null
      ? {}
      : {
          ...(session !== null && {
            ...{ session: session.id, subject: session.principal.subject, groups: session.principal.groups },
          }),
          pid: origin.pid,
          uid: origin.uid,
          exe: origin.exe,
          cgroup: String(origin.cgroupId),
          address: origin.address,
          port: origin.port,
        };
  try {
    to.recorder.record({
      type: 'fault',
      ...about,
      decision: 'deny',
      error: code,
      message: error instanceof SluiceError ? error.message : 'internal fault',
    });
  } catch (fault) {
    to.onFault(fault);
  }
}
