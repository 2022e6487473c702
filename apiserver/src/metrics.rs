//! `metrics.k8s.io`: what nodes and pods use, as their kubelets count it. This server answers itself, in a metrics server's place, for as long
//! as the APIService of the group names no other server.
//!
//! Nothing is asked as long as nobody wants to know: a rate needs two answers of a kubelet, and who asks first waits a second for the other.

mod document; // what is served
mod objects; // a node's or a pod's use, as an object; no I/O
mod samples; // two answers of a kubelet, and when it is asked again; no I/O
mod scrape; // one answer, and what was used between two; no I/O

pub(crate) use document::{GROUP, VERSION, list, resources, table, wanted};

use crate::app::App;
use crate::kubelet::authority_of;
use crate::registry::object::name_of;
use crate::registry::selector::Selection;
use crate::registry::{ListOptions, Target, VersionMatch, built_in};
use crate::status::Status;
use axum::body::Body;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use samples::{Counted, Next, Samples};
use scrape::Scrape;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a kubelet may take (metrics-server: `--kubelet-request-timeout`).
const PATIENCE: Duration = Duration::from_secs(10);
/// How large its answer may be: some 300 bytes for each container.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How many kubelets are asked at a time.
const AT_A_TIME: usize = 32;

/// What is known of each node, by its name.
#[derive(Default)]
pub(crate) struct Metrics {
    nodes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Samples>>>>,
}

/// Which objects are meant.
pub(crate) struct Wanted<'a> {
    /// Empty: all.
    pub(crate) namespace: &'a str,
    /// Empty: all.
    pub(crate) name: &'a str,
    pub(crate) labels: &'a str,
    pub(crate) fields: &'a str,
}

impl Metrics {
    /// NodeMetrics of those nodes that there are figures of.
    pub(crate) async fn nodes(&self, app: &App, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status> {
        let nodes = objects_of(app, "nodes", wanted).await?;
        let counted = self.counted(app, &nodes).await;
        let of_node = |node: &Arc<Value>| objects::of_node(node, counted.get(name_of(node))?);
        Ok(nodes.iter().filter_map(of_node).collect())
    }

    /// PodMetrics of those pods that there are figures of.
    pub(crate) async fn pods(&self, app: &App, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status> {
        let mut pods = objects_of(app, "pods", wanted).await?;
        pods.retain(|pod| pod["status"]["phase"] == "Running");
        let places: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
        let all = Wanted { namespace: "", name: "", labels: "", fields: "" };
        let mut nodes = objects_of(app, "nodes", &all).await?;
        nodes.retain(|node| places.contains(name_of(node)));
        let counted = self.counted(app, &nodes).await;
        let of_pod = |pod: &Arc<Value>| objects::of_pod(pod, counted.get(pod["spec"]["nodeName"].as_str()?)?);
        Ok(pods.iter().filter_map(of_pod).collect())
    }

    /// What the kubelets of `nodes` count now; who does not answer is missing.
    async fn counted(&self, app: &App, nodes: &[Arc<Value>]) -> HashMap<String, Counted> {
        let mut asked: Vec<BoxFuture<'_, (String, Option<Counted>)>> = Vec::with_capacity(nodes.len());
        for node in nodes {
            asked.push(self.counted_of(app, Arc::clone(node)).boxed());
        }
        let all: Vec<_> = stream::iter(asked).buffer_unordered(AT_A_TIME).collect().await;
        all.into_iter().filter_map(|(name, counted)| Some((name, counted?))).collect()
    }

    async fn counted_of(&self, app: &App, node: Arc<Value>) -> (String, Option<Counted>) {
        let name = name_of(&node).to_owned();
        let samples = self.samples(&name);
        let mut samples = samples.lock().await;
        let counted = count(app, &node, &mut samples).await;
        (name, counted)
    }

    fn samples(&self, node: &str) -> Arc<tokio::sync::Mutex<Samples>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        // Old samples are worth nothing, so those of nodes that are gone end with the next question.
        nodes.retain(|name, samples| {
            name == node || samples.try_lock().map_or(true, |one| !one.is_over(Instant::now()))
        });
        Arc::clone(nodes.entry(node.to_owned()).or_default())
    }
}

/// The objects that are meant, not older than what this server has written.
async fn objects_of(app: &App, plural: &str, wanted: &Wanted<'_>) -> Result<Vec<Arc<Value>>, Status> {
    let resource = built_in("", plural)?;
    if !wanted.name.is_empty() {
        let target = Target { resource, namespace: wanted.namespace, name: wanted.name };
        return Ok(vec![app.registry.get(&target).await?.parsed()?]);
    }
    let selection = Selection::parse(resource, wanted.labels, wanted.fields)?;
    let options = ListOptions { selection, version_match: VersionMatch::Own, ..ListOptions::default() };
    let list = app.registry.list(resource, wanted.namespace, &options).await?;
    list.items.iter().map(|object| object.parsed()).collect()
}

/// Asks a kubelet until two of its answers make a rate.
async fn count(app: &App, node: &Value, samples: &mut Samples) -> Option<Counted> {
    loop {
        match samples.next(Instant::now()) {
            Next::Known(counted) => return Some(counted),
            Next::Silent => return None,
            Next::Wait(wait) => tokio::time::sleep(wait).await,
            Next::Ask => {
                match timeout(PATIENCE, ask(app, node)).await.unwrap_or_else(|_| Err("no answer".to_owned())) {
                    Ok(scrape) => samples.take(Instant::now(), scrape),
                    Err(why) => {
                        tracing::debug!(node = name_of(node), why, "a kubelet does not say what is used");
                        samples.fail(Instant::now());
                    }
                }
            }
        }
    }
}

async fn ask(app: &App, node: &Value) -> Result<Scrape, String> {
    let authority = authority_of(node).ok_or("the node has no address")?;
    let request = Request::get("/metrics/resource").header(header::HOST, &authority).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = app.kubelets.send(&authority, request).await.map_err(|status| status.message)?;
    let at = Timestamp::now();
    if answer.status() != StatusCode::OK {
        return Err(format!("it answered {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Scrape::read(&String::from_utf8_lossy(&body), at))
}
