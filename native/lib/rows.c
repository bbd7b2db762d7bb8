// SPDX-License-Identifier: Apache-2.0
/*
 * Masking of PostgreSQL rows whose masked columns become the same bytes in every row, in results and in COPY in text. One
 * call rewrites a whole chunk; the daemon's own walkers do what needs more than that (keyed kinds, rows of another width
 * or in parts, content found).
 */
#include <stdint.h>
#include <string.h>

#include "libsluice.h"

#define ROW_PASS (-2)      /* column passes unchanged */
#define ROW_NULL (-1)      /* column becomes NULL */
#define ROWS_VIOLATION (-1) /* lengths lie, or something else than a DataRow */
#define ROWS_NO_ROOM (-2)  /* `room` is too small */
#define ROWS_RAGGED (-3)   /* a row has another number of columns, or is no whole row */

struct sluice_column {
	int32_t length; /* of the replacement, or ROW_* */
	uint32_t offset; /* of the replacement in `texts` */
	uint32_t fills; /* not 0: NULL becomes the replacement too */
};

/*
 * in[start, end) holds complete DataRow messages: 'D' length(int32) columns(int16), per column length(int32, -1 is NULL)
 * bytes. Writes them to `out`, masked, and returns the bytes written or ROWS_*. What is in `out` after an error is void.
 */
SLUICE_API int64_t sluice_mask_rows(const uint8_t *in, uint32_t start, uint32_t end,
				    const struct sluice_column *columns, uint32_t count, const uint8_t *texts,
				    uint8_t *out, uint32_t room);

static uint32_t load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return __builtin_bswap32(value);
}

static void store32(uint8_t *at, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(at, &value, sizeof value);
}

int64_t sluice_mask_rows(const uint8_t *in, uint32_t start, uint32_t end, const struct sluice_column *columns,
			 uint32_t count, const uint8_t *texts, uint8_t *out, uint32_t room)
{
	uint64_t at = start, written = 0;
	uint64_t copied = start; /* everything before is in `out` */

	while (at < end) {
		uint64_t row = at, row_end, header = 0;
		int64_t grown = 0;
		int changed = 0;

		if (end - at < 7 || in[at] != 'D')
			return ROWS_VIOLATION;
		row_end = at + 1 + load32(in + at + 1);
		if (row_end < at + 7 || row_end > end)
			return ROWS_VIOLATION;
		if (((uint32_t)in[at + 5] << 8 | in[at + 6]) != count)
			return ROWS_RAGGED;
		at += 7;
		for (uint32_t i = 0; i < count; i++) {
			uint32_t length;
			int32_t instead;

			if (row_end - at < 4)
				return ROWS_VIOLATION;
			length = load32(in + at);
			if (length == UINT32_MAX) {
				if (!columns[i].fills) {
					at += 4;
					continue;
				}
				length = 0;
			}
			if (length > row_end - at - 4)
				return ROWS_VIOLATION;
			instead = columns[i].length;
			if (instead != ROW_PASS) {
				uint32_t size = instead == ROW_NULL ? 0 : (uint32_t)instead;

				if (at - copied + 4 + size > room - written)
					return ROWS_NO_ROOM;
				memcpy(out + written, in + copied, at - copied);
				if (!changed)
					header = written + (row - copied);
				changed = 1;
				written += at - copied;
				store32(out + written, (uint32_t)instead); /* ROW_NULL is -1, as on the wire */
				memcpy(out + written + 4, texts + columns[i].offset, size);
				written += 4 + size;
				copied = at + 4 + length;
				grown += (int64_t)size - (int64_t)length;
			}
			at += 4 + (uint64_t)length;
		}
		if (at != row_end)
			return ROWS_VIOLATION;
		if (changed)
			store32(out + header + 1, (uint32_t)((int64_t)(row_end - row - 1) + grown));
	}
	if (end - copied > room - written)
		return ROWS_NO_ROOM;
	memcpy(out + written, in + copied, end - copied);
	return (int64_t)(written + end - copied);
}

/*
 * in[start, end) holds complete CopyData messages, 'd' length(int32) payload, of COPY in text; each payload has to be one
 * row: fields parted by `delimiter`, a newline at its end, \\ before a byte that isn't meant as it stands. Fields equal to
 * `null_text` stay unless the column `fills`. The replacements are escaped already; ROW_NULL has no place here. Returns as sluice_mask_rows.
 */
SLUICE_API int64_t sluice_mask_copy(const uint8_t *in, uint32_t start, uint32_t end,
				    const struct sluice_column *columns, uint32_t count, const uint8_t *texts,
				    uint8_t delimiter, const uint8_t *null_text, uint32_t null_length, uint8_t *out,
				    uint32_t room);

int64_t sluice_mask_copy(const uint8_t *in, uint32_t start, uint32_t end, const struct sluice_column *columns,
			 uint32_t count, const uint8_t *texts, uint8_t delimiter, const uint8_t *null_text,
			 uint32_t null_length, uint8_t *out, uint32_t room)
{
	uint64_t at = start, written = 0, copied = start;

	while (at < end) {
		uint64_t message = at, stop, field_start, header = 0;
		uint32_t field = 0;
		int64_t grown = 0;
		int changed = 0;

		if (end - at < 5 || in[at] != 'd')
			return ROWS_VIOLATION;
		stop = at + 1 + load32(in + at + 1);
		if (stop < at + 5 || stop > end)
			return ROWS_VIOLATION;
		at += 5;
		if (at == stop || in[stop - 1] != '\n' || (in[at] == '\\' && in[at + 1] == '.'))
			return ROWS_RAGGED;
		field_start = at;
		for (; at < stop; at++) {
			uint64_t length;

			if (in[at] == '\\') {
				at++;
				continue;
			}
			if (in[at] != delimiter && in[at] != '\n')
				continue;
			if (field == count || (in[at] == '\n' && at + 1 != stop))
				return ROWS_RAGGED;
			length = at - field_start;
			if (columns[field].length != ROW_PASS &&
			    (columns[field].fills ||
			     !(length == null_length && memcmp(in + field_start, null_text, length) == 0))) {
				uint32_t size = (uint32_t)columns[field].length;

				if (field_start - copied + size > room - written)
					return ROWS_NO_ROOM;
				memcpy(out + written, in + copied, field_start - copied);
				if (!changed)
					header = written + (message - copied);
				changed = 1;
				written += field_start - copied;
				memcpy(out + written, texts + columns[field].offset, size);
				written += size;
				copied = at;
				grown += (int64_t)size - (int64_t)length;
			}
			field++;
			field_start = at + 1;
		}
		/* The newline behind a backslash is no end. */
		if (at != stop || field_start != stop || field != count)
			return ROWS_RAGGED;
		if (changed)
			store32(out + header + 1, (uint32_t)((int64_t)(stop - message - 1) + grown));
	}
	if (end - copied > room - written)
		return ROWS_NO_ROOM;
	memcpy(out + written, in + copied, end - copied);
	return (int64_t)(written + end - copied);
}
