//! What was asked for: config.json read twice, first as written ([`config`]), then as meant (these types).
//!
//! As meant, nothing is optional that the runtime relies on, and nothing is left that it would ignore: a field that cannot
//! be honoured is refused by its path. Inert by the specification or by the kernel, and so not refused:
//! `linux.resources.memory.kernel` and `.useHierarchy` (gone from Linux), `process.commandLine` (Windows),
//! `process.user.username` (Windows), other platforms' sections, unknown properties (runtime-spec, Extensibility).

pub(crate) mod config;
#[cfg(test)]
mod fields;
pub(crate) mod ids;
mod limits;
mod mount;
mod namespaces;
mod options;
mod process;
mod rdt;
mod resources;
mod treatment;

pub(crate) use limits::{
    Access, Cpu, DeviceKind, DevicePattern, DeviceRule, DeviceWeight, HugePages, Io, Limits, Memory, Network, Rdma,
    Throttle, Throttled,
};
pub(crate) use mount::{CopyUp, Datum, Mount, Owners, What};
pub(crate) use namespaces::{IdMap, KINDS, Namespaces, NetDevice, Offset};
pub(crate) use options::ALL as MOUNT_OPTIONS;
pub(crate) use process::Process;
pub(crate) use rdt::{Class, Rdt, resource, schemata};
pub(crate) use treatment::Treatment;
#[cfg(test)]
pub(crate) use treatment::{MEMORY_FLAGS, MEMORY_MODES};

use crate::error::{Error, On, Result};
use crate::mutant;
use crate::seccomp;
use config::{Config, Hooks, Linux};
use skiff_sys::mount::{Depth, Propagation};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::{Component, Path, PathBuf};

/// The version of the specification that this is.
pub(crate) const VERSION: &str = "1.3.0";

/// A container as meant.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The root filesystem on the host, absolute.
    pub(crate) rootfs: PathBuf,
    /// Whether `/` is read-only.
    pub(crate) readonly_root: bool,
    /// In order.
    pub(crate) mounts: Vec<Mount>,
    /// The program.
    pub(crate) process: Process,
    /// UTS names.
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Namespaces.
    pub(crate) namespaces: Namespaces,
    /// Who is who in a new user namespace.
    pub(crate) uid_maps: Vec<IdMap>,
    pub(crate) gid_maps: Vec<IdMap>,
    /// How far its clocks are from the host's.
    pub(crate) offsets: Vec<Offset>,
    /// Interfaces of the host that move in.
    pub(crate) net_devices: Vec<NetDevice>,
    /// Device files beside the default ones.
    pub(crate) devices: Vec<config::Device>,
    /// Hidden.
    pub(crate) masked_paths: Vec<PathBuf>,
    /// Read-only.
    pub(crate) readonly_paths: Vec<PathBuf>,
    /// Kernel parameters of the namespaces, as `/proc/sys` paths and values.
    pub(crate) sysctl: Vec<(PathBuf, String)>,
    /// How mount events travel to and from the container's root.
    pub(crate) propagation: (Propagation, Depth),
    /// Below each hierarchy's root; relative.
    pub(crate) cgroup: PathBuf,
    /// What the cgroup allows.
    pub(crate) limits: Limits,
    /// Its class of cache and memory bandwidth.
    pub(crate) rdt: Option<Rdt>,
    /// Which system calls are answered how.
    pub(crate) seccomp: Option<seccomp::Filter>,
    /// Programs to run at points of the life.
    pub(crate) hooks: Hooks,
    /// Free words.
    pub(crate) annotations: HashMap<String, String>,
    /// What is not honoured and not refused either, because every peer takes it.
    pub(crate) warnings: Vec<String>,
}

/// Reads `<bundle>/config.json` as written.
///
/// # Errors
/// It is missing, or not of the specification's shape; with its path.
pub(crate) fn read(file: &Path) -> Result<Config> {
    let bytes = std::fs::read(file).on("read", file.display())?;
    config::parse("", file.display(), &bytes)
}

