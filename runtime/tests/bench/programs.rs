//! Who is measured: ours and the floor, built here as they are shipped, and the peers that are here.

use nix::mount::{MsFlags, mount};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's, of both releases; those that are missing are left out and said to be.
const PEERS: &[&str] = &["crun-1.21", "crun-1.8", "runc-1.3", "runc-1.1.15", "runc-1.1.5"];

/// Ours as it lies on a node: on a read-only mount, where it need not make one itself.
pub(crate) const READONLY: &str = "skiff-oci, read-only";

/// A program that runs containers.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Understands runc's command line.
    Runtime,
    /// `floor run ROOTFS NAME`.
    Floor,
}

/// All that are there, ours first.
pub(crate) fn all() -> Vec<Program> {
    let folder = build();
    let runtime = |name, path| Program { name, path, kind: Kind::Runtime };
    let ours = std::env::var_os("SKIFF_OCI").map_or_else(|| folder.join("skiff-oci"), PathBuf::from);
    let mut programs = vec![
        runtime(READONLY, readonly(&folder, &ours)),
        runtime("skiff-oci", ours),
        Program { name: "floor", path: folder.join("examples/floor"), kind: Kind::Floor },
    ];
    for name in PEERS {
        match Some(skiff_harness::peers_folder().join(name)).filter(|path| path.exists()) {
            Some(path) => programs.push(runtime(*name, path)),
            None => println!("SKIPPED: {name}: is not among the peers"),
        }
    }
    programs
}

/// A copy of `ours` on a read-only mount, which goes with this thread's mount namespace.
fn readonly(folder: &Path, ours: &Path) -> PathBuf {
    let place = folder.join("readonly");
    std::fs::create_dir_all(&place).unwrap();
    let copy = place.join("skiff-oci");
    std::fs::copy(ours, &copy).unwrap();
    let none = None::<&str>;
    mount(Some(&place), &place, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &place, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
    copy
}

/// The floor, which also tells other programs' peaks.
pub(crate) fn floor() -> PathBuf {
    folder().join("examples/floor")
}

/// podman's own profile, from Debian's packages beside the peers, if `tests/peers` has put it there.
pub(crate) fn profile() -> Option<PathBuf> {
    let file = skiff_harness::peers_folder().join(".trees/trixie/root/usr/share/containers/seccomp.json");
    file.is_file().then_some(file)
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/bench")
}

fn triple() -> &'static str {
    if has_musl() { "x86_64-unknown-linux-musl" } else { "x86_64-unknown-linux-gnu" }
}

fn folder() -> PathBuf {
    target().join(triple()).join("static")
}

/// As the build script of `skiff` does it: static, small, against musl where its standard library is installed.
fn build() -> PathBuf {
    for what in [["--package", "skiff-oci", "--bin", "skiff-oci"], ["--package", "skiff-sys", "--example", "floor"]] {
        let mut cargo = Command::new("cargo");
        // What this cargo told us is not meant for that one.
        let inherited = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            (name.starts_with("CARGO") && name != "CARGO_HOME") || name.starts_with("RUSTC")
        });
        for name in inherited {
            cargo.env_remove(name);
        }
        cargo
            .args(["build", "--quiet", "--profile", "static", "--target", triple(), "--target-dir"])
            .arg(target())
            .args(what);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,-z,muldefs");
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "building {what:?}");
    }
    folder()
}

fn has_musl() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim());
    sysroot.join("lib/rustlib/x86_64-unknown-linux-musl").exists()
}
