//! Which namespaces by which way, which devices, which waits: decided without touching anything.

use crate::error::Result;
use crate::rootfs;
use crate::spec::{Spec, What};
use std::path::{Path, PathBuf};

/// How the first process gets into its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is cloned by the runtime and enters the rest itself.
    Direct,
    /// A helper enters the given namespaces, the user namespace last, and clones it from there as its sibling: what is new
    /// must belong to the user namespace, and what is entered must be entered with the host's rights.
    Relay,
}

/// What the parent and the first process do for one container.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    /// `CLONE_NEW…` bits for clone3.
    pub(crate) clone: libc::c_int,
    /// Those that the first process makes itself, once it is in its cgroup.
    pub(crate) unshare: libc::c_int,
    /// Entered by the runtime around the clone, because it only counts for children (pid_namespaces(7)).
    pub(crate) enter_pid: Option<PathBuf>,
    /// Entered by the first process, or by the relay: the user namespace is the last.
    pub(crate) enter: Vec<(libc::c_int, PathBuf)>,
    /// Whether `/dev` gets the default devices and links: not when it is the host's own.
    pub(crate) fills_dev: bool,
    pub(crate) devices: Vec<rootfs::Node>,
    /// Whether devices are the host's, attached, because mknod(2) is refused in a user namespace.
    pub(crate) binds_devices: bool,
    /// Whether hooks run in the runtime between assembly and the change of the root.
    pub(crate) parent_waits_for_assembly: bool,
}

impl Plan {
    /// Decides for `spec`.
    ///
    /// # Errors
    /// A device that cannot be one, by field path.
    pub(crate) fn of(spec: &Spec) -> Result<Self> {
        let namespaces = &spec.namespaces;
        let has_users = namespaces.has(libc::CLONE_NEWUSER);
        let enters_users = namespaces.enters(libc::CLONE_NEWUSER);
        let relayed = enters_users || (has_users && !namespaces.enter.is_empty());
        let mut enter = namespaces.enter.clone();
        let enter_pid = match relayed {
            true => None,
            false => take(&mut enter, libc::CLONE_NEWPID),
        };
        enter.sort_by_key(|(kind, _)| *kind == libc::CLONE_NEWUSER);
        Ok(Self {
            way: if relayed { Way::Relay } else { Way::Direct },
            clone: namespaces.new & !libc::CLONE_NEWCGROUP,
            unshare: namespaces.new & libc::CLONE_NEWCGROUP,
            enter_pid,
            enter,
            fills_dev: !binds_dev(spec),
            devices: rootfs::defaults(&spec.devices)?,
            binds_devices: has_users,
            parent_waits_for_assembly: has_hooks(spec),
        })
    }
}

fn take(enter: &mut Vec<(libc::c_int, PathBuf)>, kind: libc::c_int) -> Option<PathBuf> {
    let index = enter.iter().position(|(other, _)| *other == kind)?;
    Some(enter.remove(index).1)
}

fn binds_dev(spec: &Spec) -> bool {
    let is_bind = |what: &What| matches!(what, What::Bind { .. });
    spec.mounts.iter().any(|mount| mount.destination == Path::new("/dev") && is_bind(&mount.what))
}

fn has_hooks(spec: &Spec) -> bool {
    let lists = [&spec.hooks.prestart, &spec.hooks.create_runtime];
    lists.iter().any(|list| list.as_ref().is_some_and(|hooks| !hooks.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn plan(namespaces: serde_json::Value, mounts: serde_json::Value) -> Plan {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let mut config = json!({
            "ociVersion": "1.2.0", "root": {"path": "r"}, "mounts": mounts,
            "process": {"user": {}, "args": ["x"], "cwd": "/"}, "linux": {"namespaces": namespaces},
        });
        if config["linux"]["namespaces"].to_string().contains("user") {
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        }
        Plan::of(&Spec::check("c", Path::new("/b"), &serde_json::from_value(config).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_pods_namespaces_are_entered_by_the_process_itself() {
        let plan = plan(
            json!([{"type": "mount"}, {"type": "network", "path": "/n"}, {"type": "pid", "path": "/p"}]),
            json!([]),
        );
        assert_eq!(plan.way, Way::Direct);
        assert_eq!(plan.enter_pid, Some("/p".into()));
        assert_eq!(plan.enter, [(libc::CLONE_NEWNET, "/n".into())]);
    }

    #[test]
    fn users_with_others_by_path_need_a_relay() {
        let plan = plan(
            json!([{"type": "mount"}, {"type": "user", "path": "/u"}, {"type": "network", "path": "/n"}]),
            json!([]),
        );
        assert_eq!(plan.way, Way::Relay);
        assert_eq!(plan.enter.last().unwrap().0, libc::CLONE_NEWUSER);
        assert!(plan.binds_devices);
    }

    #[test]
    fn the_hosts_dev_is_left_alone() {
        let dev = json!([{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]);
        assert!(!plan(json!([{"type": "mount"}]), dev).fills_dev);
        assert!(plan(json!([{"type": "mount"}]), json!([{"destination": "/dev", "type": "tmpfs"}])).fills_dev);
    }

    proptest! {
        #[test]
        fn every_namespace_is_reached_exactly_once(choice in proptest::collection::vec(0..3_u8, 7)) {
            let names = ["user", "pid", "network", "ipc", "uts", "cgroup", "time"];
            let mut list = vec![json!({"type": "mount"})];
            for (name, choice) in names.iter().zip(&choice) {
                match choice {
                    1 => list.push(json!({"type": name})),
                    2 => list.push(json!({"type": name, "path": "/x"})),
                    _ => (),
                }
            }
            let plan = plan(json!(list), json!([]));
            let ways = plan.clone.count_ones() + plan.unshare.count_ones();
            let entered = plan.enter.len() + usize::from(plan.enter_pid.is_some());
            prop_assert_eq!(usize::try_from(ways).unwrap() + entered, list.len());
            prop_assert!(plan.enter.iter().rev().skip(1).all(|(kind, _)| *kind != libc::CLONE_NEWUSER));
        }
    }
}
