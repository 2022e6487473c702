//! Edits on a bundle's configuration, as CDI's own library makes them.

use super::spec::{Edits, Hook, Mount, Node, NodeKind};
use serde_json::{Value, json};
use std::path::Path;

/// Makes the edits on `config`, the later ones over the earlier ones.
pub(crate) fn apply(config: &mut Value, edits: &[Edits]) {
    for edits in edits {
        for pair in &edits.env {
            variable(list(&mut config["process"]["env"]), pair);
        }
        for node in &edits.device_nodes {
            device(config, node);
        }
        for interface in &edits.net_devices {
            let devices = &mut config["linux"]["netDevices"];
            devices[interface.host_interface_name.as_str()] = json!({"name": interface.name});
        }
        for mount in &edits.mounts {
            let mounts = list(&mut config["mounts"]);
            mounts.retain(|known| known["destination"] != mount.container_path.as_str());
            mounts.push(bind(mount));
        }
        for hook in &edits.hooks {
            list(&mut config["hooks"][hook.hook_name.text()]).push(program(hook));
        }
        for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
            let gids = list(&mut config["process"]["user"]["additionalGids"]);
            if !gids.iter().any(|known| *known == *gid) {
                gids.push(json!(gid));
            }
        }
        if let Some(rdt) = &edits.intel_rdt {
            config["linux"]["intelRdt"] = Value::Object(rdt.clone());
        }
    }
    if edits.iter().any(|edits| !edits.mounts.is_empty()) {
        // A mount below another one must come after it; those of equal depth keep their order.
        let depth = |mount: &Value| Path::new(mount["destination"].as_str().unwrap_or_default()).components().count();
        list(&mut config["mounts"]).sort_by_key(depth);
    }
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().unwrap_or_else(|| unreachable!("it is a list"))
}

fn variable(env: &mut Vec<Value>, pair: &str) {
    let name = |text: &str| text.split_once('=').map_or(text, |(name, _)| name).to_owned();
    let wanted = name(pair);
    match env.iter_mut().find(|known| known.as_str().is_some_and(|known| name(known) == wanted)) {
        Some(known) => *known = json!(pair),
        None => env.push(json!(pair)),
    }
}

/// A node that nobody owns belongs to the container's user, who could not open it otherwise.
fn device(config: &mut Value, node: &Node) {
    let user = |field: &str| config["process"]["user"][field].as_u64().filter(|id| *id != 0);
    let uid = node.uid.map(u64::from).or_else(|| user("uid"));
    let gid = node.gid.map(u64::from).or_else(|| user("gid"));
    let kind = match node.kind {
        Some(NodeKind::Block) => "b",
        Some(NodeKind::Fifo) => "p",
        Some(NodeKind::Unbuffered) => "u",
        Some(NodeKind::Character) | None => "c",
    };
    let mut made = json!({"path": node.path, "type": kind});
    let numbers = [("major", node.major), ("minor", node.minor)];
    for (field, number) in numbers.into_iter().filter_map(|(field, number)| Some((field, number?))) {
        made[field] = json!(number);
    }
    if let Some(mode) = node.file_mode {
        made["fileMode"] = json!(mode);
    }
    for (field, id) in [("uid", uid), ("gid", gid)].into_iter().filter_map(|(field, id)| Some((field, id?))) {
        made[field] = json!(id);
    }
    let devices = list(&mut config["linux"]["devices"]);
    devices.retain(|known| known["path"] != node.path.as_str());
    devices.push(made);
    if matches!(kind, "b" | "c") {
        let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
        let rule = json!({"allow": true, "type": kind, "major": node.major, "minor": node.minor, "access": access});
        list(&mut config["linux"]["resources"]["devices"]).push(rule);
    }
}

/// A mount of no type is of a place on the host.
fn bind(mount: &Mount) -> Value {
    let mut options = mount.options.clone();
    let binds = options.iter().any(|option| option == "bind" || option == "rbind");
    if !binds && matches!(mount.kind.as_str(), "" | "none" | "bind") {
        options.push("rbind".to_owned());
    }
    let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
    json!({"destination": mount.container_path, "type": kind, "source": mount.host_path, "options": options})
}

fn program(hook: &Hook) -> Value {
    let mut program = json!({"path": hook.path});
    for (field, list) in [("args", &hook.args), ("env", &hook.env)] {
        if !list.is_empty() {
            program[field] = json!(list);
        }
    }
    if let Some(timeout) = hook.timeout {
        program["timeout"] = json!(timeout);
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(value: Value) -> Edits {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn everything_that_can_be_edited() {
        let mut config = json!({
            "process": {"env": ["PATH=/bin", "A=0"], "user": {"uid": 5, "gid": 0, "additionalGids": [7]}},
            "mounts": [{"destination": "/"}, {"destination": "/lib/acme/deep"}, {"destination": "/lib/acme"}],
            "linux": {"devices": [{"path": "/dev/a", "type": "b"}], "resources": {"devices": [{"allow": false}]}},
        });
        let first = edits(json!({
            "env": ["A=1", "B=2"],
            "deviceNodes": [{"path": "/dev/a", "type": "c", "major": 10, "minor": 200, "permissions": "rw"}],
            "mounts": [{"hostPath": "/opt/acme", "containerPath": "/lib/acme", "options": ["ro"]}],
        }));
        let second = edits(json!({
            "hooks": [{"hookName": "createRuntime", "path": "/bin/hook", "args": ["hook"], "timeout": 5}],
            "additionalGids": [0, 7, 44], "intelRdt": {"closID": "acme"},
            "netDevices": [{"hostInterfaceName": "ib0", "name": "net1"}],
        }));
        apply(&mut config, &[first, second]);
        assert_eq!(config["process"]["env"], json!(["PATH=/bin", "A=1", "B=2"]));
        assert_eq!(config["process"]["user"]["additionalGids"], json!([7, 44]));
        let node = json!({"path": "/dev/a", "type": "c", "major": 10, "minor": 200, "uid": 5});
        assert_eq!(config["linux"]["devices"], json!([node]));
        let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"});
        assert_eq!(config["linux"]["resources"]["devices"], json!([{"allow": false}, rule]));
        let places: Vec<_> = config["mounts"].as_array().unwrap().iter().map(|mount| &mount["destination"]).collect();
        assert_eq!(places, ["/", "/lib/acme", "/lib/acme/deep"]);
        assert_eq!(config["mounts"][1]["options"], json!(["ro", "rbind"]));
        let hook = json!([{"path": "/bin/hook", "args": ["hook"], "timeout": 5}]);
        assert_eq!(config["hooks"], json!({"createRuntime": hook}));
        assert_eq!(config["linux"]["intelRdt"], json!({"closID": "acme"}));
        assert_eq!(config["linux"]["netDevices"], json!({"ib0": {"name": "net1"}}));
    }
}
