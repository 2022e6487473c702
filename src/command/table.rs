//! `skiff completion` and `skiff man`: texts that are made of the command line's table, as its help is.

use crate::cli::Cli;
use crate::out::{self, tell};
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// The name under which everything is made.
const PROGRAM: &str = "skiff";

pub(crate) fn completion(shell: Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut text);
    out::print_bytes(&text)
}

pub(crate) fn man(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("write manual pages into {}", folder.display()))?;
    tell!("manual pages of skiff and its commands are in {}", folder.display());
    Ok(())
}
