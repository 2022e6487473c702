//! The command line as engines use it: what they pass, what they parse, what they ask for that we have not.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use support::{Bundle, Said, wait_until};

fn plain(script: &str) -> Bundle {
    Bundle::new(script, |_| ())
}

#[test]
fn checkpoint_is_no_command_not_even_for_help() {
    let bundle = plain("true");
    for words in [&["checkpoint", "--help"][..], &["checkpoint", "--image-path", "/x", "id"], &["restore", "id"]] {
        let said = bundle.oci(words);
        assert_eq!(said.code, 1, "{words:?}");
        assert!(said.err.contains("left out on purpose"), "{said:?}");
    }
}

#[test]
fn the_logs_last_line_is_the_error() {
    let bundle = plain("true");
    let log = bundle.path().join("log.json").display().to_string();
    let said = bundle.oci(&["--log", &log, "--log-format=json", "--debug", "start", "nobody"]);
    assert_eq!(said.code, 1);
    let last = fs::read_to_string(&log).unwrap().lines().last().unwrap().to_owned();
    let line: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str()),
        (Some("error"), Some("container does not exist: nobody"))
    );
    // Go's time.RFC3339 reads it with and without a fraction.
    let time = line["time"].as_str().unwrap();
    assert!(time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
    assert_eq!(bundle.oci(&["--log-format", "xml", "list"]).code, 1);
    let plain_log = bundle.path().join("log.txt").display().to_string();
    bundle.oci(&["--log", &plain_log, "state", "nobody"]);
    assert!(fs::read_to_string(&plain_log).unwrap().contains("level=error msg=\"container does not exist: nobody\""));
}

/// Fault O13: engines and people look for `level=` on standard error, and find warnings there too. With a log file the level
/// is in the file, and standard error has the sentence alone; as with runc, beside which this runs where it is.
#[test]
fn failures_and_warnings_have_a_level() {
    let bundle = |runtime: Option<&str>| {
        let bundle = Bundle::new("true", |c| {
            c["process"]["args"] = json!(["nonesuch"]);
            c["process"]["capabilities"] = json!({"bounding": ["CAP_FLY"]});
        });
        match runtime {
            Some(name) => bundle.by_peer(name),
            None => Some(bundle),
        }
    };
    for bundle in [None, Some("runc-1.1.15"), Some("runc-1.3")].into_iter().filter_map(bundle) {
        let said = bundle.run();
        assert_eq!(said.code, 1);
        let levels: Vec<_> = said.err.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(levels, ["level=warning", "level=error"], "{said:?}");
        assert!(said.err.contains("CAP_FLY") && said.err.lines().all(|line| line.starts_with("time=\"")), "{said:?}");
        let log = bundle.path().join("log");
        let said = bundle.oci(&["--log", log.to_str().unwrap(), "run", &bundle.id]);
        assert!(said.err.lines().count() == 1 && said.err.contains("nonesuch"), "{said:?}");
        assert!(!said.err.contains("level="), "{said:?}");
        assert_eq!(fs::read_to_string(&log).unwrap().matches("level=").count(), 2);
    }
}

/// Fault O7: one record that is no JSON, or no record at all, is a warning in a list, and goes by force, with what runs there.
#[test]
fn a_damaged_record_is_only_its_own_containers() {
    let (whole, damaged) = (plain("sleep 60"), plain("sleep 60"));
    whole.start();
    let in_whole = |words: &[&str]| {
        let root = whole.root();
        damaged.oci(&[&["--root", root.to_str().unwrap()], words].concat())
    };
    let out = fs::File::create(damaged.path().join("out")).unwrap();
    let root = whole.root();
    let words = ["--root", root.to_str().unwrap(), "run", "--detach", &damaged.id];
    assert!(damaged.command(&words).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap().success());
    fs::write(root.join(&damaged.id).join("state.json"), "{\"ociVersion\": ").unwrap();
    fs::write(root.join("a-file"), "").unwrap();
    let listed = in_whole(&["list", "--quiet"]);
    assert_eq!((listed.code, listed.out.as_str()), (0, format!("{}\n", whole.id).as_str()), "{listed:?}");
    assert!(listed.err.contains("level=warning") && listed.err.contains("state.json"), "{listed:?}");
    for words in [&["state"][..], &["delete"], &["start"]] {
        let said = in_whole(&[words, &[&damaged.id]].concat());
        assert!(said.code == 1 && said.err.contains("state.json"), "{words:?}: {said:?}");
    }
    in_whole(&["delete", "--force", &damaged.id]).ok();
    assert!(!root.join(&damaged.id).exists() && damaged.cgroups_left().is_empty());
    assert_eq!(whole.status(), "running");
}

