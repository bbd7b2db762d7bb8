// SPDX-License-Identifier: Apache-2.0
/*
 * Content scanning for masking: all detectors in one pass, over blocks or over streams so that a match cut by a chunk
 * border is found. Matches go into the caller's buffer, since a callback across the FFI would cost more than the scan.
 */
#include <hs/hs.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "libsluice.h"

_Static_assert(SLUICE_SCAN_CASELESS == HS_FLAG_CASELESS && SLUICE_SCAN_DOTALL == HS_FLAG_DOTALL &&
		       SLUICE_SCAN_MULTILINE == HS_FLAG_MULTILINE && SLUICE_SCAN_SINGLEMATCH == HS_FLAG_SINGLEMATCH &&
		       SLUICE_SCAN_UTF8 == HS_FLAG_UTF8 && SLUICE_SCAN_UCP == HS_FLAG_UCP &&
		       SLUICE_SCAN_SOM == HS_FLAG_SOM_LEFTMOST,
	       "flags are passed through unchanged");
_Static_assert(sizeof(struct sluice_match) == 12, "three words without padding");

struct sluice_scan {
	hs_database_t *db;
	hs_scratch_t *scratch;
	int streaming;
};

struct sluice_stream {
	struct sluice_scan *scan;
	hs_stream_t *state;
	hs_stream_t *before; /* copy of `state` before the last chunk, to go back to when its matches don't fit */
	int broken;
};

struct sink {
	struct sluice_match *out;
	unsigned count;
	unsigned max;
	int full;
};

static int collect(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context)
{
	struct sink *sink = context;

	(void)flags;
	if (sink->count == sink->max) {
		sink->full = 1;
		return 1; /* ends the scan */
	}
	sink->out[sink->count++] = (struct sluice_match){id, (uint32_t)from, (uint32_t)to};
	return 0;
}

struct sluice_scan *sluice_scan_compile(const char *const *patterns, const unsigned *flags, const unsigned *ids,
					unsigned n, int streaming, char *err, size_t errlen)
{
	struct sluice_scan *scan = NULL;
	hs_compile_error_t *fault = NULL;
	unsigned mode = streaming ? HS_MODE_STREAM : HS_MODE_BLOCK;

	if (errlen)
		err[0] = '\0';
	if (!patterns || !flags || !ids || n == 0) {
		snprintf(err, errlen, "no patterns were given");
		return NULL;
	}
	if (streaming)
		for (unsigned i = 0; i < n; i++)
			if (flags[i] & HS_FLAG_SOM_LEFTMOST)
				mode |= HS_MODE_SOM_HORIZON_LARGE; /* a start may lie any number of chunks back */

	scan = calloc(1, sizeof *scan);
	if (!scan) {
		snprintf(err, errlen, "no memory for the scanner");
		return NULL;
	}
	scan->streaming = streaming != 0;
	if (hs_compile_multi(patterns, flags, ids, n, mode, NULL, &scan->db, &fault) != HS_SUCCESS) {
		if (fault->expression >= 0)
			snprintf(err, errlen, "pattern with id %u: %s", ids[fault->expression], fault->message);
		else
			snprintf(err, errlen, "%s", fault->message);
		hs_free_compile_error(fault);
		goto failed;
	}
	if (hs_alloc_scratch(scan->db, &scan->scratch) != HS_SUCCESS) {
		snprintf(err, errlen, "no memory for scanning scratch");
		goto failed;
	}
	return scan;
failed:
	sluice_scan_free(scan);
	return NULL;
}

void sluice_scan_free(struct sluice_scan *scan)
{
	if (!scan)
		return;
	hs_free_scratch(scan->scratch);
	hs_free_database(scan->db);
	free(scan);
}

static int result(hs_error_t status, const struct sink *sink)
{
	if (status == HS_SUCCESS)
		return (int)sink->count;
	if (status == HS_SCAN_TERMINATED && sink->full)
		return SLUICE_SCAN_TOO_MANY;
	return SLUICE_SCAN_FAILED;
}

