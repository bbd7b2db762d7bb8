/** `sluice run` at a terminal: a shell's job like any other, on a terminal that is the session's own. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotRun, type Host, newHost, OTHER_UID, runToEnd } from '../native/host.ts';

/** What is typed (or a new size), and what must be shown after it. */
type Step = readonly [string | readonly [number, number], string];

describe('a session at a terminal', { skip: cannotRun() }, () => {
  let host: Host;

  before(async () => {
    host = newHost();
    await host.startHelper();
  });
  after(() => host.close());

  /** `$FRONT` in the steps runs what follows it in a session. */
  async function terminal(...steps: Step[]): Promise<string> {
    const session = await host.ownSession();
    const front = host.front(session.id, []).join(' ');
    const driver = ['/usr/bin/python3', join(import.meta.dirname, 'terminal.py')];
    const { stdout, stderr } = await runToEnd(driver, JSON.stringify({ front, uid: OTHER_UID, steps }));
    await host.helper.endSession(session.id).catch(() => {});
    assert.equal(stderr, '');
    const { missing, shown } = JSON.parse(stdout) as { missing: string | null; shown: string };
    assert.equal(missing, null, `not shown: ${missing}\n${shown}`);
    return shown;
  }

  test('has a terminal of its own, that the agent owns, of the size of the caller’s', async () => {
    await terminal(
      [
        '$FRONT sh -c \'tty; stat -c "%U" "$(tty)"; stty size; test -r "$(tty)" && echo mine; echo to-tty >/dev/tty\'\n',
        '^/dev/pts/\\d+',
      ],
      ['', '^24 80'],
      ['', '^mine'],
      ['', '^to-tty'],
      // What is typed before the command has ended is the command's.
      ['', '\\$ $'],
      ['tty; echo status $?\n', '^status 0'],
    );
  });

  test('Ctrl-C interrupts the command, and the shell goes on', async () => {
    await terminal(
      ["$FRONT sh -c 'echo started; exec sleep 600'\n", '^started'],
      ['\x03', '\\$ $'],
      ['echo status $?\n', '^status 130'],
      ['stty -a | grep -o -w -e -\\\\?icanon\n', '^icanon'],
    );
  });

  test('Ctrl-Z stops it, fg and bg take it on, and what is typed reaches it in the foreground alone', async () => {
    await terminal(
      ["$FRONT sh -c 'echo started; while read line; do echo got:$line; done; echo over'\n", '^started'],
      ['one\n', '^got:one'],
      ['\x1a', 'Stopped'],
      ['echo shell-$((1+1))\n', '^shell-2'],
      ['fg\n', '\\$FRONT'],
      ['two\n', '^got:two'],
      ['\x1a', 'Stopped'],
      ['bg\n', '&'],
      ['echo shell-$((1+2))\n', '^shell-3'],
      ['fg\n', '\\$FRONT'],
      ['three\n', '^got:three'],
      ['\x04', '^over'],
      ['', '\\$ $'],
      ['echo status $?\n', '^status 0'],
    );
  });

  test('in the background it waits when it wants to read, as any job does', async () => {
    await terminal(
      ["$FRONT sh -c 'read line; echo got:$line' &\n", '\\[1\\]'],
      ['while jobs -r | grep -q read; do sleep 0.1; done; jobs\n', 'Stopped'],
      ['fg\n', '\\$FRONT'],
      ['x\n', '^got:x'],
    );
  });

  test('a new size of the window reaches the command', async () => {
    await terminal(
      ['$FRONT sh -c \'trap "stty size" WINCH; echo started; while :; do sleep 0.1; done\'\n', '^started'],
      [[33, 101], '^33 101'],
      ['\x03', '\\$ $'],
    );
  });

  test('a shell in it has job control of its own', async () => {
    await terminal(
      ['$FRONT env PS1=in-\\> bash --norc --noprofile -i\n', 'in->$'],
      // A job that starts no others: a child of vfork() that is stopped before it has a program holds its parent back.
      ["sh -c 'echo up; exec sed -u s/^x/got:/'\n", '^up'],
      ['x1\n', '^got:1'],
      ['\x1a', 'Stopped[^$]*in->$'],
      ['fg\n', 'exec sed'],
      ['x2\n', '^got:2'],
      ['\x03', 'in->$'],
      ['exit 5\n', '\\$ $'],
      ['echo status $?\n', '^status 5'],
    );
  });

  test('a pipeline keeps the terminal for who reads it, and passes on what the command writes', async () => {
    await terminal(
      [
        "$FRONT sh -c 'echo to-pipe; echo to-terminal >&2' | { read line; echo piped:$line; read typed </dev/tty; echo typed:$typed; }\n",
        '^(to-terminal|piped:to-pipe)',
      ],
      ['', '^(to-terminal|piped:to-pipe)'],
      ['abc\n', '^typed:abc'],
    );
  });

  test('nothing of the session can type into the caller’s terminal, nor read it when the command is over', async () => {
    const inject =
      'import fcntl, sys, termios\ntry: fcntl.ioctl(0, termios.TIOCSTI, b"x"); print("typed")\nexcept OSError as e: print("refused", e.errno)';
    await terminal([`$FRONT python3 -c '${inject}'\n`, '^refused 1'], ['', '\\$ $'], ['echo status $?\n', '^status 0']);
    const listen = "setsid sh -c 'echo waiting; read line; echo stolen:$line >&2' <&0 & sleep 1";
    const shown = await terminal(
      [`$FRONT sh -c '${listen.replaceAll("'", "'\\''")}'\n`, '^waiting'],
      ['', '\\$ $'],
      ['echo secret\n', '^secret'],
      ['echo end\n', '^end'],
    );
    assert.doesNotMatch(shown, /^stolen:secret/m);
  });
});
