// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* proc_pid_status(5): `State:\tZ (zombie)`, `Uid:\t` and the four. */
static bool read_uids(const char *pid, uid_t uids[4])
{
	char path[32], text[1024];
	const char *state, *line;
	ssize_t n;
	int fd;

	if ((size_t)snprintf(path, sizeof path, "/proc/%s/status", pid) >= sizeof path)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false; /* gone */
	text[n] = '\0';
	state = strstr(text, "\nState:\t");
	line = strstr(text, "\nUid:\t");
	return state && state[8] != 'Z' && state[8] != 'X' && line &&
	       sscanf(line, "\nUid: %u %u %u %u", uids, uids + 1, uids + 2, uids + 3) == 4;
}

bool each_process(void (*each)(const uid_t uids[4], void *), void *context)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	uid_t uids[4];

	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (*entry->d_name >= '0' && *entry->d_name <= '9' && atoi(entry->d_name) != getpid() &&
		    read_uids(entry->d_name, uids))
			each(uids, context);
	closedir(dir);
	return true;
}
