/** The policies under which the corpora run. */

/** Everything in `leaks` and `benign` that must not come through. Views, children and copies follow from these. */
const PROTECTED = [
  'public.people.email',
  'public.people.ssn',
  'public.people.card',
  'public.people.salary',
  'public.secrets.value',
];

export type PolicyKind = 'masked' | 'masked-conditions' | 'reads-only';

/** `port`: of the database on 127.0.0.1, which takes everybody without a password. */
export function policyFor(kind: PolicyKind, port: number): string {
  const head = `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [ai-agents]
resources:
  corpus:
    protocol: postgres
    address: 127.0.0.1:${port}
    tls: off
    login: none
`;
  if (kind === 'reads-only') {
    return `${head}rules:
  - name: reads only
    allow: [read]
    who: {groups: [ai-agents]}
    on: corpus
`;
  }
  return `${head}rules:
  - name: everything
    allow: everything
    who: {groups: [ai-agents]}
    on: corpus
    breadth: accepted
masks:
  - name: protected columns
    on: corpus
    columns: [${PROTECTED.join(', ')}]
    with: redact
    conditions: ${kind === 'masked' ? 'allow' : 'deny'}
`;
}
