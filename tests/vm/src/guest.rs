//! A guest as a suite describes it, and its run from the first file to the outcome.

use crate::disk::{Disk, Drive};
use crate::error::{Error, On, Result};
use crate::files::{Content, Files, Node};
use crate::kernel::{self, Kernel};
use crate::machine::{Machine, Parts, check_qemu};
use crate::outcome::Outcome;
use crate::watch::{Limits, Verdict, Watch};
use skiff_vm_init::plan::{Command, Layout, Plan};
use skiff_vm_init::report::Report;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

/// Process 1, built by this crate's build script.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
/// How often we look for news.
const POLL: Duration = Duration::from_millis(20);
/// How long a machine may take to switch itself off once everything is said.
const OFF_PATIENCE: Duration = Duration::from_secs(5);
const FOLDERS: &[&str] = &["/.vm/root", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr/bin", "/var/lib"];
const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUPS: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A machine that is still being described. It is not started before [`Guest::run`], and every run is a machine of its own.
///
/// ```no_run
/// # fn main() -> skiff_vm::Result<()> {
/// let mut guest = skiff_vm::Guest::new(skiff_vm::Kernel::peer("6.1")?)?;
/// guest.busybox("/bin/busybox".as_ref())?;
/// let outcome = guest.run(&[skiff_vm::Command::new(["cat", "/proc/version"])])?;
/// println!("{} said {}", outcome.commands[0].code, outcome.commands[0].out());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Guest {
    kernel: Kernel,
    files: Files,
    plan: Plan,
    module_names: Vec<String>,
    disk: Disk,
    memory_mib: u32,
    cpus: u32,
    kernel_words: String,
    limits: Limits,
}

impl Guest {
    /// A guest with this kernel, two processors, 1 GiB of memory, cgroups of version 2, and no program but process 1.
    ///
    /// # Errors
    /// Never for a path; the type leaves room.
    pub fn new(kernel: Kernel) -> Result<Self> {
        let mut files = Files::default();
        for folder in FOLDERS {
            files.put(folder, Node::Folder { mode: 0o755 })?;
        }
        files.put("/tmp", Node::Folder { mode: 0o1777 })?;
        // Without it the kernel gives process 1 no stdio, and its last lines would be lost.
        files.put("/dev/console", Node::Device { mode: 0o600, major: 5, minor: 1 })?;
        files.put("/init", Node::File { content: Content::Bytes(INIT.to_vec()), mode: 0o755 })?;
        files.text("/etc/passwd", ACCOUNTS)?;
        files.text("/etc/group", GROUPS)?;
        files.text("/etc/hostname", "guest\n")?;
        files.text("/etc/hosts", "127.0.0.1 localhost guest\n")?;
        let environment = ["HOME=/root", PATH, "TERM=dumb"].map(str::to_owned).to_vec();
        Ok(Self {
            kernel,
            files,
            plan: Plan { environment, ..Plan::default() },
            module_names: Vec::new(),
            disk: Disk::default(),
            memory_mib: 1024,
            cpus: 2,
            kernel_words: String::new(),
            limits: Limits::default(),
        })
    }

    /// How cgroups are mounted.
    pub fn cgroups(&mut self, layout: Layout) -> &mut Self {
        self.plan.layout = layout;
        self
    }

    /// Memory in MiB. The guest's files live in it, too.
    pub fn memory_mib(&mut self, mib: u32) -> &mut Self {
        self.memory_mib = mib;
        self
    }

    /// How many processors.
    pub fn cpus(&mut self, count: u32) -> &mut Self {
        self.cpus = count;
        self
    }

    /// How long it may take.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// A kernel module to load, with those it needs, unless it is built in.
    pub fn module(&mut self, name: &str) -> &mut Self {
        self.module_names.push(name.to_owned());
        self
    }

    /// Words for the kernel's command line.
    pub fn kernel_words(&mut self, words: &str) -> &mut Self {
        self.kernel_words = words.to_owned();
        self
    }

    /// A disk, `/dev/vda`, with an ext4 filesystem of that size at `/scratch`, where `TMPDIR` points.
    pub fn disk_mib(&mut self, mib: u64) -> &mut Self {
        self.disk.mib = mib;
        self
    }

    /// Leaves that much of the disk behind its filesystem to whoever writes to `/dev/vda`.
    pub fn disk_raw_mib(&mut self, mib: u64) -> &mut Self {
        self.disk.raw_mib = mib;
        self
    }

    /// Logs every write and flush of the disk to files in `folder`; see [`crate::WriteLog`].
    pub fn log_writes(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.disk.log = Some(folder.into());
        self
    }

