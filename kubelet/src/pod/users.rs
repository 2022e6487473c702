//! Users of pods that are others on the host (KEP-127): each pod that asks for them gets a range of ids that no other pod has.
//!
//! ```text
//!  <root_dir>/<pod uid>/userns      the range, as Kubernetes' kubelet writes it; it goes with the pod's folder
//! ```
//!
//! The file is on the disk before a process of the pod has the range, so the kubelet finds again after a restart who has what.

use super::act::{Scene, blocking, failed, uid};
use super::memory::Failure;
use crate::volume::PodDir;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};
use skiff_proto::cri::v1 as cri;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file's name in a pod's folder.
const FILE: &str = "userns";

/// What ranges are made of: 16 bits, as many ids as a POSIX system must know.
pub const UNIT: u32 = 65_536;

/// What an operator decides about pods' users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserSettings {
    /// How many ids each pod gets, in whole [`UNIT`]s.
    pub ids_per_pod: u32,
    /// Whose users those are whose pod does not say (`hostUsers`).
    pub unless_said: Whose,
}

impl Default for UserSettings {
    /// As Kubernetes has it.
    fn default() -> Self {
        Self { ids_per_pod: UNIT, unless_said: Whose::Host }
    }
}

/// Whose users a pod's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The host's.
    Host,
    /// The pod's own.
    Pod,
}

/// Whether a pod gets users of its own. A node's default is no reason to refuse a pod that could not have them.
pub(crate) fn wanted(spec: &PodSpec, unless_said: Whose) -> bool {
    if let Some(host_users) = spec.host_users {
        return !host_users;
    }
    let flag = |flag: Option<bool>| flag.unwrap_or(false);
    let on_host = flag(spec.host_network) || flag(spec.host_pid) || flag(spec.host_ipc);
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let needs_host = containers.any(|container| {
        let privileged = container.security_context.as_ref().and_then(|context| context.privileged);
        flag(privileged) || container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty())
    });
    unless_said == Whose::Pod && !on_host && !needs_host
}

/// The ids that pods may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The first one.
    first: u32,
    /// How many ranges.
    ranges: u32,
    per_pod: u32,
}

impl Ids {
    /// Those that `/etc/subuid` and `/etc/subgid` give to the user `kubelet`; without such a user all but the first ones.
    pub(crate) fn of_host(per_pod: u32, pods_max: u32) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let has_user = read("/etc/passwd").lines().any(|line| line.starts_with("kubelet:"));
        let texts = has_user.then(|| (read("/etc/subuid"), read("/etc/subgid")));
        Self::of(texts.as_ref().map(|(uids, gids)| (uids.as_str(), gids.as_str())), per_pod, pods_max)
    }

    fn of(texts: Option<(&str, &str)>, per_pod: u32, pods_max: u32) -> Result<Self, String> {
        if per_pod == 0 || !per_pod.is_multiple_of(UNIT) {
            return Err(format!("{per_pod} ids for a pod: expected a multiple of {UNIT}"));
        }
        let (first, count) = match texts {
            None => (per_pod, u32::MAX - per_pod + 1),
            Some((uids, gids)) => match (subordinate("/etc/subuid", uids)?, subordinate("/etc/subgid", gids)?) {
                (uids, gids) if uids == gids => uids,
                _ => return Err("/etc/subuid and /etc/subgid give the user kubelet different ids".to_owned()),
            },
        };
        // Not a first range: it has root of the host.
        if first < per_pod || !first.is_multiple_of(per_pod) || !count.is_multiple_of(per_pod) {
            return Err(format!("the {count} ids from {first} on are no ranges of {per_pod} each, or have id 0"));
        }
        let ranges = count / per_pod;
        if ranges < pods_max {
            return Err(format!(
                "the ids of the user kubelet are enough for {ranges} pods, and the node takes {pods_max}"
            ));
        }
        Ok(Self { first, ranges, per_pod })
    }

    /// The lowest range that none of `taken` is.
    fn next(&self, taken: &BTreeSet<u32>) -> Option<u32> {
        (0..self.ranges).map(|index| self.first + index * self.per_pod).find(|first| !taken.contains(first))
    }

    fn has(&self, first: u32) -> bool {
        first
            .checked_sub(self.first)
            .is_some_and(|offset| offset.is_multiple_of(self.per_pod) && offset / self.per_pod < self.ranges)
    }
}

