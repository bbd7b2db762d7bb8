// SPDX-License-Identifier: Apache-2.0
/*
 * Each has a cgroup of its own beside those of sessions, ID-N: it says whose it is to a helper that was started later, and
 * there the process marks itself before it ends as it should. Thus nothing has to be remembered.
 */
#include "answers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../launch/message.h"
#include "fault.h"

enum { NAME_BYTES = SLUICE_SESSION_LEN + 8, REMOVE_TRIES = 250, SOME_TIME_NS = 20000000 };

static int open_cgroup(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Has the process of this cgroup ended as it should? */
static bool is_done(int cgroup)
{
	char mark;

	return fgetxattr(cgroup, ANSWER_DONE, &mark, 1) == 1;
}

/* Makes way for the next: what is done needs no look. */
static bool is_cleared(int dir, const char *name)
{
	int fd = open_cgroup(dir, name);
	bool done = fd >= 0 && is_done(fd);

	if (fd >= 0)
		close(fd);
	return done && unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

/* The first that is free. */
static int make_cgroup(int dir, const char *id, char name[NAME_BYTES])
{
	for (int n = 0; n < ANSWERS_MAX; n++) {
		snprintf(name, NAME_BYTES, "%.32s-%d", id, n);
		if (mkdirat(dir, name, 0755) == 0)
			return open_cgroup(dir, name);
		if (errno != EEXIST)
			return -1;
		if (is_cleared(dir, name) && mkdirat(dir, name, 0755) == 0)
			return open_cgroup(dir, name);
	}
	errno = EUSERS;
	return -1;
}

int answers_start(const struct cgroups *cg, const struct spawn_options *options, const struct session *session, int connection,
		  int counter)
{
	char name[NAME_BYTES];
	int dir = cgroups_answers(cg, true), saved;
	int cgroup = dir < 0 ? -1 : make_cgroup(dir, session->id, name);
	pid_t pid = cgroup < 0 ? -1 : spawn_answer(options, session, connection, counter, cgroup);
	int status = pid < 0 ? -1 : cgroup_enter(cgroup, pid);

	saved = errno;
	if (status < 0 && pid > 0)
		kill(pid, SIGKILL);
	if (status < 0 && cgroup >= 0)
		(void)unlinkat(dir, name, AT_REMOVEDIR); /* else the next look does */
	if (cgroup >= 0)
		close(cgroup);
	if (dir >= 0)
		close(dir);
	errno = saved;
	return status;
}

/* Calls `each` for the cgroup of every one; how many there are, or -1. */
static int each_answer(const struct cgroups *cg, void (*each)(int dir, const char *name, void *), void *context)
{
	int fd = cgroups_answers(cg, false), count = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		count = fd < 0 && errno == ENOENT ? 0 : -1;
		if (fd >= 0)
			close(fd);
		return count;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || *entry->d_name == '.')
			continue;
		each(dirfd(dir), entry->d_name, context);
		count++;
	}
	closedir(dir);
	return count;
}

struct watching {
	const struct cgroups *cg;
	void (*report)(void *, const char *);
	void *context;
};

static void watch_one(int dir, const char *name, void *context)
{
	const struct watching *w = context;
	char id[SLUICE_SESSION_LEN + 1], text[160];
	struct session session;
	bool populated, lives;
	int fd = open_cgroup(dir, name);

	if (fd < 0)
		return;
	snprintf(id, sizeof id, "%.32s", name);
	/* First the answers, then the session: who ends by itself does so after the last process of the session. */
	if (cgroup_populated(fd, &populated) == 0) {
		lives = session_find(w->cg, id, &session) == 0;
		if (!populated && lives && session.populated && !is_done(fd)) {
			snprintf(text, sizeof text, "what answers a filter of session %s was ended: its calls stay refused, off the record", id);
			w->report(w->context, text);
		}
		/* Without a session it can only be for processes that were never in it. */
		if (populated && !lives)
			cgroup_kill(fd);
		if (!populated)
			(void)unlinkat(dir, name, AT_REMOVEDIR);
	}
	close(fd);
}

void answers_watch(const struct cgroups *cg, void (*report)(void *, const char *), void *context)
{
	struct watching w = {cg, report, context};

	(void)each_answer(cg, watch_one, &w);
}

static void remove_one(int dir, const char *name, void *context)
{
	int fd = open_cgroup(dir, name);

	(void)context;
	if (fd < 0)
		return;
	cgroup_kill(fd);
	close(fd);
	(void)unlinkat(dir, name, AT_REMOVEDIR);
}

int answers_remove(const struct cgroups *cg)
{
	const struct timespec some_time = {0, SOME_TIME_NS};

	for (int i = 0; cg->base >= 0 && i < REMOVE_TRIES; i++) {
		if (each_answer(cg, remove_one, NULL) == 0)
			return 0;
		nanosleep(&some_time, NULL);
	}
	return cg->base < 0 ? 0 : FAULT("processes that answer the filters of sessions do not die");
}
