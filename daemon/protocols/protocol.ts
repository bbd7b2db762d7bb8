/**
 * What every protocol folder offers. A codec is pure: bytes in, units out, no socket, clock, log or policy inside. The
 * flow drives it: it takes the next unit of the client's side, has it classified and decided, and hands it back either
 * to forward or to refuse. Results pass through the codec on their way back, masked as the plan says.
 */
import type { Decision } from '../core/decision.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { Obligations } from '../core/mask.ts';
import type { Operation } from '../core/operation.ts';
import type { NameDecision } from '../core/policy.ts';
import type { Flow, Principal } from '../core/principal.ts';
import type { Credential, Resource } from '../core/resource.ts';

/** Why an act does not pass, in words for the agent. The codec makes the protocol's native error of it. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  /** Byte offset into the act's text where the fault lies, from 1, as the parser counted it. */
  readonly position?: number;
  /** The upstream's own code of its error, where `message` is its own too. Absent: the protocol's code for `code`. */
  readonly state?: string;
}

/** What masking makes of an act under the obligations that hold. Opaque to the flow but for these fields. */
export interface Plan {
  readonly refuse?: Refusal;
  /** Names of the masks that touch the result, for audit. */
  readonly masks: readonly string[];
}

/** An act made out: what it does, and how it is masked. */
export interface Classified {
  /** One per statement of a batch, in order; empty for an empty batch. */
  readonly operations: readonly Operation[];
  /** One that differs in the text of its operations alone: decisions that don't look at text hold for both. */
  readonly like?: Classified;
  /** Same plan for the same obligations object. */
  protect(obligations: Obligations): Plan;
}

/** A step of the client's that must be decided before its bytes go on. */
export interface Act {
  /**
   * What it still needs: a decision; a hold when a person has to approve; a record, because now it happens (known once it
   * is classified).
   */
  readonly decide: boolean;
  readonly hold: boolean;
  readonly record: boolean;
  /** Where an earlier step of the same operation was decided already (Execute after Bind). */
  verdict?: Verdict;
  /** The act as text, for the record of one that could not be made out. */
  readonly text: string;
  /** Values bound to placeholders of the text; null when they are too large to be shown. Absent: it has none. */
  parameters?(): readonly (string | null)[] | null;
}

/** What was decided on an act; kept with prepared things so that a later step need not ask again. */
export interface Verdict {
  readonly classified: Classified;
  readonly plan: Plan;
  readonly policy: string;
  /** For whom it was decided: one whose groups have changed meanwhile is another object. */
  readonly principal: Principal;
  /** Per operation, parallel to classified.operations: rule and reason, for the events. */
  readonly decisions: readonly Decision[];
  /** Ids of approvals used, per operation. */
  readonly approvals?: readonly (string | undefined)[];
}

export type Unit =
  /** Goes upstream unchanged; nothing in it can do anything by itself. */
  | { readonly kind: 'pass'; readonly bytes: Buffer }
  | { readonly kind: 'act'; readonly act: Act }
  /** The codec refuses by itself (too large, not text): to be recorded, then refused. */
  | { readonly kind: 'bad'; readonly act: Act; readonly refusal: Refusal }
  /** The client ends the conversation; bytes, if any, tell the upstream. */
  | { readonly kind: 'end'; readonly bytes: Buffer };

/** How one operation ended. */
export interface Ended {
  /** The numbers given to forward(). */
  readonly op: number;
  readonly rows: number;
  readonly bytes: number;
  /** Native error code when it failed. */
  readonly error?: string;
}

