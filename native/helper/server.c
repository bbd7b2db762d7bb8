// SPDX-License-Identifier: Apache-2.0
/*
 * One poll loop; nothing in it waits for a client. Who asks is known from SO_PEERCRED alone, and a process inside a
 * session is refused everything, so that agents have no business with a root process.
 */
#include "server.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../notify.h"
#include "../peer.h"
#include "answers.h"
#include "changes.h"
#include "fault.h"
#include "guarantees.h"

enum {
	CLIENTS_MAX = 64,
	CLIENTS_RESERVED = 16, /* for root and the daemon */
	DAEMON_NICE = -10,
	CLIENTS_PER_UID = 8,
	WATCHERS_MAX = 8,
	LINE_MAX_BYTES = 128,
	REQUEST_MS = 2000, /* from accept to a whole line */
	LISTEN_MS = 5000,  /* that a daemon may stay in its cgroup to listen */
	END_MS = 5000,     /* from cgroup.kill to an empty cgroup */
	END_POLL_MS = 20,
	ANSWER_MAX = SESSIONS_MAX * 80 + 256,
	WATCH_MS = 1000,
	INCIDENTS_MAX = 64,
};

/* Something that was done to the programs. */
struct incident {
	int64_t at; /* milliseconds since the epoch; no two have the same */
	char text[160];
};

struct client {
	int fd; /* -1: free */
	struct ucred peer;
	int procdir; /* /proc/PID of the peer: stays that process's, should the number be used again */
	int64_t deadline;
	char line[LINE_MAX_BYTES];
	size_t used;
	char ending[SLUICE_SESSION_LEN + 1]; /* session that `end` waits for */
	int home; /* cgroup that the daemon came from, while it is in its own to listen; -1 */
	bool watches;
};

struct server {
	const struct server_options *o;
	struct client client[CLIENTS_MAX];
	int64_t watch_at;
	bool homeless; /* the cgroups that the hooks are on were removed */
	bool broken; /* a hook is off and can't be put back */
	uint64_t incidents; /* how many there were; the last INCIDENTS_MAX are kept */
	int64_t incident_at; /* of the last */
	struct incident incident[INCIDENTS_MAX];
	struct changes told; /* to those who watch; of no meaning when nobody does */
	char answer[ANSWER_MAX];
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void drop(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->procdir >= 0)
		close(c->procdir);
	if (c->home >= 0)
		close(c->home);
	*c = (struct client){.fd = -1, .procdir = -1, .home = -1};
}

/* Answers are small against the socket's buffer; a client that does not take one loses it. */
static void answer(struct client *c, const char *text)
{
	ssize_t n = send(c->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)n;
	drop(c);
}

