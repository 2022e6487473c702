//! Kills and failing disks: nothing that was acknowledged is lost, and no tag points nowhere.
//!
//! A registry runs as a process of its own, which kills itself at the n-th time it reaches a step, or is killed at some moment. Then
//! its folder is opened again and looked at.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_registry::{Reference, Registry};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use support::*;

struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _it_may_have_killed_itself = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// The program that cargo builds beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/serve");
    assert!(program.exists(), "{}: cargo builds it with the tests of the crate", program.display());
    program
}

fn run(folder: &Path, fault: &str) -> Option<Running> {
    let mut command = Command::new(program());
    command.arg(folder).arg("127.0.0.1:0").env("SKIFF_FAULT", fault).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let running = Running { child, address: address.trim().to_owned() };
    (!running.address.is_empty()).then_some(running)
}

/// Asks over a connection of its own; the status, or nothing if the registry has died.
fn send(address: &str, method: &str, target: &str, kind: &str, body: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok()?;
    String::from_utf8_lossy(&said).split(' ').nth(1)?.parse().ok()
}

/// What was acknowledged: a tag of a repository, and its layer.
type Acknowledged = Vec<(String, String, String)>;

/// Pushes images to `repository` until one is not acknowledged; says which were.
fn push_all(address: &str, repository: &str, count: usize) -> Acknowledged {
    let mut done = Acknowledged::new();
    for n in 0..count {
        let layer = format!("{repository}: layer {n}");
        let blob = |bytes: &str| {
            let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(bytes));
            send(address, "POST", &target, "application/octet-stream", bytes.as_bytes()) == Some(201)
        };
        let manifest = image("{}", &layer).to_string();
        let target = format!("/v2/{repository}/manifests/v{n}");
        let pushed =
            blob("{}") && blob(&layer) && send(address, "PUT", &target, MANIFEST, manifest.as_bytes()) == Some(201);
        if pushed {
            done.push((repository.to_owned(), format!("v{n}"), layer));
        }
    }
    done
}

/// Opens the folder as the next registry does, and reads everything.
async fn judge(folder: &Path, acknowledged: &Acknowledged, what: &str) {
    let registry = open(folder);
    for (repository, tag, layer) in acknowledged {
        let said = ask(&registry, &format!("GET /v2/{repository}/manifests/{tag}"), &[], "").await;
        assert_eq!(
            (said.status, said.body),
            (200, image("{}", layer).to_string().into()),
            "{what}: {repository}:{tag}"
        );
    }
    whole(&registry, what).await;
    // And it goes on.
    push(&registry, "after", "v1", "after").await;
    registry.store().remove_unheld().unwrap();
    whole(&registry, what).await;
}

/// Every tag names a manifest that is there, whose blobs are.
async fn whole(registry: &Arc<Registry>, what: &str) {
    let mut wanted = Vec::new();
    for (name, held) in registry.store().state().repositories() {
        for (tag, to) in &held.tags {
            let about = &held.manifests[&to.digest].about;
            wanted.push((format!("/v2/{name}/manifests/{}", Reference::Tag(tag.clone())), to.digest.clone()));
            wanted.extend(
                about.blobs.iter().map(|blob| (format!("/v2/{name}/blobs/{}", blob.digest), blob.digest.clone())),
            );
        }
    }
    for (target, digest) in wanted {
        let said = ask(registry, &format!("GET {target}"), &[], "").await;
        assert_eq!((said.status, sha256(&said.body)), (200, digest), "{what}: {target}");
    }
}

const STEPS: &[&str] = &[
    "registry.upload.write",
    "registry.upload.sync",
    "registry.blob.place",
    "registry.blob.settle",
    "registry.journal.write",
    "registry.journal.sync",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_be_the_last() {
    let mut acknowledged_in_all = 0;
    for step in STEPS {
        for count in 1..=7 {
            let folder = tempfile::tempdir().unwrap();
            let what = format!("{step}:{count}=kill");
            let running = run(folder.path(), &what).unwrap();
            let acknowledged = push_all(&running.address, "a", 3);
            drop(running);
            acknowledged_in_all += acknowledged.len();
            judge(folder.path(), &acknowledged, &what).await;
        }
    }
    assert!(acknowledged_in_all > 20, "the pushes work at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail() {
    for step in STEPS {
        for (count, errno) in [(1, 28), (2, 5), (4, 28), (6, 5)] {
            let folder = tempfile::tempdir().unwrap();
            let what = format!("{step}:{count}=error({errno})");
            let running = run(folder.path(), &what).unwrap();
            let acknowledged = push_all(&running.address, "a", 4);
            drop(running);
            let goes_on = *step != "registry.journal.sync";
            assert!(!goes_on || acknowledged.len() >= 3, "{what}: one failure costs one push: {acknowledged:?}");
            judge(folder.path(), &acknowledged, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_nothing() {
    let kills: u64 = std::env::var("SKIFF_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    for round in 0..kills {
        let running = run(folder.path(), "").unwrap();
        let done = Mutex::new(Acknowledged::new());
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (address, done) = (&running.address, &done);
                scope.spawn(move || {
                    let pushed = push_all(address, &format!("r{round}/c{client}"), 40);
                    done.lock().unwrap().extend(pushed);
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(20 + round * 37 % 200));
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(running.child.id()).unwrap()),
                nix::sys::signal::SIGKILL,
            )
            .unwrap();
        });
        drop(running);
        acknowledged.extend(done.into_inner().unwrap());
        judge(folder.path(), &acknowledged, &format!("kill {round}")).await;
    }
    assert!(!acknowledged.is_empty(), "the pushes work at all");
}
