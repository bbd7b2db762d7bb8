// SPDX-License-Identifier: Apache-2.0
/* sluice-probe: tries ways out of a session and says what came of each, one line of JSON a try. */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { LIMIT_S = 5, AT_ONCE = 16, TRIES_MAX = 256 };

static const struct probe *const FAMILIES[] = {TCP_PROBES,     UDP_PROBES,     RAW_PROBES,    FAMILY_PROBES,
					       UNIX_PROBES,    INBOUND_PROBES, CGROUP_PROBES, NAMESPACE_PROBES,
					       PRIVILEGE_PROBES, PROCESS_PROBES};
enum { FAMILY_COUNT = sizeof FAMILIES / sizeof *FAMILIES };

static const char USAGE[] =
	"sluice-probe NAME… KEY=VALUE…     tries these ways out (all: every one), one line of JSON for each:\n"
	"                                  {\"name\":…,\"escaped\":…,\"how\":…}\n"
	"sluice-probe list                 what can be tried\n"
	"sluice-probe witness KEY=VALUE…   listens outside (far: in a network namespace made by its caller), says what came\n"
	"sluice-probe victim KEY=VALUE…    a process outside to be attacked\n"
	"Keys: nonce=HEX near=V4,V6,PORT,DEVICE far=V4,V6,PORT,DEVICE dir=PATH cgroup=PATH pins=PATH daemon=PORT victim=PID,ADDRESS,FD\n"
	"Exit: 0 all were tried, whatever came of them; 2 the command line is not valid.\n";

static void say(struct attempt *a, const char *format, va_list arguments)
{
	vsnprintf(a->how, sizeof a->how, format, arguments);
	/* It stands in JSON. */
	for (char *c = a->how; *c; c++)
		if (*c == '"' || *c == '\\' || *c < ' ')
			*c = '\'';
}

void sent(struct attempt *a, const char *format, ...)
{
	va_list arguments;

	a->sent = true;
	va_start(arguments, format);
	say(a, format, arguments);
	va_end(arguments);
}

void effect(struct attempt *a, const char *format, ...)
{
	va_list arguments;

	a->escaped = true;
	va_start(arguments, format);
	say(a, format, arguments);
	va_end(arguments);
}

void kept(struct attempt *a, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(a, format, arguments);
	va_end(arguments);
}

void refused(struct attempt *a, const char *call)
{
	const char *name = strerrorname_np(errno);

	kept(a, "%s: %s", call, name ? name : "?");
}

void untried(struct attempt *a, const char *why)
{
	a->untried = true;
	kept(a, "%s", why);
}

size_t payload(const struct attempt *a, char text[PAYLOAD_MAX])
{
	return (size_t)snprintf(text, PAYLOAD_MAX, MARK "%.64s %s\n", a->target->nonce, a->name);
}

bool has_nonce(const struct target *t, const char *bytes, size_t length)
{
	char wanted[PAYLOAD_MAX];
	size_t size = (size_t)snprintf(wanted, sizeof wanted, MARK "%.64s ", t->nonce);

	return memmem(bytes, length, wanted, size) != NULL;
}

static void print(const struct attempt *a)
{
	printf("{\"name\":\"%s\",\"escaped\":%s,\"how\":\"%s\"%s%s}\n", a->name, a->escaped ? "true" : "false", a->how,
	       a->sent ? ",\"sent\":true" : "", a->untried ? ",\"untried\":true" : "");
	fflush(stdout);
}

/* In a process of its own: whatever it becomes or breaks ends with it. The result comes back through a pipe. */
static pid_t begin(const struct probe *p, struct attempt *a, int *result)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	child = fork();
	if (child == 0) {
		signal(SIGPIPE, SIG_IGN);
		alarm(LIMIT_S);
		p->try_it(a);
		_exit(write(ends[1], a, sizeof *a) == sizeof *a ? 0 : 1);
	}
	close(ends[1]);
	*result = ends[0];
	return child;
}

static void finish(struct attempt *a, pid_t child, int result)
{
	struct attempt said;
	int status;

	/* Closed by the end of the child, whatever its children hold. */
	waitpid(child, &status, 0);
	fcntl(result, F_SETFL, O_NONBLOCK);
	if (read(result, &said, sizeof said) == sizeof said)
		*a = said;
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		kept(a, "no answer within %d s", LIMIT_S);
	else if (WIFSIGNALED(status))
		kept(a, "ended by %s", sigabbrev_np(WTERMSIG(status)));
	close(result);
	print(a);
}

