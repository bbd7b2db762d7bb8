// SPDX-License-Identifier: Apache-2.0
/* sluice-launch: turns itself into an agent's command inside a session, with nothing that leads out of it. */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "launch.h"

enum { FAILED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

static const char USAGE[] =
	"sluice-launch --helper SOCKET --session ID [--uid N --gid N] -- COMMAND [ARGUMENT…]\n"
	"Joins the session, gives up descriptors, groups, capabilities and system calls, and runs COMMAND.\n"
	"--uid and --gid are for root alone, which must name both, neither of them 0.\n"
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

int main(int argc, char **argv)
{
	const struct option known[] = {
		{"helper", required_argument, NULL, 'H'}, {"session", required_argument, NULL, 's'},
		{"uid", required_argument, NULL, 'u'},	  {"gid", required_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},	  {0},
	};
	const char *helper = NULL, *session = NULL;
	unsigned uid = 0, gid = 0, given = 0;
	int is_root = geteuid() == 0, cause;

	/* "+": options end at the command. */
	for (int c; (c = getopt_long(argc, argv, "+h", known, NULL)) != -1;) {
		if (c == 'H')
			helper = optarg;
		else if (c == 's')
			session = optarg;
		else if ((c == 'u' && number(optarg, &uid) == 0) || (c == 'g' && number(optarg, &gid) == 0))
			given++;
		else {
			fputs(USAGE, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : FAILED;
		}
	}
	if (!helper || !session || optind == argc || (given && !is_root)) {
		fputs(USAGE, stderr);
		return FAILED;
	}
	if (is_root && (given != 2 || uid == 0 || gid == 0)) {
		LOG("an agent does not run as root: name --uid and --gid, neither of them 0");
		return FAILED;
	}
	if (!is_root) {
		uid = getuid();
		gid = getgid();
	}

	/* Descriptors first: the socket to the helper is then the only other one, and is closed again. */
	if (keep_standard_descriptors() < 0 || join_session(helper, session) < 0 ||
	    drop_privileges(is_root, uid, gid) < 0 || filter_system_calls() < 0)
		return FAILED;

	execvp(argv[optind], argv + optind);
	cause = errno;
	LOG("cannot run %s: %s", argv[optind], strerror(cause));
	return cause == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}
