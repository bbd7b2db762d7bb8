/**
 * What stands in a source. Text that begins with `{` is JSON, `{"user", "password", "certificate", "key"}`, each
 * optional, certificate and key (PEM) together; all else is a password, without one newline at its end.
 */
import { z } from 'zod';
import type { Credential } from '../core/resource.ts';

const text = z
  .string()
  .min(1)
  .refine((value) => !value.includes('\0'));
const pem = text.refine((value) => value.includes('-----BEGIN '));
const schema = z.strictObject({
  user: text.optional(),
  password: text.optional(),
  certificate: pem.optional(),
  key: pem.optional(),
});

/** The credential, or what is wrong, in words that hold nothing of it. */
export function credentialFrom(content: string): Credential | string {
  if (!content.startsWith('{')) {
    const password = content.replace(/\r?\n$/, '');
    if (password === '') return 'it is empty';
    if (/[\0\r\n\ufffd]/.test(password)) return 'a password is one line of UTF-8 text';
    return { password };
  }
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    return 'it begins with { and is not JSON';
  }
  const result = schema.safeParse(value);
  // Messages of zod may quote what they found: only the names of known fields are told.
  if (!result.success)
    return 'its JSON may hold user, password, certificate and key, as texts that are not empty, and nothing else';
  const { user, password, certificate, key } = result.data;
  if ((certificate === undefined) !== (key === undefined)) return 'certificate and key belong together';
  if (password === undefined && certificate === undefined) return 'it has neither a password nor a certificate';
  return {
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(certificate === undefined || key === undefined ? {} : { clientCertificate: { cert: certificate, key } }),
  };
}
