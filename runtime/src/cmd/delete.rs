//! `delete`: nothing is left behind.

use super::Context;
use crate::cgroup::Cgroup;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Acts, Error, On, Result};
use crate::hooks::{self, Place};
use crate::id::ContainerId;
use crate::rdt::{self, Membership};
use crate::spec::{self, config::Hook};
use crate::state::{Container, Folder, Status};
use std::path::Path;

pub(super) const OPTIONS: &[Opt] = &[Opt("force", Some('f'), Takes::Nothing), super::HELP];

/// `delete [--force] ID`. With `--force` a container that is gone is fine, one that runs is killed, and one whose creation
/// was interrupted is cleaned up.
pub(super) fn delete(context: &Context, words: &Words) -> Result<u8> {
    let (id, folder) = context.folder(words)?;
    let force = words.is_on("force");
    let Some(container) = folder.find()? else {
        return match force {
            true => remove_unfinished(context, &id, &folder).map(|()| 0),
            false => Err(Error::Said(format!("container does not exist: {id}"))),
        };
    };
    let (_, acts) = context.container(words)?;
    match (container.status()?, force) {
        (Status::Stopped, _) | (_, true) => (),
        // runc deletes a created container as well: its program never ran.
        (Status::Created, false) => (),
        (status, false) => {
            let text = format!("cannot delete container {id} that is {}: use --force", status.word());
            return Err(Error::Said(text));
        }
    }
    let config = container.config();
    let poststop = config.as_ref().ok().and_then(|config| config.hooks.as_ref()?.poststop.clone());
    remove(context, &acts, &container, poststop.as_ref()).map(|()| 0)
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
    if let Some(pidfd) = record.process.open()? {
        use std::os::fd::AsFd;
        match skiff_sys::pidfd::kill(pidfd.as_fd()) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => (),
            Err(errno) => return Err(errno).on("kill", record.process.pid),
        }
    }
    record.cgroup.kill_all(acts)?;
    record.cgroup.remove(acts)?;
    record.rdt.as_ref().map_or(Ok(()), |class| class.remove(acts, &rdt::Kernel))?;
    let state = container.state_as(Status::Stopped.word());
    let directory = if record.bundle.is_dir() { record.bundle.as_path() } else { Path::new("/") };
    let place = Place::of_caller(directory);
    hooks::run_all(acts, "poststop", poststop, &state, place, &mut |error| context.warn(&error.to_string()));
    container.folder.remove(acts)
}

/// A creation that was killed leaves its folder with a copy of config.json, which names the cgroup.
fn remove_unfinished(context: &Context, id: &ContainerId, folder: &Folder) -> Result<()> {
    let acts = &context.acts;
    if !folder.path().exists() {
        return Ok(());
    }
    if let Ok(written) = spec::read(&folder.config())
        && let Ok(spec) = spec::Spec::check(id.as_str(), Path::new("/"), &written)
    {
        let unit = context.unit(id, &written)?;
        let cgroup = Cgroup::find(&unit.map_or(spec.cgroup, |unit| unit.path()))?;
        cgroup.kill_all(acts)?;
        cgroup.remove(acts)?;
        if let (Some(rdt), Ok(root)) = (&spec.rdt, rdt::find()) {
            Membership::left(&root, id.as_str(), rdt).remove(acts, &rdt::Kernel)?;
        }
    }
    folder.remove(acts)
}
