//! A machine out of a bare kernel: filesystems, modules, loopback, and the end.

use crate::{On, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chdir, chroot, sethostname, sync};
use skiff_sys::netlink::{Family, Message, Socket};
use skiff_vm_init::SCRATCH;
use std::fs::{self, File};
use std::time::{Duration, Instant};

/// Where the initramfs is bound to, before it becomes the root.
const NEW_ROOT: &str = "/.vm/root";
/// What systemd allows services to raise their open files to.
const OPEN_FILES_MAX: u64 = 524_288;
/// A device shows up a little after its driver is loaded; later than this it does not come.
const DEVICE_PATIENCE: Duration = Duration::from_secs(10);

/// Makes the root a mount that pivot_root(2) can leave. The kernel refuses to pivot away from its initial filesystem, so
/// no container could start there; a bind of that filesystem over itself is an ordinary mount.
pub(crate) fn enter_root() -> Result<()> {
    mount(Some("/"), NEW_ROOT, None::<&str>, MsFlags::MS_BIND, None::<&str>).on("bind / to", NEW_ROOT)?;
    chdir(NEW_ROOT).on("chdir", NEW_ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).on("move to /", NEW_ROOT)?;
    chroot(".").on("chroot", NEW_ROOT)?;
    chdir("/").on("chdir", "/")?;
    // As systemd leaves it: what containers do with mounts must be right on hosts whose mounts travel.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>).on("share", "/")
}

/// Mounts what every Linux system has, except what would hide files that were brought: `/run` and `/tmp` are the root's,
/// which is memory anyway.
pub(crate) fn mount_filesystems() -> Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let table = [
        ("proc", "/proc", plain, ""),
        ("sysfs", "/sys", plain, ""),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=755"),
        ("devpts", "/dev/pts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"),
        ("tmpfs", "/dev/shm", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777"),
        ("mqueue", "/dev/mqueue", plain, ""),
    ];
    for (kind, at, flags, options) in table {
        fs::create_dir_all(at).on("mkdir", at)?;
        mount(Some(kind), at, Some(kind), flags, Some(options)).on(&format!("mount {kind}"), at)?;
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        std::os::unix::fs::symlink(target, format!("/dev/{name}")).on("symlink", name)?;
    }
    sethostname("guest").on("sethostname", "guest")?;
    setrlimit(Resource::RLIMIT_NOFILE, 1024, OPEN_FILES_MAX).on("setrlimit", "RLIMIT_NOFILE")
}

/// Loads the module in the file `path`; what it needs is loaded already.
pub(crate) fn load_module(path: &str) -> Result<()> {
    let file = File::open(path).on("open", path)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Err(Errno::EEXIST) => Ok(()),
        result => result.on("finit_module", path),
    }
}

/// Mounts the disk where commands are told to put what is temporary. Devices and setuid programs work there, as they do on
/// the disk of most hosts: roots of containers are put there.
pub(crate) fn mount_disk(disk: &str) -> Result<()> {
    let begun = Instant::now();
    while !fs::exists(disk).on("stat", disk)? && begun.elapsed() < DEVICE_PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::create_dir_all(SCRATCH).on("mkdir", SCRATCH)?;
    mount(Some(disk), SCRATCH, Some("ext4"), MsFlags::empty(), None::<&str>).on("mount /scratch from", disk)?;
    fs::set_permissions(SCRATCH, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).on("chmod", SCRATCH)
}

/// Switches the loopback interface on (rtnetlink(7), `RTM_NEWLINK`).
pub(crate) fn bring_up_loopback() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    // struct ifinfomsg: family and padding, type, index (loopback is always 1), flags, which flags change.
    let header: Vec<u8> = [0, 1, IFF_UP, IFF_UP].into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut socket = Socket::open(Family::Route).on("open", "rtnetlink")?;
    socket.request(Message::new(RTM_NEWLINK, 0, &header)).on("switch on", "lo").map(drop)
}

/// The kernel's version.
pub(crate) fn release() -> Result<String> {
    let path = "/proc/sys/kernel/osrelease";
    Ok(fs::read_to_string(path).on("read", path)?.trim().to_owned())
}

/// The end of process 1, and so of the machine.
pub(crate) fn switch_off() -> ! {
    // To everybody but process 1; ESRCH when nobody is left.
    let _nobody_left = kill(Pid::from_raw(-1), Signal::SIGKILL);
    sync();
    let failed = reboot(RebootMode::RB_POWER_OFF);
    // The kernel panics when process 1 ends, and the host sees that.
    panic!("switch off: {failed:?}");
}
