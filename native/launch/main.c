// SPDX-License-Identifier: Apache-2.0
/*
 * sluice-launch: an agent's command inside a session, with nothing that leads out of it. It does so in one of two ways:
 *
 *   in place   this process joins the session, gives everything up and becomes the command (same uid as the caller)
 *   front      the helper starts the command under a uid of the session's own; this process stays the caller's, outside,
 *              and passes on signals, the terminal and the exit status (front.c); the other end is `inside` (inside.c)
 *
 * Either way the helper starts it once more, outside of the session, to answer what the system call filter refuses (answer.c).
 */
#include <getopt.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "launch.h"
#include "sluice.h"

static const char USAGE[] =
	"sluice-launch --helper SOCKET --session ID [--own-uid | --uid N --gid N] -- COMMAND [ARGUMENT…]\n"
	"Joins the session, gives up descriptors, groups, capabilities and system calls, and runs COMMAND.\n"
	"--own-uid: sluice-helper starts it, under the session's own uid; else it is this process that becomes COMMAND.\n"
	"--uid and --gid: as whom root runs COMMAND, both, neither of them 0. Others run it as themselves.\n"
	"Exit: that of COMMAND; 127 not found, 126 not executable, 125 the session could not be entered.\n";

static int number(const char *text, unsigned *out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value >= 0xffffffffUL)
		return -1;
	*out = (unsigned)value;
	return 0;
}

/*
 * As a shell looks for it: a directory of PATH that is closed to this uid holds no command. execvp() says EACCES then, which
 * would mean that the command is there and may not be run.
 */
static int is_in_path(const char *name)
{
	const char *path = getenv("PATH");
	char candidate[4096];

	if (strchr(name, '/') || !path)
		return 1;
	for (size_t length; *path; path += length + (path[length] == ':')) {
		length = strcspn(path, ":");
		snprintf(candidate, sizeof candidate, "%.*s/%s", (int)length, path, name);
		if (access(candidate, F_OK) == 0)
			return 1;
	}
	return 0;
}

int run_command(char **command)
{
	int cause;

	execvp(*command, command);
	cause = errno == EACCES && !is_in_path(*command) ? ENOENT : errno;
	LOG("cannot run %s: %s", *command, strerror(cause));
	return cause == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

static int in_place(const struct launch *l)
{
	int connection;

	/* Descriptors first: the socket to the helper is then the only other one, and is closed again. */
	if (keep_standard_descriptors() < 0 || close_descriptors_from(3) < 0)
		return FAILED;
	connection = join_session(l);
	/* Until it has become the command, other processes of the same account have no business with the listener. */
	if (connection < 0 || limit_resources(0) < 0 || drop_privileges(l->is_root, l->uid, l->gid) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0) < 0 || hand_over(connection, filter_system_calls()) < 0)
		return FAILED;
	return run_command(l->command);
}

int main(int argc, char **argv)
{
	int own_uid = 0, is_inside_end = 0, is_answer = 0, given = 0;
	char *end = "";
	const struct option known[] = {
		{"helper", required_argument, NULL, 'H'},    {"session", required_argument, NULL, 's'},
		{"uid", required_argument, NULL, 'u'},	     {"gid", required_argument, NULL, 'g'},
		{"home", required_argument, NULL, 'd'},	     {"limit", required_argument, NULL, 'l'},
		{"own-uid", no_argument, &own_uid, 1},	     {"inside", no_argument, &is_inside_end, 1},
		{"answer", no_argument, &is_answer, 1},	     {"cgroup", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},	     {0},
	};
	struct launch l = {.is_root = geteuid() == 0};

	/* "+": options end at the command. */
	for (int c; (c = getopt_long(argc, argv, "+h", known, NULL)) != -1;) {
		if (c == 'H')
			l.helper = optarg;
		else if (c == 's')
			l.session = optarg;
		else if (c == 'd')
			l.home = optarg;
		else if (c == 'c')
			l.cgroup = strtoull(optarg, &end, 10);
		else if ((c == 'u' && number(optarg, &l.uid) == 0) || (c == 'g' && number(optarg, &l.gid) == 0))
			given++;
		else if (c == 'l' ? limit_set(optarg) < 0 : c != 0) {
			fputs(USAGE, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : FAILED;
		}
	}
	l.command = argv + optind;
	if (!l.session || *end ||
	    (is_answer ? optind != argc || !l.cgroup : is_inside_end ? optind != argc || given != 2 : !l.helper || optind == argc) ||
	    (given && (!l.is_root || own_uid))) {
		fputs(USAGE, stderr);
		return FAILED;
	}
	if (strlen(l.session) != SLUICE_SESSION_LEN || strspn(l.session, "0123456789abcdef") != SLUICE_SESSION_LEN) {
		LOG("--session wants 32 hex digits");
		return FAILED;
	}
	if (is_answer)
		return answer(&l);
	if (l.is_root && !own_uid && (given != 2 || l.uid == 0 || l.gid == 0)) {
		LOG("an agent does not run as root: name --uid and --gid, neither of them 0");
		return FAILED;
	}
	if (is_inside_end)
		return inside(&l);
	if (own_uid)
		return front(&l);
	if (!l.is_root) {
		l.uid = getuid();
		l.gid = getgid();
	}
	return in_place(&l);
}
