/** Masking as the codec uses it: one masker per result, with the scanner that the obligations ask for. */
import type { Obligations } from '../../core/mask.ts';
import type { MaskKey } from '../../masking/key.ts';
import type { Detection } from '../../masking/text.ts';
import { maskFound } from '../../masking/text.ts';
import type { Statements } from './classify.ts';
import { CopyMasker } from './mask/copy.ts';
import { maskErrorContent, withhold } from './mask/errors.ts';
import type { RowLibrary } from './mask/library.ts';
import { OutBuffer } from './mask/out.ts';
import { RowMasker } from './mask/rows.ts';
import type { MaskTools } from './mask-tools.ts';
import { isSafeEncoding } from './sql/effects-settings.ts';
import type { OutputMask } from './sql/model.ts';

export interface ToolParts {
  readonly key: MaskKey;
  readonly rows: RowLibrary;
  /** Scanner of these detectors; the same one for the same obligations. Null where none is asked for. */
  detection(obligations: Obligations): Detection | null;
}

const WITHHELD = 'The text could hold masked values';

export function maskTools(parts: ToolParts, statements: Statements): MaskTools {
  // Used again from chunk to chunk, unless the socket still holds on to what was lent to it.
  const out = new OutBuffer();
  const lent = () => {
    const made = out.view();
    out.clear();
    return made;
  };
  const memory = { keep: () => void out.take(), reclaim: () => out.settle() };
  return {
    rows(outputs, fields, obligations) {
      const detection = parts.detection(obligations);
      const plan = obligations.masks.length === 0 ? (fields ?? []).map(() => null) : outputs;
      if (detection === null && passes(plan) && plan.length === fields?.length) return null;
      const masker = new RowMasker(plan, fields ?? [], detection, parts.key, parts.rows);
      return {
        mask(bytes, start, end) {
          masker.mask(bytes, start, end, out);
          return lent();
        },
        memory,
      };
    },
    copy(outputs, options, types, obligations) {
      const detection = parts.detection(obligations);
      const plan = obligations.masks.length === 0 ? types.map(() => null) : outputs;
      if (detection === null && passes(plan) && plan.length === types.length) return null;
      const asciiUnsafe = !isSafeEncoding(options.encoding ?? 'UTF8');
      const masker = new CopyMasker(plan, options, types, detection, parts.key, { native: parts.rows, asciiUnsafe });
      return {
        messages(bytes, start, end) {
          masker.messages(bytes, start, end, out);
          return lent();
        },
        memory,
        end() {
          masker.end(out);
          return Buffer.from(lent());
        },
      };
    },
    withhold: (body) => withhold(body, WITHHELD),
    scanReport(body, obligations) {
      const detection = parts.detection(obligations);
      return detection === null ? body : maskErrorContent(body, detection, parts.key);
    },
    scanText(text, obligations) {
      const detection = parts.detection(obligations);
      if (detection === null || text === '') return text;
      const bytes = Buffer.from(text);
      const masked = maskFound(detection, bytes, parts.key);
      return masked === bytes ? text : masked.toString('utf8');
    },
    column: (tableOid, attnum, obligations) => statements.maskOf(tableOid, attnum, obligations),
  };
}

function passes(plan: readonly (OutputMask | null)[] | 'all'): plan is readonly null[] {
  return plan !== 'all' && plan.every((output) => output === null);
}
