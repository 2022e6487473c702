//! The least that an engine's default container costs: only the system calls that nobody can leave out, nothing read,
//! nothing checked, nothing remembered. Figures of the runtime are compared with it (`runtime/tests/bench.rs`).
//!
//! `floor run ROOTFS NAME` does for `/bin/true` in ROOTFS what `skiff-oci run` does for podman's defaults, in cgroups called
//! NAME. `floor peak PROGRAM WORD…` runs a program to its end and prints the most memory that it had, in KiB: this program is
//! small, and a process is charged with its parent's size at its birth.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, execve, pivot_root, sethostname, setsid};
use skiff_sys::process::{Cloned, Kin, clone, set_limit};
use skiff_sys::seccomp::Instruction;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

type Failure = Box<dyn std::error::Error>;

/// The hierarchies of version 1 whose limits are asked for, and the freezer.
const HIERARCHIES: &[&str] = &["cpu", "cpuset", "memory", "pids", "devices", "freezer"];
const LIMITS: &[(&str, &str, &str)] = &[
    ("memory", "memory.limit_in_bytes", "268435456"),
    ("memory", "memory.memsw.limit_in_bytes", "536870912"),
    ("pids", "pids.max", "2048"),
    ("cpu", "cpu.shares", "512"),
    ("cpu", "cpu.cfs_period_us", "100000"),
    ("cpu", "cpu.cfs_quota_us", "150000"),
    ("devices", "devices.deny", "a"),
    ("devices", "devices.allow", "c *:* m"),
    ("devices", "devices.allow", "b *:* m"),
    ("devices", "devices.allow", "c 1:3 rwm"),
    ("devices", "devices.allow", "c 1:5 rwm"),
    ("devices", "devices.allow", "c 1:7 rwm"),
    ("devices", "devices.allow", "c 1:8 rwm"),
    ("devices", "devices.allow", "c 1:9 rwm"),
    ("devices", "devices.allow", "c 5:0 rwm"),
    ("devices", "devices.allow", "c 5:2 rwm"),
    ("devices", "devices.allow", "c 136:* rwm"),
];
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
const DEVICES: &[(&str, u64, u64)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];
const MASKED_FILES: &[&str] = &["proc/kcore", "proc/keys", "proc/timer_list"];
const MASKED_FOLDERS: &[&str] = &["proc/acpi", "proc/scsi", "sys/firmware"];
const READONLY: &[&str] = &["proc/asound", "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
/// Those that podman leaves (capabilities(7)).
const CAPS_KEPT: u64 = 0x8000_05fb;
const CAPS: u64 = 41;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", rootfs, name] => std::process::exit(run(Path::new(rootfs), name)?),
        ["peak", program, words @ ..] => {
            let status = std::process::Command::new(program).args(words).status()?;
            println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
            std::process::exit(status.code().unwrap_or(1))
        }
        _ => Err("usage: floor run ROOTFS NAME | floor peak PROGRAM WORD...".into()),
    }
}

fn run(rootfs: &Path, name: &str) -> Result<i32, Failure> {
    let directory = |hierarchy: &str| Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
    let there = || HIERARCHIES.iter().filter(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy).is_dir());
    let mut tasks = Vec::new();
    for hierarchy in there() {
        std::fs::create_dir(directory(hierarchy))?;
        if *hierarchy == "cpuset" {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                write(&directory(hierarchy).join(file), "0")?;
            }
        }
        tasks.push(OpenOptions::new().write(true).open(directory(hierarchy).join("tasks"))?);
    }
    for (hierarchy, file, value) in LIMITS {
        write(&directory(hierarchy).join(file), value)?;
    }
    let program = filter();
    let born = match clone(NAMESPACES, None, Kin::Child)? {
        Cloned::Child => {
            let failed = child(rootfs, &tasks, &program);
            eprintln!("floor: {failed:?}");
            skiff_sys::process::exit_now(1)
        }
        Cloned::Parent(born) => born,
    };
    let ended = waitpid(Pid::from_raw(born.pid), None)?;
    for hierarchy in there() {
        std::fs::remove_dir(directory(hierarchy))?;
    }
    Ok(if ended == WaitStatus::Exited(Pid::from_raw(born.pid), 0) { 0 } else { 1 })
}

