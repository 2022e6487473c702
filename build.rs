//! Builds the programs that `skiff` carries inside itself and puts on a node: the OCI runtime and the demo's web server.
//!
//! Both must be static (they run where there are no libraries: in a container, before its root is entered) and small (they
//! are executed for every container), so they get their own profile and flags. A nested cargo does that.
//!
//! They are linked against musl where Rust's standard library for it is installed, and elsewhere against a static glibc, of
//! which most is left out (`skiff_sys::slim`).

#[path = "build/inner_cargo.rs"]
mod inner_cargo;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sources of the carried programs; a change in one of them builds them again.
const SOURCES: &[&str] = &[
    "runtime/src",
    "runtime/Cargo.toml",
    "runtime/sys/src",
    "runtime/step/src",
    "runtime/supervise/src",
    "examples/web/src",
    "Cargo.lock",
    "Cargo.toml",
    "build",
];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let triple = static_target(&env::var("TARGET")?)?;
    let selection = ["--package", "skiff-oci", "--package", "skiff-web"];
    let programs = inner_cargo::build_static(&selection, &triple, &out.join("static"))?;
    for program in ["skiff-oci", "skiff-web"] {
        let built = programs.join(program);
        std::fs::copy(&built, out.join(program)).map_err(|error| format!("copy {}: {error}", built.display()))?;
    }
    if env::var("PROFILE")? == "release" {
        leave_beside_skiff(&out)?;
    }
    Ok(())
}

/// Puts the OCI runtime beside the finished `skiff` as well, for engines that want a file: `target/release/skiff-oci`.
///
/// Only in release builds: elsewhere tests find there what cargo itself builds of the package `skiff-oci`. Should cargo do so
/// in a release build, or somebody remove the file, the next build of `skiff` puts it there again.
fn leave_beside_skiff(out: &Path) -> Result<(), Box<dyn Error>> {
    // OUT_DIR is PROFILE/build/PACKAGE-HASH/out.
    let folder = out.ancestors().nth(3).ok_or("OUT_DIR is not where cargo puts it")?;
    let (beside, new) = (folder.join("skiff-oci"), folder.join(".skiff-oci.new"));
    println!("cargo:rerun-if-changed={}", beside.display());
    // Not written in place: the present file may be another name of one in cargo's cache.
    std::fs::copy(out.join("skiff-oci"), &new).map_err(|error| format!("copy to {}: {error}", new.display()))?;
    // A file that is newer than the start of this script would make cargo run it again each time.
    let started = std::fs::metadata(out.with_file_name("invoked.timestamp")).and_then(|file| file.modified());
    if let Ok(started) = started {
        std::fs::File::options().write(true).open(&new)?.set_modified(started)?;
    }
    std::fs::rename(&new, &beside).map_err(|error| format!("rename to {}: {error}", beside.display()))?;
    Ok(())
}

/// The musl sibling of `target` if its standard library is installed; else `target` itself, with a warning.
fn static_target(target: &str) -> Result<String, Box<dyn Error>> {
    let musl = target.replace("-gnu", "-musl");
    let printed = Command::new(env::var("RUSTC")?).args(["--print", "target-libdir", "--target", &musl]).output()?;
    let libdir = PathBuf::from(String::from_utf8(printed.stdout)?.trim());
    let has_std = |name: std::ffi::OsString| name.to_string_lossy().starts_with("libstd-");
    if std::fs::read_dir(libdir)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| has_std(e.file_name()))))
    {
        return Ok(musl);
    }
    println!(
        "cargo:warning=no standard library for {musl} (rustup target add {musl}): skiff-oci becomes static with glibc"
    );
    Ok(target.to_owned())
}
