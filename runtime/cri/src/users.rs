//! Users that a pod has of its own: what may be asked for, and where their namespace is.
//!
//! The supervisor keeps the namespace and lives in others that belong to it; containers enter it by the supervisor's descriptor.

use crate::disk::SandboxRecord;
use crate::error::{CriError, During};
use serde_json::{Value, json};
use skiff_image::{IdRange, Users, outside};
use skiff_proto::cri::v1::{IdMapping, NamespaceMode, NamespaceOption};
use std::fs::File;

/// Lines that the kernel takes of a map (user_namespaces(7)).
const LINES_MAX: usize = 340;

/// Who the users of a pod are on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodUsers {
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
}

impl PodUsers {
    /// What is asked for; `None`: the host's users.
    pub(crate) fn asked(namespaces: &NamespaceOption) -> Result<Option<Self>, CriError> {
        let Some(user) = &namespaces.userns_options else { return Ok(None) };
        let mode = crate::admit::known::<NamespaceMode>("userns_options.mode", user.mode)?;
        let has_maps = !user.uids.is_empty() || !user.gids.is_empty();
        match mode {
            NamespaceMode::Node if has_maps => {
                Err(CriError::Invalid("userns_options: mode NODE has no uids and gids".to_owned()))
            }
            NamespaceMode::Node => Ok(None),
            NamespaceMode::Pod => {
                beside_hosts(namespaces)?;
                Ok(Some(Self { uids: ranges("uids", &user.uids)?, gids: ranges("gids", &user.gids)? }))
            }
            NamespaceMode::Container | NamespaceMode::Target => {
                let mode = mode.as_str_name();
                Err(CriError::Invalid(format!("userns_options.mode: {mode} is neither POD nor NODE")))
            }
        }
    }

    /// Who root of the pod is on the host.
    pub(crate) fn root(&self) -> (u32, u32) {
        let id = |ranges| outside(ranges, 0).unwrap_or_default();
        (id(&self.uids), id(&self.gids))
    }

    /// With the namespace that the supervisor of the sandbox keeps.
    pub(crate) fn of_sandbox(record: &SandboxRecord) -> Result<Option<Users>, CriError> {
        let Some(asked) = Self::asked(&crate::bundle::pod_namespaces(&record.config))? else { return Ok(None) };
        let path = record.users.clone().unwrap_or_default();
        let namespace = File::open(&path).during(|| format!("open the pod's user namespace {}", path.display()))?;
        Ok(Some(Users { namespace, uids: asked.uids, gids: asked.gids }))
    }
}

/// A namespace of the host belongs to its users: those of the pod could mount nothing of it.
fn beside_hosts(namespaces: &NamespaceOption) -> Result<(), CriError> {
    let modes = [("network", namespaces.network()), ("pid", namespaces.pid()), ("ipc", namespaces.ipc())];
    match modes.iter().find(|(_, mode)| *mode == NamespaceMode::Node) {
        Some((field, _)) => {
            let why = format!("namespace_options.{field}: NODE cannot be had with a user namespace of the pod");
            Err(CriError::Invalid(why))
        }
        None => Ok(()),
    }
}

fn ranges(field: &str, asked: &[IdMapping]) -> Result<Vec<IdRange>, CriError> {
    let refuse = |why: &str| Err(CriError::Invalid(format!("userns_options.{field}: {why}")));
    let one = |map: &IdMapping| IdRange { inside: map.container_id, outside: map.host_id, count: map.length };
    let ranges: Vec<IdRange> = asked.iter().map(one).collect();
    if ranges.len() > LINES_MAX {
        return refuse("there are more than 340 of them");
    }
    // The last number means nobody to setresuid(2).
    let ends = |first: u32, count: u32| first.checked_add(count);
    if ranges.iter().any(|range| {
        range.count == 0 || ends(range.inside, range.count).is_none() || ends(range.outside, range.count).is_none()
    }) {
        return refuse("length and ids are no range");
    }
    let overlaps = |first: fn(&IdRange) -> u32| {
        let mut sorted: Vec<_> = ranges.iter().map(|range| (first(range), range.count)).collect();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0)
    };
    if overlaps(|range| range.inside) || overlaps(|range| range.outside) {
        return refuse("two ranges have ids in common");
    }
    match outside(&ranges, 0) {
        None => refuse("container_id 0 is not mapped"),
        Some(_) if ranges.iter().any(|range| range.outside == 0) => refuse("host_id 0 is root of the host"),
        Some(_) => Ok(ranges),
    }
}

