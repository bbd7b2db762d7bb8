/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the kernel knows of the process that calls: its number, its account, its executable. */
#ifndef PROCESS_BPF_H
#define PROCESS_BPF_H

#define EXE_DEPTH 24

/* Room to walk a path in: 512 bytes, since the verifier wants offset and length bounded apart. Never pinned. */
struct path_room {
	char text[2 * SLUICE_EXE_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct path_room);
} path_rooms SEC(".maps");

/* Inode number of the helper's pid namespace, which is that of whoever reads the record. */
const volatile __u32 pid_namespace = 0;

/* How deep a pid namespace may be nested (MAX_PID_NS_LEVEL in kernel/pid_namespace.c). */
#define PID_LEVELS 32

/* The process's number as the helper sees it; in the initial namespace where that sees none. */
static __always_inline __u32 visible_pid(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	char *numbers = (char *)pid + bpf_core_field_offset(struct pid, numbers);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i < PID_LEVELS && i <= level; i++) {
		struct upid number;

		if (bpf_probe_read_kernel(&number, sizeof(number), numbers + i * sizeof(number)) < 0)
			break;
		if (BPF_CORE_READ(number.ns, ns.inum) == pid_namespace)
			return number.nr;
	}
	return bpf_get_current_pid_tgid() >> 32;
}

/*
 * Walks from the executable's dentry to the root of the mount tree. Reads without locks, as a rename at that very
 * moment matters less than a hook that waits; the path informs, the cgroup decides.
 */
static __always_inline void read_exe(struct sluice_origin *origin)
{
	__u32 zero = 0, off = 0;
	struct path_room *room = bpf_map_lookup_elem(&path_rooms, &zero);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct dentry *dentry;
	struct vfsmount *vfsmount;
	struct mount *mount;

	origin->exe_len = 0;
	if (!room)
		return;
	dentry = BPF_CORE_READ(task, mm, exe_file, f_path.dentry);
	vfsmount = BPF_CORE_READ(task, mm, exe_file, f_path.mnt);
	if (!dentry || !vfsmount)
		return;
	mount = (struct mount *)((char *)vfsmount - bpf_core_field_offset(struct mount, mnt));

	for (int i = 0; i < EXE_DEPTH; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		struct dentry *root = BPF_CORE_READ(mount, mnt.mnt_root);
		const unsigned char *name;
		long len;

		if (dentry == root || dentry == parent) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount || dentry != root) { /* top, or a path outside any mount (memfd) */
				if (off < SLUICE_EXE_LEN)
					room->text[off++] = '\0';
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		name = BPF_CORE_READ(dentry, d_name.name);
		if (off >= SLUICE_EXE_LEN)
			break;
		len = bpf_probe_read_kernel_str(&room->text[off & (SLUICE_EXE_LEN - 1)], SLUICE_EXE_LEN, name);
		if (len <= 0 || off + len > SLUICE_EXE_LEN)
			break;
		off += len;
		dentry = parent;
	}
	if (off == 0 || off > SLUICE_EXE_LEN)
		return;
	if (bpf_probe_read_kernel(origin->exe, sizeof(origin->exe), room->text) == 0)
		origin->exe_len = off;
}

/* Of the process that calls; where it meant to go is not told here. */
static __always_inline void read_process(struct sluice_origin *origin)
{
	__u64 ids = bpf_get_current_uid_gid();

	origin->cgroup_id = bpf_get_current_cgroup_id();
	origin->time = bpf_ktime_get_ns();
	origin->pid = visible_pid();
	origin->uid = (__u32)ids;
	origin->gid = ids >> 32;
	bpf_get_current_comm(origin->comm, sizeof(origin->comm));
	read_exe(origin);
}

#endif
