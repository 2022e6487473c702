//! `skiff describe`: one object in words, and what happened to it.

use crate::cli::{DescribeArgs, Form, Output};
use crate::client::{Known, Server, Target, connect, explain, plain_table, text};
use crate::command::get::render;
use crate::out::{self, show};
use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_proto::age::duration;
use skiff_proto::api::v1::{Address, GetRequest, ListRequest};

pub(crate) async fn run(args: DescribeArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let targets = Known::ask(&server).await?.targets(&args.what)?;
    let mut all = Vec::new();
    for target in &targets {
        for name in names(&server, target, args.selector.as_deref()).await? {
            let one = Target { name: Some(name), ..target.clone() };
            let (object, events) = look(&server, &one).await?;
            match args.output {
                None => show!("{}", words(&object, &events, Timestamp::now())?)?,
                Some(_) => all.push(json!({"object": object, "events": events})),
            }
        }
    }
    let form = match args.output {
        None => return Ok(()),
        Some(Form::Json) => Output::Json,
        Some(Form::Yaml) => Output::Yaml,
    };
    let whole = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
    out::print_bytes(render(&whole, form)?.as_bytes())
}

/// The name that was given, or those of all objects.
async fn names(server: &Server, target: &Target, selector: Option<&str>) -> anyhow::Result<Vec<String>> {
    if let Some(name) = &target.name {
        return Ok(vec![name.clone()]);
    }
    let label_selector = selector.unwrap_or_default().to_owned();
    let request =
        ListRequest { address: Some(target.address(&server.namespace)), label_selector, ..ListRequest::default() };
    let answer = server.objects().list(request).await.map_err(|error| explain(&error))?.into_inner();
    let objects = answer.items.iter().map(|object| serde_json::from_slice::<Value>(&object.json));
    let objects = objects.collect::<Result<Vec<_>, _>>().context("read the server's objects")?;
    Ok(objects.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// The object, and the events about it, oldest first.
async fn look(server: &Server, target: &Target) -> anyhow::Result<(Value, Vec<Value>)> {
    let address = Some(target.address(&server.namespace));
    let answer = server.objects().get(GetRequest { address }).await.map_err(|error| explain(&error))?;
    let object: Value = serde_json::from_slice(&answer.into_inner().json).context("read the server's object")?;
    let events = events(server, &object).await?;
    Ok((object, events))
}

fn words(object: &Value, events: &[Value], now: Timestamp) -> anyhow::Result<String> {
    Ok(format!("{}{}", body(object, now)?, event_table(events, now)))
}

fn body(object: &Value, now: Timestamp) -> anyhow::Result<String> {
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
    age_times(&mut head, now);
    render(&head, Output::Yaml)
}

/// Puts `5m30s ago` for each time: when something happened is asked for, not the date.
fn age_times(value: &mut Value, now: Timestamp) {
    match value {
        Value::String(text) => {
            if let Some(aged) = aged(text, now) {
                *text = aged;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| age_times(value, now)),
        Value::Object(map) => map.values_mut().for_each(|value| age_times(value, now)),
        _ => {}
    }
}

/// The age of a time as the API writes it; `None`: the text is none.
fn aged(text: &str, now: Timestamp) -> Option<String> {
    // Other texts may begin like a date.
    let is_time = text.len() >= "2000-01-01T00:00:00Z".len() && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    let time = text.parse::<Timestamp>().ok().filter(|_| is_time)?;
    match now.as_second() - time.as_second() {
        ahead @ ..=-2 => Some(format!("in {}", duration(-ahead))),
        seconds => Some(format!("{} ago", duration(seconds))),
    }
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

/// `5s`, or `5s (x3 over 2m)` as kubectl has it. Events of the newer form have one time, `eventTime`.
fn event_age(event: &Value, now: Timestamp) -> String {
    let since = |field: &str| {
        let time = event[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        time.map(|time| duration(now.as_second() - time.as_second()))
    };
    let last = since("lastTimestamp").or_else(|| since("eventTime")).unwrap_or_else(|| "<unknown>".to_owned());
    match (event["count"].as_i64().filter(|count| *count > 1), since("firstTimestamp")) {
        (Some(count), Some(first)) => format!("{last} (x{count} over {first})"),
        _ => last,
    }
}

fn event_table(events: &[Value], now: Timestamp) -> String {
    if events.is_empty() {
        return "Events: none\n".to_owned();
    }
    let mut table = plain_table(["TYPE", "REASON", "AGE", "FROM", "MESSAGE"]);
    for event in events {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        table.add_row([
            word(&event["type"]),
            word(&event["reason"]),
            event_age(event, now),
            word(&event["source"]["component"]),
            word(&event["message"]),
        ]);
    }
    format!("Events:\n{}\n", text(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N16: dates, which the reader had to take away from the clock.
    #[test]
    fn times_are_told_as_ages() {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let pod = json!({
            "metadata": {"name": "web", "creationTimestamp": "2026-05-01T11:54:30Z", "labels": {"version": "2026-05-01"}},
            "status": {"conditions": [{"lastTransitionTime": "2026-05-01T11:59:59.5Z"}]},
        });
        let text = body(&pod, now).unwrap();
        assert!(text.contains("Created: 5m30s ago") && text.contains("lastTransitionTime: 1s ago"), "{text}");
        assert!(text.contains("version: 2026-05-01\n") || text.contains("version: '2026-05-01'"), "{text}");
        assert_eq!(aged("2026-05-01T12:10:00Z", now).as_deref(), Some("in 10m"));
        for text in ["", "2026-05-01", "2026-05-01 and more of it", "é2026-05-01T12:10:00Z", "2026-05-01T99:10:00Z"] {
            assert_eq!(aged(text, now), None, "{text}");
        }
        let event =
            json!({"count": 3, "firstTimestamp": "2026-05-01T11:58:00Z", "lastTimestamp": "2026-05-01T11:59:55Z"});
        assert_eq!(event_age(&event, now), "5s (x3 over 2m)");
        assert_eq!(event_age(&json!({"eventTime": "2026-05-01T11:59:00.123456Z"}), now), "60s");
    }
}
