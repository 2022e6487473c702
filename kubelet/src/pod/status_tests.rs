//! Statuses of pods in typical states.

use super::*;
use crate::pod::observed::Sandbox;
use crate::pod::wanted::Removed;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(extra: serde_json::Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"containers": [{"name": "web", "image": "img"}]}});
    json_patch(&mut pod, &extra);
    serde_json::from_value(pod).unwrap()
}

fn json_patch(into: &mut serde_json::Value, from: &serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                json_patch(into.entry(key.clone()).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn instance(name: &str, life: Life) -> Instance {
    Instance {
        id: format!("id-{name}"),
        sandbox: "s".into(),
        name: name.into(),
        attempt: 0,
        hash: String::new(),
        created_at: at(1),
        life,
        image_ref: "sha256:1".into(),
        image: "img".into(),
        log_path: String::new(),
        last_words: None,
        termination_file: None,
        user: None,
    }
}

fn exited(code: i32) -> Life {
    Life::Exited { started_at: at(1), finished_at: at(5), code, reason: "Error".into(), message: String::new() }
}

fn compute(pod: &Pod, containers: Vec<Instance>, memory: &Memory) -> PodStatus {
    let mut seen = Observed::default();
    if !containers.is_empty() {
        let ips = vec!["10.244.0.2".to_owned()];
        seen.absorb_sandbox(Sandbox { id: "s".into(), attempt: 0, ready: true, created_at: at(1), ips });
    }
    containers.into_iter().for_each(|container| seen.absorb(container));
    let node = NodeFacts { host_ip: "192.0.2.1".into(), runtime_name: "skiff".into() };
    let wanted = Wanted::of(pod, Removed::No);
    status(&Inputs { pod, wanted: &wanted, seen: &seen, memory, node: &node, first_seen: at(0), now: at(10) })
}

fn summary(status: &PodStatus) -> String {
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let state = container.state.as_ref().unwrap();
    let word = match (&state.running, &state.waiting, &state.terminated) {
        (Some(_), ..) => "running".to_owned(),
        (_, Some(waiting), _) => format!("waiting {}", waiting.reason.clone().unwrap()),
        (_, _, Some(end)) => format!("ended {}", end.exit_code),
        _ => "nothing".to_owned(),
    };
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    format!("{} / {word} / ready {}", status.phase.clone().unwrap(), ready.status)
}

#[test]
fn phases() {
    let running = Life::Running { started_at: at(2) };
    let none = Memory::default();
    let always = pod(json!({}));
    assert_eq!(summary(&compute(&always, vec![], &none)), "Pending / waiting ContainerCreating / ready False");
    assert_eq!(
        summary(&compute(&always, vec![instance("web", running.clone())], &none)),
        "Running / running / ready True"
    );
    assert_eq!(summary(&compute(&always, vec![instance("web", exited(1))], &none)), "Running / ended 1 / ready False");
    let never = pod(json!({"spec": {"restartPolicy": "Never"}}));
    assert_eq!(summary(&compute(&never, vec![instance("web", exited(1))], &none)), "Failed / ended 1 / ready False");
    assert_eq!(summary(&compute(&never, vec![instance("web", exited(0))], &none)), "Succeeded / ended 0 / ready False");
    let probed = pod(json!({"spec": {"containers": [{"name": "web", "readinessProbe": {"tcpSocket": {"port": 1}}}]}}));
    assert_eq!(summary(&compute(&probed, vec![instance("web", running)], &none)), "Running / running / ready False");
}

#[test]
fn a_crashing_container_says_so() {
    let mut memory = Memory::default();
    memory.of("web").runs.note(RESTARTS, at(1));
    let status = compute(&pod(json!({})), vec![instance("web", exited(1))], &memory);
    assert_eq!(summary(&status), "Running / waiting CrashLoopBackOff / ready False");
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
    let message = container.state.as_ref().unwrap().waiting.as_ref().unwrap().message.clone().unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=web pod=p_n(u)");
}

#[test]
fn addresses_class_and_generation_are_told() {
    let status =
        compute(&pod(json!({})), vec![instance("web", Life::Running { started_at: at(2) })], &Memory::default());
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.2"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!((status.qos_class.as_deref(), status.observed_generation), (Some("BestEffort"), Some(3)));
    assert_eq!(status.container_statuses.unwrap()[0].container_id.as_deref(), Some("skiff://id-web"));
}

#[test]
fn an_ephemeral_container_changes_nothing_of_its_pod() {
    let pod = pod(json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "tools"}]}}));
    let running = instance("web", Life::Running { started_at: at(2) });
    let status = compute(&pod, vec![running.clone(), instance("debugger", exited(3))], &Memory::default());
    assert_eq!(summary(&status), "Running / running / ready True");
    let ephemeral = &status.ephemeral_container_statuses.unwrap()[0];
    let ended = ephemeral.state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((ephemeral.name.as_str(), ended.exit_code, ephemeral.ready), ("debugger", 3, false));
    assert!(compute(&pod, vec![running], &Memory::default()).ephemeral_container_statuses.is_some());
}

