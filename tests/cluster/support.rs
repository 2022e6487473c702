//! Manifests, looks from inside the box, and what runs in a container's cgroup.
//!
//! Manifests are JSON, which is YAML too; a list of objects is one document of kind `List`.

use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use skiff_harness::{Ended, TestNode, eventually};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The image that every node can make.
pub(crate) const IMAGE: &str = "skiff.local/demo";
/// How long a page may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A container that runs a shell script.
pub(crate) fn shell(script: &str) -> Value {
    json!({"name": "main", "image": IMAGE, "command": ["sh", "-c", script]})
}

/// A container that serves the demo page.
pub(crate) fn web() -> Value {
    json!({"name": "web", "image": IMAGE, "ports": [{"name": "http", "containerPort": 8080}]})
}

/// `container` with more fields.
pub(crate) fn with(mut container: Value, more: Value) -> Value {
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        container[field] = value;
    }
    container
}

/// A pod whose label `app` is its name. It is given a second to end, because shells as process 1 ignore SIGTERM.
pub(crate) fn pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": containers},
    })
}

/// A deployment whose pods have its name as label `app`.
pub(crate) fn deployment(name: &str, replicas: usize, container: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    })
}

/// A service for the pods whose label `app` is `app`.
pub(crate) fn service(name: &str, app: &str, ports: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": ports},
    })
}

/// Applies all of `objects`.
#[track_caller]
pub(crate) fn apply(node: &TestNode, objects: &[Value]) {
    node.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
}

/// Waits until what `words` name is as `holds` wants it; returns it.
#[track_caller]
pub(crate) fn until(node: &TestNode, words: &[&str], what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{} {what}", words.join(" ")), || {
        let ended = node.skiff(["get", "-o", "json"].iter().chain(words));
        match serde_json::from_str::<Value>(&ended.out) {
            Ok(object) if ended.code == 0 && holds(&object) => Ok(object),
            Ok(object) if object["items"].is_array() => Err(object["items"].to_string()),
            Ok(object) => Err(object["status"].to_string()),
            Err(_) => Err(ended.err),
        }
    })
}

/// Waits until a list is empty.
#[track_caller]
pub(crate) fn until_none(node: &TestNode, words: &[&str]) {
    until(node, words, "are gone", |list| list["items"].as_array().is_some_and(Vec::is_empty));
}

/// Waits until the pod's only container is ready.
#[track_caller]
pub(crate) fn ready_pod(node: &TestNode, name: &str) -> Value {
    node.ready_pods(&format!("app={name}"), 1).remove(0)
}

/// What the pod's containers have written so far.
pub(crate) fn logs(node: &TestNode, pod: &str) -> String {
    node.skiff(["logs", pod]).out
}

/// Runs a shell script in the pod's container.
pub(crate) fn in_pod(node: &TestNode, pod: &str, script: &str) -> Ended {
    node.skiff(["exec", pod, "--", "sh", "-c", script])
}

/// The first line of the page at `url` (`http://ADDRESS:PORT/`), asked from inside the box.
pub(crate) fn fetch(node: &TestNode, url: &str) -> Result<String, String> {
    fetch_from(node.holder(), url)
}

/// The same, asked from the network namespace of any process.
pub(crate) fn fetch_from(pid: i64, url: &str) -> Result<String, String> {
    let url = url.to_owned();
    let page = std::thread::spawn(move || ask(pid, &url)).join().unwrap();
    page.map(|page| page.lines().next().unwrap_or_default().to_owned()).map_err(|error| error.to_string())
}

/// A thread may be in another network namespace than the rest of its process (setns(2)).
fn ask(pid: i64, url: &str) -> std::io::Result<String> {
    setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(format!("no page: {answer}")))
}

/// The address of a service.
#[track_caller]
pub(crate) fn cluster_ip(node: &TestNode, service: &str) -> String {
    node.json(&["service", service])["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

/// The bare id of a pod's container.
#[track_caller]
pub(crate) fn container_id(pod: &Value, number: usize) -> String {
    let full = pod["status"]["containerStatuses"][number]["containerID"].as_str().unwrap();
    full.rsplit('/').next().unwrap().to_owned()
}

/// The names of the objects in a list.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = objects.iter().filter_map(|o| o["metadata"]["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// The container's cgroup in a v1 hierarchy, or in the only one of v2.
pub(crate) fn cgroup(controller: &str, id: &str) -> Option<PathBuf> {
    let v1 = Path::new("/sys/fs/cgroup").join(controller);
    let root = if v1.is_dir() { v1 } else { PathBuf::from("/sys/fs/cgroup") };
    folder_named(&root, id)
}

fn folder_named(folder: &Path, id: &str) -> Option<PathBuf> {
    let folders = || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir())
    };
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id));
    folders().find(is_it).or_else(|| folders().find_map(|below| folder_named(&below, id)))
}

/// The host's ids of the processes in a container.
#[track_caller]
pub(crate) fn processes(id: &str) -> Vec<i32> {
    let group = cgroup("pids", id).unwrap_or_else(|| panic!("container {id} has no cgroup"));
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// How many processes called `program` live in the cgroups of the node that `id` belongs to.
pub(crate) fn programs_beside(id: &str, program: &str) -> usize {
    let one = processes(id)[0];
    let root = first_group(one).unwrap();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let named =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program);
    pids.filter(named).filter(|pid| first_group(*pid).is_some_and(|group| group == root)).count()
}

/// The first component of the deepest cgroup that a process is in.
fn first_group(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let paths = text.lines().filter_map(|line| line.rsplit(':').next());
    paths.max_by_key(|path| path.len())?.split('/').nth(1).map(str::to_owned)
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field 22): tells it from a later one.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Runs a command that must end by itself within `seconds`; killed otherwise, which is exit code 255.
pub(crate) fn bounded(mut command: Command, seconds: u64) -> Ended {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        err.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = child.wait().unwrap().code().unwrap_or(255);
    let mut text = Vec::new();
    out.read_to_end(&mut text).unwrap();
    Ended { code, out: String::from_utf8_lossy(&text).into_owned(), err: reading.join().unwrap() }
}
