//! Links that lead a mount, a folder or a write of the runtime out of the root, before or while it works: CVE-2021-30465,
//! CVE-2024-45310, CVE-2025-52881, CVE-2025-62161, CVE-2025-62596.

use crate::canary::Canary;
use crate::control::{Victim, prove};
use crate::support::{Bundle, wait_until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn cve_2021_30465_a_target_that_is_a_link() {
    for way in ["", "../../../../../../../.."] {
        let attack = |victim: Victim| {
            let canary = Canary::new();
            let bundle = Bundle::new("true", |c| {
                let mount = json!({"destination": "/data/made/here", "type": "tmpfs", "source": "tmpfs"});
                c["mounts"].as_array_mut().unwrap().push(mount);
            });
            symlink(format!("{way}{}", canary.path().display()), bundle.rootfs().join("data")).unwrap();
            victim.run(&bundle);
            canary.is_touched()
        };
        prove(attack, &[Victim::Mutant("CVE-2021-30465")]);
    }
}

/// What an attacker with a hand in a shared volume puts in the place of a folder.
#[derive(Debug, Clone, Copy)]
enum Swap {
    AbsoluteLink,
    RelativeLink,
    LinkToItself,
    File,
    Fifo,
    Nothing,
    /// A folder whose inside leads out.
    FolderWithLink,
}

const SWAPS: &[Swap] = &[
    Swap::AbsoluteLink,
    Swap::RelativeLink,
    Swap::LinkToItself,
    Swap::File,
    Swap::Fifo,
    Swap::Nothing,
    Swap::FolderWithLink,
];

impl Swap {
    fn perform(self, place: &Path, canary: &Path) {
        fs::rename(place, place.with_extension("away")).unwrap();
        match self {
            Self::AbsoluteLink => symlink(canary, place).unwrap(),
            Self::RelativeLink => symlink(format!("../../../../../../../..{}", canary.display()), place).unwrap(),
            Self::LinkToItself => symlink(place.file_name().unwrap(), place).unwrap(),
            Self::File => fs::write(place, "").unwrap(),
            Self::Fifo => assert!(Command::new("mkfifo").arg(place).status().unwrap().success()),
            Self::Nothing => (),
            Self::FolderWithLink => {
                fs::create_dir(place).unwrap();
                symlink(canary, place.join("deep")).unwrap();
            }
        }
    }
}

/// The container's first process, stopped before a step; or none, if it did not come to that.
fn stopped_child(create: &mut Child) -> Option<String> {
    let children = format!("/proc/{0}/task/{0}/children", create.id());
    let mut found = None;
    wait_until("a stop or an end", || {
        let child = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let is_stopped = fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| stat.contains(") T "));
        found = is_stopped.then_some(child);
        found.is_some() || create.try_wait().unwrap().is_some()
    });
    found
}

