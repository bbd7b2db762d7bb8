/** The audit stage, as the rest of the daemon sees it. */
import { type AuditOptions, AuditStore } from './store.ts';

export type { AuditState } from './admission.ts';
export type { AuditFigures, AuditOptions } from './store.ts';
export { AuditStore } from './store.ts';

/**
 * Opens the store for writing, after taking over what a killed daemon left in the journal.
 * @throws SluiceError CONFIG_INVALID, AUDIT_FULL, AUDIT_FAILED, AUDIT_BROKEN.
 */
export function openAudit(options: AuditOptions): Promise<AuditStore> {
  return AuditStore.open(options);
}
