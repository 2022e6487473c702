//! Our reading against that of the `oci-spec` crate, and the paths of what is refused.

use super::*;
use oci_spec::runtime as oci;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What is left when nothing is said: `null`, and what stands for it.
fn simplify(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(simplify);
        fields.retain(|_, value| !value.is_null() && *value != json!([]) && *value != json!({}));
    }
    if let Value::Array(values) = value {
        values.iter_mut().for_each(simplify);
        // Theirs are sets without an order.
        if values.iter().all(|value| value.as_str().is_some_and(|text| text.starts_with("CAP_"))) {
            values.sort_by_key(Value::to_string);
        }
    }
}

/// Reads `text` with our types and with theirs; gives both back as JSON.
fn both(text: &str) -> (Value, Value) {
    let ours: Config = parse("", "x", text.as_bytes()).unwrap();
    let theirs: oci::Spec = serde_json::from_str(text).unwrap();
    let (mut ours, mut theirs) = (json!(ours), json!(theirs));
    simplify(&mut ours);
    simplify(&mut theirs);
    (ours, theirs)
}

#[test]
fn the_crates_own_default_is_read_alike() {
    let (ours, theirs) = both(&json!(oci::Spec::default()).to_string());
    assert_eq!(ours, theirs);
    let (ours, theirs) = both(&json!(oci::Spec::rootless(1000, 1000)).to_string());
    assert_eq!(ours, theirs);
}

