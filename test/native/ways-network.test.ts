/** See ways/tries.ts. */
import { NETWORK } from './ways/network.ts';
import { tryWays } from './ways/tries.ts';

tryWays('ways out: network', NETWORK);
