//! kill -9 with pods running: they go on, services answer, and the next `up` takes them over as they are.

use crate::support::{
    apply, cluster_ip, container_id, deployment, fetch, fetch_from, names, pod, processes, ready_pod, service, shell,
    start_ticks, until, web,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use skiff_harness::TestNode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PODS: usize = 20;
/// The visitor stops by itself after so many requests.
const VISITS_MAX: usize = 2000;
const VISIT_PAUSE: Duration = Duration::from_millis(50);

/// What must not change: the container, its processes and when they started, how often it was restarted.
#[derive(Debug, PartialEq, Eq)]
struct Life {
    container: String,
    processes: Vec<(i32, Option<u64>)>,
    started_at: String,
    restarts: i64,
}

impl Life {
    fn of(pod: &Value) -> Self {
        let (status, container) = (&pod["status"]["containerStatuses"][0], container_id(pod, 0));
        Self {
            processes: processes(&container).into_iter().map(|pid| (pid, start_ticks(pid))).collect(),
            started_at: status["state"]["running"]["startedAt"].as_str().unwrap().to_owned(),
            restarts: status["restartCount"].as_i64().unwrap(),
            container,
        }
    }
}

fn lives(pods: &[Value]) -> BTreeMap<String, Life> {
    pods.iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), Life::of(pod))).collect()
}

/// Somebody who asks the service all the time, from inside the box.
struct Visitor {
    leave: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl Visitor {
    fn send(node: &TestNode, url: String) -> Self {
        let leave = Arc::new(AtomicBool::new(false));
        let (told, holder) = (leave.clone(), node.holder());
        let thread = std::thread::spawn(move || {
            let (mut answers, mut failures) = (0, Vec::new());
            for visit in 0..VISITS_MAX {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                match fetch_from(holder, &url) {
                    Ok(page) if page.starts_with("hello from ") => answers += 1,
                    other => failures.push(format!("visit {visit}: {other:?}")),
                }
                std::thread::sleep(VISIT_PAUSE);
            }
            (answers, failures)
        });
        Self { leave, thread }
    }

    /// How many answers there were.
    fn back(self) -> usize {
        self.leave.store(true, Ordering::Relaxed);
        let (answers, failures) = self.thread.join().unwrap();
        assert!(failures.is_empty(), "{answers} answers, but also:\n{}", failures.join("\n"));
        answers
    }
}

/// Deleting one pod brings another, and the rest does not notice.
fn replaces_a_deleted_pod(node: &TestNode, before: &BTreeMap<String, Life>) {
    let victim = before.keys().next().unwrap();
    assert_eq!(node.skiff(["delete", "pod", victim]).ok(), format!("pod/{victim} deleted\n"));
    let after = lives(&node.ready_pods("app=web", PODS));
    assert!(!after.contains_key(victim), "{victim} is still there");
    for (name, life) in before.iter().filter(|(name, _)| *name != victim) {
        assert_eq!(after.get(name), Some(life), "{name}");
    }
    until(node, &["deployment", "web"], "is complete", |deployment| deployment["status"]["readyReplicas"] == PODS);
}

#[test]
fn twenty_pods_outlive_a_killed_node() {
    let mut node = TestNode::up(&[]);
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    apply(&node, &[deployment("web", PODS, web()), service("web", "web", ports)]);
    let before = lives(&node.ready_pods("app=web", PODS));
    for (name, life) in &before {
        assert_eq!((life.processes.len(), life.restarts), (1, 0), "{name}");
    }
    let url = format!("http://{}/", cluster_ip(&node, "web"));
    skiff_harness::eventually("the service answers", || fetch(&node, &url));
    let visitor = Visitor::send(&node, url.clone());
    node.kill();
    for _ in 0..PODS {
        let answer = fetch(&node, &url).unwrap();
        assert!(answer.starts_with("hello from web-"), "{answer}");
    }
    node.start();
    assert_eq!(lives(&node.ready_pods("app=web", PODS)), before);
    // Back before a pod is deleted: whoever asks a server that ends at once may be refused until the rules say so.
    assert!(visitor.back() > 0, "nobody came by");
    replaces_a_deleted_pod(&node, &before);
    assert_eq!(names(&node.ready_pods("app=web", PODS)).len(), PODS);
    node.down();
}

#[test]
fn a_stopped_node_leaves_its_pods_running() {
    let mut node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 2, web())]);
    let before = lives(&node.ready_pods("app=web", 2));
    node.stop();
    for life in before.values() {
        assert_eq!(processes(&life.container).len(), 1, "{life:?}");
    }
    node.start();
    assert_eq!(lives(&node.ready_pods("app=web", 2)), before);
    node.down();
}

#[test]
fn what_ends_while_the_node_is_dead_is_noticed() {
    let mut node = TestNode::up(&[]);
    let mut once = pod("once", &[shell("exec sleep 1000")]);
    once["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &[pod("again", &[shell("exec sleep 1000")]), once]);
    let pods = [ready_pod(&node, "again"), ready_pod(&node, "once")];
    node.kill();
    for pod in &pods {
        kill(Pid::from_raw(processes(&container_id(pod, 0))[0]), Signal::SIGKILL).unwrap();
    }
    node.start();
    let again = until(&node, &["pod", "again"], "was restarted", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
    let once = until(&node, &["pod", "once"], "has failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(once["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
    node.down();
}
