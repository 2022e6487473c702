//! Writing limits to the controllers, whichever version each of them has.

use super::{Cgroup, Directory};
use crate::error::{Acts, Error, Result};
use crate::spec::{DeviceRule, Limits};
use crate::steps;
use cgroups_rs::blkio::BlkIoController;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use cgroups_rs::{MaxValue, error};
use nix::errno::Errno;

/// Device files that every container has (runtime-spec config-linux, Default Devices) and the terminals, as the device
/// controller names them: major and minor.
const DEFAULT_DEVICES: &[(i64, i64)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1)];

impl Cgroup {
    /// Writes all `limits`.
    ///
    /// # Errors
    /// A limit is asked whose controller the host lacks, or the kernel refuses a value; by field path or by file.
    pub(crate) fn limit(&self, acts: &Acts, limits: &Limits) -> Result<()> {
        let writer = Writer { cgroup: self, acts };
        writer.memory(limits)?;
        writer.cpu(limits)?;
        writer.cpuset(limits)?;
        writer.io(limits)?;
        if let Some(count) = limits.pids {
            let pids = writer.controller("pids", "pids.limit")?;
            let max = if count < 0 { MaxValue::Max } else { MaxValue::Value(count) };
            writer.write(pids, "pids.max", |pids: &PidController| pids.set_pid_max(max))?;
        }
        writer.unified(limits)?;
        writer.devices(&limits.devices)
    }

    /// Writes other limits while processes run. Version 1 refuses a memory limit above the old one for memory and swap, and
    /// the reverse, depending on the direction: what fails in one order is tried in the other.
    ///
    /// # Errors
    /// As for [`Cgroup::limit`].
    pub(crate) fn update(&self, acts: &Acts, limits: &Limits) -> Result<()> {
        if self.limit(acts, limits).is_ok() {
            return Ok(());
        }
        let swap_first = Limits { memory_bytes: None, ..limits.clone() };
        self.limit(acts, &swap_first)?;
        self.limit(acts, limits)
    }
}

/// The errno inside an error of cgroups-rs; `EIO` if it has none (a value that does not parse).
pub(super) fn errno(error: &error::Error) -> Errno {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.and_then(std::io::Error::raw_os_error).map_or(Errno::EIO, Errno::from_raw)
}

/// A controller of cgroups-rs over one directory.
trait Controller {
    fn over(directory: &Directory) -> Self;
}

macro_rules! controllers {
    ($($name:ty),*) => { $(impl Controller for $name {
        fn over(directory: &Directory) -> Self { Self::new(directory.path.clone(), directory.unified) }
    })* };
}
controllers!(MemController, CpuController, CpuSetController, PidController, BlkIoController);

struct Writer<'a> {
    cgroup: &'a Cgroup,
    acts: &'a Acts,
}

