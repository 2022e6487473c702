//! `skiff run`: from an image to a web application that answers under a host, encrypted, in one command.
//!
//! It writes what one would write by hand: a Deployment, a Service, an Ingress, and a Secret with a certificate that the cluster's authority
//! signed. They are found again by a label.

mod certificate; // from the cluster's authority
mod objects; // what is written; no I/O

use super::logs;
use crate::cli::{LogsArgs, RunArgs, RunCommand, RunLogsArgs, RunLsArgs, RunRmArgs};
use crate::client::{must_exist, plain_table, text};
use crate::out::{show, tell};
use anyhow::{Context, bail};
use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use objects::{Application, LABEL};
use serde_json::Value;
use skiff_client::from_kubeconfig;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an application may take to be ready: its image may be large.
const READY_MAX: Duration = Duration::from_secs(300);
/// How long it may take to answer once it is.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often we look.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    match args.command {
        Some(RunCommand::Ls(args)) => ls(args).await,
        Some(RunCommand::Logs(args)) => show_logs(args).await,
        Some(RunCommand::Rm(args)) => rm(args).await,
        None => deploy(args).await,
    }
}

async fn deploy(args: RunArgs) -> anyhow::Result<()> {
    let (Some(image), Some(port)) = (args.image, args.port) else { bail!("run: want an image and --port") };
    let client = connected(&args.server.kubeconfig).await?;
    let namespace = args.server.namespace.unwrap_or_else(|| "default".to_owned());
    let name = match args.name {
        Some(name) => name,
        None => objects::name_of(&image).with_context(|| format!("{image}: name the application with --name"))?,
    };
    let host = args.host.unwrap_or_else(|| format!("{name}.localhost"));
    let env =
        args.env.iter().map(|pair| objects::variable(pair)).collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let at = jiff::Timestamp::now().to_string();
    let application = Application { namespace, name, image, port, host, replicas: args.replicas, env, at };
    certificate::ensure(&client, &application).await?;
    for (path, object) in application.objects() {
        apply(&client, &path, &object).await?;
    }
    tell!("waiting for {} of {}", application.replicas, application.name);
    await_ready(&client, &application).await?;
    let address = await_address(&client, &application).await?;
    await_answer(&client, &application).await?;
    show!("https://{}/", application.host)?;
    tell!("served at {address}, port 443; from the host of a node in a box: skiff up --isolated --publish 8443:443");
    Ok(())
}

async fn connected(kubeconfig: &Path) -> anyhow::Result<Client> {
    must_exist(kubeconfig)?;
    Ok(from_kubeconfig(kubeconfig).await?)
}

/// Writes an object as the owner of its fields.
async fn apply(client: &Client, path: &str, object: &Value) -> anyhow::Result<()> {
    let request = Request::patch(format!("{path}?fieldManager=skiff-run&force=true"));
    let request = request.header(CONTENT_TYPE, "application/apply-patch+yaml").body(serde_json::to_vec(object)?)?;
    client.request::<Value>(request).await.map(drop).with_context(|| format!("apply {path}"))
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Option<Value>> {
    match client.request::<Value>(Request::get(path).body(Vec::new())?).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(format!("read {path}"))),
    }
}

/// Looks until there is an answer.
async fn until<T>(what: &str, max: Duration, look: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let end = Instant::now() + max;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("{what} after {} s; `skiff why` says more", max.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn await_ready(client: &Client, application: &Application) -> anyhow::Result<()> {
    let path = application.path("apis/apps/v1", "deployments");
    let what = format!("deploy/{} is not ready", application.name);
    until(&what, READY_MAX, async || {
        let object = get(client, &path).await?.unwrap_or_default();
        Ok(objects::is_rolled_out(&object).then_some(()))
    })
    .await
}

async fn await_address(client: &Client, application: &Application) -> anyhow::Result<String> {
    let path = application.path("apis/networking.k8s.io/v1", "ingresses");
    until("no controller serves the ingress", ANSWER_MAX, async || {
        let object = get(client, &path).await?.unwrap_or_default();
        Ok(object.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str).map(str::to_owned))
    })
    .await
}

/// Whether it answers we ask it by way of the API server, which reaches it wherever we are.
async fn await_answer(client: &Client, application: &Application) -> anyhow::Result<()> {
    let path = format!("{}:http/proxy/", application.path("api/v1", "services"));
    let what = format!("{} does not answer at its port {}", application.name, application.port);
    until(&what, ANSWER_MAX, async || {
        let asked = client.request_text(Request::get(&path).body(Vec::new())?).await;
        // Whatever it answers it does; 502 to 504 are the API server's own.
        Ok(match asked {
            Ok(_) => Some(()),
            Err(kube::Error::Api(status)) if (502..=504).contains(&status.code) => None,
            Err(kube::Error::Api(_)) => Some(()),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("ask {path}"))),
        })
    })
    .await
}

async fn ls(args: RunLsArgs) -> anyhow::Result<()> {
    let client = connected(&args.server.kubeconfig).await?;
    let within = args.server.namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let path = format!("/apis/apps/v1{within}/deployments?labelSelector={LABEL}");
    let all = get(&client, &path).await?.unwrap_or_default();
    let mut table = plain_table(["NAMESPACE", "NAME", "READY", "IMAGE", "URL"]);
    for one in all["items"].as_array().into_iter().flatten() {
        table.add_row(objects::row(one));
    }
    show!("{}", text(&table))
}

async fn show_logs(args: RunLogsArgs) -> anyhow::Result<()> {
    let asked = LogsArgs {
        server: args.server,
        pod: format!("deploy/{}", args.name),
        container: None,
        follow: args.follow,
        previous: false,
        timestamps: false,
        tail: None,
    };
    logs::run(asked).await
}

async fn rm(args: RunRmArgs) -> anyhow::Result<()> {
    let client = connected(&args.server.kubeconfig).await?;
    let namespace = args.server.namespace.unwrap_or_else(|| "default".to_owned());
    let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", args.name);
    let found = get(&client, &deployment).await?;
    let is_ours = found.is_some_and(|found| found["metadata"]["labels"][LABEL] == *args.name);
    if !is_ours {
        bail!("run rm {}: no application of that name in namespace {namespace}; `skiff run ls` shows all", args.name);
    }
    for path in objects::paths(&namespace, &args.name) {
        let request = Request::delete(&path).header(CONTENT_TYPE, "application/json");
        let request = request.body(br#"{"propagationPolicy":"Background"}"#.to_vec())?;
        match client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            removed => drop(removed.with_context(|| format!("delete {path}"))?),
        }
    }
    tell!("{} removed", args.name);
    Ok(())
}
