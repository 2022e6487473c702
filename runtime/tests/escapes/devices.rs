//! The image puts links and fakes where the runtime makes devices, the console and masks: CVE-2025-31133, CVE-2025-52565,
//! CVE-2026-41579, CVE-2026-47766, CVE-2026-88264, CVE-2026-88265, CVE-2026-115521.

use crate::canary::Canary;
use crate::control::{Victim, prove};
use crate::support::{Bundle, Said, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A bundle whose `/dev` is the image's own.
fn with_dev_of_image(script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = Bundle::new(script, |c| {
        c["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
        change(c);
    });
    fs::write(bundle.rootfs().join("open"), "open to all\n").unwrap();
    bundle
}

#[test]
fn cve_2025_31133_a_null_device_that_is_a_link_masks_nothing() {
    let attack = |victim: Victim| {
        let bundle =
            with_dev_of_image("cat /proc/timer_list", |c| c["linux"]["maskedPaths"] = json!(["/proc/timer_list"]));
        symlink("/open", bundle.rootfs().join("dev/null")).unwrap();
        let said = victim.run(&bundle);
        assert!(said.code == 0 || said.out.is_empty(), "{said:?}");
        !said.out.is_empty()
    };
    prove(attack, &[Victim::Mutant("CVE-2025-31133")]);
}

#[test]
fn cve_2026_88265_a_null_device_that_is_a_file_is_replaced() {
    let attack = |victim: Victim| {
        let bundle = with_dev_of_image("stat -c %t:%T /dev/null; echo still mine", |_| ());
        fs::write(bundle.rootfs().join("dev/null"), "fake").unwrap();
        let said = victim.run(&bundle);
        !said.out.starts_with("1:3\nstill mine")
    };
    prove(attack, &[Victim::Peer("runc-1.1.5"), Victim::Mutant("CVE-2025-31133")]);
}

/// Creates and starts a container with a terminal whose `/dev/console` of the image is a link to `target`. Says what the
/// container found at `/open`.
fn with_console_link(victim: Victim, target: &str) -> String {
    let bundle = with_dev_of_image("stat -c %F /open > /result", |c| {
        c["process"]["terminal"] = json!(true);
        let options = json!(["newinstance", "ptmxmode=0666"]);
        let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options});
        c["mounts"].as_array_mut().unwrap().push(devpts);
    });
    symlink(target, bundle.rootfs().join("dev/console")).unwrap();
    let socket = bundle.path().join("console.sock");
    let _listens = UnixListener::bind(&socket).unwrap();
    let created = victim.says(&bundle, &["create", "--console-socket", socket.to_str().unwrap(), &bundle.id]);
    let mut found = String::new();
    println!("{victim:?} created: {created:?}");
    if created.code == 0 && victim.says(&bundle, &["start", &bundle.id]).code == 0 {
        wait_until("the result", || {
            found = fs::read_to_string(bundle.rootfs().join("result")).unwrap_or_default();
            found.ends_with('\n')
        });
    }
    victim.forget(&bundle);
    found
}

#[test]
fn cve_2025_52565_a_console_that_is_a_link_leads_nowhere() {
    let attack = |victim: Victim| with_console_link(victim, "/open").contains("character");
    prove(attack, &[Victim::Peer("runc-1.1.5"), Victim::Mutant("CVE-2025-52565")]);
}

/// No peer: those of Debian make the console after they have left the host's tree, or resolve it in the root.
#[test]
fn cve_2026_88264_a_console_that_is_a_link_makes_no_file_on_the_host() {
    for way in ["", "../../../../../../../.."] {
        let attack = |victim: Victim| {
            let canary = Canary::new();
            with_console_link(victim, &format!("{way}{}/new", canary.path().display()));
            canary.is_touched()
        };
        prove(attack, &[Victim::Mutant("CVE-2026-88264")]);
    }
}

/// Creates a container with a terminal whose `/dev/pts` is the image's; `fake` puts something at its `ptmx`.
fn with_multiplexer_of_image(victim: Victim, fake: impl FnOnce(&Path)) -> Said {
    let bundle = with_dev_of_image("true", |c| {
        c["process"]["terminal"] = json!(true);
        let options = json!(["newinstance", "ptmxmode=0666"]);
        let other = json!({"destination": "/other", "type": "devpts", "source": "devpts", "options": options});
        c["mounts"].as_array_mut().unwrap().push(other);
    });
    fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
    fake(&bundle.rootfs().join("dev/pts/ptmx"));
    let socket = bundle.path().join("console.sock");
    let _listens = UnixListener::bind(&socket).unwrap();
    let said = victim.says(&bundle, &["create", "--console-socket", socket.to_str().unwrap(), &bundle.id]);
    victim.forget(&bundle);
    said
}

/// Whoever holds the other devpts would read and write the terminal. No peer: they open the multiplexer of a devpts that they
/// have just mounted.
#[test]
fn cve_2025_52565_a_multiplexer_of_the_image_that_leads_to_another_devpts() {
    let attack = |victim: Victim| {
        let said = with_multiplexer_of_image(victim, |ptmx| symlink("/other/ptmx", ptmx).unwrap());
        assert!(said.code == 0 || said.err.contains("terminal.open"), "{said:?}");
        said.code == 0
    };
    prove(attack, &[Victim::Mutant("CVE-2025-52565")]);
}

/// Nothing would come of these even where they are opened.
#[test]
fn cve_2025_52565_a_multiplexer_of_the_image_is_none() {
    let (link, file) = (|ptmx: &Path| symlink("/dev/ptmx", ptmx).unwrap(), |ptmx: &Path| fs::write(ptmx, "").unwrap());
    for said in [with_multiplexer_of_image(Victim::Ours, link), with_multiplexer_of_image(Victim::Ours, file)] {
        assert!(said.code == 1 && said.err.contains("terminal.open"), "{said:?}");
    }
}

/// Whether a `/dev` of the image that is a link lets the runtime make or delete files of the host.
fn dev_link_touches_host(victim: Victim, way: &str) -> bool {
    let canary = Canary::new();
    let bundle = with_dev_of_image("true", |_| ());
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(format!("{way}{}", canary.path().display()), bundle.rootfs().join("dev")).unwrap();
    victim.start(&bundle);
    victim.forget(&bundle);
    canary.is_touched()
}

#[test]
fn cve_2026_41579_a_dev_that_is_an_absolute_link() {
    let controls = [Victim::Peer("runc-1.1.5"), Victim::Mutant("CVE-2026-41579")];
    prove(|victim| dev_link_touches_host(victim, ""), &controls);
}

#[test]
fn cve_2026_47766_a_dev_that_is_a_relative_link() {
    let controls = [Victim::Peer("runc-1.1.5"), Victim::Mutant("CVE-2026-41579")];
    prove(|victim| dev_link_touches_host(victim, "../../../../../../.."), &controls);
}

#[test]
fn cve_2026_115521_a_root_is_read_only_whatever_the_image_has_in_proc() {
    let attack = |victim: Victim| {
        let bundle = with_dev_of_image("touch /written 2>/dev/null; test -e /written && echo written", |c| {
            c["root"]["readonly"] = json!(true);
            c["mounts"] = json!([{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                                 {"destination": "/ro", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}]);
        });
        bundle.applet("test");
        let fds = bundle.rootfs().join("proc/self/fd");
        fs::create_dir_all(&fds).unwrap();
        (0..64).for_each(|number| symlink("/ro", fds.join(number.to_string())).unwrap());
        victim.run(&bundle).out.contains("written")
    };
    prove(attack, &[Victim::Mutant("CVE-2026-115521")]);
}
