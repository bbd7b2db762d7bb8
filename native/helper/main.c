// SPDX-License-Identifier: Apache-2.0
/*
 * sluice-helper: the root part. Attaches the BPF programs, pins them, and serves the verbs that need root. It parses
 * nothing that came over a network, and ending it changes nothing about enforcement.
 */
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"
#include "cgroups.h"
#include "fault.h"
#include "guarantees.h"
#include "hooks.h"
#include "server.h"

static const char USAGE[] =
	"sluice-helper [OPTIONS]: attaches sluice's BPF programs and serves RUN-DIR/helper.sock (root)\n"
	"  --run-dir DIR        where the socket, the lock and the pins are (default /run/sluice)\n"
	"  --cgroup-root DIR    mount of cgroup v2 (default auto: looked up in /proc/self/mountinfo)\n"
	"  --name NAME          cgroup below it that holds NAME/daemon and NAME/sessions (default sluice)\n"
	"  --delegated          NAME lies in the cgroup of the systemd unit that this runs in, which has Delegate=yes\n"
	"  --user USER          user of the daemon, name or number (default sluice)\n"
	"  --pool FIRST-LAST    uids for agents, that are nobody's; or none (default 70000-70063)\n"
	"  --homes DIR          where sessions with a uid of the pool have their homes (default /var/lib/sluice-agents)\n"
	"  --limit NAME=N       resource limit of agents with a uid of their own; may be given again. core=1 memlock=8388608\n"
	"                       nproc=4096 nofile=524288 fsize=infinity as=infinity\n"
	"  --launcher FILE      sluice-launch (default: the one beside this program)\n"
	"  --pending-max N      connections between connect() and acceptance (default 16384)\n"
	"  --flows-max N        connections that one session has at once (default 1024)\n"
	"  --require NAME,...   guarantees without which no session is made or joined (default: what status shows; none)\n"
	"  --unix NAME          a UNIX socket of the host that every session may speak to: /path or @abstract (repeatable)\n"
	"  --without HOOK       leave a hook out: for tests, opens the way that it closes (repeatable)\n"
	"  --verbose            the BPF loader's messages on stderr\n"
	"  --detach [--kill]    remove programs, pins and cgroups; refused while processes are in them, unless --kill\n"
	"Exit: 0 done or stopped by SIGTERM (enforcement goes on), 1 failed, 2 wrong usage, 3 sessions are running.\n";

enum { LIMITS_MAX = 16, UNIX_MAX = 64 };

struct options {
	const char *run_dir, *cgroup_root, *name, *user, *pool, *homes, *launcher;
	const char *limit[LIMITS_MAX + 1];
	int limits;
	unsigned long pending_max, flows_max;
	int verbose, detach, kill, delegated;
	const char *require, *unix_name[UNIX_MAX], *without[HOOKS_MAX];
	int unix_count, without_count;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	stop = number;
}

static int parse(int argc, char **argv, struct options *o)
{
	enum { RUN_DIR = 256, ROOT, NAME, USER, PENDING, FLOWS, POOL, HOMES, LIMIT, LAUNCHER, REQUIRE, UNIX_NAME, WITHOUT };
	const struct option known[] = {
		{"run-dir", required_argument, NULL, RUN_DIR},
		{"cgroup-root", required_argument, NULL, ROOT},
		{"name", required_argument, NULL, NAME},
		{"user", required_argument, NULL, USER},
		{"pending-max", required_argument, NULL, PENDING},
		{"flows-max", required_argument, NULL, FLOWS},
		{"require", required_argument, NULL, REQUIRE},
		{"unix", required_argument, NULL, UNIX_NAME},
		{"without", required_argument, NULL, WITHOUT},
		{"pool", required_argument, NULL, POOL},
		{"homes", required_argument, NULL, HOMES},
		{"limit", required_argument, NULL, LIMIT},
		{"launcher", required_argument, NULL, LAUNCHER},
		{"verbose", no_argument, &o->verbose, 1},
		{"delegated", no_argument, &o->delegated, 1},
		{"detach", no_argument, &o->detach, 1},
		{"kill", no_argument, &o->kill, 1},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	char *end = "";

	for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
		switch (c) {
		case 0:
			break;
		case RUN_DIR:
			o->run_dir = optarg;
			break;
		case ROOT:
			o->cgroup_root = optarg;
			break;
		case NAME:
			o->name = optarg;
			break;
		case USER:
			o->user = optarg;
			break;
		case PENDING:
			o->pending_max = strtoul(optarg, &end, 10);
			if (*end || o->pending_max == 0 || o->pending_max > 1 << 20)
				return FAULT("--pending-max %s: a number from 1 to 1048576 is wanted", optarg);
			break;
		case FLOWS:
			o->flows_max = strtoul(optarg, &end, 10);
			if (*end || o->flows_max == 0 || o->flows_max > 1 << 20)
				return FAULT("--flows-max %s: a number from 1 to 1048576 is wanted", optarg);
			break;
		case REQUIRE:
			o->require = optarg;
			break;
		case UNIX_NAME:
			if (o->unix_count == UNIX_MAX)
				return FAULT("--unix: at most %d names", UNIX_MAX);
			o->unix_name[o->unix_count++] = optarg;
			break;
		case WITHOUT:
			if (!hooks_known(optarg) || o->without_count == HOOKS_MAX)
				return FAULT("--without %s: there is no such hook", optarg);
			o->without[o->without_count++] = optarg;
			break;
		case POOL:
			o->pool = optarg;
			break;
		case HOMES:
			o->homes = optarg;
			break;
		case LIMIT:
			if (o->limits == LIMITS_MAX || !strchr(optarg, '='))
				return FAULT("--limit %s: NAME=N is wanted, at most %d times", optarg, LIMITS_MAX);
			o->limit[o->limits++] = optarg;
			break;
		case LAUNCHER:
			o->launcher = optarg;
			break;
		case 'h':
			fputs(USAGE, stdout);
			exit(0);
		default:
			return -1;
		}
	}
	if (optind != argc || (o->kill && !o->detach))
		return FAULT("%s is not understood; see --help", optind != argc ? argv[optind] : "--kill without --detach");
	return 0;
}