fn write(path: &Path, value: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn child(rootfs: &Path, tasks: &[File], program: &[Instruction]) -> Result<(), Failure> {
    umask(Mode::empty());
    for mut file in tasks {
        file.write_all(b"0")?;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)?;
    setsid()?;
    sethostname("floor")?;
    build(rootfs)?;
    set_limit(0, libc::RLIMIT_NOFILE as libc::c_int, 1024, 1024)?;
    set_limit(0, libc::RLIMIT_NPROC as libc::c_int, 1024, 1024)?;
    nix::sys::prctl::set_no_new_privs()?;
    drop_caps()?;
    skiff_sys::fd::cloexec_from(3)?;
    skiff_sys::process::reset_signals()?;
    skiff_sys::seccomp::install(program, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW)?;
    execve(c"/bin/true", &[c"true"], &[c"PATH=/bin"])?;
    Ok(())
}

fn build(rootfs: &Path) -> Result<(), Failure> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    mount(Some(rootfs), rootfs, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    chdir(rootfs)?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(Some("proc"), "proc", Some("proc"), plain, none)?;
    mount(Some("tmpfs"), "dev", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=65536k"))?;
    mount(Some("sysfs"), "sys", Some("sysfs"), plain | MsFlags::MS_RDONLY, none)?;
    for name in ["dev/pts", "dev/mqueue", "dev/shm"] {
        std::fs::create_dir(name)?;
    }
    let data = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(Some("devpts"), "dev/pts", Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some(data))?;
    mount(Some("mqueue"), "dev/mqueue", Some("mqueue"), plain, none)?;
    mount(Some("shm"), "dev/shm", Some("tmpfs"), plain, Some("mode=1777,size=65536000"))?;
    for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv"] {
        mount(Some(&rootfs.join("..").join("bound")), file, none, MsFlags::MS_BIND | MsFlags::MS_PRIVATE, none)?;
    }
    for (name, major, minor) in DEVICES {
        mknod(&Path::new("dev").join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(*major, *minor))?;
    }
    for (target, name) in LINKS {
        std::os::unix::fs::symlink(target, name)?;
    }
    hide()?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    Ok(())
}

fn hide() -> Result<(), Failure> {
    let none = None::<&str>;
    let unless_missing = |result: Result<(), Errno>| match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    };
    for path in READONLY {
        let bound = mount(Some(*path), *path, none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
        if bound == Err(Errno::ENOENT) {
            continue;
        }
        mount(none, *path, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
    }
    for path in MASKED_FILES {
        unless_missing(mount(Some("dev/null"), *path, none, MsFlags::MS_BIND, none))?;
    }
    for path in MASKED_FOLDERS {
        unless_missing(mount(Some("tmpfs"), *path, Some("tmpfs"), MsFlags::MS_RDONLY, none))?;
    }
    Ok(())
}

fn drop_caps() -> Result<(), Errno> {
    for cap in (0..CAPS).filter(|cap| CAPS_KEPT >> cap & 1 == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number.
        Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) })?;
    }
    let header = [0x2008_0522_u32, 0];
    let [low, high] = [CAPS_KEPT & 0xffff_ffff, CAPS_KEPT >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    let data = [low, low, 0, high, high, 0];
    // SAFETY: capset(2), version 3, reads a header of two and data of six 32-bit words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const data) }).map(drop)
}

/// A tree over 64 ranges of numbers for each of two architectures: as large as what podman's profile needs.
fn filter() -> Vec<Instruction> {
    let op = |code: u16, k: u32| Instruction { code, jump_true: 0, jump_false: 0, k };
    let mut program = vec![op(0x20, 4)];
    for audit in [0xc000_003e_u32, 0x4000_0003] {
        let body = tree(0, 64);
        program.push(Instruction { code: 0x15, jump_true: 1, jump_false: 0, k: audit });
        program.push(op(0x05, u32::try_from(body.len() + 1).unwrap_or(0)));
        program.push(op(0x20, 0));
        program.extend(body);
    }
    program.push(op(0x06, libc::SECCOMP_RET_KILL_PROCESS));
    program
}

fn tree(first: u32, count: u32) -> Vec<Instruction> {
    if count == 1 {
        // Everything that the last steps and true itself need is allowed: the ranges forbidden are above.
        let answer = if first < 48 { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_ERRNO | 38 };
        return vec![Instruction { code: 0x06, jump_true: 0, jump_false: 0, k: answer }];
    }
    let (below, above) = (tree(first, count / 2), tree(first + count / 2, count / 2));
    let distance = u8::try_from(below.len()).unwrap_or(u8::MAX);
    let mut code = vec![Instruction { code: 0x35, jump_true: distance, jump_false: 0, k: (first + count / 2) * 8 }];
    code.extend(below);
    code.extend(above);
    code
}
