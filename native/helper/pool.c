// SPDX-License-Identifier: Apache-2.0
/*
 * Nothing of this is kept in memory alone: which uid is whose stands in the cgroups and in the owners of the homes, so a
 * helper that starts again knows it.
 */
#include "pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clear.h"
#include "fault.h"
#include "processes.h"

/* Accounts of this name may have uids of the pool: ssh and libpq want one to have a name. */
#define ACCOUNT "sluice-agent"
enum { POOL_MAX = 4096, FIRST_ORDINARY = 1000, KEPT = 3 };

int pool_parse(struct pool *pool, const char *range)
{
	unsigned long first, last;
	char *end;

	if (strcmp(range, "none") == 0)
		return 0;
	first = strtoul(range, &end, 10);
	last = *end == '-' ? strtoul(end + 1, &end, 10) : 0;
	if (*range < '0' || *range > '9' || *end || first < FIRST_ORDINARY || last < first || last >= UINT32_MAX - 1 ||
	    last - first >= POOL_MAX)
		return FAULT("--pool %s: FIRST-LAST is wanted, at most %d uids from %d on, or none", range, POOL_MAX,
			     FIRST_ORDINARY);
	pool->first = pool->next = (uid_t)first;
	pool->last = (uid_t)last;
	return 0;
}

int pool_open(struct pool *pool, const char *homes, uid_t daemon)
{
	struct stat st;

	pool->homes = -1;
	if (!pool->first)
		return 0;
	for (uid_t uid = pool->first; uid <= pool->last; uid++) {
		const struct passwd *entry = getpwuid(uid);

		if (uid == daemon || (entry && strncmp(entry->pw_name, ACCOUNT, strlen(ACCOUNT)) != 0))
			return FAULT("--pool: uid %u is %s's; name a range that is nobody's, or none", uid,
				     entry ? entry->pw_name : "the daemon");
	}
	if (snprintf(pool->path, sizeof pool->path, "%s", homes) >= (int)sizeof pool->path - 64 || *homes != '/' ||
	    strpbrk(homes, " \t\n"))
		return FAULT("--homes %s: an absolute path without blanks is wanted", homes);
	if (mkdir(homes, 0711) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make %s, for the agents' homes", homes);
	pool->homes = open(homes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (pool->homes < 0 || fstat(pool->homes, &st) < 0)
		return FAULT_ERRNO("cannot open %s", homes);
	if (st.st_uid != 0 || (st.st_mode & 022))
		return FAULT("%s must belong to root and be writable by nobody else", homes);
	/* Two helpers with one pool would each give out what the other has, and clear it away. */
	if (flock(pool->homes, LOCK_EX | LOCK_NB) < 0)
		return FAULT("another sluice-helper has its homes in %s: name another directory and pool", homes);
	return 0;
}

void pool_close(struct pool *pool)
{
	if (pool->homes >= 0)
		close(pool->homes);
	pool->homes = -1;
}

static void each_home(const struct pool *pool, void (*each)(const char *name, uid_t uid, void *), void *context)
{
	int copy = openat(pool->homes, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(dir))) {
		struct stat st;

		if (session_id_valid(entry->d_name) &&
		    fstatat(pool->homes, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			each(entry->d_name, st.st_uid, context);
	}
	closedir(dir);
}

struct use {
	const struct pool *pool;
	bool taken[POOL_MAX];
	uid_t owner;
	int count, of_owner;
};

static void take(struct use *use, uid_t uid)
{
	if (uid >= use->pool->first && uid <= use->pool->last)
		use->taken[uid - use->pool->first] = true;
}

static void note_home(const char *name, uid_t uid, void *context)
{
	(void)name;
	take(context, uid);
}

static void note_session(const struct session *session, void *context)
{
	struct use *use = context;

	if (!session->agent)
		return;
	take(use, session->agent);
	use->of_owner += session->owner == use->owner;
}

static void note_process(const uid_t uids[4], void *context)
{
	for (int i = 0; i < 4; i++)
		take(context, uids[i]);
}

uid_t pool_take(struct pool *pool, const struct cgroups *cg, uid_t owner, const char *session, const char **reason)
{
	struct use use = {.pool = pool, .owner = owner};
	int size = (int)(pool->last - pool->first + 1), share = size > 1 ? size / 2 : 1;

	if (!pool->first) {
		*reason = "this host gives agents no uid of their own (sluice-helper --pool none)";
		return 0;
	}
	if (session_each(cg, note_session, &use) < 0 || !each_process(note_process, &use)) {
		*reason = "it could not be found out which uids are free";
		return 0;
	}
	each_home(pool, note_home, &use);
	/* One user can't take them away from all others. */
	if (owner && use.of_owner >= share) {
		*reason = "this user's sessions have half of the uids of the pool already; end some (sluice sessions running)";
		return 0;
	}
	for (int i = 0; i < size; i++) {
		int at = (int)(pool->next - pool->first + (uid_t)i) % size;
		uid_t uid = pool->first + (uid_t)at;

		if (use.taken[at])
			continue;
		if (mkdirat(pool->homes, session, 0700) < 0 ||
		    fchownat(pool->homes, session, uid, uid, AT_SYMLINK_NOFOLLOW) < 0) {
			FAULT_ERRNO("cannot make the home %s/%s", pool->path, session);
			unlinkat(pool->homes, session, AT_REMOVEDIR);
			*reason = "its home directory could not be made; see the log of sluice-helper";
			return 0;
		}
		pool->next = pool->first + (uid_t)((at + 1) % size);
		return uid;
	}
	*reason = "every uid of the pool is taken; end some sessions, or enlarge it (sluice-helper --pool)";
	return 0;
}

void pool_untake(const struct pool *pool, const char *session)
{
	unlinkat(pool->homes, session, AT_REMOVEDIR);
}

struct giving {
	const struct pool *pool;
	const struct cgroups *cg;
};

static void give_back(const char *name, uid_t uid, void *context)
{
	const struct giving *g = context;
	struct session session;
	sigset_t none;
	int homes;

	if (session_find(g->cg, name, &session) == 0)
		return;
	if (uid < g->pool->first || uid > g->pool->last) {
		LOG("%s/%s is uid %u's, which is not of the pool: it is left alone", g->pool->path, name, uid);
		return;
	}
	switch (fork()) {
	case -1:
		FAULT_ERRNO("cannot start a process that clears %s/%s", g->pool->path, name);
		break;
	case 0:
		/* Not for the helper's signals, and with children of its own. */
		signal(SIGCHLD, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		/* Nor with its locks, which would outlive it. */
		homes = openat(g->pool->homes, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (homes < 0 || dup2(homes, KEPT) < 0 || syscall(SYS_close_range, KEPT + 1U, ~0U, 0U) < 0)
			_exit(1);
		_exit(clear_home(KEPT, name, uid));
	}
}

void pool_give_back(const struct pool *pool, const struct cgroups *cg)
{
	struct giving g = {pool, cg};

	if (pool->homes >= 0)
		each_home(pool, give_back, &g);
}
