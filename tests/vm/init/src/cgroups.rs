//! The cgroup hierarchies: version 1, version 2, or both, mounted where hosts have them.

use crate::{On, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use skiff_vm_init::plan::Layout;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const ROOT: &str = "/sys/fs/cgroup";
/// Controllers that hosts mount together, under both names (systemd does).
const TOGETHER: &[(&str, &str)] = &[("cpu", "cpuacct"), ("net_cls", "net_prio")];

/// Mounts `layout`.
pub(crate) fn mount_all(layout: Layout) -> Result<()> {
    match layout {
        Layout::V2 => {
            mount_one("cgroup2", ROOT, "nsdelegate,memory_recursiveprot").on("mount cgroup2", ROOT)?;
            enable_all()
        }
        Layout::V1 => mount_version_1(),
        Layout::Hybrid => {
            mount_version_1()?;
            let at = format!("{ROOT}/unified");
            fs::create_dir(&at).on("mkdir", &at)?;
            mount_one("cgroup2", &at, "nsdelegate").on("mount cgroup2", &at)
        }
    }
}

fn mount_one(kind: &str, at: &str, options: &str) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), at, Some(kind), flags, Some(options))
}

/// Children have only the controllers that their parent lists.
fn enable_all() -> Result<()> {
    let controllers = fs::read_to_string(format!("{ROOT}/cgroup.controllers")).on("read", "cgroup.controllers")?;
    for name in controllers.split_whitespace() {
        let file = format!("{ROOT}/cgroup.subtree_control");
        fs::write(&file, format!("+{name}")).on(&format!("enable {name} in"), &file)?;
    }
    Ok(())
}

fn mount_version_1() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), ROOT, Some("tmpfs"), flags, Some("mode=755")).on("mount tmpfs", ROOT)?;
    let table = fs::read_to_string("/proc/cgroups").on("read", "/proc/cgroups")?;
    let mut names: Vec<String> = enabled(&table).map(str::to_owned).collect();
    for (first, second) in TOGETHER {
        if names.iter().any(|name| name == first) && names.iter().any(|name| name == second) {
            names.retain(|name| name != first && name != second);
            names.push(format!("{first},{second}"));
        }
    }
    for name in &names {
        let at = format!("{ROOT}/{name}");
        fs::create_dir(&at).on("mkdir", &at)?;
        match mount_one("cgroup", &at, name) {
            // Kernels are built without version 1 of a controller, and /proc/cgroups lists it nevertheless.
            Err(Errno::EINVAL) => {
                println!("skiff-vm-init: this kernel has no version 1 of {name}");
                fs::remove_dir(&at).on("rmdir", &at)?;
                continue;
            }
            mounted => mounted.on("mount cgroup", &at)?,
        }
        for alias in name.split(',').filter(|alias| alias != name) {
            let link = Path::new(ROOT).join(alias);
            symlink(name, &link).on("symlink", link.display())?;
        }
    }
    // Where systemd keeps its own groups; engines expect it beside the controllers.
    let systemd = format!("{ROOT}/systemd");
    fs::create_dir(&systemd).on("mkdir", &systemd)?;
    mount_one("cgroup", &systemd, "none,name=systemd").on("mount cgroup", &systemd)
}

/// The controllers that `/proc/cgroups` says are enabled: `name hierarchy groups enabled`.
fn enabled(table: &str) -> impl Iterator<Item = &str> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words.get(3) == Some(&"1")).then(|| words[0])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_controllers_are_left_out() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\nmemory\t0\t1\t0\npids\t0\t1\t1\n";
        assert_eq!(enabled(table).collect::<Vec<_>>(), ["cpuset", "pids"]);
    }
}
