/** From paths to a policy, or to every fault of the files at once. */
import { SluiceError } from '../core/errors.ts';
import { type Checked, compile } from './compile.ts';
import { type Diagnostic, diagnosticText, sortDiagnostics } from './diagnostic.ts';
import { validate } from './issues.ts';
import { lint } from './lint.ts';
import { CompiledPolicy } from './policy.ts';
import { type Kit, policyFile } from './schema.ts';
import { parseSource, readPaths, reporter, versionOf } from './source.ts';

/** Faults listed in one error message. */
const MAX_LISTED = 50;

export interface Checkup {
  /** Null when there is an error among the diagnostics. */
  readonly policy: CompiledPolicy | null;
  readonly diagnostics: readonly Diagnostic[];
  readonly files: readonly { readonly file: string; readonly text: string }[];
}

/** Everything that can be said about these texts. */
export function checkPolicy(files: readonly { file: string; text: string }[], kit: Kit): Checkup {
  const found: Diagnostic[] = [];
  const checked: Checked[] = [];
  for (const { file, text } of files) {
    const source = parseSource(file, text, found);
    if (found.some((d) => d.file === file)) continue;
    const policy = validate(policyFile, source.data, reporter(source, found));
    if (policy !== null) checked.push({ source, policy });
  }
  // With a file left out, names declared there would be reported as missing.
  const whole = checked.length === files.length;
  const parts = whole ? compile(checked, versionOf(files), kit, found) : null;
  const failed = found.some((d) => d.severity === 'error');
  if (parts !== null && !failed) lint(parts, checked, found);
  const diagnostics = sortDiagnostics(
    found,
    files.map(({ file }) => file),
  );
  const policy = parts === null || failed ? null : new CompiledPolicy({ ...parts, warnings: diagnostics });
  return { policy, diagnostics, files };
}

/**
 * Files, or folders of *.yaml, as one policy.
 * @throws SluiceError POLICY_UNREADABLE; POLICY_INVALID, whose message lists every fault, one a line.
 */
export function loadPolicy(paths: readonly string[], kit: Kit): CompiledPolicy {
  const { policy, diagnostics } = checkPolicy(readPaths(paths), kit);
  if (policy !== null) return policy;
  const errors = diagnostics.filter((d) => d.severity === 'error');
  const listed = errors.slice(0, MAX_LISTED).map(diagnosticText);
  if (errors.length > MAX_LISTED) listed.push(`and ${errors.length - MAX_LISTED} more`);
  throw new SluiceError('POLICY_INVALID', listed.join('\n'));
}
