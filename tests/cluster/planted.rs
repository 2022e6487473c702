//! A hundred secrets are planted through the API of a node that encrypts, records and traces, with a second node beside it, and looked for in
//! everything that is left on disk and in the memory of every process that has no business with them.
//!
//! All that is secret holds one mark. What the server makes up (tokens) is looked for by its own end.

use crate::support::{apply, container_id, pod, processes, ready_pod, shell, until, with};
use serde_json::{Value, json};
use skiff_harness::TestNode;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SECOND: &str = "node-2";
/// Digits of base64, whose alphabet secrets and needles share.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The rules that Kubernetes' documents begin with: what is sent is recorded, but of secrets and tokens only who did what.
const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
    {"level": "Metadata", "resources": [{"resources": ["secrets", "serviceaccounts/token"]},
        {"group": "authentication.k8s.io", "resources": ["tokenreviews"]}]},
    {"level": "Request"}]}"#;

fn base64(bytes: &[u8]) -> String {
    let digits = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        let digit = |at: usize| if at <= three.len() { DIGITS[bits >> (18 - 6 * at) & 63] } else { b'=' };
        (0..4).map(move |at| char::from(digit(at))).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

/// What is planted, and how it would look where it must not be.
struct Planted {
    mark: String,
    objects: Vec<Value>,
    needles: Vec<String>,
}

impl Planted {
    fn new() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        let mark: String = id.chars().filter(char::is_ascii_hexdigit).take(10).collect();
        let shifted = |shift: usize| {
            let text = base64(&[&vec![b' '; shift][..], mark.as_bytes()].concat());
            // The first and the last digits hold bits of what stands beside the mark.
            text[4 * usize::from(shift > 0)..(shift + mark.len()) / 3 * 4].to_owned()
        };
        let needles = [mark.clone(), shifted(0), shifted(1), shifted(2)].to_vec();
        let mut planted = Self { mark, objects: Vec::new(), needles };
        planted.fill();
        planted
    }

    /// The secret text of a number.
    fn text(&self, number: usize) -> String {
        format!("{}{number:06}", self.mark)
    }

    fn fill(&mut self) {
        for number in 0..80 {
            let text = self.text(number);
            let (kind, data) = match number % 8 {
                0 => ("Opaque", json!({"password": text})),
                1 => (
                    "Opaque",
                    json!({"kubeconfig": json!({"users": [{"user": {"client-key-data": base64(text.as_bytes())}}]}).to_string()}),
                ),
                2 => ("kubernetes.io/basic-auth", json!({"username": "somebody", "password": text})),
                3 => ("kubernetes.io/ssh-auth", json!({"ssh-privatekey": text})),
                4 => ("kubernetes.io/tls", json!({"tls.crt": "public", "tls.key": text})),
                5 => {
                    let auth = base64(format!("somebody:{text}").as_bytes());
                    let file = json!({"auths": {"registry.example.com": {"auth": auth}}}).to_string();
                    ("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": file}))
                }
                6 => ("example.com/own", json!({"environment": text})),
                _ => ("Opaque", json!({"long": format!("{}{text}", "x".repeat(70_000))})),
            };
            self.objects.push(json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
                "metadata": {"name": format!("planted-{number}")}, "stringData": data}));
        }
        for number in 80..90 {
            let data = json!({"token-id": format!("id{number:04}"), "token-secret": self.text(number),
                "usage-bootstrap-authentication": "true"});
            self.objects.push(json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
                "metadata": {"name": format!("bootstrap-token-id{number:04}"), "namespace": "kube-system"}, "stringData": data}));
        }
    }

    /// Lines of `folder`'s files and names in which one of the needles stands.
    fn found_in(&self, places: &[&Path]) -> BTreeSet<String> {
        let words: Vec<&str> = self.needles.iter().flat_map(|needle| ["-e", needle]).collect();
        let mut command = Command::new("grep");
        command.args(["-r", "-a", "-o", "-F"]).args(words).arg("--").args(places).env("LC_ALL", "C");
        let found = command.output().unwrap();
        assert!(matches!(found.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&found.stderr));
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
    }
}

/// Writes what a process may write of its memory to a file; of what is shared with files on disk nothing.
fn dump(pid: i32, to: &Path) {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut file = File::create(to).unwrap();
    for line in BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap()).lines().map_while(Result::ok) {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with("rw") {
            continue;
        }
        let (from, end) = range.split_once('-').unwrap();
        let [mut at, end] = [from, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut piece = vec![0; 1 << 16];
        while at < end {
            // What cannot be read is no memory (proc(5): pages of devices).
            let length = usize::try_from(end - at).unwrap().min(piece.len());
            let Ok(read @ 1..) = memory.read_at(&mut piece[..length], at) else { break };
            // A page of nothing tells nothing.
            if piece[..read].iter().any(|byte| *byte != 0) {
                file.write_all(&piece[..read]).unwrap();
            }
            at += u64::try_from(read).unwrap();
        }
    }
}

