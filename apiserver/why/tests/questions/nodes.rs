//! Nodes, and what makes pods: questions 21, 22, 24 and 25.

use crate::places::short_of_disk;
use crate::world::{Case, World, ago, node, placed, running, waiting, with};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    [machines(), kubelets(), jobs(), crons(), rollouts(), others()].into_iter().flatten().collect()
}

fn lease(seconds: i64) -> Value {
    json!({"metadata": {"name": "a", "namespace": "kube-node-lease"}, "spec": {"renewTime": ago(seconds)}})
}

fn ready(status: &str, reason: &str, message: &str) -> World {
    let condition = json!([{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(180)}]);
    World::default().node(with(node("a"), &[("/status/conditions", condition)]))
}

fn machines() -> Vec<Case> {
    let group = "coordination.k8s.io/v1";
    let on = || World::default().node(node("a")).object(group, "leases", lease(5)).kubelet("a", "healthz", "ok".into());
    vec![
        Case::new("00-node-well", "node a", on(), &["Ready, for 24h", "exit code 0"]),
        Case::new(
            "21-silent",
            "node a",
            ready("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.").object(
                group,
                "leases",
                lease(220),
            ),
            &["for 3m", "silent", "lease 3m40s ago"],
        ),
        Case::new(
            "21-runtime",
            "node a",
            ready("False", "KubeletNotReady", "container runtime is down: connect: no such file").object(
                group,
                "leases",
                lease(4),
            ),
            &["container runtime does not answer", "no such file"],
        ),
        Case::new(
            "21-network",
            "node a",
            ready("False", "KubeletNotReady", "NetworkReady=false: cni config uninitialized").object(
                group,
                "leases",
                lease(4),
            ),
            &["the pod network is not there"],
        ),
        Case::new("21-pressure", "node a", short_of_disk(), &["DiskPressure", "1.2Gi of 20Gi left"]),
    ]
}

fn kubelets() -> Vec<Case> {
    let group = "coordination.k8s.io/v1";
    let x509 = "error trying to reach service: tls: failed to verify certificate: x509: certificate is valid for 192.0.2.7, not 192.0.2.1";
    vec![
        Case::new(
            "22-certificate",
            "node a",
            World::default()
                .node(node("a"))
                .object(group, "leases", lease(5))
                .refuses("/api/v1/nodes/a/proxy/healthz", x509),
            &["its certificate is not accepted", "valid for 192.0.2.7, not 192.0.2.1", "192.0.2.1, port 10250"],
        ),
        Case::new(
            "22-clock",
            "node a",
            World::default().node(node("a")).object(group, "leases", lease(-90)).kubelet("a", "healthz", "ok".into()),
            &["90s ahead"],
        ),
        Case::new(
            "22-refused",
            "node a",
            World::default()
                .node(node("a"))
                .object(group, "leases", lease(5))
                .refuses("/api/v1/nodes/a/proxy/healthz", "dial tcp 192.0.2.1:10250: connect: connection refused"),
            &["nobody listens"],
        ),
    ]
}

fn jobs() -> Vec<Case> {
    let job = |more: &[(&str, Value)]| {
        with(
            json!({"kind": "Job", "metadata": {"name": "load", "namespace": "shop", "uid": "j"}, "spec": {"backoffLimit": 2}, "status": {}}),
            more,
        )
    };
    let in_jobs = |job: Value| World::default().object("batch/v1", "jobs", job);
    let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit", "lastTransitionTime": ago(60)}]);
    vec![
        Case::new("24-suspended", "job shop/load", in_jobs(job(&[("/spec/suspend", json!(true))])), &["suspended"]),
        Case::new(
            "24-failed",
            "job shop/load",
            in_jobs(job(&[("/status/conditions", failed), ("/status/failed", json!(3))])),
            &["failed 60s ago (BackoffLimitExceeded)", "3 pods failed, and backoffLimit is 2"],
        ),
    ]
}

