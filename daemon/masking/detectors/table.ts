/** Every detector by the name that policy uses. */
import { CLOUD_KEYS } from './cloud-keys.ts';
import type { Detector } from './detector.ts';
import { EMAILS } from './emails.ts';
import { IBAN, US_SSN } from './identity.ts';
import { PAYMENT_CARDS } from './payment-cards.ts';
import { PRIVATE_KEYS } from './private-keys.ts';
import { TOKENS } from './tokens.ts';

export const DETECTORS: readonly Detector[] = [CLOUD_KEYS, PRIVATE_KEYS, TOKENS, PAYMENT_CARDS, EMAILS, US_SSN, IBAN];
export const DETECTOR_NAMES: readonly string[] = DETECTORS.map((detector) => detector.name);