__attribute__((format(printf, 2, 3))) static void answerf(struct client *c, const char *format, ...)
{
	char text[PATH_MAX + 256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	answer(c, text);
}

static bool is_trusted(const struct server *s, const struct client *c)
{
	return c->peer.uid == 0 || c->peer.uid == s->o->user;
}

/* The peer's own cgroup, or false when the process is gone. */
static bool peer_cgroup(const struct client *c, char *path, size_t size)
{
	return cgroup_of(c->procdir, path, size) == 0;
}

/* Moves the peer and makes sure that it was the peer that moved; else it has its answer. */
static bool is_moved(struct server *s, struct client *c, int cgroup, const char *suffix)
{
	char path[PATH_MAX], wanted[PATH_MAX + 64];

	snprintf(wanted, sizeof wanted, "%s/%s", s->o->cg->path, suffix);
	if (cgroup_enter(cgroup, c->peer.pid) < 0)
		answerf(c, "error FAILED cannot move process %d to %s: %s\n", c->peer.pid, wanted, strerror(errno));
	else if (!peer_cgroup(c, path, sizeof path) || strcmp(path, wanted) != 0)
		answerf(c, "error FAILED process %d is gone or was moved elsewhere\n", c->peer.pid);
	else
		return true;
	return false;
}

static void move_peer(struct server *s, struct client *c, int cgroup, const char *suffix)
{
	if (is_moved(s, c, cgroup, suffix))
		answer(c, "ok\n");
}

/*
 * As move_peer(), for a peer that may want another process moved: one that dies at the right moment, so that its number is
 * the next to be given out, would have somebody else's process put into its session. The number of a process that is traced
 * stays its own until its tracer has let go of it, also when it is killed (ptrace(2)). The tracer is a process of its own,
 * whose end lets go; nobody has to stop for it.
 */
static void move_stranger(struct server *s, struct client *c, int cgroup, const char *suffix)
{
	pid_t tracer = fork();
	char path[PATH_MAX];

	if (tracer < 0) {
		answerf(c, "error FAILED cannot start a process: %s\n", strerror(errno));
		return;
	}
	if (tracer == 0) {
		if (ptrace(PTRACE_SEIZE, c->peer.pid, NULL, NULL) < 0)
			answerf(c, "error FAILED cannot hold on to process %d while it is moved (is it traced, or kernel.yama.ptrace_scope 3?): %s\n",
				c->peer.pid, strerror(errno));
		else if (!peer_cgroup(c, path, sizeof path)) /* held is another by now */
			answerf(c, "error DENIED process %d is gone\n", c->peer.pid);
		else
			move_peer(s, c, cgroup, suffix);
		_exit(0);
	}
	/* It answers. The next request is looked at when it is done, so that a process joins one session, and not two at once. */
	while (waitpid(tracer, NULL, 0) < 0 && errno == EINTR)
		;
	drop(c);
}

/*
 * Agents that keep every processor busy must not be able to starve the daemon that all of them wait for. Its nice value
 * counts among the processes of its own autogroup (sched(7)), so that of the group is set as well. Where a cgroup of the
 * cpu controller holds it, CPUWeight= of its unit decides instead. SCHED_BATCH keeps a daemon of that weight from taking
 * the processor from whoever wakes it: it would read a large result in small pieces. Enforcement hangs on none of this.
 */
static void favour(const struct client *c)
{
	char value[8];
	int length = snprintf(value, sizeof value, "%d", DAEMON_NICE);
	int fd = openat(c->procdir, "autogroup", O_WRONLY | O_CLOEXEC);

	if (sched_setscheduler(c->peer.pid, SCHED_BATCH, &(struct sched_param){0}) < 0 ||
	    setpriority(PRIO_PROCESS, (id_t)c->peer.pid, DAEMON_NICE) < 0)
		fprintf(stderr, "sluice-helper: cannot set the daemon's priority: %s\n", strerror(errno));
	if (fd < 0)
		return; /* a kernel without autogroups */
	if (write(fd, value, (size_t)length) < 0 && errno != EINVAL)
		fprintf(stderr, "sluice-helper: cannot set the priority of the daemon's autogroup: %s\n", strerror(errno));
	close(fd);
}

/* May the peer be moved into the daemon's cgroup? Answers it where not. */
static bool is_daemon(struct server *s, struct client *c)
{
	const char *missing;

	if (!is_trusted(s, c))
		answerf(c, "error DENIED only the daemon's user (%u) or root may enter the daemon's cgroup\n", s->o->user);
	else if (!hooks_effective(s->o->hooks, s->o->cg->daemon, true, &missing))
		answerf(c, "error HOOK %s is not effective on the daemon's cgroup; restart sluice-helper\n", missing);
	else
		return true;
	return false;
}

static void do_daemon(struct server *s, struct client *c)
{
	if (!is_daemon(s, c))
		return;
	favour(c);
	move_peer(s, c, s->o->cg->daemon, "daemon");
}

/*
 * What the hooks of the daemon's cgroup mark are its sockets, by the cgroup in which they were made. The process need not
 * stay: in the cgroup of its unit it is under the limits that the unit has. It goes back where it was found, when the
 * connection ends, so that nobody names a cgroup to be moved into, and nothing of it has to outlive the helper.
 */
static void do_listen(struct server *s, struct client *c)
{
	char own[PATH_MAX], path[2 * PATH_MAX];
	static const char ok[] = "ok\n";

	if (!is_daemon(s, c))
		return;
	/* As from a cgroup namespace: a path of `/../…` is none below our mount. */
	if (!peer_cgroup(c, own, sizeof own) || strstr(own, "/..")) {
		answer(c, "error FAILED the cgroup of the process is not one that the helper sees\n");
		return;
	}
	snprintf(path, sizeof path, "%s%s", s->o->cg->mount, own);
	c->home = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->home < 0) {
		answerf(c, "error FAILED cannot open the cgroup %s, to move the process back: %s\n", own, strerror(errno));
		return;
	}
	favour(c);
	if (!is_moved(s, c, s->o->cg->daemon, "daemon"))
		return;
	c->deadline = now_ms() + LISTEN_MS;
	if (send(c->fd, ok, sizeof ok - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		c->deadline = 0;
}

static void leave(struct server *s, struct client *c)
{
	char path[PATH_MAX], daemon[PATH_MAX + 64];

	snprintf(daemon, sizeof daemon, "%s/daemon", s->o->cg->path);
	/* By its own directory in /proc: another process with its number is not moved, nor one that somebody else moved since. */
	if (!peer_cgroup(c, path, sizeof path) || strcmp(path, daemon) != 0)
		answerf(c, "error FAILED process %d is gone or was moved elsewhere\n", c->peer.pid);
	else if (cgroup_enter(c->home, c->peer.pid) < 0)
		answerf(c, "error FAILED cannot move process %d back to where it came from: %s\n", c->peer.pid, strerror(errno));
	else
		answer(c, "ok\n");
}

/* Nothing is started while something that must hold does not. Answers the client then. */
static bool lacks_guarantee(struct server *s, struct client *c)
{
	const char *name, *needs;

	if (!guarantees_lacking(s->o->hooks, &name, &needs))
		return false;
	answerf(c, "error HOOK the guarantee %s is required and does not hold; it needs %s\n", name, needs ? needs : "all its hooks");
	return true;
}

static void count_session(const struct session *session, void *context)
{
	(void)session;
	++*(int *)context;
}

/* `pool`: the session's processes get a uid of its own; else they are the owner's, who joins by itself. */
static void do_create(struct server *s, struct client *c, const char *id, const char *owner, bool pool)
{
	char *end;
	unsigned long uid = strtoul(owner, &end, 10);
	const char *missing, *reason;
	uid_t agent = 0;
	int fd, count = 0;

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may create a session\n", s->o->user);
		return;
	}
	if (!session_id_valid(id) || *owner < '0' || *owner > '9' || *end || uid >= UINT32_MAX) {
		answer(c, "error ARGUMENT create wants a session id of 32 hex digits and a uid\n");
		return;
	}
	if (lacks_guarantee(s, c))
		return;
	if (!cgroups_current(s->o->cg)) {
		answer(c, "error HOMELESS the cgroups of sessions were removed; sluice-helper ends now and makes them anew when it is started again\n");
		return;
	}
	session_each(s->o->cg, count_session, &count);
	if (count >= SESSIONS_MAX) {
		answerf(c, "error LIMIT there are %d sessions already; end some\n", count);
		return;
	}
	pool_give_back(s->o->pool, s->o->cg);
	hooks_forget_dead(s->o->hooks, s->o->cg);
	agent = pool ? pool_take(s->o->pool, s->o->cg, (uid_t)uid, id, &reason) : 0;
	if (pool && !agent) {
		answerf(c, "error POOL %s\n", reason);
		return;
	}
	fd = session_make(s->o->cg, id, (uid_t)uid, agent);
	if (fd < 0) {
		answerf(c, errno == EEXIST ? "error EXISTS the session %s is there already (%s)\n"
					   : "error FAILED cannot make the cgroup of session %s: %s\n",
			id, strerror(errno));
		goto failed;
	}
	if (!hooks_effective(s->o->hooks, fd, false, &missing)) {
		unlinkat(s->o->cg->sessions, id, AT_REMOVEDIR);
		LOG("%s is not effective on a new session's cgroup: no session is started", missing);
		answerf(c, "error HOOK %s is not effective on the session's cgroup; restart sluice-helper\n", missing);
		close(fd);
		goto failed;
	}
	if (agent)
		answerf(c, "ok %llu %s/sessions/%s %u %s/%s\n", (unsigned long long)cgroup_id(fd), s->o->cg->path, id, agent,
			s->o->pool->path, id);
	else
		answerf(c, "ok %llu %s/sessions/%s\n", (unsigned long long)cgroup_id(fd), s->o->cg->path, id);
	close(fd);
	return;
failed:
	if (agent)
		pool_untake(s->o->pool, id);
}

/*
 * The cgroup of a session that the peer may start, with its hooks just seen in place on this very directory; else -1, and
 * the peer has the answer. One that was removed and made again under the same name is another directory without an owner.
 */
static int open_to_start(struct server *s, struct client *c, const char *id, struct session *session)
{
	const char *missing;
	int fd;

	if (session_find(s->o->cg, id, session) < 0 || (fd = session_open(s->o->cg, id)) < 0) {
		answerf(c, "error UNKNOWN there is no session %.32s\n", id);
		return -1;
	}
	if (c->peer.uid != session->owner && c->peer.uid != 0) {
		answerf(c, "error DENIED the session belongs to uid %u, not to %u\n", session->owner, c->peer.uid);
	} else if (lacks_guarantee(s, c)) {
		close(fd);
		return -1;
	} else if (cgroup_id(fd) != session->cgroup_id) {
		answerf(c, "error UNKNOWN the cgroup of session %.32s is another one by now\n", id);
	} else if (!hooks_effective(s->o->hooks, fd, false, &missing)) {
		LOG("%s is not effective on the cgroup of session %.32s: nothing is started in it", missing, id);
		answerf(c, "error HOOK %s is not effective on the session's cgroup; restart sluice-helper\n", missing);
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

static void report(void *context, const char *text);

/* What answers the filter of a launch, at this end of a connection. Answers the client when it can't be started. */
static int start_answer(struct server *s, struct client *c, const struct session *session, int connection)
{
	int counter = hooks_counter(s->o->hooks);
	int status = answers_start(s->o->cg, &s->o->spawn, session, connection, counter);

	if (status < 0 && errno == EUSERS) { /* some may have been killed since the last look */
		answers_watch(s->o->cg, report, s);
		status = answers_start(s->o->cg, &s->o->spawn, session, connection, counter);
	}
	if (status < 0 && errno == EUSERS)
		answerf(c, "error LIMIT the session has %d launches at once already\n", ANSWERS_MAX);
	else if (status < 0)
		answerf(c, "error FAILED cannot start what answers the filter: %s\n", strerror(errno));
	return status;
}

/*
 * `answer`: the peer is a launcher, which will have a filter. Who answers that has the connection as well and goes on with it
 * where this has said "ok"; when the peer is not moved, it ends with the connection.
 */
static void do_join(struct server *s, struct client *c, const char *id, bool is_launcher)
{
	struct session session;
	char suffix[64];
	int fd = open_to_start(s, c, id, &session);

	if (fd < 0)
		return;
	snprintf(suffix, sizeof suffix, "sessions/%s", id);
	if (session.agent && c->peer.uid != 0)
		answerf(c, "error DENIED the session runs as uid %u: its command is started by `spawn`\n", session.agent);
	else if (is_launcher && start_answer(s, c, &session, c->fd) < 0)
		; /* it has its answer */
	else if (c->peer.uid == 0)
		move_peer(s, c, fd, suffix);
	else
		move_stranger(s, c, fd, suffix);
	close(fd);
}

/*
 * Starts the session's command under the uid that the pool gave it: nobody names one, so nobody gains another user's. Once:
 * nobody who comes to have the owner's uid later can put something beside a running agent. The lock covers the time until
 * the new process is in the cgroup.
 */
static void do_spawn(struct server *s, struct client *c, const char *id)
{
	struct spawn spawn = {.session = id, .connection = c->fd};
	struct session session;
	char home[PATH_MAX + 64];
	int pair[2] = {-1, -1}; /* what answers the filter, and the launcher */

	spawn.cgroup = open_to_start(s, c, id, &session);
	if (spawn.cgroup < 0)
		return;
	spawn.uid = session.agent;
	spawn.gid = session.agent;
	snprintf(home, sizeof home, "%s/%s", s->o->pool->path, id);
	spawn.home = home;
	if (!session.agent)
		answerf(c, "error ARGUMENT the session has no uid of its own: uid %u joins it\n", session.owner);
	else if (flock(spawn.cgroup, LOCK_EX | LOCK_NB) < 0 || session.populated)
		answer(c, "error BUSY the session has begun already\n");
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		answerf(c, "error FAILED cannot make a socket: %s\n", strerror(errno));
	else if (start_answer(s, c, &session, pair[0]) < 0)
		; /* it has its answer */
	else if (spawn.answer = pair[1], spawn_inside(&s->o->spawn, &spawn) < 0)
		answerf(c, "error FAILED cannot start a process: %s\n", strerror(errno));
	else
		drop(c); /* the new process has the connection now, and answers */
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	close(spawn.cgroup);
}

/* A process that is ending keeps its cgroup busy for a moment; the loop comes back here until it is gone. */
static void go_on_ending(struct server *s, struct client *c)
{
	if (unlinkat(s->o->cg->sessions, c->ending, AT_REMOVEDIR) == 0 || errno == ENOENT) {
		pool_give_back(s->o->pool, s->o->cg);
		answer(c, "ok\n");
	}
	else if (errno != EBUSY)
		answerf(c, "error FAILED cannot remove the cgroup of session %s: %s\n", c->ending, strerror(errno));
	else if (now_ms() >= c->deadline)
		answerf(c, "error BUSY processes of session %s do not die\n", c->ending);
}

static void do_end(struct server *s, struct client *c, const char *id)
{
	int fd;

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may end a session\n", s->o->user);
		return;
	}
	fd = session_open(s->o->cg, id);
	if (fd < 0) {
		pool_give_back(s->o->pool, s->o->cg); /* somebody else removed the cgroup */
		answerf(c, "error UNKNOWN there is no session %.32s\n", id);
		return;
	}
	if (cgroup_kill(fd) < 0) {
		answerf(c, "error FAILED cannot kill the processes of session %s: %s\n", id, strerror(errno));
	} else {
		memcpy(c->ending, id, sizeof c->ending);
		c->deadline = now_ms() + END_MS;
		go_on_ending(s, c);
	}
	close(fd);
}

struct listing {
	char *text;
	size_t used;
};

static void list_one(const struct session *session, void *context)
{
	struct listing *l = context;

	if (l->used + 128 > ANSWER_MAX)
		return;
	l->used += (size_t)snprintf(l->text + l->used, 128, "%s %llu %u %s\n", session->id,
				    (unsigned long long)session->cgroup_id, session->owner,
				    session->populated ? "populated" : "empty");
}

static void do_list(struct server *s, struct client *c)
{
	struct listing l = {.text = s->answer};

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may list the sessions\n", s->o->user);
		return;
	}
	if (session_each(s->o->cg, list_one, &l) < 0) {
		answerf(c, "error FAILED cannot read the sessions: %s\n", strerror(errno));
		return;
	}
	snprintf(s->answer + l.used, ANSWER_MAX - l.used, "ok\n");
	answer(c, s->answer);
}

static void do_status(struct server *s, struct client *c)
{
	struct utsname kernel;
	const char *daemon = "", *sessions = "", *name, *needs;
	bool on_daemon = hooks_effective(s->o->hooks, s->o->cg->daemon, true, &daemon);
	bool on_sessions = hooks_effective(s->o->hooks, s->o->cg->sessions, false, &sessions);

	bool lacking = guarantees_lacking(s->o->hooks, &name, &needs);
	const char *left_out = hooks_left_out(s->o->hooks);
	const char *missing = left_out ? left_out : !on_daemon ? daemon : !on_sessions ? sessions : "";
	int used;

	uname(&kernel);
	used = snprintf(s->answer, ANSWER_MAX,
			"ok {\"enforcing\":%s,\"missing\":\"%s\",\"hooks\":%d,\"pinned\":%d,\"kernel\":\"%s\",\"cgroup\":\"%s\","
			"\"mount\":\"%s\",\"tampered\":%llu,\"attached\":",
			*missing || lacking ? "false" : "true", missing, hooks_count(s->o->hooks), hooks_pinned(s->o->hooks),
			kernel.release, s->o->cg->path, s->o->cg->mount, (unsigned long long)s->incidents);
	used += hooks_print(s->o->hooks, s->answer + used, (size_t)(ANSWER_MAX - used));
	used += snprintf(s->answer + used, (size_t)(ANSWER_MAX - used), ",\"guarantees\":");
	used += guarantees_print(s->o->hooks, s->answer + used, (size_t)(ANSWER_MAX - used));
	snprintf(s->answer + used, (size_t)(ANSWER_MAX - used), "}\n");
	answer(c, s->answer);
}

/* Lines of `MILLISECONDS text`, of everything after that time that is still known. */
static void do_incidents(struct server *s, struct client *c, const char *after)
{
	int64_t from = strtoll(after, NULL, 10);
	uint64_t first = s->incidents > INCIDENTS_MAX ? s->incidents - INCIDENTS_MAX : 0;
	size_t used = 0;

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may ask for incidents\n", s->o->user);
		return;
	}
	for (uint64_t n = first; n < s->incidents; n++) {
		const struct incident *i = &s->incident[n % INCIDENTS_MAX];

		if (i->at > from)
			used += (size_t)snprintf(s->answer + used, ANSWER_MAX - used, "%lld %s\n", (long long)i->at, i->text);
	}
	snprintf(s->answer + used, ANSWER_MAX - used, "ok\n");
	answer(c, s->answer);
}

