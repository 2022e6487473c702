//! `skiff-vm run … -- COMMAND…`: a command in a virtual machine, as if it had run here.

use clap::{Args, Parser, Subcommand};
use skiff_vm::{Command, Error, Guest, Kernel, Layout, Limits, Outcome, Report};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Exit code when the watchdog ended it, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// Exit code when it was not the command that failed, as engines have it.
const NOT_RUN: u8 = 125;

/// Runs a suite in a virtual machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Boots a machine, runs COMMAND in it and exits with its exit code (124: it took too long, 125: the machine failed).
    ///
    /// The machine has busybox (if this host has a busybox), whatever --add and --program bring, and COMMAND itself, when
    /// that is a file of this host. It is emulated in software: expect a boot of some 10 s, and a tenth of the host's speed.
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// A kernel image with everything built in.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel_package")]
    kernel: Option<PathBuf>,
    /// An unpacked kernel package: a folder with boot/vmlinuz-VERSION and lib/modules/VERSION. Without it and --kernel,
    /// Debian's 6.1 in the folder that SKIFF_PEERS names.
    #[arg(long, value_name = "DIR")]
    kernel_package: Option<PathBuf>,
    /// How cgroups are mounted: v1, v2 or hybrid.
    #[arg(long, value_name = "LAYOUT", default_value = "v2", value_parser = layout)]
    cgroup: Layout,
    /// Memory, in MiB. The files live in it, too.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Processors.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    cpus: u32,
    /// Seconds that COMMAND may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Seconds that it may be silent.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    silence: u64,
    /// A file or folder of the host, and where it goes.
    #[arg(long, value_name = "SRC:DEST", value_parser = pair)]
    add: Vec<(String, String)>,
    /// A program of the host with the libraries that it needs, and where it goes.
    #[arg(long, value_name = "SRC:DEST", value_parser = pair)]
    program: Vec<(String, String)>,
    /// A kernel module to load, with those it needs.
    #[arg(long, value_name = "NAME", default_values_t = ["overlay".to_owned()])]
    module: Vec<String>,
    /// A disk of that many MiB, /dev/vda, with ext4 at /scratch, which TMPDIR names.
    #[arg(long, value_name = "MIB")]
    disk: Option<u64>,
    /// That many MiB behind the filesystem, for whoever writes to /dev/vda.
    #[arg(long, value_name = "MIB", default_value_t = 0, requires = "disk")]
    raw: u64,
    /// Log every write and flush of the disk: DIR/before is the disk as it was, DIR/writes what came then, as dm-log-writes
    /// has it.
    #[arg(long, value_name = "DIR", requires = "disk")]
    log_writes: Option<PathBuf>,
    /// An environment variable of COMMAND.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A file of the guest to bring back, and where it goes.
    #[arg(long, value_name = "SRC:DEST", value_parser = pair)]
    fetch: Vec<(String, String)>,
    /// Where to write the kernel's console.
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// What to run.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn layout(name: &str) -> Result<Layout, String> {
    Layout::named(name).ok_or_else(|| "v1, v2 or hybrid".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':').filter(|(source, to)| !source.is_empty() && !to.is_empty());
    pair.map(|(source, to)| (source.to_owned(), to.to_owned())).ok_or_else(|| "not of the form SRC:DEST".to_owned())
}

fn main() -> ExitCode {
    let Action::Run(run) = Cli::parse().action;
    match perform(&run) {
        Ok(outcome) => ExitCode::from(u8::try_from(outcome.code()).unwrap_or(NOT_RUN)),
        Err(error) => {
            eprintln!("skiff-vm: {error}");
            ExitCode::from(if matches!(error, Error::Stopped { .. }) { TIMED_OUT } else { NOT_RUN })
        }
    }
}

fn perform(run: &Run) -> skiff_vm::Result<Outcome> {
    let guest = describe(run)?;
    let mut command = Command::new(&run.command);
    command.environment.clone_from(&run.env);
    let outcome = guest.run_telling(&[command], &mut show)?;
    if let Some(file) = &run.console {
        write(file, outcome.console.as_bytes())?;
    }
    for (source, to) in &run.fetch {
        let missing = || Error::Refused(format!("{source}: not there after the command"));
        write(Path::new(to), outcome.files.get(source).ok_or_else(missing)?)?;
    }
    Ok(outcome)
}

fn describe(run: &Run) -> skiff_vm::Result<Guest> {
    let kernel = match (&run.kernel, &run.kernel_package) {
        (Some(file), _) => Kernel::image(file),
        (None, Some(folder)) => Kernel::package(folder)?,
        (None, None) => Kernel::peer("6.1")?,
    };
    let mut guest = Guest::new(kernel)?;
    let seconds = Duration::from_secs;
    let limits = Limits { total: seconds(run.timeout), silence: seconds(run.silence), ..Limits::default() };
    guest.cgroups(run.cgroup).memory_mib(run.memory).cpus(run.cpus).limits(limits);
    if run.kernel.is_none() {
        for name in &run.module {
            guest.module(name);
        }
    }
    if let Some(mib) = run.disk {
        guest.disk_mib(mib).disk_raw_mib(run.raw);
    }
    if let Some(folder) = &run.log_writes {
        guest.log_writes(folder);
    }
    for (source, to) in &run.add {
        guest.add(source, to)?;
    }
    for (source, to) in &run.program {
        guest.program(source, to)?;
    }
    for (source, _) in &run.fetch {
        guest.bring(source);
    }
    let busybox = Path::new("/bin/busybox");
    if busybox.exists() {
        guest.busybox(busybox)?;
    }
    let program = Path::new(&run.command[0]);
    if run.command[0].contains('/') && program.is_file() && !guest.has(program) {
        guest.program(program, program)?;
    }
    Ok(guest)
}

/// What the command says, said here.
fn show(report: &Report) {
    // A reader that went away does not stop the machine.
    let _gone = match report {
        Report::Out(_, bytes) => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        Report::Err(_, bytes) => io::stderr().write_all(bytes),
        _ => Ok(()),
    };
}

fn write(file: &Path, bytes: &[u8]) -> skiff_vm::Result<()> {
    let failed = |source| Error::Io { operation: "write", operand: file.display().to_string(), source };
    std::fs::write(file, bytes).map_err(failed)
}
