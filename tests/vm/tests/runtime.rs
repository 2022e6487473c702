//! The OCI runtime's own tests, in guests whose cgroups are laid out as this host's are not.
//!
//! Every test of `skiff-oci` that needs a kernel runs again under cgroup version 2 alone and, with `SKIFF_LONG=1`, under
//! version 1 alone, with both, and on a newer kernel. What the inner tests say is printed, so that they are counted.
//!
//! `SKIFF_VM_SUITES=escapes,limits` runs these files of tests alone, long ones too, and `SKIFF_VM_FILTER=WORD` of them the
//! tests with WORD in their names.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

use skiff_harness::skip;
use skiff_vm::{Command, Error, Guest, Kernel, Layout, Limits, Outcome, Report};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the runtime's tests use that Debian builds as modules. AF_ALG is there to be refused.
const MODULES: &[&str] = &["overlay", "fuse", "veth", "dummy", "bridge", "af_alg", "bfq"];
/// Other runtimes, for tests that compare, and what loads profiles of AppArmor; carried along if they are here.
const PEERS: &[&str] = &["runc-1.1.5", "runc-1.1.15", "runc-1.3", "crun-1.8", "crun-1.21", "apparmor_parser"];
/// Programs that tests use and whose busybox namesakes are not enough.
const TOOLS: &[&str] = &["ip", "setpriv", "nsenter", "unshare", "newuidmap", "newgidmap"];
/// The package under test, and its program.
const RUNTIME: &str = "skiff-oci";
/// How a long test says, past the capture of the test harness, how far it is.
const PROGRESS: &str = "PROGRESS: ";
/// Where a guest has the runtime with old mistakes.
const MUTANT: &str = "/usr/lib/skiff-mutant";
/// The figures of an emulated machine mean nothing.
const LEFT_OUT: &[&str] = &["bench"];
/// Take from four to thirty minutes each: every clause; more than a thousand containers with a fault each; races that must be
/// lost for long enough. Each gets a machine of its own, so that one that hangs or dies costs one suite.
const LONG: &[&str] = &["conformance", "faults", "escapes"];
/// A test that takes a second here takes ten there, and the machine may be busy. A suite with long tests says how far it is.
const LIMITS: Limits = Limits {
    boot: Duration::from_secs(120),
    boots_max: 3,
    total: Duration::from_secs(7200),
    silence: Duration::from_secs(1200),
};

/// What cargo built: a test, or a program that a test starts.
struct Built {
    name: String,
    is_test: bool,
    file: PathBuf,
    /// Where tests look for it.
    place: PathBuf,
}

/// Builds the runtime and its tests as `cargo test` would. Long suites start it some thousand times: for them it is built as
/// it is shipped, which under emulation is several times as fast.
fn build() -> Vec<Built> {
    let mut built = cargo(&["test", "--no-run"]);
    if LONG.iter().any(|name| is_wanted(name)) {
        let shipped = cargo(&["build", "--bin", RUNTIME, "--profile", "static"]).pop().unwrap();
        let runtime = built.iter_mut().find(|program| program.name == RUNTIME && !program.is_test).unwrap();
        runtime.file = shipped.file;
    }
    built
}