    /// A variable for every command.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.plan.environment.push(format!("{name}={value}"));
        self
    }

    /// A file to bring back; see [`Outcome::files`].
    pub fn bring(&mut self, path: &str) -> &mut Self {
        self.plan.bring.push(path.to_owned());
        self
    }

    /// Copies the host's file, link or folder `source` to `path`, modes included.
    ///
    /// # Errors
    /// It cannot be read, or `path` is not absolute.
    pub fn add(&mut self, source: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.files.copy(source.as_ref(), path.as_ref())?;
        Ok(self)
    }

    /// Copies the host's program `source` to `path`, and with it, to where they are on the host, the loader and the libraries
    /// that it needs.
    ///
    /// # Errors
    /// As for [`Guest::add`]; or a library is not there.
    pub fn program(&mut self, source: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.files.program(source.as_ref(), path.as_ref())?;
        Ok(self)
    }

    /// An empty folder.
    ///
    /// # Errors
    /// `path` is not absolute.
    pub fn folder(&mut self, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.files.put(path, Node::Folder { mode: 0o755 })?;
        Ok(self)
    }

    /// A file with that text.
    ///
    /// # Errors
    /// `path` is not absolute.
    pub fn text(&mut self, path: &str, text: &str) -> Result<&mut Self> {
        self.files.text(path, text)?;
        Ok(self)
    }

    /// The busybox in the file `program` as `/bin/busybox`, and a link in `/bin` for each of its applets.
    ///
    /// # Errors
    /// It cannot be read or does not tell its applets.
    pub fn busybox(&mut self, program: &Path) -> Result<&mut Self> {
        self.files.program(program, Path::new("/bin/busybox"))?;
        let listed = process::Command::new(program).arg("--list").output().on("run", program.display())?;
        for applet in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            let path = Path::new("/bin").join(applet);
            if !self.files.has(&path) {
                self.files.put(path, Node::Link { target: "busybox".into() })?;
            }
        }
        Ok(self)
    }

    /// Whether something is at `path` of the guest.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.files.has(path)
    }

    /// Starts the machine, runs `commands` one after the other, and waits for its end.
    ///
    /// # Errors
    /// QEMU is missing, the machine does not boot, hangs or dies. A command that fails is no error.
    pub fn run(&self, commands: &[Command]) -> Result<Outcome> {
        self.run_telling(commands, &mut |_| ())
    }

    /// As [`Guest::run`], and tells `listener` every report when it arrives.
    ///
    /// # Errors
    /// As for [`Guest::run`].
    pub fn run_telling(&self, commands: &[Command], listener: &mut dyn FnMut(&Report)) -> Result<Outcome> {
        check_qemu()?;
        let folder = tempfile::Builder::new().prefix("skiff-vm-").tempdir().on("make", "a temporary folder")?;
        let parts = self.parts(commands, folder.path())?;
        let mut boots = 0;
        loop {
            boots += 1;
            parts.disk.as_ref().map_or(Ok(()), Drive::begin)?;
            let mut machine = Machine::start(&parts, folder.path())?;
            let mut outcome = Outcome::of(commands, boots);
            match self.attend(&mut machine, &mut outcome, listener)? {
                End::Done => return Ok(outcome),
                End::NotBooted if boots < self.limits.boots_max => (),
                End::NotBooted => return Err(Error::NotBooted { boots, console: machine.last_words() }),
            }
        }
    }

    /// Writes what QEMU needs into `folder`.
    fn parts(&self, commands: &[Command], folder: &Path) -> Result<Parts> {
        let (mut files, mut plan) = (self.files.clone(), self.plan.clone());
        let mut names = self.module_names.clone();
        if self.disk.mib == 0 && (self.disk.raw_mib > 0 || self.disk.log.is_some()) {
            return Err(Error::Refused("a disk with a log or an end of its own has a filesystem first".to_owned()));
        }
        let disk = (self.disk.mib > 0).then(|| self.disk.make(folder)).transpose()?;
        if disk.is_some() {
            names.extend(["virtio_pci".to_owned(), "virtio_blk".to_owned()]);
            plan.disk = Some("/dev/vda".to_owned());
            plan.environment.push(format!("TMPDIR={}", skiff_vm_init::SCRATCH));
        }
        for (number, module) in self.kernel.modules(&names)?.into_iter().enumerate() {
            let path = format!("/.vm/modules/{number}.ko");
            files.put(&path, Node::File { content: Content::Bytes(kernel::content(&module)?), mode: 0o644 })?;
            plan.modules.push(path);
        }
        plan.commands = commands.to_vec();
        files.put(skiff_vm_init::PLAN, Node::File { content: Content::Bytes(plan.encode()), mode: 0o600 })?;
        let initramfs = folder.join("initramfs");
        files.write(BufWriter::new(File::create(&initramfs).on("create", initramfs.display())?))?;
        Ok(Parts {
            kernel: self.kernel.file().to_owned(),
            initramfs,
            disk,
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            kernel_words: self.kernel_words.clone(),
        })
    }

    fn attend(&self, machine: &mut Machine, outcome: &mut Outcome, listener: &mut dyn FnMut(&Report)) -> Result<End> {
        let mut watch = Watch::new(self.limits, Instant::now());
        loop {
            // Asked before listening: what an ended machine said last is heard all the same.
            let has_ended = machine.has_ended()?;
            let (is_news, reports) = machine.listen()?;
            if is_news {
                watch.heard(Instant::now());
            }
            for report in reports {
                listener(&report);
                match report {
                    Report::Done => return last_report(machine, outcome),
                    Report::Trouble(trouble) => return Err(Error::Died { trouble, console: machine.last_words() }),
                    Report::Ready { release } => {
                        watch.ready(Instant::now());
                        outcome.release = release;
                    }
                    other => outcome.take(other),
                }
            }
            match watch.verdict(Instant::now()) {
                Verdict::GoOn if !has_ended => std::thread::sleep(POLL),
                Verdict::GoOn if watch.is_ready() => {
                    let trouble = "without a word".to_owned();
                    return Err(Error::Died { trouble, console: machine.last_words() });
                }
                Verdict::GoOn | Verdict::HangsInBoot => return Ok(End::NotBooted),
                Verdict::Stop(why) => return Err(Error::Stopped { why, console: machine.last_words() }),
            }
        }
    }
}

/// How one boot ended.
enum End {
    Done,
    NotBooted,
}

/// The suite is done; the machine switches itself off, or is switched off.
fn last_report(machine: &mut Machine, outcome: &mut Outcome) -> Result<End> {
    let begun = Instant::now();
    while !machine.has_ended()? && begun.elapsed() < OFF_PATIENCE {
        std::thread::sleep(POLL);
    }
    machine.listen()?;
    outcome.console = machine.console();
    Ok(End::Done)
}