fn crons() -> Vec<Case> {
    let cron = |more: &[(&str, Value)]| {
        with(
            json!({"kind": "CronJob", "metadata": {"name": "night", "namespace": "shop", "uid": "c"}, "spec": {"schedule": "0 3 * * *"}, "status": {}}),
            more,
        )
    };
    let in_crons = |cron: Value| World::default().object("batch/v1", "cronjobs", cron);
    vec![
        Case::new(
            "24-cron-suspended",
            "cronjob shop/night",
            in_crons(cron(&[("/spec/suspend", json!(true)), ("/spec/timeZone", json!("Europe/Berlin"))])),
            &["suspended", "0 3 * * *", "Europe/Berlin"],
        ),
        Case::new(
            "24-forbidden",
            "cronjob shop/night",
            in_crons(cron(&[
                ("/spec/concurrencyPolicy", json!("Forbid")),
                ("/status/active", json!([{"name": "night-1"}])),
                ("/status/lastScheduleTime", json!(ago(7200))),
            ])),
            &["Forbid, and job night-1 is still active, begun 120m ago"],
        ),
        Case::new(
            "24-zone",
            "cronjob shop/night",
            in_crons(cron(&[("/spec/timeZone", json!("Berlin"))])).event(
                "CronJob shop/night",
                "UnknownTimeZone",
                "invalid timeZone: \"Berlin\": unknown time zone Berlin",
                1,
                30,
            ),
            &["time zone is not known", "Berlin"],
        ),
        Case::new(
            "24-deadline",
            "cronjob shop/night",
            in_crons(cron(&[("/spec/startingDeadlineSeconds", json!(60))])).event(
                "CronJob shop/night",
                "MissSchedule",
                "Missed scheduled time to start a job: Fri, 01 May 2026 03:00:00 +0000",
                1,
                3600,
            ),
            &["missed", "startingDeadlineSeconds is 60", "03:00:00"],
        ),
    ]
}

fn deployment(more: &[(&str, Value)]) -> Value {
    let whole = json!({
        "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2},
        "spec": {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
        "status": {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3, "conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet \"web-2\" has timed out progressing."}]},
    });
    with(whole, more)
}

fn rollouts() -> Vec<Case> {
    let set = |name: &str, revision: &str, status: Value| json!({"kind": "ReplicaSet", "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": ago(700), "annotations": {"deployment.kubernetes.io/revision": revision}, "ownerReferences": [{"uid": "d"}]}, "spec": {"replicas": 1}, "status": status});
    let owned = with(
        placed(
            "shop/web-2-x",
            "Pending",
            waiting("ErrImagePull", "Failed to pull image \"reg.example/app:1\": 404 Not Found"),
        ),
        &[("/metadata/ownerReferences", json!([{"uid": "web-2"}]))],
    );
    let base = |object: Value| {
        World::default()
            .node(node("a"))
            .object("apps/v1", "deployments", object)
            .object("apps/v1", "replicasets", set("web-1", "1", json!({"replicas": 3})))
            .object("apps/v1", "replicasets", set("web-2", "2", json!({"replicas": 1, "availableReplicas": 0})))
    };
    let quota = "Error creating: pods \"web-2-y\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3";
    vec![
        Case::new(
            "00-deployment-well",
            "deployment shop/web",
            base(deployment(&[("/status/updatedReplicas", json!(3)), ("/status/replicas", json!(3))])).pod(placed(
                "a/x",
                "Running",
                running(),
            )),
            &["3 of 3 pods are available", "exit code 0"],
        ),
        Case::new(
            "25-rollout",
            "deployment shop/web",
            base(deployment(&[])).pod(owned),
            &[
                "newest replica set web-2 has 1 of 3 pods, 0 of them available, for 11m",
                "ProgressDeadlineExceeded",
                "25% pods more (maxSurge)",
                "pod shop/web-2-x",
                "answered 404",
            ],
        ),
        Case::new(
            "25-quota",
            "deployment shop/web",
            base(deployment(&[])).event("ReplicaSet shop/web-2", "FailedCreate", quota, 5, 8),
            &["quota: small, requested: pods=1, used: pods=3, limited: pods=3"],
        ),
        Case::new("25-paused", "deployment shop/web", base(deployment(&[("/spec/paused", json!(true))])), &["paused"]),
        Case::new(
            "25-behind",
            "deployment shop/web",
            base(deployment(&[("/metadata/generation", json!(5))])),
            &["generation 5; it has seen 2"],
        ),
    ]
}

fn others() -> Vec<Case> {
    let state = json!({"kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop", "uid": "s", "generation": 1}, "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "readyReplicas": 0, "updatedReplicas": 1}});
    let first = with(
        placed("shop/db-0", "Pending", waiting("CreateContainerConfigError", "x")),
        &[("/metadata/ownerReferences", json!([{"uid": "s"}]))],
    );
    let daemon = json!({"kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "shop", "uid": "ds", "generation": 1}, "spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 0, "numberReady": 0}});
    vec![
        Case::new(
            "25-ordered",
            "statefulset shop/db",
            World::default().node(node("a")).object("apps/v1", "statefulsets", state).pod(first),
            &["pod db-0 is not ready"],
        ),
        Case::new(
            "25-daemon",
            "daemonset shop/agent",
            World::default().node(node("a")).object("apps/v1", "daemonsets", daemon),
            &["none of the 1 nodes", "disk=ssd"],
        ),
    ]
}
