//! Which capabilities a container gets: a default set, what is added and dropped, and what we have ourselves.

use crate::error::CriError;
use skiff_proto::cri::v1::Capability;
use std::collections::BTreeSet;

/// Names by number (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What every container gets; the set that images are written for, since Docker's first days.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// CAP_SYS_RESOURCE's bit.
pub(super) const SYS_RESOURCE: u64 = 1 << 24;

/// The capabilities of the requested container.
pub(super) fn of(request: &super::Request<'_>) -> Result<BTreeSet<String>, CriError> {
    let security = request.security();
    bounding(&security.capabilities.unwrap_or_default(), security.privileged, request.host.capabilities)
}

/// The container's capabilities, with their `CAP_` names, in order.
///
/// `available` is our own bounding set: asking by name for more is refused, `ALL` means all of these.
pub(super) fn bounding(asked: &Capability, privileged: bool, available: u64) -> Result<BTreeSet<String>, CriError> {
    let all = || NAMES.iter().enumerate().filter(|(bit, _)| available & (1 << bit) != 0).map(|(_, name)| *name);
    let mut set: BTreeSet<&str> = if privileged { all().collect() } else { DEFAULT.into_iter().collect() };
    let (add, drop) = (names(&asked.add_capabilities)?, names(&asked.drop_capabilities)?);
    if add.contains("ALL") {
        set = all().collect();
    }
    if drop.contains("ALL") {
        set.clear();
    }
    set.extend(add.iter().filter(|name| **name != "ALL"));
    set.retain(|name| !drop.contains(name));
    let have: BTreeSet<&str> = all().collect();
    if let Some(missing) = add.iter().find(|name| **name != "ALL" && set.contains(*name) && !have.contains(*name)) {
        return Err(CriError::Precondition(format!("capability {missing}: this node does not have it itself")));
    }
    Ok(set.into_iter().filter(|name| have.contains(name)).map(|name| format!("CAP_{name}")).collect())
}

/// The ambient set: only what was asked for, and only what the container has.
pub(super) fn ambient(asked: &Capability, bounding: &BTreeSet<String>) -> Result<Vec<String>, CriError> {
    let names = names(&asked.add_ambient_capabilities)?;
    let all: BTreeSet<String> = names.into_iter().map(|name| format!("CAP_{name}")).collect();
    match all.iter().find(|name| !bounding.contains(*name)) {
        Some(missing) => {
            Err(CriError::Invalid(format!("ambient capability {missing}: the container does not have it")))
        }
        None => Ok(all.into_iter().collect()),
    }
}

/// Known names without their prefix.
fn names(asked: &[String]) -> Result<BTreeSet<&'static str>, CriError> {
    let find = |text: &String| {
        let upper = text.to_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = NAMES.iter().copied().chain(["ALL"]).find(|name| *name == bare);
        known.ok_or_else(|| CriError::Invalid(format!("capability `{text}` is not known")))
    };
    asked.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: u64 = (1 << NAMES.len()) - 1;

    fn asked(add: &[&str], drop: &[&str]) -> Capability {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Capability { add_capabilities: owned(add), drop_capabilities: owned(drop), add_ambient_capabilities: vec![] }
    }

    fn check(add: &[&str], drop: &[&str], expected: &[&str]) {
        let set = bounding(&asked(add, drop), false, EVERYTHING).unwrap();
        assert_eq!(set.iter().map(String::as_str).collect::<Vec<_>>(), expected, "add {add:?} drop {drop:?}");
    }

    #[test]
    fn add_and_drop_combine_as_kubernetes_says() {
        check(&[], &["ALL"], &[]);
        check(&["NET_BIND_SERVICE"], &["ALL"], &["CAP_NET_BIND_SERVICE"]);
        check(&["cap_net_admin"], &["all"], &["CAP_NET_ADMIN"]);
        let all = bounding(&asked(&["ALL"], &["SYS_ADMIN"]), false, EVERYTHING).unwrap();
        assert_eq!((all.len(), all.contains("CAP_SYS_ADMIN")), (NAMES.len() - 1, false));
        assert_eq!(bounding(&asked(&[], &[]), false, EVERYTHING).unwrap().len(), DEFAULT.len());
    }

    #[test]
    fn what_we_lack_is_refused_by_name_and_left_out_of_all() {
        let without = EVERYTHING & !SYS_RESOURCE;
        let error = bounding(&asked(&["SYS_RESOURCE"], &[]), false, without).unwrap_err();
        assert_eq!(error.to_string(), "capability SYS_RESOURCE: this node does not have it itself");
        let all = bounding(&asked(&[], &[]), true, without).unwrap();
        assert_eq!((all.len(), all.contains("CAP_SYS_RESOURCE")), (NAMES.len() - 1, false));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(bounding(&asked(&["FLY"], &[]), false, EVERYTHING).is_err());
        let mut ask = asked(&[], &["NET_RAW"]);
        ask.add_ambient_capabilities = vec!["NET_RAW".to_owned()];
        let set = bounding(&ask, false, EVERYTHING).unwrap();
        assert!(ambient(&ask, &set).is_err());
    }
}
