// SPDX-License-Identifier: Apache-2.0
/*
 * The caller's end of a session with a uid of its own. The command is a child of the helper's, so that it has nothing of
 * the caller's but what is sent to it. This process stands for it where the caller is: signals that it gets go in, stops
 * and the end come out, and a terminal is relayed. It has no privilege, and its death ends the session.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch.h"
#include "message.h"
#include "terminal.h"

static const int PASSED_ON[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
				SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH};
enum { PASSED_ON_COUNT = sizeof PASSED_ON / sizeof *PASSED_ON };

static size_t append(char *texts, size_t used, const char *text)
{
	size_t length = strlen(text) + 1;

	if (used + length > TEXTS_MAX)
		return TEXTS_MAX + 1UL;
	memcpy(texts + used, text, length);
	return used + length;
}

static size_t write_texts(char *texts, char **command, uint32_t *words)
{
	char *directory = getcwd(NULL, 0);
	size_t used = append(texts, 0, directory ? directory : "/");

	for (free(directory); *command && used <= TEXTS_MAX; command++, ++*words)
		used = append(texts, used, *command);
	for (char **variable = environ; *variable && used <= TEXTS_MAX; variable++)
		used = append(texts, used, *variable);
	return used;
}

static int send_all(int fd, const char *bytes, size_t left)
{
	while (left) {
		ssize_t n = send(fd, bytes, left, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -1;
		bytes += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Descriptors 0 to 2, and nothing in the place of terminals. */
static int send_request(int connection, struct request *request, int nothing)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {request, sizeof *request};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct cmsghdr *first = CMSG_FIRSTHDR(&message);
	int fds[3];

	for (int fd = 0; fd <= 2; fd++)
		fds[fd] = request->terminals & 1U << fd ? nothing : fd;
	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = SCM_RIGHTS;
	first->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(first), fds, sizeof fds);
	return sendmsg(connection, &message, MSG_NOSIGNAL) == sizeof *request ? 0 : -1;
}

/* 0 with a message and perhaps a descriptor, -1 when the other end is gone. */
static int receive(int connection, struct message *m, int *descriptor)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec data = {m, sizeof *m};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	ssize_t n = recvmsg(connection, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	struct cmsghdr *first = n < 0 ? NULL : CMSG_FIRSTHDR(&message);

	if (first && first->cmsg_type == SCM_RIGHTS && first->cmsg_len == CMSG_LEN(sizeof *descriptor))
		memcpy(descriptor, CMSG_DATA(first), sizeof *descriptor);
	return n == sizeof *m ? 0 : -1;
}

static void tell(int connection, int what, int value)
{
	struct message m = {what, value};

	(void)send_all(connection, (const char *)&m, sizeof m);
}

/* As the command was stopped, so is this job; goes on when it is continued. */
static void stop(int connection, struct terminal *t, int signal_number)
{
	int had_it = t->taken;
	sigset_t one;

	if ((signal_number == SIGTTIN || signal_number == SIGTTOU) && !t->taken && terminal_is_ours(t)) {
		terminal_take(t);
		tell(connection, CONTINUE, 1);
		return;
	}
	terminal_give_back(t);
	/* Not SIGSTOP: where no shell would continue it (an orphaned group), the kernel lets this one pass. */
	if (signal_number == SIGSTOP)
		signal_number = SIGTSTP;
	sigemptyset(&one);
	sigaddset(&one, signal_number);
	(void)signal(signal_number, SIG_DFL);
	if (signal_number == SIGTTIN && t->fd >= 0) {
		/* A shell that makes it the foreground right now sends no SIGCONT; the kernel alone can tell in one step. */
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		terminal_want(t);
	} else {
		kill(0, signal_number);
		sigprocmask(SIG_UNBLOCK, &one, NULL); /* here it stops */
	}
	sigprocmask(SIG_BLOCK, &one, NULL);
	/* What continued it is answered here. Told twice, the command could be continued after the next Ctrl-Z as well. */
	sigemptyset(&one);
	sigaddset(&one, SIGCONT);
	(void)sigtimedwait(&one, NULL, &(struct timespec){0});
	if ((had_it || signal_number == SIGTTIN || signal_number == SIGTTOU) && terminal_is_ours(t))
		terminal_take(t);
	tell(connection, CONTINUE, t->taken);
}

