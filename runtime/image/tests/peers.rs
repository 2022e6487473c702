//! Archives that real tools write: umoci, skopeo, buildah and podman make busybox images, and we take them in and run them;
//! and the demo image, which must run too. Tools that are absent are reported and skipped. Needs root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use skiff_image::{Builtin, ImageStore};
use skiff_step::Engine;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{World, pull};

fn peer(name: &str) -> Option<PathBuf> {
    let folder = skiff_harness::peers_folder();
    let found = fs::read_dir(&folder).ok().and_then(|entries| {
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let wanted = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
        paths.into_iter().rfind(wanted)
    });
    if found.is_none() {
        skiff_harness::skip(&format!("there is no {name} in {}", folder.display()));
    }
    found
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Takes the archive in, mounts it, and runs a command of it.
fn check_runs(world: &World, archive: &Path, name: Option<&str>, tag: &str) {
    let image = world.store.import(archive, name).unwrap().remove(0);
    assert!(image.repo_tags.iter().any(|present| present == tag), "{}: {:?}", archive.display(), image.repo_tags);
    let at = world.dir.path().join("rootfs");
    world.store.prepare(&image.id, "c1").unwrap();
    world.store.mount("c1", &at, None).unwrap();
    let said = Command::new("chroot").arg(&at).args(["/bin/busybox", "echo", "alive"]).output();
    world.store.unmount(&at).unwrap();
    assert_eq!(said.unwrap().stdout, b"alive\n", "{}", archive.display());
    world.store.release("c1").unwrap();
    world.store.remove(&image.id).unwrap();
    assert_eq!(world.names("layers"), Vec::<String>::new());
}

/// An OCI layout with a busybox image of two layers, by umoci.
fn umoci_layout(world: &World, umoci: &Path, busybox: &Path) -> PathBuf {
    let (layout, bundle) = (world.dir.path().join("layout"), world.dir.path().join("bundle"));
    let (text, bundle_text) = (layout.to_str().unwrap(), bundle.to_str().unwrap());
    let image = format!("{text}:box");
    run(umoci, &["init", "--layout", text]);
    run(umoci, &["new", "--image", &image]);
    run(umoci, &["unpack", "--image", &image, bundle_text]);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(busybox, bin.join("busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    fs::write(bundle.join("rootfs/removed"), "").unwrap();
    run(umoci, &["repack", "--refresh-bundle", "--image", &image, bundle_text]);
    fs::remove_file(bundle.join("rootfs/removed")).unwrap();
    run(umoci, &["repack", "--image", &image, bundle_text]);
    layout
}

#[test]
fn what_umoci_and_skopeo_write_runs() {
    let (Some(umoci), Some(skopeo), Some(busybox)) = (peer("umoci"), peer("skopeo-"), peer("busybox-static")) else {
        return;
    };
    let world = World::new();
    let layout = umoci_layout(&world, &umoci, &busybox);
    check_runs(&world, &layout, Some("box:umoci"), "docker.io/library/box:umoci");
    let from = format!("oci:{}:box", layout.display());
    let at = |name: &str| world.dir.path().join(name);
    let copy = |options: &[&str], to: &str| {
        run(
            &skopeo,
            &[&["--tmpdir", world.dir.path().to_str().unwrap(), "copy", "-q"], options, &[from.as_str(), to]].concat(),
        )
    };
    copy(&[], &format!("docker-archive:{}:box:1", at("docker.tar").display()));
    check_runs(&world, &at("docker.tar"), None, "docker.io/library/box:1");
    copy(&[], &format!("oci-archive:{}:quay.io/a/box:2", at("oci.tar").display()));
    check_runs(&world, &at("oci.tar"), None, "quay.io/a/box:2");
    copy(&["--dest-compress-format", "zstd"], &format!("oci:{}:quay.io/a/box:3", at("zstd").display()));
    check_runs(&world, &at("zstd"), None, "quay.io/a/box:3");
    copy(&[], &format!("dir:{}", at("dir").display()));
    check_runs(&world, &at("dir"), Some("box:4"), "docker.io/library/box:4");
}

#[test]
fn what_buildah_and_podman_write_runs() {
    let (Some(buildah), Some(podman), Some(busybox)) = (peer("buildah-"), peer("podman-5"), peer("busybox-static"))
    else {
        return;
    };
    let world = World::new();
    let at = |name: &str| world.dir.path().join(name).display().to_string();
    let (root, runroot) = (at("storage"), at("run"));
    let storage = ["--root", root.as_str(), "--runroot", runroot.as_str(), "--storage-driver", "vfs"];
    let buildah = |rest: &[&str]| run(&buildah, &[&storage, rest].concat()).trim().to_owned();
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", "-q", &container, busybox.to_str().unwrap(), "/bin/busybox"]);
    buildah(&["config", "--cmd", "/bin/busybox sh", &container]);
    buildah(&["commit", "-q", &container, "localhost/box:4"]);
    buildah(&["push", "-q", "localhost/box:4", &format!("oci-archive:{}:localhost/box:4", at("buildah.tar"))]);
    check_runs(&world, Path::new(&at("buildah.tar")), None, "localhost/box:4");
    let podman = |rest: &[&str]| run(&podman, &[&storage, rest].concat());
    for (format, file) in [("docker-archive", "podman-docker.tar"), ("oci-archive", "podman-oci.tar")] {
        podman(&["save", "-q", "--format", format, "-o", &at(file), "localhost/box:4"]);
        check_runs(&world, Path::new(&at(file)), None, "localhost/box:4");
    }
    buildah(&["rm", "-a"]);
}

fn demo_store(world: &World, web: &Path) -> ImageStore {
    let builtin = Builtin { web: Some(web.to_owned()) };
    ImageStore::open(&world.dir.path().join("images"), builtin, Engine::off()).unwrap()
}

#[test]
fn the_demo_image_runs_the_hosts_tools() {
    // Any static program serves as the server here.
    let Some(web) = peer("busybox-static") else { return };
    let world = World::new();
    let image = pull(&demo_store(&world, &web), "skiff.local/demo").unwrap();
    assert_eq!(image.repo_tags, ["skiff.local/demo:latest"]);
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.entrypoint().as_deref(), Some(&["/skiff-web".to_owned()][..]));
    assert_eq!(config.exposed_ports().as_deref(), Some(&["8080/tcp".to_owned()][..]));
    let tools = config.labels().clone().unwrap()["dev.skiff.tools"].clone();
    for tool in ["sh", "ls", "cat", "id"] {
        assert!(tools.split(' ').any(|present| present == tool), "{tool} is not in {tools}");
    }
    let at = world.dir.path().join("rootfs");
    world.store.prepare(&image.id, "c1").unwrap();
    world.store.mount("c1", &at, None).unwrap();
    // `--help` is understood, or at least answered, by each of them; 127 and 126 mean that it did not start.
    let script = "for t in $0; do $t --help </dev/null >/dev/null 2>&1; case $? in 126|127) echo $t;; esac; done";
    let tools: Vec<&str> = tools.split(' ').filter(|tool| !matches!(*tool, "yes" | "sh" | "kill")).collect();
    let said = Command::new("chroot").arg(&at).args(["/bin/sh", "-c", script, &tools.join(" ")]).output();
    let identity = Command::new("chroot").arg(&at).args(["/bin/sh", "-c", "id; ls /bin/sh"]).output();
    world.store.unmount(&at).unwrap();
    assert_eq!(String::from_utf8(said.unwrap().stdout).unwrap(), "", "these do not start");
    let identity = String::from_utf8(identity.unwrap().stdout).unwrap();
    assert_eq!(identity, "uid=0(root) gid=0(root) groups=0(root)\n/bin/sh\n");
}

#[test]
fn the_demo_image_is_the_same_every_time() {
    let Some(web) = peer("busybox-static") else { return };
    let (one, two) = (World::new(), World::new());
    let first = pull(&demo_store(&one, &web), "skiff.local/demo:latest").unwrap();
    assert_eq!(pull(&demo_store(&two, &web), "skiff.local/demo:latest").unwrap(), first);
}

#[test]
fn without_a_server_the_demo_image_says_so() {
    let world = World::new();
    let error = pull(&world.store, "skiff.local/demo").unwrap_err().to_string();
    assert!(error.contains("no static skiff-web"), "{error}");
    let error = pull(&demo_store(&world, Path::new("/proc/self/exe")), "skiff.local/demo").unwrap_err().to_string();
    assert!(error.contains("not a static ELF program"), "{error}");
}
