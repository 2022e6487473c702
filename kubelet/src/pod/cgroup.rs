//! The cgroups above containers: `<root>/kubepods/[burstable|besteffort/]pod<uid>`.
//!
//! All through cgroups-rs, which finds the controllers itself, on v1, hybrid and v2 hosts. The runtime makes the
//! containers' cgroups below these. Nothing outside the configured root is touched.

use super::resources::{Needs, PERIOD_US, Qos, qos_class, quota, shares};
use cgroups_rs::cgroup::Cgroup;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::hierarchies;
use cgroups_rs::memory::MemController;
use k8s_openapi::api::core::v1::Pod;

/// How the kernel is told that there is no limit.
const UNLIMITED: i64 = -1;

/// The path of a pod's cgroup, relative to the hierarchies' roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodCgroup(String);

impl PodCgroup {
    /// The cgroup of `pod` below `root`.
    pub(crate) fn of(root: &str, pod: &Pod) -> Self {
        let class = pod.spec.as_ref().map_or(Qos::BestEffort, qos_class);
        Self::named(root, class, pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// The cgroup of the pod `uid` in `class`.
    pub(crate) fn named(root: &str, class: Qos, uid: &str) -> Self {
        Self(format!("{}/kubepods/{}pod{uid}", root.trim_matches('/'), class.folder()))
    }

    /// As CRI wants it.
    pub(crate) fn absolute(&self) -> String {
        format!("/{}", self.0)
    }

    /// Makes it with what `needs` allows; one that stands gets it again, and loses limits that are no longer there.
    ///
    /// # Errors
    /// The kernel refuses a folder or a limit.
    pub(crate) fn create(&self, needs: &Needs) -> Result<(), String> {
        let group = Cgroup::new(hierarchies::auto(), &self.0).map_err(|error| self.blame("create", &error))?;
        if let Some(cpu) = group.controller_of::<CpuController>() {
            let shares = shares(needs.cpu_request).unsigned_abs();
            let weight = if group.v2() { weight(shares) } else { shares };
            cpu.set_shares(weight).map_err(|error| self.blame("set cpu.shares of", &error))?;
            let quota = needs.cpu_limit.map_or(UNLIMITED, quota);
            cpu.set_cfs_quota_and_period(Some(quota), Some(PERIOD_US.unsigned_abs()))
                .map_err(|error| self.blame("set the CPU quota of", &error))?;
        }
        if let Some(memory) = group.controller_of::<MemController>() {
            let limit = needs.memory_limit.unwrap_or(UNLIMITED);
            memory.set_limit(limit).map_err(|error| self.blame("set the memory limit of", &error))?;
        }
        Ok(())
    }

    /// Removes it; one that is gone is fine.
    ///
    /// # Errors
    /// It still has processes or children.
    pub(crate) fn remove(&self) -> Result<(), String> {
        let group = Cgroup::load(hierarchies::auto(), &self.0);
        if !group.exists() {
            return Ok(());
        }
        group.delete().map_err(|error| self.blame("remove", &error))
    }

    fn blame(&self, operation: &str, error: &cgroups_rs::error::Error) -> String {
        format!("{operation} cgroup {}: {error}", self.absolute())
    }
}

/// cpu.weight for cpu.shares: the logarithmic curve through (2, 1), (1024, 100) and (262144, 10000) of
/// KEP-2254's successor in OCI runtimes, so that pod and container weights are on the same scale.
fn weight(shares: u64) -> u64 {
    let (shares, scale) = (shares.clamp(2, 262_144) as f64, 612.0);
    let log = shares.log2();
    let exponent = (log * log + 125.0 * log) / scale - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// Makes the folders that all pods share.
///
/// # Errors
/// The kernel refuses one.
pub(crate) fn create_parents(root: &str) -> Result<(), String> {
    for class in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
        let path = format!("{}/kubepods/{}", root.trim_matches('/'), class.folder());
        let path = path.trim_end_matches('/');
        Cgroup::new(hierarchies::auto(), path).map_err(|error| format!("create cgroup /{path}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_curve() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 100, 10_000));
    }

    /// What was once asked for and is not any more does not stay in the kernel.
    #[test]
    fn limits_that_are_taken_back_are_gone() {
        let root = format!("skiff-test-{}", std::process::id());
        let group = PodCgroup::named(&root, Qos::Burstable, "u1");
        let limits = || {
            let at = Cgroup::load(hierarchies::auto(), &group.0);
            let quota = at.controller_of::<CpuController>().unwrap().cfs_quota().unwrap();
            let memory = at.controller_of::<MemController>().unwrap().memory_stat();
            (quota, memory.limit_in_bytes, memory.soft_limit_in_bytes)
        };
        group.create(&Needs::default()).unwrap();
        let without = limits();
        let needs = Needs { cpu_limit: Some(500), memory_limit: Some(64 << 20), ..Needs::default() };
        group.create(&needs).unwrap();
        let with = limits();
        group.create(&Needs::default()).unwrap();
        let again = limits();
        group.remove().unwrap();
        for folder in ["/kubepods/burstable", "/kubepods", ""] {
            Cgroup::load(hierarchies::auto(), format!("{root}{folder}")).delete().unwrap();
        }
        assert_eq!((with.0, with.1), (50_000, 64 << 20));
        assert_eq!(again, without);
    }

    #[test]
    fn a_pod_has_its_place() {
        assert_eq!(PodCgroup::named("/skiff", Qos::BestEffort, "u1").absolute(), "/skiff/kubepods/besteffort/podu1");
        assert_eq!(PodCgroup::named("/skiff", Qos::Guaranteed, "u1").absolute(), "/skiff/kubepods/podu1");
    }
}
