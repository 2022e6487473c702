//! Watching: history first, then what happens, without a gap or a repetition.

mod past; // history, read once for all

use crate::core::Core;
use crate::hub::{Group, Moment, Taken, WatcherId};
use crate::keys::KeyRange;
use crate::request::Refusal;
use crate::{Revision, seeded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use past::Past;

/// Bytes that one batch delivers, about; see [`past`].
const BATCH_BYTES: usize = 256 << 10;

/// What a watch is to be told besides what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wants {
    /// What was replaced. What is in memory comes with it in any case; from the disk it would have to be read.
    pub previous: bool,
    /// Now and then the revision, while something is written elsewhere.
    pub progress: bool,
}

/// One watch; ends when dropped.
pub(crate) struct Watcher {
    core: Arc<Core>,
    keys: KeyRange,
    id: WatcherId,
    wants: Wants,
    /// Whether it reads history, and is counted among those who do.
    behind: AtomicBool,
}

impl Watcher {
    /// Watches `keys` from revision `start` on; `group` is told when there is something to [`Watcher::take`].
    pub(crate) fn add(core: &Arc<Core>, keys: KeyRange, start: Revision, wants: Wants, group: &Arc<Group>) -> Self {
        let id = core.hub.add(keys.clone(), start, wants.progress, group);
        Watcher { core: core.clone(), keys, id, wants, behind: AtomicBool::new(false) }
    }

    /// Its name in its group.
    pub(crate) fn id(&self) -> WatcherId {
        self.id
    }

    /// What happened since; empty: nothing, or nothing of interest yet, and the group will be told.
    pub(crate) async fn take(&self) -> Result<Vec<Moment>, Refusal> {
        self.core.check()?;
        match self.core.hub.take(self.id, BATCH_BYTES) {
            Taken::Nothing => Ok(Vec::new()),
            Taken::Moments(moments) => {
                self.is_behind(false);
                Ok(moments)
            }
            Taken::Behind { from, to } => {
                self.is_behind(true);
                self.catch_up(from, to).await
            }
        }
    }

    /// Takes what one window of history has.
    async fn catch_up(&self, from: Revision, to: Revision) -> Result<Vec<Moment>, Refusal> {
        let (core, past) = (&self.core, &self.core.past);
        still_kept(from, core.view().compacted)?;
        let window = past.window(core, from, to).await?;
        let places = window.places(&self.keys, from);
        if self.wants.previous {
            past.fill(core, &window, &places).await?;
            // A compaction meanwhile may have taken what was replaced from the index.
            still_kept(from, core.view().compacted)?;
        }
        let moments = window.moments(&places);
        core.hub.caught_up_to(self.id, window.next);
        Ok(moments)
    }

    fn is_behind(&self, behind: bool) {
        if self.behind.swap(behind, Ordering::AcqRel) != behind {
            if behind { self.core.past.enter() } else { self.core.past.leave() }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.core.hub.remove(self.id);
        self.is_behind(false);
    }
}

fn still_kept(from: Revision, compacted: Revision) -> Result<(), Refusal> {
    if from < compacted && !seeded::is("resumed-past-compaction") {
        Err(Refusal::Compacted { oldest: compacted })
    } else {
        Ok(())
    }
}
