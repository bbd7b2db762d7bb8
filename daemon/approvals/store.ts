/**
 * Approvals on disk, so that one that was asked for or given outlives the daemon. A small LMDB of its own; a write that
 * resolves is on disk.
 */
import { open, type RootDatabase } from 'lmdb';
import { SluiceError } from '../core/errors.ts';
import type { Approval } from './approval.ts';

export interface ApprovalStore {
  /** Those that are not closed. */
  live(): Approval[];
  /** One that is closed or not, or undefined. */
  get(id: string): Approval | undefined;
  /** Closed ones, last first. */
  closed(): Approval[];
  /** @throws SluiceError STATE_FAILED: nothing was kept. */
  put(approval: Approval): Promise<void>;
  close(): Promise<void>;
}

/** Closed approvals kept for `sluice approvals show`; the audit has all of them. */
const HISTORY = 1000;

/** @param path directory for the database, made if it is absent. */
export function openStore(path: string, history = HISTORY): ApprovalStore {
  let db: RootDatabase<Approval, string>;
  try {
    // Without overlappingSync a commit is on disk before its promise settles.
    db = open<Approval, string>({ path, encoding: 'json', overlappingSync: false, noSubdir: false, maxReaders: 32 });
  } catch (cause) {
    throw new SluiceError('STATE_FAILED', `opening the approvals in ${path}: ${(cause as Error).message}`, { cause });
  }
  const all = (): Approval[] => Array.from(db.getRange(), ({ value }) => value);
  const closed = (): Approval[] =>
    all()
      .filter((each) => each.closedAt !== null)
      .sort((a, b) => b.closedAt! - a.closedAt!);
  let sincePruned = Number.POSITIVE_INFINITY;

  const write = async (action: () => Promise<boolean>, what: string): Promise<void> => {
    try {
      if (await action()) return;
    } catch (cause) {
      // lmdb hangs a second promise on the error, which would count as an unhandled rejection.
      (cause as { commitError?: Promise<unknown> }).commitError?.catch(() => {});
      throw new SluiceError('STATE_FAILED', `${what} in ${path}: ${(cause as Error).message}`, { cause });
    }
    throw new SluiceError('STATE_FAILED', `${what} in ${path}: the write was not carried out`);
  };

  return {
    live: () => all().filter((each) => each.closedAt === null),
    get: (id) => db.get(id),
    closed,
    async put(approval) {
      await write(() => db.put(approval.id, approval), `keeping approval ${approval.id}`);
      if (approval.closedAt === null || ++sincePruned < history / 10) return;
      sincePruned = 0;
      const old = closed().slice(history);
      await Promise.all(old.map((each) => write(() => db.remove(each.id), `removing approval ${each.id}`)));
    },
    close: () => db.close(),
  };
}
