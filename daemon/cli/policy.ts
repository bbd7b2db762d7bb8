/** `sluice policy`: check, schema, test, explain, diff. Needs no daemon; `diff` without --events asks it for what was recorded. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Access, EFFECTS, type Effect } from '../core/operation.ts';
import type { Principal } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import { caseSchema } from '../policy/case-file.ts';
import {
  type CaseResult,
  type Classified,
  type Classifier,
  connectorFor,
  question,
  runCases,
  testFiles,
} from '../policy/cases.ts';
import { nearest } from '../policy/diagnostic.ts';
import { explain, explainName, explainSocket } from '../policy/explain.ts';
import { type Checkup, checkPolicy, loadPolicy } from '../policy/load.ts';
import type { CompiledPolicy } from '../policy/policy.ts';
import {
  type Connector,
  connectionFaults,
  type Fault,
  nameFaults,
  nothingThere,
  resourceMet,
  saidOf,
  socketFaults,
} from '../policy/reach.ts';
import { eventsIn, type Recorded, replay } from '../policy/replay.ts';
import {
  casesReport,
  checkReport,
  entriesReport,
  explainReport,
  type Paint,
  painter,
  replayReport,
} from '../policy/report.ts';
import { jsonSchema, type Kit } from '../policy/schema.ts';
import { readPaths } from '../policy/source.ts';

export interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** What the entry point gives these commands. */
export interface PolicyWiring {
  readonly kit: Kit;
  /** For texts, by the database that --database names. Absent: only operations given by effect can be classified. */
  readonly classifier?: (database: string | undefined) => Promise<Classifier>;
  /** For connections to what passes unread, by protocol. Absent: they can't be decided here. */
  readonly connectors?: Readonly<Record<string, Connector>>;
  /** Operations recorded by the daemon. Absent: `diff` needs --events. */
  readonly recorded?: () => AsyncIterable<Recorded>;
  readonly out: Stream;
  readonly now: () => number;
  /** Ends the command with this status once output is written; 0 is not passed. */
  readonly fail: (status: number) => void;
}

