import type { Detector, Span } from './detector.ts';
import { BASE64URL, bytesOf, prefixed, runEnd } from './detector.ts';

const JWT_HEADER = 8;
const DOT = 0x2e;
const TOKEN68 = bytesOf('A-Za-z0-9._~+/=-');
const BEARER = 'bearer '.length;
const BEARER_LEAST = 16;

/** Access tokens by their prefixes. Checksums that some carry (GitHub's) are not needed: the prefix is telling. */
export const TOKENS: Detector = {
  name: 'tokens',
  finds:
    'JWTs, bearer tokens, and tokens of GitHub, GitLab, Slack, npm, PyPI, Stripe, OpenAI, Anthropic, SendGrid, Hugging Face, Shopify, HashiCorp Vault and sluice',
  rules: [
    { anchor: 'eyJ[A-Za-z0-9_-]{8}', verify: jwt },
    { anchor: 'bearer [A-Za-z0-9._~+/-]{6}', caseless: true, verify: bearer },
    ...['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'].map((prefix) => prefixed(prefix, 'A-Za-z0-9', 30)),
    prefixed('github_pat_', 'A-Za-z0-9_', 22),
    ...['glpat-', 'gldt-', 'glrt-', 'glcbt-', 'glptt-'].map((prefix) => prefixed(prefix, 'A-Za-z0-9_.-', 20)),
    ...['xoxa-', 'xoxb-', 'xoxe-', 'xoxp-', 'xoxr-', 'xoxs-', 'xapp-'].map((prefix) =>
      prefixed(prefix, 'A-Za-z0-9-', 10),
    ),
    prefixed('npm_', 'A-Za-z0-9', 36),
    prefixed('pypi-', 'A-Za-z0-9_-', 50),
    ...['sk', 'rk', 'pk'].flatMap((kind) => [
      prefixed(`${kind}_live_`, 'A-Za-z0-9', 16, true),
      prefixed(`${kind}_test_`, 'A-Za-z0-9', 16, true),
    ]),
    prefixed('whsec_', 'A-Za-z0-9+/=', 24, true),
    prefixed('sk-', 'A-Za-z0-9_-', 20, true),
    prefixed('SG\\.', 'A-Za-z0-9_.-', 40, true),
    prefixed('hf_', 'A-Za-z0-9', 30, true),
    ...['shpat_', 'shpca_', 'shppa_', 'shpss_'].map((prefix) => prefixed(prefix, 'a-fA-F0-9', 32)),
    prefixed('hvs\\.', 'A-Za-z0-9_-', 24, true),
    prefixed('slc_', 'A-Za-z0-9_-', 20, true),
  ],
};

/**
 * RFC 7519: base64url(header).base64url(payload).base64url(signature). The header has to be JSON with an algorithm or type;
 * the rest is taken as far as it goes, so that a cut or encrypted token counts as well.
 */
function jwt(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - 3 - JWT_HEADER;
  if (from < low || end > high) return false;
  const dot = runEnd(data, end, high, BASE64URL);
  if (dot >= high || data[dot] !== DOT) return false;
  const header = Buffer.from(
    Buffer.from(data.buffer, data.byteOffset + from, dot - from).toString('latin1'),
    'base64url',
  );
  if (!/^\{.*"(?:alg|typ|kid|enc)"\s*:/s.test(header.toString('latin1', 0, 4096))) return false;
  let to = runEnd(data, dot + 1, high, BASE64URL);
  if (to - dot < 5) return false;
  while (to < high && data[to] === DOT) to = runEnd(data, to + 1, high, BASE64URL);
  while (data[to - 1] === DOT) to--;
  span.from = from;
  span.to = to;
  return true;
}

/** RFC 6750, section 2.1. Sixteen characters and a digit: "bearer certificates" is prose. */
function bearer(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - 6;
  if (from - BEARER < low || end > high) return false;
  const to = runEnd(data, from, high, TOKEN68);
  if (to - from < BEARER_LEAST) return false;
  let digit = false;
  for (let i = from; i < to && !digit; i++) digit = data[i]! >= 0x30 && data[i]! <= 0x39;
  if (!digit) return false;
  span.from = from; // the word itself says nothing and keeps the text readable
  span.to = to;
  return true;
}
