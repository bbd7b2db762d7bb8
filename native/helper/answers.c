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

/* A cgroup that has no process yet, or none any more and is not looked at: made here, so that nobody else has it. */
static int make_cgroup(const struct cgroups *cg, const char *id, char name[NAME_BYTES])
{
	for (int n = 0; n < ANSWERS_MAX; n++) {
		snprintf(name, NAME_BYTES, "%.32s-%d", id, n);
		if (mkdirat(cg->answers, name, 0755) == 0)
			return openat(cg->answers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (errno != EEXIST)
			return -1;
	}
	errno = EUSERS;
	return -1;
}

int answers_start(const struct cgroups *cg, const struct spawn_options *options, const struct session *session, int connection,
		  int counter)
{
	char name[NAME_BYTES];
	int cgroup = make_cgroup(cg, session->id, name), saved;
	pid_t pid = cgroup < 0 ? -1 : spawn_answer(options, session, connection, counter, cgroup);

	if (pid < 0 || cgroup_enter(cgroup, pid) < 0) {
		saved = errno;
		if (pid > 0)
			kill(pid, SIGKILL);
		if (cgroup >= 0) {
			close(cgroup);
			(void)unlinkat(cg->answers, name, AT_REMOVEDIR); /* else the next look does */
		}
		errno = saved;
		return -1;
	}
	close(cgroup);
	return 0;
}

static void look_at(const struct cgroups *cg, const char *name, void (*report)(void *, const char *), void *context)
{
	char id[SLUICE_SESSION_LEN + 1], mark, text[160];
	struct session session;
	bool populated, lives;
	int fd = openat(cg->answers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return;
	snprintf(id, sizeof id, "%.32s", name);
	/* First the session: one that has ended since is none that goes on without answers. */
	lives = session_find(cg, id, &session) == 0;
	if (cgroup_populated(fd, &populated) == 0) {
		if (!populated && lives && session.populated && fgetxattr(fd, ANSWER_DONE, &mark, 1) != 1) {
			snprintf(text, sizeof text,
				 "what answers the filter of session %s was ended: what it refuses stays refused, and is not on record", id);
			report(context, text);
		}
		/* One that has no session any more may hold for processes that were never in it. */
		if (populated && !lives)
			cgroup_kill(fd);
		if (!populated)
			(void)unlinkat(cg->answers, name, AT_REMOVEDIR);
	}
	close(fd);
}

/* Calls `each` for every cgroup of an answering process; how many there are, or -1. */
static int each_answer(const struct cgroups *cg, void (*each)(const char *name, void *), void *context)
{
	int copy = openat(cg->answers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || *entry->d_name == '.')
			continue;
		each(entry->d_name, context);
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

static void watch_one(const char *name, void *context)
{
	const struct watching *w = context;

	look_at(w->cg, name, w->report, w->context);
}

void answers_watch(const struct cgroups *cg, void (*report)(void *, const char *), void *context)
{
	struct watching w = {cg, report, context};

	(void)each_answer(cg, watch_one, &w);
}

static void remove_one(const char *name, void *context)
{
	const struct cgroups *cg = context;
	int fd = openat(cg->answers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return;
	cgroup_kill(fd);
	close(fd);
	(void)unlinkat(cg->answers, name, AT_REMOVEDIR);
}

int answers_remove(const struct cgroups *cg)
{
	const struct timespec some_time = {0, SOME_TIME_NS};

	for (int i = 0; cg->answers >= 0 && i < REMOVE_TRIES; i++) {
		if (each_answer(cg, remove_one, (void *)(uintptr_t)cg) == 0)
			return 0;
		nanosleep(&some_time, NULL);
	}
	return cg->answers < 0 ? 0 : FAULT("processes that answer the filters of sessions do not die");
}
