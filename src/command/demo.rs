//! `skiff up --demo`: a deployment at work in an isolated node, looked at from all sides, and gone after Ctrl-C.

use super::{down, serving, stop};
use crate::client::{plain_table, text};
use crate::exit::sentence;
use crate::folders::Folders;
use crate::isolate::NewBox;
use crate::node::{Node, NodeConfig};
use crate::out::{complain, tell};
use anyhow::{Context, bail};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MANIFEST: &str = include_str!("../../examples/manifests/hello.yaml");
/// Asked so often, both pods have most likely answered: with two backends chosen at random, 1 in 128 shows only one.
const QUESTIONS: usize = 8;
/// The image is built and two pods started; far more than that takes.
const AVAILABLE_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to reach a service that nobody stands behind yet.
const HEARD: Duration = Duration::from_millis(20);

/// Removes what a killed demo left. In a process of its own, because it has to enter the old box, and a box is only left by
/// ending.
pub(crate) fn clear_leftovers(folders: &Folders) -> anyhow::Result<()> {
    if folders.owner().is_some() || !(folders.run.exists() || folders.data.exists()) {
        return Ok(());
    }
    tell!("removing what an earlier demo left");
    let program = std::env::current_exe().context("find this program's file")?;
    let mut command = Command::new(program);
    command.arg("down").arg("--purge").arg("--data-dir").arg(&folders.data).arg("--run-dir").arg(&folders.run);
    let ended = command.output().context("run skiff down")?;
    if !ended.status.success() {
        bail!("remove what an earlier demo left: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(())
}

pub(crate) fn run(config: NodeConfig, new_box: Option<NewBox>, started: Instant) -> anyhow::Result<()> {
    let site = config.site.clone();
    // Whatever happens, the teardown below ends the box.
    new_box.into_iter().for_each(NewBox::keep);
    let shown = serving(show(config, started));
    tell!("\nstopping");
    let undone = down::clean(&site)?;
    let finished = down::finish(&site.folders, true, undone);
    // What went wrong first is what the user asked about.
    shown.and(finished)
}

async fn show(config: NodeConfig, started: Instant) -> anyhow::Result<()> {
    let stop = stop::signalled()?;
    let kubeconfig = config.site.folders.kubeconfig();
    let mut node = Node::start(config).await?;
    node.ready().await?;
    tell!("node {} is Ready after {} ms", node.name, started.elapsed().as_millis());
    let client = node.client.clone();
    let ended = node
        .run(async {
            tokio::select! {
                () = stop => {}
                () = forever(tour(client, &kubeconfig)) => {}
            }
        })
        .await;
    node.stop().await?;
    ended
}

/// Shows the tour, then waits to be stopped. A tour that fails leaves the node up, to be looked at.
async fn forever(tour: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = tour.await {
        complain!("skiff: demo: {}\nthe node is still up; Ctrl-C removes it", sentence(&error));
    }
    std::future::pending::<()>().await;
}

async fn tour(client: Client, kubeconfig: &std::path::Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let service = create(&client).await?;
    tokio::time::timeout(AVAILABLE_MAX, available(&client))
        .await
        .with_context(|| format!("deployment hello is not available after {} s", AVAILABLE_MAX.as_secs()))??;
    tell!("deployment hello is available after {} ms\n", started.elapsed().as_millis());
    let address =
        service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).context("service hello has no address")?;
    tell!("http://{address}/ answers:");
    for _ in 0..QUESTIONS {
        let answer = tokio::time::timeout(ANSWER_MAX, fetch(&address)).await;
        tell!("  {}", answer.with_context(|| format!("no answer from {address}:80"))??);
    }
    tell!("\n{}", table_of_pods(&client).await?);
    print_next(kubeconfig);
    Ok(())
}

async fn create(client: &Client) -> anyhow::Result<Service> {
    let mut documents = MANIFEST.split("\n---\n");
    let mut next = || documents.next().context("the manifest has two documents");
    let deployment: Deployment = serde_norway::from_str(next()?).context("hello.yaml")?;
    let service: Service = serde_norway::from_str(next()?).context("hello.yaml")?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let services: Api<Service> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment).await.context("create deployment hello")?;
    services.create(&PostParams::default(), &service).await.context("create service hello")
}

async fn available(client: &Client) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let mut changes = std::pin::pin!(watcher(deployments, watcher::Config::default()));
    while let Some(change) = changes.try_next().await.context("watch deployment hello")? {
        if let watcher::Event::Apply(deployment) | watcher::Event::InitApply(deployment) = change {
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            if wanted == deployment.status.as_ref().and_then(|status| status.available_replicas) {
                return Ok(());
            }
        }
    }
    bail!("the watch on deployment hello ended")
}

/// The body of the page, first line.
async fn fetch(address: &str) -> anyhow::Result<String> {
    let mut stream = connect(address).await.with_context(|| format!("connect to {address}:80"))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.context("ask for the page")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("read the page")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body.lines().next().unwrap_or_default().to_owned())
}

/// A deployment is available a moment before the proxy has heard of its endpoints; until then the service refuses connections.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    loop {
        match TcpStream::connect((address, 80)).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => tokio::time::sleep(HEARD).await,
            connected => return connected,
        }
    }
}

async fn table_of_pods(client: &Client) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut table = plain_table(["POD", "PHASE", "IP", "NODE", "CONTAINER"]);
    for pod in pods.list(&ListParams::default()).await.context("list pods")? {
        let status = pod.status.as_ref();
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first()?.container_id.clone());
        table.add_row([
            pod.name_any(),
            status.and_then(|status| status.phase.clone()).unwrap_or_default(),
            status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            container.unwrap_or_default().chars().take(20).collect(),
        ]);
    }
    Ok(text(&table))
}

fn print_next(kubeconfig: &std::path::Path) {
    let at = kubeconfig.display();
    tell!(
        "Next, in another terminal:
  export KUBECONFIG={at}
  kubectl get pods -o wide                          any kubectl from 1.20 on
  kubectl exec -it deploy/hello -- sh
  skiff get pods                                    the small client inside this program
  skiff logs deploy/hello -f
  skiff describe service hello

Ctrl-C stops the node and leaves nothing behind."
    );
}
