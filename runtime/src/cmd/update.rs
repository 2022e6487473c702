//! `update`: other limits for a running container.

use super::Context;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::spec::{Limits, config};
use crate::state::Status;
use std::io::Read;

pub(super) const OPTIONS: &[Opt] = &[Opt("resources", Some('r'), Takes::Value), super::HELP];

/// `update --resources FILE|- ID`: the fields that are given change, all others stay.
pub(super) fn update(context: &Context, words: &Words) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    if container.status()? == Status::Stopped {
        return Err(Error::Said(format!("cannot update container {} that is stopped", container.record.id)));
    }
    let file = words.value("resources");
    let file =
        file.ok_or_else(|| Error::Usage("update: --resources FILE is needed (- for standard input)".to_owned()))?;
    let mut bytes = Vec::new();
    match file {
        "-" => drop(std::io::stdin().read_to_end(&mut bytes).on("read", "standard input")?),
        path => bytes = std::fs::read(path).on("read", path)?,
    }
    let limits = Limits::check(Some(&config::parse("linux.resources", file, &bytes)?))?;
    container.record.cgroup.update(&acts, &limits).map(|()| 0)
}
