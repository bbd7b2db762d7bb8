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
  const masks: (Buffer | null)[] = [];
  let size = high - low;
  for (let i = 0; i < spans.length; i++) {
    const span = spans[i]!;
    const masked = maskText(kind, data.subarray(span.from, span.to), key);
    masks.push(masked);
    size += (masked === null ? 0 : masked.length) - (span.to - span.from);
  }
  const out = Buffer.allocUnsafe(size);
  let at = low;
  let written = 0;
  for (let i = 0; i < spans.length; i++) {
    const masked = masks[i]!;
    written += data.copy(out, written, at, spans[i]!.from);
    if (masked !== null) written += masked.copy(out, written);
    at = spans[i]!.to;
  }
  data.copy(out, written, at, high);
  return out;
}
