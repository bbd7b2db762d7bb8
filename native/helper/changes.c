// SPDX-License-Identifier: Apache-2.0
#include "changes.h"

#include <string.h>

struct look {
	uint64_t sum;
	bool is_one_empty;
};

/* Of numbers that differ in a bit the results differ in half of them, so that sums tell sets apart (splitmix64). */
static uint64_t mixed(uint64_t n)
{
	n += 0x9e3779b97f4a7c15U;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9U;
	n = (n ^ n >> 27) * 0x94d049bb133111ebU;
	return n ^ n >> 31;
}

/* The kernel gives no cgroup the id of another one, so that it stands for the name, too. */
static void look_at(const struct session *session, void *context)
{
	struct look *look = context;

	look->sum += mixed(session->cgroup_id << 1 | session->populated);
	look->is_one_empty |= !session->populated;
}

size_t changes_since(struct changes *told, const struct cgroups *cg, const struct hooks *hooks, uint64_t incidents,
		     char text[static CHANGES_MAX])
{
	struct changes now = {.incidents = incidents, .lost = told->lost};
	struct look look = {0};
	bool are_refused = hooks_refused(hooks, &now.lost);

	/* Sessions that can't be read now are told: who asks for them is told why. */
	if (session_each(cg, look_at, &look) < 0)
		look.is_one_empty = true;
	now.sessions = look.sum;
	*text = '\0';
	if (now.incidents != told->incidents)
		strcat(text, "incidents\n");
	if (now.sessions != told->sessions || look.is_one_empty)
		strcat(text, "sessions\n");
	if (are_refused || now.lost != told->lost)
		strcat(text, "refusals\n");
	*told = now;
	return strlen(text);
}
