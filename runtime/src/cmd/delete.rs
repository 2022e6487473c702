//! `delete`: nothing is left behind.

use super::Context;
use crate::cgroup::{Cgroup, Frozen};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Acts, Error, Result};
use crate::hooks::{self, Place};
use crate::id::{ContainerId, ENDING_TIME_MAX, ProcessId};
use crate::rdt::{self, Membership};
use crate::spec::{
    self,
    config::{Hook, Hooks},
};
use crate::state::{self, Container, Folder, Record, Status};
use nix::errno::Errno;
use std::path::Path;

pub(super) const OPTIONS: &[Opt] = &[Opt("force", Some('f'), Takes::Nothing), super::HELP];

/// `delete [--force] ID`. With `--force` a container that is gone is fine, one that runs is killed, and one whose creation
/// was interrupted, or is under way, is cleaned up.
pub(super) fn delete(context: &Context, words: &Words) -> Result<u8> {
    let (id, folder) = context.folder(words)?;
    let force = words.is_on("force");
    let container = match folder.find() {
        Ok(Some(container)) => container,
        Ok(None) if force => return remove_unfinished(context, &id, &folder).map(|()| 0),
        Ok(None) => return Err(Error::Said(format!("container does not exist: {id}"))),
        Err(error) if force => {
            context.warn(&error.to_string());
            return remove_damaged(context, &id, &folder).map(|()| 0);
        }
        Err(error) => return Err(error),
    };
    match (container.status()?, force) {
        (Status::Stopped, _) | (_, true) => (),
        // runc deletes a created container as well: its program never ran.
        (Status::Created, false) => (),
        (status, false) => {
            let text = format!("cannot delete container {id} that is {}: use --force", status.word());
            return Err(Error::Said(text));
        }
    }
    remove_with_hooks(context, &container).map(|()| 0)
}

/// [`remove`] with what its configuration says.
fn remove_with_hooks(context: &Context, container: &Container) -> Result<()> {
    let hooks = match container.config() {
        Ok(config) => config.hooks.unwrap_or_default(),
        Err(error) => {
            context.warn(&format!("{error}; its poststop hooks do not run"));
            Hooks::default()
        }
    };
    let acts = context.acts_for(&container.record);
    remove(context, &acts, container, hooks.poststop.as_ref())
}

/// Kills what is left, removes cgroup and state, runs the hooks. A failing hook does not keep anything (runtime-spec: log and
/// go on); any other failure keeps the state, so that the command can be repeated.
pub(super) fn remove(
    context: &Context,
    acts: &Acts,
    container: &Container,
    poststop: Option<&Vec<Hook>>,
) -> Result<()> {
    let record = &container.record;
    end_processes(context, acts, container)?;
    record.rdt.as_ref().map_or(Ok(()), |class| class.remove(acts, &rdt::Kernel))?;
    let state = container.state_as(Status::Stopped.word());
    let directory = if record.bundle.is_dir() { record.bundle.as_path() } else { Path::new("/") };
    let place = Place::of_caller(directory);
    hooks::run_all(acts, "poststop", poststop, &state, place, &mut |error| context.warn(&error.to_string()));
    container.folder.remove(acts)
}

/// Ends the container's processes and removes its cgroup. Only who is certainly the container's is killed: another one may
/// have been created in the same cgroup since this one's processes ended, and other programs may have put theirs there.
fn end_processes(context: &Context, acts: &Acts, container: &Container) -> Result<()> {
    let Record { process, cgroup, own_pid_namespace, .. } = &container.record;
    // Version 1 delivers not even SIGKILL to a frozen process.
    let thaw = || if cgroup.is_frozen()? { cgroup.set_frozen(acts, Frozen::No) } else { Ok(()) };
    let was_alive = process.kill(thaw, ENDING_TIME_MAX)?;
    if !was_alive && is_anothers(context, &container.record.id, cgroup)? {
        return Ok(());
    }
    if !own_pid_namespace {
        cgroup.kill_all(acts)?;
        return cgroup.remove(acts);
    }
    match cgroup.remove(acts) {
        // All processes of its pid namespace have ended with the first one.
        Err(error) if error.errno() == Some(Errno::EBUSY) => {
            context.warn(&format!("{error}: processes that are not the container's are in there, and stay"));
            Ok(())
        }
        result => result,
    }
}

