//! CVE-2024-21626: a descriptor of the host is open in the container, or its working directory is one.

use crate::canary::Canary;
use crate::control::{Victim, prove};
use crate::support::Bundle;
use serde_json::json;
use std::fs;

/// Descriptors that are tried: more than the runtime ever has open.
const TRIED: u32 = 40;
const TRIED_LONG: u32 = 1023;

fn tried() -> u32 {
    if std::env::var_os("SKIFF_LONG").is_some() { TRIED_LONG } else { TRIED }
}

/// Whether a container whose working directory is one of its descriptors reaches the host.
fn reaches_host(victim: Victim) -> bool {
    let canary = Canary::new();
    let relative = canary.path().strip_prefix("/").unwrap().display().to_string();
    // A directory in which the runtime's descriptor may lie deeper or higher: the way up is the same.
    let script = format!("cat {relative}/file || cat ../../../../../../../{relative}/file");
    let bundle = Bundle::new(&script, |_| ());
    let text = fs::read_to_string(bundle.config()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    (0..=tried()).any(|number| {
        config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        fs::write(bundle.config(), config.to_string()).unwrap();
        let said = victim.run(&bundle);
        assert!(!canary.is_touched());
        said.out.contains("of the host")
    })
}

#[test]
fn cve_2024_21626_a_working_directory_that_is_a_descriptor() {
    prove(reaches_host, &[Victim::Mutant("CVE-2024-21626")]);
}

#[test]
fn cve_2024_21626_the_same_by_exec() {
    let bundle = Bundle::new("sleep 60", |_| ());
    bundle.start();
    for number in 0..=tried() {
        let cwd = format!("/proc/self/fd/{number}");
        let said =
            bundle.oci(&["exec", "--cwd", &cwd, &bundle.id, "ls", "bin/busybox", "../../../../../../etc/hostname"]);
        assert!(!said.out.contains("etc/hostname"), "{cwd}: {said:?}");
    }
}

/// Whether anything but standard streams is open in the container's first process.
fn leaks(victim: Victim) -> bool {
    let bundle = Bundle::new("ls /proc/1/fd; true", |_| ());
    victim.run(&bundle).out != "0\n1\n2\n"
}

#[test]
fn cve_2024_21626_no_descriptor_is_left_open() {
    prove(leaks, &[Victim::Mutant("CVE-2024-21626")]);
}
