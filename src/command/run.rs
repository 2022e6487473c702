//! `skiff run`: from an image to a web application that answers under a host, encrypted, in one command.
//!
//! It writes what one would write by hand: a Deployment, a Service, an Ingress, and a Secret with a certificate that the cluster's authority
//! signed. They are found again by a label.

mod certificate; // from the cluster's authority
mod deploy; // writes it all, and waits
mod objects; // what is written; no I/O
mod source; // an image by its name, or a folder that is built
mod trouble; // why it does not come up; no I/O

use super::get::render;
use super::logs;
use crate::cli::{ListForm, LogsArgs, Output, RunArgs, RunCommand, RunLogsArgs, RunLsArgs, RunRmArgs};
use crate::client::{must_exist, plain_table, text};
use crate::out::{print_bytes, show, tell};
use anyhow::{Context, bail};
use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use objects::LABEL;
use serde_json::{Value, json};
use skiff_client::from_kubeconfig;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often we look.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    match args.command {
        Some(RunCommand::Ls(args)) => ls(args).await,
        Some(RunCommand::Logs(args)) => show_logs(args).await,
        Some(RunCommand::Rm(args)) => rm(args).await,
        None => deploy::run(args).await,
    }
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

async fn ls(args: RunLsArgs) -> anyhow::Result<()> {
    let client = connected(&args.server.kubeconfig).await?;
    let within = args.server.namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let path = format!("/apis/apps/v1{within}/deployments?labelSelector={LABEL}");
    let all = get(&client, &path).await?.unwrap_or_default();
    let all: Vec<Value> = all["items"].as_array().into_iter().flatten().map(objects::listed).collect();
    let form = match args.output {
        ListForm::Table => {
            let mut table = plain_table(["NAMESPACE", "NAME", "READY", "IMAGE", "URL"]);
            for one in &all {
                table.add_row(objects::row(one));
            }
            return show!("{}", text(&table));
        }
        ListForm::Json => Output::Json,
        ListForm::Yaml => Output::Yaml,
    };
    print_bytes(render(&json!({"applications": all}), form)?.as_bytes())
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
