/** `sluice support-bundle`: what somebody else needs to see of a host to help, without any secret of it. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { arch, hostname, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { readPaths } from '../policy/source.ts';
import { type Context, withDaemon } from './context.ts';
import { configPart, eventPart, journalPart, policyPart } from './support/parts.ts';
import { pseudonyms, scrub } from './support/redact.ts';

export interface SupportContext extends Context {
  readonly version: string;
  /** Words that run `sluice`. */
  readonly self: readonly string[];
  helperStatus(): Promise<unknown>;
  /** The newest events, oldest first. */
  events(count: number): AsyncIterable<Event>;
}

interface Flags {
  readonly output?: string;
  readonly config: string;
  readonly events: string;
  readonly doctor?: true;
}

/** A file of the bundle, and what it holds. */
interface Part {
  readonly file: string;
  readonly holds: string;
  text(): Promise<string> | string;
}

export function supportCommand(context: SupportContext): Command {
  return new Command('support-bundle')
    .description('pack what is needed to find a fault, without secrets, into a .tar.gz (root only)')
    .option('-o, --output <file>', 'where to; absent: sluice-support-HOST-TIME.tar.gz here')
    .option('--config <file>', 'configuration of sluiced', '/etc/sluice/sluiced.json')
    .option('--events <count>', 'so many of the newest events', '2000')
    .option('--doctor', 'also what sluice doctor finds: it tries every way out of a throwaway session')
    .action(async (flags: Flags) => {
      if (process.getuid!() !== 0)
        throw new SluiceError('NOT_ALLOWED', 'configuration, policy and audit are for root to read', {
          hint: 'run it as root',
        });
      const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '');
      const output = resolve(flags.output ?? `sluice-support-${hostname()}-${time}.tar.gz`);
      const packed = await pack(context, flags, output);
      context.out.write(`${output}\n${packed}Look through it before you give it away: tar -xzOf ${output} | less\n`);
    });
}

