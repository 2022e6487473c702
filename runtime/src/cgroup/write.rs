//! Performs what the plans say: each value is one step with its field's path.

use super::hierarchy::Version;
use super::plan::{Group, Knot, Write, plan};
use super::{Cgroup, Directory, device};
use crate::error::{Acts, Error, Result};
use crate::kernfs::{get, put};
use crate::plan::is_below_host;
use crate::spec::{DeviceRule, Limits};
use crate::steps;
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;

/// By which our program is known among others (systemd attaches its own).
const DEVICE_PROGRAM: &CStr = c"skiff_devices";

impl Group for Cgroup {
    fn version(&self, controller: &str) -> Option<Version> {
        self.place(controller).map(|directory| if directory.unified { Version::Two } else { Version::One })
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        get(&self.place(controller)?.path.join(file)).ok()
    }
}

impl Cgroup {
    /// The directory of `controller`; by the name `cgroup` the one whose files belong to no controller.
    fn place(&self, controller: &str) -> Option<&Directory> {
        if controller == "cgroup" { self.unified() } else { self.directory(controller) }
    }

    /// Writes all `limits`, those of a running container's as well as a new one's.
    ///
    /// # Errors
    /// A limit is asked whose controller is missing, or the kernel refuses a value; by field path.
    pub(crate) fn limit(&self, acts: &Acts, limits: &Limits) -> Result<()> {
        for knot in plan(limits, self)? {
            self.tie(acts, &knot)?;
        }
        if limits.devices.is_empty() { Ok(()) } else { self.guard_devices(acts, &limits.devices) }
    }

    /// Writes other `limits` while the container runs.
    ///
    /// # Errors
    /// As for [`Cgroup::limit`]; or systemd refuses.
    pub(crate) fn update(&self, acts: &Acts, limits: &Limits) -> Result<()> {
        if let Some(unit) = &self.unit {
            self.set_properties(acts, unit, limits)?;
        }
        self.limit(acts, limits)
    }

    /// Writes the values of `knot`; what the kernel refuses beside the old ones is tried again beside the new ones.
    fn tie(&self, acts: &Acts, Knot(writes): &Knot) -> Result<()> {
        let mut again = Vec::new();
        for write in writes {
            match self.write(acts, write) {
                Err(error) if writes.len() > 1 && error.errno() == Some(Errno::EINVAL) => again.push(write),
                result => result?,
            }
        }
        again.into_iter().try_for_each(|write| self.write(acts, write))
    }

    fn write(&self, acts: &Acts, write: &Write) -> Result<()> {
        let field = format!("linux.resources.{}", write.field);
        let directory = self.place(&write.controller);
        let directory =
            directory.ok_or_else(|| Error::refused(&field, format!("the {} controller is gone", write.controller)))?;
        let path = directory.path.join(&*write.file);
        let operand = format!("{field} = {} at {}", write.value, path.display());
        match acts.step_io(&steps::CGROUP_LIMIT, operand, || put(&path, &write.value)) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                Err(Error::refused(field, missing(directory, &write.file)))
            }
            // The kernel says how little is possible only by what is in use.
            Err(error) if error.errno() == Some(Errno::EBUSY) && write.controller == "memory" => {
                Err(Error::Said(format!("{error} ({} bytes in use)", used(directory))))
            }
            // Which processors and which memory there are is the group's above to say.
            Err(error) if write.controller == "cpuset" && error.errno() != Some(Errno::EBUSY) => {
                Err(Error::Said(format!("{error}{}", offered(directory, &write.file))))
            }
            result => result,
        }
    }

    fn guard_devices(&self, acts: &Acts, rules: &[DeviceRule]) -> Result<()> {
        let rules = device::complete(rules);
        if let Some(directory) = self.directory("devices") {
            return write_rules(acts, directory, &rules);
        }
        match self.unified() {
            Some(directory) => match attach_program(acts, directory, &rules) {
                // Programs are the host's root's to load. Who is not cannot make or reach the host's devices either, and
                // goes without, as with runc.
                Err(error) if error.errno() == Some(Errno::EPERM) && is_below_host() => Ok(()),
                result => result,
            },
            // Without rights over cgroups there is no group to guard.
            None if self.directories.is_empty() => Ok(()),
            None => Err(Error::refused("linux.resources.devices", "there is no devices controller for this container")),
        }
    }
}

fn missing(directory: &Directory, file: &str) -> String {
    match directory.path.is_dir() {
        true => format!("this kernel has no {file}"),
        false => format!("the cgroup {} is gone", directory.path.display()),
    }
}

fn offered(directory: &Directory, file: &str) -> String {
    let above = directory.path.parent().unwrap_or(&directory.path);
    let names = [format!("{file}.effective"), file.to_owned()];
    let read = |name: &String| std::fs::read_to_string(above.join(name)).ok();
    names.iter().find_map(read).map_or_else(String::new, |text| format!(": the group above has {}", text.trim()))
}

fn used(directory: &Directory) -> String {
    let used = std::fs::read_to_string(directory.path.join("memory.usage_in_bytes"));
    used.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn write_rules(acts: &Acts, directory: &Directory, rules: &[DeviceRule]) -> Result<()> {
    let list = directory.path.join("devices.list");
    let now = acts.step_io(&steps::CGROUP_DEVICE, list.display(), || get(&list))?;
    let mut open: Option<(&str, File)> = None;
    for (name, line) in device::plan(rules, &now)? {
        let path = directory.path.join(name);
        let operand = format_args!("linux.resources.devices: {line} to {}", path.display());
        acts.step_io(&steps::CGROUP_DEVICE, operand, || {
            let file = match &mut open {
                Some((same, file)) if *same == name => file,
                other => &mut other.insert((name, File::options().write(true).open(&path)?)).1,
            };
            file.write_all(line.as_bytes())
        })?;
    }
    Ok(())
}

/// In the place of the program from before, if there is one: at no moment is the container without rules.
fn attach_program(acts: &Acts, directory: &Directory, rules: &[DeviceRule]) -> Result<()> {
    let program = device::compile(rules);
    let operand = format!("linux.resources.devices: {} instructions at {}", program.len(), directory.path.display());
    acts.step(&steps::CGROUP_DEVICE, operand, || {
        let group = File::open(&directory.path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        let loaded = skiff_sys::bpf::load_device_program(&program, DEVICE_PROGRAM)?;
        let before = skiff_sys::bpf::attached(group.as_fd(), DEVICE_PROGRAM)?;
        skiff_sys::bpf::attach(group.as_fd(), loaded.as_fd(), before.as_ref().map(AsFd::as_fd))
    })
}
