//! Debian's docker-registry on the loopback: skopeo, podman and buildah push to it and pull from it, and so do we; digests stay what they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use skiff_image::Unwatched;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::{Tape, World, docker_archive, pull, wait};

/// Ends with the test.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn peer(name: &str) -> Option<PathBuf> {
    let path = skiff_harness::peers_folder().join(name);
    if path.exists() {
        return Some(path);
    }
    skiff_harness::skip(&format!("there is no {}", path.display()));
    None
}

fn registry(world: &World) -> Option<Peer> {
    let program = peer("docker-registry-2.8")?;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let root = world.dir.path().join("registry");
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
        root.display()
    );
    let config = world.file("registry.yml", config.as_bytes());
    let child =
        Command::new(program).arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let peer = Peer { child, address };
    for _try in 0..200 {
        if TcpStream::connect(address).is_ok() {
            return Some(peer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("docker-registry does not listen on {address}");
}

fn run(program: &PathBuf, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// More than is sent at once, and nothing that packs.
fn large() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()
    };
    (0..5_000_000).flat_map(&mut next).collect()
}

#[test]
fn images_go_to_and_fro_with_their_digests() {
    let world = World::new();
    let (Some(registry), Some(skopeo)) = (registry(&world), peer("skopeo-1.18")) else { return };
    let layers = [Tape::new().file("large", &large()).end(), Tape::new().file("small", b"1").end()];
    let archive = world.file("a.tar", &docker_archive("app:1", &layers)).display().to_string();
    let at = |rest: &str| format!("{}/{rest}", registry.address);
    let scratch = world.dir.path().to_str().unwrap().to_owned();
    let copy = |options: &[&str], from: &str, to: &str| {
        let words = ["--tmpdir", &scratch, "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
        run(&skopeo, &[&words, options, &[from, to]].concat());
    };
    let digest_of = |name: &str| {
        run(&skopeo, &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{name}")])
    };
    for (tag, options) in
        [("gzip", &["--dest-compress-format", "gzip"][..]), ("zstd", &["-f", "oci", "--dest-compress-format", "zstd"])]
    {
        let name = at(&format!("team/app:{tag}"));
        copy(options, &format!("docker-archive:{archive}"), &format!("docker://{name}"));
        let image = pull(&world.store, &name).unwrap();
        let digest = digest_of(&name);
        assert!(
            image.repo_digests.contains(&format!("{}@{digest}", at("team/app"))),
            "{tag}: {:?}",
            image.repo_digests
        );
        assert_eq!(fs::read(world.layer(&layers[1]).join("small")).unwrap(), b"1");
        for copied in ["team/copy", "other"] {
            let to = at(&format!("{copied}:{tag}"));
            let pushed = wait(world.store.push(&image.id, &to, None, Arc::new(Unwatched))).unwrap();
            assert_eq!(pushed, format!("{}@{digest}", at(copied)));
            assert_eq!(digest_of(&to), digest, "{tag}");
        }
        world.store.remove(&image.id).unwrap();
    }
    // What came without a manifest gets one, and is sent in parts.
    let image = world.import("app:1", &layers).unwrap();
    let pushed = wait(world.store.push("app:1", &at("own:1"), None, Arc::new(Unwatched))).unwrap();
    assert_eq!(pushed, format!("{}@{}", at("own"), digest_of(&at("own:1"))));
    world.store.remove(&image.id).unwrap();
    assert_eq!(pull(&world.store, &at("own:1")).unwrap().id, image.id);
    let error = wait(world.store.push(
        &image.id,
        &at("team/app@sha256:0000000000000000000000000000000000000000000000000000000000000000"),
        None,
        Arc::new(Unwatched),
    ));
    assert!(error.unwrap_err().to_string().contains("the image's manifest is"));
}

#[test]
fn podman_and_buildah_meet_us_there() {
    let world = World::new();
    let (Some(registry), Some(podman), Some(buildah)) = (registry(&world), peer("podman-5.4"), peer("buildah-1.39"))
    else {
        return;
    };
    let at = |name: &str| world.dir.path().join(name).display().to_string();
    let (root, runroot) = (at("storage"), at("run"));
    let storage = ["--root", root.as_str(), "--runroot", runroot.as_str(), "--storage-driver", "vfs"];
    let (theirs, ours) = (format!("{}/theirs:1", registry.address), format!("{}/ours:1", registry.address));
    let buildah = |rest: &[&str]| run(&buildah, &[&storage, rest].concat());
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", "-q", &container, "/etc/hostname", "/hostname"]);
    buildah(&["commit", "-q", &container, &theirs]);
    buildah(&["push", "-q", "--tls-verify=false", &theirs]);
    buildah(&["rm", &container]);
    let image = pull(&world.store, &theirs).unwrap();
    wait(world.store.push(&theirs, &ours, None, Arc::new(Unwatched))).unwrap();
    let podman = |rest: &[&str]| run(&podman, &[&storage, rest].concat());
    podman(&["pull", "-q", "--tls-verify=false", &ours]);
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &ours]);
    assert_eq!(format!("sha256:{id}"), image.id);
    // Archives that we write are read by others.
    let saved = world.dir.path().join("saved.tar");
    if let Err(error) = world.store.save(std::slice::from_ref(&theirs), &saved) {
        panic!("{}", error.chain());
    }
    podman(&["rmi", "-f", &ours, &theirs]);
    podman(&["load", "-q", "-i", saved.to_str().unwrap()]);
    assert_eq!(podman(&["image", "inspect", "--format", "{{.Id}}", &theirs]), id);
    let again = World::new();
    assert_eq!(again.store.import(&saved, None).unwrap()[0].id, image.id);
}