impl<'a> Writer<'a> {
    /// The directory of `controller`, because `field` asks for it.
    fn controller(&self, controller: &str, field: &str) -> Result<&'a Directory> {
        let missing =
            || Error::refused(format!("linux.resources.{field}"), format!("this host has no {controller} controller"));
        self.cgroup.directory(controller).ok_or_else(missing)
    }

    fn write<C: Controller>(
        &self,
        at: &Directory,
        file: &str,
        set: impl FnOnce(&C) -> error::Result<()>,
    ) -> Result<()> {
        let controller = C::over(at);
        let path = at.path.join(file);
        self.acts.step(&steps::CGROUP_LIMIT, path.display(), || set(&controller).map_err(|error| errno(&error)))
    }

    /// Writes a file that cgroups-rs does not know.
    fn write_file(&self, at: &Directory, file: &str, value: &str) -> Result<()> {
        let path = at.path.join(file);
        self.acts.step_io(&steps::CGROUP_LIMIT, path.display(), || {
            let mut file = std::fs::OpenOptions::new().write(true).open(&path)?;
            std::io::Write::write_all(&mut file, value.as_bytes())
        })
    }

    fn memory(&self, limits: &Limits) -> Result<()> {
        let at = |field: &str| self.controller("memory", &format!("memory.{field}"));
        if let Some(bytes) = limits.memory_bytes {
            self.write(at("limit")?, "memory limit", |memory: &MemController| memory.set_limit(bytes))?;
        }
        if let Some(total) = limits.memory_and_swap_bytes {
            let at = at("swap")?;
            let value = if at.unified { swap_alone(total, limits.memory_bytes)? } else { total };
            self.write(at, "memory swap limit", |memory: &MemController| memory.set_memswap_limit(value))?;
        }
        if let Some(bytes) = limits.memory_soft_bytes {
            self.write(at("reservation")?, "memory soft limit", |memory: &MemController| memory.set_soft_limit(bytes))?;
        }
        if let Some(bytes) = limits.memory_kernel_tcp_bytes {
            let at = self.version_1(at("kernelTCP")?, "memory.kernelTCP")?;
            self.write(at, "memory.kmem.tcp.limit_in_bytes", |memory: &MemController| memory.set_tcp_limit(bytes))?;
        }
        if let Some(percent) = limits.swappiness {
            let at = self.version_1(at("swappiness")?, "memory.swappiness")?;
            self.write(at, "memory.swappiness", |memory: &MemController| memory.set_swappiness(percent))?;
        }
        if limits.disable_oom_killer {
            let at = self.version_1(at("disableOOMKiller")?, "memory.disableOOMKiller")?;
            self.write(at, "memory.oom_control", MemController::disable_oom_killer)?;
        }
        Ok(())
    }

    fn cpu(&self, limits: &Limits) -> Result<()> {
        let at = |field: &str| self.controller("cpu", &format!("cpu.{field}"));
        if let Some(shares) = limits.cpu_shares {
            let at = at("shares")?;
            let value = if at.unified { weight(shares) } else { shares };
            self.write(at, "cpu shares", |cpu: &CpuController| cpu.set_shares(value))?;
        }
        // The period first: the kernel checks a quota against the period that is in force.
        if let Some(period) = limits.cpu_period_us {
            self.write(at("period")?, "cpu period", |cpu: &CpuController| cpu.set_cfs_period(period))?;
        }
        if let Some(quota) = limits.cpu_quota_us {
            self.write(at("quota")?, "cpu quota", |cpu: &CpuController| cpu.set_cfs_quota(quota))?;
        }
        if let Some(burst) = limits.cpu_burst_us {
            let at = at("burst")?;
            let file = if at.unified { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
            self.write_file(at, file, &burst.to_string())?;
        }
        if let Some(idle) = limits.cpu_idle {
            self.write_file(at("idle")?, "cpu.idle", &idle.to_string())?;
        }
        if let Some(period) = limits.cpu_rt_period_us {
            let at = self.version_1(at("realtimePeriod")?, "cpu.realtimePeriod")?;
            self.write(at, "cpu.rt_period_us", |cpu: &CpuController| cpu.set_rt_period_us(period))?;
        }
        if let Some(runtime) = limits.cpu_rt_runtime_us {
            let at = self.version_1(at("realtimeRuntime")?, "cpu.realtimeRuntime")?;
            self.write(at, "cpu.rt_runtime_us", |cpu: &CpuController| cpu.set_rt_runtime(runtime))?;
        }
        Ok(())
    }

    fn cpuset(&self, limits: &Limits) -> Result<()> {
        if let Some(cpus) = &limits.cpus {
            let at = self.controller("cpuset", "cpu.cpus")?;
            self.write(at, "cpuset.cpus", |cpuset: &CpuSetController| cpuset.set_cpus(cpus))?;
        }
        if let Some(mems) = &limits.mems {
            let at = self.controller("cpuset", "cpu.mems")?;
            self.write(at, "cpuset.mems", |cpuset: &CpuSetController| cpuset.set_mems(mems))?;
        }
        Ok(())
    }

    fn io(&self, limits: &Limits) -> Result<()> {
        use crate::spec::Throttled;
        let at = |field: &str| {
            let here = self.cgroup.directory("blkio").or_else(|| self.cgroup.directory("io"));
            here.ok_or_else(|| {
                Error::refused(format!("linux.resources.blockIO.{field}"), "this host has no blkio controller")
            })
        };
        if let Some(weight) = limits.io_weight {
            self.write(at("weight")?, "blkio.weight", |io: &BlkIoController| io.set_weight(weight.into()))?;
        }
        for limit in &limits.throttles {
            let (major, minor, rate) = (limit.major, limit.minor, limit.rate);
            self.write(at("throttle")?, "blkio throttle", |io: &BlkIoController| match limit.what {
                Throttled::ReadBytes => io.throttle_read_bps_for_device(major, minor, rate),
                Throttled::WriteBytes => io.throttle_write_bps_for_device(major, minor, rate),
                Throttled::ReadOperations => io.throttle_read_iops_for_device(major, minor, rate),
                Throttled::WriteOperations => io.throttle_write_iops_for_device(major, minor, rate),
            })?;
        }
        Ok(())
    }

    fn unified(&self, limits: &Limits) -> Result<()> {
        for (file, value) in &limits.unified {
            let at = self.cgroup.directories.iter().find(|directory| directory.unified);
            let field = format!("linux.resources.unified.{file}");
            let at = at.ok_or_else(|| Error::refused(field, "this host's controllers are of version 1"))?;
            self.write_file(at, file, value)?;
        }
        Ok(())
    }

    /// Version 1 takes the rules in order, and then what every container has. Version 2 has no files for devices but
    /// programs (eBPF); there the rules are not enforced yet, and `create` says so in its log.
    fn devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let Some(at) = self.cgroup.directory("devices").filter(|_| !rules.is_empty()) else { return Ok(()) };
        let controller = DevicesController::new(at.path.clone());
        let defaults = DEFAULT_DEVICES.iter().map(|(major, minor)| allow('c', *major, *minor, "rwm"));
        // Making device files is harmless: opening them is what the other rules guard.
        let making = [allow('c', -1, -1, "m"), allow('b', -1, -1, "m")];
        for rule in rules.iter().cloned().chain(making).chain(defaults) {
            let operand = format!("{}: {} {}:{} {}", at.path.display(), rule.kind, rule.major, rule.minor, rule.access);
            self.acts.step(&steps::CGROUP_DEVICE, operand, || {
                let (kind, access) = (device_type(rule.kind), permissions(&rule.access));
                let set = if rule.allow { DevicesController::allow_device } else { DevicesController::deny_device };
                set(&controller, kind, rule.major, rule.minor, &access).map_err(|error| errno(&error))
            })?;
        }
        Ok(())
    }

    fn version_1(&self, at: &'a Directory, field: &str) -> Result<&'a Directory> {
        let reason = "means nothing on cgroup version 2";
        if at.unified { Err(Error::refused(format!("linux.resources.{field}"), reason)) } else { Ok(at) }
    }
}

