/**
 * What has to be true of `sluice doctor` on a kernel with BPF LSM: doctor-said.ts TABLE STATUS JSON STATUS OPEN. OPEN is the
 * JSON of a helper without its hook for connections to UNIX sockets. Says of each check whether it holds, and ends with one
 * line of counts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { GUARANTEES } from '../../daemon/cli/doctor/guarantees.ts';
import { FINDINGS, type Findings, find } from '../doctor/findings.ts';

const [tableFile = '', tableStatus = '', jsonFile = '', jsonStatus = '', openFile = ''] = process.argv.slice(2);

/** Hooks of guarantees that a kernel without BPF LSM holds otherwise. */
const BY_LSM = {
  unix: ['lsm_unix_stream_connect', 'lsm_unix_may_send'],
  passed: ['lsm_file_receive', 'lsm_socket_connect', 'lsm_socket_sendmsg'],
  families: ['lsm_socket_create'],
  cgroup: ['lsm_inode_permission'],
  bpf: ['lsm_bpf'],
  mounts: ['lsm_sb_mount', 'lsm_sb_umount', 'lsm_move_mount'],
  namespaces: ['lsm_userns_create'],
  ptrace: ['lsm_ptrace_access_check'],
  kill: ['lsm_task_kill'],
} as const;

const tally = { passed: 0, failed: 0 };
function check(name: string, holds: () => void): void {
  try {
    holds();
    tally.passed += 1;
    console.log(`ok: ${name}`);
  } catch (error) {
    tally.failed += 1;
    console.log(`FAILED: ${name}\n${(error as Error).message.replace(/^/gm, '    ')}`);
  }
}

const table = readFileSync(tableFile, 'utf8');
let found: Findings = [];
const finding = (name: string) => find(found, name);

check('the JSON is a list of {guarantee, says, required, held, by, needs, tried}', () => {
  found = FINDINGS.parse(JSON.parse(readFileSync(jsonFile, 'utf8')));
});
check('it has a row for every guarantee', () => {
  for (const { name } of GUARANTEES) finding(name);
});
check('what is held needs nothing, what is not says what it needs', () => {
  for (const { guarantee, held, needs } of found) assert.equal(held === true, needs === null, guarantee);
});
for (const { name } of GUARANTEES) {
  check(`${name} is held by a hook or a step of the launcher, after attempts`, () => {
    const { held, by, needs, tried } = finding(name);
    const out = tried.filter(({ escaped }) => escaped);
    assert.equal(held, true, JSON.stringify({ needs, out }));
    assert.notEqual(by.length, 0);
    assert.ok(tried.some(({ untried }) => !untried));
  });
}
for (const [name, hooks] of Object.entries(BY_LSM)) {
  check(`${name} is held by BPF LSM`, () => {
    for (const hook of hooks) assert.ok(finding(name).by.includes(hook), `${hook} is not in ${finding(name).by}`);
  });
}
check(
  'no hook for UNIX sockets, which 6.1 lacks and which is not attached beside LSM, is said to hold anything',
  () => {
    for (const { guarantee, by } of found) assert.doesNotMatch(by.join(' '), /\b(connect|sendmsg)_unix\b/, guarantee);
  },
);
check('no attempt ran into the limit of its time', () => {
  const late = found.flatMap(({ tried }) => tried.filter(({ how }) => /^no answer within|EINPROGRESS/.test(how)));
  assert.deepEqual(late, []);
});
check('the exit status says whether all that is required is held', () => {
  const required = found.filter((each) => each.required).map(({ held }) => held);
  assert.notEqual(required.length, 0);
  assert.equal(Number(jsonStatus), required.includes(false) ? 1 : required.includes(null) ? 2 : 0);
});
check('the table says the same as the JSON, and so does its exit status', () => {
  assert.equal(tableStatus, jsonStatus);
  for (const { guarantee, held } of found) {
    const word = held === null ? '\\?' : held ? 'yes' : 'NO';
    assert.match(table, new RegExp(`^${word} +${guarantee} `, 'm'));
  }
  assert.match(
    table,
    new RegExp(`^${found.filter(({ held }) => held).length} of ${found.length} guarantees are held`, 'm'),
  );
});

check('without its hook for UNIX sockets, what then gets out is seen, and nothing else', () => {
  const open = FINDINGS.parse(JSON.parse(readFileSync(openFile, 'utf8')));
  const lost = open.filter(({ held }) => held === false).map(({ guarantee }) => guarantee);
  assert.deepEqual(lost, ['unix']);
  const out = open.flatMap(({ tried }) => tried.filter(({ escaped }) => escaped).map(({ name }) => name));
  assert.ok(out.includes('unix-stream') && out.includes('unix-abstract'), out.join());
});

console.log(`\n${tally.passed} passed, ${tally.failed} failed, 0 skipped`);
process.exit(tally.failed === 0 ? 0 : 1);
