/**
 * What it took to change the format of the state directory, one step a format. There is none yet: the state has format 1.
 * A change that the version before can read as it is (a field that it leaves alone) is no step.
 */
import type { Step } from './state.ts';

export const STEPS: readonly Step[] = [];
