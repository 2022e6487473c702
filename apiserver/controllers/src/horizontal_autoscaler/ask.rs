//! What an autoscaler asks for: the scale of its target, and what its metrics say. I/O, and no decision.

use super::count::{Figure, Figures, milli};
use super::metric::{Measured, Source};
use crate::context::{Context, is_status};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::core::Selector;
use serde_json::Value;
use skiff_client::sentence;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The window of a figure that does not say one.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";

/// Who asks; clones are the same.
#[derive(Clone)]
pub(crate) struct Asker {
    context: Context,
    /// Resources by version and kind, as discovery said.
    kinds: Arc<Mutex<HashMap<(String, String), ApiResource>>>,
}

impl Asker {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, kinds: Arc::default() }
    }

    /// The resource of a `CrossVersionObjectReference`.
    async fn resource(&self, reference: &Value) -> Result<ApiResource, String> {
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let key = (text("apiVersion").to_owned(), text("kind").to_owned());
        if let Some(known) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let (group, version) = key.0.split_once('/').unwrap_or(("", if key.0.is_empty() { "v1" } else { &key.0 }));
        let kind = GroupVersionKind::gvk(group, version, &key.1);
        let found = match Box::pin(kube::discovery::pinned_kind(&self.context.client, &kind)).await {
            Ok((resource, _)) => resource,
            // Another version of the group may have it: what is scaled is the same.
            Err(_) => self.preferred(group, &key.1).await?,
        };
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
        Ok(found)
    }

    async fn preferred(&self, group: &str, kind: &str) -> Result<ApiResource, String> {
        let none = || format!("no matches for kind \"{kind}\" in group \"{group}\"");
        let found = Box::pin(kube::discovery::group(&self.context.client, group)).await.map_err(|_| none())?;
        found.recommended_kind(kind).map(|(resource, _)| resource).ok_or_else(none)
    }

    /// Where the scale of a target is.
    pub(crate) async fn target(&self, namespace: &str, target: &Value) -> Result<Api<DynamicObject>, String> {
        let resource = self.resource(target).await?;
        Ok(Api::namespaced_with(self.context.client.clone(), namespace, &resource))
    }

    /// What a metric says of the pods that `selector` chooses.
    pub(crate) async fn measure(&self, namespace: &str, selector: &str, source: &Source) -> Result<Measured, String> {
        match source {
            Source::Resource { name, container } => {
                let figures = self.of_resource(namespace, selector, name, container.as_deref()).await;
                figures.map(Measured::Pods)
            }
            Source::Pods { metric } => self.of_pods(namespace, selector, metric).await.map(Measured::Pods),
            Source::Object { metric, object } => self.of_object(namespace, metric, object).await.map(Measured::Value),
            Source::External { metric } => self.of_external(namespace, metric).await.map(Measured::Value),
        }
    }

    async fn of_resource(
        &self,
        namespace: &str,
        selector: &str,
        resource: &str,
        container: Option<&str>,
    ) -> Result<Figures, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let list = self.get(&path, &[("labelSelector", selector)], "pods.metrics.k8s.io").await;
        let list = list.map_err(|why| format!("unable to fetch metrics from resource metrics API: {why}"))?;
        let items = items(&list).ok_or("no metrics returned from resource metrics API")?;
        let of_pod = |item: &Value| {
            let containers = item["containers"].as_array()?;
            let meant = containers.iter().filter(|one| container.is_none_or(|name| one["name"] == name));
            let values: Option<Vec<i64>> = meant.map(|one| one["usage"][resource].as_str().map(milli)).collect();
            let values = values.filter(|values| !values.is_empty())?;
            let window = item["window"].as_str().and_then(skiff_proto::duration::parse);
            let window = window.and_then(|window| window.try_into().ok()).unwrap_or(WINDOW);
            let figure = Figure { value: values.iter().sum(), at: moment(item), window };
            Some((item["metadata"]["name"].as_str()?.to_owned(), figure))
        };
        Ok(items.iter().filter_map(of_pod).collect())
    }

    async fn of_pods(&self, namespace: &str, selector: &str, metric: &Value) -> Result<Figures, String> {
        let list = self.custom(namespace, "pods/*", metric, selector).await?;
        let items = items(&list).ok_or("no metrics returned from custom metrics API")?;
        let of_pod = |item: &Value| {
            let window = item["windowSeconds"].as_i64().map_or(WINDOW, SignedDuration::from_secs);
            let figure = Figure { value: milli(item["value"].as_str()?), at: moment(item), window };
            Some((item["describedObject"]["name"].as_str()?.to_owned(), figure))
        };
        Ok(items.iter().filter_map(of_pod).collect())
    }

    async fn of_object(&self, namespace: &str, metric: &Value, object: &Value) -> Result<i64, String> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let measured = async {
            // A namespace is asked for its own metrics; which one is said does not lead out of one's own.
            let place = if kind == "Namespace" && !text("apiVersion").contains('/') {
                "metrics".to_owned()
            } else {
                let resource = self.resource(object).await?;
                let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
                format!("{}{group}/{name}", resource.plural)
            };
            let list = self.custom(namespace, &place, metric, "").await?;
            let value = items(&list).and_then(|items| items[0]["value"].as_str());
            value.map(milli).ok_or_else(|| "no metrics returned from custom metrics API".to_owned())
        };
        let metric = metric["name"].as_str().unwrap_or_default();
        measured.await.map_err(|why| format!("unable to get metric {metric}: {why} on {kind} {namespace}/{name}"))
    }

    async fn custom(&self, namespace: &str, place: &str, metric: &Value, selector: &str) -> Result<Value, String> {
        let failed = |why: String| format!("unable to fetch metrics from custom metrics API: {why}");
        let group = self.get(&format!("/apis/{CUSTOM}"), &[], CUSTOM).await;
        let none = |_| failed(format!("no custom metrics API ({CUSTOM}) registered"));
        let group = group.map_err(none)?;
        let version = group["preferredVersion"]["version"].as_str().unwrap_or("v1beta2");
        let name = metric["name"].as_str().unwrap_or_default();
        let path = format!("/apis/{CUSTOM}/{version}/namespaces/{namespace}/{place}/{}", encoded(name));
        let of_metric = selector_of(metric)?;
        let query = [("labelSelector", selector), ("metricLabelSelector", &of_metric)];
        let resource = format!("{}.{CUSTOM}", place.split(['/', '.']).next().unwrap_or_default());
        self.get(&path, &query, &resource).await.map_err(failed)
    }

    async fn of_external(&self, namespace: &str, metric: &Value) -> Result<i64, String> {
        let name = metric["name"].as_str().unwrap_or_default();
        let measured = async {
            let path = format!("/apis/{EXTERNAL}/v1beta1/namespaces/{namespace}/{}", encoded(name));
            let query = [("labelSelector", &*selector_of(metric)?)];
            let list = self.get(&path, &query, &format!("{name}.{EXTERNAL}")).await;
            let list = list.map_err(|why| format!("unable to fetch metrics from external metrics API: {why}"))?;
            let items = items(&list).ok_or("no metrics returned from external metrics API")?;
            let values = items.iter().filter_map(|item| item["value"].as_str().map(milli));
            Ok(values.fold(0, i64::saturating_add))
        };
        let failed = |why: String| {
            let selector = if metric["selector"].is_null() { "nil".to_owned() } else { metric["selector"].to_string() };
            format!("unable to get external metric {namespace}/{name}/{selector}: {why}")
        };
        measured.await.map_err(failed)
    }

    /// One document; `resource` is how client-go calls what is not there.
    async fn get(&self, path: &str, query: &[(&str, &str)], resource: &str) -> Result<Value, String> {
        let mut uri = path.to_owned();
        for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let mark = if uri.contains('?') { '&' } else { '?' };
            let _infallible = write!(uri, "{mark}{key}={}", encoded(value));
        }
        let request = http::Request::get(&uri).body(Vec::new()).map_err(|error| error.to_string())?;
        self.context.client.request::<Value>(request).await.map_err(|error| match sentence(&error).to_string() {
            generic if is_status(&error, 404) && generic.starts_with("the server could not find") => {
                format!("{generic} (get {resource})")
            }
            said => said,
        })
    }
}

/// The items of a list that has some.
fn items(list: &Value) -> Option<&Vec<Value>> {
    list["items"].as_array().filter(|items| !items.is_empty())
}

fn moment(item: &Value) -> Timestamp {
    item["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Which of a metric's series are meant, as a query has it.
fn selector_of(metric: &Value) -> Result<String, String> {
    if metric["selector"].is_null() {
        return Ok(String::new());
    }
    let selector: LabelSelector =
        serde_json::from_value(metric["selector"].clone()).map_err(|error| error.to_string())?;
    Selector::try_from(selector).map(|selector| selector.to_string()).map_err(|error| sentence(&error).to_string())
}

/// As a part of a URI (RFC 3986): what is not reserved stays.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}
