//! Whole specifications, as written and as meant.

use super::*;
use serde_json::{Value, json};

fn minimal() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    })
}

fn check(change: impl FnOnce(&mut Value)) -> Result<Spec> {
    let mut json = minimal();
    change(&mut json);
    Spec::check("web-1", Path::new("/bundle"), &serde_json::from_value(json).unwrap())
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    check(change).unwrap_err().to_string()
}

#[test]
fn a_missing_cgroup_path_is_ours_and_never_the_callers() {
    assert_eq!(check(|_| ()).unwrap().cgroup, Path::new("skiff-oci/web-1"));
    assert_eq!(check(|c| c["linux"]["cgroupsPath"] = json!("/a/b")).unwrap().cgroup, Path::new("a/b"));
    assert_eq!(check(|c| c["linux"]["cgroupsPath"] = json!("a:b:c")).unwrap().cgroup, Path::new("skiff-oci/a:b:c"));
    assert!(refusal(|c| c["linux"]["cgroupsPath"] = json!("/a/../..")).starts_with("linux.cgroupsPath: "));
}

#[test]
fn paths_are_taken_from_the_bundle() {
    let spec = check(|c| c["mounts"] = json!([{"destination": "/x", "source": "here", "options": ["bind"]}])).unwrap();
    assert_eq!(spec.rootfs, Path::new("/bundle/rootfs"));
    assert!(matches!(&spec.mounts[0].what, What::Bind { source, .. } if source == Path::new("/bundle/here")));
}

#[test]
fn what_would_change_the_host_is_refused() {
    assert!(refusal(|c| c["hostname"] = json!("x")).starts_with("hostname: "));
    assert!(refusal(|c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"})).starts_with("linux.sysctl.net"));
    assert!(refusal(|c| c["linux"]["sysctl"] = json!({"kernel.core_pattern": "|x"})).contains("core_pattern"));
}

#[test]
fn what_is_missing_of_linux_is_empty() {
    let remove = |c: &mut Value| drop(c.as_object_mut().unwrap().remove("linux"));
    let spec = check(remove).unwrap();
    assert_eq!((&spec.namespaces, spec.cgroup.as_path()), (&Namespaces::default(), Path::new("skiff-oci/web-1")));
    let said = refusal(|c| {
        remove(c);
        c["mounts"] = json!([{"destination": "/t", "type": "tmpfs"}]);
    });
    assert_eq!(said, "mounts: without a mount namespace the host's mounts would change");
}

#[test]
fn user_namespaces_and_mappings_belong_together() {
    assert!(refusal(|c| c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}])).contains("Mappings"));
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    assert!(refusal(|c| c["linux"]["uidMappings"] = maps).contains("need a user namespace"));
}

#[test]
fn a_dot_in_an_interface_name_is_written_with_slashes() {
    let spec = check(|c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network"}]);
        c["linux"]["sysctl"] = json!({"net/ipv4/conf/eth0.1/forwarding": "1"});
    });
    assert_eq!(spec.unwrap().sysctl[0].0, Path::new("sys/net/ipv4/conf/eth0.1/forwarding"));
}

#[test]
fn a_mount_label_is_an_option_of_new_filesystems() {
    let spec = check(|c| {
        c["linux"]["mountLabel"] = json!("a:b:c");
        c["mounts"] = json!([{"destination": "/t", "type": "tmpfs"}, {"destination": "/p", "type": "proc"}]);
    });
    let has_context = |mount: &Mount| matches!(&mount.what, What::Fresh { data, .. } if data.iter().any(|(key, _)| key.as_c_str() == c"context"));
    assert_eq!(spec.unwrap().mounts.iter().map(has_context).collect::<Vec<_>>(), [true, false]);
}
