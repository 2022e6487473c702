//! `skiff get`: shows objects, once or as they change.

use crate::cli::{GetArgs, Output};
use crate::client::{Known, Server, Target, Width, connect, explain, print_rows};
use crate::out::{self, complain, show};
use anyhow::Context;
use serde_json::{Value, json};
use skiff_proto::api::v1::{GetRequest, ListRequest, WatchRequest};
use std::collections::BTreeSet;

pub(crate) async fn run(args: GetArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let targets = Known::ask(&server).await?.targets(&args.what)?;
    if args.watch {
        let [target] = targets.as_slice() else { anyhow::bail!("--watch: one resource, and at most one name") };
        return watch(&server, &args, target).await;
    }
    match args.output {
        None | Some(Output::Wide) => tables(&server, &args, &targets).await,
        Some(form) => objects(&server, &args, &targets, form).await,
    }
}

fn namespace<'a>(args: &GetArgs, server: &'a Server) -> &'a str {
    if args.all_namespaces { "" } else { &server.namespace }
}

fn width(args: &GetArgs) -> Width {
    if args.output == Some(Output::Wide) { Width::Wide } else { Width::Normal }
}

fn request(args: &GetArgs, server: &Server, target: &Target) -> ListRequest {
    let mut address = target.address(namespace(args, server));
    // One object is a list of one, so that it is shown as any list is.
    let name = std::mem::take(&mut address.name);
    let mut fields = args.field_selector.clone().unwrap_or_default();
    if !name.is_empty() {
        fields = [fields, format!("metadata.name={name}")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(",");
    }
    ListRequest {
        address: Some(address),
        label_selector: args.selector.clone().unwrap_or_default(),
        field_selector: fields,
        ..ListRequest::default()
    }
}

/// One table for each resource; with several of them, each row says of which.
async fn tables(server: &Server, args: &GetArgs, targets: &[Target]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    let mut found: Vec<(&Target, Value)> = Vec::new();
    for target in targets {
        let request = ListRequest { as_table: true, ..request(args, server, target) };
        let answer = server.objects().list(request).await.map_err(|error| explain(&error))?.into_inner();
        let mut table: Value = serde_json::from_slice(&answer.table_json).context("read the server's table")?;
        let rows = table["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if rows.is_empty() {
            missing.extend(target.name.iter().map(|name| format!("{} {name:?} not found", target.resource.plural)));
            continue;
        }
        match found.last_mut().filter(|(last, _)| last.resource == target.resource) {
            Some((_, last)) => last["rows"].as_array_mut().into_iter().for_each(|present| present.extend(rows.clone())),
            None => {
                table["rows"] = Value::Array(rows);
                found.push((target, table));
            }
        }
    }
    if found.is_empty() && missing.is_empty() {
        say_nothing_found(server, args, targets);
    }
    let kinds: BTreeSet<&str> = targets.iter().map(|target| target.resource.plural.as_str()).collect();
    for (number, (target, mut table)) in found.into_iter().enumerate() {
        if kinds.len() > 1 {
            name_kinds(&mut table, target);
        }
        let gap = if number > 0 { "\n" } else { "" };
        let with_namespace = args.all_namespaces && target.resource.namespaced;
        show!("{gap}{}", print_rows(&table, width(args), with_namespace, true))?;
    }
    anyhow::ensure!(missing.is_empty(), "{}", missing.join("; "));
    Ok(())
}

fn say_nothing_found(server: &Server, args: &GetArgs, targets: &[Target]) {
    if args.all_namespaces || targets.iter().all(|target| !target.resource.namespaced) {
        complain!("No resources found");
    } else {
        complain!("No resources found in {} namespace.", server.namespace);
    }
}

/// Puts `pod/` before the name in each row, so that it can be given to another command.
fn name_kinds(table: &mut Value, target: &Target) {
    let kind = Target { name: None, ..target.clone() }.shown();
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        if let Some(name) = row["cells"][0].as_str() {
            row["cells"][0] = json!(format!("{kind}{name}"));
        }
    }
}

async fn objects(server: &Server, args: &GetArgs, targets: &[Target], form: Output) -> anyhow::Result<()> {
    let mut all: Vec<Value> = Vec::new();
    for target in targets {
        if target.name.is_some() {
            let address = Some(target.address(&server.namespace));
            let answer = server.objects().get(GetRequest { address }).await.map_err(|error| explain(&error))?;
            all.push(serde_json::from_slice(&answer.into_inner().json).context("read the server's object")?);
            continue;
        }
        let answer = server.objects().list(request(args, server, target)).await.map_err(|error| explain(&error))?;
        for object in answer.into_inner().items {
            all.push(serde_json::from_slice(&object.json).context("read the server's object")?);
        }
    }
    if form == Output::Name {
        return all.iter().try_for_each(|object| show!("{}", named(object)));
    }
    let one = matches!(targets, [Target { name: Some(_), .. }]) && all.len() == 1;
    let whole = if one { all.remove(0) } else { json!({"apiVersion": "v1", "kind": "List", "items": all}) };
    out::print_bytes(render(&whole, form)?.as_bytes())
}

/// `pod/web`, `deployment.apps/hello`: what other commands take.
pub(crate) fn named(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = word(&object["apiVersion"]).rsplit_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
    format!("{}{group}/{}", word(&object["kind"]).to_lowercase(), word(&object["metadata"]["name"]))
}

/// The value as JSON or YAML, ending with a newline.
pub(crate) fn render(value: &Value, form: Output) -> anyhow::Result<String> {
    match form {
        Output::Json => Ok(format!("{}\n", serde_json::to_string_pretty(value).context("print JSON")?)),
        _ => serde_norway::to_string(value).context("print YAML"),
    }
}

async fn watch(server: &Server, args: &GetArgs, target: &Target) -> anyhow::Result<()> {
    let list = request(args, server, target);
    let as_table = matches!(args.output, None | Some(Output::Wide));
    let request = WatchRequest {
        address: list.address,
        label_selector: list.label_selector,
        field_selector: list.field_selector,
        as_table,
        ..WatchRequest::default()
    };
    let mut events = server.objects().watch(request).await.map_err(|error| explain(&error))?.into_inner();
    // Only the first event names the columns.
    let mut columns = Value::Null;
    while let Some(event) = events.message().await.map_err(|error| explain(&error))? {
        let mut object: Value =
            serde_json::from_slice(&event.object.unwrap_or_default().json).context("read the server's event")?;
        if event.r#type == "BOOKMARK" {
            continue;
        }
        if as_table {
            let first = columns.is_null();
            if first {
                columns = object["columnDefinitions"].clone();
            } else {
                object["columnDefinitions"] = columns.clone();
            }
            show!("{}", print_rows(&object, width(args), args.all_namespaces, first))?;
        } else if args.output == Some(Output::Name) {
            show!("{}", named(&object))?;
        } else {
            out::print_bytes(render(&object, args.output.unwrap_or(Output::Yaml))?.as_bytes())?;
        }
    }
    Ok(())
}
