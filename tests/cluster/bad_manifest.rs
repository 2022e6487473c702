//! What is refused, where, and why: every mistake names file, line, field and reason, and changes nothing.

use skiff_harness::TestNode;

/// A manifest and what the refusal has to say.
struct Mistake {
    name: &'static str,
    manifest: &'static str,
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "unknown-field",
        manifest: "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  replica: 2\n  selector:\n    matchLabels: {app: a}\n  template:\n    metadata:\n      labels: {app: a}\n    spec:\n      containers:\n        - {name: a, image: i}\n",
        says: &["line 6: ", "spec.replica", "unknown field"],
    },
    Mistake {
        name: "wrong-type",
        manifest: "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  selector:\n    matchLabels: {app: a}\n  replicas: three\n  template:\n    metadata:\n      labels: {app: a}\n    spec:\n      containers:\n        - {name: a, image: i}\n",
        says: &["line 8: ", "spec.replicas", "three"],
    },
    Mistake {
        name: "no-image",
        manifest: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: a\n      image: x\n    - name: b\n      image: ''\n",
        says: &["line 10: ", "spec.containers[1].image", "Required value"],
    },
    Mistake {
        name: "image-with-spaces",
        manifest: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: a\n      image: ' x'\n",
        says: &["line 8: ", "spec.containers[0].image", "whitespace"],
    },
    Mistake {
        name: "port-too-large",
        manifest: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: a\n      image: x\n      ports:\n        - containerPort: 70000\n",
        says: &["line 10: ", "spec.containers[0].ports[0].containerPort", "between 1 and 65535"],
    },
    Mistake {
        name: "bad-name",
        manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Not_A_Name\n",
        says: &["line 4: ", "metadata.name", "lowercase RFC 1123"],
    },
    Mistake {
        name: "no-name",
        manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n",
        says: &["line 3: ", "metadata.name", "Required value"],
    },
    Mistake {
        name: "not-yaml",
        manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [a\ndata: {}\n",
        says: &["line "],
    },
    Mistake {
        name: "unknown-kind",
        manifest: "apiVersion: v1\nkind: Pood\nmetadata:\n  name: a\n",
        says: &["line 2: ", "kind \"Pood\""],
    },
    Mistake {
        name: "wrong-version",
        manifest: "apiVersion: apps/v2\nkind: Deployment\nmetadata:\n  name: a\n",
        says: &["line 2: ", "\"Deployment\"", "\"apps/v2\""],
    },
    Mistake {
        name: "no-kind",
        manifest: "apiVersion: v1\nmetadata:\n  name: a\n",
        says: &["line 1: ", "kind", "Required value"],
    },
    Mistake { name: "empty", manifest: "# nothing\n", says: &["no object in it"] },
    Mistake {
        name: "selector-does-not-match",
        manifest: "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  selector:\n    matchLabels: {app: a}\n  template:\n    metadata:\n      labels: {app: b}\n    spec:\n      containers:\n        - {name: a, image: i}\n",
        says: &["line 10: ", "spec.template.metadata.labels", "selector"],
    },
    Mistake {
        name: "node-port-out-of-range",
        manifest: "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  type: NodePort\n  ports:\n    - port: 80\n      nodePort: 80\n",
        says: &["line 9: ", "spec.ports[0].nodePort", "30000-32767"],
    },
    Mistake {
        name: "second-document",
        manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: first\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: second\ndata: [\n",
        says: &["line "],
    },
    Mistake {
        name: "kind-of-second-document",
        manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: first\n---\napiVersion: v1\nkind: Nothing\nmetadata:\n  name: second\n",
        says: &["line 7: ", "kind \"Nothing\""],
    },
];

/// Names and versions of everything that a manifest here could make or change.
fn objects(node: &TestNode) -> Vec<String> {
    let kinds = "pods,deployments,replicasets,services,configmaps";
    let all = node.json(&[kinds])["items"].as_array().cloned().unwrap();
    all.iter()
        // Published by a controller, at a time of its own.
        .filter(|o| o["metadata"]["name"] != "kube-root-ca.crt")
        .map(|o| format!("{} {} {}", o["kind"], o["metadata"]["name"], o["metadata"]["resourceVersion"]))
        .collect()
}

#[test]
fn every_mistake_is_named_and_changes_nothing() {
    let node = TestNode::up(&[]);
    let before = objects(&node);
    let mut wrong = Vec::new();
    for mistake in MISTAKES {
        let file = node.scratch().join(format!("{}.yaml", mistake.name));
        std::fs::write(&file, mistake.manifest).unwrap();
        let ended = node.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()]);
        let (name, mut missing) = (file.display().to_string(), mistake.says.to_vec());
        missing.push(&name);
        missing.retain(|part| !ended.err.contains(part));
        if ended.code != 1 || !missing.is_empty() || !ended.out.is_empty() {
            wrong.push(format!(
                "{}: exit code {}, lacks {missing:?}: {}{}",
                mistake.name, ended.code, ended.out, ended.err
            ));
        }
        assert_eq!(objects(&node), before, "{} changed something", mistake.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    node.down();
}

#[test]
fn one_run_shows_every_mistake_of_a_manifest() {
    let node = TestNode::up(&[]);
    let file = node.scratch().join("two.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: good\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: Bad\nspec:\n  containers:\n    - name: a\n      image: x\n      ports:\n        - containerPort: 70000\n";
    std::fs::write(&file, text).unwrap();
    let said = node.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).refused();
    assert!(
        said.contains("line 9: metadata.name: ") && said.contains("line 15: spec.containers[0].ports[0]"),
        "{said}"
    );
    assert_eq!(node.skiff(["get", "pods", "-o", "name"]).ok(), "");
    node.down();
}

#[test]
fn what_is_there_stays_as_it_was_when_a_change_is_refused() {
    let node = TestNode::up(&[]);
    node.apply("apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: 80\n");
    let before = node.json(&["service", "web"]);
    let file = node.scratch().join("changed.yaml");
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: 0\n";
    std::fs::write(&file, text).unwrap();
    let said = node.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).refused();
    assert!(said.contains("line 7: spec.ports[0].port"), "{said}");
    assert_eq!(node.json(&["service", "web"]), before);
    let said = node.skiff(["get", "pods", "nobody"]).refused();
    assert!(said.contains("pods \"nobody\" not found"), "{said}");
    let said = node.skiff(["delete", "pods"]).refused();
    assert!(said.contains("delete pods: which one?"), "{said}");
    let said = node.skiff(["get", "things"]).refused();
    assert!(said.contains("no resource type \"things\""), "{said}");
    node.down();
}

#[test]
fn a_pod_whose_image_is_nowhere_says_so() {
    let node = TestNode::up(&[]);
    node.apply(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: a\n      image: nowhere.invalid/x\n      imagePullPolicy: IfNotPresent\n",
    );
    let waiting = crate::support::until(&node, &["pod", "a"], "waits for its image", |pod| {
        let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        reason == "ErrImagePull" || reason == "ImagePullBackOff"
    });
    assert_eq!(waiting["status"]["phase"], "Pending");
    let described = skiff_harness::eventually("an event says why", || {
        let text = node.skiff(["describe", "pod", "a"]).ok();
        if text.contains("Failed") { Ok(text) } else { Err(text) }
    });
    assert!(described.contains("nowhere.invalid/x"), "{described}");
    node.down();
}
