// SPDX-License-Identifier: Apache-2.0
/*
 * The session's end of a launch under a uid of its own. sluice-helper starts it as root, with a connection to the caller
 * and the session's cgroup, whose hooks it has just checked. As root it takes a message of fixed size and three
 * descriptors; everything of variable size that the caller sends is read after it has become the agent, inside the session
 * and behind the filter. Then it stays as the parent of the command: it hands signals in and stops and the end out, and
 * when the caller has gone it ends the session. It is the agent's own process, so nothing rests on its honesty.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "message.h"

enum { HANG_UP_MS = 2000 }; /* from SIGHUP to the end of the session */

static int receive(struct request *request)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec data = {request, sizeof *request};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	ssize_t n = recvmsg(INSIDE_CONNECTION, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	struct cmsghdr *first = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	int fds[3];

	if (n != sizeof *request || request->magic != REQUEST_MAGIC || request->bytes > TEXTS_MAX || !first ||
	    first->cmsg_type != SCM_RIGHTS || first->cmsg_len != CMSG_LEN(sizeof fds) || (message.msg_flags & MSG_CTRUNC)) {
		LOG("the caller did not send what sluice-launch of this version sends");
		return -1;
	}
	memcpy(fds, CMSG_DATA(first), sizeof fds);
	for (int fd = 0; fd <= 2; fd++) {
		if (dup2(fds[fd], fd) < 0)
			return -1;
		close(fds[fd]);
	}
	return 0;
}

static int write_to(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

/* Moves into the very directory that the helper looked at. Returns a descriptor that ends the session when written to. */
static int enter(const char *session)
{
	int kill_file = openat(INSIDE_CGROUP, "cgroup.kill", O_WRONLY | O_CLOEXEC);

	if (kill_file < 0 || write_to(INSIDE_CGROUP, "cgroup.procs", "0") < 0 || !is_inside(session)) {
		LOG("cannot enter the cgroup of session %s: %s", session, strerror(errno));
		return -1;
	}
	close(INSIDE_CGROUP);
	return kill_file;
}

/* What the helper's unit may have been given is not for agents. */
static void be_ordinary(void)
{
	(void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
	(void)setpriority(PRIO_PROCESS, 0, 0);
	(void)write_to(AT_FDCWD, "/proc/self/oom_score_adj", "0");
}

/* The texts of the request as an array; the working directory is the first of them. */
static char **read_texts(const struct request *request)
{
	char *text = malloc(request->bytes + 1UL), **list;
	size_t used = 0, count = 0;

	while (text && used < request->bytes) {
		ssize_t n = read(INSIDE_CONNECTION, text + used, request->bytes - used);

		if (n <= 0)
			return NULL;
		used += (size_t)n;
	}
	if (!text || !used || text[used - 1])
		return NULL;
	for (size_t i = 0; i < used; i++)
		count += !text[i];
	/* One more for the NULL between the command and the environment, one for that at the end. */
	list = count < request->words + 1UL || !request->words ? NULL : calloc(count + 2, sizeof *list);
	for (size_t i = 0, at = 0; list && i < count; i++) {
		at += i == request->words + 1UL;
		list[at++] = text;
		text += strlen(text) + 1;
	}
	return list;
}

static int send_message(int what, int value, int descriptor)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct message m = {what, value};
	struct iovec data = {&m, sizeof m};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	if (descriptor >= 0) {
		struct cmsghdr *first = &control.align;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof control.bytes;
		first->cmsg_level = SOL_SOCKET;
		first->cmsg_type = SCM_RIGHTS;
		first->cmsg_len = CMSG_LEN(sizeof descriptor);
		memcpy(CMSG_DATA(first), &descriptor, sizeof descriptor);
	}
	return sendmsg(INSIDE_CONNECTION, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/*
 * A terminal of the session's own. The caller's would stay open in whatever the command leaves behind, and what the caller
 * types next, a password say, could be read there. Returns the master.
 */
static int open_terminal(const struct request *request)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
	char name[64];

	if (master >= 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0)
		slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcsetattr(slave, TCSANOW, &request->modes) < 0 || ioctl(slave, TIOCSWINSZ, &request->size) < 0 ||
	    ioctl(slave, TIOCSCTTY, 0) < 0) {
		LOG("cannot open a terminal for the session: %s", strerror(errno));
		return -1;
	}
	for (int fd = 0; fd <= 2; fd++)
		if (request->terminals & 1U << fd)
			dup2(slave, fd);
	close(slave);
	return master;
}

/* Of the session's terminal, if it has one: this process group (0) or the command's (its number) is in the foreground. */
static void set_foreground(pid_t group, int only_from_us)
{
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);

	if (terminal < 0)
		return;
	if (!only_from_us || tcgetpgrp(terminal) == getpgrp())
		(void)tcsetpgrp(terminal, group ? group : getpgrp());
	close(terminal);
}

