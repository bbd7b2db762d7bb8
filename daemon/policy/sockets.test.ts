import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AGENT, KIT, policyOf, SHOP, told } from './fixture.ts';
import { jsonSchema } from './schema.ts';

const OTHER = { subject: 'other@example.com', groups: ['others'] };

/** Diagnostics of one name, without their place. */
const about = (name: string): string[] =>
  told(`${SHOP}unix:\n  - {who: {groups: [g]}, sockets: [${JSON.stringify(name)}]}\n`)
    .filter((text) => text.includes('unix['))
    .map((text) => text.replace(/^0\.yaml:6:\d+: /, ''));

test('sockets of the host are for whom an entry names them, what several say adds up', () => {
  const policy = policyOf(
    `${SHOP}unix:
  - {sockets: [/run/build/cache.sock, "@tracer"], who: {groups: [ai-agents]}}
  - {name: again, sockets: ["@tracer"], who: {users: [agent@example.com]}}
`,
    `apiVersion: sluice/v1\nunix:\n  - {sockets: [/run/clock.sock], who: everyone}\n`,
  );
  assert.deepEqual(policy.unixSockets(AGENT), ['/run/build/cache.sock', '@tracer', '/run/clock.sock']);
  assert.deepEqual(policy.unixSockets(OTHER), ['/run/clock.sock']);
  assert.deepEqual(policyOf(SHOP).unixSockets(AGENT), []);
});

test('a name that no server binds so is an error that says what to write', () => {
  for (const [name, fault] of [
    [
      'cache.sock',
      /^unix\[0\]\.sockets\[0\]: cache\.sock is neither .* \(\/run\/cache\.sock, or @cache\.sock for an abstract one\)$/,
    ],
    ['', /neither an absolute path/],
    ['@', /an abstract name is empty/],
    ['/', /not how a server binds a path/],
    ['/run/x.sock/', /did you mean "\/run\/x\.sock"\?/],
    ['/run/../run/x.sock', /did you mean "\/run\/x\.sock"\?/],
    ['/run//x.sock', /did you mean "\/run\/x\.sock"\?/],
    ['/run/*.sock', /named in full \(write each of them\)/],
    ['/run/x\0y', /control characters/],
    [`/run/${'x'.repeat(103)}`, /has 108 bytes, and a socket's name at most 107/],
    [`/run/${'ü'.repeat(52)}`, /has 109 bytes/],
  ] as const)
    assert.match(about(name).join('\n'), fault, name);
  assert.deepEqual(about(`/run/${'x'.repeat(102)}`), []);
  assert.match(told(`${SHOP}unix:\n  - {who: everyone, socket: [/run/x]}\n`).join('\n'), /did you mean "sockets"\?/);
  assert.match(told(`${SHOP}unix:\n  - {sockets: [/run/x], who: {groups: ["*"]}}\n`).join('\n'), /named in full/);
  const twice = `  - {name: n, sockets: [/run/x], who: everyone}\n`;
  assert.match(told(`${SHOP}unix:\n${twice}${twice}`).join('\n'), /already a unix entry named "n"/);
});

test('check warns of names that give the host away', () => {
  for (const [name, warning] of [
    ['/var/run/docker.sock', /root on this host/],
    ['/run/containerd/containerd.sock', /containers as root/],
    ['/run/podman/podman.sock', /containers as root/],
    ['/run/dbus/system_bus_socket', /system bus/],
    ['/run/systemd/private', /systemd's private socket/],
    ['/run/user/1000/bus', /user's bus/],
    ['@/tmp/.X11-unix/X0', /X11/],
    ['/tmp/.X11-unix/X0', /X11/],
    ['/run/user/1000/wayland-0', /desktop/],
    ['/tmp/ssh-abcdef/agent.4711', /keys/],
    ['/run/user/1000/gnupg/S.gpg-agent', /keys/],
    ['/run/user/1000/keyring/ssh', /keys/],
    ['/var/run/postgresql/.s.PGSQL.5432', /declare a resource/],
    ['/run/libvirt/libvirt-sock', /as root/],
    ['/run/sluice/helper.sock', /refuse sessions/],
    ['/tmp/build.sock', /agents may write/],
  ] as const) {
    assert.match(about(name).join('\n'), warning, name);
    assert.ok(
      about(name).every((text) => text.startsWith('warning: ')),
      name,
    );
  }
  for (const name of ['/run/build/cache.sock', '@tracer', '/run/nscd/socket']) assert.deepEqual(about(name), [], name);
});

test('editors know the section', () => {
  const { properties } = jsonSchema(KIT) as { properties: { unix: { items: { required: string[] } } } };
  assert.deepEqual(properties.unix.items.required, ['sockets', 'who']);
});
