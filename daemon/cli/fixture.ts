/** For tests: `sluice policy` on files in a folder that goes with the run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type PolicyWiring, policyCommand } from './policy.ts';

export interface PolicyFolder {
  readonly folder: string;
  /** Puts a file there. Returns its path. */
  write(name: string, text: string): string;
  /** What the command prints, and its exit status. The time is 0. */
  run(...args: string[]): Promise<{ out: string; status: number }>;
}

export function policyFolder(wiring: Pick<PolicyWiring, 'kit' | 'classifier' | 'connectors'>): PolicyFolder {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-policy-'));
  after(() => rmSync(folder, { recursive: true }));
  return {
    folder,
    write(name, text) {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    },
    async run(...args) {
      let out = '';
      let status = 0;
      const command = policyCommand({
        ...wiring,
        now: () => 0,
        out: { write: (text) => (out += text) },
        fail: (code) => {
          status = code;
        },
      });
      await command.parseAsync(args, { from: 'user' });
      return { out, status };
    },
  };
}
