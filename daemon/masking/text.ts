/** Masking of values that detectors find within a text. */
import type { MaskKind } from '../core/mask.ts';
import type { Span } from './detectors/detector.ts';
import type { MaskKey } from './key.ts';
import { maskText } from './kinds.ts';
import type { Scanner } from './scanner.ts';

/** What policy says about content: which detectors, and how a value found is replaced. */
export interface Detection {
  readonly scanner: Scanner;
  readonly with: MaskKind;
}

/** `text` itself where nothing is found. With the kind `null` a value found becomes nothing. */
export function maskFound(detection: Detection, text: Buffer, key: MaskKey): Buffer {
  const spans = detection.scanner.spans(text);
  return spans.length === 0 ? text : replaceSpans(text, 0, text.length, spans, detection.with, key);
}

/** data[low, high) with each span (in order, not overlapping) replaced. */
export function replaceSpans(
  data: Buffer,
  low: number,
  high: number,
  spans: readonly Span[],
  kind: MaskKind,
  key: MaskKey,
): Buffer {
  const parts: Buffer[] = [];
  let at = low;
  for (const span of spans) {
    parts.push(data.subarray(at, span.from));
    const masked = maskText(kind, data.subarray(span.from, span.to), key);
    if (masked !== null) parts.push(masked);
    at = span.to;
  }
  parts.push(data.subarray(at, high));
  return Buffer.concat(parts);
}
