/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of sluice-launch, in the order that main.c takes them. Each says why it failed and returns -1. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define LOG(format, ...) fprintf(stderr, "sluice-launch: " format "\n", ##__VA_ARGS__)

/* Refuses standard descriptors that are a way out, opens /dev/null for those that are closed, closes all others. */
int keep_standard_descriptors(void);
/* Asks the helper to move this process into the session's cgroup, and checks that it is there. */
int join_session(const char *helper, const char *session);
/* Becomes uid and gid for good (when root), without groups, capabilities and the means to regain any. */
int drop_privileges(int is_root, uid_t uid, gid_t gid);
/* Installs the system call filter; it holds for everything that the command starts. */
int filter_system_calls(void);

#endif
