//! What an operator types, with the etcdctl of two releases, against our server.

#![allow(clippy::unwrap_used)]

mod peers;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use peers::{Ours, ours, peer};
use skiff_store::Options;

struct Ctl {
    program: PathBuf,
    url: String,
}

impl Ctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--endpoints", &self.url, "--command-timeout=30s"]).args(args).env("ETCDCTL_API", "3");
        command
    }

    fn output(&self, args: &[&str], input: &str) -> Output {
        use std::io::Write;
        let piped = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What it prints; it must succeed.
    fn says(&self, args: &[&str]) -> String {
        self.says_to(args, "")
    }

    fn says_to(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains; it must fail.
    fn complains(&self, args: &[&str]) -> String {
        let output = self.output(args, "");
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }
}

async fn with_ctl(name: &str, fallback: &str, script: impl FnOnce(&Ctl, &Path) + Send + 'static) {
    let Some(program) = peer(name, fallback) else { return };
    let Ours { url, shutdown, serving, folder, .. } = ours(Options::default()).await;
    let ctl = Ctl { program, url: url.trim_start_matches("http://").to_owned() };
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || script(&ctl, &path)).await.unwrap();
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

fn everything(ctl: &Ctl, _: &Path) {
    keys(ctl);
    transactions(ctl);
    leases(ctl);
    history(ctl);
    watches(ctl);
    operations(ctl);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_5() {
    with_ctl("etcdctl-3.5", "/nonexistent", everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_4() {
    with_ctl("etcdctl-3.4", "/usr/bin/etcdctl", everything).await;
}

fn keys(ctl: &Ctl) {
    for key in ["k/a", "k/b", "k/c"] {
        assert_eq!(ctl.says(&["put", key, "1"]), "OK\n");
    }
    assert_eq!(ctl.says(&["get", "k/a"]), "k/a\n1\n");
    assert_eq!(ctl.says(&["get", "--prefix", "--keys-only", "k/"]), "k/a\n\nk/b\n\nk/c\n\n");
    assert_eq!(
        ctl.says(&["get", "--prefix", "--limit=1", "--order=DESCEND", "--sort-by=KEY", "--print-value-only", "k/"]),
        "1\n"
    );
    assert_eq!(ctl.says(&["get", "--from-key", "--keys-only", "k/b"]), "k/b\n\nk/c\n\n");
    assert_eq!(ctl.says(&["put", "--prev-kv", "k/a", "2"]), "OK\nk/a\n1\n");
    assert_eq!(ctl.says(&["del", "--prev-kv", "k/a"]), "1\nk/a\n2\n");
    assert_eq!(ctl.says(&["del", "--prefix", "k/"]), "2\n");
    assert_eq!(ctl.says(&["del", "--prefix", "k/"]), "0\n");
    assert!(ctl.complains(&["put", "--ignore-value", "absent"]).contains("etcdserver: key not found"));
    assert!(ctl.complains(&["put", "--lease=77", "a", "b"]).contains("etcdserver: requested lease not found"));
}

fn transactions(ctl: &Ctl) {
    let create = "version(\"t/a\") = \"0\"\n\nput t/a 1\nput t/b 1\n\nget t/a\n\n";
    assert_eq!(ctl.says_to(&["txn"], create), "SUCCESS\n\nOK\n\nOK\n");
    assert_eq!(ctl.says_to(&["txn"], create), "FAILURE\n\nt/a\n1\n");
    let both = "value(\"t/a\") = \"1\"\nmod(\"t/b\") > \"1\"\n\ndel t/ t0\n\n\n";
    assert_eq!(ctl.says_to(&["txn"], both), "SUCCESS\n\n2\n");
    let twice = ctl.output(&["txn"], "\nput t/a 1\nput t/a 2\n\n\n");
    assert!(String::from_utf8_lossy(&twice.stderr).contains("duplicate key given in txn request"));
}

fn leases(ctl: &Ctl) {
    let granted = ctl.says(&["lease", "grant", "100"]);
    let id = granted.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(100s)\n"));
    ctl.says(&["put", &format!("--lease={id}"), "l/a", "1"]);
    let left = ctl.says(&["lease", "timetolive", "--keys", &id]);
    assert!(left.contains("granted with TTL(100s)") && left.contains("attached keys([l/a])"), "{left}");
    assert!(ctl.says(&["lease", "list"]).contains(&id));
    assert!(ctl.says(&["lease", "keep-alive", "--once", &id]).contains("keepalived with TTL(100)"));
    assert_eq!(ctl.says(&["lease", "revoke", &id]), format!("lease {id} revoked\n"));
    assert_eq!(ctl.says(&["get", "l/a"]), "");
    assert!(ctl.says(&["lease", "timetolive", &id]).contains("already expired"));
    assert!(ctl.complains(&["lease", "revoke", &id]).contains("etcdserver: requested lease not found"));
}

fn revision(ctl: &Ctl) -> i64 {
    let answer: serde_json::Value = serde_json::from_str(&ctl.says(&["get", "nothing", "-w", "json"])).unwrap();
    answer["header"]["revision"].as_i64().unwrap()
}

fn history(ctl: &Ctl) {
    ctl.says(&["put", "h", "1"]);
    let first = revision(ctl);
    ctl.says(&["put", "h", "2"]);
    assert_eq!(ctl.says(&["get", "h", &format!("--rev={first}")]), "h\n1\n");
    let last = revision(ctl);
    assert_eq!(ctl.says(&["compaction", "--physical", &last.to_string()]), format!("compacted revision {last}\n"));
    let too_old = ctl.complains(&["get", "h", &format!("--rev={first}")]);
    assert!(too_old.contains("etcdserver: mvcc: required revision has been compacted"), "{too_old}");
    let future = ctl.complains(&["get", "h", &format!("--rev={}", last + 10)]);
    assert!(future.contains("etcdserver: mvcc: required revision is a future revision"), "{future}");
}

fn watches(ctl: &Ctl) {
    use std::io::{BufRead, BufReader};
    let first = revision(ctl) + 1;
    ctl.says(&["put", "w/a", "1"]);
    let args = ["watch", "--prefix", "--prev-kv", &format!("--rev={first}"), "w/"];
    let mut child = ctl.command(&args);
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(child.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = |count: usize| lines.by_ref().take(count).collect::<Vec<_>>();
    assert_eq!(next(3), ["PUT", "w/a", "1"], "history");
    ctl.says(&["put", "w/a", "2"]);
    assert_eq!(next(5), ["PUT", "w/a", "1", "w/a", "2"], "the present");
    ctl.says(&["del", "w/a"]);
    assert_eq!(next(5), ["DELETE", "w/a", "2", "w/a", ""]);
}

/// A watch has no end of its own: it is killed when dropped, also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn operations(ctl: &Ctl) {
    let health = ctl.output(&["endpoint", "health"], "");
    let health = [health.stdout, health.stderr].concat();
    assert!(String::from_utf8_lossy(&health).contains("is healthy: successfully committed proposal"));
    assert!(ctl.says(&["endpoint", "status"]).contains(", 3.5.16, "));
    let members = ctl.says(&["member", "list"]);
    assert!(members.contains(", started, default, ") && members.contains(&ctl.url), "{members}");
    assert!(ctl.says(&["defrag"]).contains("Finished defragmenting"));
    assert_eq!(ctl.says(&["alarm", "list"]), "");
    assert!(ctl.complains(&["user", "add", "a:b"]).contains("etcdserver: authentication is not enabled"));
    assert!(ctl.complains(&["move-leader", "12"]).contains("bad leader transferee"));
    let locked = ctl.says(&["lock", "name", "echo", "held"]);
    assert!(locked.contains("held"), "{locked}");
}
