/** The policies under which sluice is measured: audit is on in all of them. */

export type Masking = 'none' | 'column' | 'detection';

const MASKING: Readonly<Record<Masking, string>> = {
  none: '',
  column: `masks:
  - name: labels
    on: bench
    columns: [public.bulk.label]
    with: redact
`,
  detection: 'detect: [cloud-keys, private-keys, tokens, payment-cards, emails]\n',
};

/** `port`: of the database on 127.0.0.1. */
export function policyFor(masking: Masking, port: number): string {
  return `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [ai-agents]
resources:
  bench:
    protocol: postgres
    address: 127.0.0.1:${port}
    tls: off
    login: none
rules:
  - name: agents read
    allow: [read, session]
    who: {groups: [ai-agents]}
    on: bench
  - name: agents keep their own tables
    allow: [write]
    who: {groups: [ai-agents]}
    on: bench
    tables: [public.pgbench_history]
  - name: secrets stay closed
    deny: [read]
    who: {groups: [ai-agents]}
    on: bench
    tables: [public.secrets]
    reason: secrets are not for agents
${MASKING[masking]}`;
}