impl Spec {
    /// Reads `written` as meant, for the container `id` of `bundle`.
    ///
    /// # Errors
    /// The first field that is missing or cannot be honoured.
    pub(crate) fn check(id: &str, bundle: &Path, written: &Config) -> Result<Self> {
        check_version(&written.oci_version)?;
        let root = written.root.as_ref().ok_or_else(|| Error::refused("root", "is missing"))?;
        let nothing = Linux::default();
        let linux = written.linux.as_ref().unwrap_or(&nothing);
        let namespaces = Namespaces::check(linux.namespaces.as_deref().unwrap_or_default())?;
        let mounts = written.mounts.iter().flatten().enumerate();
        let label = linux.mount_label.as_deref().filter(|label| !label.is_empty());
        let mut warnings = Vec::new();
        let mounts = mounts
            .map(|(index, mount)| labelled(absolute_source(bundle, Mount::check(index, mount, &mut warnings)?), label));
        let mounts = mounts.collect::<Result<_>>()?;
        let spec = Self {
            rootfs: bundle.join(&root.path),
            readonly_root: root.readonly.unwrap_or(false),
            mounts,
            process: first_process(written.process.as_ref(), linux)?,
            hostname: written.hostname.clone().filter(|name| !name.is_empty()),
            domainname: written.domainname.clone().filter(|name| !name.is_empty()),
            uid_maps: IdMap::read("linux.uidMappings", linux.uid_mappings.as_ref())?,
            gid_maps: IdMap::read("linux.gidMappings", linux.gid_mappings.as_ref())?,
            offsets: Offset::read(linux.time_offsets.as_ref(), &namespaces)?,
            net_devices: NetDevice::read(linux.net_devices.as_ref(), &namespaces)?,
            devices: linux.devices.clone().unwrap_or_default(),
            masked_paths: paths(linux.masked_paths.as_deref()),
            readonly_paths: paths(linux.readonly_paths.as_deref()),
            sysctl: sysctl(linux.sysctl.as_ref(), &namespaces)?,
            propagation: propagation(linux.rootfs_propagation.as_deref())?,
            cgroup: cgroup_path(id, linux.cgroups_path.as_deref())?,
            limits: Limits::check(linux.resources.as_ref())?,
            rdt: Rdt::check(id, linux.intel_rdt.as_ref())?,
            seccomp: linux.seccomp.as_ref().map(seccomp::Filter::check).transpose()?,
            hooks: check_hooks(written.hooks.clone().unwrap_or_default())?,
            annotations: written.annotations.clone().unwrap_or_default(),
            namespaces,
            warnings,
        };
        spec.check_together()?;
        if spec.namespaces.shares_mounts() {
            spec.check_shared_mounts(linux)?;
        }
        Ok(spec)
    }

    /// What is mounted for a container that has no mount namespace would be mounted on the host.
    fn check_shared_mounts(&self, linux: &Linux) -> Result<()> {
        let needs = [
            ("mounts", !self.mounts.is_empty()),
            ("root.readonly", self.readonly_root),
            ("process.terminal", self.process.terminal.is_some()),
            ("linux.maskedPaths", !self.masked_paths.is_empty()),
            ("linux.readonlyPaths", !self.readonly_paths.is_empty()),
            ("linux.rootfsPropagation", linux.rootfs_propagation.as_deref().is_some_and(|word| !word.is_empty())),
        ];
        if let Some((field, _)) = needs.iter().find(|(_, is_asked)| *is_asked) {
            return Err(Error::refused(*field, "without a mount namespace the host's mounts would change"));
        }
        if self.namespaces.has(libc::CLONE_NEWUSER) {
            let reason = "a user namespace needs a mount namespace too: its devices are mounted";
            return Err(Error::refused("linux.namespaces", reason));
        }
        Ok(())
    }

    /// What only makes sense together.
    fn check_together(&self) -> Result<()> {
        let makes_users = self.namespaces.makes(libc::CLONE_NEWUSER);
        if makes_users && (self.uid_maps.is_empty() || self.gid_maps.is_empty()) {
            return Err(Error::refused("linux.uidMappings", "a new user namespace needs uid and gid mappings"));
        }
        let has_maps = !(self.uid_maps.is_empty() && self.gid_maps.is_empty());
        if has_maps && !self.namespaces.has(libc::CLONE_NEWUSER) {
            return Err(Error::refused("linux.uidMappings", "mappings need a user namespace"));
        }
        let maps_by_container = |mount: &Mount| mount.owners.as_ref().is_some_and(|owners| owners.maps.is_none());
        if let Some(index) = self.mounts.iter().position(maps_by_container)
            && !self.namespaces.has(libc::CLONE_NEWUSER)
        {
            let reason = "`idmap` needs uidMappings and gidMappings, or a user namespace of the container";
            return Err(Error::refused(format!("mounts[{index}].options"), reason));
        }
        let named = [("hostname", &self.hostname), ("domainname", &self.domainname)];
        if let Some((field, _)) = named.iter().find(|(_, name)| name.is_some())
            && !self.namespaces.has(libc::CLONE_NEWUTS)
        {
            return Err(Error::refused(*field, "without a UTS namespace the host's name would change"));
        }
        Ok(())
    }
}

/// `execCPUAffinity` is not for the container's first process (config, Linux Process).
/// A container may be created without a process, and then cannot be started (config, Process).
fn first_process(written: Option<&config::Process>, linux: &Linux) -> Result<Process> {
    let Some(written) = written else { return Process::none(linux) };
    let mut process = Process::check("process", written, Some(linux))?;
    (process.treatment.cpus_before, process.treatment.cpus) = (None, None);
    Ok(process)
}

fn check_version(version: &str) -> Result<()> {
    let major = version.split('.').next().unwrap_or_default();
    if major == "1" { Ok(()) } else { Err(Error::refused("ociVersion", format!("`{version}` is not 1.x"))) }
}

