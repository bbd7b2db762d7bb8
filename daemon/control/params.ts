/** What every method does with what it is sent. */
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import type { Session } from '../core/principal.ts';
import type { Call, Params } from './server.ts';

/** @throws SluiceError PROTOCOL_VIOLATION. */
export function read<T>(schema: z.ZodType<T>, params: Params): T {
  const parsed = schema.safeParse(params);
  if (parsed.success) return parsed.data;
  throw new SluiceError('PROTOCOL_VIOLATION', `the request is not valid: ${z.prettifyError(parsed.error)}`);
}

export function mayManage({ caller }: Call, session: Session): boolean {
  return caller.uid === 0 || caller.uid === session.uid;
}
