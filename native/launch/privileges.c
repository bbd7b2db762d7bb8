// SPDX-License-Identifier: Apache-2.0
/* An agent has no capability and no way to get one: root could detach the programs that enforce. */
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch.h"

static int empty_bounding_set(void)
{
	/* PR_CAPBSET_READ fails for the first number that the kernel does not know. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -1;
	return 0;
}

static int has_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return 1;
	return data[0].effective || data[0].permitted || data[0].inheritable || data[1].effective ||
	       data[1].permitted || data[1].inheritable;
}

int drop_privileges(int is_root, uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {0};
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
		LOG("cannot set no_new_privs: %s", strerror(errno));
		return -1;
	}
	if (is_root && (empty_bounding_set() < 0 || setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
			setresuid(uid, uid, uid) < 0)) {
		LOG("cannot become uid %u, gid %u without capabilities: %s", uid, gid, strerror(errno));
		return -1;
	}
	if (syscall(SYS_capset, &header, none) < 0 || has_capabilities()) {
		LOG("cannot give up capabilities");
		return -1;
	}
	getresuid(&ruid, &euid, &suid);
	getresgid(&rgid, &egid, &sgid);
	if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid) {
		LOG("user and group ids are not all %u and %u; a set-uid start is refused", uid, gid);
		return -1;
	}
	return 0;
}
