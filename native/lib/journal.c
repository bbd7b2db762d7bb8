// SPDX-License-Identifier: Apache-2.0
/*
 * The events of one turn of the daemon's event loop, chained and written in one call. SHA-256 is OpenSSL's, which Node brings
 * and exports: the symbols are weak, so that a program without them can load the library for everything else.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>

#include "libsluice.h"

/* openssl/evp.h, EVP_DigestInit(3): declared here, so that no header of another OpenSSL than Node's decides what they are. */
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
extern EVP_MD *EVP_MD_fetch(void *library, const char *name, const char *properties) __attribute__((weak));
extern EVP_MD_CTX *EVP_MD_CTX_new(void) __attribute__((weak));
extern int EVP_DigestInit_ex2(EVP_MD_CTX *, const EVP_MD *, const void *parameters) __attribute__((weak));
extern int EVP_DigestUpdate(EVP_MD_CTX *, const void *, size_t) __attribute__((weak));
extern int EVP_DigestFinal_ex(EVP_MD_CTX *, unsigned char *, unsigned int *) __attribute__((weak));

enum {
	RECORD_HEADER = 8,                          /* daemon/audit/run.ts */
	HEX = 2 * SLUICE_HASH,                      /* digits of a hash */
	TAIL = HEX + 2,                             /* an event ends with the hash of the one before, in hex, and `"}` */
	FRAME_HEADER = 4 + SLUICE_HASH,             /* daemon/audit/journal.ts */
};

static bool sha256(const uint8_t *bytes, size_t length, uint8_t *out)
{
	static __thread EVP_MD_CTX *context;
	static __thread EVP_MD *kind;

	if (!context) {
		if (!EVP_MD_fetch || !EVP_MD_CTX_new || !EVP_DigestInit_ex2 || !EVP_DigestUpdate || !EVP_DigestFinal_ex)
			return false;
		kind = EVP_MD_fetch(NULL, "SHA256", NULL);
		context = EVP_MD_CTX_new();
	}
	return kind && context && EVP_DigestInit_ex2(context, kind, NULL) && EVP_DigestUpdate(context, bytes, length) &&
	       EVP_DigestFinal_ex(context, out, NULL);
}

static void put_hex(uint8_t *out, const uint8_t *hash)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < SLUICE_HASH; i++) {
		*out++ = (uint8_t)digits[hash[i] >> 4];
		*out++ = (uint8_t)digits[hash[i] & 15];
	}
}

static uint32_t little32(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int write_all(int fd, int64_t position, struct iovec *parts, int count)
{
	while (count > 0) {
		ssize_t n = pwritev(fd, parts, count, position);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		position += n;
		for (; count > 0 && (size_t)n >= parts->iov_len; parts++, count--)
			n -= (ssize_t)parts->iov_len;
		if (count > 0) {
			parts->iov_base = (uint8_t *)parts->iov_base + n;
			parts->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int sluice_journal_append(int fd, int64_t position, uint8_t *records, uint32_t start, uint32_t end,
			  const uint8_t *before, uint8_t *after)
{
	uint8_t header[FRAME_HEADER], hash[SLUICE_HASH];
	uint32_t length = end - start;
	struct iovec parts[] = {{header, sizeof header}, {records + start, length}};
	int status;

	if (start >= end)
		return -EBADMSG;
	memcpy(hash, before, sizeof hash);
	for (uint32_t at = start, size; at < end; at += size) {
		size = end - at < RECORD_HEADER ? 0 : little32(records + at);
		at += RECORD_HEADER;
		if (size < TAIL || at > end || size > end - at)
			return -EBADMSG;
		put_hex(records + at + size - TAIL, hash);
		if (!sha256(records + at, size, hash))
			return -ENOSYS;
	}
	for (int i = 0; i < 4; i++)
		header[i] = (uint8_t)(length >> 8 * i);
	memcpy(header + 4, hash, sizeof hash);
	status = write_all(fd, position, parts, 2);
	if (status == 0)
		memcpy(after, hash, sizeof hash);
	return status;
}
