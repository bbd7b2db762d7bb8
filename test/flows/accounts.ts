/** Local accounts for agents of a test's own, removed at its end. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Account {
  readonly name: string;
  readonly uid: number;
}

/** Makes `count` system accounts. Names hold the pid, so that two runs don't meet. */
export function makeAccounts(count: number): { accounts: readonly Account[]; remove(): void } {
  const names = Array.from({ length: count }, (_, i) => `slt${process.pid}-${i}`);
  const remove = () => {
    process.off('exit', remove);
    for (const name of names.splice(0)) spawnSync('userdel', [name]);
  };
  process.once('exit', remove);
  for (const name of names) {
    const argv = ['--system', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/bin/sh', name];
    const { status, stderr } = spawnSync('useradd', argv, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`useradd ${name}: ${stderr}`);
  }
  const passwd = readFileSync('/etc/passwd', 'utf8').split('\n');
  const accounts = names.map((name) => {
    const [, , uid] = passwd.find((line) => line.startsWith(`${name}:`))!.split(':');
    return { name, uid: Number(uid) };
  });
  return { accounts, remove };
}