/// Those of a mount, which are those of the pod or none.
pub(crate) fn of_mount(asked: &[IdMapping]) -> Value {
    let one = |map: &IdMapping| json!({"containerID": map.container_id, "hostID": map.host_id, "size": map.length});
    asked.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_proto::cri::v1::UserNamespace;

    fn map(container_id: u32, host_id: u32, length: u32) -> IdMapping {
        IdMapping { host_id, container_id, length }
    }

    fn asked(mode: NamespaceMode, uids: &[IdMapping]) -> NamespaceOption {
        let user = UserNamespace { mode: mode.into(), uids: uids.to_vec(), gids: uids.to_vec() };
        NamespaceOption { userns_options: Some(user), ..Default::default() }
    }

    #[test]
    fn a_pod_has_its_own_users_when_it_asks_for_them() {
        let users = PodUsers::asked(&asked(NamespaceMode::Pod, &[map(0, 65_536, 65_536)])).unwrap().unwrap();
        assert_eq!(users.root(), (65_536, 65_536));
        assert_eq!(PodUsers::asked(&asked(NamespaceMode::Node, &[])).unwrap(), None);
        assert_eq!(PodUsers::asked(&NamespaceOption::default()).unwrap(), None);
    }

    #[test]
    fn what_is_no_map_is_refused_in_words() {
        let on_host = NamespaceOption {
            network: NamespaceMode::Node.into(),
            ..asked(NamespaceMode::Pod, &[map(0, 65_536, 65_536)])
        };
        for (namespaces, expected) in [
            (asked(NamespaceMode::Node, &[map(0, 1, 1)]), "userns_options: mode NODE has no uids and gids"),
            (asked(NamespaceMode::Container, &[]), "userns_options.mode: CONTAINER is neither POD nor NODE"),
            (asked(NamespaceMode::Pod, &[]), "userns_options.uids: container_id 0 is not mapped"),
            (asked(NamespaceMode::Pod, &[map(0, 0, 9)]), "userns_options.uids: host_id 0 is root of the host"),
            (asked(NamespaceMode::Pod, &[map(0, 9, 0)]), "userns_options.uids: length and ids are no range"),
            (asked(NamespaceMode::Pod, &[map(0, u32::MAX, 1)]), "userns_options.uids: length and ids are no range"),
            (
                asked(NamespaceMode::Pod, &[map(0, 100, 10), map(10, 105, 10)]),
                "userns_options.uids: two ranges have ids in common",
            ),
            (on_host, "namespace_options.network: NODE cannot be had with a user namespace of the pod"),
        ] {
            assert_eq!(PodUsers::asked(&namespaces).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn ranges_that_pass_map_each_id_once(maps in proptest::collection::vec((0u32..40, 1u32..80, 0u32..20), 0..5)) {
            let maps: Vec<_> = maps.into_iter().map(|(inside, host, length)| map(inside, host, length)).collect();
            if let Ok(ranges) = ranges("uids", &maps) {
                let found: Vec<u32> = (0..200).filter_map(|id| outside(&ranges, id)).collect();
                let different: std::collections::BTreeSet<_> = found.iter().collect();
                prop_assert_eq!(different.len(), found.len());
                prop_assert!(!found.contains(&0));
            }
        }
    }
}