static int find_user(const char *name, uid_t *user, gid_t *group)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	const struct passwd *entry;

	errno = 0;
	if (*name >= '0' && *name <= '9' && !*end && number < UINT32_MAX) {
		*user = (uid_t)number;
		*group = (gid_t)number;
		entry = getpwuid(*user);
		if (entry)
			*group = entry->pw_gid;
	} else {
		entry = getpwnam(name);
		if (!entry)
			return FAULT("--user %s: there is no such user; make it or name another", name);
		*user = entry->pw_uid;
		*group = entry->pw_gid;
	}
	if (*user == 0)
		return FAULT("--user %s: the daemon must not be root", name);
	return 0;
}

/* One helper per run directory; the lock also keeps --detach from pulling the floor from under a running one. */
/* Where the daemon keeps its socket: the run directory itself is root's, as the pins in it decide about enforcement. */
static int make_daemon_dir(const char *run_dir, uid_t user)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/daemon", run_dir) >= (int)sizeof path)
		return FAULT("the run directory %s has too long a name", run_dir);
	if ((mkdir(path, 0755) < 0 && errno != EEXIST) || chown(path, user, (gid_t)-1) < 0)
		return FAULT_ERRNO("cannot make the daemon's directory %s", path);
	return 0;
}

static int lock(const char *run_dir)
{
	char path[PATH_MAX + 16];
	struct stat st;
	int fd;

	if (mkdir(run_dir, 0755) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make the run directory %s", run_dir);
	if (stat(run_dir, &st) < 0 || st.st_uid != 0 || (st.st_mode & 022))
		return FAULT("the run directory %s must belong to root and be writable by nobody else", run_dir);
	snprintf(path, sizeof path, "%s/helper.lock", run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return FAULT_ERRNO("cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return FAULT("another sluice-helper runs on %s: stop it first", run_dir);
	}
	return fd;
}

/* Beside this program, unless it is named; found before a request needs it. */
static int find_launcher(const char *named, char *path, size_t size)
{
	ssize_t n = 0;

	if (named)
		snprintf(path, size, "%s", named);
	else if ((n = readlink("/proc/self/exe", path, size - 1)) > 0) {
		path[n] = '\0';
		n = strrchr(path, '/') - path;
		snprintf(path + n, size - (size_t)n, "/sluice-launch");
	}
	if (n < 0 || access(path, X_OK) < 0)
		return FAULT_ERRNO("cannot use %s as the launcher", path);
	return 0;
}

static void count_populated(const struct session *session, void *context)
{
	*(int *)context += session->populated;
}

struct ending {
	struct cgroups *cg;
	int failed;
};

static void end_session(const struct session *session, void *context)
{
	struct ending *e = context;
	const struct timespec pause = {0, 20000000};
	int fd = session_open(e->cg, session->id);

	if (fd < 0)
		return;
	cgroup_kill(fd);
	close(fd);
	for (int i = 0; i < 250; i++) {
		if (unlinkat(e->cg->sessions, session->id, AT_REMOVEDIR) == 0 || errno != EBUSY)
			return;
		nanosleep(&pause, NULL);
	}
	LOG("processes of session %s do not die", session->id);
	e->failed = 1;
}

static int detach(const struct options *o, struct cgroups *cg, const char *pin_dir)
{
	struct ending e = {.cg = cg};
	struct pool pool = {.homes = -1};
	int populated = 0, absent = cgroups_open_existing(cg);

	if (absent < 0)
		return 1;
	if (cg->sessions >= 0) {
		session_each(cg, count_populated, &populated);
		if (populated && !o->kill) {
			LOG("%d sessions are running: end them, or add --kill", populated);
			return 3;
		}
		session_each(cg, end_session, &e);
		if (e.failed)
			return 1;
	}
	if (pool_parse(&pool, o->pool) == 0 && access(o->homes, F_OK) == 0 && pool_open(&pool, o->homes, 0) == 0) {
		pool_give_back(&pool, cg);
		while (wait(NULL) > 0)
			;
		pool_close(&pool);
	}
	if (answers_remove(cg) < 0)
		return 1;
	if (cg->daemon >= 0 && o->kill)
		cgroup_kill(cg->daemon);
	if (hooks_remove(pin_dir) < 0)
		return 1;
	cgroups_close(cg);
	for (int i = 0; i < 250 && o->kill; i++) { /* the daemon's last breath */
		char path[2 * PATH_MAX + 16];
		const struct timespec pause = {0, 20000000};

		snprintf(path, sizeof path, "%s%s/daemon", cg->mount, cg->path);
		if (rmdir(path) == 0 || errno != EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return cgroups_remove(cg) < 0 ? 1 : 0;
}

static int serve(const struct options *o, struct cgroups *cg, const char *pin_dir)
{
	struct hooks_options hooks_options = {
		.pin_dir = pin_dir, .pending_max = (uint32_t)o->pending_max, .flows_max = (uint32_t)o->flows_max, .verbose = o->verbose};
	struct pool pool = {.homes = -1};
	struct server_options server_options = {.cg = cg, .pool = &pool};
	struct hooks *hooks;
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked, before;
	char socket_path[PATH_MAX + 16], launcher[PATH_MAX];
	int status = 1;

	const char *lacking, *needs;

	if (guarantees_require(o->require) < 0)
		return 2;
	if (find_user(o->user, &hooks_options.user, &hooks_options.group) < 0 || pool_parse(&pool, o->pool) < 0 ||
	    find_launcher(o->launcher, launcher, sizeof launcher) < 0)
		return 1;
	memcpy(hooks_options.without, o->without, sizeof o->without);
	hooks_options.without_count = o->without_count;
	for (int i = 0; i < o->without_count; i++)
		LOG("WITHOUT %s: agents have a way out; this is for tests alone", o->without[i]);
	(void)signal(SIGCHLD, SIG_IGN); /* what it starts goes its own way */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	if ((o->delegated && cgroups_settle(cg) < 0) || cgroups_open(cg) < 0 || pool_open(&pool, o->homes, hooks_options.user) < 0 || hooks_mount(pin_dir) < 0)
		return 1;
	hooks = hooks_attach(&hooks_options, cg);
	if (!hooks)
		return 1;
	for (int i = 0; i < o->unix_count; i++)
		if (hooks_allow_unix(hooks, o->unix_name[i]) < 0)
			goto cleanup;
	if (guarantees_lacking(hooks, &lacking, &needs))
		LOG("no session will start: the guarantee %s can't be had here; needs %s (--require names those that must hold)",
		    lacking, needs ? needs : "all its hooks");
	if (make_daemon_dir(o->run_dir, hooks_options.user) < 0)
		goto cleanup;
	snprintf(socket_path, sizeof socket_path, "%s/helper.sock", o->run_dir);
	server_options.socket_path = socket_path;
	server_options.user = hooks_options.user;
	server_options.hooks = hooks;
	server_options.spawn = (struct spawn_options){launcher, o->limit, &before};
	pool_give_back(&pool, cg);
	if (server_run(&server_options, &stop, &before) == 0) {
		LOG("stopped; the programs stay attached");
		status = 0;
	}
cleanup:
	hooks_close(hooks);
	pool_close(&pool);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {.run_dir = "/run/sluice", .cgroup_root = "auto", .name = "sluice", .user = "sluice",
			    .pool = "70000-70063", .homes = "/var/lib/sluice-agents"};
	struct cgroups cg;
	char pin_dir[PATH_MAX];
	int held, status;

	if (parse(argc, argv, &o) < 0)
		return 2;
	if (geteuid() != 0) {
		LOG("needs root: it loads BPF programs and makes cgroups");
		return 1;
	}
	umask(022);
	if (snprintf(pin_dir, sizeof pin_dir, "%s/bpf", o.run_dir) > PATH_MAX - 128) {
		LOG("--run-dir is too long");
		return 2;
	}
	held = lock(o.run_dir);
	if (held < 0 || cgroups_find(&cg, o.cgroup_root, o.name, o.delegated) < 0)
		return 1;
	status = o.detach ? detach(&o, &cg, pin_dir) : serve(&o, &cg, pin_dir);
	cgroups_close(&cg);
	close(held);
	return status;
}
