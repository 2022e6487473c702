//! CVE-2022-29162, CVE-2022-24769, CVE-2022-27650: capabilities that a program without any can inherit; CVE-2022-0811: kernel
//! parameters of the host; CVE-2022-4318: a home that is a line of `/etc/passwd`.

use crate::control::{Victim, prove};
use crate::support::{Bundle, Said};
use serde_json::json;
use std::fs;
use std::process::Command;

fn with_capabilities() -> Bundle {
    Bundle::new("grep CapInh /proc/self/status; sleep 60", |c| {
        let caps = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        c["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps});
    })
}

const NONE: &str = "CapInh:\t0000000000000000\n";

#[test]
fn cve_2022_29162_nothing_is_inheritable() {
    let attack = |victim: Victim| {
        let bundle = with_capabilities();
        assert!(victim.start(&bundle));
        crate::support::wait_until("output", || bundle.output().ends_with('\n'));
        let first = bundle.output() != NONE;
        let words = ["exec", "--cap", "CAP_CHOWN", &bundle.id, "grep", "CapInh", "/proc/self/status"];
        let exec = victim.says(&bundle, &words).ok() != NONE;
        assert_eq!(first, exec);
        first
    };
    prove(attack, &[Victim::Mutant("CVE-2022-29162")]);
}

/// What stands for the host is a network namespace of the test's own, in which runtime and container both are.
#[test]
fn cve_2022_0811_a_parameter_of_a_shared_namespace_is_refused() {
    let attack = |victim: Victim| {
        let parameter = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let bundle = Bundle::new(&format!("cat {parameter}"), |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "network");
            c["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "77"});
        });
        let inner = victim.command(&bundle, &["run", &bundle.id]);
        let mut outer = Command::new("unshare");
        outer.arg("--net").arg(inner.get_program()).args(inner.get_args()).current_dir(bundle.path());
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Said::of(outer.output().unwrap()).out.trim() == "77"
    };
    prove(attack, &[Victim::Mutant("CVE-2022-0811")]);
}

/// No control: a mutant would have to change this host.
#[test]
fn cve_2022_0811_parameters_of_the_host_are_refused() {
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "kernel.modprobe",
        "kernel.hotplug",
        "vm.overcommit_memory",
        "fs.binfmt_misc.register",
        "fs.suid_dumpable",
        "kernel.shm_rmid_forced=1+kernel.core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "net..kernel.core_pattern",
        "/proc/sys/kernel/core_pattern",
        "net/ipv4/../../../kernel/core_pattern",
        "kernel.shmmax\n",
        "kernel.hostname/../core_pattern",
        "",
        "fs.mqueue.../../kernel/core_pattern",
        "../sysrq-trigger",
        "net.ipv4.conf.all.forwarding\u{0}x",
    ] {
        let bundle = Bundle::new("true", |c| c["linux"]["sysctl"] = json!({name: "|/evil"}));
        let said = bundle.run();
        assert!(said.code == 1, "{name:?}: {said:?}");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";

#[test]
fn cve_2022_4318_a_newline_in_home_makes_nobody_root() {
    let attack = |victim: Victim| {
        let bundle = Bundle::new("cat /etc/passwd", |c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"]["env"] = json!(["PATH=/bin", "HOME=/home/web\nmallory::0:0::/:/bin/sh"]);
        });
        fs::write(bundle.rootfs().join("etc/passwd"), PASSWD).unwrap();
        let said = victim.run(&bundle).ok();
        let is_open = said.contains("\nmallory::0:0:");
        assert!(is_open || said == PASSWD, "{said}");
        is_open
    };
    prove(attack, &[Victim::Mutant("CVE-2022-4318")]);
}

#[test]
fn cve_2022_4318_a_home_of_the_image_has_no_control_characters() {
    let attack = |victim: Victim| {
        let bundle = Bundle::new("echo \"<$HOME>\"", |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        let line = "web:x:1000:1000::/home/web\u{1b}[2J\r:/bin/sh\n";
        fs::write(bundle.rootfs().join("etc/passwd"), format!("{PASSWD}{line}")).unwrap();
        let said = victim.run(&bundle).ok();
        let is_open = said.contains('\u{1b}');
        assert!(is_open || said == "</>\n", "{said:?}");
        is_open
    };
    prove(attack, &[Victim::Mutant("CVE-2022-4318")]);
}