#[test]
fn a_failed_exec_is_255_and_everything_else_1() {
    let bundle = plain("sleep 60");
    bundle.start();
    assert_eq!(bundle.oci(&["exec", &bundle.id, "nonesuch"]).code, 255);
    assert_eq!(bundle.oci(&["exec", "nobody", "true"]).code, 255);
    assert_eq!(bundle.oci(&["exec", &bundle.id, "sh", "-c", "exit 1"]).code, 1);
    for words in
        [&["create", &bundle.id][..], &["kill", "nobody"], &["delete", &bundle.id], &["nonsense"], &["--nonsense"]]
    {
        assert_eq!(bundle.oci(words).code, 1, "{words:?}");
    }
    for _ in 0..3 {
        assert_eq!(bundle.oci(&["delete", "--force", &bundle.id]).code, 0);
    }
}

#[test]
fn without_pivot_the_hosts_tree_is_gone_all_the_same() {
    let script = "ls /; grep -c ' / / ' /proc/self/mountinfo; cd /..; ls -d bin etc tmp";
    let bundle = plain(script);
    let said = bundle.oci(&["run", "--no-pivot", &bundle.id]);
    assert!(said.out.contains("bin") && !said.out.contains("rootfs"), "{said:?}");
    assert_eq!(said.code, 0, "{said:?}");
    let bundle = plain("sleep 60");
    let out = fs::File::create(bundle.path().join("out")).unwrap();
    let words = ["create", "--no-pivot", "--no-new-keyring", &bundle.id];
    assert!(bundle.command(&words).stdout(out).status().unwrap().success());
    assert_eq!(bundle.oci(&["start", &bundle.id]).code, 0);
    let mounts = "cat /proc/self/mountinfo; ls /";
    let inside = bundle.oci(&["exec", &bundle.id, "sh", "-c", mounts]).ok();
    assert!(inside.ends_with("bin\ndev\netc\nproc\nsys\ntmp\n"), "{inside}");
}

/// Serial numbers of the keyrings that root sees (proc_keys(5)).
fn keyrings(table: &str) -> BTreeSet<String> {
    let rings = table.lines().filter(|line| line.contains("keyring") && line.contains("_ses"));
    rings.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_callers_session_keyring_stays_outside_unless_asked() {
    let Ok(before) = fs::read_to_string("/proc/keys") else { return };
    let run = |words: &[&str]| {
        let bundle = plain("cat /proc/keys");
        let trace = bundle.path().join("trace");
        let said =
            Said::of(bundle.command(&[words, &[&bundle.id]].concat()).env("SKIFF_TRACE", &trace).output().unwrap());
        (said.ok(), fs::read_to_string(trace).unwrap().contains("session.keyring"))
    };
    let (inside, has_step) = run(&["run"]);
    assert!(has_step);
    assert!(!keyrings(&inside).is_subset(&keyrings(&before)), "no keyring was made:\n{before}\n{inside}");
    let (_, has_step) = run(&["run", "--no-new-keyring"]);
    assert!(!has_step);
}

#[test]
fn every_option_of_runc_is_known_before_and_after_the_id() {
    let bundle = plain("true");
    let pid_file = bundle.path().join("pid").display().to_string();
    let directory = bundle.path().display().to_string();
    for words in [
        vec!["--rootless=auto", "--criu", "x", "--debug", "run", "--no-new-keyring", "--preserve-fds=0", &bundle.id],
        vec!["run", &bundle.id, "--bundle", &directory, "--pid-file", &pid_file, "--no-subreaper"],
        vec!["--root", "/nonexistent-and-replaced", "--root", "ROOT", "run", "-b", &directory, &bundle.id],
    ] {
        let root = bundle.root().display().to_string();
        let words: Vec<_> = words.into_iter().map(|word| if word == "ROOT" { root.as_str() } else { word }).collect();
        let said = bundle.oci(&words);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
    }
    assert!(fs::read_to_string(&pid_file).unwrap().parse::<u32>().unwrap() > 1);
    let version = bundle.oci(&["--version"]).ok();
    let mut lines = version.lines();
    assert!(lines.next().unwrap().starts_with("skiff-oci version "));
    assert!(lines.next().unwrap().starts_with("spec: 1."), "{version}");
}

/// Whoever is on the way in when a container ends hears that, whichever of its namespaces or processes went first.
#[test]
fn an_exec_that_a_containers_end_overtakes_says_so() {
    for count in 1..=2 {
        let bundle = plain("sleep 1000");
        bundle.start();
        let mut exec = bundle.command(&["exec", &bundle.id, "true"]);
        let exec = exec.env("SKIFF_FAULT", format!("ns.join:{count}=stop")).stderr(Stdio::piped()).spawn().unwrap();
        let is_stopped =
            |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|line| line.contains(") T "));
        let mut stopped = String::new();
        wait_until("a stop on the way in", || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", exec.id())).unwrap_or_default();
            let own = exec.id().to_string();
            stopped = std::iter::once(own.as_str())
                .chain(children.split_whitespace())
                .find(|pid| is_stopped(pid))
                .unwrap_or_default()
                .to_owned();
            !stopped.is_empty()
        });
        bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
        wait_until("its end", || bundle.status() == "stopped");
        Command::new("kill").args(["-s", "CONT", &stopped]).stderr(Stdio::null()).status().unwrap();
        let said = exec.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            !said.status.success() && words.contains("cannot exec in a container that is stopped: "),
            "{count}: {words}"
        );
    }
}
