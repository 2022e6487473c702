//! Builds process 1 of the guest, static, so that the library carries it inside itself (see `Guest`).
//!
//! A guest has no libraries of its own until a suite brings some, so process 1 must not need any. As in the build script of
//! `skiff`, a nested cargo does it.

#[path = "../../build/inner_cargo.rs"]
mod inner_cargo;

use std::env;
use std::error::Error;
use std::path::PathBuf;

/// Sources of process 1; a change in one of them builds it again.
const SOURCES: &[&str] = &["init/src", "init/Cargo.toml", "../../runtime/sys/src", "../../Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let selection = ["--package", "skiff-vm-init", "--bin", "skiff-vm-init"];
    let programs = inner_cargo::build_static(&selection, &env::var("TARGET")?, &out.join("static"))?;
    let built = programs.join("skiff-vm-init");
    std::fs::copy(&built, out.join("init")).map_err(|error| format!("copy {}: {error}", built.display()))?;
    Ok(())
}