#[test]
fn a_resize_is_told_while_it_lasts() {
    let pod = pod(json!({"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "2"}}}]}}));
    let running = vec![instance("web", Life::Running { started_at: at(2) })];
    let mut memory = Memory { resizing: Some(None), ..Default::default() };
    let before: ResourceRequirements = serde_json::from_value(json!({"requests": {"cpu": "1"}})).unwrap();
    memory.of("web").applied = Some(("id-web".into(), before.clone()));
    let status = compute(&pod, running.clone(), &memory);
    let told = |status: &PodStatus| status.conditions.iter().flatten().any(|one| one.type_ == "PodResizeInProgress");
    assert!(told(&status));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.resources, Some(before));
    assert_eq!(container.allocated_resources.as_ref().unwrap()["cpu"].0, "2");
    memory.resizing = None;
    memory.of("web").applied = None;
    let status = compute(&Pod { status: Some(status), ..pod }, running, &memory);
    assert!(!told(&status));
    assert_eq!(
        status.container_statuses.unwrap()[0].resources.as_ref().unwrap().requests.as_ref().unwrap()["cpu"].0,
        "2"
    );
}

#[test]
fn what_others_wrote_is_kept_and_computing_again_changes_nothing() {
    let first = pod(json!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}}));
    let running = vec![instance("web", Life::Running { started_at: at(2) })];
    let status = compute(&first, running.clone(), &Memory::default());
    assert!(status.conditions.iter().flatten().any(|condition| condition.type_ == "example.com/gate"));
    let again = compute(&Pod { status: Some(status.clone()), ..first }, running, &Memory::default());
    assert_eq!(status, again);
}

/// Fault N3: what a pod had before is told while it has no sandbox, and that once.
#[test]
fn there_is_one_address_of_each_family() {
    let ips = json!([{"ip": "10.244.0.2"}, {"ip": "10.244.0.3"}, {"ip": "fd00::3"}]);
    let before = pod(json!({"status": {"podIP": "10.244.0.3", "podIPs": ips}}));
    let status = compute(&before, vec![], &Memory::default());
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.3"));
    let ips: Vec<_> = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect();
    assert_eq!(ips, ["10.244.0.3", "fd00::3"]);
}

/// Fault N29: in a pod with init containers, all that wait do so for the same reason, sidecars and init containers too.
#[test]
fn everything_waits_for_init_containers() {
    let inits = json!([{"name": "first", "image": "i"}, {"name": "side", "image": "i", "restartPolicy": "Always"}]);
    let status = compute(&pod(json!({"spec": {"initContainers": inits}})), vec![], &Memory::default());
    let all = status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
    let reasons: Vec<_> = all.filter_map(|status| status.state?.waiting?.reason).collect();
    assert_eq!(reasons, ["PodInitializing"; 3]);
    let only = json!([{"name": "side", "image": "i", "restartPolicy": "Always"}]);
    let status = compute(&pod(json!({"spec": {"initContainers": only}})), vec![], &Memory::default());
    assert_eq!(summary(&status), "Pending / waiting PodInitializing / ready False");
}
