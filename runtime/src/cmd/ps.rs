//! `ps`: the processes of a container, as the host sees them.

use super::Context;
use super::list::{Format, format};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::report::show;
use std::process::Command;

pub(super) const OPTIONS: &[Opt] = &[Opt("format", Some('f'), Takes::Value), super::HELP];

/// What is asked of ps(1) when the caller asks nothing.
const EVERYTHING: &[&str] = &["-ef"];

/// `ps [--format F] ID [ARG]...`: JSON is the list of pids; the table is what ps(1), given the arguments, says of them.
pub(super) fn ps(context: &Context, words: &Words) -> Result<u8> {
    let (words, arguments) = split(words)?;
    let format = format(&words)?;
    let (container, _) = context.container(&words)?;
    let pids: Vec<i32> = container.record.cgroup.processes()?.into_iter().map(nix::unistd::Pid::as_raw).collect();
    match format {
        Format::Json => show!("{}", serde_json::Value::from(pids))?,
        Format::Table => table(&arguments, &pids)?,
    }
    Ok(0)
}

/// After the id stand the arguments of ps(1); `--format` and `--help` are ours even there, for it has none of these names.
fn split(words: &Words) -> Result<(Words, Vec<String>)> {
    let mut ours = words.clone();
    let rest = if ours.positionals.is_empty() { Vec::new() } else { ours.positionals.split_off(1) };
    let mut arguments = Vec::new();
    let mut rest = rest.into_iter();
    while let Some(word) = rest.next() {
        match word.split_once('=') {
            Some(("--format", value)) => ours.set("format", value),
            None if word == "--format" => {
                let value = rest.next().ok_or_else(|| Error::Usage("option --format needs a value".to_owned()))?;
                ours.set("format", &value);
            }
            _ => arguments.push(word),
        }
    }
    Ok((ours, arguments))
}

fn table(arguments: &[String], pids: &[i32]) -> Result<()> {
    let mut command = Command::new("ps");
    if arguments.is_empty() {
        command.args(EVERYTHING)
    } else {
        command.args(arguments)
    };
    match command.output() {
        Ok(output) if output.status.success() => select(&String::from_utf8_lossy(&output.stdout), pids),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Error::Said(format!("ps {}: {said}", arguments.join(" "))))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && arguments.is_empty() => plain_table(pids),
        Err(error) => Err(error).on("run", "ps"),
    }
}

/// The heading and the lines of `pids`.
fn select(said: &str, pids: &[i32]) -> Result<()> {
    let mut lines = said.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::Said("ps: its output has no column PID".to_owned()))?;
    show!("{heading}")?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            show!("{}", harmless(line))?;
        }
    }
    Ok(())
}

/// On a host without ps(1).
fn plain_table(pids: &[i32]) -> Result<()> {
    show!("{:>8} COMMAND", "PID")?;
    for pid in pids {
        show!("{pid:>8} {}", harmless(&command(*pid)?))?;
    }
    Ok(())
}

/// The command line, or the name of a process that has none; empty for one that has just ended.
fn command(pid: i32) -> Result<String> {
    let read = |file: &str| match std::fs::read(format!("/proc/{pid}/{file}")) {
        Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => Ok(Vec::new()),
        result => result.on("read", format!("/proc/{pid}/{file}")),
    };
    let line = read("cmdline")?;
    let words = if line.is_empty() { read("comm")? } else { line };
    Ok(String::from_utf8_lossy(&words).replace('\0', " "))
}

/// What a container calls itself must not drive the terminal of who looks at it.
fn harmless(text: &str) -> String {
    text.trim_end().chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::End;

    #[test]
    fn what_follows_the_id_belongs_to_ps_but_for_the_format() {
        for line in ["--format json web -ef aux", "web -ef --format json aux", "web --format=json -ef aux"] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let (words, arguments) = split(&Words::sort(&words, OPTIONS, End::AfterPositionals(1)).unwrap()).unwrap();
            assert_eq!(format(&words).unwrap(), Format::Json, "{line}");
            assert_eq!(
                (words.positionals, arguments),
                (vec!["web".to_owned()], vec!["-ef".to_owned(), "aux".to_owned()])
            );
        }
    }
}
