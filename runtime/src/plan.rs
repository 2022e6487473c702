//! Which namespaces by which way, which devices, which waits: decided without touching anything.

use crate::error::{Error, Result};
use crate::rootfs;
use crate::spec::Spec;
use skiff_sys::namespace::NEWTIME;
use std::path::{Path, PathBuf};

/// What the runtime itself may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// It is root: of the host, or of a user namespace that an engine has made around it.
    Host,
    /// It is an ordinary user: only a user namespace of its own gives it any rights.
    Ordinary,
}

impl Rights {
    /// Those of this process.
    pub(crate) fn own() -> Self {
        if nix::unistd::geteuid().is_root() { Self::Host } else { Self::Ordinary }
    }
}

/// Whether this process is not the host's root: an ordinary user, or root of a user namespace.
pub(crate) fn is_below_host() -> bool {
    const EVERYBODY: [&str; 3] = ["0", "0", "4294967295"];
    let map = crate::kernfs::get(Path::new("/proc/self/uid_map")).unwrap_or_default();
    Rights::own() == Rights::Ordinary || !map.split_whitespace().eq(EVERYBODY)
}

/// How the first process gets into its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is cloned by the runtime and enters the rest itself.
    Direct,
    /// A helper enters and makes namespaces in turn, and clones it from there as its sibling. What is entered must be entered
    /// with the host's rights, what is new must belong to the user namespace, and a time namespace must have its offsets
    /// before anyone lives in it.
    Relay,
}

/// What the parent and the first process do for one container.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    /// `CLONE_NEW…` bits for clone3.
    pub(crate) clone: libc::c_int,
    /// Those that the first process makes first of all, while the runtime writes limits: a network takes as long as
    /// everything else of a clone, and there are mostly two processors.
    pub(crate) beside: libc::c_int,
    /// Those that the first process makes itself, once it is in its cgroup.
    pub(crate) unshare: libc::c_int,
    /// Entered by the runtime around the clone, because it only counts for children (pid_namespaces(7)).
    pub(crate) enter_pid: Option<PathBuf>,
    /// Entered by the first process, or by the relay: the user namespace is the last.
    pub(crate) enter: Vec<(libc::c_int, PathBuf)>,
    /// Made by the relay before it enters any: an ordinary user's only right to enter.
    pub(crate) before: libc::c_int,
    /// Made by the relay after it has entered all.
    pub(crate) after: libc::c_int,
    /// Whether the first process opens the sources of its mounts itself: an ordinary user may copy mounts only in a mount
    /// namespace of its own (open_tree(2)).
    pub(crate) opens_itself: bool,
    pub(crate) devices: Vec<rootfs::DeviceNode>,
    /// Whether devices are the host's, attached, because mknod(2) is refused in a user namespace.
    pub(crate) binds_devices: bool,
    /// What the runtime itself may do.
    pub(crate) rights: Rights,
    /// Whether hooks run in the runtime between assembly and the change of the root.
    pub(crate) parent_waits_for_assembly: bool,
}

impl Plan {
    /// Decides for `spec`, to be done with `rights`.
    ///
    /// # Errors
    /// A device that cannot be one, by field path; what an ordinary user cannot have.
    pub(crate) fn of(spec: &Spec, rights: Rights) -> Result<Self> {
        let namespaces = &spec.namespaces;
        let has_users = namespaces.has(libc::CLONE_NEWUSER);
        if rights == Rights::Ordinary && !has_users {
            let reason = "an ordinary user needs a user namespace for a container";
            return Err(Error::refused("linux.namespaces", reason));
        }
        let enters_users = namespaces.enters(libc::CLONE_NEWUSER);
        let has_offsets = !spec.offsets.is_empty();
        let relayed = enters_users || (has_users && !namespaces.enter.is_empty()) || has_offsets;
        let (before, after) = if relayed { early(spec, rights) } else { (0, 0) };
        // What moves into it or belongs to new users is there from the first moment.
        let is_beside = !relayed && !has_users && spec.net_devices.is_empty();
        let beside = if is_beside { namespaces.new & libc::CLONE_NEWNET } else { 0 };
        let mut enter = namespaces.enter.clone();
        let enter_pid = match relayed {
            true => None,
            false => take(&mut enter, libc::CLONE_NEWPID),
        };
        enter.sort_by_key(|(kind, _)| (*kind == libc::CLONE_NEWUSER) == (rights == Rights::Host));
        Ok(Self {
            way: if relayed { Way::Relay } else { Way::Direct },
            clone: namespaces.new & !libc::CLONE_NEWCGROUP & !before & !after & !beside,
            beside,
            unshare: namespaces.new & libc::CLONE_NEWCGROUP,
            enter_pid,
            enter,
            before,
            after,
            opens_itself: rights == Rights::Ordinary,
            devices: rootfs::defaults(&spec.devices)?,
            binds_devices: has_users,
            rights,
            parent_waits_for_assembly: has_hooks(spec),
        })
    }
}

