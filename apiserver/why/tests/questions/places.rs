//! Pods without a node: questions 1 to 5.

use crate::world::{Case, World, ago, node, pending, placed, running, with};
use serde_json::{Value, json};

fn asks(pod: Value, resources: Value) -> Value {
    with(pod, &[("/spec/containers/0/resources", json!({ "requests": resources }))])
}

fn holds(name: &str, resources: Value) -> Value {
    asks(placed(name, "Running", running()), resources)
}

pub(crate) fn cases() -> Vec<Case> {
    [room(), wishes(), pressure(), claims(), held()].into_iter().flatten().collect()
}

fn room() -> Vec<Case> {
    let others = || {
        World::default()
            .node(node("a"))
            .pod(holds("shop/db", json!({"cpu": "2"})))
            .pod(holds("kube-system/dns", json!({"cpu": "1150m", "memory": "1536Mi"})))
    };
    let port = |pod| with(pod, &[("/spec/containers/0/ports", json!([{"containerPort": 80, "hostPort": 80}]))]);
    let full = with(node("a"), &[("/status/allocatable/pods", json!("2"))]);
    vec![
        Case::new(
            "01-no-cpu",
            "pod shop/web",
            others().pod(asks(pending("shop/web"), json!({"cpu": "2"}))),
            &["asks for 2 cpu", "850m free of 4 allocatable", "shop/db (2)", "at most 850m"],
        ),
        Case::new(
            "01-no-memory-on-any",
            "pod shop/web",
            others().pod(asks(pending("shop/web"), json!({"memory": "16Gi"}))),
            &["16Gi of memory", "6.5Gi free of 8Gi", "ask for at most 8Gi"],
        ),
        Case::new(
            "01-preemption",
            "pod shop/web",
            others().pod(with(
                asks(pending("shop/web"), json!({"cpu": "3"})),
                &[("/spec/priority", json!(1000)), ("/spec/preemptionPolicy", json!("Never"))],
            )),
            &["lower priority than 1000 hold 3150m", "Never"],
        ),
        Case::new(
            "01-port",
            "pod shop/web",
            World::default()
                .node(node("a"))
                .pod(port(placed("kube-system/ingress", "Running", running())))
                .pod(port(pending("shop/web"))),
            &["Port 80/TCP of a is held by pod kube-system/ingress"],
        ),
        Case::new(
            "01-storage-and-devices",
            "pod shop/web",
            others().pod(asks(pending("shop/web"), json!({"ephemeral-storage": "60Gi", "example.com/gpu": "1"}))),
            &["60Gi of ephemeral-storage", "50Gi free of 50Gi", "1 of example.com/gpu", "offers none"],
        ),
        Case::new(
            "01-pods",
            "pod shop/web",
            World::default()
                .node(full)
                .pod(placed("a/x", "Running", running()))
                .pod(placed("a/y", "Running", running()))
                .pod(pending("shop/web")),
            &["2 of 2"],
        ),
    ]
}

fn wishes() -> Vec<Case> {
    let on = |node: Value, pod: Value| World::default().node(node).pod(pod);
    let taint = json!([{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b", "c"]}]}]}}});
    let anti = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]},
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}]}});
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"tier": "web"}}}]);
    let member = |pod| with(pod, &[("/metadata/labels/tier", json!("web"))]);
    let second = with(node("b"), &[("/spec/taints", taint.clone())]);
    vec![
        Case::new(
            "02-taint",
            "pod shop/web",
            on(with(node("a"), &[("/spec/taints", taint)]), pending("shop/web")),
            &["dedicated=db:NoSchedule", "tolerates none"],
        ),
        Case::new(
            "02-selector",
            "pod shop/web",
            on(node("a"), with(pending("shop/web"), &[("/spec/nodeSelector", json!({"zone": "b", "disk": "ssd"}))])),
            &["zone=b; node a has zone=a", "disk=ssd; node a has no label disk"],
        ),
        Case::new(
            "02-affinity",
            "pod shop/web",
            on(node("a"), with(pending("shop/web"), &[("/spec/affinity", affinity)])),
            &["zone In [b c] (node a has zone=a)"],
        ),
        Case::new(
            "02-neighbours",
            "pod shop/web",
            on(node("a"), with(pending("shop/web"), &[("/spec/affinity", anti)])).pod(placed(
                "shop/db",
                "Running",
                running(),
            )),
            &["shop/db is in kubernetes.io/hostname=a", "app=cache"],
        ),
        Case::new(
            "02-spread",
            "pod shop/web",
            on(node("a"), member(with(pending("shop/web"), &[("/spec/topologySpreadConstraints", spread)])))
                .node(second)
                .pod(member(placed("shop/one", "Running", running()))),
            &["2 pods with tier=web", "maxSkew is 1", "a: 1 and b: 0"],
        ),
        Case::new(
            "02-cordoned",
            "pod shop/web",
            on(with(node("a"), &[("/spec/unschedulable", json!(true))]), pending("shop/web")),
            &["cordoned"],
        ),
    ]
}

