/** One step of an operation, on its way from the client's message to the server. */
import type { Act } from '../protocol.ts';
import type { Frame } from './frontend.ts';
import type { Portal, Prepared } from './session.ts';

type Step = 'query' | 'parse' | 'bind' | 'execute' | 'call';

export interface PgAct extends Act {
  readonly step: Step;
  record: boolean;
  readonly frame: Frame;
  /** The statement; for a call, one that stands for it. */
  text: string;
  /** Oids of user-made types that are declared for its parameters. */
  types: readonly number[];
  /** Name of the statement made (Parse) or used (Bind). */
  readonly statement: string;
  readonly portalName: string;
  portal: Portal | null;
  prepared: Prepared | null;
  /** Generation of the search_path that it was analysed under. */
  generation: number;
  /** The catalog was asked anew for it. */
  rechecked: boolean;
}

const NONE: readonly never[] = [];

export function makeAct(
  step: Step,
  frame: Frame,
  needs: Pick<Act, 'decide' | 'hold' | 'record'>,
  names: { statement?: string; portal?: string } = {},
): PgAct {
  return {
    ...needs,
    step,
    frame,
    text: '',
    types: NONE,
    statement: names.statement ?? '',
    portalName: names.portal ?? '',
    portal: null,
    prepared: null,
    generation: -1,
    rechecked: false,
  };
}
