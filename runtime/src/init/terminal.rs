//! The container's terminal: made inside, its master sent out.

use crate::error::{Acts, Error, On, Result};
use crate::mutant;
use crate::spec::Process;
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};
use skiff_sys::inroot::{InRoot, Kind, is_character_device};
use skiff_sys::mount::{Depth, attach, copy};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

const CONSOLE: &str = "/dev/console";
/// linux/magic.h
const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);

/// Makes a terminal, puts it on `/dev/console`, on our standard descriptors and in control of our session, and sends its
/// master through `console`.
///
/// # Errors
/// There is no devpts at `/dev/pts`, or nobody takes the master.
pub(crate) fn give(acts: &Acts, root: &InRoot, process: &Process, console: &UnixStream) -> Result<()> {
    let slave = open_and_send(acts, root, process, console)?;
    acts.step(&steps::MOUNT_ATTACH, CONSOLE, || {
        attach(copy(slave.as_fd(), Depth::One)?.as_fd(), console_place(root)?.as_fd())
    })?;
    take(&slave)
}

/// A link of the image in its place could lead anywhere in the container, to a file of procfs too (CVE-2025-52565).
fn console_place(root: &InRoot) -> std::result::Result<OwnedFd, Errno> {
    let console = Path::new(CONSOLE);
    if mutant::has("CVE-2026-88264") {
        // The mistake: the host resolves the link.
        let path = skiff_sys::fd::path_of(root.root()).join("dev/console");
        return Ok(std::fs::File::create(path).map_err(|_| Errno::EIO)?.into());
    }
    match root.place_nofollow(console) {
        Err(Errno::ENOENT) => root.make(console, Kind::File),
        Ok(_) if mutant::has("CVE-2025-52565") => root.make(console, Kind::File),
        Ok(place) => match SFlag::from_bits_truncate(fstat(&place)?.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFLNK => Err(Errno::ELOOP),
            _ => Ok(place),
        },
        Err(errno) => Err(errno),
    }
}

/// The same for a process that joins: `/dev/console` stays the first one's.
///
/// # Errors
/// As for [`give`].
pub(crate) fn give_joined(acts: &Acts, root: &InRoot, process: &Process, console: &UnixStream) -> Result<()> {
    take(&open_and_send(acts, root, process, console)?)
}

fn open_and_send(acts: &Acts, root: &InRoot, process: &Process, console: &UnixStream) -> Result<OwnedFd> {
    let master = acts.step(&steps::TERMINAL_OPEN, "/dev/pts/ptmx", || open_master(root))?;
    let slave = skiff_sys::terminal::peer(master.as_fd()).on(steps::TERMINAL_OPEN.id, "peer")?;
    fchown(&slave, Some(Uid::from_raw(process.uid)), None).on("give terminal to", process.uid)?;
    if let Some((columns, rows)) = process.terminal.filter(|size| *size != (0, 0)) {
        skiff_sys::pass::set_window_size(master.as_fd(), columns, rows).on("size", "terminal")?;
    }
    acts.step(&steps::TERMINAL_SEND, "console socket", || {
        skiff_sys::pass::send_with_fds(console.as_fd(), b"/dev/ptmx", &[master.as_fd()])
    })?;
    Ok(slave)
}

/// The image may have put anything there (CVE-2025-52565); only a devpts' own multiplexer is one.
fn open_master(root: &InRoot) -> std::result::Result<OwnedFd, Errno> {
    let ptmx = Path::new("/dev/pts/ptmx");
    if mutant::has("CVE-2025-52565") {
        return root.open(ptmx, OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty());
    }
    let place = root.place_nofollow(ptmx)?;
    if fstatfs(&place)?.filesystem_type() != DEVPTS_SUPER_MAGIC || !is_character_device(place.as_fd(), 5, 2)? {
        return Err(Errno::ENODEV);
    }
    root.open(ptmx, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW, Mode::empty())
}

fn take(slave: &OwnedFd) -> Result<()> {
    skiff_sys::terminal::make_controlling(slave.as_fd()).on("control", "terminal")?;
    dup2_stdin(slave).on("use", "terminal")?;
    dup2_stdout(slave).on("use", "terminal")?;
    dup2_stderr(slave).on("use", "terminal")
}

/// Connects to the socket at `path` that wants the master.
///
/// # Errors
/// Nobody listens.
pub(crate) fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).on("connect to console socket", path.display())
}

/// Checks that a terminal and a console socket come together.
///
/// # Errors
/// One comes without the other.
pub(crate) fn check(process: &Process, socket: Option<&Path>) -> Result<()> {
    match (process.terminal, socket) {
        (Some(_), None) => Err(Error::Usage("process.terminal is set: --console-socket is needed".to_owned())),
        (None, Some(_)) => Err(Error::Usage("--console-socket is given, but process.terminal is not set".to_owned())),
        _ => Ok(()),
    }
}
