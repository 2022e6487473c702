//! Containers that do not start: questions 6 to 11.

use crate::world::{Case, World, ago, node, placed, running, waiting, with};
use serde_json::{Value, json};

fn on(pod: Value) -> World {
    World::default().node(node("a")).pod(pod)
}

pub(crate) fn cases() -> Vec<Case> {
    [images(), present(), objects(), volumes(), programs()].into_iter().flatten().collect()
}

fn pulls(image: &str, message: &str) -> World {
    let pod = with(
        placed("shop/web", "Pending", waiting("ImagePullBackOff", "Back-off pulling image")),
        &[
            ("/spec/containers/0/image", json!(image)),
            ("/spec/imagePullSecrets", json!([{"name": "hub"}, {"name": "gone"}])),
        ],
    );
    // {"auths":{"ghcr.io":{}}}
    let secret = json!({"metadata": {"name": "hub", "namespace": "shop"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eyJhdXRocyI6eyJnaGNyLmlvIjp7fX19"}});
    let said = format!("Failed to pull image \"{image}\": {message}");
    on(pod).object("v1", "secrets", secret).event("Pod shop/web#main", "Pulling", "Pulling image", 3, 15).event(
        "Pod shop/web#main",
        "Failed",
        &said,
        3,
        15,
    )
}

fn images() -> Vec<Case> {
    let pulling = with(
        placed("shop/web", "Pending", waiting("ContainerCreating", "")),
        &[("/spec/containers/0/image", json!("reg.example/big:1"))],
    );
    vec![
        Case::new(
            "06-unauthorized",
            "pod shop/web",
            pulls("reg.example/app:9", "unexpected status 401 Unauthorized from reg.example"),
            &[
                "reg.example/app:9 cannot be pulled from reg.example",
                "answered 401",
                "the secret hub, which is for ghcr.io and not for reg.example",
                "the secret gone, which does not exist",
                "next try is due at about 12:00:25 UTC (in 25s), after a back-off of 40s",
            ],
        ),
        Case::new(
            "06-tls",
            "pod shop/web",
            pulls(
                "reg.example/app:9",
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
            &["TLS failed", "unknown authority"],
        ),
        Case::new(
            "06-dns",
            "pod shop/web",
            pulls("nginx:9", "dial tcp: lookup registry-1.docker.io: no such host"),
            &["from docker.io", "name does not resolve"],
        ),
        Case::new(
            "06-never",
            "pod shop/web",
            on(placed("shop/web", "Pending", waiting("ErrImageNeverPull", "not present"))),
            &["reg.example/app:1 is not on node a", "Never", "skiff image import"],
        ),
        Case::new(
            "06-pulling",
            "pod shop/web",
            on(pulling).event("Pod shop/web#main", "Pulling", "Pulling image \"reg.example/big:1\"", 1, 65),
            &["reg.example/big:1 is being pulled from reg.example since 65s"],
        ),
        Case::new(
            "06-name",
            "pod shop/web",
            on(with(
                placed("shop/web", "Pending", waiting("InvalidImageName", "couldn't parse image name")),
                &[("/spec/containers/0/image", json!("Reg/App"))],
            )),
            &["\"Reg/App\" is no name"],
        ),
    ]
}

fn present() -> Vec<Case> {
    let pod = with(
        placed(
            "shop/web",
            "Pending",
            waiting("ErrImagePull", "Failed to pull image \"reg.example/app:latest\": 404 Not Found"),
        ),
        &[
            ("/spec/containers/0/image", json!("reg.example/app")),
            ("/spec/containers/0/imagePullPolicy", json!("Always")),
        ],
    );
    vec![Case::new(
        "07-present-but-always",
        "pod shop/web",
        on(pod),
        &["on node a already (50Mi)", "imagePullPolicy is Always", "default for the tag latest", "IfNotPresent"],
    )]
}

fn objects() -> Vec<Case> {
    let env = json!([
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}, {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}},
        {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": true}}},
    ]);
    let settings = json!({"metadata": {"name": "settings", "namespace": "shop"}, "data": {"level": "1"}});
    let by_env = with(
        placed("shop/web", "Pending", waiting("CreateContainerConfigError", "secret \"token\" not found")),
        &[("/spec/containers/0/env", env)],
    );
    let by_volume = with(
        placed("shop/web", "Pending", waiting("ContainerCreating", "")),
        &[
            ("/spec/volumes", json!([{"name": "cfg", "configMap": {"name": "nginx"}}])),
            ("/status/conditions/2/status", json!("False")),
        ],
    );
    let mount = "MountVolume.SetUp failed for volume \"cfg\" : configmap \"nginx\" not found";
    vec![
        Case::new(
            "08-environment",
            "pod shop/web",
            on(by_env).object("v1", "configmaps", settings),
            &[
                "The ConfigMap shop/settings has no key mode",
                "variable MODE of container main",
                "It has the keys level",
                "The Secret token does not exist in namespace shop",
            ],
        ),
        Case::new(
            "08-volume",
            "pod shop/web",
            on(by_volume).event("Pod shop/web", "FailedMount", mount, 5, 10),
            &["The ConfigMap nginx does not exist in namespace shop, and the volume cfg needs it"],
        ),
    ]
}

fn volumes() -> Vec<Case> {
    let pod = with(
        placed("shop/web", "Pending", waiting("ContainerCreating", "")),
        &[
            ("/spec/volumes", json!([{"name": "disk", "hostPath": {"path": "/mnt/disk", "type": "Directory"}}])),
            ("/status/conditions/2/status", json!("False")),
        ],
    );
    let failed =
        "MountVolume.SetUp failed for volume \"disk\" : hostPath type check failed: /mnt/disk is not a directory";
    let network = with(
        placed("shop/web", "Pending", waiting("ContainerCreating", "")),
        &[
            ("/status/conditions/2/status", json!("False")),
            ("/spec/containers/0/ports", json!([{"hostPort": 80, "containerPort": 80}])),
        ],
    );
    let held = json!({"listeners": [{"protocol": "TCP", "port": 80, "process": "nginx", "pid": 812}]});
    let again = with(
        placed("shop/db", "Running", json!({"restartCount": 1, "state": {"waiting": {"reason": "ContainerCreating"}}})),
        &[("/status/conditions/2/status", json!("False"))],
    );
    vec![
        Case::new(
            "09-mount",
            "pod shop/web",
            on(pod).event("Pod shop/web", "FailedMount", failed, 4, 12),
            &["The volume disk (hostPath /mnt/disk) could not be mounted, 12s ago", "not a directory"],
        ),
        Case::new(
            "09-sandbox",
            "pod shop/web",
            on(network).kubelet("a", "skiff/known", held).event(
                "Pod shop/web",
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: host port 80: address already in use",
                2,
                5,
            ),
            &["address already in use", "80/TCP on node a by nginx (pid 812)"],
        ),
        Case::new(
            "10-reboot",
            "pod shop/db",
            on(again).kubelet("a", "skiff/known", json!({"pods": {"uid-db": {"sandboxAttempt": 2}}})).event(
                "Node a",
                "Rebooted",
                "Node a has been rebooted",
                1,
                20,
            ),
            &["started anew 20s ago", "attempt 2", "nothing has to be removed by hand"],
        ),
    ]
}

fn programs() -> Vec<Case> {
    let failing = |reason: &str, message: &str| placed("shop/web", "Pending", waiting(reason, message));
    let ran = |message: &str, spec: &[(&str, Value)]| on(with(failing("CreateContainerError", message), spec));
    let root = "container main: runAsNonRoot is set and the user is root (uid 0)";
    vec![
        Case::new(
            "11-non-root",
            "pod shop/web",
            on(with(
                failing("CreateContainerConfigError", root),
                &[("/spec/securityContext", json!({"runAsNonRoot": true, "runAsUser": 0}))],
            )),
            &["uid 0", "The pod asks for uid 0"],
        ),
        Case::new(
            "11-user",
            "pod shop/web",
            ran("StartContainer: user www: no matching entries in passwd file", &[]),
            &["/etc/passwd", "www"],
        ),
        Case::new(
            "11-directory",
            "pod shop/web",
            ran(
                "StartContainer: chdir to cwd (\"/srv/app\"): no such file or directory",
                &[("/spec/containers/0/workingDir", json!("/srv/app"))],
            ),
            &["working directory", "The pod asks for /srv/app"],
        ),
        Case::new(
            "11-command",
            "pod shop/web",
            ran(
                "StartContainer: exec: \"srever\": executable file not found in $PATH",
                &[("/spec/containers/0/command", json!(["srever", "--port=80"]))],
            ),
            &["not in its image", "It is: srever --port=80"],
        ),
        Case::new(
            "11-machine",
            "pod shop/web",
            ran(
                "StartContainer: exec /app: the program is for aarch64, and this host is x86_64 (exec format error)",
                &[],
            ),
            &["aarch64", "Node a is of the architecture amd64"],
        ),
        Case::new(
            "11-interpreter",
            "pod shop/web",
            ran("StartContainer: exec /app: its interpreter /lib/ld-musl-x86_64.so.1 is not in the image", &[]),
            &["interpreter /lib/ld-musl-x86_64.so.1"],
        ),
    ]
}

/// A pod that is as it should be.
pub(crate) fn well() -> World {
    on(with(placed("shop/web", "Running", running()), &[("/status/startTime", json!(ago(180)))]))
}
