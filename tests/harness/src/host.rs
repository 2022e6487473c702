//! What a test asks of the host before it starts a server, and a disk that it can fill.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::net::TcpListener;
use std::path::Path;

/// A port of the loopback that nobody listens on. Somebody else may take it before we do; then the test fails to start its server and
/// says so.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it was bound").port()
}

/// Whether files of `folder` are in memory, where writing them durably costs nothing.
///
/// # Panics
/// There is no such folder.
#[must_use]
pub fn is_in_memory(folder: &Path) -> bool {
    let kind = statfs(folder).unwrap_or_else(|error| panic!("statfs {}: {error}", folder.display()));
    kind.filesystem_type() == TMPFS_MAGIC
}

/// Does `test` on a thread of its own with a filesystem of that size (`64m`), which only the thread and the processes that it starts
/// see.
///
/// # Panics
/// It cannot be mounted, or `test` panics.
pub fn with_small_disk(size: &str, test: impl FnOnce(&Path) + Send) {
    let folder = tempfile::Builder::new().prefix("skiff-test-disk-").tempdir().expect("there are temporary folders");
    let (at, none) = (folder.path(), None::<&str>);
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts in the namespace");
            let options = format!("size={size}");
            mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mount a tmpfs");
            test(at);
            umount2(at, MntFlags::MNT_DETACH).expect("unmount the tmpfs");
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Memory of a process that is in RAM (VmRSS of proc_pid_status(5)), in bytes.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
}

/// The parameter of a bench in `SKIFF_BENCH_<name>`.
///
/// # Panics
/// It is given and not understood.
pub fn bench_parameter<T: std::str::FromStr>(name: &str, default: T) -> T {
    let given = std::env::var(format!("SKIFF_BENCH_{name}")).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("SKIFF_BENCH_{name}={text} is not understood")))
}

/// Processor time that a process has taken since it was started, in user and kernel mode (proc_pid_stat(5)).
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn processor_time(pid: u32) -> std::time::Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The program's name, in parentheses, may contain spaces. utime and stime are the 14th and 15th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).expect("known").expect("known");
    std::time::Duration::from_secs_f64(ticks as f64 / per_second as f64)
}
