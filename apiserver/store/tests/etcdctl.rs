//! What an operator types, with the etcdctl of two releases, against our server and against a real etcd 3.5, with the same
//! expectations. What differs is named by [`Ctl::real`]: we announce 3.5.16, and nobody can join. A snapshot
//! moves from us to an etcd and back.

#![allow(clippy::unwrap_used)]

mod peers;

use peers::{Ours, ours, ours_over, peer, real_etcd, real_etcd_with};
use skiff_store::{Options, Store};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

struct Ctl {
    program: PathBuf,
    url: String,
    /// Whether it talks to an etcd.
    real: bool,
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
        // It may have made up its mind before it read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
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

    /// What it prints as JSON.
    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.says(args)).unwrap()
    }

    /// What it complains; it must fail.
    fn complains(&self, args: &[&str]) -> String {
        let output = self.output(args, "");
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }
}

async fn with_ctl(name: &str, fallback: &str, script: fn(&Ctl, &Path)) {
    let Some(program) = peer(name, fallback) else { return };
    let Ours { url, shutdown, serving, folder, .. } = ours(Options::default()).await;
    let ctl = Ctl { program, url: url.trim_start_matches("http://").to_owned(), real: false };
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || script(&ctl, &path)).await.unwrap();
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

async fn with_ctl_on_etcd(name: &str, fallback: &str, script: fn(&Ctl, &Path)) {
    let (Some(program), Some(etcd)) = (peer(name, fallback), peer("etcd-3.5", "/nonexistent")) else { return };
    let etcd = real_etcd(&etcd).await;
    let ctl = Ctl { program, url: etcd.url.trim_start_matches("http://").to_owned(), real: true };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::spawn_blocking(move || script(&ctl, folder.path())).await.unwrap();
}

fn everything(ctl: &Ctl, folder: &Path) {
    keys(ctl);
    reading(ctl);
    transactions(ctl);
    leases(ctl);
    history(ctl);
    watches(ctl);
    operations(ctl);
    members_and_users(ctl);
    members(ctl);
    users(ctl);
    snapshots(ctl, folder);
    mirror(ctl);
    line(ctl);
}

