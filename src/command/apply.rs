//! `skiff apply`: makes the server's objects what the manifests say.
//!
//! A new object is created. A known one is changed by a merge patch of the manifest, in which fields that were applied
//! last time and are gone now are null. What was applied is kept in kubectl's own annotation, so the two clients can take
//! turns.

use super::get::{named, render};
use crate::cli::{ApplyArgs, Output, Told};
use crate::client::{Document, Known, Server, connect, explain, print_warnings, read_manifests, refusal};
use crate::exit::sentence;
use crate::out::{self, show, tell};
use anyhow::Context;
use serde_json::{Map, Value, json};
use skiff_proto::api::v1::{Address, GetRequest, Object, PatchRequest, WriteRequest};
use tonic::Code;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MANAGER: &str = "skiff-apply";
const MERGE_PATCH: &str = "application/merge-patch+json";

pub(crate) async fn run(args: ApplyArgs) -> anyhow::Result<()> {
    // Everything is read before anything is written: a typing error in the last file changes nothing.
    let documents = args.filename.iter().map(|path| read_manifests(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let documents: Vec<Document> = documents.into_iter().flatten().collect();
    let server = connect(&args.server).await?;
    let known = Known::ask(&server).await?;
    let places = documents
        .iter()
        .map(|document| place(document, &known, &server.namespace))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // All are tried, so that one run shows every mistake.
    let (mut after, mut errors) = (Vec::new(), Vec::new());
    for (document, (address, shown)) in documents.iter().zip(places) {
        match apply(&server, document, address, args.dry_run).await {
            Ok((done, object)) => match args.output {
                None => tell!("{shown} {done}{}", if args.dry_run { " (dry run)" } else { "" }),
                Some(_) => after.push(object),
            },
            Err(error) => errors.push(format!("apply {shown}: {}", sentence(&error))),
        }
    }
    let printed = args.output.map_or(Ok(()), |form| print(&after, form));
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nskiff: "));
    printed
}

/// The objects as the server has them now.
fn print(objects: &[Value], form: Told) -> anyhow::Result<()> {
    let form = match form {
        Told::Name => return objects.iter().try_for_each(|object| show!("{}", named(object))),
        Told::Json => Output::Json,
        Told::Yaml => Output::Yaml,
    };
    let whole = match objects {
        [] => return Ok(()),
        [one] => one.clone(),
        several => json!({"apiVersion": "v1", "kind": "List", "items": several}),
    };
    out::print_bytes(render(&whole, form)?.as_bytes())
}

/// Where the document's object lives, and how it is called.
fn place(document: &Document, known: &Known, namespace: &str) -> anyhow::Result<(Address, String)> {
    let (version, kind) = (document.api_version(), document.kind());
    let at = |field: &str| format!("{}, line {}", document.source, document.line(field));
    let resource = known
        .of(version, kind)
        .with_context(|| format!("{}: the server has no kind {kind:?} in version {version:?}", at("kind")))?;
    anyhow::ensure!(!document.name().is_empty(), "{}: metadata.name: Required value", at("metadata.name"));
    let own = document.value["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
    let target = crate::client::Target { resource, name: Some(document.name().to_owned()) };
    Ok((target.address(&own), target.shown()))
}

/// What was done, and the object afterwards.
async fn apply(
    server: &Server,
    document: &Document,
    address: Address,
    dry_run: bool,
) -> anyhow::Result<(&'static str, Value)> {
    let mut wanted = document.value.clone();
    let applied = wanted.to_string();
    let mut objects = server.objects();
    let live = objects.get(GetRequest { address: Some(address.clone()) }).await;
    annotate(&mut wanted, &applied);
    let live: Value = match live {
        Ok(live) => serde_json::from_slice(&live.into_inner().json).context("read the live object")?,
        Err(error) if error.code() == Code::NotFound => {
            let object = Some(Object { json: wanted.to_string().into() });
            // What is made has its name in the object.
            let place = Address { name: String::new(), ..address };
            let request = WriteRequest { address: Some(place), object, dry_run, field_manager: MANAGER.to_owned() };
            let made = objects.create(request).await.map_err(|error| refusal(&error, document))?;
            print_warnings(made.metadata());
            let made = serde_json::from_slice(&made.into_inner().json).context("read the created object")?;
            return Ok(("created", made));
        }
        Err(error) => return Err(explain(&error)),
    };
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
    let patch = patch(last.as_ref().unwrap_or(&Value::Null), &wanted);
    let request = PatchRequest {
        address: Some(address),
        patch_type: MERGE_PATCH.to_owned(),
        patch: patch.to_string().into(),
        dry_run,
        field_manager: MANAGER.to_owned(),
        force: false,
    };
    let after = objects.patch(request).await.map_err(|error| refusal(&error, document))?;
    print_warnings(after.metadata());
    let after: Value = serde_json::from_slice(&after.into_inner().json).context("read the patched object")?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let done = if version(&after) == version(&live) { "unchanged" } else { "configured" };
    Ok((done, after))
}

fn annotate(object: &mut Value, applied: &str) {
    object["metadata"]["annotations"][LAST_APPLIED] = Value::String(applied.to_owned());
}

/// `wanted`, with null (RFC 7396: remove) for what was in `last` and is not wanted any more.
fn patch(last: &Value, wanted: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (last, wanted) else { return wanted.clone() };
    let kept = new.iter().map(|(key, value)| (key.clone(), patch(old.get(key).unwrap_or(&Value::Null), value)));
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    Value::Object(kept.chain(gone).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_and_is_gone_is_removed() {
        let last = json!({"spec": {"replicas": 2, "paused": true}, "metadata": {"labels": {"a": "1"}}});
        let wanted = json!({"spec": {"replicas": 3}, "metadata": {"labels": {"b": "2"}}});
        let expected = json!({"spec": {"replicas": 3, "paused": null}, "metadata": {"labels": {"b": "2", "a": null}}});
        assert_eq!(patch(&last, &wanted), expected);
        assert_eq!(patch(&Value::Null, &wanted), wanted);
    }
}