export function policyCommand(wiring: PolicyWiring): Command {
  const paint = painter(wiring.out.isTTY === true && process.env.NO_COLOR === undefined);
  const print = (text: string): void => void wiring.out.write(text);
  const command = new Command('policy').description('write, test and review policy');

  command
    .command('check')
    .description('check files, or folders of *.yaml, as one policy')
    .argument('<path...>')
    .option('--json', 'print the diagnostics as JSON')
    .option('--strict', 'warnings fail too')
    .action((paths: string[], flags: { json?: boolean; strict?: boolean }) => {
      const result: Checkup = checkPolicy(readPaths(paths), wiring.kit);
      if (flags.json === true)
        print(
          `${JSON.stringify({ valid: result.policy !== null, version: result.policy?.version ?? null, diagnostics: result.diagnostics }, null, 2)}\n`,
        );
      else print(checkReport(result, paint));
      if (result.policy === null || (flags.strict === true && result.diagnostics.length > 0)) wiring.fail(1);
    });

  command
    .command('schema')
    .description('print the JSON Schema of policy files, for editors')
    .option('--cases', 'that of *.test.yaml')
    .action((flags: { cases?: true }) =>
      print(`${JSON.stringify(flags.cases === true ? caseSchema() : jsonSchema(wiring.kit), null, 2)}\n`),
    );

  command
    .command('test')
    .description('run the cases in *.test.yaml beside the policy')
    .argument('<path...>', 'files or folders of the policy; test files among them are run')
    .addOption(database())
    .action(async (paths: string[], flags: { database?: string }) => {
      const policy = loadPolicy(
        paths.filter((path) => !/\.test\.ya?ml$/.test(path)),
        wiring.kit,
      );
      const files = testFiles(paths);
      if (files.length === 0)
        throw new SluiceError('POLICY_UNREADABLE', `there is no *.test.yaml beside ${paths.join(', ')}`);
      const results: CaseResult[] = [];
      const classifier = late(wiring, flags.database);
      try {
        const makers = { ...connectorsOf(wiring), ...(classifier !== undefined && { classifier }) };
        for (const file of files) results.push(...(await runCases(file, policy, makers, wiring.now)));
      } finally {
        await classifier?.close();
      }
      print(casesReport(results, paint));
      if (results.some((result) => result.fault !== null)) wiring.fail(1);
    });

  command
    .command('explain')
    .description('say which rule decides an operation, a name, a connection or a socket, and why')
    .argument('<path...>', 'files or folders of the policy')
    .addOption(one('--on <resource>', 'resource that an operation is sent to', 'dns', 'connect', 'unix'))
    .addOption(one('--dns <name>', 'or: a name that is asked for', 'on', 'connect', 'unix'))
    .option('--type <type>', 'and the type of its records', 'A')
    .addOption(one('--connect <host:port>', 'or: a connection that passes unread', 'on', 'dns', 'unix'))
    .option('--servername <name>', 'and the name that its TLS client asks for (default: the host)')
    .option('--no-tls', 'and its client begins with something else')
    .addOption(
      one('--unix <socket>', "or: a UNIX socket of the host's, as its server has bound it", 'on', 'dns', 'connect'),
    )
    .option('--as <subject>', 'who sends it', 'agent')
    .option('--group <name>', 'a group of theirs (repeat)', collect, [])
    .option('--sql <text>', 'the operation as text')
    .addOption(database())
    .addOption(new Option('--effect <effect>', 'or by what it does (repeat)').argParser(collectEffects).default([]))
    .option('--table <name>', 'and to which objects (repeat)', collect, [])
    .option('--verb <verb>', 'and what it is called', 'OPERATION')
    .action(async (paths: string[], flags: ExplainFlags) => {
      const policy = loadPolicy(paths, wiring.kit);
      const principal = { subject: flags.as, groups: flags.group };
      if (flags.on === undefined) {
        print(await explainReach(policy, principal, flags, wiring, paint));
        return;
      }
      const resource = resourceNamed(policy, flags.on);
      const obligations = policy.obligations(principal, resource);
      const classifier = late(wiring, flags.database);
      let printed = 0;
      try {
        for (const act of await actsOf(flags, resource, classifier)) {
          const { verb, text } = act.operation;
          const what = `${verb}${text === '' ? '' : `: ${text}`} as ${whoText(principal)} on ${resource.name}`;
          const explanation = explain(policy, question(principal, resource, act.operation, wiring.now()));
          if (printed++ > 0) print('\n');
          print(explainReport(explanation, act, obligations, what, paint));
        }
      } finally {
        await classifier?.close();
      }
    });

  command
    .command('diff')
    .description('decide recorded operations anew by a candidate, and list what would change')
    .argument('<candidate...>', 'files or folders of the candidate')
    .option(
      '--events <file>',
      'recorded events, one JSON object a line (sluice audit -o json); else the daemon is asked',
    )
    .option('--exit-code', 'status 1 when a decision would change')
    .action(async (paths: string[], flags: { events?: string; exitCode?: boolean }) => {
      const candidate = loadPolicy(paths, wiring.kit);
      const events = flags.events === undefined ? wiring.recorded?.() : eventsIn(flags.events);
      if (events === undefined)
        throw new SluiceError('DAEMON_UNREACHABLE', 'there is no daemon to ask for recorded operations', {
          hint: 'name a file with --events',
        });
      const result = await replay(candidate, events, wiring.now);
      print(replayReport(result, paint));
      if (flags.exitCode === true && result.changes.length > 0) wiring.fail(1);
    });

  return command;
}

const one = (flags: string, text: string, ...others: readonly string[]): Option =>
  new Option(flags, text).conflicts([...others]);

const connectorsOf = ({ connectors }: PolicyWiring) => (connectors === undefined ? {} : { connectors });

const whoText = ({ subject, groups }: Principal): string =>
  `${subject}${groups.length === 0 ? '' : ` (${groups.join(', ')})`}`;

