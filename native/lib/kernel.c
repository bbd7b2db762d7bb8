// SPDX-License-Identifier: Apache-2.0
/* The pinned maps by raw bpf(2): lookups and updates don't need libbpf, and the daemon not its dependencies. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../peer.h"
#include "libsluice.h"
#include "sluice.h"

struct sluice_kernel {
	int accepted;
	int listener;
	int datagrams;
	int unix_names;
	int refusals;
	int lost;
	__u64 netns_cookie; /* where the daemon lives, and so whoever reaches its UDP sockets */
};

static int bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int open_pin(const char *pin_dir, const char *name, char *err, size_t errlen)
{
	char path[4096];
	union bpf_attr attributes;
	int fd;

	snprintf(path, sizeof path, "%s/%s", pin_dir, name);
	memset(&attributes, 0, sizeof attributes);
	attributes.pathname = (uintptr_t)path;
	fd = bpf(BPF_OBJ_GET, &attributes);
	if (fd < 0)
		snprintf(err, errlen, "cannot open the pinned map %s: %s", path, strerror(errno));
	return fd;
}

static int inspect(int map, struct bpf_map_info *info)
{
	union bpf_attr attributes;

	memset(info, 0, sizeof *info);
	memset(&attributes, 0, sizeof attributes);
	attributes.info.bpf_fd = (unsigned)map;
	attributes.info.info_len = sizeof *info;
	attributes.info.info = (uintptr_t)info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
}

static int check_size(int map, size_t key, size_t size, const char *name, char *err, size_t errlen)
{
	struct bpf_map_info info;

	if (inspect(map, &info) < 0) {
		snprintf(err, errlen, "cannot inspect the map %s: %s", name, strerror(errno));
		return -1;
	}
	if (info.value_size != size || info.key_size != key) {
		snprintf(err, errlen,
			 "the map %s has keys and values of %u and %u bytes where %zu and %zu are wanted: sluice-helper is of "
			 "another version",
			 name, info.key_size, info.value_size, key, size);
		return -1;
	}
	return 0;
}

static int read_netns(struct sluice_kernel *kernel, char *err, size_t errlen)
{
	socklen_t size = sizeof kernel->netns_cookie;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int status = fd < 0 ? -1 : getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &kernel->netns_cookie, &size);

	if (status < 0)
		snprintf(err, errlen, "cannot tell the network namespace: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return status;
}

struct sluice_kernel *sluice_open(const char *pin_dir, char *err, size_t errlen)
{
	struct sluice_kernel *kernel = calloc(1, sizeof *kernel);

	if (!kernel) {
		snprintf(err, errlen, "no memory");
		return NULL;
	}
	kernel->listener = kernel->datagrams = kernel->unix_names = kernel->refusals = kernel->lost = -1;
	kernel->accepted = open_pin(pin_dir, SLUICE_PIN_ACCEPTED, err, errlen);
	if (kernel->accepted >= 0)
		kernel->listener = open_pin(pin_dir, SLUICE_PIN_LISTENER, err, errlen);
	if (kernel->listener >= 0)
		kernel->datagrams = open_pin(pin_dir, SLUICE_PIN_DATAGRAMS, err, errlen);
	if (kernel->datagrams >= 0)
		kernel->unix_names = open_pin(pin_dir, SLUICE_PIN_UNIX, err, errlen);
	if (kernel->unix_names >= 0)
		kernel->refusals = open_pin(pin_dir, SLUICE_PIN_REFUSALS, err, errlen);
	if (kernel->refusals >= 0)
		kernel->lost = open_pin(pin_dir, SLUICE_PIN_LOST, err, errlen);
	if (kernel->lost < 0 || read_netns(kernel, err, errlen) < 0 ||
	    check_size(kernel->accepted, sizeof(int), sizeof(struct sluice_origin), SLUICE_PIN_ACCEPTED, err, errlen) < 0 ||
	    check_size(kernel->listener, sizeof(__u32), sizeof(struct sluice_listener), SLUICE_PIN_LISTENER, err, errlen) < 0 ||
	    check_size(kernel->datagrams, sizeof(struct sluice_datagram_key), sizeof(struct sluice_origin), SLUICE_PIN_DATAGRAMS,
		       err, errlen) < 0 ||
	    check_size(kernel->unix_names, sizeof(struct sluice_unix_name), sizeof(__u32), SLUICE_PIN_UNIX, err, errlen) < 0 ||
	    check_size(kernel->refusals, sizeof(struct sluice_refusal_key), sizeof(struct sluice_refusal), SLUICE_PIN_REFUSALS, err,
		       errlen) < 0 ||
	    check_size(kernel->lost, sizeof(__u32), sizeof(__u64), SLUICE_PIN_LOST, err, errlen) < 0) {
		sluice_close(kernel);
		return NULL;
	}
	return kernel;
}

void sluice_close(struct sluice_kernel *kernel)
{
	if (!kernel)
		return;
	if (kernel->accepted >= 0)
		close(kernel->accepted);
	if (kernel->listener >= 0)
		close(kernel->listener);
	if (kernel->datagrams >= 0)
		close(kernel->datagrams);
	if (kernel->unix_names >= 0)
		close(kernel->unix_names);
	if (kernel->refusals >= 0)
		close(kernel->refusals);
	if (kernel->lost >= 0)
		close(kernel->lost);
	free(kernel);
}

