// SPDX-License-Identifier: Apache-2.0
/* Which addresses agents may send DNS to: the nameservers of the host, resolv.conf(5). */
#include <arpa/inet.h>
#include <stdlib.h>

#include "fault.h"
#include "server.h"

static int parse(const char *text, __u8 address[16])
{
	static const __u8 prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (inet_pton(AF_INET6, text, address) == 1)
		return 0;
	memcpy(address, prefix, sizeof prefix);
	return inet_pton(AF_INET, text, address + sizeof prefix) == 1 ? 0 : -1;
}

int server_read_resolvers(const char *path, struct hooks *hooks)
{
	struct sluice_host host = {0};
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;

	if (!file && errno != ENOENT)
		return FAULT_ERRNO("cannot read %s", path);
	while (file && host.resolvers < SLUICE_RESOLVERS_MAX && getline(&line, &room, file) > 0) {
		char text[64];

		if (sscanf(line, " nameserver %63s", text) != 1)
			continue;
		text[strcspn(text, "%")] = '\0'; /* fe80::1%eth0 */
		if (parse(text, host.resolver[host.resolvers]) < 0)
			LOG("%s: %s is no address; agents can't use it", path, text);
		else
			host.resolvers++;
	}
	free(line);
	if (file)
		fclose(file);
	return hooks_set_host(hooks, &host);
}