/// The programs that a command of cargo builds of the runtime's package.
fn cargo(words: &[&str]) -> Vec<Built> {
    let what = ["--package", RUNTIME, "--locked", "--message-format=json"];
    let mut command = std::process::Command::new(env!("CARGO"));
    let output = command.args(words).args(what).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let built = messages.filter_map(|message| {
        let file = PathBuf::from(message["executable"].as_str()?);
        let target = &message["target"];
        // Neither a program's own unit tests, which need no kernel, nor tests with engines, which need half a Debian.
        let is_test = Path::new(target["src_path"].as_str()?).starts_with(repository().join("runtime/tests"))
            && !LEFT_OUT.iter().any(|name| target["name"] == *name);
        let is_other_test = !is_test && message["profile"]["test"] == true;
        let place = file.clone();
        (!is_other_test).then(|| Built { name: target["name"].as_str().unwrap().to_owned(), is_test, file, place })
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
        guest.program(&program.file, &program.place)?;
    }
    for tool in TOOLS {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|place| Path::new(place).join(tool));
        if let Some(file) = places.iter().find(|file| file.is_file()) {
            guest.program(file, Path::new("/usr/bin").join(tool))?;
        }
    }
    // The controls of the escapes: ours with old mistakes.
    if let Some(mutant) = std::env::var_os("SKIFF_MUTANT").map(PathBuf::from).filter(|file| file.is_file()) {
        guest.program(&mutant, MUTANT)?.env("SKIFF_MUTANT", MUTANT);
    }
    if let Some(peers) = std::env::var_os("SKIFF_PEERS").map(PathBuf::from) {
        guest.env("SKIFF_PEERS", &peers.display().to_string());
        for file in PEERS.iter().map(|name| peers.join(name)).filter(|file| file.is_file()) {
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

/// Runs every test of the runtime in guests, and fails with the names of those that failed.
fn the_runtime_passes(series: &str, layout: Layout) {
    let built = build();
    let tests: Vec<_> = built.iter().filter(|program| program.is_test && is_wanted(&program.name)).collect();
    let (long, short): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| LONG.contains(&test.name.as_str()));
    let groups = [short].into_iter().chain(long.into_iter().map(|test| vec![test]));
    let failed: Vec<_> = groups.flat_map(|tests| failures(series, layout, &built, &tests)).collect();
    assert!(failed.is_empty(), "failed under cgroup {} on {series}, see above: {}", layout.name(), failed.join(", "));
}

/// Runs `tests` in one guest, and returns what failed.
fn failures(series: &str, layout: Layout, built: &[Built], tests: &[&Built]) -> Vec<String> {
    if tests.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
    let commands: Vec<_> = tests.iter().map(|test| command(test, &["--show-output"])).collect();
    let made = Kernel::peer(series).and_then(|kernel| guest(kernel, layout, built));
    match made.and_then(|mut guest| run(guest.cpus(processors(series, &names)), &commands, &names)) {
        Ok(outcome) => report(&outcome, &names, layout),
        Err(error @ Error::Missing { .. }) => {
            skip(&error.to_string());
            Vec::new()
        }
        Err(error) => vec![format!("{}: {error}", names.join(" "))],
    }
}

/// A kernel patches its own code when the first cpuset comes and when the last one goes. Emulated with two processors, 6.12 dies of
/// that (`Oops: int3`) within minutes of a suite that makes a thousand cpusets.
fn processors(series: &str, names: &[&str]) -> u32 {
    let is_long = names.iter().any(|name| LONG.contains(name));
    if is_long && series != "6.1" { 1 } else { 2 }
}

/// Whether this suite is asked for: by name, or because it belongs to every run.
fn is_wanted(name: &str) -> bool {
    match std::env::var("SKIFF_VM_SUITES") {
        Ok(names) => names.split(',').any(|wanted| wanted == name),
        Err(_) => is_long() || !LONG.contains(&name),
    }
}

fn command(test: &Built, words: &[&str]) -> Command {
    let file = test.file.display().to_string();
    let filter = std::env::var("SKIFF_VM_FILTER").ok();
    let words = [file.as_str()].into_iter().chain(filter.as_deref()).chain(words.iter().copied());
    Command::new(words).within(repository().join("runtime").display().to_string())
}

/// Runs the suite and tells how far it is. What it said is shown even if the machine does not live to its end.
fn run(guest: &Guest, commands: &[Command], names: &[&str]) -> skiff_vm::Result<Outcome> {
    let (mut heard, mut begun_line, begun) = (Vec::new(), String::new(), Instant::now());
    let seconds = || begun.elapsed().as_secs();
    let outcome = guest.run_telling(commands, &mut |report| match report {
        Report::Ready { release } => println!("a guest with {release} is ready after {} s", seconds()),
        Report::Out(_, bytes) => heard.extend_from_slice(bytes),
        Report::Err(_, bytes) => {
            heard.extend_from_slice(bytes);
            // What comes at once may end within a line.
            begun_line.push_str(&String::from_utf8_lossy(bytes));
            while let Some((line, rest)) = begun_line.split_once('\n') {
                if line.starts_with(PROGRESS) {
                    println!("{line}");
                }
                begun_line = rest.to_owned();
            }
        }
        Report::Ended(index, code) => {
            let name = usize::try_from(*index).ok().and_then(|index| names.get(index)).unwrap_or(&"?");
            println!("{name} ended with {code} after {} s", seconds());
        }
        _ => (),
    });
    outcome.inspect_err(|_| println!("{}", String::from_utf8_lossy(&heard)))
}

/// Prints what the inner tests said, all of it where one failed, and returns the names of what failed.
fn report(outcome: &Outcome, names: &[&str], layout: Layout) -> Vec<String> {
    let mut failed = Vec::new();
    for (ran, name) in outcome.commands.iter().zip(names) {
        println!("{name} under cgroup {} on {} (code {})", layout.name(), outcome.release, ran.code);
        let (out, err) = (ran.out(), ran.err());
        let is_told = |line: &&str| line.starts_with("test result:") || line.starts_with("SKIPPED:");
        let lines = out.lines().chain(err.lines()).filter(|line| ran.code != 0 || is_told(line));
        lines.for_each(|line| println!("{line}"));
        if ran.code != 0 {
            failed.push((*name).to_owned());
        }
    }
    failed
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
    let outcome = match made.and_then(|mut guest| run(guest.bring(TABLE), &commands, &["conformance"])) {
        Err(error @ Error::Missing { .. }) => return skip(&error.to_string()),
        other => other.unwrap(),
    };
    assert_eq!(outcome.code(), 0, "{}", outcome.commands[0].out());
    std::fs::write(repository().join(file), &outcome.files[TABLE]).unwrap();
}
