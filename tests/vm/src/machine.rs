//! One virtual machine: a QEMU process under software emulation, and what it writes on its two serial ports.
//!
//! QEMU writes both ports to files, and we read what is added. There is no socket that could be connected too late and no
//! pipe that could be full, and when something goes wrong the files are still there to be looked at.

use crate::disk::Drive;
use crate::error::{Error, On, Result};
use skiff_vm_init::frame::Decoder;
use skiff_vm_init::report::Report;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const QEMU: &str = "qemu-system-x86_64";
/// How many lines of a console tell what happened.
const LAST_LINES: usize = 60;
/// `panic=-1` restarts at a panic, which `-no-reboot` turns into an end. The timer check is known to fail under emulation on
/// a busy host. Mitigations cost time and protect nothing here.
const KERNEL_WORDS: &str = "console=ttyS0 panic=-1 no_timer_check mitigations=off nokaslr random.trust_cpu=on audit=0";

/// What a machine is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) disk: Option<Drive>,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) kernel_words: String,
}

/// A running machine. It ends with its owner: dropped, or killed in whatever way.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Child,
    folder: PathBuf,
    console: File,
    reports: File,
    decoder: Decoder,
    console_text: Vec<u8>,
}

impl Machine {
    /// Starts a machine that leaves its traces in `folder`.
    pub(crate) fn start(parts: &Parts, folder: &Path) -> Result<Self> {
        let made = |name: &str| {
            let path = folder.join(name);
            File::create(&path).on("create", path.display())
        };
        let (output, _, _) = (made("qemu")?, made("console")?, made("reports")?);
        let errors = output.try_clone().on("duplicate", "QEMU's output")?;
        // Our own end, by whatever signal, must not leave a machine behind; setpriv passes that wish on to QEMU.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", QEMU]).args(arguments(parts, folder));
        let qemu = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().on("start", "setpriv")?;
        let opened = |name: &str| File::open(folder.join(name)).on("open", name);
        Ok(Self {
            qemu,
            folder: folder.to_owned(),
            console: opened("console")?,
            reports: opened("reports")?,
            decoder: Decoder::default(),
            console_text: Vec::new(),
        })
    }

    /// What has come since the last call: whether anything has, and the complete reports in it.
    pub(crate) fn listen(&mut self) -> Result<(bool, Vec<Report>)> {
        let mut bytes = Vec::new();
        let of_console = self.console.read_to_end(&mut self.console_text).on("read", "the guest's console")?;
        let of_reports = self.reports.read_to_end(&mut bytes).on("read", "the guest's reports")?;
        self.decoder.feed(&bytes);
        let mut reports = Vec::new();
        let garbled = || Error::Died { trouble: "its reports are garbled".to_owned(), console: String::new() };
        while let Some(frame) = self.decoder.next_frame().map_err(|_| garbled())? {
            reports.push(Report::parse(frame).map_err(|_| garbled())?);
        }
        Ok((of_console + of_reports > 0, reports))
    }

    /// Whether QEMU has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.qemu.try_wait().on("wait for", QEMU)?.is_some())
    }

    /// Everything on the console so far.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.console_text).replace('\r', "")
    }

    /// The end of the console, and what QEMU itself had to say.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read_to_string(self.folder.join("qemu")).unwrap_or_default();
        let console = self.console();
        let lines: Vec<_> = console.lines().chain(said.lines()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.qemu.kill().on("kill", QEMU)?;
        self.qemu.wait().on("wait for", QEMU).map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Only the child itself can refuse, by having ended already.
        let _has_ended = self.kill();
    }
}

/// Whether QEMU can be started here, for those who want to know before they prepare anything.
///
/// # Errors
/// [`Error::Missing`].
pub fn check_qemu() -> Result<()> {
    match Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::Missing {
            what: QEMU.to_owned(),
            remedy: "Debian has it in the package qemu-system-x86".to_owned(),
        }),
    }
}

/// QEMU's command line. Emulation in software even where KVM is: the same everywhere, and nested KVM hangs in places.
/// The machine type `pc`, because `microvm` hangs now and then. Without `cx16`, because QEMU 7.2 now and then delivers an
/// interrupt after `cmpxchg16b` with wrong flags, of which newer kernels die; they do without that instruction.
fn arguments(parts: &Parts, folder: &Path) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    let words = [
        "-no-user-config -nodefaults -display none -monitor none -no-reboot -accel tcg,thread=multi -M pc -cpu max,la57=off,cx16=off",
        &format!("-smp {} -m {}", parts.cpus, parts.memory_mib),
    ];
    let mut arguments: Vec<_> = words.join(" ").split(' ').map(str::to_owned).collect();
    for name in ["console", "reports"] {
        arguments.extend(["-serial".to_owned(), format!("file:{}", shown(&folder.join(name)))]);
    }
    arguments.extend(["-kernel".to_owned(), shown(&parts.kernel), "-initrd".to_owned(), shown(&parts.initramfs)]);
    arguments.extend(["-append".to_owned(), format!("{KERNEL_WORDS} {}", parts.kernel_words).trim().to_owned()]);
    arguments.extend(parts.disk.iter().flat_map(Drive::arguments));
    arguments
}
