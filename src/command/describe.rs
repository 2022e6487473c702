//! `skiff describe`: one object in words, and what happened to it.

use crate::cli::{DescribeArgs, Output};
use crate::client::{Known, Server, Target, connect, explain, plain_table, text};
use crate::command::get::render;
use crate::out::show;
use anyhow::Context;
use serde_json::{Value, json};
use skiff_proto::api::v1::{Address, GetRequest, ListRequest};

pub(crate) async fn run(args: DescribeArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let targets = Known::ask(&server).await?.targets(&args.what)?;
    for target in &targets {
        for name in names(&server, target).await? {
            let one = Target { name: Some(name), ..target.clone() };
            show!("{}", describe(&server, &one).await?)?;
        }
    }
    Ok(())
}

/// The name that was given, or those of all objects.
async fn names(server: &Server, target: &Target) -> anyhow::Result<Vec<String>> {
    if let Some(name) = &target.name {
        return Ok(vec![name.clone()]);
    }
    let request = ListRequest { address: Some(target.address(&server.namespace)), ..ListRequest::default() };
    let answer = server.objects().list(request).await.map_err(|error| explain(&error))?.into_inner();
    let objects = answer.items.iter().map(|object| serde_json::from_slice::<Value>(&object.json));
    let objects = objects.collect::<Result<Vec<_>, _>>().context("read the server's objects")?;
    Ok(objects.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

async fn describe(server: &Server, target: &Target) -> anyhow::Result<String> {
    let address = Some(target.address(&server.namespace));
    let answer = server.objects().get(GetRequest { address }).await.map_err(|error| explain(&error))?;
    let object: Value = serde_json::from_slice(&answer.into_inner().json).context("read the server's object")?;
    let events = events(server, &object).await?;
    Ok(format!("{}{}", body(&object)?, event_table(&events)))
}

fn body(object: &Value) -> anyhow::Result<String> {
    let metadata = &object["metadata"];
    let mut head = json!({"Name": metadata["name"]});
    for (title, field) in [
        ("Namespace", "namespace"),
        ("Labels", "labels"),
        ("Annotations", "annotations"),
        ("Created", "creationTimestamp"),
        ("Deleted", "deletionTimestamp"),
    ] {
        if !metadata[field].is_null() {
            head[title] = metadata[field].clone();
        }
    }
    if let Some(owner) = metadata["ownerReferences"].get(0) {
        head["Controlled By"] = json!(format!(
            "{}/{}",
            owner["kind"].as_str().unwrap_or_default(),
            owner["name"].as_str().unwrap_or_default()
        ));
    }
    for (field, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            head[field] = value.clone();
        }
    }
    render(&head, Output::Yaml)
}

async fn events(server: &Server, object: &Value) -> anyhow::Result<Vec<Value>> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let address = Address {
        version: "v1".into(),
        resource: "events".into(),
        namespace: namespace.to_owned(),
        ..Address::default()
    };
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let request = ListRequest {
        address: Some(address),
        field_selector: format!("involvedObject.uid={uid}"),
        ..ListRequest::default()
    };
    let answer = server.objects().list(request).await.map_err(|error| explain(&error))?.into_inner();
    let events = answer.items.iter().map(|event| serde_json::from_slice(&event.json));
    let mut events: Vec<Value> = events.collect::<Result<_, _>>().context("read the server's events")?;
    events.sort_by_key(|event| event["lastTimestamp"].as_str().map(str::to_owned));
    Ok(events)
}

fn event_table(events: &[Value]) -> String {
    if events.is_empty() {
        return "Events: none\n".to_owned();
    }
    let mut table = plain_table(["TYPE", "REASON", "LAST SEEN", "FROM", "MESSAGE"]);
    for event in events {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let times =
            event["count"].as_i64().filter(|count| *count > 1).map_or_else(String::new, |count| format!(" (x{count})"));
        table.add_row([
            word(&event["type"]),
            word(&event["reason"]),
            word(&event["lastTimestamp"]) + &times,
            word(&event["source"]["component"]),
            word(&event["message"]),
        ]);
    }
    format!("Events:\n{}\n", text(&table))
}
