/** A stream of questions (DNS over TCP): as many as the client likes, each answered as soon as it can be. */
import type net from 'node:net';
import type { SluiceError } from '../core/errors.ts';
import type { EventFields } from '../core/event.ts';
import type { Flow } from '../core/principal.ts';
import { flowFields } from './about.ts';
import type { Answers } from './answers.ts';
import type { RunningFlow } from './flow.ts';
import type { FlowParts } from './parts.ts';
import { asSluice } from './verdict.ts';

/** Questions of one stream that are answered at once; more are read when one of them is done. */
const AHEAD = 16;
/** A client without a question is let go after so long, milliseconds (RFC 7766 6.2.3). */
const IDLE = 30_000;

export function runConversation(parts: FlowParts, answers: Answers, flow: Flow, socket: net.Socket): RunningFlow {
  const { responder } = answers;
  const framer = responder.framer();
  const about: EventFields = { ...flowFields(flow, null, null), protocol: responder.name };
  const ended = Promise.withResolvers<void>();
  let asking = 0;
  let op = 0;
  let partialSince = 0;
  let bytesIn = 0;
  let bytesOut = 0;
  let over = false;
  /** The client will say no more. */
  let heard = false;

  const finish = (error?: SluiceError) => {
    if (over) return;
    over = true;
    if (error === undefined) socket.end();
    else socket.destroy();
    socket.setTimeout(IDLE, () => socket.destroy());
    const fault = error === undefined ? {} : { error: error.code, message: error.message };
    try {
      parts.recorder.record({ type: 'flow.end', ...about, bytesIn, bytesOut, ...fault });
    } catch (cause) {
      parts.onFault(cause, flow.id);
    }
    ended.resolve();
  };
  const fail = (cause: unknown) => {
    const error = asSluice(cause);
    if (error.code === 'INTERNAL') parts.onFault(cause, flow.id);
    finish(error);
  };

  const reply = (bytes: Buffer | null) => {
    asking--;
    if (over) return;
    if (bytes !== null) {
      bytesOut += bytes.length;
      socket.write(responder.frame(bytes));
    }
    take();
  };
  const take = () => {
    try {
      while (!over && asking < AHEAD && !socket.writableNeedDrain) {
        const message = framer.next();
        if (message === null) break;
        asking++;
        answers.answer(flow, message, false, ++op).then(reply, fail);
      }
    } catch (error) {
      fail(error);
      return;
    }
    if (over) return;
    partialSince = asking === 0 && framer.partial ? performance.now() : 0;
    if (heard && asking === 0) finish();
    else if (asking < AHEAD && !socket.writableNeedDrain) socket.resume();
    else socket.pause();
  };

  try {
    parts.recorder.record({ type: 'flow.start', ...about });
    // A client may say that it has asked all, and wait for the answers.
    socket.allowHalfOpen = true;
    socket.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length;
      framer.push(chunk);
      take();
    });
    socket.on('drain', take);
    socket.on('end', () => {
      heard = true;
      take();
    });
    socket.on('close', () => finish());
    socket.on('error', () => finish());
    socket.setTimeout(IDLE, () => finish());
    socket.resume();
  } catch (error) {
    // It could not even be recorded.
    socket.destroy();
    over = true;
    ended.resolve();
    parts.onFault(error, flow.id);
  }

  return {
    flow,
    ended: ended.promise,
    end: (error) => finish(error),
    get partialSince() {
      return partialSince;
    },
  };
}
