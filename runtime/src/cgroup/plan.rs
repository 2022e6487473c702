//! Which value goes to which file of which controller: limits in, writes out. No I/O of its own; what the group shows
//! today is asked through [`Group`].
//!
//! Writes come in knots: values that the kernel checks against each other (a quota against its period, memory against
//! memory and swap). Whether a knot is tightened or widened, one of the two orders is refused, so the actor tries a refused
//! write of a knot again after the others. Facts of the files: kernel admin-guide/cgroup-v1 and cgroup-v2.

mod convert;
mod cpu;
mod io;
mod memory;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::Paper;

pub(super) use convert::{cpu_weight, swap_alone};

use super::hierarchy::Version;
use crate::error::{Error, Result};
use crate::spec::{HugePages, Limits, Network, Rdma};
use std::borrow::Cow;

type Text = Cow<'static, str>;

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The controller that has the file.
    pub(crate) controller: Text,
    /// The file's name.
    pub(crate) file: Text,
    pub(crate) value: String,
    /// Who asks, below `linux.resources`.
    pub(crate) field: Text,
}

/// Writes whose values the kernel checks against each other, in the order in which they usually succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Knot(pub(crate) Vec<Write>);

/// A container's group as the plan sees it.
pub(crate) trait Group {
    /// The interface through which the group is under `controller`, if it is.
    fn version(&self, controller: &str) -> Option<Version>;
    /// What a file of it shows now; `None` when there is no such file.
    fn read(&self, controller: &str, file: &str) -> Option<String>;
}

/// Decides.
///
/// # Errors
/// A limit whose controller the group lacks, or that its version cannot express; by field path.
pub(crate) fn plan(limits: &Limits, group: &dyn Group) -> Result<Vec<Knot>> {
    let mut knots = memory::plan(&limits.memory, group)?;
    knots.extend(cpu::plan(&limits.cpu, group)?);
    knots.extend(io::plan(&limits.io, group)?);
    knots.extend(pids(limits.pids, group)?);
    knots.extend(huge_pages(&limits.huge_pages, group)?);
    knots.extend(rdma(&limits.rdma, group)?);
    knots.extend(network(&limits.network, group)?);
    knots.extend(unified(&limits.unified, group)?);
    Ok(knots)
}

fn write(controller: &'static str, file: impl Into<Text>, value: impl ToString, field: impl Into<Text>) -> Write {
    Write { controller: controller.into(), file: file.into(), value: value.to_string(), field: field.into() }
}

/// A write whose success depends on no other.
fn single(controller: &'static str, file: impl Into<Text>, value: impl ToString, field: impl Into<Text>) -> Knot {
    Knot(vec![write(controller, file, value, field)])
}

fn refused(field: &str, reason: impl Into<String>) -> Error {
    Error::refused(format!("linux.resources.{field}"), reason)
}

/// The interface to `controller`, which `field` asks for.
fn version(group: &dyn Group, controller: &str, field: &str) -> Result<Version> {
    let missing = || refused(field, format!("there is no {controller} controller for this container"));
    group.version(controller).ok_or_else(missing)
}

/// For a field that only version 1 has.
fn only_version_1(group: &dyn Group, controller: &str, field: &str) -> Result<()> {
    match version(group, controller, field)? {
        Version::One => Ok(()),
        Version::Two => Err(refused(field, "means nothing on cgroup version 2")),
    }
}

/// -1 is no limit: a word on version 2 and for pids, the number itself in the other files of version 1.
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn pids(count: Option<i64>, group: &dyn Group) -> Result<Option<Knot>> {
    let Some(count) = count else { return Ok(None) };
    version(group, "pids", "pids.limit")?;
    Ok(Some(single("pids", "pids.max", or_max(count), "pids.limit")))
}

/// A reservation beyond the limit would be met with SIGBUS at the first touch, so both are limited where the kernel can.
fn huge_pages(all: &[HugePages], group: &dyn Group) -> Result<Vec<Knot>> {
    let mut knots = Vec::new();
    for (index, pages) in all.iter().enumerate() {
        let field = format!("hugepageLimits[{index}]");
        let end = match version(group, "hugetlb", &field)? {
            Version::One => "limit_in_bytes",
            Version::Two => "max",
        };
        let (used, reserved) = (format!("hugetlb.{}.{end}", pages.size), format!("hugetlb.{}.rsvd.{end}", pages.size));
        let can_reserve = group.read("hugetlb", &reserved).is_some();
        knots.push(single("hugetlb", used, pages.bytes, field.clone()));
        knots.extend(can_reserve.then(|| single("hugetlb", reserved, pages.bytes, field)));
    }
    Ok(knots)
}

fn rdma(all: &[Rdma], group: &dyn Group) -> Result<Vec<Knot>> {
    let one = |rdma: &Rdma| {
        let field = format!("rdma.{}", rdma.device);
        version(group, "rdma", &field)?;
        let handles = rdma.handles.map(|count| format!(" hca_handle={count}")).unwrap_or_default();
        let objects = rdma.objects.map(|count| format!(" hca_object={count}")).unwrap_or_default();
        Ok(single("rdma", "rdma.max", format!("{}{handles}{objects}", rdma.device), field))
    };
    all.iter().map(one).collect()
}

fn network(network: &Network, group: &dyn Group) -> Result<Vec<Knot>> {
    let mut knots = Vec::new();
    if let Some(class) = network.class {
        only_version_1(group, "net_cls", "network.classID")?;
        knots.push(single("net_cls", "net_cls.classid", class, "network.classID"));
    }
    for (index, (interface, priority)) in network.priorities.iter().enumerate() {
        let field = format!("network.priorities[{index}]");
        only_version_1(group, "net_prio", &field)?;
        knots.push(single("net_prio", "net_prio.ifpriomap", format!("{interface} {priority}"), field));
    }
    Ok(knots)
}

/// Files of version 2 by name. A value of several lines is several writes: the files that take lists take one line each.
fn unified(all: &[(String, String)], group: &dyn Group) -> Result<Vec<Knot>> {
    let mut knots = Vec::new();
    for (file, value) in all {
        let field = format!("unified.{file}");
        let Some((controller, _)) = file.split_once('.') else {
            return Err(refused(&field, "is not of the form CONTROLLER.PARAMETER"));
        };
        match group.version(controller) {
            Some(Version::Two) => (),
            Some(Version::One) => return Err(refused(&field, format!("{controller} is of version 1 on this host"))),
            None => return Err(refused(&field, format!("there is no {controller} controller for this container"))),
        }
        for line in value.lines() {
            let (controller, file) = (controller.to_owned().into(), file.clone().into());
            knots.push(Knot(vec![Write { controller, file, value: line.to_owned(), field: field.clone().into() }]));
        }
    }
    Ok(knots)
}
