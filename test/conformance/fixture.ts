/** What a protocol lends to the conformance suite: its own words for acts of every kind, and a raw client to send them with. */
import type { Stage } from './stage.ts';
import type { Tap } from './tap.ts';

export interface Answer {
  /** Whether the act was carried out. */
  readonly done: boolean;
  /** Everything that came, as a person would read it. */
  readonly text: string;
  /** The native error. */
  readonly error?: {
    readonly code: string;
    readonly message: string;
    readonly detail?: string;
    readonly hint?: string;
  };
}

export interface Client {
  /** One act and its whole answer. */
  ask(act: Buffer): Promise<Answer>;
  /** Without waiting. */
  send(bytes: Buffer): void;
  /** Resolves with the text of the next native notice. */
  notice(): Promise<string>;
  /** The answer of what was sent before, one for each act. */
  answer(): Promise<Answer>;
  /** Asks, on the protocol's own way, to cancel what runs. */
  cancel(): Promise<void>;
  /** Everything since the login. */
  bytes(): Buffer;
  /** Resolves at the end of the connection with what came since the last answer. */
  ended(): Promise<string>;
  /** Goes without a goodbye. */
  vanish(): void;
}

/** A server that lies: sends these bytes in answer to the first act after a proper login. */
export interface Lie {
  readonly name: string;
  readonly bytes: Buffer;
  /** What the lie is taken for, on record. Absent: any error of the upstream. */
  readonly error?: string;
  /** Goes on: hangs up afterwards, or waits. */
  readonly then: 'close' | 'reset' | 'wait';
}

/**
 * Parts of the suite that a protocol may have nothing for. `large` is one of `refused`, `changes` (what is on disk before
 * it goes upstream) one of `on record`, `half` one of `bad input`.
 */
export type Part =
  | 'split'
  | 'refused'
  | 'large'
  | 'held'
  | 'masked'
  | 'on record'
  | 'changes'
  | 'bad input'
  | 'half'
  | 'ignored'
  | 'lies';

export interface Fixture {
  readonly name: string;
  /** Parts that it has nothing for, and why. */
  readonly lacks?: Readonly<Partial<Record<Part, string>>>;
  /** Each act stands for itself: one that goes wrong, upstream or on record, fails alone, and the connection goes on. */
  readonly independent?: true;
  /** The protocol has no word for whoever sends what is none of it: such a connection is cut off. */
  readonly mute?: true;
  /** What of an answer has to be as without sluice, where not every byte can be. Absent: every byte. */
  same?(bytes: Buffer): string;
  /** How an act shows in what goes upstream. Absent: by its very bytes. */
  trace?(act: Buffer): Buffer;
  /** Why it can't run here, or null. */
  missing(): string | null;
  /**
   * A real server behind a tap behind sluice. The policy lets `read` and `write` pass, refuses `denied` by the rule
   * "not this", holds `held` for `hold` ms at most by "ask first" and masks what `masked` reads, if masks are wanted.
   */
  open(options: { readonly hold: number; readonly masks: boolean }): Promise<{
    readonly stage: Stage;
    readonly tap: Tap;
    connect(): Promise<Client>;
    /** How often `held` was carried out. */
    effects(): Promise<number>;
    /** The server without sluice. */
    direct(): Promise<Client>;
    /** From now on each byte reaches the codec by itself, from these sides. */
    split(sides: { readonly client: boolean; readonly upstream: boolean }): void;
    close(): Promise<void>;
  }>;
  /** Sluice before a server that lies; `lie` may be changed. */
  liar(): Promise<{
    readonly stage: Stage;
    lie: Lie;
    connect(): Promise<Client>;
    close(): Promise<void>;
  }>;
  readonly acts: {
    readonly read: Buffer;
    /** Its error's native code when policy refuses. */
    readonly denied: Buffer;
    readonly deniedCode: string;
    /** What its error says where the protocol's refusals have no rule that could be named, nor detail and hint. */
    readonly deniedSays?: RegExp;
    readonly held: Buffer;
    /** Words of `held` as they go upstream. */
    readonly heldText: string;
    /** Longer than is looked at. */
    readonly large: Buffer;
  };
  /** Acts that bring a masked value, by name; `canary` is what must not come, `shown` what comes in its place. */
  readonly masked: Readonly<Record<string, readonly Buffer[]>>;
  readonly canary: string;
  /** Conversations whose answers don't change from one time to the next, one answer for each act. */
  readonly talks: Readonly<Record<string, readonly Buffer[]>>;
  /** A message begun and not ended. */
  readonly half: Buffer;
  /** Bytes that get no answer: they are on record, and the connection goes on. Absent: `lacks` says why. */
  readonly ignored?: Readonly<Record<string, Buffer>>;
  /** Bytes that no client may send; each ends the connection at once, with a native error unless the protocol is mute. */
  readonly bad: Readonly<Record<string, Buffer>>;
  readonly lies: readonly Lie[];
}
