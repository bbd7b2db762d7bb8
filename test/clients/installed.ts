/** Which programs of the clients this machine has. */
import { existsSync } from 'node:fs';

/** Debian's, whose Java trusts /etc/ssl/certs. */
const JVM = '/usr/lib/jvm/default-java/bin';
export const JAVA = { java: `${JVM}/java`, javac: `${JVM}/javac`, keytool: `${JVM}/keytool` } as const;
export const GO = '/usr/bin/go';

/** Why a client can't be tried, or false. */
export function without(program: string, from: string): string | false {
  return existsSync(program) ? false : `${program} is not installed (${from})`;
}

const LONGER = 'npm run test:longer installs it';
export const goMissing = without(GO, LONGER);
export const javaMissing = without(JAVA.javac, LONGER);
export const gitMissing = without('/usr/bin/git', LONGER);