/// Whether another container of ours that lives has this cgroup.
pub(super) fn is_anothers(context: &Context, id: &str, cgroup: &Cgroup) -> Result<bool> {
    if cgroup.processes()?.is_empty() {
        return Ok(false);
    }
    let (others, _damaged) = state::list(&context.root)?;
    let lives_there = |other: &Container| {
        let record = &other.record;
        record.id != id && record.cgroup.is_same_place(cgroup) && record.process.is_alive()
    };
    Ok(others.iter().any(lives_there))
}

/// A creation that was killed leaves its folder with a copy of config.json, which names the cgroup, and from the moment on
/// that there was a process a draft of its record. One that is under way is killed.
fn remove_unfinished(context: &Context, id: &ContainerId, folder: &Folder) -> Result<()> {
    if !folder.path().exists() {
        return Ok(());
    }
    if let Some(creator) = folder.creator()? {
        end_creation(folder, creator)?;
    }
    // It may have come to its end before.
    if let Some(container) = folder.find()? {
        return remove_with_hooks(context, &container);
    }
    let acts = &context.acts;
    match folder.drafted() {
        Some(container) => {
            end_processes(context, acts, &container)?;
            container.record.rdt.as_ref().map_or(Ok(()), |class| class.remove(acts, &rdt::Kernel))?;
        }
        None => {
            if let Some((cgroup, class)) = places(context, id, folder)? {
                // Nobody of ours is in there but who ends with the creator.
                cgroup.remove_if_empty();
                class.map_or(Ok(()), |class| class.remove(acts, &rdt::Kernel))?;
            }
        }
    }
    folder.remove(acts)
}

fn end_creation(folder: &Folder, creator: i32) -> Result<()> {
    let busy = || Error::Said(format!("{}: a creation is under way that cannot be ended", folder.path().display()));
    if creator <= 0 {
        // It is in a pid namespace that we do not see into.
        return Err(busy());
    }
    let Ok(process) = ProcessId::of(creator) else { return Ok(()) };
    // Asked again: had the creator ended, its number could be another process's by now.
    if folder.creator()? == Some(creator) {
        process.kill(|| Ok(()), ENDING_TIME_MAX)?;
    }
    Ok(())
}

/// A container whose record cannot be read: its configuration still says where it is. Its cgroup was its alone.
fn remove_damaged(context: &Context, id: &ContainerId, folder: &Folder) -> Result<()> {
    let acts = &context.acts;
    if let Some((cgroup, class)) = places(context, id, folder)? {
        if !is_anothers(context, id.as_str(), &cgroup)? {
            cgroup.kill_all(acts)?;
            cgroup.remove(acts)?;
        }
        class.map_or(Ok(()), |class| class.remove(acts, &rdt::Kernel))?;
    }
    folder.remove(acts)
}

/// The cgroup and the class that a container has by its configuration.
fn places(context: &Context, id: &ContainerId, folder: &Folder) -> Result<Option<(Cgroup, Option<Membership>)>> {
    let Ok(written) = spec::read(&folder.config()) else { return Ok(None) };
    let Ok(spec) = spec::Spec::check(id.as_str(), Path::new("/"), &written) else { return Ok(None) };
    let unit = context.unit(id, &written)?;
    let cgroup = Cgroup::find(&unit.map_or(spec.cgroup, |unit| unit.path()))?;
    let class = match (&spec.rdt, rdt::find()) {
        (Some(rdt), Ok(root)) => Some(Membership::left(&root, id.as_str(), rdt)),
        _ => None,
    };
    Ok(Some((cgroup, class)))
}
