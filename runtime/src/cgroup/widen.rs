//! A running container gets its first limit of a controller that it is not under yet (hugetlb, rdma, net_cls, net_prio of
//! version 1): it moves into one more hierarchy.
//!
//! The place is remembered before it is made, so that whoever deletes the container finds it whatever happens in between. A
//! place that was remembered and never made, or that not everybody has reached, is made and reached by the next update.

use super::claim::members;
use super::hierarchy::{Hierarchy, Version, detect, needed, needed_in_unit};
use super::{Cgroup, Directory, Frozen, make};
use crate::error::{Acts, Error, Result};
use crate::kernfs::put;
use crate::spec::Limits;
use crate::steps;
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where a running container has to go.
pub(crate) struct Move {
    /// The cgroup as it is to be remembered.
    pub(crate) after: Cgroup,
    /// Hierarchies that not all of its processes are in, and its path in them.
    hierarchies: Vec<Hierarchy>,
    path: PathBuf,
}

impl Cgroup {
    /// What has to happen before `limits` can be written; `None` if nothing has.
    ///
    /// # Errors
    /// The host's mounts, or the container's processes, cannot be read.
    pub(crate) fn widen(&self, limits: &Limits) -> Result<Option<Move>> {
        let found = detect()?;
        // Without rights over cgroups there is no place to start from.
        let Some(path) = self.directories.iter().find_map(|directory| below(&found, &directory.path)) else {
            return Ok(None);
        };
        let wanted = if self.unit.is_some() { needed_in_unit(found, limits) } else { needed(found, limits) };
        let here: BTreeSet<_> = self.processes()?.into_iter().collect();
        let is_lacking = |hierarchy: &Hierarchy| {
            let place = hierarchy.root.join(&path);
            // Where every container is from its birth, its processes may since have spread, which is not ours to change.
            let is_old = self.directories.iter().any(|directory| directory.path == place) && !hierarchy.is_on_request();
            !is_old && !here.is_subset(&members(&place))
        };
        let hierarchies: Vec<_> = wanted.into_iter().filter(is_lacking).collect();
        if hierarchies.is_empty() {
            return Ok(None);
        }
        let mut after = self.clone();
        for hierarchy in &hierarchies {
            let place = hierarchy.root.join(&path);
            self.refuse_strangers(&place)?;
            let missing = |path: &&Path| path.starts_with(&hierarchy.root) && !path.exists();
            let made_from = place.ancestors().take_while(missing).last().map(Path::to_owned);
            after.directories.retain(|directory| directory.path != place);
            after.directories.push(Directory {
                controllers: hierarchy.controllers.clone(),
                unified: hierarchy.version == Version::Two,
                path: place,
                made_from,
            });
        }
        Ok(Some(Move { after, hierarchies, path }))
    }

    /// The container has its cgroup for itself, there too. Who is born meanwhile is in both places.
    fn refuse_strangers(&self, place: &Path) -> Result<()> {
        let there = members(place);
        let own: BTreeSet<_> = self.processes()?.into_iter().collect();
        match there.difference(&own).next() {
            None => Ok(()),
            Some(stranger) => {
                let place = place.display();
                let reason = format!("process {stranger}, which is not the container's, is in {place} already");
                Err(Error::refused("linux.resources", reason))
            }
        }
    }
}

impl Move {
    /// Goes there. Processes stand still meanwhile: none is born outside, and no number becomes another process's.
    ///
    /// # Errors
    /// The kernel refuses; what was made is remembered.
    pub(crate) fn perform(&self, acts: &Acts, before: &Cgroup) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let place = hierarchy.root.join(&self.path);
            acts.step_io(&steps::CGROUP_CREATE, place.display(), || make(hierarchy, &self.path))?;
        }
        let was_frozen = before.is_frozen()?;
        if !was_frozen {
            before.set_frozen(acts, Frozen::Yes)?;
        }
        let moved = self.hierarchies.iter().try_for_each(|hierarchy| {
            let file = hierarchy.root.join(&self.path).join("cgroup.procs");
            before.processes()?.into_iter().try_for_each(|pid| enter(acts, &file, pid))
        });
        let thawed = if was_frozen { Ok(()) } else { before.set_frozen(acts, Frozen::No) };
        moved.and(thawed)
    }
}

fn enter(acts: &Acts, file: &Path, pid: Pid) -> Result<()> {
    acts.step_io(&steps::CGROUP_JOIN, format!("{pid} to {}", file.display()), || {
        match put(file, &pid.to_string()) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    })
}

/// `place` below the root of its hierarchy.
fn below(found: &[Hierarchy], place: &Path) -> Option<PathBuf> {
    found.iter().find_map(|hierarchy| place.strip_prefix(&hierarchy.root).ok()).map(Path::to_owned)
}