fn allow(kind: char, major: i64, minor: i64, access: &str) -> DeviceRule {
    DeviceRule { allow: true, kind, major, minor, access: access.to_owned() }
}

fn device_type(kind: char) -> DeviceType {
    match kind {
        'b' => DeviceType::Block,
        'c' => DeviceType::Char,
        _ => DeviceType::All,
    }
}

fn permissions(access: &str) -> Vec<DevicePermissions> {
    access.chars().filter_map(DevicePermissions::from_char).collect()
}

/// Version 1's shares (2 to 262,144) as version 2's weight (1 to 10,000), as the kubelet and runc convert them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// Version 2 counts swap alone, the specification memory and swap together.
fn swap_alone(total: i64, memory: Option<i64>) -> Result<i64> {
    match memory {
        _ if total < 0 => Ok(-1),
        Some(memory) if total >= memory => Ok(total - memory),
        _ => Err(Error::refused("linux.resources.memory.swap", "is less than memory.limit, or that is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_at_both_ends() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(262_144)), (1, 1, 39, 10_000));
    }

    #[test]
    fn swap_is_counted_without_memory() {
        assert_eq!(swap_alone(300, Some(100)).unwrap(), 200);
        assert_eq!(swap_alone(-1, None).unwrap(), -1);
        assert!(swap_alone(50, Some(100)).is_err());
    }
}
