//! The steps: every privileged operation of the runtime, with the clause that asks for it.
//!
//! The id is also the operation's name in error messages: `rootfs.pivot /bundle/rootfs: Invalid argument`.

use skiff_step::Step;

macro_rules! steps {
    ($($name:ident = $id:literal, $clause:literal;)*) => {
        $(#[doc = concat!("`", $id, "`: ", $clause, ".")] pub(crate) const $name: Step = Step::new($id, $clause);)*
        /// All of them, for tests and for `explain`.
        #[cfg(test)]
        pub(crate) const ALL: &[Step] = &[$($name),*];
    };
}

steps! {
    CGROUP_CREATE = "cgroup.create", "runtime-spec config-linux, Control groups: cgroupsPath";
    CGROUP_LIMIT = "cgroup.limit", "runtime-spec config-linux, Control groups: resources";
    CGROUP_DEVICE = "cgroup.device", "runtime-spec config-linux, Allowed Device list";
    CGROUP_JOIN = "cgroup.join", "cgroups(7), tasks; clone3(2), CLONE_INTO_CGROUP";
    CGROUP_FREEZE = "cgroup.freeze", "kernel admin-guide/cgroup-v1/freezer-subsystem";
    CGROUP_KILL = "cgroup.kill", "runtime-spec runtime, Delete";
    CGROUP_UNIT = "cgroup.unit", "org.freedesktop.systemd1(5), The Manager Object";
    CGROUP_WATCH = "cgroup.watch", "kernel admin-guide/cgroup-v1/memory, OOM Control";
    CGROUP_REMOVE = "cgroup.remove", "runtime-spec runtime, Delete";
    RDT_CLASS = "rdt.class", "runtime-spec config-linux, IntelRdt: closID";
    RDT_SCHEMA = "rdt.schema", "runtime-spec config-linux, IntelRdt: l3CacheSchema, memBwSchema, schemata";
    RDT_MONITOR = "rdt.monitor", "runtime-spec config-linux, IntelRdt: enableMonitoring";
    RDT_JOIN = "rdt.join", "runtime-spec config-linux, IntelRdt: tasks";
    RDT_REMOVE = "rdt.remove", "runtime-spec config-linux, IntelRdt: deletion";
    NS_CLONE = "ns.clone", "runtime-spec config-linux, Namespaces; clone3(2)";
    NS_JOIN = "ns.join", "runtime-spec config-linux, Namespaces: path; setns(2)";
    NS_UNSHARE = "ns.unshare", "cgroup_namespaces(7): the root is where the caller is when it is made";
    NS_MAP_USERS = "ns.map-users", "runtime-spec config-linux, User namespace mappings";
    NS_OFFSET = "ns.offset", "runtime-spec config-linux, Offset for Time Namespace";
    NET_MOVE = "net.move", "runtime-spec config-linux, Network Devices";
    ROOTFS_COPY = "rootfs.copy", "runtime-spec config, Root: path; open_tree(2)";
    ROOTFS_ISOLATE = "rootfs.isolate", "runtime-spec config-linux, Rootfs Mount Propagation";
    ROOTFS_ATTACH = "rootfs.attach", "pivot_root(2): the new root must be a mount point";
    ROOTFS_PIVOT = "rootfs.pivot", "runtime-spec config, Root; pivot_root(2)";
    ROOTFS_CHROOT = "rootfs.chroot", "runc create --no-pivot: a ramdisk cannot be pivoted away from; chroot(2)";
    ROOTFS_READONLY = "rootfs.readonly", "runtime-spec config, Root: readonly";
    MOUNT_SOURCE = "mount.source", "runtime-spec config, Mounts: source";
    MOUNT_TARGET = "mount.target", "runtime-spec config, Mounts: destination";
    MOUNT_NEW = "mount.new", "runtime-spec config, Mounts: type; fsmount(2)";
    MOUNT_ATTACH = "mount.attach", "runtime-spec config, Mounts; move_mount(2)";
    MOUNT_CHANGE = "mount.change", "runtime-spec config, Mounts: options; mount_setattr(2)";
    MOUNT_MAP = "mount.map", "runtime-spec config, Linux mount options: idmap; mount_setattr(2)";
    MOUNT_COPY_UP = "mount.copy-up", "runtime-spec config, Linux mount options: tmpcopyup";
    DEVICE_CREATE = "device.create", "runtime-spec config-linux, Devices and Default Devices";
    DEVICE_LINK = "device.link", "runtime-spec runtime-linux, Dev symbolic links";
    PATH_MASK = "path.mask", "runtime-spec config-linux, Masked Paths";
    PATH_READONLY = "path.readonly", "runtime-spec config-linux, Readonly Paths";
    HOST_NAME = "host.name", "runtime-spec config, Hostname";
    HOST_DOMAIN = "host.domain", "runtime-spec config, Domainname";
    SYSCTL_WRITE = "sysctl.write", "runtime-spec config-linux, Sysctl";
    OOM_ADJUST = "oom.adjust", "runtime-spec config, Linux Process: oomScoreAdj";
    RLIMIT_SET = "rlimit.set", "runtime-spec config, POSIX process: rlimits";
    TERMINAL_OPEN = "terminal.open", "runtime-spec config, Process: terminal";
    TERMINAL_SEND = "terminal.send", "runc docs/terminals: detached new terminals";
    SESSION_NEW = "session.new", "setsid(2)";
    SESSION_KEYRING = "session.keyring", "session-keyring(7): keys of the caller's session are not the container's";
    AFFINITY_SET = "affinity.set", "runtime-spec config, Linux Process: execCPUAffinity";
    SCHEDULER_SET = "scheduler.set", "runtime-spec config, Linux Process: scheduler";
    IO_PRIORITY_SET = "io-priority.set", "runtime-spec config, Linux Process: ioPriority";
    MEMORY_POLICY_SET = "memory-policy.set", "runtime-spec config-linux, Memory policy";
    PERSONALITY_SET = "personality.set", "runtime-spec config-linux, Personality";
    LABEL_SET = "label.set", "runtime-spec config, Linux Process: apparmorProfile, selinuxLabel";
    USER_GROUPS = "user.groups", "runtime-spec config, POSIX-platform User: additionalGids";
    USER_SET = "user.set", "runtime-spec config, POSIX-platform User: uid, gid, umask";
    CAPS_BOUND = "caps.bound", "runtime-spec config, Linux Process: capabilities.bounding";
    CAPS_SET = "caps.set", "runtime-spec config, Linux Process: capabilities";
    PRIVILEGES_LOCK = "privileges.lock", "runtime-spec config, Linux Process: noNewPrivileges";
    SECCOMP_LOAD = "seccomp.load", "runtime-spec config-linux, Seccomp";
    CWD_ENTER = "cwd.enter", "runtime-spec config, Process: cwd";
    HOOK_RUN = "hook.run", "runtime-spec config, POSIX-platform Hooks";
    STATE_WRITE = "state.write", "runtime-spec runtime, State";
    STATE_REMOVE = "state.remove", "runtime-spec runtime, Delete";
    START_LISTEN = "start.listen", "runtime-spec runtime, Create: must not run the program yet";
    START_SIGNAL = "start.signal", "runtime-spec runtime, Start";
    PROCESS_SIGNAL = "process.signal", "runtime-spec runtime, Kill";
    EXEC_PAYLOAD = "exec.payload", "runtime-spec config, Process: args; execve(2)";
    SELF_SEAL = "self.seal", "CVE-2019-5736: the host's binary must not be writable through /proc/PID/exe";
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_name_area_and_verb() {
        let ids: BTreeSet<_> = ALL.iter().map(|step| step.id).collect();
        assert_eq!(ids.len(), ALL.len());
        assert!(ALL.len() >= 25);
        assert!(ALL.iter().all(|step| step.id.split('.').count() == 2 && !step.clause.is_empty()));
    }
}