export interface Codec {
  /** Bytes of the client. Throws SluiceError PROTOCOL_VIOLATION, after which the flow ends. */
  client(chunk: Buffer): void;
  /**
   * The next unit of the client's side, or null: more bytes are needed, or, when `blocked` is true, the upstream has to
   * answer first.
   */
  next(): Unit | null;
  readonly blocked: boolean;
  /** True while a message of the client's is begun and not ended. */
  readonly partial: boolean;
  /**
   * Made out now, or when the promise settles. Rejects with SluiceError: refused with that. `again`: it waited for
   * people, and what it means may have changed.
   */
  classify(act: Act, again?: boolean): Classified | Promise<Classified>;
  /** Bytes for the upstream. `ops`: numbers of the recorded operations, in the order of classified.operations. */
  forward(act: Act, verdict: Verdict, ops: readonly number[]): Buffer;
  /**
   * Bytes for the upstream that make it fail as the act would have; its error is exchanged on the way back. Throws the
   * refusal as a SluiceError where it ends the flow.
   */
  refuse(act: Act, refusal: Refusal): Buffer;
  /**
   * Bytes of the upstream; what may be released to the client comes out through `out`. The chunk is read into again
   * afterwards: what the codec keeps of it, it copies. Throws UPSTREAM_VIOLATION.
   */
  upstream(chunk: Buffer, out: Outlet): void;
  /** Whether a message may be put in between towards the client now. */
  readonly atBoundary: boolean;
  /** A native notice that the client shows to people, e.g. that the act is held. */
  notice(text: string, detail: string): Buffer;
  /** A native error that ends the flow. Empty: there is no word for it now, and the connection is reset. */
  fatal(refusal: Refusal): Buffer;
  /** Each side may end its half of the connection, and the other goes on. Absent: the end of one ends the flow. */
  readonly halves?: true;
}

export interface Outlet {
  toClient(bytes: Buffer): void;
  /** The same for bytes that are about to be overwritten. False: they are still in use and must be left alone. */
  lend(bytes: Buffer): boolean;
  /** Whatever was lent is no longer in use. */
  readonly idle: boolean;
  toUpstream(bytes: Buffer): void;
  ended(end: Ended): void;
}

/** A byte stream that the greeting reads and writes; sockets stay with the flow. */
export interface Channel {
  /** At least one byte, or null at the end. Rejects with PROTOCOL_TIMEOUT past the deadline of the greeting. */
  read(): Promise<Buffer | null>;
  /** Puts bytes back to be read again. */
  unread(bytes: Buffer): void;
  write(bytes: Buffer): void;
  readonly encrypted: boolean;
}

/** What the flow lends to a greeting. */
export interface Host {
  readonly flow: Flow;
  readonly resource: Resource;
  readonly client: Channel;
  /** What holds for this principal now; the same object while nothing changes. */
  obligations(): Obligations;
  readonly readsOnly: boolean;
  /**
   * Turns the client's channel into TLS, with a leaf of the host's CA. `alpn`: protocol name to offer. Resolves with the
   * certificate that was shown, in DER.
   */
  startTls(alpn?: string): Promise<Buffer | null>;
  /** Connects to the resource. May be called again for side requests; a stream that is not returned in Opened must be ended. */
  connect(): Promise<Upstream>;
  credential(): Promise<Credential | null>;
  /** Whether this is the token of the flow's own session. Constant time. */
  tokenIs(text: string): boolean;
  /** What challenge-response logins need of the token, as text. Null: the session has ended. */
  verifier(): string | null;
}

export interface Upstream extends Channel {
  /** Verified as the resource's `tls` says; resolves with the server's certificate in DER. Rejects with UPSTREAM_TLS. */
  startTls(options: {
    readonly alpn?: string;
    readonly clientCertificate?: { readonly cert: string; readonly key: string };
  }): Promise<Buffer>;
  end(): void;
}

export interface Opened {
  readonly codec: Codec;
  /** Null: connected once the first act was decided and is on disk, which `forward` of that act is called after. */
  readonly upstream: Upstream | null;
  /** Bytes for the client that end the greeting. */
  readonly welcome: Buffer;
  /** Absent: the protocol has no accounts. */
  readonly account?: string;
  readonly database?: string;
  /** Aborts whatever the client asked to cancel; called for a hold too. */
  onCancel(abort: () => void): void;
  /** Stops what still runs upstream for this flow, which has been ended from outside. */
  abandon?(): Promise<void>;
  close(): void;
}

