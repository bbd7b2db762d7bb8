import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropIn } from './systemd.ts';

const of = (service: string, more = '') =>
  dropIn('a.service', `# /etc/systemd/system/a.service\n[Service]\n${service}\n${more}`, ['/usr/bin/sluice']);
const starts = (text: string) => text.split('\n').filter((line) => line.startsWith('ExecStart='));

test('the command is taken over as it is written', () => {
  assert.deepEqual(starts(of('ExecStart=-/bin/a "b c" %i \\\n# not this\n  $WORD')), [
    'ExecStart=',
    'ExecStart=-/usr/bin/sluice run -- /bin/a "b c" %i $WORD',
  ]);
});

test('a drop-in of its own that is there already does not count, another does', () => {
  const text = of(
    'ExecStart=/bin/a',
    '# /etc/systemd/system/a.service.d/10-x.conf\n[Service]\nExecStart=\nExecStart=/bin/b\n' +
      '# /etc/systemd/system/a.service.d/50-sluice.conf\n[Service]\nExecStart=\nExecStart=/usr/bin/sluice run -- /bin/b',
  );
  assert.equal(starts(text)[1], 'ExecStart=/usr/bin/sluice run -- /bin/b');
});

test('a service is refused when a process of it would run without hooks', () => {
  for (const [service, word] of [
    ['ExecStart=/bin/a\nExecStartPre=/bin/b', /ExecStartPre= would run without hooks/],
    ['ExecStart=/bin/a\nExecReload=/bin/kill -HUP $MAINPID', /ExecReload= would/],
    ['ExecStart=+/bin/a', /rights of its own/],
    ['Type=notify\nExecStart=/bin/a', /Type=notify/],
    ['Type=forking\nExecStart=/bin/a', /Type=forking/],
    ['ExecStart=/bin/a\nExecStart=/bin/b', /2 ExecStart/],
    ['User=x', /0 ExecStart/],
  ] as const) {
    assert.throws(() => of(service), word, service);
  }
  assert.doesNotThrow(() => of('ExecStart=/bin/a\nExecStartPre=/bin/b\nExecStartPre='));
});
