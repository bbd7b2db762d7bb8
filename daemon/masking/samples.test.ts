/** Values that detectors must find and near misses that they must leave, each alone, in a sentence and cut anywhere. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DETECTOR_NAMES } from './detectors/table.ts';
import { randomMaskKey } from './key.ts';
import { Scanner } from './scanner.ts';
import { StreamMasker } from './stream.ts';
import { type Detection, maskFound } from './text.ts';

const BASE64_LINE = 'MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn2ygWyF8PbnGy5AHB7MaUUtBTzuc3xQJn1';
const pem = (kind: string, lines = 5, end = '\n'): string =>
  `-----BEGIN ${kind}-----${end}${`${BASE64_LINE}${end}`.repeat(lines)}-----END ${kind}-----`;
/** Put together here so that scanners of repositories find nothing. */
const glued = (...parts: string[]): string => parts.join('');

const FOUND: Record<string, readonly string[]> = {
  'cloud-keys': [
    glued('AKIA', 'IOSFODNN7EXAMPLE'),
    glued('ASIA', 'Y34FZKBOKMUTVV7A'),
    'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    glued('AIza', 'SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY'),
    glued('GOCSPX-', 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4'),
    glued('Abc8Q~', 'defghijklmnopqrstuvwxyz0123456789'),
  ],
  'private-keys': [
    pem('RSA PRIVATE KEY'),
    pem('OPENSSH PRIVATE KEY', 40),
    pem('PRIVATE KEY', 5, '\\n'),
    pem('PGP PRIVATE KEY BLOCK', 3),
    pem('ENCRYPTED PRIVATE KEY', 3, '\r\n'),
  ],
  tokens: [
    'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U',
    glued('ghp_', '0123456789abcdefghijABCDEFGHIJ012345'),
    glued('github_pat_', '11ABCDEFG0abcdefghijkl_0123456789abcdefghij'),
    glued('glpat-', 'abcdefghij0123456789'),
    glued('xoxb-', '123456789012-abcdefABCDEF'),
    glued('npm_', '0123456789abcdefghijABCDEFGHIJ012345'),
    glued('sk-', 'proj-abcdefghij0123456789'),
    glued('sk_live_', 'abcdefghij0123456789'),
  ],
  'payment-cards': [
    '4111111111111111',
    '4111 1111 1111 1111',
    '5555-5555-5555-4444',
    '378282246310005',
    '6011111111111117',
    '4222222222222',
    '2223003122003222',
    '6304000000000000',
  ],
  emails: [
    'a@b.io',
    'alice.b+tag@mail.example.co.uk',
    "o'neil@example.org",
    'jörg@bücher.example',
    'x@xn--80ak6aa92e.xn--p1ai',
  ],
  'us-ssn': ['123-45-6789', '078-05-1120'],
  iban: ['GB82WEST12345698765432', 'DE89 3704 0044 0532 0130 00', 'NO9386011117947'],
};

const LEFT: readonly string[] = [
  'an ordinary sentence of 2024-01-31 10:00:00.123456',
  '4111111111111112', // Luhn
  '1111111111111117',
  '04111111111111111119', // 20 digits
  'da39a3ee5e6b4b0d3255bfef95601890afd80709', // SHA-1
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaA',
  '000-12-3456 666-12-3456 900-12-3456 123-00-4567',
  'GB83WEST12345698765432',
  'user@localhost @mention a@b',
  'risk-management-of-large-projects-in-2024',
  '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
  '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----',
  'the bearer certificates were lost',
];

let detection: Detection;
const key = randomMaskKey();
before(() => {
  detection = { scanner: new Scanner(DETECTOR_NAMES), with: 'redact' };
});
after(() => detection.scanner.close());

const masked = (text: string): string => maskFound(detection, Buffer.from(text), key).toString();

describe('detectors', () => {
  for (const [name, values] of Object.entries(FOUND))
    for (const value of values)
      test(`${name} finds ${JSON.stringify(value.slice(0, 44))}`, () => {
        const one: Detection = { scanner: new Scanner([name]), with: 'redact' };
        for (const [front, back] of [
          ['', ''],
          ['see (', ') for it'],
          ['"', '"'],
          ['x=', ', y=1'],
        ])
          assert.equal(maskFound(one, Buffer.from(front + value + back), key).toString(), `${front}[redacted]${back}`);
        one.scanner.close();
      });
  for (const value of LEFT)
    test(`leaves ${JSON.stringify(value.slice(0, 50))}`, () => {
      assert.equal(masked(value), value);
    });

  test('several values in one text are each replaced', () => {
    const values = Object.values(FOUND).flat();
    const text = values.join(' ; ');
    assert.equal(masked(text), values.map(() => '[redacted]').join(' ; '));
  });

  test('an unknown detector is refused by name', () => {
    assert.throws(() => new Scanner(['emails', 'shoe-sizes']), { code: 'POLICY_INVALID', message: /shoe-sizes/ });
  });

  test('more candidates than are held count as one find', () => {
    const one: Detection = { scanner: new Scanner(['emails']), with: 'redact' };
    assert.equal(maskFound(one, Buffer.from('a@b'.repeat(600_000)), key).toString(), '[redacted]');
    one.scanner.close();
  });
});

describe('StreamMasker', () => {
  const through = (chunks: Buffer[]): string => {
    const stream = new StreamMasker(detection, key);
    const out = chunks.map((chunk) => Buffer.from(stream.push(chunk)));
    return Buffer.concat([...out, stream.flush()]).toString();
  };

  for (const value of Object.values(FOUND)
    .flat()
    .filter((each) => each.length < 400))
    test(`finds ${JSON.stringify(value.slice(0, 44))} cut at every byte`, () => {
      const text = Buffer.from(`some text, ${value}\nand more, 12 of it`);
      const whole = `some text, [redacted]\nand more, 12 of it`;
      for (let cut = 0; cut <= text.length; cut++)
        assert.equal(through([text.subarray(0, cut), text.subarray(cut)]), whole, `cut at ${cut}`);
      assert.equal(through(Array.from(text, (byte) => Buffer.of(byte))), whole, 'byte by byte');
    });

  test('a key longer than what is held never comes out, and what follows does', () => {
    const text = Buffer.from(`before\n${pem('RSA PRIVATE KEY', 600)}\nafter it`);
    for (const size of [1000, 4099, 16_384, 40_000]) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < text.length; at += size) chunks.push(text.subarray(at, at + size));
      assert.equal(through(chunks), 'before\n[redacted]\nafter it', `chunks of ${size}`);
    }
  });

  test('a word without end is let on', () => {
    const stream = new StreamMasker(detection, key);
    let released = 0;
    for (let i = 0; i < 100; i++) released += stream.push(Buffer.alloc(1000, 'x')).length;
    assert.ok(released >= 100_000 - 16_384);
  });

  test('lines are let on at once', () => {
    const stream = new StreamMasker(detection, key);
    assert.equal(stream.push(Buffer.from('ready.\n')).toString(), 'ready.\n');
    assert.equal(stream.push(Buffer.from('user$ ')).toString(), 'user$ ');
  });
});