static bool is_named(const char *name, char **names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], "all") == 0 || strcmp(names[i], name) == 0)
			return true;
	return false;
}

static void run(const struct target *t, char **names, int count)
{
	static struct attempt attempts[TRIES_MAX];
	pid_t child[AT_ONCE];
	int result[AT_ONCE], begun = 0, done = 0;

	for (int f = 0; f < FAMILY_COUNT; f++)
		for (const struct probe *p = FAMILIES[f]; p->name; p++) {
			if (!is_named(p->name, names, count))
				continue;
			for (int s = 0; s < (p->how & NETWORK ? SITES : 1) && begun < TRIES_MAX; s++) {
				struct attempt *a = &attempts[begun];

				if ((p->how & NETWORK) && !t->site[s].known)
					continue;
				while (done < begun && (begun - done == AT_ONCE || (p->how & ALONE))) {
					finish(&attempts[done], child[done % AT_ONCE], result[done % AT_ONCE]);
					done++;
				}
				a->target = t;
				a->site = &t->site[s];
				snprintf(a->name, sizeof a->name, "%s%s", p->name, p->how & NETWORK ? a->site->name : "");
				child[begun % AT_ONCE] = begin(p, a, &result[begun % AT_ONCE]);
				begun++;
			}
		}
	for (; done < begun; done++)
		finish(&attempts[done], child[done % AT_ONCE], result[done % AT_ONCE]);
}

static bool read_site(struct site *site, char *value)
{
	char *v4 = strsep(&value, ","), *v6 = strsep(&value, ","), *port = strsep(&value, ","), *device = value;

	site->known = v6 && port && device && inet_pton(AF_INET, v4, &site->v4) == 1 &&
		      inet_pton(AF_INET6, v6, &site->v6) == 1 &&
		      snprintf(site->device, sizeof site->device, "%s", device) < (int)sizeof site->device;
	site->port = port ? (uint16_t)atoi(port) : 0;
	return site->known;
}

/* One KEY=VALUE; false when it is not known. */
static bool read_key(struct target *t, char *word)
{
	char *value = strchr(word, '=');
	struct {
		const char *key;
		const char **to;
	} texts[] = {{"nonce", &t->nonce}, {"dir", &t->dir}, {"cgroup", &t->cgroup}, {"pins", &t->pins}};

	*value++ = '\0';
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(word, texts[i].key) == 0) {
			*texts[i].to = value;
			return true;
		}
	if (strcmp(word, "near") == 0)
		return read_site(&t->site[0], value);
	if (strcmp(word, "far") == 0)
		return read_site(&t->site[1], value);
	if (strcmp(word, "daemon") == 0)
		return (t->daemon = (uint16_t)atoi(value)) != 0;
	if (strcmp(word, "victim") == 0)
		return sscanf(value, "%d,%lx,%d", &t->victim, &t->secret, &t->victim_fd) == 3;
	return false;
}

static int list(void)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		for (const struct probe *p = FAMILIES[f]; p->name; p++)
			printf("%-22s %s\n", p->name, p->help);
	return 0;
}

int main(int argc, char **argv)
{
	struct target t = {.nonce = "", .site = {{.name = ""}, {.name = "@far"}}};
	int names = 1;

	while (names < argc && !strchr(argv[names], '='))
		names++;
	for (int i = names; i < argc; i++)
		if (!strchr(argv[i], '=') || !read_key(&t, argv[i])) {
			fprintf(stderr, "sluice-probe: %s is not known\n%s", argv[i], USAGE);
			return 2;
		}
	if (names == 1 || strcmp(argv[1], "--help") == 0) {
		fputs(USAGE, names == 1 ? stderr : stdout);
		return names == 1 ? 2 : 0;
	}
	if (strcmp(argv[1], "list") == 0)
		return list();
	if (strcmp(argv[1], "witness") == 0)
		return witness(&t, names > 2 && strcmp(argv[2], "far") == 0);
	if (strcmp(argv[1], "victim") == 0)
		return victim(&t);
	/* Whose the session's processes are, for what depends on that. */
	printf("{\"uid\":%u,\"pid\":%d}\n", getuid(), getpid());
	fflush(stdout);
	run(&t, argv + 1, names - 1);
	return 0;
}