/// Stops the creation before the `count`th `step`, swaps a folder of a volume, lets it go on. Answers whether it came to the
/// stop, and whether the host was touched.
fn race(victim: Victim, step: &str, count: u32, swap: Swap) -> (bool, bool) {
    let canary = Canary::new();
    let bundle = Bundle::new("sleep 60", |c| {
        c["mounts"].as_array_mut().unwrap().extend([
            json!({"destination": "/vol", "source": "shared", "options": ["rbind"]}),
            json!({"destination": "/vol/inner/deep/made", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/vol/inner/deep/file", "source": "shared/file", "options": ["bind"]}),
        ]);
        // The first process of a pid namespace would ignore a SIGSTOP of its own (pid_namespaces(7)).
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]);
        c["process"]["cwd"] = json!("/vol/inner/deep/cwd");
        c["linux"]["maskedPaths"] = json!(["/vol/inner/deep/masked"]);
        c["linux"]["readonlyPaths"] = json!(["/vol/inner/deep/locked"]);
        c["linux"]["devices"] = json!([{"path": "/vol/inner/deep/null", "type": "c", "major": 1, "minor": 3}]);
    });
    let shared = bundle.path().join("shared");
    for name in ["masked", "locked"] {
        fs::create_dir_all(shared.join("inner/deep").join(name)).unwrap();
    }
    fs::write(shared.join("file"), "").unwrap();
    let out = fs::File::create(bundle.path().join("out")).unwrap();
    let mut command = victim.command(&bundle, &["create", &bundle.id]);
    command.env("SKIFF_FAULT", format!("{step}:{count}=stop")).stdout(out.try_clone().unwrap()).stderr(out);
    let mut create = command.spawn().unwrap();
    let stopped = stopped_child(&mut create);
    if let Some(pid) = &stopped {
        swap.perform(&shared.join("inner"), canary.path());
        Command::new("kill").args(["-s", "CONT", pid]).stderr(Stdio::null()).status().unwrap();
    }
    create.wait().unwrap();
    let is_mounted = bundle.oci(&["state", &bundle.id]).code == 0 && {
        let pid = bundle.state()["pid"].to_string();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        // The fourth field is what of a filesystem is shown (proc_pid_mountinfo(5)). Where it is shown is inside the root,
        // also in a folder with the canary's name, which is made where a link leads to nothing there.
        let canary = canary.path().to_str().unwrap();
        mounts.lines().any(|line| line.split(' ').nth(3).is_some_and(|shown| shown.contains(canary)))
    };
    (stopped.is_some(), is_mounted || canary.is_touched())
}

/// Before the targets inside the volume are looked up, and before each is mounted on.
const MOUNTS: &[(&str, u32)] =
    &[("mount.target", 5), ("mount.target", 6), ("mount.attach", 4), ("mount.attach", 5), ("mount.attach", 6)];
/// Before devices and links are made, paths hidden and locked, the root changed.
const OTHERS: &[(&str, u32)] =
    &[("device.create", 7), ("device.link", 1), ("path.readonly", 1), ("path.mask", 1), ("rootfs.pivot", 1)];

/// Every stop with every swap.
fn any_race_succeeds(victim: Victim, stops: &[(&str, u32)]) -> bool {
    for (step, count) in stops {
        for swap in SWAPS {
            let (stopped, touched) = race(victim, step, *count, *swap);
            if touched {
                println!("{victim:?}: {step}:{count} with {swap:?} touches the host");
                return true;
            }
            assert!(stopped, "nothing was raced at {step}:{count}");
        }
    }
    false
}

#[test]
fn cve_2021_30465_a_target_that_becomes_a_link() {
    prove(|victim| any_race_succeeds(victim, MOUNTS), &[Victim::Mutant("CVE-2021-30465")]);
}

#[test]
fn cve_2024_45310_no_file_appears_on_the_host() {
    // The mutant makes the mistake for targets of mounts; it shows that such a swap is noticed.
    let stops = |victim| if matches!(victim, Victim::Ours) { OTHERS } else { MOUNTS };
    prove(|victim| any_race_succeeds(victim, stops(victim)), &[Victim::Mutant("CVE-2021-30465")]);
}

/// Another container that shares a mount has bound a file of the host over a kernel parameter when the runtime writes it.
fn redirects_write(victim: Victim) -> bool {
    let canary = Canary::new();
    let parameter = "rootfs/proc/sys/net/ipv4/ip_forward";
    let bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_forward; sleep 60", |_| ());
    let script = format!("mount --bind {}/file {}/{parameter}", canary.path().display(), bundle.path().display());
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let env = json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    config["hooks"] = json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-ec", script], "env": env}]});
    fs::write(bundle.config(), config.to_string()).unwrap();
    assert!(victim.start(&bundle), "{}", bundle.output());
    let pid = bundle.state()["pid"].to_string();
    let own =
        Command::new("nsenter").args(["-t", &pid, "-n", "cat", "/proc/sys/net/ipv4/ip_forward"]).output().unwrap();
    let touched = canary.is_touched();
    assert_eq!(String::from_utf8_lossy(&own.stdout) == "1\n", !touched, "the parameter itself is set, or the file is");
    touched
}

#[test]
fn cve_2025_52881_a_write_to_procfs_is_not_redirected() {
    prove(redirects_write, &[Victim::Mutant("CVE-2025-52881")]);
}