/** Of names, connections and sockets. */
async function explainReach(
  policy: CompiledPolicy,
  principal: Principal,
  flags: ExplainFlags,
  wiring: PolicyWiring,
  paint: Paint,
): Promise<string> {
  const who = whoText(principal);
  if (flags.dns !== undefined) {
    const asked = { name: flags.dns, type: flags.type.toUpperCase() };
    refuseFaults('--dns', nameFaults(asked));
    return entriesReport(explainName(policy, principal, asked), `${asked.type} ${asked.name} as ${who}`, paint);
  }
  if (flags.unix !== undefined) {
    refuseFaults('--unix', socketFaults(flags.unix));
    return entriesReport(explainSocket(policy, principal, flags.unix), `${flags.unix} as ${who}`, paint);
  }
  if (flags.connect === undefined)
    throw new SluiceError('CONFIG_INVALID', 'there is nothing to explain', {
      hint: 'give --on with an operation, --dns, --connect or --unix',
    });
  const { tls, servername } = flags;
  const connection = { to: flags.connect, tls, ...(servername !== undefined && { servername }) };
  refuseFaults('--connect', connectionFaults(connection));
  const resource = resourceMet(policy, connection.to);
  if (resource === null) {
    const nothing = { decision: nothingThere(policy, connection.to), further: [], notes: [] };
    return entriesReport(nothing, `CONNECT ${connection.to} as ${who}`, paint);
  }
  const { operation, refused } = await connectorFor(resource, connectorsOf(wiring))(resource, saidOf(connection));
  const explanation = explain(policy, question(principal, resource, operation, wiring.now()));
  const what = `${operation.text} as ${who} on ${resource.name}`;
  const act = { operation, refused: () => refused };
  return explainReport(explanation, act, policy.obligations(principal, resource), what, paint);
}

function refuseFaults(option: string, [fault]: readonly Fault[]): void {
  if (fault === undefined) return;
  throw new SluiceError('CONFIG_INVALID', `${option}: ${fault.message}`, {
    hint: fault.suggestion ?? 'write it as a case of sluice policy test has it',
  });
}

interface ExplainFlags {
  readonly on?: string;
  readonly dns?: string;
  readonly type: string;
  readonly connect?: string;
  readonly tls: boolean;
  readonly servername?: string;
  readonly unix?: string;
  readonly as: string;
  readonly group: readonly string[];
  readonly sql?: string;
  readonly database?: string;
  readonly effect: readonly Effect[];
  readonly table: readonly string[];
  readonly verb: string;
}

const collect = (value: string, before: readonly string[]): string[] => [
  ...before,
  ...value.split(',').map((part) => part.trim()),
];

function collectEffects(value: string, before: readonly Effect[]): Effect[] {
  return collect(value, before).map((effect) => {
    if (!(EFFECTS as readonly string[]).includes(effect))
      throw new InvalidArgumentError(`Known: ${EFFECTS.join(', ')}.`);
    return effect as Effect;
  });
}

function resourceNamed(policy: CompiledPolicy, name: string): Resource {
  const resource = policy.resources.get(name);
  if (resource !== undefined) return resource;
  const near = nearest(name, policy.resources.keys());
  throw new SluiceError('FLOW_NO_RESOURCE', `the policy has no resource ${JSON.stringify(name)}`, {
    hint:
      near === undefined
        ? `it has: ${[...policy.resources.keys()].join(', ')}`
        : `did you mean ${JSON.stringify(near)}?`,
  });
}

async function actsOf(
  flags: ExplainFlags,
  resource: Resource,
  classifier: Classifier | undefined,
): Promise<readonly Classified[]> {
  if (flags.sql === undefined) {
    const accesses = flags.effect.flatMap((effect): Access[] =>
      flags.table.length === 0 ? [{ effect }] : flags.table.map((object) => ({ effect, object })),
    );
    const { protocol } = resource;
    return [{ operation: { protocol, verb: flags.verb, text: '', fingerprint: '', accesses, functions: [] } }];
  }
  if (classifier === undefined)
    throw new SluiceError('CONFIG_INVALID', "texts can't be classified here", {
      hint: 'say what it does with --effect and --table',
    });
  return classifier.classify(resource, flags.sql);
}

const database = (): Option =>
  new Option('--database <url>', 'judges SQL by its catalog: postgres://user:password@host:port/database').env(
    'SLUICE_POLICY_DATABASE',
  );

/** Opened by the first text, once: every text of a run meets the same error when that fails. */
function late({ classifier }: PolicyWiring, database: string | undefined): Required<Classifier> | undefined {
  if (classifier === undefined) return undefined;
  let opened: Promise<Classifier> | null = null;
  return {
    async classify(resource, text) {
      opened ??= classifier(database);
      return (await opened).classify(resource, text);
    },
    async close() {
      const made = await opened?.catch(() => null);
      await made?.close?.();
    },
  };
}