/// The ids of the user `kubelet` in a file of subuid(5): one line, as with Kubernetes.
fn subordinate(file: &str, text: &str) -> Result<(u32, u32), String> {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("kubelet:"));
    let line = lines.next().ok_or_else(|| format!("{file}: there is a user kubelet, but no line for it"))?;
    if lines.next().is_some() {
        return Err(format!("{file}: there are several lines for the user kubelet"));
    }
    let numbers = line.split_once(':').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
    let fits = |numbers: &(u32, u32)| numbers.0.checked_add(numbers.1 - numbers.1.min(1)).is_some();
    numbers.filter(fits).ok_or_else(|| format!("{file}: `kubelet:{line}` is no range of ids"))
}

/// Who has which range.
#[derive(Debug)]
pub(crate) struct PodUsers {
    ids: Result<Ids, String>,
    pub(crate) settings: UserSettings,
    root_dir: PathBuf,
    /// First ids by pods' uids.
    taken: Mutex<BTreeMap<String, u32>>,
}

impl PodUsers {
    /// Finds what pods have already. Ids that cannot be given are an error for those who want some.
    pub(crate) fn find(root_dir: &Path, settings: UserSettings, pods_max: u32) -> Self {
        let ids = Ids::of_host(settings.ids_per_pod, pods_max);
        let entries = fs::read_dir(root_dir).into_iter().flatten().flatten();
        let uids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let taken = uids.filter_map(|uid| Some((read(&PodDir::of(root_dir, &uid))?, uid)));
        let taken = taken.map(|(first, uid)| (uid, first)).collect();
        Self { ids, settings, root_dir: root_dir.to_owned(), taken: Mutex::new(taken) }
    }

    /// The users of the pod `uid`, if it has got some.
    pub(crate) fn of(&self, uid: &str) -> Option<cri::UserNamespace> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(uid).map(|first| namespace(*first, self.settings.ids_per_pod))
    }

    /// Gives the pod `uid` a range, or finds the one that it has.
    pub(crate) fn give(&self, uid: &str) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new("FailedCreatePodSandBox", format!("create user namespace: {why}"));
        let ids = self.ids.as_ref().map_err(|why| wrong(why.clone()))?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // A pod's range is free when its folder is gone, which is after its last process.
        taken.retain(|uid, _| PodDir::of(&self.root_dir, uid).path().join(FILE).exists());
        if let Some(first) = taken.get(uid) {
            let has = ids.has(*first);
            return has.then_some(()).ok_or_else(|| wrong(format!("id {first} is out of range")));
        }
        let used: BTreeSet<u32> = taken.values().copied().collect();
        let first = ids.next(&used).ok_or_else(|| wrong("no range of ids is left".to_owned()))?;
        let dir = PodDir::of(&self.root_dir, uid);
        write(&dir, first, ids.per_pod).map_err(|error| wrong(format!("{}: {error}", dir.path().display())))?;
        taken.insert(uid.to_owned(), first);
        Ok(())
    }
}

fn namespace(first: u32, length: u32) -> cri::UserNamespace {
    let map = vec![cri::IdMapping { host_id: first, container_id: 0, length }];
    cri::UserNamespace { mode: cri::NamespaceMode::Pod.into(), uids: map.clone(), gids: map }
}

/// The file is whole or not there, and stays when the machine loses power: rename(2), fsync(2) of file and folder.
fn write(dir: &PodDir, first: u32, length: u32) -> std::io::Result<()> {
    let map = json!([{"hostId": first, "containerId": 0, "length": length}]);
    let (file, beside) = (dir.path().join(FILE), dir.path().join(".userns.new"));
    fs::create_dir_all(dir.path())?;
    let mut new = fs::File::create(&beside)?;
    new.write_all(json!({"uidMappings": map, "gidMappings": map}).to_string().as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, &file)?;
    fs::File::open(dir.path())?.sync_all()
}

fn read(dir: &PodDir) -> Option<u32> {
    let text = fs::read(dir.path().join(FILE)).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    u32::try_from(value["uidMappings"][0]["hostId"].as_u64()?).ok()
}