static int valid(const void *data, size_t len, const struct sluice_match *out, unsigned max)
{
	return (data || len == 0) && (out || max == 0) && len <= INT_MAX && max <= INT_MAX;
}

int sluice_scan(struct sluice_scan *scan, const void *data, size_t len, struct sluice_match *out, unsigned max)
{
	struct sink sink = {.out = out, .max = max};

	if (!scan || scan->streaming || !valid(data, len, out, max))
		return SLUICE_SCAN_ARGUMENT;
	return result(hs_scan(scan->db, data ? data : "", (unsigned)len, 0, scan->scratch, collect, &sink), &sink);
}

size_t sluice_stream_size(const struct sluice_scan *scan)
{
	size_t size = 0;

	if (!scan || !scan->streaming || hs_stream_size(scan->db, &size) != HS_SUCCESS)
		return 0;
	return size;
}

struct sluice_stream *sluice_stream_open(struct sluice_scan *scan)
{
	struct sluice_stream *stream;

	if (!scan || !scan->streaming)
		return NULL;
	stream = calloc(1, sizeof *stream);
	if (!stream)
		return NULL;
	stream->scan = scan;
	if (hs_open_stream(scan->db, 0, &stream->state) != HS_SUCCESS)
		goto no_state;
	if (hs_copy_stream(&stream->before, stream->state) != HS_SUCCESS)
		goto no_copy;
	return stream;
no_copy:
	hs_close_stream(stream->state, NULL, NULL, NULL);
no_state:
	free(stream);
	return NULL;
}

int sluice_stream_scan(struct sluice_stream *stream, const void *data, size_t len, struct sluice_match *out,
		       unsigned max)
{
	struct sink sink = {.out = out, .max = max};
	int found;

	if (!stream || !valid(data, len, out, max))
		return SLUICE_SCAN_ARGUMENT;
	if (stream->broken)
		return SLUICE_SCAN_FAILED;
	/* No callback: copying must not report the matches that the old copy would have at its end. */
	if (hs_reset_and_copy_stream(stream->before, stream->state, NULL, NULL, NULL) != HS_SUCCESS)
		goto broken;
	found = result(hs_scan_stream(stream->state, data ? data : "", (unsigned)len, 0, stream->scan->scratch,
				      collect, &sink),
		       &sink);
	if (found == SLUICE_SCAN_TOO_MANY &&
	    hs_reset_and_copy_stream(stream->state, stream->before, NULL, NULL, NULL) != HS_SUCCESS)
		goto broken;
	if (found == SLUICE_SCAN_FAILED)
		goto broken;
	return found;
broken:
	stream->broken = 1;
	return SLUICE_SCAN_FAILED;
}

int sluice_stream_reset(struct sluice_stream *stream)
{
	if (!stream)
		return SLUICE_SCAN_ARGUMENT;
	if (hs_reset_stream(stream->state, 0, NULL, NULL, NULL) != HS_SUCCESS) {
		stream->broken = 1;
		return SLUICE_SCAN_FAILED;
	}
	stream->broken = 0;
	return 0;
}

int sluice_stream_close(struct sluice_stream *stream, struct sluice_match *out, unsigned max)
{
	struct sink sink = {.out = out, .max = max};
	int found = SLUICE_SCAN_FAILED;

	if (!stream)
		return SLUICE_SCAN_ARGUMENT;
	if (stream->broken)
		hs_close_stream(stream->state, NULL, NULL, NULL);
	else if (!valid("", 0, out, max)) {
		hs_close_stream(stream->state, NULL, NULL, NULL);
		found = SLUICE_SCAN_ARGUMENT;
	} else {
		found = result(hs_close_stream(stream->state, stream->scan->scratch, collect, &sink), &sink);
		/* The end of data has no later matches: a callback that stopped leaves HS_SUCCESS behind. */
		if (sink.full)
			found = SLUICE_SCAN_TOO_MANY;
	}
	hs_close_stream(stream->before, NULL, NULL, NULL);
	free(stream);
	return found;
}
