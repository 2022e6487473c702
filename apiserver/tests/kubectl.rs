//! kubectl of two Debian releases against the server over TLS: what users type, and what they see.

mod common;
#[path = "common/kubectl.rs"]
mod kubectl; // a kubectl, and where it works

use common::{World, peer};
use kubectl::Kubectl;
use std::process::Stdio;
use std::time::Duration;

const PEERS: [&str; 2] = ["kubectl-1.20", "kubectl-1.32"];

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// Runs `check` with every kubectl there is, each with a server of its own.
async fn with_each(check: fn(&Kubectl)) {
    for name in PEERS {
        let Some(program) = peer(name) else { continue };
        let mut world = World::new().await;
        let (shutdown, served) = world.serve();
        let kubectl = Kubectl::new(&world, program);
        tokio::task::spawn_blocking(move || check(&kubectl)).await.expect("checked");
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30001}]}
";

/// Faults N4 and N7: what kubectl says when it acts as somebody else, and that a pod gets a container to look into it.
#[tokio::test(flavor = "multi_thread")]
async fn acting_as_others_is_refused_in_words_and_pods_are_debugged() {
    with_each(|kubectl| {
        kubectl.run("create secret generic s --from-literal=a=b");
        let refused = kubectl.refused("delete secret s --as=nobody");
        assert_has(&refused, &["Error from server (Forbidden)", "User \"nobody\" cannot delete resource \"secrets\""]);
        assert_has(&kubectl.run("get secret s -o name"), &["secret/s"]);
        assert_has(&kubectl.run("delete secret s --as=root --as-group=system:masters"), &["deleted"]);
        assert_has(&kubectl.refused("get pods --as-group=g"), &["without impersonating a user"]);
        kubectl.run("run web --image=i");
        if kubectl.program.ends_with("kubectl-1.32") {
            kubectl.run("debug web --image=busybox");
            let image = kubectl.run("get pod web -o jsonpath={.spec.ephemeralContainers[*].image}");
            assert_has(&image, &["busybox"]);
        }
        assert_has(&kubectl.run("get pods --request-timeout=5s -o name"), &["pod/web"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_applied_changed_scaled_and_deleted() {
    with_each(|kubectl| {
        kubectl.write("web.yaml", DEPLOYMENT);
        assert_has(&kubectl.run("apply -f web.yaml"), &["deployment.apps/web created", "service/web created"]);
        assert_has(&kubectl.run("apply -f web.yaml"), &["deployment.apps/web unchanged", "service/web unchanged"]);
        kubectl.write("web.yaml", &DEPLOYMENT.replace("nginx", "nginx:9"));
        assert_has(&kubectl.run("apply -f web.yaml"), &["deployment.apps/web configured", "service/web unchanged"]);
        assert_has(&kubectl.run("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}"), &["nginx:9"]);
        assert_has(&kubectl.run("scale deployment web --replicas=3"), &["deployment.apps/web scaled"]);
        assert_has(&kubectl.run("scale deployment web --replicas=4 --current-replicas=3"), &["scaled"]);
        assert_has(&kubectl.run("get deploy web"), &["NAME", "READY", "UP-TO-DATE", "web", "0/4"]);
        assert_has(&kubectl.run("get svc web"), &["NodePort", "10.96.0.", "80:30001/TCP"]);
        assert_has(&kubectl.run("describe deployment web"), &["Name:", "web", "nginx:9", "Replicas:", "4 desired"]);
        assert_has(&kubectl.run("describe svc web"), &["Type:", "NodePort", "30001/TCP"]);
        assert_has(&kubectl.run("set image deployment/web c=nginx:10"), &["image updated"]);
        assert_has(&kubectl.run("label deployment web tier=front"), &["labeled"]);
        assert_has(&kubectl.run("get deploy -l tier=front -o name"), &["deployment.apps/web"]);
        assert_has(&kubectl.run("delete -f web.yaml"), &["deployment.apps \"web\" deleted", "service \"web\" deleted"]);
        assert_has(
            &kubectl.refused("get deploy web"),
            &["Error from server (NotFound): deployments.apps \"web\" not found"],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_with_the_field() {
    with_each(|kubectl| {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i, IMAGE}]}\n";
        kubectl.write("unknown.yaml", &pod.replace("IMAGE", "imagePull: x"));
        assert_has(&kubectl.refused("create -f unknown.yaml"), &["unknown field", "imagePull"]);
        kubectl.write("wrong.yaml", &pod.replace("IMAGE", "ports: [{containerPort: 70000}]"));
        let text = kubectl.refused("create -f wrong.yaml");
        assert_has(
            &text,
            &["The Pod \"p\" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: 70000"],
        );
        kubectl.write("fine.yaml", &pod.replace("IMAGE", "tty: true"));
        assert_has(&kubectl.run("create -f fine.yaml"), &["pod/p created"]);
        assert_has(
            &kubectl.refused("create -f fine.yaml"),
            &["Error from server (AlreadyExists)", "pods \"p\" already exists"],
        );
        let text = kubectl.refused("create -n nowhere -f fine.yaml");
        assert_has(&text, &["Error from server (NotFound)", "namespaces \"nowhere\" not found"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_by_commands() {
    with_each(|kubectl| {
        assert_has(&kubectl.run("create namespace n2"), &["namespace/n2 created"]);
        assert_has(&kubectl.run("create configmap c -n n2 --from-literal=a=1"), &["configmap/c created"]);
        assert_has(&kubectl.run("create secret generic s --from-literal=a=b"), &["secret/s created"]);
        assert_has(&kubectl.run("create deployment d --image=nginx"), &["deployment.apps/d created"]);
        assert_has(&kubectl.run("expose deployment d --port=80 --name=e"), &["service/e exposed"]);
        assert_has(&kubectl.run("run r --image=busybox"), &["pod/r created"]);
        assert_has(&kubectl.run("create sa robot"), &["serviceaccount/robot created"]);
        assert_has(&kubectl.run("create job j --image=busybox"), &["job.batch/j created"]);
        assert_has(&kubectl.run("get secret s -o jsonpath={.data.a}"), &["Yg=="]);
        assert_has(&kubectl.run("get cm c -n n2 -o jsonpath={.data.a}"), &["1"]);
        assert_has(&kubectl.run("get job j -o jsonpath={.spec.selector.matchLabels}"), &["controller-uid"]);
        assert_has(&kubectl.run("delete pod r --grace-period=0 --force"), &["pod \"r\" force deleted"]);
        assert_has(&kubectl.run("delete deploy,svc,secret,job --all --wait=false"), &["deployment.apps \"d\" deleted"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_explains_itself() {
    with_each(|kubectl| {
        assert_has(&kubectl.run("version"), &["Server Version"]);
        assert_has(&kubectl.run("api-resources"), &["pods", "po", "deployments", "apps/v1", "Pod"]);
        assert_has(&kubectl.run("api-versions"), &["apps/v1", "v1"]);
        assert_has(&kubectl.run("explain pod.spec.containers"), &["image", "imagePullPolicy", "FIELD"]);
        assert_has(&kubectl.run("explain deployment.spec --api-version=apps/v1"), &["replicas", "Deployment"]);
        assert_has(&kubectl.run("get --raw /readyz?verbose"), &["[+]etcd ok", "readyz check passed"]);
        assert_has(&kubectl.run("get ns"), &["default", "kube-system", "Active"]);
        assert_has(&kubectl.run("get all -A"), &["service/kubernetes", "10.96.0.1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_awaited_and_watched() {
    with_each(|kubectl| {
        kubectl.write(
            "pod.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n",
        );
        let mut watch =
            kubectl.command("get pods -w --request-timeout=4s").stdout(Stdio::piped()).spawn().expect("kubectl");
        kubectl.run("create -f pod.yaml");
        assert_has(&kubectl.refused("wait --for=condition=Ready pod/p --timeout=1s"), &["timed out"]);
        kubectl.run("annotate pod p seen=yes");
        let hold = r#"patch pod p --type=merge -p {"metadata":{"finalizers":["example.com/hold"]}}"#;
        kubectl.run(hold);
        let deletion = kubectl.command("delete pod p --timeout=30s").stdout(Stdio::piped()).spawn().expect("kubectl");
        while kubectl.run("get pod p -o jsonpath={.metadata.deletionTimestamp}").is_empty() {}
        kubectl.run(r#"patch pod p --type=json -p [{"op":"remove","path":"/metadata/finalizers"}]"#);
        assert!(deletion.wait_with_output().expect("kubectl").status.success(), "delete waits until the pod is gone");
        let _ = watch.wait();
        let output = watch.wait_with_output().expect("kubectl");
        assert_has(&String::from_utf8_lossy(&output.stdout), &["NAME", "p ", "Pending"]);
        kubectl.run("create -f pod.yaml");
        assert_has(&kubectl.run("describe pod p"), &["Name:", "p", "Status:", "Pending", "QoS Class:", "BestEffort"]);
        assert_has(&kubectl.run("delete pod p"), &["pod \"p\" deleted"]);
        assert_has(&kubectl.run("get pods"), &["No resources found in default namespace"]);
    })
    .await;
}

/// Fault N10: a kind that isn't there is named, whatever kubectl asks on its way there.
#[tokio::test]
async fn kinds_that_are_not_there_are_named() {
    with_each(|kubectl| {
        for (version, kind) in [("apps/v1", "Thing"), ("batch/v9", "Job"), ("v1", "Thing"), ("a.example/v1", "Thing")] {
            let manifest = format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: x\nspec: {{}}\n");
            let file = kubectl.write("absent.yaml", &manifest);
            let said = kubectl.refused(&format!("apply -f {}", file.display()));
            assert_has(&said, &[&format!("no matches for kind \"{kind}\" in version \"{version}\"")]);
        }
    })
    .await;
}

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.custom.example.com
spec:
  group: custom.example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              color: {type: string, description: What it looks like., default: red}
              port: {x-kubernetes-int-or-string: true}
"#;

/// A kind that a definition brings is got, explained and applied as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_is_a_kind_like_any_other() {
    with_each(|kubectl| {
        let manifest = kubectl.write("widgets.yaml", WIDGETS);
        kubectl.run(&format!("apply -f {}", manifest.display()));
        kubectl.run("wait --for=condition=Established crd/widgets.custom.example.com --timeout=30s");
        let text = "apiVersion: custom.example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {port: 80}\n";
        let widget = kubectl.write("widget.yaml", text);
        assert_has(&kubectl.run(&format!("apply -f {}", widget.display())), &["widget.custom.example.com/a created"]);
        let green = kubectl.write("green.yaml", &text.replace("port: 80", "color: green"));
        assert_has(&kubectl.run(&format!("apply -f {}", green.display())), &["widget.custom.example.com/a configured"]);
        assert_has(&kubectl.run("get wd"), &["NAME", "COLOR", "a", "green"]);
        assert_has(&kubectl.run("explain widgets.spec.color"), &["What it looks like."]);
        assert_has(&kubectl.run("api-resources --api-group=custom.example.com"), &["widgets", "wd", "Widget"]);
        kubectl.run("delete crd widgets.custom.example.com");
        assert_has(
            &kubectl.refused("get --raw /apis/custom.example.com/v1"),
            &["could not find the requested resource"],
        );
    })
    .await;
}
