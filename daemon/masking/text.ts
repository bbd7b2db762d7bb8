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
  const masks = spans.map((span) => maskText(kind, data.subarray(span.from, span.to), key));
  let size = high - low;
  for (const [i, span] of spans.entries()) size += (masks[i]?.length ?? 0) - (span.to - span.from);
  const out = Buffer.allocUnsafe(size);
  let at = low;
  let written = 0;
  for (const [i, span] of spans.entries()) {
    written += data.copy(out, written, at, span.from);
    written += masks[i]?.copy(out, written) ?? 0;
    at = span.to;
  }
  data.copy(out, written, at, high);
  return out;
}