/// Gives the pod ids of its own, if it is to have users of its own.
pub(super) async fn give(scene: &Scene, handler: &str) -> Result<(), Failure> {
    let agent = &scene.agent;
    let Some(spec) = scene.pod.spec.as_ref().filter(|spec| wanted(spec, agent.users.settings.unless_said)) else {
        return Ok(());
    };
    let features =
        agent.cri.features(handler).await.map_err(|status| failed("FailedCreatePodSandBox", "Status", &status))?;
    match (features.user_namespaces, spec.host_users, handler) {
        (true, _, _) => {
            let scene = scene.clone();
            blocking(move || scene.agent.users.give(uid(&scene.pod))).await
        }
        // Only the node would have liked it.
        (false, None, _) => Ok(()),
        (false, Some(_), "") => {
            let message = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
            Err(Failure::new("FailedCreatePodSandBox", message))
        }
        (false, Some(_), handler) => {
            let message = format!(
                "can't set `spec.hostUsers: false`, RuntimeClass handler \"{handler}\" does not support user namespaces"
            );
            Err(Failure::new("FailedCreatePodSandBox", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_those_of_the_user_kubelet_or_all_but_the_first() {
        let all = Ids::of(None, UNIT, 110).unwrap();
        assert_eq!((all.first, all.ranges), (UNIT, 65_535));
        let lines = "root:1:2\nkubelet:131072:7208960\n";
        let ids = Ids::of(Some((lines, lines)), UNIT, 110).unwrap();
        assert_eq!((ids.first, ids.ranges), (131_072, 110));
    }

    #[test]
    fn ids_that_cannot_be_given_are_told() {
        let of = |uids: &str, gids: &str, per_pod| Ids::of(Some((uids, gids)), per_pod, 2).unwrap_err();
        let good = "kubelet:131072:131072\n";
        for (uids, gids, per_pod, expected) in [
            (good, "kubelet:65536:131072\n", UNIT, "/etc/subuid and /etc/subgid give the user kubelet different ids"),
            ("", good, UNIT, "/etc/subuid: there is a user kubelet, but no line for it"),
            (good, "kubelet:x:1", UNIT, "/etc/subgid: `kubelet:x:1` is no range of ids"),
            (
                "kubelet:0:131072",
                "kubelet:0:131072",
                UNIT,
                "the 131072 ids from 0 on are no ranges of 65536 each, or have id 0",
            ),
            (good, good, 100, "100 ids for a pod: expected a multiple of 65536"),
            (
                "kubelet:65536:65536",
                "kubelet:65536:65536",
                UNIT,
                "the ids of the user kubelet are enough for 1 pods, and the node takes 2",
            ),
        ] {
            assert_eq!(of(uids, gids, per_pod), expected);
        }
    }

    #[test]
    fn a_node_may_give_users_to_those_who_can_have_them() {
        let wanted = |spec: Value, unless_said| wanted(&serde_json::from_value(spec).unwrap(), unless_said);
        let plain = json!({"containers": [{"name": "a"}]});
        assert!(!wanted(plain.clone(), Whose::Host) && wanted(plain, Whose::Pod));
        assert!(wanted(json!({"containers": [], "hostUsers": false}), Whose::Host));
        for spec in [
            json!({"containers": [], "hostUsers": true}),
            json!({"containers": [], "hostNetwork": true}),
            json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
            json!({"containers": [{"name": "a", "volumeDevices": [{"name": "v", "devicePath": "/dev/v"}]}]}),
        ] {
            assert!(!wanted(spec.clone(), Whose::Pod), "{spec}");
        }
    }

    #[test]
    fn a_restart_finds_the_ranges_and_a_removed_pod_gives_its_own_back() {
        let folder = tempfile::tempdir().unwrap();
        let find = || PodUsers::find(folder.path(), UserSettings::default(), 2);
        let first = |users: &PodUsers, uid: &str| users.of(uid).map(|found| found.uids[0].host_id);
        let users = find();
        for uid in ["a", "b", "a"] {
            users.give(uid).unwrap();
        }
        let found = find();
        for users in [&users, &found] {
            assert_eq!((first(users, "a"), first(users, "b"), first(users, "c")), (Some(UNIT), Some(2 * UNIT), None));
        }
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        found.give("c").unwrap();
        assert_eq!((first(&found, "c"), first(&found, "a")), (Some(UNIT), None));
    }

    proptest! {
        #[test]
        fn no_two_pods_have_an_id_in_common(steps in proptest::collection::vec((0usize..6, any::<bool>()), 0..40)) {
            let folder = tempfile::tempdir().unwrap();
            let mut users = PodUsers::find(folder.path(), UserSettings::default(), 2);
            let mut known = BTreeMap::new();
            for (pod, stays) in steps {
                let uid = format!("p{pod}");
                if stays {
                    users.give(&uid).unwrap();
                    let first = users.of(&uid).unwrap().uids[0].host_id;
                    prop_assert!(*known.entry(uid).or_insert(first) == first);
                } else {
                    let _absent = fs::remove_dir_all(folder.path().join(&uid));
                    known.remove(&uid);
                    users = PodUsers::find(folder.path(), UserSettings::default(), 2);
                }
                let different: BTreeSet<_> = known.values().collect();
                prop_assert_eq!(different.len(), known.len());
            }
        }
    }
}
