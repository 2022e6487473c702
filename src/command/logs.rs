//! `skiff logs`: what a container wrote.

use crate::cli::LogsArgs;
use crate::client::{Server, connect, explain};
use crate::out;
use anyhow::{Context, bail};
use serde_json::Value;
use skiff_proto::api::v1::{Address, GetRequest, ListRequest, LogsRequest};

pub(crate) async fn run(args: LogsArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let request = LogsRequest {
        namespace: server.namespace.clone(),
        pod: pod_of(&server, &args.pod).await?,
        container: args.container.unwrap_or_default(),
        follow: args.follow,
        previous: args.previous,
        timestamps: args.timestamps,
        tail_lines: args.tail,
        since_seconds: None,
    };
    let mut chunks = server.pods().logs(request).await.map_err(|error| explain(&error))?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|error| explain(&error))? {
        out::print_bytes(&chunk.data)?;
    }
    Ok(())
}

/// The pod that `word` means: its name, `pod/NAME`, or a pod of `deploy/NAME`.
pub(crate) async fn pod_of(server: &Server, word: &str) -> anyhow::Result<String> {
    let (kind, name) = word.split_once('/').unwrap_or(("pod", word));
    let (group, resource) = match kind {
        "pod" | "pods" | "po" => return Ok(name.to_owned()),
        "deploy" | "deployment" | "deployments" => ("apps", "deployments"),
        "rs" | "replicaset" | "replicasets" => ("apps", "replicasets"),
        "job" | "jobs" => ("batch", "jobs"),
        "svc" | "service" | "services" => ("", "services"),
        _ => bail!("{word}: want a pod, or deploy/, rs/, job/ or svc/ with a name"),
    };
    let address = Address {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: server.namespace.clone(),
        name: name.to_owned(),
        subresource: String::new(),
    };
    let object = server.objects().get(GetRequest { address: Some(address) }).await.map_err(|error| explain(&error))?;
    let object: Value = serde_json::from_slice(&object.into_inner().json).context("read the server's object")?;
    let selector = &object["spec"]["selector"];
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object().cloned().unwrap_or_default();
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    first_pod(server, labels.join(","), word).await
}

async fn first_pod(server: &Server, label_selector: String, word: &str) -> anyhow::Result<String> {
    let address = Address {
        version: "v1".into(),
        resource: "pods".into(),
        namespace: server.namespace.clone(),
        ..Address::default()
    };
    let request = ListRequest { address: Some(address), label_selector, ..ListRequest::default() };
    let answer = server.objects().list(request).await.map_err(|error| explain(&error))?.into_inner();
    let pods = answer.items.iter().map(|pod| serde_json::from_slice::<Value>(&pod.json));
    let mut pods = pods.collect::<Result<Vec<_>, _>>().context("read the server's pods")?;
    // A running pod has more to say than a pending one.
    pods.sort_by_key(|pod| pod["status"]["phase"] != "Running");
    let name = pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned);
    name.with_context(|| format!("{word} has no pods"))
}