/** @returns one line a file. */
async function pack(context: SupportContext, flags: Flags, output: string): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-support-'));
  try {
    const lines: string[] = [];
    const manifest: { file: string; holds: string; missing?: string }[] = [];
    for (const { file, holds, text } of parts(context, flags)) {
      try {
        writeFileSync(join(dir, file), await text(), { mode: 0o600 });
        manifest.push({ file, holds });
        lines.push(`  ${file.padEnd(14)} ${holds}`);
      } catch (error) {
        // A code says which part does not answer; what it says may be anybody's text.
        const missing = (error as { code?: string }).code ?? (error as Error).name;
        manifest.push({ file, holds, missing });
        lines.push(`  ${file.padEnd(14)} left out: ${missing}`);
      }
    }
    const about = { sluice: context.version, made: new Date().toISOString(), files: manifest, removed: REMOVED };
    writeFileSync(join(dir, 'manifest.json'), `${JSON.stringify(about, null, 2)}\n`, { mode: 0o600 });
    // Made here and now, for root alone, and written by its descriptor: no link that somebody else laid is followed, nor one
    // that is put in the place of its name meanwhile.
    const file = openSync(output, 'wx', 0o600);
    const { status, stderr } = spawnSync('tar', ['-cz', '-C', dir, '--owner=0', '--group=0', '.'], {
      encoding: 'utf8',
      stdio: ['ignore', file, 'pipe'],
    });
    closeSync(file);
    if (status !== 0) throw new SluiceError('STATE_FAILED', `packing ${output}: ${stderr.trim()}`);
    return `${lines.join('\n')}\n`;
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('STATE_FAILED', `packing ${output}: ${(cause as Error).message}`, {
      hint: 'name another file with -o',
      cause,
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const REMOVED =
  'Text is kept only where it is known to be none of a person, an agent or a secret. (removed: N characters) stands where a ' +
  'text was; #0123456789ab is the name of a value, the same for the same value within this bundle alone. Never collected: ' +
  'credentials, keys, environments, command lines, tokens, sessions, approvals, statements, rows.';

function parts(context: SupportContext, flags: Flags): Part[] {
  const config = () => readFileSync(flags.config, 'utf8');
  const json = (value: unknown) => scrub(`${JSON.stringify(value, null, 2)}\n`);
  const status = () => withDaemon(context, (daemon) => daemon.call('status')) as Promise<Status>;
  const nameOf = pseudonyms();
  return [
    {
      file: 'status.json',
      holds: 'what sluice status says, without the texts of problems',
      // What others said stands in the texts of problems; each has its own place here.
      text: async () => json({ ...(await status()), problems: (await status()).problems.length }),
    },
    {
      file: 'helper.json',
      holds: 'hooks, guarantees and the kernel',
      text: async () => json(await context.helperStatus()),
    },
    {
      file: 'versions.json',
      holds: 'versions of sluice and of what it runs on',
      text: () => json(versions(context.version)),
    },
    { file: 'disk.json', holds: 'sizes and modes of files, room on the disk', text: () => json(disk(config())) },
    {
      file: 'limits.txt',
      holds: 'limits of the daemon’s process',
      text: async () => readFileSync(`/proc/${(await status()).pid}/limits`, 'utf8'),
    },
    {
      file: 'config.json',
      holds: 'sluiced.json; of texts only paths, names of providers and groups',
      text: () => configPart(config()),
    },
    {
      file: 'policy.txt',
      holds: 'the policy, without comments, conditions, reasons, hints, command lines and people',
      text: () =>
        readPaths(policyPaths(config()))
          .map(({ file, text }) => `# ${file}\n${policyPart(text)}`)
          .join('\n'),
    },
    {
      file: 'metrics.txt',
      holds: 'figures, with names of resources and rules, and codes',
      text: async () => metrics((await status()).listeners.metrics),
    },
    {
      file: 'events.jsonl',
      holds:
        'the last events, without statements, reasons, messages and groups; people, programs, addresses, databases and objects as names',
      async text() {
        let text = '';
        for await (const event of context.events(Number(flags.events))) text += eventPart(event, nameOf);
        return text;
      },
    },
    {
      file: 'journal.txt',
      holds: 'lines of helper and daemon, without events and what follows a colon',
      text: journal,
    },
    ...(flags.doctor
      ? [
          {
            file: 'doctor.json',
            holds: 'what sluice doctor tried, and what came of it',
            text: () => scrub(doctor(context)),
          },
        ]
      : []),
  ];
}

interface Status {
  readonly pid: number;
  readonly problems: readonly unknown[];
  readonly listeners: { readonly metrics?: string };
}

function versions(sluice: string) {
  const first = (program: string, ...words: string[]) =>
    spawnSync(program, words, { encoding: 'utf8' }).stdout?.split('\n')[0] ?? null;
  const read = (path: string) => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return null;
    }
  };
  return {
    ...{ sluice, node: process.version, kernel: release(), arch: arch() },
    system: /^PRETTY_NAME="?(.*?)"?$/m.exec(read('/etc/os-release') ?? '')?.[1] ?? null,
    systemd: first('systemctl', '--version'),
    lsm: read('/sys/kernel/security/lsm'),
    virtualization: first('systemd-detect-virt'),
  };
}

function policyPaths(config: string): string[] {
  const { policy = ['/etc/sluice/policy'] } = JSON.parse(config) as { policy?: string[] };
  return policy;
}

function disk(config: string) {
  const { stateDir = '/var/lib/sluice', runDir = '/run/sluice' } = JSON.parse(config) as {
    stateDir?: string;
    runDir?: string;
  };
  const listed = (path: string) =>
    spawnSync('find', [path, '-xdev', '-maxdepth', '2', '-printf', '%M %u %s %P\n'], { encoding: 'utf8' }).stdout;
  return Object.fromEntries(
    [stateDir, runDir].map((path) => {
      const { bavail, bsize, blocks, ffree } = statfsSync(path);
      const entries = listed(path)
        .split('\n')
        .filter((line) => KNOWN.test(line.split(' ').slice(3).join(' ')));
      return [path, { bytes: blocks * bsize, freeBytes: bavail * bsize, freeInodes: ffree, entries }];
    }),
  );
}

/** Names of ours; a file that somebody else laid there may be called anything. */
const KNOWN =
  /^(|FORMAT|audit|audit\/[\w.-]{1,40}|approvals|approvals\/(data|lock)\.mdb|sessions\.json|names|mask\.key|ca|ca\/ca\.(crt|key)|helper\.(sock|lock)|bpf|daemon|daemon\/[\w]{1,20}\.(sock|pem))$/;

function metrics(at: string | undefined): Promise<string> {
  if (at === undefined) throw new SluiceError('CONFIG_INVALID', 'there are no metrics');
  const where = at.startsWith('/') ? { socketPath: at } : { host: '127.0.0.1', port: Number(at.split(':')[1]) };
  return new Promise((done, reject) => {
    const asked = request({ ...where, path: '/metrics', timeout: 5_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => done(scrub(text)));
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end();
  });
}

function journal(): string {
  const asked = spawnSync(
    'journalctl',
    ['-u', 'sluiced', '-u', 'sluice-helper', '-o', 'json', '-n', '2000', '--no-pager', '-q'],
    {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 ** 2,
    },
  );
  if (asked.status !== 0) throw asked.error ?? new Error('journalctl failed');
  return asked.stdout
    .split('\n')
    .map((line) => journalPart(line) ?? '')
    .join('');
}

function doctor({ self: [program = '', ...words] }: SupportContext): string {
  return spawnSync(program, [...words, 'doctor', '--json'], { encoding: 'utf8' }).stdout;
}
