//! `skiff delete`: removes objects and, unless told not to, waits until they are gone.

use crate::cli::DeleteArgs;
use crate::client::{Known, Server, Target, connect, explain, read_manifests};
use crate::out::tell;
use anyhow::{Context, bail};
use serde_json::Value;
use skiff_proto::api::v1::{Address, DeleteRequest, GetRequest, WatchRequest};
use tonic::Code;

pub(crate) async fn run(args: DeleteArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let known = Known::ask(&server).await?;
    let objects = match &args.filename {
        files if !files.is_empty() => from_files(&args, &known, &server.namespace)?,
        _ => named(known.targets(&args.what)?, &server.namespace)?,
    };
    let mut waiting = Vec::new();
    for (shown, address) in objects {
        let request = DeleteRequest {
            address: Some(address.clone()),
            grace_period_seconds: args.grace_period,
            propagation_policy: args.cascade.clone(),
            uid: String::new(),
            ..DeleteRequest::default()
        };
        match server.objects().delete(request).await {
            Ok(_) => waiting.push((shown, address)),
            Err(error) if error.code() == Code::NotFound && args.ignore_not_found => {}
            Err(error) => return Err(explain(&error).context(format!("delete {shown}"))),
        }
    }
    for (shown, address) in waiting {
        if args.wait {
            gone(&server, address).await.with_context(|| format!("wait for {shown} to be gone"))?;
        }
        match args.output {
            None => tell!("{shown} deleted"),
            Some(_) => tell!("{shown}"),
        }
    }
    Ok(())
}

fn named(targets: Vec<Target>, namespace: &str) -> anyhow::Result<Vec<(String, Address)>> {
    let place = |target: Target| {
        if target.name.is_none() {
            bail!("delete {}: which one? give a name", target.resource.plural);
        }
        Ok((target.shown(), target.address(namespace)))
    };
    targets.into_iter().map(place).collect()
}

fn from_files(args: &DeleteArgs, known: &Known, namespace: &str) -> anyhow::Result<Vec<(String, Address)>> {
    let documents = args.filename.iter().map(|path| read_manifests(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let place = |document: crate::client::Document| {
        let resource = known.of(document.api_version(), document.kind());
        let resource =
            resource.with_context(|| format!("{}: the server has no kind {}", document.source, document.kind()))?;
        let own = document.value["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
        let target = Target { resource, name: Some(document.name().to_owned()) };
        Ok((target.shown(), target.address(&own)))
    };
    documents.into_iter().flatten().map(place).collect()
}

/// Waits for the object with its present uid to be gone.
async fn gone(server: &Server, address: Address) -> anyhow::Result<()> {
    let present = match server.objects().get(GetRequest { address: Some(address.clone()) }).await {
        Ok(object) => serde_json::from_slice::<Value>(&object.into_inner().json).context("read the server's object")?,
        Err(error) if error.code() == Code::NotFound => return Ok(()),
        Err(error) => return Err(explain(&error)),
    };
    if present["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let request = WatchRequest {
        field_selector: format!("metadata.name={}", address.name),
        resource_version: present["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
        address: Some(Address { name: String::new(), ..address }),
        ..WatchRequest::default()
    };
    let mut events = server.objects().watch(request).await.map_err(|error| explain(&error))?.into_inner();
    while let Some(event) = events.message().await.map_err(|error| explain(&error))? {
        if event.r#type == "DELETED" {
            return Ok(());
        }
    }
    bail!("the server ended the watch")
}
