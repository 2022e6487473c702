//! A cargo inside a build script: builds static programs of ours that others carry inside themselves.
//!
//! It has a target folder of its own; with no flags of ours the two builds share nothing and so never wait for each other's lock.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Static and at fixed addresses. Where two define a name of glibc, the first has it: `skiff_sys::slim`, should that version of
/// glibc keep the name beside one that is needed.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,-z,muldefs";

/// Builds what `selection` names (`--package`, `--bin`) for `triple` below `folder`; returns the folder with the programs.
pub(crate) fn build_static(selection: &[&str], triple: &str, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["build", "--quiet", "--locked"]).args(selection);
    // With an explicit target the flags below do not reach build scripts and procedural macros, which cannot be static.
    cargo.args(["--profile", "static", "--target", triple, "--target-dir"]).arg(folder);
    // What the outer cargo (or clippy) told this script is not meant for the inner one.
    let inherited = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        (name.starts_with("CARGO") && name != "CARGO_HOME") || name.starts_with("RUSTC") || name == "CLIPPY_ARGS"
    });
    for name in inherited {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", FLAGS);
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("building {} static: {status}", selection.join(" ")).into());
    }
    Ok(folder.join(triple).join("static"))
}
