//! CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: something stands in for `/proc` or `/sys`, and what the
//! runtime writes or checks there is a lie.

use crate::control::{Victim, prove};
use crate::support::{Bundle, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

/// Whether a container with these mounts, and links in its image, starts.
fn starts(victim: Victim, mounts: &Value, links: &[(&str, &str)]) -> bool {
    let bundle = Bundle::new("true", |c| {
        let list = c["mounts"].as_array_mut().unwrap();
        list.retain(|mount| mount["type"] != "proc");
        list.extend(mounts.as_array().unwrap().iter().cloned());
    });
    for name in ["fake/self/attr", "fake/sys", "elsewhere"] {
        fs::create_dir_all(bundle.rootfs().join(name)).unwrap();
        fs::create_dir_all(bundle.path().join(name)).unwrap();
    }
    for (link, to) in links {
        let link = bundle.rootfs().join(link);
        let _not_there = fs::remove_dir(&link);
        symlink(to, link).unwrap();
    }
    victim.run(&bundle).code == 0
}

#[test]
fn cve_2019_16884_a_volume_at_proc() {
    let attack =
        |victim| starts(victim, &json!([{"destination": "/proc", "source": "fake", "options": ["rbind"]}]), &[]);
    prove(attack, &[Victim::Mutant("CVE-2019-19921")]);
}

#[test]
fn cve_2019_16884_a_volume_inside_proc() {
    let mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"},
                        {"destination": "/proc/self/attr", "source": "fake", "options": ["bind"]}]);
    prove(|victim| starts(victim, &mounts, &[]), &[Victim::Mutant("CVE-2019-19921")]);
}

#[test]
fn cve_2019_19921_a_tmpfs_at_proc_by_a_link() {
    let mounts = json!([{"destination": "/here", "type": "tmpfs", "source": "tmpfs"}]);
    prove(|victim| starts(victim, &mounts, &[("here", "/proc")]), &[Victim::Mutant("CVE-2019-19921")]);
}

#[test]
fn cve_2023_27561_proc_is_a_link() {
    let mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    prove(|victim| starts(victim, &mounts, &[("proc", "/elsewhere")]), &[Victim::Mutant("CVE-2023-27561")]);
}

#[test]
fn cve_2023_28642_sys_is_a_link() {
    let mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"},
                        {"destination": "/sys", "type": "sysfs", "source": "sysfs"}]);
    prove(|victim| starts(victim, &mounts, &[("sys", "/elsewhere")]), &[Victim::Mutant("CVE-2023-27561")]);
}

/// What was asked for is in force, as the host's procfs tells it of the process.
#[test]
fn privileges_are_in_force_as_the_host_sees_them() {
    let bundle = Bundle::new("sleep 60", |c| {
        let caps = json!(["CAP_KILL"]);
        c["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps});
        c["process"]["oomScoreAdj"] = json!(123);
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]});
    });
    assert!(Victim::Ours.start(&bundle));
    let pid = bundle.state()["pid"].to_string();
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    wait_until("the program", || read("comm") == "sleep\n" || read("comm") == "sh\n");
    let status = read("status");
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000020",
        "CapInh:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_eq!(read("oom_score_adj"), "123\n");
}