export interface Protocol {
  readonly name: string;
  readonly can: { readonly refuse: boolean; readonly hold: boolean; readonly mask: boolean };
  readonly speaksFirst: 'client' | 'server';
  /** From the first bytes of the side that speaks first, at most 4 KiB of them. */
  recognise(first: Buffer): 'yes' | 'no' | 'more';
  /**
   * The name of the server that a client asks for in its first bytes, which says which resource is meant where the address
   * is that of several. Null: it says none. Absent: the protocol knows no such thing.
   */
  serverName?(first: Buffer): string | null | 'more';
  /** Carries both logins out. Null: the connection was a side request that is done with. Rejects with SluiceError. */
  greet(host: Host): Promise<Opened | null>;
  /** Hears a client out that nobody will serve, so far that it can be told why in its own protocol. */
  decline(client: Channel, refusal: Refusal): Promise<void>;
  /** A native error that ends a greeting. Empty: there is none, and the connection is reset. */
  farewell(refusal: Refusal): Buffer;
}

/**
 * A protocol in which sluice itself is the server: each message is a question for a name, decided, recorded and answered
 * by itself, over datagrams or over a stream. There is no upstream connection that a codec could stand in the middle of,
 * so this is an interface of its own beside Protocol.
 */
export interface Responder {
  readonly name: string;
  /** What agents send to this port is meant for it, whatever the address. */
  readonly port: number;
  /** Cuts a client's stream into messages. */
  framer(): Framer;
  /** A message as it goes over a stream. */
  frame(message: Buffer): Buffer;
  /** Keeps one session within bounds. */
  allowance(): Allowance;
  /** Null: nothing that can be answered; it is dropped. */
  read(message: Buffer, datagram: boolean): Inquiry | null;
}

export interface Framer {
  push(chunk: Buffer): void;
  /** The next whole message or null. Throws SluiceError PROTOCOL_VIOLATION. */
  next(): Buffer | null;
  /** True while a message is begun and not ended. */
  readonly partial: boolean;
}

/** `now` in milliseconds. */
export interface Allowance {
  /** Counts a question. False: too many. */
  take(now: number): boolean;
  /** Why a name below a zone must not be asked for, or null. */
  below(name: string, zone: string, now: number): string | null;
}

/** A question made out. */
export interface Inquiry {
  readonly operation: Operation;
  /** Lower case, without a last dot. */
  readonly name: string;
  readonly type: string;
  /** Refused whatever policy says. */
  readonly fault: Refusal | null;
  /** `known`: the name itself may be asked for. */
  refuse(refusal: Refusal, known: boolean): Buffer;
  /**
   * Asks upstream, for what `decision` lets through. Rejects with SluiceError where nobody answers; to be told by
   * refuse().
   */
  answer(decision: NameDecision, ask: AskUpstream): Promise<Told>;
}

export interface Told {
  readonly bytes: Buffer;
  /** Records of the type asked for. */
  readonly rows: number;
  /** Addresses that the client is given for the name. */
  readonly addresses: readonly string[];
  /** What went wrong, natively (`NXDOMAIN`), or the code of our own why records were left out. */
  readonly error?: string;
  readonly message?: string;
}

/**
 * Sends a question to the resolvers of the host and resolves with the first reply that `judge` calls `yes`; what it calls
 * `cut` is asked for again over a stream, `next` is left to another resolver. Rejects with SluiceError
 * UPSTREAM_UNREACHABLE.
 */
export type AskUpstream = (
  question: Buffer,
  judge: (reply: Buffer) => 'yes' | 'no' | 'cut' | 'next',
) => Promise<Buffer>;
