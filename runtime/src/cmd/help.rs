//! `--help`.

use super::{COMMANDS, Command};
use crate::cli::{GLOBAL, Opt, Takes};
use crate::error::Result;
use crate::report::show;

/// What each command does, in a line.
const ABOUT: &[(&str, &str)] = &[
    ("create", "[options] ID           make a container; its program waits for start"),
    ("start", "ID                     let a created container's program run"),
    ("run", "[options] ID           create, start, wait, delete; exits as the program does"),
    ("exec", "[options] ID CMD...    run a further program in a container"),
    ("state", "ID                     print the container's state as JSON"),
    ("kill", "[--all] ID [SIGNAL]    send a signal (name or number; default TERM)"),
    ("pause", "ID                     stop all its processes where they are"),
    ("resume", "ID                     let them go on"),
    ("update", "[options] ID           change its limits (--resources FILE, - for standard input)"),
    ("events", "[--stats] ID           print what it uses, now and then, and when memory runs out"),
    ("ps", "[--format F] ID [ARG]  list its processes (table or json; ARGs are those of ps)"),
    ("list", "[-q] [--format F]      list containers (table or json)"),
    ("delete", "[--force] ID           remove a stopped container; --force kills it first"),
    ("features", "                       print what this runtime can do as JSON"),
    ("spec", "[--rootless]           write a config.json to start from (--bundle DIR: there)"),
];

/// Prints the page of `command`, or of the program.
pub(super) fn print(command: Option<&Command>) -> Result<u8> {
    match command {
        Some(command) => {
            let about = ABOUT.iter().find(|(name, _)| *name == command.0).map_or("", |(_, about)| about);
            show!("skiff-oci {} {}\n\nOptions, before or after the id:", command.0, about.trim())?;
            options(command.1)?;
        }
        None => {
            show!("skiff-oci: the OCI runtime of Skiff (runtime-spec 1.3), with the command line of runc\n")?;
            show!("Usage: skiff-oci [global options] COMMAND [options] [ID]\n\nCommands:")?;
            for command in COMMANDS {
                let about = ABOUT.iter().find(|(name, _)| *name == command.0).map_or("", |(_, about)| about);
                show!("  {:<9} {about}", command.0)?;
            }
            show!("  {:<9} {:<22} keep a pod's containers (private to skiff)", "supervise", "...")?;
            show!("\nGlobal options:")?;
            options(GLOBAL)?;
            show!("\nEnvironment: SKIFF_TRACE=FILE records every privileged step; SKIFF_FAULT disturbs them.")?;
        }
    }
    Ok(0)
}

fn options(table: &[Opt]) -> Result<()> {
    for Opt(name, letter, takes) in table {
        let letter = letter.map_or_else(String::new, |letter| format!("-{letter}, "));
        let value = if *takes == Takes::Value { " VALUE" } else { "" };
        show!("  {letter:>4}--{name}{value}")?;
    }
    Ok(())
}
