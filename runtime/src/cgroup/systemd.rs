//! A container as a unit of systemd (`--systemd-cgroup`): a transient scope, whose cgroup is delegated to us.
//!
//! A scope begins with a process in it, and the container's first process must be born into limits that exist. So a process
//! that does nothing begins the scope and ends once the container's own is inside. Where the unit's cgroup is, is read from
//! where that process was put. Limits that have a property are given to systemd, which would otherwise take them back when it
//! is reloaded, and then all of them are written to the files as without it. Properties that annotations ask for are given at
//! the start, after ours.

mod annotations;
mod bus;
mod message;
mod properties;

use super::device;
use super::freeze::Patience;
use super::hierarchy::{Version, detect, needed_in_unit};
use super::plan::Group;
use super::{Cgroup, Claim};
use crate::error::{Acts, Error, On, Result};
use crate::plan::is_below_host;
use crate::spec::Limits;
use bus::{Answer, Bus, connect};
use message::{Argument, Property, Value, named};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getppid, pause};
use skiff_sys::process::{Born, Cloned, Kin};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Where containers are whose cgroupsPath does not say (as with runc): the system's, and an ordinary user's.
const SLICE_DEFAULT: &str = "system.slice";
const SLICE_DEFAULT_OF_USER: &str = "user.slice";
const PREFIX_DEFAULT: &str = "skiff";
/// systemd's names for refusals that we can do something about.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// How long a unit that was stopped may keep its name.
const ENDING_TIME_MAX: Duration = Duration::from_millis(500);

/// A container's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    slice: String,
    /// With `.scope`.
    name: String,
    /// What annotations ask for.
    properties: Vec<Property>,
}

impl Unit {
    /// Reads a `linux.cgroupsPath` of the form `slice:prefix:name`, for the container `id`, and the properties in its
    /// annotations.
    ///
    /// # Errors
    /// It has another form; an annotation is no property.
    pub(crate) fn of(id: &str, written: Option<&Path>, annotations: &HashMap<String, String>) -> Result<Self> {
        Ok(Self { properties: annotations::properties(annotations)?, ..Self::at(id, written)? })
    }

    fn at(id: &str, written: Option<&Path>) -> Result<Self> {
        let written = written.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty());
        let default = if is_below_host() { SLICE_DEFAULT_OF_USER } else { SLICE_DEFAULT };
        let Some(written) = written else {
            let name = format!("{PREFIX_DEFAULT}-{id}.scope");
            return Ok(Self { slice: default.to_owned(), name, properties: Vec::new() });
        };
        let refused = |reason: &str| Error::refused("linux.cgroupsPath", format!("`{written}` {reason}"));
        let parts: Vec<_> = written.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(refused("is not of the form slice:prefix:name, which --systemd-cgroup needs"));
        };
        let slice = if slice.is_empty() { default } else { slice };
        let is_slice = slice == "-.slice" || slice_path(slice).is_some();
        if !is_slice || name.is_empty() || written.contains('/') || name.ends_with(".slice") {
            return Err(refused("does not name a scope in a slice"));
        }
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Self { slice: slice.to_owned(), name, properties: Vec::new() })
    }

    /// Where systemd puts it, below each hierarchy's root; relative.
    pub(crate) fn path(&self) -> PathBuf {
        slice_path(&self.slice).unwrap_or_default().join(&self.name)
    }
}