/// Every process of the node but those of `except`, with its words.
fn processes_of(node: &TestNode, except: &[i32]) -> Vec<(i32, String)> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let told = pids.filter_map(|pid| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        (words.contains(&node.mark()) || group.contains(&node.mark())).then_some((pid, words))
    });
    told.filter(|(pid, words)| !except.contains(pid) && !words.is_empty()).collect()
}

/// Where the needles are in the memory of these processes.
fn remembered(node: &TestNode, planted: &Planted, except: &[i32]) -> (usize, Vec<String>) {
    let file = node.scratch().join("memory");
    let all = processes_of(node, except);
    let holding = |(pid, words): &(i32, String)| {
        dump(*pid, &file);
        let found = planted.found_in(&[&file]);
        (!found.is_empty()).then(|| format!("{pid} {words}: {found:?}"))
    };
    let holding = all.iter().filter_map(holding).collect();
    std::fs::remove_file(&file).unwrap();
    (all.len(), holding)
}

/// A pod on a node that has a secret as a variable and as a file.
fn user(name: &str, node: &str, secret: &str) -> Value {
    let env = json!([{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": secret, "key": "environment"}}}]);
    let mounts = json!([{"name": "secret", "mountPath": "/secret"}]);
    let mut pod = pod(name, &[with(shell("exec sleep 1000"), json!({"env": env, "volumeMounts": mounts}))]);
    pod["spec"]["volumes"] = json!([{"name": "secret", "secret": {"secretName": secret}}]);
    pod["spec"]["nodeName"] = node.into();
    pod
}

/// A node that records and traces, and where it does.
fn node(folder: &Path, more: &[&str]) -> (TestNode, [PathBuf; 2]) {
    let path = |name: &str| folder.join(name);
    std::fs::write(path("policy.json"), POLICY).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (policy, audit, trace) = (text(&path("policy.json")), text(&path("audit.log")), text(&path("trace")));
    let flags = ["--audit-policy-file", &policy, "--audit-log-path", &audit, "--trace", &trace];
    (TestNode::up(&[&flags, more].concat()), [path("audit.log"), path("trace")])
}

/// Tokens that the server makes, by the ends of their signatures; none where kubectl, which asks for them, is not installed.
fn tokens(node: &TestNode, planted: &mut Planted) {
    let Some(kubectl) = skiff_harness::peer("kubectl-1.32") else { return };
    for _ in 0..10 {
        let token = node.peer(&kubectl, ["create", "token", "default"]).ok();
        let signature = token.trim().rsplit('.').next().unwrap();
        planted.needles.push(signature[signature.len() - 40..].to_owned());
    }
}

#[test]
fn planted_secrets_are_nowhere_but_where_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let (node, [audit, trace]) = node(folder.path(), &["--nodes", "2", "-vv"]);
    until(&node, &["node", SECOND], "is ready", |node| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    });
    let mut planted = Planted::new();
    tokens(&node, &mut planted);
    apply(&node, &planted.objects);
    apply(&node, &[user("here", "node", "planted-6")]);
    let here = ready_pod(&node, "here");
    std::fs::remove_file(node.scratch().join("applied.yaml")).unwrap();
    let places = [&*node.data(), &audit, &trace, &node.scratch().join("log")];
    assert_eq!(planted.found_in(&places), BTreeSet::new(), "on disk");
    assert!(std::fs::read_to_string(&audit).unwrap().contains("planted-6"), "who wrote which secret is recorded");
    assert!(std::fs::metadata(&trace).unwrap().len() > 0);
    let mut own = processes(&container_id(&here, 0));
    own.push(node.pid());
    let (looked, holding) = remembered(&node, &planted, &own);
    assert!(looked >= 2, "the second node and supervisors of pods: {looked}");
    assert_eq!(holding, Vec::<String>::new(), "in memory");
    // What a node has been given it remembers: the search would find it.
    apply(&node, &[user("there", SECOND, "planted-14")]);
    ready_pod(&node, "there");
    let (_, holding) = remembered(&node, &planted, &own);
    assert!(holding.iter().any(|one| one.contains("--member 2")), "{holding:?}");
    node.down();
}

/// The control: where nothing is encrypted, the same search finds them.
#[test]
fn planted_secrets_are_found_where_nothing_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let providers = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"identity": {}}]}]});
    let file = folder.path().join("providers.json");
    std::fs::write(&file, providers.to_string()).unwrap();
    let (node, _) = node(folder.path(), &["--encryption-provider-config", file.to_str().unwrap()]);
    let planted = Planted::new();
    apply(&node, &planted.objects);
    let found = planted.found_in(&[&node.data()]);
    assert!(found.len() >= 2, "raw or in base64: {found:?}");
    node.down();
}
