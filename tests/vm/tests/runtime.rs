//! The OCI runtime's own tests, in guests whose cgroups are laid out as this host's are not.
//!
//! Every test of `skiff-oci` that needs a kernel runs again under cgroup version 2 alone and, with `SKIFF_LONG=1`, under
//! version 1 alone, with both, and on a newer kernel. What the inner tests say is printed, so that they are counted.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

use skiff_harness::skip;
use skiff_vm::{Command, Error, Guest, Kernel, Layout, Limits, Outcome, Report};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the runtime's tests use that Debian builds as modules.
const MODULES: &[&str] = &["overlay", "fuse", "veth", "dummy", "bridge"];
/// Other runtimes, for tests that compare; carried along if they are here.
const RUNTIMES: &[&str] = &["runc-1.1.5", "runc-1.1.15", "runc-1.3", "crun-1.8", "crun-1.21"];
/// Programs that tests use and whose busybox namesakes are not enough.
const TOOLS: &[&str] = &["ip", "setpriv", "nsenter", "unshare", "newuidmap", "newgidmap"];
/// The figures of an emulated machine mean nothing.
const LEFT_OUT: &[&str] = &["bench"];
/// Take from four to twenty minutes each: every clause; a thousand containers with a fault each; races that must be lost for
/// long enough.
const LONG: &[&str] = &["conformance", "faults", "escapes"];
/// A test that takes a second here takes ten there, and the machine may be busy.
const LIMITS: Limits = Limits {
    boot: Duration::from_secs(120),
    boots_max: 3,
    total: Duration::from_secs(5400),
    silence: Duration::from_secs(1800),
};

/// What cargo built: a test, or a program that a test starts.
struct Built {
    name: String,
    is_test: bool,
    file: PathBuf,
}

/// Builds the runtime and its tests as `cargo test` would.
fn build() -> Vec<Built> {
    let words = ["test", "--package", "skiff-oci", "--no-run", "--locked", "--message-format=json"];
    let output = std::process::Command::new(env!("CARGO")).args(words).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let built = messages.filter_map(|message| {
        let file = PathBuf::from(message["executable"].as_str()?);
        let target = &message["target"];
        // Neither a program's own unit tests, which need no kernel, nor tests with engines, which need half a Debian.
        let is_test = Path::new(target["src_path"].as_str()?).starts_with(repository().join("runtime/tests"))
            && !LEFT_OUT.iter().any(|name| target["name"] == *name)
            && (is_long() || !LONG.iter().any(|name| target["name"] == *name));
        let is_other_test = !is_test && message["profile"]["test"] == true;
        (!is_other_test).then(|| Built { name: target["name"].as_str().unwrap().to_owned(), is_test, file })
    });
    built.collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A guest with everything at the path where the tests were told, at their compilation, that it is.
fn guest(kernel: Kernel, layout: Layout, built: &[Built]) -> skiff_vm::Result<Guest> {
    let mut guest = Guest::new(kernel)?;
    guest.cgroups(layout).memory_mib(2048).limits(LIMITS).disk_mib(2048);
    // Busybox's own shell takes its own programs before those of PATH.
    guest.program("/bin/sh", "/bin/sh")?.busybox(Path::new("/bin/busybox"))?;
    for module in MODULES {
        guest.module(module);
    }
    for program in built {
        guest.program(&program.file, &program.file)?;
    }
    for tool in TOOLS {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|place| Path::new(place).join(tool));
        if let Some(file) = places.iter().find(|file| file.is_file()) {
            guest.program(file, Path::new("/usr/bin").join(tool))?;
        }
    }
    let systemd = Path::new("/usr/lib/systemd");
    if systemd.join("systemd").is_file() {
        guest
            .program(systemd.join("systemd"), systemd.join("systemd"))?
            .add(systemd.join("user"), systemd.join("user"))?;
    }
    if let Some(peers) = std::env::var_os("SKIFF_PEERS").map(PathBuf::from) {
        guest.env("SKIFF_PEERS", &peers.display().to_string());
        for file in RUNTIMES.iter().map(|name| peers.join(name)).filter(|file| file.is_file()) {
            guest.program(&file, &file)?;
        }
    }
    // One test starts a user's systemd, where this host has that program.
    let (systemd, units) = (Path::new("/usr/lib/systemd/systemd"), Path::new("/usr/lib/systemd/user"));
    if systemd.is_file() && units.is_dir() {
        guest.program(systemd, systemd)?;
        guest.add(units, units)?;
    }
    guest.add(repository().join("runtime/tests"), repository().join("runtime/tests"))?;
    guest.env("CARGO_MANIFEST_DIR", &repository().join("runtime").display().to_string());
    Ok(guest)
}

