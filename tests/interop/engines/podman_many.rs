//! podman with `--runtime`: pods, images built in containers, manifests of Kubernetes.

use crate::engine::Engine;
use crate::on_each;
use crate::podman::{Podman, on};
use skiff_harness::eventually;

on_each!(podman_4_3: ("podman-4.3", "runc-1.1.5"), podman_5_4: ("podman-5.4", "runc-1.1.15"); [
    pods_share_namespaces,
    images_are_built,
    kube_play_runs_pods,
]);

fn pods_share_namespaces(podman: &Podman<'_>) {
    let cgroup = podman.arena.cgroup();
    podman.call(&["pod", "create", "--name=pod", "--network=none", "--cgroup-parent", &cgroup]).ok();
    // One that ends when it is told: podman waits ten seconds for others.
    let main = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"];
    podman.call(&[&["run", "-d", "--pod=pod", "--name=one", "localhost/box"], &main[..]].concat()).ok();
    let namespaces = "for n in net ipc uts; do readlink /proc/self/ns/$n; done; hostname";
    let one = podman.call(&["exec", "one", "sh", "-c", namespaces]).ok();
    let two = podman.call(&["run", "--rm", "--pod=pod", "localhost/box", "sh", "-c", namespaces]).ok();
    assert_eq!(one, two);
    assert!(one.ends_with("\npod"), "{one}");
    for (verb, state) in
        [("pause", "Paused"), ("unpause", "Running"), ("restart", "Running"), ("stop", "Exited"), ("start", "Running")]
    {
        podman.call(&["pod", verb, "pod"]).ok();
        assert_eq!(podman.call(&["pod", "ps", "--format", "{{.Status}}"]).ok(), state, "{verb}");
    }
    podman.call(&["pod", "kill", "pod"]).ok();
    podman.call(&["pod", "rm", "-f", "-t", "0", "pod"]).ok();
}

fn images_are_built(podman: &Podman<'_>) {
    let steps = "FROM localhost/box\nRUN echo built >/built && id -u\nUSER user\nWORKDIR /home\nRUN id -un\nCMD [\"cat\", \"/built\"]\n";
    podman.arena.write("build/Containerfile", steps);
    let said = podman.call(&[
        "build",
        "--network=none",
        "--isolation=oci",
        "-t",
        "localhost/built",
        &podman.arena.text("build"),
    ]);
    let out = said.ok();
    assert!(out.contains("\n0\n") && out.contains("\nuser\n"), "{out}");
    let cgroup = podman.arena.cgroup();
    let run = ["run", "--rm", "--network=none", "--cgroup-parent", &cgroup, "localhost/built"];
    assert_eq!(podman.call(&run).ok(), "built");
    podman.arena.write("broken/Containerfile", "FROM localhost/box\nRUN exit 6\n");
    let said = podman.call(&["build", "--network=none", "--isolation=oci", &podman.arena.text("broken")]);
    assert!(said.code != 0 && said.err.contains("exit status 6"), "{said:?}");
}

fn kube_play_runs_pods(podman: &Podman<'_>) {
    let manifest = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "played"}, "spec": {"containers": [{
        "name": "main", "image": "localhost/box", "imagePullPolicy": "Never", "env": [{"name": "PATH", "value": "/bin"}],
        "command": ["sh", "-c", "echo from kube; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        "resources": {"limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        "securityContext": {"readOnlyRootFilesystem": true, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "shared", "emptyDir": {}}]}}"#;
    let file = podman.arena.write("pod.yaml", manifest).display().to_string();
    let said = podman.call(&["kube", "play", "--network=none", &file]);
    assert_eq!(said.code, 0, "{said:?}");
    eventually("its words are in the log", || match podman.call(&["logs", "played-main"]).out {
        out if out == "from kube\n" => Ok(()),
        out => Err(out),
    });
    let inside = podman.call(&["exec", "played-main", "sh", "-c", "id -u; touch /x"]);
    assert!(inside.out == "1000\n" && inside.err.contains("Read-only"), "{inside:?}");
    podman.call(&["kube", "down", &file]).ok();
}
