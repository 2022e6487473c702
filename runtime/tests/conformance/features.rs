//! features.md and features-linux.md: what the runtime says of itself, held against what it does.

use super::lab::{Lab, Verdict, must, same};
use super::{Row, row};
use serde_json::{Value, json};

fn features(lab: &Lab) -> Result<Value, Verdict> {
    let out = lab.bundle("true", |_| ()).oci(&["features"]).ok()?;
    serde_json::from_str(&out).map_err(|error| Verdict::Breaks(error.to_string()))
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

pub(crate) const ROWS: &[Row] = &[
    row("features", "is a document with the versions it takes", |lab| {
        let features = features(lab)?;
        for name in ["ociVersionMin", "ociVersionMax"] {
            let version = features[name].clone();
            lab.prints("echo yes", "yes\n", |c| c["ociVersion"] = version)?;
        }
        Ok(())
    }),
    row("features: hooks", "are the six of the specification", |lab| {
        let mut hooks = words(&features(lab)?["hooks"]);
        hooks.sort();
        same(
            "hooks",
            hooks.join(" ").as_str(),
            "createContainer createRuntime poststart poststop prestart startContainer",
        )
    }),
    row("features: mountOptions", "have all that the specification demands", |lab| {
        let has = words(&features(lab)?["mountOptions"]);
        let demanded = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec \
            noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave \
            runbindable rw shared silent slave strictatime suid sync unbindable";
        let missing: Vec<_> = demanded.split_whitespace().filter(|word| !has.iter().any(|has| has == word)).collect();
        must(missing.is_empty(), || format!("missing: {missing:?}"))
    }),
    row("features: mountOptions", "have no filesystem's own", |lab| {
        let has = words(&features(lab)?["mountOptions"]);
        must(!has.iter().any(|word| word.contains('=') || word == "mode" || word == "size"), || format!("{has:?}"))
    }),
    row("features-linux: namespaces", "are recognized", |lab| {
        for kind in words(&features(lab)?["linux"]["namespaces"]) {
            if kind == "user" || kind == "mount" || kind == "pid" {
                continue;
            }
            lab.prints("echo yes", "yes\n", |c| {
                c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": kind}])
            })?;
        }
        Ok(())
    }),
    row("features-linux: capabilities", "are recognized", |lab| {
        let names = words(&features(lab)?["linux"]["capabilities"]);
        must(names.len() >= 41, || format!("{} names", names.len()))?;
        let bundle = lab.bundle("echo yes", |c| c["process"]["capabilities"] = json!({"bounding": names}));
        same("output", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "yes\n")?;
        must(!bundle.read("log").contains("unknown"), || bundle.read("log"))
    }),
    row("features-linux: cgroup", "says which versions and managers", |lab| {
        let cgroup = features(lab)?["linux"]["cgroup"].clone();
        ["v1", "v2", "systemd", "systemdUser"]
            .iter()
            .try_for_each(|name| must(cgroup[name].is_boolean(), || format!("{name}: {cgroup}")))
    }),
    row("features-linux: seccomp", "actions, operators and supported flags are taken", |lab| {
        let seccomp = features(lab)?["linux"]["seccomp"].clone();
        must(seccomp["enabled"] == true, || seccomp.to_string())?;
        for action in words(&seccomp["actions"]).into_iter().filter(|action| action != "SCMP_ACT_NOTIFY") {
            lab.prints("echo yes", "yes\n", |c| {
                c["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": action}]});
            })?;
        }
        for op in words(&seccomp["operators"]) {
            lab.prints("echo yes", "yes\n", |c| {
                let args = json!([{"index": 0, "value": 77, "valueTwo": 77, "op": op}]);
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "args": args}]});
            })?;
        }
        Ok(())
    }),
    row("features-linux: apparmor, selinux", "say whether", |lab| {
        let linux = features(lab)?["linux"].clone();
        ["apparmor", "selinux"]
            .iter()
            .try_for_each(|name| must(linux[name]["enabled"].is_boolean(), || format!("{name}: {linux}")))
    }),
    row("features-linux: intelRdt", "says whether", |lab| {
        must(features(lab)?["linux"]["intelRdt"]["enabled"].is_boolean(), || "it does not".to_owned())
    }),
    row("features-linux: memoryPolicy", "lists modes and flags", |lab| {
        let policy = features(lab)?["linux"]["memoryPolicy"].clone();
        must(words(&policy["modes"]).len() >= 7 && words(&policy["flags"]).len() >= 3, || policy.to_string())
    }),
    row("features-linux: mountExtensions, netDevices", "say whether", |lab| {
        let linux = features(lab)?["linux"].clone();
        must(linux["mountExtensions"]["idmap"]["enabled"].is_boolean(), || "idmap".to_owned())?;
        must(linux["netDevices"]["enabled"].is_boolean(), || "netDevices".to_owned())
    }),
];
