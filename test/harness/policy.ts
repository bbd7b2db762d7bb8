/** Policies of tests: one database on loopback, and one group, `agents`, that agents of the harness are in. */

export interface LocalPolicy {
  /** Lines of the resource `db`, after protocol and address. Absent: without TLS, and without a login. */
  readonly resource?: readonly string[];
  /** Groups by local user, besides the agents'. */
  readonly groups?: Readonly<Record<string, string>>;
  /** Text of the rules, and of what follows them. */
  readonly rules: string;
}

/** `port`: of the server on 127.0.0.1. */
export function localPolicy(
  port: number,
  { resource = ['tls: off', 'login: none'], groups, rules }: LocalPolicy,
): string {
  const identities = Object.entries({ 'sluice-agent': 'agents', ...groups });
  return `apiVersion: sluice/v1
identities:
${identities.map(([user, group]) => `  - user: ${user}\n    groups: [${group}]`).join('\n')}
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${port}
${resource.map((line) => `    ${line}`).join('\n')}
rules:
${rules}`;
}

/** Everything is allowed on `db`. */
export const ALLOW_ALL = `  - name: everything
    allow: everything
    who: {groups: [agents]}
    on: db
    breadth: accepted
`;