/* Lines of `NAME ENTRIES MOST`, of the maps that can be full. */
static void do_maps(struct server *s, struct client *c)
{
	static const char *const names[] = {"pending", "usage", SLUICE_PIN_DATAGRAMS, SLUICE_PIN_UNIX, SLUICE_PIN_REFUSALS};
	size_t used = 0;

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may ask for the maps\n", s->o->user);
		return;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		uint32_t most;
		int entries = hooks_map_entries(s->o->hooks, names[i], &most);

		if (entries >= 0)
			used += (size_t)snprintf(s->answer + used, ANSWER_MAX - used, "%s %d %u\n", names[i], entries, most);
	}
	snprintf(s->answer + used, ANSWER_MAX - used, "ok\n");
	answer(c, s->answer);
}

static int count_watchers(const struct server *s)
{
	int count = 0;

	for (int i = 0; i < CLIENTS_MAX; i++)
		count += s->client[i].watches;
	return count;
}

/*
 * The connection stays, and gets a line for each kind of change, from here on. A buffer as small as there is: who does not read
 * has a few of them waiting, and no more.
 */
static void do_watch(struct server *s, struct client *c)
{
	static const char ok[] = "ok\n";
	char text[CHANGES_MAX];
	int watchers = count_watchers(s), least = 1;

	if (!is_trusted(s, c)) {
		answerf(c, "error DENIED only the daemon's user (%u) or root may watch\n", s->o->user);
		return;
	}
	if (watchers >= WATCHERS_MAX) {
		answerf(c, "error LIMIT %d watch already\n", watchers);
		return;
	}
	if (watchers == 0)
		(void)changes_since(&s->told, s->o->cg, s->o->hooks, s->incidents, text);
	c->watches = true;
	if (setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least) < 0 ||
	    send(c->fd, ok, sizeof ok - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		drop(c);
}

/* One that does not read is dropped: when it comes back it has to look at everything anyway. */
static void tell_watchers(struct server *s)
{
	char text[CHANGES_MAX];
	size_t length = count_watchers(s) == 0 ? 0 : changes_since(&s->told, s->o->cg, s->o->hooks, s->incidents, text);

	for (int i = 0; length > 0 && i < CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];

		if (c->watches && send(c->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)length)
			drop(c);
	}
}