/// A node with too little disk, and what its kubelet says of it.
pub(crate) fn short_of_disk() -> World {
    let of = with(
        node("a"),
        &[
            ("/spec/taints", json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}])),
            (
                "/status/conditions",
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": ago(9000)}, {"type": "DiskPressure", "status": "True", "lastTransitionTime": ago(300)}]),
            ),
        ],
    );
    let fs = json!({"availableBytes": 1_288_491_008_i64, "capacityBytes": 21_474_836_480_i64, "inodesFree": 900_000, "inodes": 1_000_000});
    World::default()
        .node(of)
        .kubelet("a", "stats/summary", json!({"node": {"fs": fs, "memory": {"availableBytes": 4_294_967_296_i64}}}))
        .kubelet("a", "configz", json!({"kubeletconfig": {"evictionHard": {"nodefs.available": "10%", "nodefs.inodesFree": "5%"}}}))
        .kubelet("a", "skiff/known", json!({"filesystems": [{"name": "nodefs", "path": "/var/lib/skiff/pods", "mountPoint": "/var", "device": "/dev/vda2"}]}))
}

fn pressure() -> Vec<Case> {
    vec![Case::new(
        "03-disk-pressure",
        "pod shop/web",
        short_of_disk().pod(pending("shop/web")),
        &["for 5m", "mounted at /var", "1.2Gi of 20Gi left", "threshold of 2Gi (10%)", "reg.example/old:1 (1Gi)"],
    )]
}

fn claims() -> Vec<Case> {
    let pod = || {
        with(
            pending("shop/db"),
            &[("/spec/volumes", json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]))],
        )
    };
    let claim = |class: Value| json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop", "creationTimestamp": ago(600)}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": "10Gi"}}}, "status": {"phase": "Pending"}});
    let class = |name: &str| json!({"metadata": {"name": name}, "provisioner": "csi.example.com"});
    let on = || World::default().node(node("a")).pod(pod());
    let with_class = |world: World| world.object("storage.k8s.io/v1", "storageclasses", class("fast"));
    let volume = json!({"metadata": {"name": "pv-small"}, "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Available"}});
    vec![
        Case::new(
            "04-no-default-class",
            "pod shop/db",
            with_class(on().object("v1", "persistentvolumeclaims", claim(Value::Null))),
            &["names no class, and no class is the default", "for 10m", "fast"],
        ),
        Case::new(
            "04-provisioner-fails",
            "pod shop/db",
            with_class(on().object("v1", "persistentvolumeclaims", claim("fast".into()))).event(
                "PersistentVolumeClaim shop/data",
                "ProvisioningFailed",
                "rpc error: quota of the storage system reached",
                4,
                30,
            ),
            &["class fast", "provisioner csi.example.com", "quota of the storage system reached"],
        ),
        Case::new(
            "04-class-missing",
            "pod shop/db",
            with_class(on().object("v1", "persistentvolumeclaims", claim("slow".into()))),
            &["wants the class slow, which does not exist"],
        ),
        Case::new("04-claim-missing", "pod shop/db", on(), &["The claim data does not exist in namespace shop"]),
        Case::new(
            "04-static",
            "persistentvolumeclaim shop/data",
            on().object("v1", "persistentvolumeclaims", claim("".into())).object("v1", "persistentvolumes", volume),
            &["pv-small (5Gi", "too small"],
        ),
    ]
}

fn held() -> Vec<Case> {
    let unseen = || with(pending("shop/web"), &[("/status/conditions", json!([]))]);
    let lease = json!({"metadata": {"name": "kube-scheduler", "namespace": "kube-system"}, "spec": {"holderIdentity": "a_1", "renewTime": ago(170)}});
    let on = |pod: Value| World::default().node(node("a")).pod(pod);
    let set = json!({"kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "shop", "uid": "rs", "generation": 1}, "spec": {"replicas": 2}, "status": {"replicas": 0, "observedGeneration": 1}});
    vec![
        Case::new("05-gate", "pod shop/web", on(with(pending("shop/web"), &[("/spec/schedulingGates", json!([{"name": "example.com/capacity"}]))])), &["example.com/capacity"]),
        Case::new("05-no-scheduler", "pod shop/web", on(unseen()).object("coordination.k8s.io/v1", "leases", lease), &["default-scheduler has not looked at it in 3m12s", "renewed 2m50s ago by a_1"]),
        Case::new("05-other-scheduler", "pod shop/web", on(with(unseen(), &[("/spec/schedulerName", json!("batch"))])), &["The scheduler batch"]),
        Case::new(
            "05-quota",
            "rs shop/web",
            World::default().object("apps/v1", "replicasets", set).event("ReplicaSet shop/web", "FailedCreate", "Error creating: pods \"web-x\" is forbidden: exceeded quota: small, requested: cpu=500m, used: cpu=800m, limited: cpu=1", 3, 20),
            &["quota: small, requested: cpu=500m, used: cpu=800m, limited: cpu=1"],
        ),
        Case::new("05-preempting", "pod shop/web", on(with(pending("shop/web"), &[("/status/nominatedNodeName", json!("a")), ("/spec/priority", json!(7))])), &["lower priority than 7 to leave node a"]),
        Case::new("05-scheduler-said", "pod shop/web", on(pending("shop/web")), &["The scheduler said 3m12s ago", "has room"]),
    ]
}