/// Fields of the whole document, each with values that may stand there.
fn fields() -> Vec<(&'static str, Vec<Value>)> {
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 65536}]);
    let hook = json!([{"path": "/h", "args": ["h", "x"], "env": ["A=b"], "timeout": 3}, {"path": "/i"}]);
    let number = || vec![json!(1), json!(0), json!(4_000_000_000_u32)];
    let signed = || vec![json!(-1), json!(0), json!(i64::MAX)];
    let rates = || vec![json!([{"major": 8, "minor": 1, "rate": 7}]), json!([])];
    let mut fields = vec![
        ("/root", vec![json!({"path": "r", "readonly": true}), json!({"path": "/r"})]),
        ("/hostname", vec![json!("h")]),
        ("/domainname", vec![json!("d")]),
        ("/annotations", vec![json!({"a.b": "c"}), json!({})]),
        (
            "/mounts",
            vec![json!([{"destination": "/m", "type": "bind", "source": "s", "options": ["ro"],
            "uidMappings": maps, "gidMappings": maps}, {"destination": "/n"}])],
        ),
        ("/process/terminal", vec![json!(true), json!(false)]),
        ("/process/consoleSize", vec![json!({"height": 24, "width": 80})]),
        ("/process/user", vec![json!({"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]})]),
        ("/process/args", vec![json!(["a", "b"]), json!([])]),
        ("/process/env", vec![json!(["A=b"])]),
        (
            "/process/capabilities",
            vec![json!({"bounding": ["CAP_CHOWN", "CAP_BPF"], "effective": ["CAP_CHOWN"],
            "inheritable": [], "permitted": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]})],
        ),
        ("/process/rlimits", vec![json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": u64::MAX}])]),
        ("/process/noNewPrivileges", vec![json!(true)]),
        ("/process/apparmorProfile", vec![json!("p")]),
        ("/process/selinuxLabel", vec![json!("l")]),
        ("/process/oomScoreAdj", vec![json!(-1000), json!(5)]),
        ("/process/ioPriority", vec![json!({"class": "IOPRIO_CLASS_RT", "priority": 3})]),
        ("/process/execCPUAffinity", vec![json!({"initial": "0-1", "final": "0"}), json!({"final": "1"})]),
        ("/linux/uidMappings", vec![maps.clone()]),
        ("/linux/gidMappings", vec![maps]),
        ("/linux/sysctl", vec![json!({"net.core.somaxconn": "256"})]),
        ("/linux/cgroupsPath", vec![json!("/a/b"), json!("x.slice:y:z")]),
        ("/linux/namespaces", vec![json!([{"type": "pid"}, {"type": "network", "path": "/n"}, {"type": "time"}])]),
        (
            "/linux/devices",
            vec![json!([{"path": "/d", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1,
            "gid": 2}, {"path": "/p", "type": "p", "major": 0, "minor": 0}])],
        ),
        ("/linux/rootfsPropagation", vec![json!("rslave")]),
        ("/linux/maskedPaths", vec![json!(["/a", "/b"])]),
        ("/linux/readonlyPaths", vec![json!(["/a"])]),
        ("/linux/mountLabel", vec![json!("m")]),
        (
            "/linux/intelRdt",
            vec![json!({"closID": "c", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10",
            "enableMonitoring": true, "schemata": ["L2:0=1"]})],
        ),
        ("/linux/memoryPolicy", vec![json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]})]),
        ("/linux/personality", vec![json!({"domain": "LINUX32"})]),
        ("/linux/timeOffsets", vec![json!({"monotonic": {"secs": -5, "nanosecs": 9}})]),
        ("/linux/netDevices", vec![json!({"eth0": {"name": "in0"}, "eth1": {}})]),
        (
            "/linux/seccomp",
            vec![json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures":
            ["SCMP_ARCH_X86_64"], "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/l", "listenerMetadata": "m",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": u64::MAX,
            "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}, {"names": ["x"], "action": "SCMP_ACT_LOG", "errnoRet": 1}]})],
        ),
        (
            "/linux/resources/devices",
            vec![json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c",
            "major": 1, "minor": -1, "access": "r"}])],
        ),
        ("/linux/resources/memory/swappiness", number()),
        ("/linux/resources/memory/disableOOMKiller", vec![json!(true)]),
        ("/linux/resources/memory/checkBeforeUpdate", vec![json!(true)]),
        ("/linux/resources/cpu/shares", number()),
        ("/linux/resources/cpu/burst", number()),
        ("/linux/resources/cpu/period", number()),
        ("/linux/resources/cpu/realtimePeriod", number()),
        ("/linux/resources/cpu/cpus", vec![json!("0-3")]),
        ("/linux/resources/cpu/mems", vec![json!("0")]),
        ("/linux/resources/cpu/idle", vec![json!(1)]),
        ("/linux/resources/pids/limit", signed()),
        ("/linux/resources/blockIO/weight", vec![json!(10), json!(1000)]),
        ("/linux/resources/blockIO/leafWeight", vec![json!(10)]),
        (
            "/linux/resources/blockIO/weightDevice",
            vec![json!([{"major": 8, "minor": 0, "weight": 5, "leafWeight": 6}])],
        ),
        ("/linux/resources/blockIO/throttleReadBpsDevice", rates()),
        ("/linux/resources/blockIO/throttleWriteBpsDevice", rates()),
        ("/linux/resources/blockIO/throttleReadIOPSDevice", rates()),
        ("/linux/resources/blockIO/throttleWriteIOPSDevice", rates()),
        ("/linux/resources/hugepageLimits", vec![json!([{"pageSize": "2MB", "limit": 4096}])]),
        ("/linux/resources/network/classID", number()),
        ("/linux/resources/network/priorities", vec![json!([{"name": "eth0", "priority": 5}])]),
        ("/linux/resources/rdma", vec![json!({"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}})]),
        ("/linux/resources/unified", vec![json!({"memory.high": "1G"})]),
    ];
    for name in
        ["memory/limit", "memory/reservation", "memory/swap", "memory/kernelTCP", "cpu/quota", "cpu/realtimeRuntime"]
    {
        fields.push((Box::leak(format!("/linux/resources/{name}").into_boxed_str()), signed()));
    }
    for name in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        fields.push((Box::leak(format!("/hooks/{name}").into_boxed_str()), vec![hook.clone(), json!([])]));
    }
    fields
}

fn put(document: &mut Value, pointer: &str, value: Value) {
    let place = pointer.split('/').skip(1).fold(document, |place, name| &mut place[name]);
    *place = value;
}

proptest! {
    /// Every field is there or not, with one of its values; theirs writes it, ours reads the same.
    #[test]
    fn what_the_crate_writes_is_read_alike(choices in proptest::collection::vec(0..4_usize, fields().len())) {
        let mut document = json!({"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}}});
        for ((pointer, values), choice) in fields().into_iter().zip(choices) {
            if let Some(value) = values.into_iter().nth(choice) {
                put(&mut document, pointer, value);
            }
        }
        let theirs: oci::Spec = serde_json::from_value(document.clone()).unwrap();
        let (ours, theirs) = both(&json!(theirs).to_string());
        prop_assert_eq!(&ours, &theirs);
        simplify(&mut document);
        prop_assert_eq!(&ours, &document);
    }

    /// Whatever field is of the wrong type, it is the one that is named.
    #[test]
    fn a_wrong_type_anywhere_is_named(index in 0..fields().len(), compact: bool) {
        let (pointer, _) = fields().swap_remove(index);
        let mut document = json!({"ociVersion": "1.3.0", "process": {"cwd": "/"}});
        put(&mut document, pointer, json!(3.5));
        let text = if compact { document.to_string() } else { format!("{document:#}") };
        let error = parse::<Config>("", "x", text.as_bytes()).unwrap_err().to_string();
        let path = pointer.trim_start_matches('/').replace('/', ".");
        prop_assert!(error.starts_with(&format!("{path}: invalid type: floating point")), "{}", error);
    }
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut json = json!({"ociVersion": "1.2.0", "process": {"cwd": "/"}, "linux": {"resources": {}},
        "mounts": [{"destination": "/a"}, {"destination": "/b", "options": ["ro"]}]});
    change(&mut json);
    parse::<Config>("", "config.json", format!("{json:#}").as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_wrong_type_is_refused_by_path() {
    assert_eq!(
        refusal(|c| c["linux"]["resources"]["memory"] = json!({"limit": "1G"})),
        "linux.resources.memory.limit: invalid type: string \"1G\", expected i64"
    );
    assert!(
        refusal(|c| c["mounts"][1]["options"] = json!(["ro", []])).starts_with("mounts[1].options[1]: invalid type")
    );
    assert!(refusal(|c| c["mounts"][1]["destination"] = json!({})).starts_with("mounts[1].destination: "));
    assert!(refusal(|c| c["process"]["user"] = json!({"uid": -1})).starts_with("process.user.uid: invalid value"));
    assert!(
        refusal(|c| c["linux"]["seccomp"] = json!({"defaultAction": "NO"}))
            .starts_with("linux.seccomp.defaultAction: unknown")
    );
    assert_eq!(refusal(|c| c["process"] = json!({})), "process: missing field `cwd`");
    assert!(
        refusal(|c| c["linux"]["resources"]["unified"] = json!({"memory.high": 1}))
            .starts_with("linux.resources.unified.memory.high: ")
    );
}

#[test]
fn a_part_knows_where_it_stands() {
    let text = |json: &[u8]| parse::<Resources>("linux.resources", "-", json).unwrap_err().to_string();
    assert_eq!(
        text(br#"{"pids": {"limit": true}}"#),
        "linux.resources.pids.limit: invalid type: boolean `true`, expected i64"
    );
    assert!(text(b"7").starts_with("linux.resources: invalid type"));
    assert!(text(b"{").starts_with("read -: EOF while parsing an object at line 1"));
}

#[test]
fn unknown_properties_and_null_are_nothing() {
    let json = json!({"ociVersion": "1.3.0", "x": {"y": 1}, "mounts": null, "linux": {"devices": null, "z": []}});
    let config: Config = parse("", "x", json.to_string().as_bytes()).unwrap();
    assert!(config.mounts.is_none() && config.linux.unwrap().devices.is_none());
}