static void obey(struct server *s, struct client *c)
{
	char path[PATH_MAX], verb[16], first[40], second[16], third[16];
	int n;

	if (!peer_cgroup(c, path, sizeof path)) {
		answer(c, "error DENIED the process that connected is gone or is not visible to the helper\n");
		return;
	}
	if (cgroup_is_session(s->o->cg, path)) {
		answer(c, "error INSIDE a process inside a session may not speak to the helper\n");
		return;
	}
	n = sscanf(c->line, "%15s %39s %15s %15s", verb, first, second, third);
	if (n == 1 && strcmp(verb, "daemon") == 0)
		do_daemon(s, c);
	else if (n == 1 && strcmp(verb, "listen") == 0)
		do_listen(s, c);
	else if (n == 3 && strcmp(verb, "create") == 0)
		do_create(s, c, first, second, false);
	else if (n == 4 && strcmp(verb, "create") == 0 && strcmp(third, "pool") == 0)
		do_create(s, c, first, second, true);
	else if (n == 2 && strcmp(verb, "join") == 0)
		do_join(s, c, first, false);
	else if (n == 3 && strcmp(verb, "join") == 0 && strcmp(second, "answer") == 0)
		do_join(s, c, first, true);
	else if (n == 2 && strcmp(verb, "spawn") == 0)
		do_spawn(s, c, first);
	else if (n == 2 && strcmp(verb, "end") == 0)
		do_end(s, c, first);
	else if (n == 1 && strcmp(verb, "list") == 0)
		do_list(s, c);
	else if (n == 1 && strcmp(verb, "status") == 0)
		do_status(s, c);
	else if (n == 1 && strcmp(verb, "maps") == 0)
		do_maps(s, c);
	else if (n == 2 && strcmp(verb, "incidents") == 0)
		do_incidents(s, c, first);
	else if (n == 1 && strcmp(verb, "watch") == 0)
		do_watch(s, c);
	else
		answer(c, "error ARGUMENT known are: daemon, listen, create ID UID [pool], join ID [answer], spawn ID, end ID, list, status, maps, incidents AFTER, watch\n");
}

