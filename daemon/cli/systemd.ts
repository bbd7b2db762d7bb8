/** `sluice systemd drop-in UNIT`: what makes an existing service of the system run its command in a session. */
import { execFileSync } from 'node:child_process';
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import type { Context } from './context.ts';

/** The name that the documentation gives the drop-in; its own lines are no part of the service that it is made for. */
const NAME = '50-sluice.conf';
/** Commands of a service that systemd would start beside the session, and so without hooks (systemd.service(5)). */
const OUTSIDE = ['ExecCondition', 'ExecStartPre', 'ExecStartPost', 'ExecReload', 'ExecStop', 'ExecStopPost'];
/** Those whose main process is the one that systemd starts, and which tell it nothing over a socket of the host's. */
const TYPES = ['simple', 'exec', 'oneshot'];

export function systemdCommand(context: Context, self: readonly string[]): Command {
  return new Command('systemd').description('services of systemd in sessions').addCommand(
    new Command('drop-in')
      .description(`print a drop-in that runs a service's command in a session, for UNIT.d/${NAME}`)
      .argument('<unit>', 'a service of the system, e.g. agent.service')
      .action((unit: string) => {
        if (!/^[\w:.\\@-]+\.service$/.test(unit)) {
          throw new SluiceError('CONFIG_INVALID', `${unit} is not the name of a service`, { hint: 'agent.service' });
        }
        context.out.write(dropIn(unit, unitText(unit), self));
      }),
  );
}

function unitText(unit: string): string {
  try {
    return execFileSync('systemctl', ['cat', '--no-pager', '--', unit], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `systemctl cat ${unit} failed`, {
      hint: 'name a unit that systemd has loaded',
      cause,
    });
  }
}

/**
 * `text`: as `systemctl cat` prints it, each file after a line `# /path`. The command is taken over as it is written, so that
 * systemd goes on to read its quotes, specifiers and variables. `self`: the words that start this program.
 * @throws SluiceError CONFIG_INVALID when some process of the service would run outside of the session.
 */
export function dropIn(unit: string, text: string, self: readonly string[]): string {
  const refuse = (what: string, hint: string) => new SluiceError('CONFIG_INVALID', `${unit}: ${what}`, { hint });
  const { last, commands } = settingsOf(text);
  const type = last.get('Type') ?? 'simple';
  if (!TYPES.includes(type)) {
    throw refuse(`Type=${type} needs a socket of the host's or a process outside of the session`, 'use Type=exec');
  }
  for (const name of OUTSIDE) {
    if (commands.get(name)?.length) {
      throw refuse(`${name}= would run without hooks`, 'move it into the command, or into a unit of its own');
    }
  }
  const starts = commands.get('ExecStart') ?? [];
  if (starts.length !== 1) throw refuse(`${starts.length} ExecStart= lines`, 'a session has one command');
  const [, prefix = '', command = ''] = /^([-@:+!|]*)\s*(.*)$/s.exec(starts[0]!)!;
  if (/[^-:]/.test(prefix))
    throw refuse(`ExecStart=${prefix}… starts it with rights of its own`, 'leave the prefix out');
  return `# Made by sluice systemd drop-in ${unit}; belongs in /etc/systemd/system/${unit}.d/${NAME}
[Unit]
Wants=sluice-helper.service sluiced.service
After=sluice-helper.service sluiced.service

[Service]
Type=${type === 'oneshot' ? 'oneshot' : 'exec'}
ExecStart=
ExecStart=${prefix}${self.map(quoted).join(' ')} run -- ${command}
`;
}

/** A word of ExecStart= (systemd.service(5), "Command lines"). */
function quoted(word: string): string {
  return /^[\w/.:=@+-]+$/.test(word) ? word : `"${word.replace(/["\\]/g, '\\$&').replace(/[%$]/g, '$&$&')}"`;
}

function settingsOf(text: string): {
  last: ReadonlyMap<string, string>;
  commands: ReadonlyMap<string, readonly string[]>;
} {
  const last = new Map<string, string>();
  const commands = new Map<string, string[]>();
  let section = '';
  let ours = false;
  for (const line of joined(text)) {
    const file = /^# (\/\S+)$/.exec(line)?.[1];
    if (file !== undefined) {
      ours = file.endsWith(`/${NAME}`);
      section = '';
    }
    section = /^\[(.*)\]$/.exec(line.trim())?.[1] ?? section;
    const [, name, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/s.exec(line) ?? [];
    if (ours || section !== 'Service' || name === undefined || value === undefined) continue;
    last.set(name, value);
    if (name.startsWith('Exec')) commands.set(name, value === '' ? [] : [...(commands.get(name) ?? []), value]);
  }
  return { last, commands };
}

/** Lines, with those that end in a backslash joined; comments between them do not count (systemd.syntax(7)). */
function joined(text: string): string[] {
  const lines: string[] = [];
  let open: string | null = null;
  for (const line of text.split('\n')) {
    if (open !== null && /^\s*[#;]/.test(line)) continue;
    const whole: string = open === null ? line : `${open} ${line.trim()}`;
    const goesOn = whole.endsWith('\\') && !/^\s*[#;]/.test(whole);
    if (!goesOn) lines.push(whole);
    open = goesOn ? whole.slice(0, -1).trimEnd() : null;
  }
  return open === null ? lines : [...lines, open];
}
