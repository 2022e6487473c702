//! From an image, or a folder, to an application that answers, in one command; and what is said when it does not.

use crate::support::{IMAGE, names, until_none};
use serde_json::Value;
use skiff_harness::{Ended, TestNode, eventually, skiff};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn run(node: &TestNode, words: &[&str]) -> Ended {
    node.skiff(["run"].iter().chain(words))
}

fn listed(node: &TestNode) -> Vec<Value> {
    let all: Value = serde_json::from_str(&run(node, &["ls", "-o", "json"]).ok()).unwrap();
    all["applications"].as_array().cloned().unwrap()
}

/// A folder whose image is the demo image with one more file.
fn folder(at: &Path, words: &str) {
    std::fs::create_dir_all(at).unwrap();
    std::fs::write(at.join("Dockerfile"), format!("FROM {IMAGE}\nCOPY page /page\n")).unwrap();
    std::fs::write(at.join("page"), words).unwrap();
}

#[test]
fn an_image_is_served_listed_and_removed() {
    let node = TestNode::up(&[]);
    let ended = run(&node, &[IMAGE, "--port", "8080", "--name", "shop", "--replicas", "2", "--env", "A=b"]);
    assert_eq!(
        ended.ok(),
        "waiting for 2 of shop\nhttps://shop.localhost/\nserved at 172.31.255.1, port 443; from the host of a node in a box: skiff up --isolated --publish 8443:443\n"
    );
    let [shop] = listed(&node).try_into().unwrap();
    assert_eq!((&shop["readyReplicas"], &shop["url"]), (&2.into(), &"https://shop.localhost/".into()));
    assert!(run(&node, &["ls"]).ok().contains("shop"), "the table has it");
    assert!(run(&node, &["ls", "-o", "yaml"]).ok().starts_with("applications:\n- "), "so has YAML");
    let before = names(&node.ready_pods("skiff.dev/run=shop", 2));
    drop(run(&node, &[IMAGE, "--port", "8080", "--name", "shop"]).ok());
    let after = names(&node.ready_pods("skiff.dev/run=shop", 1));
    assert!(!before.contains(&after[0]), "it was deployed anew: {before:?} {after:?}");
    drop(run(&node, &["rm", "shop"]).ok());
    for kind in ["deploy", "service", "ingress", "pods"] {
        until_none(&node, &[kind, "-l", "skiff.dev/run=shop"]);
    }
    assert!(run(&node, &["rm", "shop"]).refused().contains("no application of that name"), "it is gone");
    node.down();
}

#[test]
fn what_is_wrong_is_said_with_a_code_of_its_own() {
    let node = TestNode::up(&[]);
    let missing = run(&node, &["skiff.local/nowhere:1", "--port", "80"]);
    assert_eq!(
        (missing.code, missing.err.contains("nowhere: the image skiff.local/nowhere:1 cannot be had")),
        (3, true),
        "{}",
        missing.err
    );
    // The demo image serves at 8080.
    let silent = run(&node, &[IMAGE, "--port", "81", "--name", "silent", "--listen-within", "3s"]);
    assert_eq!(
        (silent.code, silent.err.contains("nothing listens at port 81 of the pod silent-")),
        (5, true),
        "{}",
        silent.err
    );
    let at = node.scratch().join("ends");
    folder(&at, "x");
    let file = format!("FROM {IMAGE}\nENTRYPOINT []\nCMD [\"sh\", \"-c\", \"echo no database; exit 7\"]\n");
    std::fs::write(at.join("Dockerfile"), file).unwrap();
    let ended = of_folder(&node, &at, &[]).output().map(Ended::from).unwrap();
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(ended.err.contains(": no database\n"), "the last words of the container: {}", ended.err);
    assert!(ended.err.contains("ends: its container ended 2 times, at last with exit code 7"), "{}", ended.err);
    node.down();
}

/// `skiff run FOLDER`, which builds into this node's store.
fn of_folder(node: &TestNode, folder: &Path, more: &[&str]) -> Command {
    let mut command = skiff();
    command.arg("run").arg(folder).args(["--port", "8080", "--data-dir"]).arg(node.data());
    command.arg("--run-dir").arg(node.run_dir()).arg("--kubeconfig").arg(node.kubeconfig()).args(more);
    command
}

#[test]
fn a_folder_is_built_and_a_change_is_deployed() {
    let node = TestNode::up(&[]);
    let at = node.scratch().join("shop");
    folder(&at, "one");
    let watching = of_folder(&node, &at, &["--watch"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let watching = Stopped(watching);
    let shows = |words: &str| {
        eventually(&format!("the application of the folder says {words}"), || {
            let ended = node.skiff(["exec", "deploy/shop", "--", "sh", "-c", "read line < /page; echo $line"]);
            if ended.out.trim() == words { Ok(()) } else { Err(format!("{} {}", ended.out, ended.err)) }
        });
    };
    shows("one");
    let first = listed(&node)[0]["image"].clone();
    assert!(first.as_str().unwrap().starts_with("skiff.local/shop:"), "{first}");
    folder(&at, "two of them");
    shows("two of them");
    assert_ne!(listed(&node)[0]["image"], first);
    drop(watching);
    drop(run(&node, &["rm", "shop"]).ok());
    node.down();
}

/// A process that is ended when the test is.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _its_code_is_of_no_interest = self.0.wait();
    }
}