/// What a relay makes before it enters any namespace, and after.
fn early(spec: &Spec, rights: Rights) -> (libc::c_int, libc::c_int) {
    let time = if spec.offsets.is_empty() { 0 } else { NEWTIME };
    // With the host's rights a clone makes the user namespace along with all others, unless the time is made before.
    let is_before_time = time != 0 || rights == Rights::Ordinary;
    let users = if is_before_time { spec.namespaces.new & libc::CLONE_NEWUSER } else { 0 };
    if rights == Rights::Ordinary { (users, time) } else { (0, users | time) }
}

fn take(enter: &mut Vec<(libc::c_int, PathBuf)>, kind: libc::c_int) -> Option<PathBuf> {
    let index = enter.iter().position(|(other, _)| *other == kind)?;
    Some(enter.remove(index).1)
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

    fn config(namespaces: serde_json::Value, mounts: serde_json::Value) -> serde_json::Value {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let mut config = json!({
            "ociVersion": "1.2.0", "root": {"path": "r"}, "mounts": mounts,
            "process": {"user": {}, "args": ["x"], "cwd": "/"}, "linux": {"namespaces": namespaces},
        });
        if config["linux"]["namespaces"].to_string().contains("user") {
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        }
        config
    }

    fn spec(config: serde_json::Value) -> Spec {
        Spec::check("c", Path::new("/b"), &serde_json::from_value(config).unwrap()).unwrap()
    }

    fn plan(namespaces: serde_json::Value, mounts: serde_json::Value) -> Plan {
        Plan::of(&spec(config(namespaces, mounts)), Rights::Host).unwrap()
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
    fn offsets_are_written_before_anyone_lives_in_the_time() {
        let config = |users: bool| {
            let mut config = config(
                if users {
                    json!([{"type": "mount"}, {"type": "user"}, {"type": "time"}])
                } else {
                    json!([{"type": "mount"}, {"type": "time"}, {"type": "network", "path": "/n"}])
                },
                json!([]),
            );
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 7}});
            spec(config)
        };
        let plan = Plan::of(&config(false), Rights::Host).unwrap();
        assert_eq!((plan.way, plan.before, plan.after), (Way::Relay, 0, NEWTIME));
        assert_eq!(plan.clone, libc::CLONE_NEWNS);
        let plan = Plan::of(&config(true), Rights::Host).unwrap();
        assert_eq!((plan.before, plan.after), (0, libc::CLONE_NEWUSER | NEWTIME));
    }

    #[test]
    fn an_ordinary_user_makes_the_user_namespace_first() {
        let config = config(json!([{"type": "mount"}, {"type": "user"}, {"type": "network", "path": "/n"}]), json!([]));
        let plan = Plan::of(&spec(config), Rights::Ordinary).unwrap();
        assert_eq!((plan.before, plan.after), (libc::CLONE_NEWUSER, 0));
        assert!(plan.opens_itself);
        assert!(Plan::of(&spec(self::config(json!([{"type": "mount"}]), json!([]))), Rights::Ordinary).is_err());
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
            let ways = plan.clone.count_ones() + plan.beside.count_ones() + plan.unshare.count_ones();
            let entered = plan.enter.len() + usize::from(plan.enter_pid.is_some());
            prop_assert_eq!(usize::try_from(ways).unwrap() + entered, list.len());
            prop_assert!(plan.enter.iter().rev().skip(1).all(|(kind, _)| *kind != libc::CLONE_NEWUSER));
        }
    }
}