int sluice_origin_of(const struct sluice_kernel *kernel, int fd, struct sluice_origin *out)
{
	union bpf_attr attributes;

	if (!kernel || !out)
		return -EINVAL;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->accepted;
	attributes.key = (uintptr_t)&fd;
	attributes.value = (uintptr_t)out;
	if (bpf(BPF_MAP_LOOKUP_ELEM, &attributes) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int sluice_datagram_of(const struct sluice_kernel *kernel, const char *address, unsigned port, const uint8_t *bytes,
		       size_t length, struct sluice_origin *out)
{
	static const __u8 prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	struct sluice_datagram_key key;
	union bpf_attr attributes;

	if (!kernel || !address || !bytes || !out || port > 65535)
		return -EINVAL;
	if (length < sizeof key.begin || length > 65535)
		return 0;
	memset(&key, 0, sizeof key);
	memcpy(key.address, prefix, sizeof prefix);
	if (inet_pton(AF_INET, address, key.address + sizeof prefix) != 1 &&
	    inet_pton(AF_INET6, address, key.address) != 1)
		return -EINVAL;
	key.netns_cookie = kernel->netns_cookie;
	key.port = (__u16)port;
	key.length = (__u16)length;
	memcpy(key.begin, bytes, sizeof key.begin);
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->datagrams;
	attributes.key = (uintptr_t)&key;
	attributes.value = (uintptr_t)out;
	if (bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attributes) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int64_t sluice_maps_id(const struct sluice_kernel *kernel)
{
	struct bpf_map_info info;

	return inspect(kernel->listener, &info) < 0 ? -errno : (int64_t)info.id;
}

int sluice_set_listener(const struct sluice_kernel *kernel, unsigned port)
{
	struct sluice_listener value = {.port = (__u16)port};
	__u32 zero = 0;
	union bpf_attr attributes;

	if (!kernel || port > 65535)
		return -EINVAL;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->listener;
	attributes.key = (uintptr_t)&zero;
	attributes.value = (uintptr_t)&value;
	return bpf(BPF_MAP_UPDATE_ELEM, &attributes) == 0 ? 0 : -errno;
}

int sluice_unix_allow(const struct sluice_kernel *kernel, const struct sluice_unix_name *name, int allow)
{
	__u32 one = 1;
	union bpf_attr attributes;

	/* Names of every session are the helper's. */
	if (!kernel || !name || name->session == 0 || name->length == 0 || name->length > sizeof name->name)
		return -EINVAL;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->unix_names;
	attributes.key = (uintptr_t)name;
	if (allow) /* deleting wants what it does not use to be zero */
		attributes.value = (uintptr_t)&one;
	if (bpf(allow ? BPF_MAP_UPDATE_ELEM : BPF_MAP_DELETE_ELEM, &attributes) == 0)
		return 0;
	return !allow && errno == ENOENT ? 0 : -errno;
}

int sluice_unix_next(const struct sluice_kernel *kernel, const struct sluice_unix_name *after, struct sluice_unix_name *out)
{
	union bpf_attr attributes;

	if (!kernel || !out)
		return -EINVAL;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->unix_names;
	attributes.key = (uintptr_t)after;
	attributes.next_key = (uintptr_t)out;
	if (bpf(BPF_MAP_GET_NEXT_KEY, &attributes) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int sluice_refusals(const struct sluice_kernel *kernel, struct sluice_refused *out, unsigned max)
{
	struct timespec now;
	struct sluice_refusal_key key, last;
	bool kept = false; /* an entry of the other turn, behind which the walk goes on */
	unsigned turn, count = 0;

	if (!kernel || !out || clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		return -EINVAL;
	turn = !(((__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec) >> SLUICE_TURN_BITS & 1);
	for (unsigned steps = 0; count < max && steps < 2 * SLUICE_REFUSALS_MAX; steps++) {
		union bpf_attr attributes;

		memset(&attributes, 0, sizeof attributes);
		attributes.map_fd = (unsigned)kernel->refusals;
		attributes.key = kept ? (uintptr_t)&last : 0;
		attributes.next_key = (uintptr_t)&key;
		if (bpf(BPF_MAP_GET_NEXT_KEY, &attributes) < 0)
			return errno == ENOENT ? (int)count : -errno;
		if (key.turn != turn) {
			last = key;
			kept = true;
			continue;
		}
		memset(&attributes, 0, sizeof attributes);
		attributes.map_fd = (unsigned)kernel->refusals;
		attributes.key = (uintptr_t)&key;
		attributes.value = (uintptr_t)&out[count].refusal;
		if (bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attributes) < 0)
			return -errno;
		if (key.kind == SLUICE_REFUSED_NAMES)
			continue;
		out[count++].key = key;
	}
	return (int)count;
}

int sluice_refusals_lost(const struct sluice_kernel *kernel, uint64_t *out)
{
	__u32 zero = 0;
	union bpf_attr attributes;

	if (!kernel || !out)
		return -EINVAL;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = (unsigned)kernel->lost;
	attributes.key = (uintptr_t)&zero;
	attributes.value = (uintptr_t)out;
	return bpf(BPF_MAP_LOOKUP_ELEM, &attributes) == 0 ? 0 : -errno;
}

int sluice_peer(int fd, uint32_t *out)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	if (peer.pid <= 0) /* not a connected UNIX socket, or a process outside our pid namespace */
		return -ESRCH;
	out[0] = (uint32_t)peer.pid;
	out[1] = peer.uid;
	out[2] = peer.gid;
	return 0;
}

int sluice_peer_is_gone(int fd)
{
	return peer_is_gone(fd);
}