fn absolute_source(bundle: &Path, mut mount: Mount) -> Mount {
    if let What::Bind { source, .. } = &mut mount.what {
        *source = bundle.join(&*source);
    }
    mount
}

/// Filesystems whose files have labels of their own take none for the whole mount.
const UNLABELLED: &[&CStr] = &[c"proc", c"sysfs", c"mqueue"];

/// `linux.mountLabel` as the option `context` of new filesystems (selinux(8), mount options).
fn labelled(mut mount: Mount, label: Option<&str>) -> Result<Mount> {
    if let (What::Fresh { kind, data, .. }, Some(label)) = (&mut mount.what, label)
        && !UNLABELLED.contains(&kind.as_c_str())
    {
        let label = CString::new(label).map_err(|_| Error::refused("linux.mountLabel", "has a NUL character"))?;
        data.push((c"context".to_owned(), Some(label)));
    }
    Ok(mount)
}

/// Paths inside the container. Relative ones are from its root, which is where other runtimes stand when they use them.
fn paths(written: Option<&[String]>) -> Vec<PathBuf> {
    written.unwrap_or_default().iter().map(|path| Path::new("/").join(path)).collect()
}

/// Only parameters that belong to a namespace of the container; all others are the host's.
fn sysctl(written: Option<&HashMap<String, String>>, namespaces: &Namespaces) -> Result<Vec<(PathBuf, String)>> {
    const IPC: &[&str] =
        &["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"];
    const IPC_MORE: &[&str] = &["kernel.shmmni", "kernel.shm_rmid_forced"];
    let mut checked = Vec::new();
    for (key, value) in written.into_iter().flatten() {
        let dotted = key.replace('/', ".");
        let kind = match dotted.as_str() {
            name if IPC.contains(&name) || IPC_MORE.contains(&name) || name.starts_with("fs.mqueue.") => {
                libc::CLONE_NEWIPC
            }
            name if name.starts_with("net.") => libc::CLONE_NEWNET,
            "kernel.domainname" | "kernel.hostname" => libc::CLONE_NEWUTS,
            _ => return Err(Error::refused(format!("linux.sysctl.{key}"), "does not belong to a namespace")),
        };
        if !namespaces.has(kind) && !mutant::has("CVE-2022-0811") {
            return Err(Error::refused(
                format!("linux.sysctl.{key}"),
                "would change the host: its namespace is shared",
            ));
        }
        // sysctl(8): where the key has slashes, dots are part of a name (an interface such as eth0.1).
        let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
        if Path::new(&path).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::refused(format!("linux.sysctl.{key}"), "is not a parameter's name"));
        }
        checked.push((Path::new("sys").join(path), value.clone()));
    }
    checked.sort();
    Ok(checked)
}

fn propagation(written: Option<&str>) -> Result<(Propagation, Depth)> {
    Ok(match written.unwrap_or_default() {
        // What containers expect: mounts of the host arrive, none leave.
        "" | "rslave" => (Propagation::Slave, Depth::Tree),
        "slave" => (Propagation::Slave, Depth::One),
        "private" => (Propagation::Private, Depth::One),
        "rprivate" => (Propagation::Private, Depth::Tree),
        "shared" => (Propagation::Shared, Depth::One),
        "rshared" => (Propagation::Shared, Depth::Tree),
        "unbindable" => (Propagation::Unbindable, Depth::One),
        "runbindable" => (Propagation::Unbindable, Depth::Tree),
        other => return Err(Error::refused("linux.rootfsPropagation", format!("`{other}` is unknown"))),
    })
}

/// Absolute: below each hierarchy's root. Relative or missing: below our own folder there, never below the caller's cgroup.
fn cgroup_path(id: &str, written: Option<&Path>) -> Result<PathBuf> {
    let written = written.filter(|path| !path.as_os_str().is_empty());
    let path = match written {
        Some(path) if path.is_absolute() => path.to_owned(),
        Some(path) => Path::new("/skiff-oci").join(path),
        None => Path::new("/skiff-oci").join(id),
    };
    let relative = path.strip_prefix("/").unwrap_or(&path);
    let is_plain = |part| matches!(part, Component::Normal(_));
    if relative.as_os_str().is_empty() || !relative.components().all(is_plain) {
        return Err(Error::refused("linux.cgroupsPath", format!("`{}` is not a path below the root", path.display())));
    }
    Ok(relative.to_owned())
}

fn check_hooks(hooks: Hooks) -> Result<Hooks> {
    let lists = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (name, list) in lists {
        for (index, hook) in list.iter().flatten().enumerate() {
            if !hook.path.is_absolute() {
                return Err(Error::refused(format!("hooks.{name}[{index}].path"), "is not an absolute path"));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(Error::refused(format!("hooks.{name}[{index}].timeout"), "is not above zero"));
            }
        }
    }
    Ok(hooks)
}

#[cfg(test)]
mod tests;