/// Runs every test of the runtime in a guest, and fails with the names of those that failed.
fn the_runtime_passes(series: &str, layout: Layout) {
    let built = build();
    let tests: Vec<_> = built.iter().filter(|program| program.is_test).collect();
    let commands: Vec<_> = tests.iter().map(|test| command(test, &["--show-output"])).collect();
    let made = Kernel::peer(series).and_then(|kernel| guest(kernel, layout, &built));
    let Some(outcome) = made.map_or_else(unavailable, |guest| run(&guest, &commands)) else { return };
    let names: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
    report(&outcome, &names, layout);
    assert_eq!(outcome.code(), 0, "tests failed under cgroup {}, see above", layout.name());
}

fn command(test: &Built, words: &[&str]) -> Command {
    let file = test.file.display().to_string();
    let words = [file.as_str()].into_iter().chain(words.iter().copied());
    Command::new(words).within(repository().join("runtime").display().to_string())
}

/// Runs the suite; what it said is shown even if the machine does not live to its end.
fn run(guest: &Guest, commands: &[Command]) -> Option<Outcome> {
    let mut heard = Vec::new();
    let outcome = guest.run_telling(commands, &mut |report| match report {
        Report::Out(_, bytes) | Report::Err(_, bytes) => heard.extend_from_slice(bytes),
        _ => (),
    });
    outcome.map_or_else(
        |error| {
            println!("{}", String::from_utf8_lossy(&heard));
            unavailable(error)
        },
        Some,
    )
}

/// Skips where this machine lacks something, fails otherwise.
fn unavailable<T>(error: Error) -> Option<T> {
    match error {
        Error::Missing { .. } => skip(&error.to_string()),
        other => panic!("{other}"),
    }
    None
}

/// Prints what the inner tests said, and all of it where one failed.
fn report(outcome: &Outcome, names: &[&str], layout: Layout) {
    for (ran, name) in outcome.commands.iter().zip(names) {
        println!("{name} under cgroup {} on {} (code {})", layout.name(), outcome.release, ran.code);
        let (out, err) = (ran.out(), ran.err());
        let is_told = |line: &&str| line.starts_with("test result:") || line.starts_with("SKIPPED:");
        let lines = out.lines().chain(err.lines()).filter(|line| ran.code != 0 || is_told(line));
        lines.for_each(|line| println!("{line}"));
    }
}

fn is_long() -> bool {
    std::env::var_os("SKIFF_LONG").is_some()
}

#[test]
fn the_runtime_passes_under_version_2() {
    the_runtime_passes("6.1", Layout::V2);
}

#[test]
fn the_runtime_passes_under_version_1() {
    if is_long() {
        the_runtime_passes("6.1", Layout::V1);
    }
}

#[test]
fn the_runtime_passes_under_both_versions() {
    if is_long() {
        the_runtime_passes("6.1", Layout::Hybrid);
    }
}

#[test]
fn the_runtime_passes_under_version_2_of_a_newer_kernel() {
    if is_long() {
        the_runtime_passes("6.12", Layout::V2);
    }
}

/// `SKIFF_CONFORMANCE_TABLE=FILE` writes the table of all runtimes under version 2 (see `runtime/tests/conformance`).
#[test]
fn the_table_of_all_runtimes() {
    const TABLE: &str = "/tmp/table";
    let Some(file) = std::env::var_os("SKIFF_CONFORMANCE_TABLE") else {
        return skip("SKIFF_CONFORMANCE_TABLE is not set");
    };
    let built = build();
    let made = Kernel::peer("6.1").and_then(|kernel| guest(kernel, Layout::V2, &built));
    let test = built.iter().find(|built| built.name == "conformance").unwrap();
    let commands = [command(test, &["the_table"]).env("SKIFF_CONFORMANCE_TABLE", TABLE)];
    let outcome = made.map_or_else(unavailable, |mut guest| run(guest.bring(TABLE), &commands));
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.code(), 0, "{}", outcome.commands[0].out());
    std::fs::write(repository().join(file), &outcome.files[TABLE]).unwrap();
}
