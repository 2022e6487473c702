//! config-linux.md: devices, sysctl, seccomp, paths, propagation, personality, memory policy.

use super::lab::{Verdict, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn linux(name: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |c| c["linux"][name] = value
}

fn filter(action: &str, name: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [name], "action": action}]})
}

/// `mkdir` fails with `text` under `seccomp`.
fn mkdir(lab: &super::Lab, text: &str, seccomp: Value) -> super::Outcome {
    lab.shows("mkdir /x 2>&1; echo done", text, linux("seccomp", seccomp))
}

pub(crate) const ROWS: &[Row] = &[
    row("config-linux, Devices", "a character device, with numbers, mode and owner", |lab| {
        let device = json!([{"path": "/dev/fuse-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6}]);
        lab.prints(
            "stat -c '%F %t %T %a %u %g' /dev/fuse-like",
            "character special file a e5 640 5 6\n",
            linux("devices", device),
        )
    }),
    row("config-linux, Devices", "a block device and a fifo", |lab| {
        let devices =
            json!([{"path": "/dev/disk", "type": "b", "major": 7, "minor": 0}, {"path": "/dev/pipe", "type": "p"}]);
        lab.prints("stat -c %F /dev/disk /dev/pipe", "block special file\nfifo\n", linux("devices", devices))
    }),
    row("config-linux, Devices", "in a directory that is not there yet", |lab| {
        let devices = json!([{"path": "/dev/a/b/null", "type": "c", "major": 1, "minor": 3}]);
        lab.prints("echo x > /dev/a/b/null && echo yes", "yes\n", linux("devices", devices))
    }),
    row("config-linux, Devices: type", "an unknown one is an error", |lab| {
        lab.refuses(linux("devices", json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}])))
    }),
    row("config-linux, Default Devices", "null, zero, full, random, urandom, tty", |lab| {
        let numbers = "1 3\n1 5\n1 7\n1 8\n1 9\n5 0\n";
        let script = "cd /dev; for d in null zero full random urandom tty; do test -c $d; stat -c '%t %T' $d; done";
        lab.prints(script, numbers, |_| ())
    }),
    row("config-linux, Default Devices", "ptmx is the one of /dev/pts", |lab| {
        lab.prints("readlink -f /dev/ptmx", "/dev/pts/ptmx\n", |_| ())
    }),
    row("config-linux, Sysctl", "is written in the container's namespaces", |lab| {
        lab.prints("cat /proc/sys/net/ipv4/ip_forward", "1\n", linux("sysctl", json!({"net.ipv4.ip_forward": "1"})))?;
        lab.prints("cat /proc/sys/kernel/msgmax", "4096\n", linux("sysctl", json!({"kernel.msgmax": "4096"})))
    }),
    row("config-linux, Sysctl", "what would change the host is an error", |lab| {
        lab.refuses(linux("sysctl", json!({"kernel.core_pattern": "x"})))
    }),
    row("config-linux, Sysctl", "what the kernel does not know is an error", |lab| {
        lab.refuses(linux("sysctl", json!({"net.no.such.thing": "1"})))
    }),
    row("config-linux, Seccomp", "SCMP_ACT_ERRNO without a number is EPERM", |lab| {
        mkdir(lab, "Operation not permitted", filter("SCMP_ACT_ERRNO", "mkdir"))
    }),
    row("config-linux, Seccomp: errnoRet", "is the error that the program sees", |lab| {
        let mut seccomp = filter("SCMP_ACT_ERRNO", "mkdir");
        seccomp["syscalls"][0]["errnoRet"] = json!(28);
        mkdir(lab, "No space left on device", seccomp)
    }),
    row("config-linux, Seccomp: defaultErrnoRet", "is the default action's error", |lab| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28,
            "syscalls": [{"names": fs::read_to_string("/proc/self/status").map(|_| every_call_but("mkdir")).unwrap(), "action": "SCMP_ACT_ALLOW"}]});
        mkdir(lab, "No space left on device", seccomp)
    }),
    row("config-linux, Seccomp: errnoRet", "with an action that has none is an error", |lab| {
        let mut seccomp = filter("SCMP_ACT_KILL", "mkdir");
        seccomp["syscalls"][0]["errnoRet"] = json!(28);
        lab.refuses(linux("seccomp", seccomp))
    }),
    row("config-linux, Seccomp", "SCMP_ACT_KILL_PROCESS ends it with SIGSYS", |lab| {
        lab.shows("mkdir /x; echo $?", "159\n", linux("seccomp", filter("SCMP_ACT_KILL_PROCESS", "mkdir")))
    }),
    row("config-linux, Seccomp", "SCMP_ACT_LOG and SCMP_ACT_ALLOW let it through", |lab| {
        lab.prints("mkdir /x && echo yes", "yes\n", linux("seccomp", filter("SCMP_ACT_LOG", "mkdir")))
    }),
    row("config-linux, Seccomp: args", "a condition on an argument", |lab| {
        let mut seccomp = filter("SCMP_ACT_ERRNO", "kill");
        seccomp["syscalls"][0]["args"] = json!([{"index": 1, "value": libc::SIGUSR1, "op": "SCMP_CMP_EQ"}]);
        let script = "trap '' USR1 USR2; kill -USR1 $$ 2>/dev/null || echo no; kill -USR2 $$ && echo yes";
        lab.prints(script, "no\nyes\n", linux("seccomp", seccomp))
    }),
    row("config-linux, Seccomp", "calls that this kernel does not have are skipped", |lab| {
        lab.prints("echo yes", "yes\n", linux("seccomp", filter("SCMP_ACT_ERRNO", "no_such_call")))
    }),
    row("config-linux, Seccomp: defaultAction", "an unknown action is an error", |lab| {
        lab.refuses(linux("seccomp", json!({"defaultAction": "SCMP_ACT_MAYBE"})))
    }),
    row("config-linux, Seccomp: flags", "an unknown flag is an error", |lab| {
        let mut seccomp = filter("SCMP_ACT_ERRNO", "mkdir");
        seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_MAYBE"]);
        lab.refuses(linux("seccomp", seccomp))
    }),
    row("config-linux, Seccomp", "the program runs under a filter", |lab| {
        lab.prints(
            "grep Seccomp: /proc/self/status",
            "Seccomp:\t2\n",
            linux("seccomp", filter("SCMP_ACT_ERRNO", "mkdir")),
        )
    }),
    row("config-linux, Rootfs Mount Propagation", "private, slave, shared, unbindable", |lab| {
        let script = "awk '$5 == \"/\" {print $7}' /proc/self/mountinfo | sed 's/:.*//'";
        lab.prints(script, "-\n", linux("rootfsPropagation", json!("private")))?;
        lab.prints(script, "shared\n", linux("rootfsPropagation", json!("shared")))?;
        lab.prints(script, "unbindable\n", linux("rootfsPropagation", json!("unbindable")))
    }),
    row("config-linux, Rootfs Mount Propagation", "an unknown word is an error", |lab| {
        lab.refuses(linux("rootfsPropagation", json!("sideways")))
    }),
    row("config-linux, Masked Paths", "files and directories cannot be read", |lab| {
        lab.prints(
            "cat /proc/version; ls /proc/net/ /proc/bus",
            "/proc/bus:\n\n/proc/net/:\n",
            linux("maskedPaths", json!(["/proc/version", "/proc/bus"])),
        )
        .or_else(|_| {
            lab.prints(
                "cat /proc/version; ls /proc/bus",
                "",
                linux("maskedPaths", json!(["/proc/version", "/proc/bus"])),
            )
        })
    }),
    row("config-linux, Masked Paths", "what is not there needs no mask", |lab| {
        lab.prints("echo yes", "yes\n", linux("maskedPaths", json!(["/no/such/file"])))
    }),
    row("config-linux, Readonly Paths", "cannot be written to", |lab| {
        lab.prints(
            "touch /tmp/x 2>/dev/null || echo no; touch /etc/x && echo yes",
            "no\nyes\n",
            linux("readonlyPaths", json!(["/tmp"])),
        )
    }),
    row("config-linux, Readonly Paths", "what is not there is left alone", |lab| {
        lab.prints("echo yes", "yes\n", linux("readonlyPaths", json!(["/no/such/file"])))
    }),
    row("config-linux, Mount Label", "what this kernel cannot do is an error", |lab| {
        if fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs") {
            return Err(Verdict::Skips("this kernel has SELinux".to_owned()));
        }
        lab.refuses(linux("mountLabel", json!("system_u:object_r:svirt_sandbox_file_t:s0")))
    }),
    row("config-linux, Personality", "LINUX32 is what uname says", |lab| {
        if cfg!(not(target_arch = "x86_64")) {
            return Err(Verdict::Skips("only x86 has this name for 32 bits".to_owned()));
        }
        lab.prints("uname -m", "i686\n", linux("personality", json!({"domain": "LINUX32"})))?;
        lab.prints("uname -m", "x86_64\n", linux("personality", json!({"domain": "LINUX"})))
    }),
    row("config-linux, Personality", "an unknown domain is an error", |lab| {
        lab.refuses(linux("personality", json!({"domain": "SOLARIS"})))
    }),
    row("config-linux, Memory policy", "mode and nodes", |lab| {
        if !Path::new("/proc/self/numa_maps").exists() {
            return Err(Verdict::Skips("this kernel has no memory policies".to_owned()));
        }
        lab.shows(
            "head -1 /proc/self/numa_maps",
            "bind:0",
            linux("memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})),
        )
    }),
    row("config-linux, Memory policy", "unknown modes and impossible nodes are errors", |lab| {
        lab.refuses(linux("memoryPolicy", json!({"mode": "MPOL_X"})))?;
        lab.refuses(linux("memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": ""})))
    }),
    row("config-linux, IntelRdt", "without a mounted resctrl it is an error", |lab| {
        if fs::read_to_string("/proc/mounts").unwrap().contains(" resctrl ") {
            return Err(Verdict::Skips("resctrl is mounted".to_owned()));
        }
        lab.refuses(linux("intelRdt", json!({"closID": "x", "l3CacheSchema": "L3:0=f"})))
    }),
    row("runtime-linux, Dev symbolic links", "fd, stdin, stdout, stderr", |lab| {
        let script = "cd /dev; readlink fd stdin stdout stderr";
        let script =
            script.replace("readlink fd stdin stdout stderr", "for l in fd stdin stdout stderr; do readlink $l; done");
        lab.prints(&script, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n", |_| ())
    }),
    row("runtime-linux, File descriptors", "only standard input, output and error are open", |lab| {
        let leak = fs::File::open("/etc/hostname").unwrap();
        nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        same("descriptors", lab.says("ls /proc/1/fd; true", |_| ())?.as_str(), "0\n1\n2\n")
    }),
    row("runtime-linux, File descriptors", "LISTEN_FDS more come along", |lab| {
        let bundle = lab.bundle("echo $LISTEN_FDS; cat <&3", |_| ());
        fs::write(bundle.path("passed"), "through\n").unwrap();
        // sd_listen_fds(3): the number of the process that the descriptors are for is part of the protocol.
        let script = "exec 3<passed; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let runtime = bundle.command(&["run", &bundle.id]);
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", script]).arg(runtime.get_program()).args(runtime.get_args()).current_dir(bundle.path(""));
        let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        must(said == "1\nthrough\n", || format!("{said:?} {}", String::from_utf8_lossy(&output.stderr)))
    }),
];

/// What busybox needs to run.
const CALLS: &str = "\
    access arch_prctl brk capget capset chdir clone clone3 close close_range dup dup2 dup3 execve execveat exit \
    exit_group faccessat faccessat2 fchown fcntl fork fstat fstatfs futex getcwd getdents64 getegid geteuid getgid \
    getpid getppid getrandom gettid getuid ioctl kill lseek lstat madvise mkdir mkdirat mmap mprotect munmap \
    nanosleep newfstatat open openat openat2 pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 read readlink \
    readlinkat recvmsg rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield seccomp sendmsg \
    set_robust_list set_tid_address setgid setgroups setpgid setresgid setresuid setsid setuid sigaltstack stat \
    statfs statx sysinfo tgkill umask uname unlink unlinkat vfork wait4 waitid write writev getxattr epoll_create1 \
    epoll_ctl epoll_pwait eventfd2 tkill getpgrp getpeername getsockname getsockopt socket connect accept4 sendto \
    recvfrom clock_gettime restart_syscall";

/// Names of calls that a shell and its tools need, without `name`.
fn every_call_but(name: &str) -> Vec<&'static str> {
    CALLS.split(' ').filter(|call| *call != name).collect()
}
