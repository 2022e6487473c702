//! Containers that end, and pods that are ended or do not go: questions 12 to 16.

use crate::starts::well;
use crate::world::{Case, World, ago, node, placed, running, with};
use serde_json::{Value, json};

fn on(pod: Value) -> World {
    World::default().node(node("a")).pod(pod)
}

pub(crate) fn cases() -> Vec<Case> {
    [crashes(), beginnings(), memory(), evicted(), probes(), leaving()].into_iter().flatten().collect()
}

fn ended(code: i64, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": ago(25), "finishedAt": ago(15), "containerID": "skiff://c1"}})
}

/// A container that waits to be started again after it ended so.
fn looping(code: i64, reason: &str) -> Value {
    let message = "back-off 40s restarting failed container=main pod=web_shop(uid-web)";
    json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": message}}, "lastState": ended(code, reason)})
}

fn crashes() -> Vec<Case> {
    let log = "starting\nconnecting to db\npanic: no route to db\n";
    let by_probe = with(
        placed("shop/web", "Running", looping(137, "Error")),
        &[(
            "/spec/containers/0/livenessProbe",
            json!({"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 5}),
        )],
    );
    vec![
        Case::new("00-well", "pod shop/web", well(), &["Running and ready, for 2m, on node a", "exit code 0"]),
        Case::new("00-absent", "pod shop/gone", well(), &["There is no such pod"]),
        Case::new(
            "12-crash",
            "pod shop/web",
            on(placed("shop/web", "Running", looping(1, "Error"))).log("shop/web", "main", true, log),
            &[
                "ended with exit code 1",
                "started at 2026-05-01 11:59:35 UTC and ran for 10s",
                "restarted 3 times",
                "due at 12:00:25 UTC (in 25s), after a back-off of 40s",
                "panic: no route to db",
            ],
        ),
        Case::new(
            "12-signal",
            "pod shop/web",
            on(placed("shop/web", "Running", looping(139, "Error"))).log("shop/web", "main", true, ""),
            &["exit code 139 (signal SIGSEGV: access to memory that is not its own)", "Its log is empty"],
        ),
        Case::new(
            "12-ends-by-itself",
            "pod shop/web",
            on(placed("shop/web", "Running", looping(0, "Completed"))),
            &["exit code 0", "stay in the foreground"],
        ),
        Case::new(
            "12-liveness",
            "pod shop/web",
            on(by_probe)
                .event("Pod shop/web#main", "Killing", "Container main failed liveness probe, will be restarted", 1, 16)
                .event(
                    "Pod shop/web#main",
                    "Unhealthy",
                    "Liveness probe failed: HTTP probe failed with statuscode: 500",
                    3,
                    17,
                ),
            &["because its liveness probe failed", "statuscode: 500", "GET http://10.244.0.5:8080/live every 5s"],
        ),
    ]
}

fn beginnings() -> Vec<Case> {
    let init = json!({"name": "migrate", "restartCount": 0, "state": {"running": {"startedAt": ago(90)}}});
    let initial = with(
        placed("shop/web", "Pending", json!({"state": {"waiting": {"reason": "PodInitializing"}}})),
        &[
            ("/spec/initContainers", json!([{"name": "migrate", "image": "m"}])),
            ("/status/initContainerStatuses", json!([init])),
        ],
    );
    vec![Case::new(
        "12-initializing",
        "pod shop/web",
        on(initial).log("shop/web", "migrate", false, "waiting for lock\n"),
        &["init container migrate, which has not ended yet, for 90s", "waiting for lock"],
    )]
}

fn memory() -> Vec<Case> {
    let limited = with(
        placed("shop/web", "Running", looping(137, "OOMKilled")),
        &[("/spec/containers/0/resources", json!({"limits": {"memory": "64Mi"}}))],
    );
    let whole = with(
        placed("shop/web", "Running", looping(1, "OOMKilled")),
        &[("/spec/resources", json!({"limits": {"memory": "128Mi"}}))],
    );
    let free = placed("shop/web", "Running", looping(137, "OOMKilled"));
    vec![
        Case::new(
            "13-own-limit",
            "pod shop/web",
            on(limited).kubelet("a", "skiff/known", json!({"memoryPeaks": {"c1": 67_108_864}})),
            &["its own limit of 64Mi", "It had taken 64Mi at most", "Its first process was killed"],
        ),
        Case::new(
            "13-pod-limit",
            "pod shop/web",
            on(whole),
            &["the pod as a whole reached its limit of 128Mi", "A process other than its first one", "not recorded"],
        ),
        Case::new(
            "13-node",
            "pod shop/web",
            on(free).event("Node a", "SystemOOM", "System OOM encountered, victim process: java, pid: 4711", 1, 15),
            &["node a itself ran out of memory", "java, pid: 4711"],
        ),
    ]
}

fn evicted() -> Vec<Case> {
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using 900Mi, request is 100Mi, has larger consumption of memory. ";
    let failed = |reason: &str, message: &str| {
        with(
            placed("shop/web", "Failed", json!({})),
            &[
                ("/status/reason", json!(reason)),
                ("/status/message", json!(message)),
                ("/spec/containers/0/resources", json!({"requests": {"memory": "100Mi"}})),
            ],
        )
    };
    vec![
        Case::new(
            "14-evicted",
            "pod shop/web",
            on(failed("Evicted", message)),
            &[
                "low on memory: 50Mi were left, and the threshold is 100Mi",
                "using 900Mi, request is 100Mi",
                "main 100Mi",
            ],
        ),
        Case::new(
            "14-volume",
            "pod shop/web",
            on(failed("Evicted", "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\". ")),
            &["\"cache\" exceeds the limit \"1Gi\""],
        ),
        Case::new(
            "14-rejected",
            "pod shop/web",
            on(failed(
                "OutOfcpu",
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 3000, capacity: 4000",
            )),
            &["requested: 5000, used: 3000, capacity: 4000"],
        ),
    ]
}

fn probes() -> Vec<Case> {
    let probe = json!({"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3});
    let pod = |more: &[(&str, Value)]| {
        let pod =
            placed("shop/web", "Running", json!({"started": true, "state": {"running": {"startedAt": ago(120)}}}));
        with(
            with(
                pod,
                &[
                    ("/spec/containers/0/ports", json!([{"name": "http", "containerPort": 8080}])),
                    ("/spec/containers/0/readinessProbe", probe.clone()),
                ],
            ),
            more,
        )
    };
    let said = |message: &str, count| {
        on(pod(&[])).event("Pod shop/web#main", "Unhealthy", &format!("Readiness probe failed: {message}"), count, 4)
    };
    let starting = pod(&[
        (
            "/spec/containers/0/startupProbe",
            json!({"exec": {"command": ["cat", "/started"]}, "failureThreshold": 30, "periodSeconds": 2}),
        ),
        ("/status/containerStatuses/0/started", json!(false)),
    ]);
    vec![
        Case::new(
            "15-status",
            "pod shop/web",
            said("HTTP probe failed with statuscode: 503: warming up", 2),
            &["statuscode: 503: warming up", "GET http://10.244.0.5:8080/ready every 10s", "(2 of 3), 4s ago"],
        ),
        Case::new(
            "15-refused",
            "pod shop/web",
            said("Get \"http://10.244.0.5:8080/ready\": Connection refused (os error 111)", 9),
            &["Connection refused", "0.0.0.0", "9 times in 8m"],
        ),
        Case::new(
            "15-timeout",
            "pod shop/web",
            said("Get \"http://10.244.0.5:8080/ready\": no answer within 1s", 9),
            &["no answer within 1s", "timeoutSeconds"],
        ),
        Case::new(
            "15-startup",
            "pod shop/web",
            on(starting),
            &["startup probe", "the command cat /started every 2s", "30 failures"],
        ),
        Case::new("15-gate", "pod shop/web", gated(), &["example.com/lb, and nobody has set"]),
    ]
}

/// A pod with a gate that nobody opens.
fn gated() -> World {
    let pod = with(
        placed("shop/web", "Running", running()),
        &[
            ("/spec/readinessGates", json!([{"conditionType": "example.com/lb"}])),
            ("/status/conditions/1/status", json!("False")),
        ],
    );
    on(pod)
}

fn leaving() -> Vec<Case> {
    let going = |left: i64, more: &[(&str, Value)]| {
        let pod = placed("shop/web", "Running", json!({"state": {"running": {"startedAt": ago(900)}}}));
        with(
            with(
                pod,
                &[
                    ("/metadata/deletionTimestamp", json!(ago(-left))),
                    ("/metadata/deletionGracePeriodSeconds", json!(30)),
                ],
            ),
            more,
        )
    };
    let over = [("/status/containerStatuses/0/state", json!({"terminated": {"exitCode": 0}}))];
    let hook = json!({"preStop": {"exec": {"command": ["sleep", "20"]}}});
    vec![
        Case::new(
            "16-pre-stop",
            "pod shop/web",
            on(going(12, &[("/spec/containers/0/lifecycle", hook)])).event(
                "Pod shop/web#main",
                "Killing",
                "Stopping container main",
                1,
                18,
            ),
            &[
                "told to go 18s ago, with 30s to end, of which 12s are left",
                "preStop hook of main runs since 18s",
                "sleep 20",
            ],
        ),
        Case::new(
            "16-signal",
            "pod shop/web",
            on(going(-40, &[("/spec/containers/0/command", json!(["sh", "-c", "sleep 1000"]))])),
            &["40s over", "ignore the stop signal", "A shell as first process"],
        ),
        Case::new(
            "16-finalizers",
            "pod shop/web",
            on(with(going(-300, &over), &[("/metadata/finalizers", json!(["example.com/guard"]))])),
            &["the finalizer example.com/guard", "No container runs any more"],
        ),
        Case::new(
            "16-busy",
            "pod shop/web",
            on(going(-300, &over)).event(
                "Pod shop/web",
                "FailedKillPod",
                "unmount /var/lib/skiff/pods/u/volumes/data: Device or resource busy",
                6,
                9,
            ),
            &["busy", "fuser"],
        ),
    ]
}
