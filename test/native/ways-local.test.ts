/** See ways/tries.ts. */
import { LOCAL } from './ways/local.ts';
import { tryWays } from './ways/tries.ts';

tryWays('ways out: local', LOCAL);
