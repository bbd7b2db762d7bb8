/** `sluice policy`: check, schema, test, explain, diff. Needs no daemon; `diff` without --events asks it for what was recorded. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Access, EFFECTS, type Effect } from '../core/operation.ts';
import type { Resource } from '../core/resource.ts';
import { type CaseResult, type Classified, type Classifier, question, runCases, testFiles } from '../policy/cases.ts';
import { nearest } from '../policy/diagnostic.ts';
import { explain } from '../policy/explain.ts';
import { type Checkup, checkPolicy, loadPolicy } from '../policy/load.ts';
import type { CompiledPolicy } from '../policy/policy.ts';
import { eventsIn, type Recorded, replay } from '../policy/replay.ts';
import { casesReport, checkReport, explainReport, painter, replayReport } from '../policy/report.ts';
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
    .action(() => print(`${JSON.stringify(jsonSchema(wiring.kit), null, 2)}\n`));

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
        for (const file of files) results.push(...(await runCases(file, policy, classifier, wiring.now)));
      } finally {
        await classifier?.close();
      }
      print(casesReport(results, paint));
      if (results.some((result) => result.fault !== null)) wiring.fail(1);
    });

  command
    .command('explain')
    .description('say which rule decides an operation and why')
    .argument('<path...>', 'files or folders of the policy')
    .requiredOption('--on <resource>', 'resource that it is sent to')
    .option('--as <subject>', 'who sends it', 'agent')
    .option('--group <name>', 'a group of theirs (repeat)', collect, [])
    .option('--sql <text>', 'the operation as text')
    .addOption(database())
    .addOption(new Option('--effect <effect>', 'or by what it does (repeat)').argParser(collectEffects).default([]))
    .option('--table <name>', 'and to which objects (repeat)', collect, [])
    .option('--verb <verb>', 'and what it is called', 'OPERATION')
    .action(async (paths: string[], flags: ExplainFlags) => {
      const policy = loadPolicy(paths, wiring.kit);
      const resource = resourceNamed(policy, flags.on);
      const principal = { subject: flags.as, groups: flags.group };
      const obligations = policy.obligations(principal, resource);
      const classifier = late(wiring, flags.database);
      let printed = 0;
      try {
        for (const act of await actsOf(flags, resource, classifier)) {
          const { verb, text } = act.operation;
          const what = `${verb}${text === '' ? '' : `: ${text}`}  as ${flags.as}${flags.group.length === 0 ? '' : ` (${flags.group.join(', ')})`} on ${resource.name}`;
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

interface ExplainFlags {
  readonly on: string;
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
