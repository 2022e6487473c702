//! A cluster's API as far as the controller uses it: lists, watches, merges of statuses, and what is created.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Objects by plural, namespace and name, and who watches which plural.
#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<(String, String, String), Value>,
    watchers: Vec<(String, Option<String>, mpsc::UnboundedSender<Value>)>,
    /// All events, with their plurals and revisions: a watch begins where its list ended.
    history: Vec<(String, u64, Value)>,
}

impl State {
    fn put(&mut self, plural: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        object["metadata"]["uid"] = format!("{}-{}", key.1, key.2).into();
        let kind = if self.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(plural, kind, &object);
        object
    }

    fn tell(&mut self, plural: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.history.push((plural.to_owned(), self.revision, event.clone()));
        self.watchers.retain(|(of, name, to)| {
            let is_meant = of == plural && name.as_deref().is_none_or(|name| object["metadata"]["name"] == name);
            !is_meant || to.send(event.clone()).is_ok()
        });
    }
}

/// The API.
#[derive(Clone, Default)]
pub(crate) struct Cluster(Arc<Mutex<State>>);

impl Cluster {
    pub(crate) fn client(&self) -> kube::Client {
        let own = self.clone();
        let service = tower(move |request| {
            let own = own.clone();
            async move { Ok(own.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub(crate) fn put(&self, plural: &str, object: Value) {
        self.0.lock().unwrap().put(plural, object);
    }

    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut state = self.0.lock().unwrap();
        state.revision += 1;
        let gone = state.objects.remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
        let mut gone = gone.unwrap();
        gone["metadata"]["resourceVersion"] = state.revision.to_string().into();
        state.tell(plural, "DELETED", &gone);
    }

    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|((of, ..), _)| of == plural).map(|(_, object)| object.clone()).collect()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path: Vec<&str> = parts.uri.path().trim_start_matches('/').split('/').collect();
        let query = parts.uri.query().unwrap_or_default();
        let at = if path[0] == "api" { 2 } else { 3 };
        let (namespace, rest) = match &path[at..] {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let named = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
        let mut state = self.0.lock().unwrap();
        match (parts.method.as_str(), rest) {
            ("GET", [plural]) if query.contains("watch=") => {
                let (to, events) = mpsc::unbounded_channel();
                let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
                let from: u64 = from.and_then(|from| from.parse().ok()).unwrap_or_default();
                let fits = |event: &Value| named.is_none_or(|name| event["object"]["metadata"]["name"] == name);
                let missed = state
                    .history
                    .iter()
                    .filter(|(of, revision, event)| of == plural && *revision > from && fits(event));
                missed.for_each(|(.., event)| to.send(event.clone()).unwrap());
                state.watchers.push(((*plural).to_owned(), named.map(str::to_owned), to));
                watched(events)
            }
            ("GET", [plural]) => {
                let fits = |(of, within, name): &(String, String, String)| {
                    of == plural && (namespace.is_empty() || within == namespace) && named.is_none_or(|it| it == name)
                };
                let items: Vec<&Value> =
                    state.objects.iter().filter(|(key, _)| fits(key)).map(|(_, one)| one).collect();
                let revision = state.revision.to_string();
                answered(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
                )
            }
            ("POST", [plural]) => answered(201, &state.put(plural, sent)),
            ("PATCH", [plural, name, ..]) => {
                let key = ((*plural).to_owned(), namespace.to_owned(), (*name).to_owned());
                let Some(mut object) = state.objects.get(&key).cloned() else {
                    return answered(
                        404,
                        &json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found", "status": "Failure"}),
                    );
                };
                object["status"] = sent["status"].clone();
                answered(200, &state.put(plural, object))
            }
            other => panic!("{other:?} {}", parts.uri),
        }
    }
}

fn tower<F, R>(
    answer: F,
) -> impl tower::Service<Request<kube::client::Body>, Response = Response<Body>, Error = Infallible, Future = R>
+ Clone
+ Send
+ 'static
where
    F: Fn(Request<kube::client::Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    tower::service_fn(answer)
}

fn answered(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn watched(events: mpsc::UnboundedReceiver<Value>) -> Response<Body> {
    let frames = futures::stream::unfold(events, |mut events| async {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))), events))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}
