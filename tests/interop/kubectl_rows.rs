//! Every command that was recorded of kubectl, by kubectl of both Debian releases, on a whole node: `rows/kubectl.txt` has a row for each.

use crate::kubectl::{kubectl, on_both};
use crate::support::{IMAGE, command, web};
use serde_json::{Value, json};
use skiff_harness::{Peer, TestNode, skip};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

const ROWS: &str = include_str!("rows/kubectl.txt");

/// A line of the table.
enum Row<'a> {
    /// Run by those whose name ends so, which then exit with this code and say these parts.
    Run { by: &'a str, code: i32, line: &'a str, says: Vec<&'a str> },
    /// Waits for something.
    Later { what: &'a str, line: &'a str },
    /// Has a test of its own.
    Elsewhere,
}

fn row(text: &str) -> Row<'_> {
    let columns: Vec<&str> = text.split('|').map(str::trim).collect();
    match columns[..] {
        ["later", what, line] => Row::Later { what, line },
        ["elsewhere", _test, _line] => Row::Elsewhere,
        [by, code, line, says] => {
            let says = says.split(" ; ").map(str::trim).filter(|part| !part.is_empty()).collect();
            Row::Run { by, code: code.parse().unwrap(), line, says }
        }
        _ => panic!("no row: {text}"),
    }
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    ROWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row)
}

/// What the rows speak of.
fn prepare(node: &TestNode, peer: &Peer) {
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm9"}, "data": {"a": value}});
    let sleeper = |name: &str, word: &str| {
        let script = format!("echo {word}; while :; do echo attached; sleep 1; done");
        json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]})
    };
    let one = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "labels": {"app": "one"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [sleeper("c", "one"), sleeper("d", "two")]}});
    let mut deployment = web(1);
    deployment["items"][0]["spec"]["template"]["spec"]["containers"][0]["name"] = "c".into();
    let mut dep = deployment["items"][0].clone();
    dep["metadata"]["name"] = "web9".into();
    dep["spec"]["selector"]["matchLabels"]["app"] = "web9".into();
    dep["spec"]["template"]["metadata"]["labels"]["app"] = "web9".into();
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w1"}, "spec": {"size": 1}});
    let kustomization = json!({"namePrefix": "k-", "resources": ["cm.yaml"]});
    std::fs::create_dir(node.scratch().join("kus")).unwrap();
    let write = |name: &str, value: &Value| std::fs::write(node.scratch().join(name), value.to_string()).unwrap();
    for (name, value) in [
        ("cm.yaml", &map("1")),
        ("cm2.yaml", &map("2")),
        ("dep.yaml", &dep),
        ("definition.yaml", &definition),
        ("widget.yaml", &widget),
        ("kus/cm.yaml", &map("1")),
        ("kus/kustomization.yaml", &kustomization),
        ("one.yaml", &one),
        ("web.yaml", &deployment),
    ] {
        write(name, value);
    }
    let editor = node.scratch().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nexec sed -i 's/^  a: .*/  a: edited/' \"$1\"\n").unwrap();
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).unwrap();
    for file in ["one.yaml", "web.yaml"] {
        kubectl(node, peer, &format!("apply -f {}", node.scratch().join(file).display()));
    }
    node.ready_pods("app=one", 1);
    node.ready_pods("app=web", 1);
}

/// Runs one row; what is wrong with it.
fn wrong(node: &TestNode, peer: &Peer, (code, line, says): (i32, &str, &[&str])) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = command(node, peer, &words);
    // The editor of `edit` changes the file as a person would; watches and attachments end by the clock.
    command.current_dir(node.scratch()).env("KUBE_EDITOR", node.scratch().join("editor")).stdin(Stdio::null());
    let mut command = if line.starts_with("attach") { bounded(&command) } else { command };
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let missing: Vec<&&str> = says.iter().filter(|part| !said.contains(**part)).collect();
    let exit = output.status.code().unwrap_or(255);
    if exit == code && missing.is_empty() {
        return None;
    }
    Some(format!("kubectl {line}\n  exit {exit} (expected {code}), not said: {missing:?}\n{said}"))
}

/// The same, ended after a while as with Ctrl-C; that is how an attachment ends.
fn bounded(command: &std::process::Command) -> std::process::Command {
    let mut bounded = std::process::Command::new("timeout");
    bounded.args(["--preserve-status", "--signal=INT", "5"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        bounded.env(name, value.unwrap_or_default());
    }
    bounded
}

fn says(node: &TestNode, peer: &Peer) {
    prepare(node, peer);
    let program = peer.path().display().to_string();
    let mut wrongs = Vec::new();
    for row in rows() {
        match row {
            Row::Run { by, code, line, says } if by == "both" || program.ends_with(by) => {
                wrongs.extend(wrong(node, peer, (code, line, &says)));
            }
            Row::Later { what, line } => skip(&format!("kubectl {line}: there are no {what} yet")),
            Row::Run { .. } | Row::Elsewhere => {}
        }
    }
    assert!(wrongs.is_empty(), "{} rows:\n{}", wrongs.len(), wrongs.join("\n"));
}

/// `explain` of every kind that `api-resources` shows.
fn explains(node: &TestNode, peer: &Peer) {
    let resources = kubectl(node, peer, "api-resources --no-headers");
    let mut wrongs = Vec::new();
    for line in resources.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [plural, .., version, _namespaced, kind] = words[..] else { panic!("no resource: {line}") };
        if version.starts_with("metrics.k8s.io/") {
            skip(&format!("kubectl explain {plural} of {version}: there is no OpenAPI document of figures yet"));
            continue;
        }
        let line = format!("explain {plural} --api-version={version}");
        wrongs.extend(wrong(node, peer, (0, &line, &["KIND:", kind, "VERSION:", "DESCRIPTION:"])));
    }
    assert!(resources.lines().count() > 60, "{resources}");
    assert!(wrongs.is_empty(), "{} kinds:\n{}", wrongs.len(), wrongs.join("\n"));
}

on_both!(kubectl_rows: says, kubectl_explains_every_kind: explains);