/// `a-b.slice` is below `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> Option<PathBuf> {
    let (mut path, mut prefix) = (PathBuf::new(), String::new());
    for part in slice.strip_suffix(".slice")?.split('-') {
        if part.is_empty() {
            return None;
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Some(path)
}

/// The process with which the scope begins. It ends with its owner.
#[derive(Debug)]
pub(crate) struct Holder(Born);

impl Holder {
    fn start() -> Result<Self> {
        let owner = Pid::this();
        match skiff_sys::process::clone(0, None, Kin::Child).on("clone", "holder of the unit")? {
            Cloned::Parent(born) => Ok(Self(born)),
            Cloned::Child => {
                // The owner may have ended before the kernel was asked to tell.
                if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != owner {
                    skiff_sys::process::exit_now(1);
                }
                loop {
                    pause();
                }
            }
        }
    }
}

impl Holder {
    /// Its number in our pid namespace.
    pub(super) const fn pid(&self) -> Pid {
        Pid::from_raw(self.0.pid)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _may_have_ended = skiff_sys::pidfd::kill(self.0.pidfd.as_fd());
        let _reaped = waitpid(Pid::from_raw(self.0.pid), None);
    }
}

impl Cgroup {
    /// Starts `unit` and claims its cgroup.
    ///
    /// # Errors
    /// systemd cannot be reached, or refuses.
    pub(crate) fn create_in_unit(acts: &Acts, unit: &Unit, limits: &Limits) -> Result<(Self, Claim)> {
        let mut bus = connect()?;
        let holder = Holder::start()?;
        let hierarchies = detect()?;
        let is_one = |name: &str| {
            hierarchies
                .iter()
                .any(|here| here.version == Version::One && here.controllers.iter().any(|own| own == name))
        };
        let version = if is_one("memory") { Version::One } else { Version::Two };
        start(&mut bus, acts, unit, properties_of_start(unit, holder.0.pid, limits, version))?;
        let path = await_place(holder.0.pid, &unit.name)?;
        let (mut cgroup, claim) = Self::create_below(acts, &path, needed_in_unit(hierarchies, limits), Some(holder))?;
        cgroup.unit = Some(unit.name.clone());
        Ok((cgroup, claim))
    }

    /// Gives systemd the limits that have a property.
    pub(super) fn set_properties(&self, acts: &Acts, unit: &str, limits: &Limits) -> Result<()> {
        let mut limits = limits.clone();
        // Properties are of both values where the files keep the one that is not given.
        limits.cpu.period = limits.cpu.period.or_else(|| limits.cpu.quota.and_then(|_| self.present_period()));
        let version = self.version("memory").unwrap_or(Version::Two);
        let properties = properties::of(&limits, version);
        if properties.is_empty() {
            return Ok(());
        }
        let arguments = vec![Argument::Flag(true), Argument::Properties(named(properties))];
        match connect()?.call(acts, unit, "SetUnitProperties", arguments)? {
            Answer::Done => Ok(()),
            Answer::Refused(_, text) => Err(Error::Said(format!("systemd: set properties of {unit}: {text}"))),
        }
    }

    fn present_period(&self) -> Option<u64> {
        let two = self.read("cpu", "cpu.max").and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
        two.or_else(|| self.read("cpu", "cpu.cfs_period_us")?.trim().parse().ok())
    }
}

fn properties_of_start(unit: &Unit, holder: i32, limits: &Limits, version: Version) -> Vec<Property> {
    let text = |text: &str| Value::Text(text.to_owned());
    let io = if version == Version::One { "BlockIOAccounting" } else { "IOAccounting" };
    let mut properties = vec![
        ("Description", text(&format!("container {}", unit.name.trim_end_matches(".scope")))),
        ("Slice", text(&unit.slice)),
        ("Delegate", Value::Flag(true)),
        ("DefaultDependencies", Value::Flag(false)),
        // A scope whose last process was killed would stay, as failed.
        ("CollectMode", text("inactive-or-failed")),
        ("PIDs", Value::Pids(vec![holder.cast_unsigned()])),
        ("MemoryAccounting", Value::Flag(true)),
        ("CPUAccounting", Value::Flag(true)),
        (io, Value::Flag(true)),
        ("TasksAccounting", Value::Flag(true)),
    ];
    if !limits.devices.is_empty() {
        properties.extend(properties::devices(device::allowed(&device::complete(&limits.devices))));
    }
    properties.extend(properties::of(limits, version));
    named(properties).into_iter().chain(unit.properties.iter().cloned()).collect()
}

/// A unit of that name that failed, or is just ending, makes way.
fn start(bus: &mut Bus<UnixStream>, acts: &Acts, unit: &Unit, properties: Vec<Property>) -> Result<()> {
    let mut patience = Patience::of(ENDING_TIME_MAX);
    loop {
        let mode = Argument::Text("replace".to_owned());
        let arguments = vec![mode, Argument::Properties(properties.clone()), Argument::NoUnits];
        match bus.call(acts, &unit.name, "StartTransientUnit", arguments)? {
            Answer::Done => return Ok(()),
            Answer::Refused(name, _) if name == UNIT_EXISTS && patience.lasts() => {
                let _may_not_have_failed = bus.call(acts, &unit.name, "ResetFailedUnit", Vec::new())?;
            }
            Answer::Refused(_, text) => return Err(Error::Said(format!("systemd: start {}: {text}", unit.name))),
        }
    }
}

/// The path of the unit's cgroup, once the holder is in it.
fn await_place(holder: i32, unit: &str) -> Result<PathBuf> {
    let file = format!("/proc/{holder}/cgroup");
    let mut patience = Patience::new();
    loop {
        let text = std::fs::read_to_string(&file).on("read", &file)?;
        // `id:controllers:path`, cgroups(7).
        let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(Path::new);
        if let Some(path) = paths.find(|path| path.file_name().is_some_and(|name| name == unit)) {
            // From a cgroup namespace it leads up to the hierarchy's root first.
            return Ok(path.components().filter(|part| matches!(part, Component::Normal(_))).collect());
        }
        if !patience.lasts() {
            return Err(Error::Said(format!("systemd: {unit} was accepted but did not start")));
        }
    }
}

/// Ends `unit`. One that has ended is fine, and without systemd there is none.
pub(super) fn stop(acts: &Acts, unit: &str) -> Result<()> {
    let Ok(mut bus) = connect() else { return Ok(()) };
    match bus.call(acts, unit, "StopUnit", vec![Argument::Text("replace".to_owned())])? {
        Answer::Refused(name, text) if name != NO_SUCH_UNIT => {
            Err(Error::Said(format!("systemd: stop {unit}: {text}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(written: &str) -> Result<Unit> {
        Unit::of("web", Some(Path::new(written)), &HashMap::new())
    }

    #[test]
    fn a_unit_is_named_by_three_parts() {
        let podman = unit("machine.slice:libpod:abc").unwrap();
        assert_eq!(podman.path(), Path::new("machine.slice/libpod-abc.scope"));
        let kubelet = unit("kubepods-burstable-pod1.slice:cri-containerd:abc").unwrap();
        let below = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope";
        assert_eq!(kubelet.path(), Path::new(below));
        assert_eq!(unit(":x:y").unwrap().path(), Path::new("system.slice/x-y.scope"));
        assert_eq!(unit("-.slice::y").unwrap().path(), Path::new("y.scope"));
        assert_eq!(Unit::of("web", None, &HashMap::new()).unwrap().path(), Path::new("system.slice/skiff-web.scope"));
        for bad in
            ["/a/b", "a", "a.slice:b", "a.slice:b:c:d", "a--b.slice:b:c", "a:b:c", "a.slice:b:", "a.slice:b:c.slice"]
        {
            assert!(unit(bad).unwrap_err().to_string().starts_with("linux.cgroupsPath: "), "{bad}");
        }
    }
}