static int begin(const struct launch *l, const struct request *request, char **texts, pid_t parent)
{
	static const int UNTOUCHED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	sigset_t none;
	char **command = texts + 1;

	/* It goes with its parent, also with one that is gone already. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return FAILED;
	setpgid(0, 0);
	if (request->foreground)
		set_foreground(getpid(), 0);
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL);
	for (size_t i = 0; i < sizeof UNTOUCHED / sizeof *UNTOUCHED; i++)
		if (request->ignored & 1U << UNTOUCHED[i])
			(void)signal(UNTOUCHED[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(request->umask & 0777);
	environ = texts + request->words + 2;
	if (chdir(texts[0]) < 0) {
		const char *instead = l->home && chdir(l->home) == 0 ? l->home : "/";

		LOG("uid %u cannot enter %s (%s): the command starts in %s", l->uid, texts[0], strerror(errno), instead);
		if (*instead == '/' && !instead[1] && chdir("/") < 0)
			return FAILED;
	}
	return run_command(command);
}

/* The caller is gone: so is whoever waits for the session. */
static void end_session(pid_t command, int kill_file, int signals)
{
	struct pollfd wait = {.fd = signals, .events = POLLIN};
	ssize_t n;

	kill(-command, SIGHUP);
	kill(-command, SIGCONT);
	while (poll(&wait, 1, HANG_UP_MS) > 0) {
		struct signalfd_siginfo info;

		if (read(signals, &info, sizeof info) < 0 || waitpid(command, NULL, WNOHANG) == command)
			break;
	}
	n = write(kill_file, "1", 1);
	(void)n;
}

static int watch(pid_t command, int kill_file, int signals)
{
	struct pollfd fds[] = {{.fd = INSIDE_CONNECTION, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	int stopped = 0, status;

	for (;;) {
		struct message m;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return FAILED;
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			ssize_t n = read(signals, &info, sizeof info);
			pid_t pid;

			(void)n;
			while ((pid = waitpid(command, &status, WUNTRACED | WCONTINUED | WNOHANG)) > 0) {
				stopped = WIFSTOPPED(status);
				if (stopped)
					send_message(STOPPED, WSTOPSIG(status), -1);
				if (WIFEXITED(status) || WIFSIGNALED(status)) {
					send_message(ENDED, status, -1);
					return 0;
				}
			}
		}
		if (!fds[0].revents)
			continue;
		if (recv(INSIDE_CONNECTION, &m, sizeof m, MSG_WAITALL) != sizeof m) {
			end_session(command, kill_file, signals);
			return FAILED;
		}
		if (m.what == SIGNAL)
			kill(command, m.value);
		else if (m.what == SIGNAL_GROUP)
			kill(-command, m.value);
		else if (m.what == CONTINUE) {
			if (m.value)
				set_foreground(command, !stopped);
			else if (stopped)
				set_foreground(0, 0);
			kill(-command, SIGCONT);
		}
	}
}

int inside(const struct launch *l)
{
	static const int IGNORED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE};
	struct request request;
	char **texts;
	sigset_t child;
	int kill_file, signals, master = -1, nothing;
	pid_t parent, command;

	alarm(PATIENCE); /* for all that the caller has to send */
	/* Whoever started the helper may have left it something. */
	if (close_descriptors_from(INSIDE_ANSWER + 1) < 0 || send(INSIDE_CONNECTION, "ok\n", 3, MSG_NOSIGNAL) != 3 || receive(&request) < 0)
		return FAILED;
	kill_file = enter(l->session);
	if (kill_file < 0 || limit_resources(1) < 0)
		return FAILED;
	be_ordinary();
	setsid();
	if (drop_privileges(1, l->uid, l->gid) < 0 || keep_standard_descriptors() < 0 ||
	    hand_over(INSIDE_ANSWER, filter_system_calls()) < 0)
		return FAILED;

	texts = read_texts(&request);
	if (!texts) {
		LOG("the caller did not send its command");
		return FAILED;
	}
	alarm(0);
	if (request.terminals) {
		master = open_terminal(&request);
		if (master < 0)
			return FAILED;
	}
	for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
		(void)signal(IGNORED[i], SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_SETMASK, &child, NULL);
	signals = signalfd(-1, &child, SFD_CLOEXEC);
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fcntl(INSIDE_CONNECTION, F_SETFD, FD_CLOEXEC) < 0 || signals < 0 || nothing < 0 ||
	    send_message(READY, 0, master) < 0)
		return FAILED;
	if (master >= 0)
		close(master);
	parent = getpid();
	command = fork();
	if (command < 0) {
		LOG("cannot start the command: %s", strerror(errno));
		return FAILED;
	}
	if (command == 0)
		return begin(l, &request, texts, parent);
	setpgid(command, command);
	if (request.foreground)
		set_foreground(command, 1);
	/* Ends of pipes and of the terminal are the command's alone: only then does its end close them. */
	for (int fd = 0; fd <= 2; fd++)
		dup2(nothing, fd);
	return watch(command, kill_file, signals);
}
