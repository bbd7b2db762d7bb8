// SPDX-License-Identifier: Apache-2.0
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { QUIET_MS = 100 };

void terminal_look(struct terminal *t, struct request *request)
{
	t->fd = t->master = -1;
	for (int fd = 0; fd <= 2; fd++)
		if (isatty(fd))
			request->terminals |= 1U << fd;
	if (!request->terminals)
		return;
	t->fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	for (int fd = 0; t->fd < 0 && fd <= 2; fd++) /* one that is not this process's controlling terminal will do */
		if (request->terminals & 1U << fd)
			t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (t->fd < 0 || tcgetattr(t->fd, &t->before) < 0)
		return;
	request->modes = t->before;
	(void)ioctl(t->fd, TIOCGWINSZ, &request->size);
	/*
	 * In `sluice run -- x | less` it is less that reads the terminal. The command gets it when it wants to read: it is
	 * stopped then, as in the background of a shell, and front.c takes the terminal for it.
	 */
	request->foreground = (request->terminals & 3) == 3 && terminal_is_ours(t);
}

int terminal_is_ours(const struct terminal *t)
{
	return t->fd >= 0 && tcgetpgrp(t->fd) == getpgrp();
}

void terminal_want(const struct terminal *t)
{
	char nothing;

	(void)!read(t->fd, &nothing, 0); /* n_tty_read() looks at job control before it looks at the length */
}

void terminal_take(struct terminal *t)
{
	struct termios raw = t->before;

	if (t->fd < 0 || t->taken)
		return;
	if (tcgetattr(t->fd, &t->before) == 0)
		raw = t->before;
	cfmakeraw(&raw);
	t->taken = tcsetattr(t->fd, TCSADRAIN, &raw) == 0;
	terminal_resize(t);
}

void terminal_give_back(struct terminal *t)
{
	if (t->taken)
		(void)tcsetattr(t->fd, TCSADRAIN, &t->before);
	t->taken = 0;
}

void terminal_resize(const struct terminal *t)
{
	struct winsize size;

	if (t->fd >= 0 && t->master >= 0 && ioctl(t->fd, TIOCGWINSZ, &size) == 0)
		(void)ioctl(t->master, TIOCSWINSZ, &size);
}

void terminal_prepare(const struct terminal *t, struct pollfd fds[2])
{
	fds[0] = (struct pollfd){.fd = t->taken && !t->typed_used ? t->fd : -1, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = t->master, .events = (short)(POLLIN | (t->typed_used ? POLLOUT : 0))};
}

/* Bytes that were shown, 0 when there are none now, -1 when there won't be any. */
static ssize_t show(const struct terminal *t)
{
	char bytes[16384];
	ssize_t n = read(t->master, bytes, sizeof bytes);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	for (ssize_t done = 0; done < n;) {
		ssize_t written = write(t->fd, bytes + done, (size_t)(n - done));

		if (written < 0 && errno != EINTR && errno != EAGAIN)
			break; /* hung up; the signal for it comes as well */
		done += written > 0 ? written : 0;
	}
	return n;
}

static void pass_typed(struct terminal *t)
{
	ssize_t n = write(t->master, t->typed, t->typed_used);

	if (n <= 0)
		return;
	t->typed_used -= (size_t)n;
	memmove(t->typed, t->typed + n, t->typed_used);
}

void terminal_relay(struct terminal *t, const struct pollfd fds[2])
{
	if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && show(t) < 0) {
		close(t->master);
		t->master = -1;
		return;
	}
	if (fds[0].revents) {
		ssize_t n = read(t->fd, t->typed, sizeof t->typed);

		if (n <= 0 && errno != EINTR && errno != EAGAIN)
			t->taken = 0; /* hung up */
		t->typed_used = n > 0 ? (size_t)n : 0;
	}
	if (t->typed_used)
		pass_typed(t);
}

void terminal_drain(struct terminal *t)
{
	struct pollfd wait = {.fd = t->master, .events = POLLIN};

	/* The kernel hands bytes on a moment later. What runs on in the background keeps it open: then silence is the end. */
	while (t->master >= 0 && poll(&wait, 1, QUIET_MS) > 0 && show(t) > 0)
		;
}
