/**
 * Told by the helper what there is to look at: the daemon asks for nothing again and again that the helper can tell it. While the
 * helper tells nothing, because it is gone or does not answer, everything is looked at by the clock.
 */
import { connect } from 'node:net';
import { SluiceError } from '../core/errors.ts';

/** `incidents` are also new ones of a helper that was started again; `sessions`: which there are, or whether one is populated. */
export type Change = 'incidents' | 'sessions' | 'refusals';

export interface WatchOptions {
  /** Path of helper.sock. */
  readonly path: string;
  /**
   * Looks at what may have changed: once when the helper begins to tell, when it tells, and by the clock. Of each kind one at a
   * time; after one that rejected again in two seconds.
   */
  readonly look: Readonly<Record<Change, () => unknown>>;
  onFault(error: unknown): void;
}

interface Pace {
  /** Between two looks, whatever is told. */
  readonly least: number;
  /** Between two looks while the helper tells, in case that it is stopped; and while it does not. */
  readonly told: number;
  readonly alone: number;
}

/**
 * Milliseconds. The helper tells each second; a little less, so that a line that was late does not put off the next. New
 * listeners, behind a helper that was started again, wait for nothing.
 */
const PACES: Readonly<Record<Change, Pace>> = {
  incidents: { least: 0, told: 30_000, alone: 2_000 },
  sessions: { least: 900, told: 30_000, alone: 2_000 },
  refusals: { least: 900, told: 10_000, alone: 1_000 },
};
const AFTER_FAULT = 2_000;

/** Until the helper has said `ok`, milliseconds. */
const ANSWER = 5_000;
/** Between two attempts to connect: at first, for a helper that is started again, and later on. Milliseconds. */
const AGAIN_SOON = 100;
const SOON = 10_000;
const AGAIN = 1_000;
/** Longer is no line of the helper's. */
const LINE_MAX = 256;

export class Watch {
  readonly #options: WatchOptions;
  readonly #looks: Readonly<Record<Change, Looks>>;
  #close: () => void = () => {};
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  #connected = false;
  /** When it last began, and ended to be. */
  #began = 0;
  #ended = performance.now();
  /** That it is refused is said once. */
  #said = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    const looks = (kind: Change) => new Looks(options.look[kind], PACES[kind], () => this.#connected, options.onFault);
    this.#looks = { incidents: looks('incidents'), sessions: looks('sessions'), refusals: looks('refusals') };
    this.#connect();
  }

  /** Whether the helper tells. */
  get connected(): boolean {
    return this.#connected;
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const look of Object.values(this.#looks)) look.stop();
    this.#close();
  }

  #connect(): void {
    const socket = connect(this.#options.path).setEncoding('latin1');
    this.#close = () => socket.destroy();
    let rest = '';
    socket.setTimeout(ANSWER, () => socket.destroy());
    socket.on('connect', () => socket.write('watch\n'));
    socket.on('error', () => {}); // `close` follows
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (this.#connected) this.#tell(line);
        else if (line === 'ok') {
          socket.setTimeout(0);
          this.#begin();
        } else {
          this.#refused(line);
          socket.destroy();
          return;
        }
      }
      if (rest.length > LINE_MAX) socket.destroy();
    });
    socket.on('close', () => this.#lost());
  }

  #begin(): void {
    this.#connected = true;
    this.#began = performance.now();
    this.#said = false;
    for (const look of Object.values(this.#looks)) look.soon();
  }

  /** What a later helper may tell besides is nothing to look at here. */
  #tell(line: string): void {
    if (Object.hasOwn(this.#looks, line)) this.#looks[line as Change].soon();
  }

  #refused(line: string): void {
    if (this.#said) return;
    this.#said = true;
    const message = `sluice-helper on ${this.#options.path} does not tell what changes: ${line.slice(0, LINE_MAX)}`;
    this.#options.onFault(
      new SluiceError('HELPER_UNREACHABLE', message, { hint: 'it is asked again and again instead' }),
    );
  }

  #lost(): void {
    if (this.#closed) return;
    const now = performance.now();
    // One that says `ok` and goes at once, again and again, is not asked ever more often.
    if (this.#connected && now - this.#began > AGAIN) this.#ended = now;
    this.#connected = false;
    for (const look of Object.values(this.#looks)) look.alone();
    this.#timer = setTimeout(() => this.#connect(), now - this.#ended < SOON ? AGAIN_SOON : AGAIN);
  }
}

/** One kind of looks: when the next is. */
class Looks {
  readonly #work: () => unknown;
  readonly #pace: Pace;
  readonly #isTold: () => boolean;
  readonly #onFault: (error: unknown) => void;
  #timer: NodeJS.Timeout | null = null;
  #due = 0;
  #last = Number.NEGATIVE_INFINITY;
  #looking = false;
  /** There was something new while it looked. */
  #again = false;
  #stopped = false;

  constructor(work: () => unknown, pace: Pace, isTold: () => boolean, onFault: (error: unknown) => void) {
    this.#work = work;
    this.#pace = pace;
    this.#isTold = isTold;
    this.#onFault = onFault;
    this.#in(pace.alone);
  }

  soon(): void {
    if (this.#looking) this.#again = true;
    else this.#in(Math.max(0, this.#last + this.#pace.least - performance.now()));
  }

  /** Nobody tells any more. */
  alone(): void {
    if (!this.#looking) this.#in(this.#pace.alone);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Never later than it was to be anyway. */
  #in(ms: number): void {
    const due = performance.now() + ms;
    if (this.#stopped || (this.#timer !== null && this.#due <= due)) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(this.#look, ms);
  }

  readonly #look = async (): Promise<void> => {
    const { told, alone } = this.#pace;
    this.#timer = null;
    this.#looking = true;
    this.#last = performance.now();
    let next: number | null = null;
    try {
      await this.#work();
    } catch (error) {
      next = Math.min(AFTER_FAULT, alone);
      this.#onFault(error);
    }
    this.#looking = false;
    this.#in(next ?? (this.#isTold() ? told : alone));
    if (this.#again) this.soon();
    this.#again = false;
  };
}
