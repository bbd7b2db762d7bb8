// SPDX-License-Identifier: Apache-2.0
/* The pinned maps by raw bpf(2): three lookups and one update don't need libbpf, and the daemon not its dependencies. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libsluice.h"
#include "sluice.h"

struct sluice_kernel {
	int accepted;
	int listener;
	int datagrams;
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

static int check_value_size(int map, size_t size, const char *name, char *err, size_t errlen)
{
	struct bpf_map_info info;
	union bpf_attr attributes;

	memset(&info, 0, sizeof info);
	memset(&attributes, 0, sizeof attributes);
	attributes.info.bpf_fd = (unsigned)map;
	attributes.info.info_len = sizeof info;
	attributes.info.info = (uintptr_t)&info;
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes) < 0) {
		snprintf(err, errlen, "cannot inspect the map %s: %s", name, strerror(errno));
		return -1;
	}
	if (info.value_size != size) {
		snprintf(err, errlen, "the map %s holds %u bytes where %zu are wanted: sluice-helper is of another version",
			 name, info.value_size, size);
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
	kernel->listener = kernel->datagrams = -1;
	kernel->accepted = open_pin(pin_dir, SLUICE_PIN_ACCEPTED, err, errlen);
	if (kernel->accepted >= 0)
		kernel->listener = open_pin(pin_dir, SLUICE_PIN_LISTENER, err, errlen);
	if (kernel->listener >= 0)
		kernel->datagrams = open_pin(pin_dir, SLUICE_PIN_DATAGRAMS, err, errlen);
	if (kernel->datagrams < 0 || read_netns(kernel, err, errlen) < 0 ||
	    check_value_size(kernel->accepted, sizeof(struct sluice_origin), SLUICE_PIN_ACCEPTED, err, errlen) < 0 ||
	    check_value_size(kernel->listener, sizeof(struct sluice_listener), SLUICE_PIN_LISTENER, err, errlen) < 0 ||
	    check_value_size(kernel->datagrams, sizeof(struct sluice_origin), SLUICE_PIN_DATAGRAMS, err, errlen) < 0) {
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
