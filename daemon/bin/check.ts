/** What sluiced is told before it starts: configuration and policy, read and judged as a start would. */
import { DETECTOR_NAMES } from '../masking/detectors/table.ts';
import { loadPolicy } from '../policy/load.ts';
import type { Kit } from '../policy/schema.ts';
import { postgresOptions } from '../protocols/postgres/options.ts';
import { TCP_UNREAD, tcpOptions } from '../protocols/tcp/options.ts';
import { readConfig } from './config.ts';

/** What a policy may speak of. */
export const KIT: Kit = {
  protocols: { postgres: { options: postgresOptions }, tcp: { options: tcpOptions, unread: TCP_UNREAD } },
  detectors: DETECTOR_NAMES,
};

/**
 * Nothing is started, opened or changed.
 * @returns what a person wants to know of it. @throws SluiceError CONFIG_INVALID, POLICY_INVALID, POLICY_UNREADABLE.
 */
export function checked(file: string): string {
  const config = readConfig(file);
  const policy = loadPolicy(config.policy, KIT);
  const { files, resources, ruleCount } = policy;
  const counts = `${many(resources.size, 'resource')}, ${many(ruleCount, 'rule')}`;
  return `${file} is valid; policy ${policy.version} of ${many(files.length, 'file')}: ${counts}`;
}

const many = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
