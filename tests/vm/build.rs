//! Builds process 1 of the guest, static, so that the library carries it inside itself (see `Guest`).
//!
//! A guest has no libraries of its own until a suite brings some, so process 1 must not need any. As in the build script of
//! `skiff`, a nested cargo with a target folder of its own does it.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Sources of process 1; a change in one of them builds it again.
const SOURCES: &[&str] = &["init/src", "init/Cargo.toml", "../../runtime/sys/src", "../../Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let triple = env::var("TARGET")?;
    let folder = out.join("static");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["build", "--quiet", "--locked", "--package", "skiff-vm-init", "--bin", "skiff-vm-init"]);
    // With an explicit target the flags below do not reach build scripts and procedural macros, which cannot be static.
    cargo.args(["--profile", "static", "--target", &triple, "--target-dir"]).arg(&folder);
    // What the outer cargo (or clippy) told this script is not meant for the inner one.
    let inherited = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        (name.starts_with("CARGO") && name != "CARGO_HOME") || name.starts_with("RUSTC") || name == "CLIPPY_ARGS"
    });
    for name in inherited {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("building skiff-vm-init: {status}").into());
    }
    let built = folder.join(&triple).join("static/skiff-vm-init");
    std::fs::copy(&built, out.join("init")).map_err(|error| format!("copy {}: {error}", built.display()))?;
    Ok(())
}
