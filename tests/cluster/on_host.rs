//! A node without a box, on a host that is a network namespace of the test's: what pods, the node itself and its loopback reach.

use crate::support::{container_id, fetch_from, pod, processes, web, with};
use serde_json::{Value, json};
use skiff_harness::{Ended, NEVER_EVICT, Snapshot, eventually, skiff};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A host with an interface and a default route, which leads nowhere.
const ROUTED: &str = "ip link add up0 type veth peer name up1 && ip link set up1 up && ip link set up0 up \
    && ip addr add 192.0.2.10/24 dev up0 && ip route add default via 192.0.2.1";

/// Such a host with a node on it. Dropped: taken down.
struct Host {
    folder: TempDir,
    node: Child,
    before: Snapshot,
}

impl Host {
    /// Starts a node in new network and mount namespaces, after `network` has made their interfaces.
    fn up(network: &str, flags: &[&str]) -> Self {
        let before = Snapshot::take();
        let folder = tempfile::Builder::new().prefix("skiff-test-").tempdir().unwrap();
        let up = skiff();
        let script = format!("ip link set lo up && {network} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        command
            .arg(up.get_program())
            .args(["up", "--node-name", "node"])
            .args(folders(&folder))
            .args(NEVER_EVICT)
            .args(flags);
        let mut node = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = said.any(|line| line.contains("is Ready"));
        let host = Self { folder, node, before };
        assert!(ready, "the node did not become Ready");
        host
    }

    fn pid(&self) -> i64 {
        i64::from(self.node.id())
    }

    /// Runs a command on the host.
    fn run(&self, words: &[&str]) -> Ended {
        let mut command = Command::new("nsenter");
        command.args([format!("--net=/proc/{}/ns/net", self.pid()), format!("--mount=/proc/{}/ns/mnt", self.pid())]);
        let kubeconfig: PathBuf = self.folder.path().join("data/admin.kubeconfig");
        command.arg("--").args(words).env("KUBECONFIG", kubeconfig).output().unwrap().into()
    }

    fn skiff(&self, words: &[&str]) -> Ended {
        let program = skiff().get_program().to_str().unwrap().to_owned();
        self.run(&[&[program.as_str()], words].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.skiff(&[&["get", "-o", "json"], words].concat()).ok()).unwrap()
    }

    /// Makes `pod`, which has one container, and waits until it is ready.
    fn ready_pod(&self, pod: &Value) -> Value {
        let file = self.folder.path().join("applied.yaml");
        std::fs::write(&file, pod.to_string()).unwrap();
        drop(self.skiff(&["apply", "-f", file.to_str().unwrap()]).ok());
        let name = pod["metadata"]["name"].as_str().unwrap();
        eventually(&format!("{name} is ready"), || match self.json(&["pod", name]) {
            pod if pod["status"]["containerStatuses"][0]["ready"] == true => Ok(pod),
            pod => Err(pod["status"].to_string()),
        })
    }

    fn down(mut self) {
        let down = ["down", "--purge"].map(str::to_owned).into_iter().chain(folders(&self.folder)).collect::<Vec<_>>();
        let ended = self.skiff(&down.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ended.code, 0, "skiff down: {}", ended.err);
        self.node.wait().unwrap();
        self.before.assert_nothing_new_of(&mark(&self.folder));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let down: Vec<_> = ["down".to_owned()].into_iter().chain(folders(&self.folder)).collect();
            let _test_failed_already = self.skiff(&down.iter().map(String::as_str).collect::<Vec<_>>());
            let _ended_by_that = self.node.kill();
        }
    }
}

fn mark(folder: &TempDir) -> String {
    folder.path().file_name().unwrap().to_string_lossy().into_owned()
}

fn folders(folder: &TempDir) -> [String; 6] {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let group = format!("/{}", mark(folder));
    ["--data-dir".into(), path("data"), "--run-dir".into(), path("run"), "--cgroup-root".into(), group]
}

/// Whether somebody is there; what a TLS server says to a client without TLS is its own affair.
fn answers(pid: i64, url: &str) -> Result<(), String> {
    match fetch_from(pid, url) {
        Err(said) if ["refused", "timed out", "unreachable", "No route"].iter().any(|word| said.contains(word)) => {
            Err(said)
        }
        _answered => Ok(()),
    }
}

fn internal_ip(host: &Host) -> String {
    let addresses = host.json(&["node", "node"])["status"]["addresses"].as_array().cloned().unwrap();
    let internal = addresses.into_iter().find(|address| address["type"] == "InternalIP").unwrap();
    internal["address"].as_str().unwrap().to_owned()
}

const API: &str = "http://10.96.0.1:443/";

/// Faults N6, N15 and N22.
#[test]
fn everybody_on_a_host_reaches_what_is_there_for_them() {
    for (network, address) in [("true", "10.244.0.1"), (ROUTED, "192.0.2.10")] {
        let host = Host::up(network, &[]);
        assert_eq!(internal_ip(&host), address);
        // Before there is a pod.
        eventually("the API answers the node", || answers(host.pid(), API));
        let ports = json!([
            {"containerPort": 8080, "hostPort": 18080},
            {"containerPort": 8080, "hostPort": 18081, "hostIP": "127.0.0.1"},
        ]);
        let pod = host.ready_pod(&pod("web", &[with(web(), json!({ "ports": ports }))]));
        let inside = i64::from(processes(&container_id(&pod, 0))[0]);
        eventually("the API answers pods", || answers(inside, API));
        for url in ["http://127.0.0.1:18080/", "http://127.0.0.1:18081/", &format!("http://{address}:18080/")] {
            let page = eventually("the host port answers", || fetch_from(host.pid(), url));
            assert!(page.starts_with("hello from web"), "{url}: {page}");
        }
        let elsewhere = fetch_from(host.pid(), &format!("http://{address}:18081/"));
        assert!(elsewhere.is_err_and(|said| said.contains("refused")), "it is bound to the loopback");
        // The node's loopback is not the pods'.
        let unreached = fetch_from(inside, "http://127.0.0.1:6443/");
        assert!(unreached.is_err_and(|said| said.contains("refused")), "a pod reached the node's loopback");
        assert!(fetch_from(host.pid(), "http://127.0.0.1:8080/").is_err(), "it is no host port");
        host.down();
    }
}

/// Where pods reach the API is for the administrator to say.
#[test]
fn the_api_is_advertised_where_it_was_told() {
    let host = Host::up(ROUTED, &["--advertise-address", "192.0.2.10"]);
    let slice = host.json(&["endpointslice", "kubernetes", "-n", "default"]);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.10"]));
    eventually("the API answers the node", || answers(host.pid(), API));
    host.down();
}