static void pass_on(int connection, struct terminal *t, const struct request *request, int signals)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof info) != sizeof info)
		return;
	if (info.ssi_signo == SIGWINCH) {
		terminal_resize(t);
	} else if (info.ssi_signo == SIGCONT) {
		if ((request->terminals & 3) == 3 && terminal_is_ours(t))
			terminal_take(t);
		tell(connection, CONTINUE, t->taken);
	} else {
		/* A terminal signals all of a job (Ctrl-C), kill(1) one process. */
		tell(connection, info.ssi_code == SI_KERNEL ? SIGNAL_GROUP : SIGNAL, (int)info.ssi_signo);
	}
}

/* Ends as the command ended, so that a shell says the same of it. */
static int end_as(int status)
{
	sigset_t all;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	(void)signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	kill(getpid(), WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

static int serve(int connection, struct terminal *t, const struct request *request, int signals)
{
	for (;;) {
		struct pollfd fds[4] = {{.fd = connection, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
		struct message m;
		int ignored = -1;

		terminal_prepare(t, fds + 2);
		if (poll(fds, 4, -1) < 0 && errno != EINTR)
			return FAILED;
		terminal_relay(t, fds + 2);
		if (fds[1].revents)
			pass_on(connection, t, request, signals);
		if (!fds[0].revents)
			continue;
		if (receive(connection, &m, &ignored) < 0) {
			terminal_drain(t);
			terminal_give_back(t);
			LOG("the session was ended, and its command with it");
			return 128 + SIGKILL;
		}
		if (m.what == STOPPED) {
			stop(connection, t, m.value);
		} else if (m.what == ENDED) {
			terminal_drain(t);
			terminal_give_back(t);
			return end_as(m.value);
		}
	}
}

int front(const struct launch *l)
{
	struct request request = {.magic = REQUEST_MAGIC};
	struct terminal t = {0};
	struct message ready;
	char line[96], *texts = malloc(TEXTS_MAX + 1UL);
	int connection, signals, nothing;
	sigset_t passed;
	size_t bytes;

	if (keep_standard_descriptors() < 0 || close_descriptors_from(3) < 0 || !texts)
		return FAILED;
	bytes = write_texts(texts, l->command, &request.words);
	if (bytes > TEXTS_MAX) {
		LOG("command and environment are longer than %d bytes", TEXTS_MAX);
		return FAILED;
	}
	request.bytes = (uint32_t)bytes;
	request.umask = umask(0);
	umask(request.umask);
	sigemptyset(&passed);
	for (int i = 0; i < PASSED_ON_COUNT; i++) {
		struct sigaction now;

		sigaction(PASSED_ON[i], NULL, &now);
		if (now.sa_handler == SIG_IGN)
			request.ignored |= 1U << PASSED_ON[i];
		sigaddset(&passed, PASSED_ON[i]);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	terminal_look(&t, &request);
	sigprocmask(SIG_SETMASK, &passed, NULL);
	signals = signalfd(-1, &passed, SFD_CLOEXEC | SFD_NONBLOCK);
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (signals < 0 || nothing < 0)
		return FAILED;
	snprintf(line, sizeof line, "spawn %s", l->session);
	connection = ask_helper(l, line);
	if (connection < 0)
		return FAILED;
	if (send_request(connection, &request, nothing) < 0 || send_all(connection, texts, bytes) < 0 ||
	    receive(connection, &ready, &t.master) < 0 || ready.what != READY) {
		LOG("the session was not entered; the reason stands above, or in the log of sluice-helper");
		return FAILED;
	}
	free(texts);
	/* Pipes are the command's alone: whoever reads or writes their other ends has to notice when it closes them. */
	if (!(request.terminals & 1))
		dup2(nothing, 0);
	if (!(request.terminals & 2))
		dup2(nothing, 1);
	if (t.master >= 0)
		(void)fcntl(t.master, F_SETFL, O_RDWR | O_NONBLOCK);
	if (request.foreground)
		terminal_take(&t);
	return serve(connection, &t, &request, signals);
}
