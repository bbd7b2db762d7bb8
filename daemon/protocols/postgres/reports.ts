/**
 * What the server says beside results: errors, notices, notifications and parameters. Any of it may quote a value that is
 * masked, and content detection reads it as it reads rows.
 */
import { SluiceError } from '../../core/errors.ts';
import type { Obligations } from '../../core/mask.ts';
import type { Answer } from './answers.ts';
import type { PgPlan } from './classify.ts';
import type { MaskTools } from './mask-tools.ts';
import type { Portal, SessionNames } from './session.ts';
import { B, message } from './wire.ts';

export interface ReportParts {
  readonly tools: MaskTools;
  readonly session: SessionNames;
  readonly obligations: () => Obligations;
}

/** Each answers what goes to the client instead of the message; undefined: it passes as it is; null: nothing goes. */
export class Reports {
  readonly #parts: ReportParts;
  /** The statement, or the portal of it, whose withheld notice went last. */
  #told: { readonly of: Answer | Portal; readonly at: number } | null = null;

  constructor(parts: ReportParts) {
    this.#parts = parts;
  }

  error(body: Buffer, first: Answer | undefined): Buffer | undefined {
    return this.#report(B.error, body, first);
  }

  /** One withheld notice stands for all of its statement: how many come could be made to tell a value. */
  notice(body: Buffer, first: Answer | undefined): Buffer | null | undefined {
    if (first !== undefined && this.#parts.obligations().masks.length > 0 && withholds(first)) {
      const of = first.portal ?? first;
      if (this.#told?.of === of && this.#told.at === first.at) return null;
      this.#told = { of, at: first.at };
    }
    return this.#report(B.notice, body, first);
  }

  #report(letter: number, body: Buffer, first: Answer | undefined): Buffer | undefined {
    const obligations = this.#parts.obligations();
    if (obligations.masks.length === 0 && obligations.detect.length === 0) return undefined;
    const { tools } = this.#parts;
    let made = body;
    // A notice that nothing asked for can't be traced.
    const stray = first === undefined && letter === B.notice && obligations.masks.length > 0;
    if (stray || withholds(first)) made = tools.withhold(made, obligations);
    if (obligations.detect.length > 0) made = tools.scanReport(made, obligations);
    return made === body ? undefined : message(letter, made);
  }

  /** NotificationResponse: pid(int32) channel\0 payload\0 */
  notification(body: Buffer): Buffer | undefined {
    const obligations = this.#parts.obligations();
    if (obligations.masks.length === 0 && obligations.detect.length === 0) return undefined;
    const channelEnd = body.indexOf(0, 4);
    if (body.length < 6 || channelEnd < 0)
      throw new SluiceError('UPSTREAM_VIOLATION', 'the server sent a notification without an end of its channel');
    const payload = body.toString('utf8', channelEnd + 1, body.length - 1);
    // What others, or triggers, put in can't be traced; what the client wrote out itself it knows.
    const masked = obligations.masks.length > 0 && payload !== '' && !this.#parts.session.sent(payload);
    const made = masked ? '' : this.#parts.tools.scanText(payload, obligations);
    return made === payload ? undefined : message(B.notification, body.subarray(0, channelEnd + 1), `${made}\0`);
  }

  /** ParameterStatus: name\0 value\0 */
  parameter(name: string, value: string): Buffer | undefined {
    const obligations = this.#parts.obligations();
    if (obligations.detect.length === 0) return undefined;
    const made = this.#parts.tools.scanText(value, obligations);
    return made === value ? undefined : message(B.parameterStatus, `${name}\0${made}\0`);
  }
}

/** Parse, Bind and Describe of a statement may already quote its values (constant folding). */
function withholds(first: Answer | undefined): boolean {
  if (first === undefined) return false;
  const plan = first.plan ?? (first.portal?.verdict.plan as PgPlan | undefined) ?? planOf(first);
  return plan?.protections.some((protection) => protection.withholdErrors) ?? false;
}

/** The plan of the statement that a Parse, Bind or Describe belongs to. */
function planOf(first: Answer): PgPlan | undefined {
  for (const change of first.changes.flat()) {
    if (change.kind === 'portal' && change.value !== null) return change.value.verdict.plan as PgPlan;
  }
  return undefined;
}
