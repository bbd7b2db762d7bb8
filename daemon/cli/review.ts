/**
 * `sluice approvals watch --prompt`: shows each request that waits, asks, and passes the verdict on. A request that is
 * decided elsewhere or expires while the question stands takes the question with it. What was typed before a question
 * stood is no answer to it.
 */
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { SluiceError } from '../core/errors.ts';
import { approvalBlock, changeLine, type Shown, verdictLine } from './approval-screen.ts';
import type { Daemon } from './context.ts';
import { describe } from './failure.ts';

type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

export async function review(daemon: Daemon, input: Readable, out: Output): Promise<void> {
  const stop = new AbortController();
  // Before the list is read, so that none falls between the two.
  const changes = daemon.stream('approvals.watch', {}, stop.signal)[Symbol.asyncIterator]();
  const first = changes.next();
  const waiting = new Map<string, Shown>();
  const asked = new Set<string>();
  for (const each of (await daemon.call('approvals.list')) as Shown[])
    if (each.state === 'pending') waiting.set(each.id, each);

  const lines = createInterface({ input, output: out, terminal: out.isTTY === true });
  lines.setPrompt('approve? [y]es, [n]o, [s]kip: ');
  const desk: Desk = { prompt: () => lines.prompt(), standing: null, typed: null, wake: () => {} };
  lines.on('line', (line) => desk.typed?.(line));
  lines.on('close', () => stop.abort());
  // A terminal in raw mode gives Ctrl-C to readline.
  lines.on('SIGINT', () => lines.close());

  const follow = async () => {
    for (let next = await first; !next.done; next = await changes.next()) {
      const change = next.value as { type: string; approval: Shown };
      const { approval } = change;
      if (change.type === 'requested') waiting.set(approval.id, approval);
      else if (approval.state !== 'pending') {
        waiting.delete(approval.id);
        if (desk.standing === approval.id) {
          out.write(`\n${changeLine(change, out.columns ?? 80, Date.now())}`);
          desk.typed?.(null);
        }
      }
      desk.wake();
    }
  };
  const followed = follow().finally(() => {
    stop.abort();
    desk.typed?.(null);
    desk.wake();
  });
  // Its failure is thrown below; until then it must not count as unhandled.
  followed.catch(() => {});

  out.write(waiting.size === 0 ? 'waiting for requests; Ctrl-C ends\n' : '');
  while (!stop.signal.aborted) {
    const next = [...waiting.values()].find((each) => !asked.has(each.id));
    if (next === undefined) {
      await new Promise<void>((resolve) => {
        desk.wake = resolve;
      });
      continue;
    }
    asked.add(next.id);
    await ask(daemon, next, out, desk, stop.signal);
    waiting.delete(next.id);
  }
  lines.close();
  out.write('\n');
  await followed;
}

interface Desk {
  readonly prompt: () => void;
  /** Id of the approval whose question stands. */
  standing: string | null;
  /** Takes a line, or null when the question is withdrawn. */
  typed: ((line: string | null) => void) | null;
  wake: () => void;
}

async function ask(daemon: Daemon, approval: Shown, out: Output, desk: Desk, signal: AbortSignal): Promise<void> {
  out.write(`\n${approvalBlock(approval, out.columns ?? 80, Date.now())}`);
  for (;;) {
    desk.prompt();
    const line = await new Promise<string | null>((resolve) => {
      desk.standing = approval.id;
      desk.typed = resolve;
      signal.addEventListener('abort', () => resolve(null), { once: true });
    });
    desk.standing = null;
    desk.typed = null;
    if (line === null) return;
    const answer = line.trim().toLowerCase();
    if (['s', 'skip'].includes(answer)) return;
    const verdict = ['y', 'yes'].includes(answer) ? 'approve' : ['n', 'no'].includes(answer) ? 'deny' : null;
    if (verdict === null) continue;
    try {
      out.write(verdictLine((await daemon.call('approvals.decide', { id: approval.id, verdict })) as Shown, verdict));
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code === 'DAEMON_UNREACHABLE') throw error;
      out.write(describe(error));
    }
    return;
  }
}
