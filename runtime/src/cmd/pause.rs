//! `pause`, `resume`.

use super::Context;
use crate::cgroup::Frozen;
use crate::cli::Words;
use crate::error::{Error, Result};
use crate::state::Status;

/// `pause ID`.
pub(super) fn pause(context: &Context, words: &Words) -> Result<u8> {
    turn(context, words, &[Status::Created, Status::Running], Frozen::Yes)
}

/// `resume ID`.
pub(super) fn resume(context: &Context, words: &Words) -> Result<u8> {
    turn(context, words, &[Status::Paused], Frozen::No)
}

fn turn(context: &Context, words: &Words, from: &[Status], to: Frozen) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    let status = container.status()?;
    if !from.contains(&status) {
        let verb = if to == Frozen::Yes { "pause" } else { "resume" };
        return Err(Error::Said(format!("cannot {verb} container {} that is {}", container.record.id, status.word())));
    }
    container.record.cgroup.set_frozen(&acts, to).map(|()| 0)
}
