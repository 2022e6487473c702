//! `skiff down`: stops a node and leaves the host as it was.

use super::on_runtime;
use crate::cli::DownArgs;
use crate::exit::sentence;
use crate::folders::Folders;
use crate::isolate::Holder;
use crate::node::{Site, Undone};
use crate::out::tell;
use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// How long a running node gets to end after SIGTERM, and how often it is looked at.
const NODE_MAX: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(args: &DownArgs) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("down: needs root, as up did; run it with sudo");
    }
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    if !folders.data.is_dir() && !folders.run.is_dir() {
        tell!("no node: neither {} nor {} is there", folders.data.display(), folders.run.display());
        return Ok(());
    }
    stop_node(&folders)?;
    for member in folders.members() {
        take_down(&member)?;
    }
    let cgroup_root = folders.settle_cgroup_root(args.cgroup_root.as_deref())?;
    let site = Site::new(folders.clone(), args.ranges.clone(), cgroup_root);
    let undone = clean(&site)?;
    finish(&folders, args.purge, undone)
}

/// Takes one of the other nodes of `up --nodes` down, by a process of its own: each lives in a box of its own.
fn take_down(member: &Folders) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program's file")?;
    let mut command = std::process::Command::new(program);
    command.arg("down").arg("--data-dir").arg(&member.data).arg("--run-dir").arg(&member.run);
    let ended = command.stdout(std::process::Stdio::null()).status().context("start `skiff down` for another node")?;
    ensure!(ended.success(), "the node in {} is not down, see above", member.data.display());
    tell!("removed the node in {}", member.data.display());
    Ok(())
}

/// Asks a running node to end, and waits for it.
fn stop_node(folders: &Folders) -> anyhow::Result<()> {
    let Some(pid) = folders.owner() else { return Ok(()) };
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("stop the node's process {pid}"))?;
    let tries = NODE_MAX.as_millis() / PAUSE.as_millis();
    for _ in 0..tries {
        if folders.owner().is_none() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    bail!("the node's process {pid} did not end within {} s of SIGTERM", NODE_MAX.as_secs())
}

/// Removes what runs: in the box if there is one, which ends with it.
///
/// # Errors
/// The box cannot be entered; everything else is in the report.
pub(crate) fn clean(site: &Site) -> anyhow::Result<Undone> {
    let holder = Holder::find(&site.folders);
    if let Some(holder) = &holder {
        holder.enter()?;
    }
    let mut undone = on_runtime(async { Ok(site.tear_down().await) })?;
    if let Some(holder) = holder {
        match holder.end(&site.folders) {
            Ok(()) => undone.removed.push(("box", 1)),
            Err(error) => undone.left.push(format!("box: {}", sentence(&error))),
        }
    }
    Ok(undone)
}

/// `1 mount`, `2 mounts`; what is one thing by nature ("pod network") goes without a number.
fn counted(number: usize, what: &str) -> String {
    match (number, what) {
        (_, "pod network" | "service rules") => format!("the {what}"),
        (1, "processes") => "1 process".to_owned(),
        (1, _) => format!("1 {}", what.strip_suffix('s').unwrap_or(what)),
        _ => format!("{number} {what}"),
    }
}

/// Removes the folders and says what was done.
///
/// # Errors
/// Something is left; the error names it.
pub(crate) fn finish(folders: &Folders, purge: bool, undone: Undone) -> anyhow::Result<()> {
    let mut left = undone.left;
    // While something is left, the run folder is what a second `down` finds it by.
    if left.is_empty() {
        let folders = std::iter::once(&folders.run).chain(purge.then_some(&folders.data));
        left.extend(
            folders.filter_map(|folder| crate::node::remove_folder(folder).err()).map(|error| sentence(&error)),
        );
    }
    for (what, number) in &undone.removed {
        tell!("removed {}", counted(*number, what));
    }
    if !left.is_empty() {
        bail!("left behind: {}", left.join("; "));
    }
    if purge {
        tell!("nothing is left of the node");
    } else {
        tell!(
            "nothing of the node runs; objects, images and keys stay in {} (--purge removes them)",
            folders.data.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(counted(1, "mounts"), "1 mount");
        assert_eq!(counted(1, "processes"), "1 process");
        assert_eq!(counted(1, "box"), "1 box");
        assert_eq!(counted(54, "cgroups"), "54 cgroups");
        assert_eq!(counted(1, "service rules"), "the service rules");
    }
}