static void read_request(struct server *s, struct client *c)
{
	ssize_t n;
	char *end;

	if (c->home >= 0) {
		leave(s, c); /* it closed its end, or has something else to say: both mean that it listens */
		return;
	}
	if (c->watches) {
		drop(c); /* the same: it wants no more */
		return;
	}
	n = recv(c->fd, c->line + c->used, sizeof c->line - 1 - c->used, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->used += (size_t)n;
	c->line[c->used] = '\0';
	if (strlen(c->line) != c->used) {
		answer(c, "error ARGUMENT a NUL byte in the request\n");
		return;
	}
	end = strchr(c->line, '\n');
	if (end) {
		*end = '\0';
		obey(s, c);
	} else if (c->used == sizeof c->line - 1) {
		answer(c, "error ARGUMENT the request is too long\n");
	}
}

static void refuse(int fd, const char *text)
{
	ssize_t n = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)n;
	close(fd);
}

/* Is this the effective uid of the process? The owner of /proc/PID won't do: it is root's when not dumpable. */
static bool runs_as(int procdir, uid_t uid)
{
	char text[2048];
	const char *line;
	unsigned effective;
	int fd = openat(procdir, "status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %*u %u", &effective) == 1 && effective == uid;
}

static void accept_one(struct server *s, int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *slot = NULL, c = {.fd = fd, .home = -1};
	int open_now = 0, same_uid = 0;
	socklen_t size = sizeof c.peer;
	char proc[32];

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c.peer, &size) < 0 || c.peer.pid <= 0) {
		refuse(fd, "error DENIED the process that connected is not visible to the helper\n");
		return;
	}
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (s->client[i].fd < 0) {
			slot = &s->client[i];
			continue;
		}
		open_now++;
		same_uid += s->client[i].peer.uid == c.peer.uid;
	}
	if (!slot || (!is_trusted(s, &c) && (same_uid >= CLIENTS_PER_UID || open_now >= CLIENTS_MAX - CLIENTS_RESERVED))) {
		refuse(fd, "error LIMIT too many requests at once\n");
		return;
	}
	snprintf(proc, sizeof proc, "/proc/%d", c.peer.pid);
	c.procdir = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* The number may be another process's by now. Where the kernel can't tell, the uid differs or it is the same user's doing. */
	if (c.procdir < 0 || !runs_as(c.procdir, c.peer.uid) || peer_is_gone(fd)) {
		if (c.procdir >= 0)
			close(c.procdir);
		refuse(fd, "error DENIED the process that connected is gone\n");
		return;
	}
	c.deadline = now_ms() + REQUEST_MS;
	*slot = c;
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= (int)sizeof address.sun_path) {
		FAULT("the path of the socket is too long: %s", path);
		goto failed;
	}
	unlink(path); /* of a helper before us: the lock says that it is gone */
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, 128) < 0) {
		FAULT_ERRNO("cannot listen on %s", path);
		goto failed;
	}
	return fd;
