//! `state`, `list`, `ps`: looking without touching.

use super::Context;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::state;

pub(super) const OPTIONS: &[Opt] =
    &[Opt("quiet", Some('q'), Takes::Nothing), Opt("format", Some('f'), Takes::Value), super::HELP];
pub(super) const PS_OPTIONS: &[Opt] = &[Opt("format", Some('f'), Takes::Value), super::HELP];

/// How a list is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

fn format(words: &Words) -> Result<Format> {
    match words.value("format") {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error::Usage(format!("--format {other}: neither table nor json"))),
    }
}

/// `state ID`.
pub(super) fn state(context: &Context, words: &Words) -> Result<u8> {
    let (container, _) = context.container(words)?;
    println!("{:#}", container.state()?);
    Ok(0)
}

/// `list [-q] [--format F]`.
pub(super) fn list(context: &Context, words: &Words) -> Result<u8> {
    let format = format(words)?;
    let containers = state::list(&context.root)?;
    if words.is_on("quiet") {
        containers.iter().for_each(|container| println!("{}", container.record.id));
        return Ok(0);
    }
    let states = containers.iter().map(state::Container::state).collect::<Result<Vec<_>>>()?;
    match format {
        Format::Json => println!("{}", serde_json::Value::from(states)),
        Format::Table => {
            println!("{:<30} {:>8} {:<8} {:<40} CREATED", "ID", "PID", "STATUS", "BUNDLE");
            for state in states {
                let word = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
                let (id, status, bundle) = (word("id"), word("status"), word("bundle"));
                println!("{id:<30} {:>8} {status:<8} {bundle:<40} {}", state["pid"], word("created"));
            }
        }
    }
    Ok(0)
}

/// `ps [--format F] ID`: the pids of the host.
pub(super) fn ps(context: &Context, words: &Words) -> Result<u8> {
    let format = format(words)?;
    let (container, _) = context.container(words)?;
    let pids: Vec<i32> = container.record.cgroup.processes()?.into_iter().map(nix::unistd::Pid::as_raw).collect();
    match format {
        Format::Json => println!("{}", serde_json::Value::from(pids)),
        Format::Table => {
            println!("{:>8} COMMAND", "PID");
            for pid in pids {
                println!("{pid:>8} {}", command(pid)?);
            }
        }
    }
    Ok(0)
}

/// The command line, or the name of a process that has none; empty for one that has just ended.
fn command(pid: i32) -> Result<String> {
    let read = |file: &str| match std::fs::read(format!("/proc/{pid}/{file}")) {
        Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => Ok(Vec::new()),
        result => result.on("read", format!("/proc/{pid}/{file}")),
    };
    let line = read("cmdline")?;
    let words = if line.is_empty() { read("comm")? } else { line };
    let text = String::from_utf8_lossy(&words).replace('\0', " ");
    // What a container calls itself must not drive the terminal of who looks at it.
    Ok(text.trim().chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect())
}