/// Its verdict depends on the machine and what else it does, so it is shown and not judged.
fn performance(ctl: &Ctl, _: &Path) {
    let output = ctl.output(&["check", "perf", "--load=s", "--command-timeout=120s"], "");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let verdict: Vec<_> = said.rsplit('\r').next().unwrap_or_default().lines().collect();
    eprintln!("check perf on {}: {verdict:?}", if ctl.real { "etcd" } else { "ours" });
    assert!(said.contains("writes/s") && !said.contains("Too many errors"), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_5() {
    with_ctl("etcdctl-3.5", "/nonexistent", everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_4() {
    with_ctl("etcdctl-3.4", "/usr/bin/etcdctl", everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_5_on_etcd() {
    with_ctl_on_etcd("etcdctl-3.5", "/nonexistent", everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_3_4_on_etcd() {
    with_ctl_on_etcd("etcdctl-3.4", "/usr/bin/etcdctl", everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_perf() {
    if std::env::var_os("SKIFF_LONG").is_none() {
        // Two minutes of load are for the long run.
        return;
    }
    with_ctl("etcdctl-3.5", "/nonexistent", performance).await;
    with_ctl_on_etcd("etcdctl-3.5", "/nonexistent", performance).await;
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
    ctl.json(&["get", "nothing", "-w", "json"])["header"]["revision"].as_i64().unwrap()
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
    let status = ctl.json(&["endpoint", "status", "-w", "json"]);
    let status = &status[0]["Status"];
    assert!(status["version"].as_str().unwrap().starts_with("3.5."), "{status}");
    assert_eq!(status["leader"], status["header"]["member_id"]);
    assert!(status["dbSize"].as_i64().unwrap() > 0 && status["errors"].is_null());
    assert!(ctl.says(&["endpoint", "status", "-w", "table"]).contains("IS LEADER"));
    let hashed = ctl.json(&["endpoint", "hashkv", "-w", "json"]);
    assert!(hashed[0]["HashKV"]["hash"].as_i64().unwrap() > 0, "{hashed}");
    let members = ctl.says(&["member", "list"]);
    assert!(members.contains(", started, default, ") && members.contains(&ctl.url), "{members}");
    assert!(ctl.says(&["defrag"]).contains("Finished defragmenting"));
    assert_eq!(ctl.says(&["alarm", "list"]), "");
    assert_eq!(ctl.says(&["alarm", "disarm"]), "");
}

fn members_and_users(ctl: &Ctl) {
    let complains = |args: &[&str], what: &str| {
        let said = ctl.complains(args);
        assert!(said.contains(what), "{args:?}: {said}");
    };
    complains(&["move-leader", "12"], "bad leader transferee");
    complains(&["member", "remove", "12"], "etcdserver: member not found");
    complains(&["member", "promote", "12"], "etcdserver: member not found");
    complains(&["auth", "enable"], "etcdserver: root user does not exist");
    complains(&["user", "get", "a"], "etcdserver: user name not found");
    complains(&["user", "delete", "a"], "etcdserver: user name not found");
    complains(&["role", "get", "a"], "etcdserver: role name not found");
    assert_eq!(ctl.says(&["auth", "disable"]), "Authentication Disabled\n");
    assert_eq!((ctl.says(&["user", "list"]), ctl.says(&["role", "list"])), (String::new(), String::new()));
    let large = String::from_utf8_lossy(&ctl.output(&["put", "large"], &"x".repeat(1_600_000)).stderr).into_owned();
    assert!(large.contains("etcdserver: request is too large"), "{large}");
}

/// One member: what is told of it is changed, and what would make more or less of it is refused.
fn members(ctl: &Ctl) {
    let complains = |args: &[&str], what: &str| {
        let said = ctl.complains(args);
        assert!(said.contains(what), "{args:?}: {said}");
    };
    let list = ctl.says(&["member", "list"]);
    let id = list.split(',').next().unwrap();
    let (first, both) =
        ("--peer-urls=http://127.0.0.1:7001", "--peer-urls=http://127.0.0.1:7001,https://b.example:7002");
    let updated = ctl.says(&["member", "update", id, both]);
    // Filled up with blanks, where a list gives an id as short as it is.
    let words: Vec<&str> = updated.split_whitespace().take(5).collect();
    assert_eq!(words, ["Member", id, "updated", "in", "cluster"], "{updated}");
    let list = ctl.says(&["member", "list"]);
    let wanted =
        format!("{id}, started, default, http://127.0.0.1:7001,https://b.example:7002, http://{}, false\n", ctl.url);
    assert_eq!(list, wanted);
    assert!(ctl.says(&["member", "list", "-w", "table"]).contains("IS LEARNER"));
    complains(&["member", "update", "12", first], "etcdserver: member not found");
    complains(&["member", "add", "b", first], "etcdserver: Peer URLs already exists");
    complains(&["member", "add", "b", "--learner", first], "etcdserver: Peer URLs already exists");
    let few = "etcdserver: re-configuration failed due to not enough started members";
    complains(&["member", "remove", id], few);
    complains(&["member", "promote", id], "etcdserver: can only promote a learner member");
    let moved = ctl.says(&["move-leader", id]);
    assert_eq!(moved, format!("Leadership transferred from {id} to {id}\n"));
    ctl.says(&["member", "update", id, first]);
    assert!(ctl.says(&["member", "list"]).contains(", http://127.0.0.1:7001, "));
    if !ctl.real {
        // An etcd takes one, and waits for it from then on.
        for kind in ["--learner", "--learner=false"] {
            complains(&["member", "add", "b", kind, "--peer-urls=http://127.0.0.1:1"], "not implemented by this store");
        }
    }
}

/// Root, and ann, who may read what is below a prefix and write one key of it; then everybody may everything again.
fn users(ctl: &Ctl) {
    let complains = |args: &[&str], what: &str| {
        let said = ctl.complains(args);
        assert!(said.contains(what), "{args:?}: {said}");
    };
    ctl.says(&["user", "add", "root:top"]);
    ctl.says(&["user", "grant-role", "root", "root"]);
    ctl.says(&["user", "add", "ann:secret"]);
    complains(&["user", "add", "ann:secret"], "etcdserver: user name already exists");
    ctl.says(&["role", "add", "reads"]);
    ctl.says(&["role", "grant-permission", "reads", "read", "--prefix", "users/"]);
    ctl.says(&["role", "grant-permission", "reads", "readwrite", "users/ann"]);
    ctl.says(&["user", "grant-role", "ann", "reads"]);
    ctl.says(&["put", "users/ben", "1"]);
    ctl.says(&["auth", "enable"]);
    complains(&["get", "users/ben"], "etcdserver: user name is empty");
    complains(
        &["get", "users/ben", "--user", "ann:wrong"],
        "etcdserver: authentication failed, invalid user ID or password",
    );
    let ann = ["--user", "ann:secret"];
    let as_ann = |args: &[&'static str]| [args, &ann[..]].concat();
    assert_eq!(ctl.says(&as_ann(&["get", "--prefix", "users/"])), "users/ben\n1\n");
    assert_eq!(ctl.says(&as_ann(&["put", "users/ann", "2"])), "OK\n");
    complains(&as_ann(&["put", "users/ben", "2"]), "etcdserver: permission denied");
    complains(&as_ann(&["get", "--prefix", "user"]), "etcdserver: permission denied");
    complains(&as_ann(&["user", "list"]), "etcdserver: permission denied");
    assert!(ctl.says(&as_ann(&["user", "get", "ann"])).contains("reads"));
    let root = ["--user", "root:top"];
    let as_root = |args: &[&'static str]| [args, &root[..]].concat();
    assert_eq!(ctl.says(&as_root(&["user", "list"])), "ann\nroot\n");
    let shown = ctl.says(&as_root(&["role", "get", "reads"]));
    assert!(shown.contains("KV Read:") && shown.contains("[users/, users0)") && shown.contains("users/ann"), "{shown}");
    complains(&as_root(&["user", "delete", "root"]), "etcdserver: invalid auth management");
    ctl.says(&as_root(&["role", "revoke-permission", "reads", "users/ann"]));
    complains(&as_ann(&["put", "users/ann", "3"]), "etcdserver: permission denied");
    ctl.says(&as_root(&["user", "revoke-role", "ann", "reads"]));
    complains(&as_ann(&["get", "users/ben"]), "etcdserver: permission denied");
    ctl.says(&as_root(&["role", "delete", "reads"]));
    ctl.says(&as_root(&["user", "delete", "ann"]));
    ctl.says(&as_root(&["auth", "disable"]));
    assert_eq!(ctl.says(&["get", "users/ben"]), "users/ben\n1\n");
    ctl.says(&["user", "delete", "root"]);
    ctl.says(&["del", "--prefix", "users/"]);
}

fn snapshots(ctl: &Ctl, folder: &Path) {
    ctl.says(&["put", "snapshot", "1"]);
    let file = folder.join("saved");
    assert!(ctl.says(&["snapshot", "save", file.to_str().unwrap()]).contains("Snapshot saved at "));
    assert_eq!(std::fs::metadata(&file).unwrap().len() % 512, 32, "a checksum at its end");
    ctl.says(&["snapshot", "status", file.to_str().unwrap()]);
    let summary = skiff_store::snapshot::restore(&file, &folder.join("restored")).unwrap();
    assert_eq!(summary.revision, revision(ctl));
}

/// What both must have: keys with their revisions and versions, the sum of history, a lease with its keys, users.
fn held(ctl: &Ctl) -> Vec<String> {
    let json = |args: &[&str]| serde_json::from_str::<serde_json::Value>(&ctl.says(args)).unwrap();
    let all = json(&["get", "--prefix", "", "-w", "json"]);
    let hash = json(&["endpoint", "hashkv", "-w", "json"]);
    let lease = json(&["lease", "timetolive", "1234", "--keys", "-w", "json"]);
    vec![
        all["kvs"].to_string(),
        all["header"]["revision"].to_string(),
        hash[0]["HashKV"]["hash"].to_string(),
        lease["keys"].to_string(),
        lease["granted-ttl"].to_string(),
        ctl.says(&["get", "--prefix", "", "--rev=200"]),
        ctl.says(&["role", "get", "r"]),
        ctl.says(&["user", "list"]),
    ]
}

fn fill(ctl: &Ctl) {
    let numbers: Vec<String> =
        (0..60).map(|number| format!("put key{number} {}\n", "v".repeat(number * 50 + 1))).collect();
    for _ in 0..5 {
        let puts = format!("\n{}\n\n", numbers.concat());
        assert!(ctl.output(&["txn"], &puts).status.success());
        for number in 0..60 {
            ctl.says(&["put", &format!("key{number}"), &"w".repeat(number * 100 + 1)]);
        }
    }
    ctl.says(&["compaction", "100"]);
    ctl.says(&["del", "key7"]);
    ctl.says(&["put", "large", &"x".repeat(100_000)]);
    ctl.says(&["role", "add", "r"]);
    ctl.says(&["role", "grant-permission", "r", "read", "a", "b"]);
    ctl.says(&["user", "add", "u:p"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_moves_to_an_etcd_and_back() {
    let Some(program) = peer("etcdctl-3.5", "/nonexistent") else { return };
    let Some(etcd) = peer("etcd-3.5", "/nonexistent") else { return };
    let ctl = |url: &str, real| Ctl { program: program.clone(), url: url.to_owned(), real };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let first = ours(Options::default()).await;
    let mine = ctl(&first.url, false);
    first.store.grant(0x1234, 5000).await.unwrap();
    mine.says(&["put", "leased", "1", "--lease=1234"]);
    fill(&mine);
    mine.says(&["snapshot", "save", &path("ours")]);
    let status = mine.says(&["snapshot", "status", &path("ours"), "-w", "json"]);
    assert!(status.contains(&format!("\"revision\":{}", revision(&mine))), "{status}");
    mine.says(&["snapshot", "restore", &path("ours"), "--data-dir", &path("etcd")]);
    let running = real_etcd_with(&etcd, &["--data-dir", &path("etcd")]).await;
    let theirs = ctl(&running.url, true);
    assert_eq!(held(&mine), held(&theirs));
    theirs.says(&["put", "after", "1"]);
    theirs.says(&["del", "key9"]);
    theirs.says(&["snapshot", "save", &path("theirs")]);
    skiff_store::snapshot::restore(Path::new(&path("theirs")), Path::new(&path("back"))).unwrap();
    let store = Store::open(Path::new(&path("back")), Options::default()).unwrap();
    let back = ours_over(tempfile::tempdir().unwrap(), store).await;
    assert_eq!(held(&ctl(&back.url, false)), held(&theirs));
}

/// Copies what is below a prefix to another one of the same server.
fn mirror(ctl: &Ctl) {
    ctl.says(&["put", "from/a", "1"]);
    let args = ["make-mirror", "--prefix=from/", "--dest-prefix=to/", &ctl.url];
    let mut child = ctl.command(&args);
    let _mirror = Killed(child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let copied = |value: &str| {
        (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            ctl.says(&["get", "to/a"]) == format!("to/a\n{value}\n")
        })
    };
    assert!(copied("1"), "what was there");
    ctl.says(&["put", "from/a", "2"]);
    assert!(copied("2"), "what came");
}

fn line(ctl: &Ctl) {
    let locked = ctl.says(&["lock", "name", "echo", "held"]);
    assert!(locked.contains("held"), "{locked}");
    let mut child = ctl.command(&["elect", "post", "me"]);
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut elected = Killed(child.spawn().unwrap());
    let first = lines(&mut elected).take(2).collect::<Vec<_>>();
    assert!(first[0].starts_with("post/") && first[1] == "me", "{first:?}");
    let mut listens = ctl.command(&["elect", "--listen", "post"]);
    listens.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut listens = Killed(listens.spawn().unwrap());
    assert_eq!(lines(&mut listens).take(2).collect::<Vec<_>>(), first);
}

fn lines(child: &mut Killed) -> impl Iterator<Item = String> + use<> {
    use std::io::{BufRead, BufReader};
    BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap)
}

fn reading(ctl: &Ctl) {
    for (key, value) in [("r/a", "3"), ("r/b", "1"), ("r/c", "2"), ("r/a", "4")] {
        ctl.says(&["put", key, value]);
    }
    let values = |args: &[&str]| ctl.says(&[&["get", "--prefix", "--print-value-only", "r/"], args].concat());
    assert_eq!(values(&[]), "4\n1\n2\n");
    assert_eq!(values(&["--order=ASCEND", "--sort-by=VALUE"]), "1\n2\n4\n");
    assert_eq!(values(&["--order=DESCEND", "--sort-by=VERSION", "--limit=1"]), "4\n");
    assert_eq!(values(&["--order=DESCEND", "--sort-by=CREATE", "--limit=1"]), "2\n");
    assert_eq!(values(&["--order=DESCEND", "--sort-by=MODIFY", "--limit=1"]), "4\n");
    assert_eq!(values(&["--consistency=s"]), "4\n1\n2\n");
    let fields = ctl.says(&["get", "r/a", "-w", "fields"]);
    assert!(fields.contains("\"Version\" : 2") && fields.contains("\"Count\" : 1"), "{fields}");
    assert_eq!(ctl.says(&["get", "r/a", "r/c", "--keys-only"]), "r/a\n\nr/b\n\n");
}