failed:
	if (fd >= 0)
		close(fd);
	return -1;
}

static void report(void *context, const char *text)
{
	struct server *s = context;
	struct incident *i = &s->incident[s->incidents++ % INCIDENTS_MAX];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	i->at = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
	if (i->at <= s->incident_at)
		i->at = s->incident_at + 1;
	s->incident_at = i->at;
	snprintf(i->text, sizeof i->text, "%s", text);
	LOG("TAMPERED: %s", text);
}

/* The service manager, if one started us. */
static void tell_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (path)
		(void)notify_send(path, state, NULL, 0);
}

/* Said again each second, so that none of it is lost when the manager's socket is full; as its watchdog it shows that we look. */
static void tell_state(const struct server *s)
{
	char state[96];

	snprintf(state, sizeof state, "READY=1\nWATCHDOG=1\nSTATUS=%d hooks attached%s", hooks_count(s->o->hooks),
		 s->broken ? ", one is off and can't be put back" : "");
	tell_manager(state);
}

/*
 * What was undone is put back. Where enforcement had lapsed, nobody knows what the sessions opened meanwhile, and where it
 * can't be put back they are open now: in both cases what runs in them is killed.
 */
static void watch(struct server *s)
{
	bool known = s->broken;
	int state;

	/* Programs and maps are tied to these cgroups, so a new start is needed; until then no session can be made. */
	if (!cgroups_current(s->o->cg)) {
		report(s, "the cgroups were removed or made anew: the helper ends, and attaches all hooks when it is started again");
		s->homeless = true;
		cgroup_kill(s->o->cg->sessions);
		return;
	}
	state = hooks_watch(s->o->hooks, s->o->cg, report, s);

	answers_watch(s->o->cg, report, s);
	s->watch_at = now_ms() + WATCH_MS;
	s->broken = state < 0;
	tell_state(s);
	if (state != 0 && cgroup_kill(s->o->cg->sessions) < 0)
		report(s, "the sessions can't be killed");
	else if (state != 0 && !known)
		report(s, "enforcement had lapsed: all processes in sessions were killed");
	tell_watchers(s);
}

