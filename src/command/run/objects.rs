//! The objects of an application, as one would write them by hand. No I/O.

use serde_json::{Value, json};

/// The label of what belongs to an application; its value is the name.
pub(super) const LABEL: &str = "skiff.dev/run";
/// The annotation that makes a new rollout, even if the image has the same name.
pub(super) const AT: &str = "skiff.dev/deployed-at";
/// The annotation that says under which host it is served.
const HOST: &str = "skiff.dev/host";

/// What is to run.
pub(super) struct Application {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) image: String,
    /// The kubelet's word for when registries are asked.
    pub(super) pull: &'static str,
    pub(super) port: u16,
    pub(super) host: String,
    pub(super) replicas: u32,
    pub(super) env: Vec<Value>,
    /// When this was asked for.
    pub(super) at: String,
}

impl Application {
    /// The path of its object of a kind.
    pub(super) fn path(&self, group: &str, plural: &str) -> String {
        format!("/{group}/namespaces/{}/{plural}/{}", self.namespace, self.name)
    }

    /// The name of the secret with its certificate.
    pub(super) fn secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    fn object(&self, api_version: &str, kind: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {LABEL: self.name},
                "annotations": {HOST: self.host}},
            "spec": spec,
        })
    }

    /// All but the secret, each with its path.
    pub(super) fn objects(&self) -> [(String, Value); 3] {
        let labels = json!({LABEL: self.name});
        let port = json!({"name": "http", "containerPort": self.port});
        let container = json!({"name": "app", "image": self.image, "imagePullPolicy": self.pull, "ports": [port], "env": self.env,
            "readinessProbe": {"tcpSocket": {"port": self.port}, "periodSeconds": 2}});
        let deployment = json!({
            "replicas": self.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {AT: self.at}}, "spec": {"containers": [container]}},
        });
        let service = json!({"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": self.port}]});
        let backend = json!({"service": {"name": self.name, "port": {"number": 80}}});
        let ingress = json!({
            "ingressClassName": "skiff",
            "tls": [{"hosts": [self.host], "secretName": self.secret()}],
            "rules": [{"host": self.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        });
        let mut ingress = self.object("networking.k8s.io/v1", "Ingress", &ingress);
        ingress["metadata"]["annotations"]["skiff.dev/https-redirect"] = "true".into();
        [
            (self.path("apis/apps/v1", "deployments"), self.object("apps/v1", "Deployment", &deployment)),
            (self.path("api/v1", "services"), self.object("v1", "Service", &service)),
            (self.path("apis/networking.k8s.io/v1", "ingresses"), ingress),
        ]
    }
}

/// The paths of all objects of an application.
pub(super) fn paths(namespace: &str, name: &str) -> [String; 4] {
    let of = |group: &str, plural: &str, name: &str| format!("/{group}/namespaces/{namespace}/{plural}/{name}");
    [
        of("apis/networking.k8s.io/v1", "ingresses", name),
        of("api/v1", "services", name),
        of("apis/apps/v1", "deployments", name),
        of("api/v1", "secrets", &format!("{name}-tls")),
    ]
}

/// The last part of an image's name as the name of an application; `None`: it is none.
pub(super) fn name_of(image: &str) -> Option<String> {
    let last = image.split('@').next()?.rsplit('/').next()?.split(':').next()?;
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let name = plain.trim_matches('-').to_owned();
    (!name.is_empty() && name.len() <= 50 && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
}

/// A variable from `NAME=VALUE`.
pub(super) fn variable(pair: &str) -> Result<Value, String> {
    let (name, value) = pair.split_once('=').ok_or_else(|| format!("--env {pair}: want NAME=VALUE"))?;
    Ok(json!({"name": name, "value": value}))
}

/// Whether all pods of a deployment are of its newest template, and available.
pub(super) fn is_rolled_out(deployment: &Value) -> bool {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let wanted = number("/spec/replicas");
    let generation = number("/metadata/generation");
    generation > 0
        && number("/status/observedGeneration") >= generation
        && number("/status/updatedReplicas") == wanted
        && number("/status/replicas") == wanted
        && number("/status/availableReplicas") == wanted
}

/// What `ls` says of a deployment.
pub(super) fn listed(deployment: &Value) -> Value {
    let text = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let annotation =
        |object: &Value, key: &str| object["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
    json!({
        "namespace": text("/metadata/namespace"),
        "name": text("/metadata/name"),
        "replicas": number("/spec/replicas"),
        "readyReplicas": number("/status/readyReplicas"),
        "image": text("/spec/template/spec/containers/0/image"),
        "url": format!("https://{}/", annotation(deployment, HOST)),
        "deployedAt": annotation(&deployment["spec"]["template"], AT),
    })
}

/// The same in a table.
pub(super) fn row(listed: &Value) -> [String; 5] {
    let text = |name: &str| listed[name].as_str().unwrap_or_default().to_owned();
    let ready = format!("{}/{}", listed["readyReplicas"], listed["replicas"]);
    [text("namespace"), text("name"), ready, text("image"), text("url")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_images() {
        for (image, name) in [
            ("nginx", Some("nginx")),
            ("docker.io/library/My_App:1.2", Some("my-app")),
            ("r:5000/a/b@sha256:00", Some("b")),
            ("r/7", None),
            ("", None),
        ] {
            assert_eq!(name_of(image).as_deref(), name, "{image}");
        }
    }

    #[test]
    fn what_is_listed_is_what_was_written() {
        let application = Application {
            namespace: "n".into(),
            name: "shop".into(),
            image: "shop:1".into(),
            pull: "Always",
            port: 80,
            host: "shop.test".into(),
            replicas: 2,
            env: Vec::new(),
            at: "now".into(),
        };
        let [(path, mut deployment), ..] = application.objects();
        assert_eq!(path, "/apis/apps/v1/namespaces/n/deployments/shop");
        deployment["status"] = json!({"readyReplicas": 1});
        let listed = listed(&deployment);
        assert_eq!(listed["deployedAt"], "now");
        assert_eq!(row(&listed), ["n", "shop", "1/2", "shop:1", "https://shop.test/"]);
    }

    #[test]
    fn it_is_rolled_out_when_nothing_old_is_left() {
        let of = |observed: u64, updated: u64, all: u64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": observed,
                "updatedReplicas": updated, "replicas": all, "availableReplicas": 2}})
        };
        assert!(is_rolled_out(&of(2, 2, 2)));
        assert!(!is_rolled_out(&of(1, 2, 2)) && !is_rolled_out(&of(2, 1, 2)) && !is_rolled_out(&of(2, 2, 3)));
        assert!(!is_rolled_out(&json!({})));
    }
}