static int next_timeout(struct server *s)
{
	int64_t now = now_ms(), wait = s->watch_at > now ? s->watch_at - now : 0;

	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];
		int64_t left;

		if (c->fd < 0 || c->watches)
			continue;
		left = *c->ending ? END_POLL_MS : c->deadline - now;
		if (left < 0)
			left = 0;
		if (left < wait)
			wait = left;
	}
	return (int)wait;
}

static void tick(struct server *s)
{
	if (now_ms() >= s->watch_at)
		watch(s);
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];

		if (c->fd < 0 || c->watches)
			continue;
		if (*c->ending)
			go_on_ending(s, c);
		else if (c->home >= 0 && now_ms() >= c->deadline)
			leave(s, c);
		else if (now_ms() >= c->deadline)
			answer(c, "error TIMEOUT no request came\n");
	}
}

int server_run(const struct server_options *options, const volatile sig_atomic_t *stop, const sigset_t *wait_mask)
{
	struct server *s = calloc(1, sizeof *s);
	int listening = listen_on(options->socket_path);
	int result = -1;

	if (!s || listening < 0)
		goto cleanup;
	s->o = options;
	for (int i = 0; i < CLIENTS_MAX; i++)
		s->client[i].fd = s->client[i].procdir = s->client[i].home = -1;
	LOG("ready: %d hooks attached, listening on %s", hooks_count(options->hooks), options->socket_path);
	tell_state(s);
	while (!*stop && !s->homeless) {
		struct pollfd fds[CLIENTS_MAX + 1];
		struct client *of[CLIENTS_MAX + 1];
		nfds_t n = 0;
		int wait = next_timeout(s);
		struct timespec span = {wait / 1000, wait % 1000 * 1000000L};

		of[n] = NULL;
		fds[n++] = (struct pollfd){.fd = listening, .events = POLLIN};
		for (int i = 0; i < CLIENTS_MAX; i++) {
			if (s->client[i].fd < 0 || *s->client[i].ending)
				continue;
			of[n] = &s->client[i];
			fds[n++] = (struct pollfd){.fd = s->client[i].fd, .events = POLLIN};
		}
		/* The signals are open only here, so that one between the test of *stop and the wait is not lost. */
		if (ppoll(fds, n, &span, wait_mask) < 0 && errno != EINTR) {
			FAULT_ERRNO("poll failed");
			goto cleanup;
		}
		for (nfds_t i = 1; i < n; i++)
			if (fds[i].revents)
				read_request(s, of[i]);
		tick(s);
		if (fds[0].revents & POLLIN)
			accept_one(s, listening);
	}
	tell_manager("STOPPING=1");
	result = s->homeless ? -1 : 0;
cleanup:
	if (s && s->o)
		for (int i = 0; i < CLIENTS_MAX; i++) {
			if (s->client[i].home >= 0)
				leave(s, &s->client[i]);
			drop(&s->client[i]);
		}
	if (listening >= 0) {
		close(listening);
		unlink(options->socket_path);
	}
	free(s);
	return result;
}
