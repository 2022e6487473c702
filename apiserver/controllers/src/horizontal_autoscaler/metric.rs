//! One metric of an autoscaler: what is asked for, and what the answer comes to, in the words of Kubernetes. Pure.

use super::count::{Figures, Proposal, Scaled, milli};
use serde_json::{Value, json};
use skiff_proto::quantity::Quantity;

/// Where a figure comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// What the pods use of a resource, or one of their containers.
    Resource { name: String, container: Option<String> },
    /// What pods say of themselves.
    Pods { metric: Value },
    /// What something else says.
    Object { metric: Value, object: Value },
    /// What somebody else says.
    External { metric: Value },
}

/// One metric of `spec.metrics`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) source: Source,
    target: Value,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Measured {
    Pods(Figures),
    /// In thousandths.
    Value(i64),
}

/// What a metric comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) replicas: i32,
    /// As events and conditions call it.
    pub(super) name: String,
    /// For `status.currentMetrics`.
    pub(super) status: Value,
}

/// Why a metric comes to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failed {
    /// Of the condition and of the event.
    pub(super) reason: &'static str,
    pub(super) why: String,
    /// The same as all metrics together are told of.
    pub(super) summary: String,
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Metric {
    /// Reads one; `None`: it is of a type that there is not.
    pub(crate) fn read(metric: &Value) -> Option<Self> {
        let of = |field: &str| &metric[field];
        let (body, source) = match metric["type"].as_str()? {
            "Resource" => {
                let body = of("resource");
                (body, Source::Resource { name: owned(&body["name"]), container: None })
            }
            "ContainerResource" => {
                let body = of("containerResource");
                let container = Some(owned(&body["container"]));
                (body, Source::Resource { name: owned(&body["name"]), container })
            }
            "Pods" => (of("pods"), Source::Pods { metric: of("pods")["metric"].clone() }),
            "Object" => {
                let body = of("object");
                let (metric, object) = (body["metric"].clone(), body["describedObject"].clone());
                (body, Source::Object { metric, object })
            }
            "External" => (of("external"), Source::External { metric: of("external")["metric"].clone() }),
            _ => return None,
        };
        Some(Self { source, target: body["target"].clone() })
    }

    fn target(&self, field: &str) -> Option<i64> {
        let value = &self.target[field];
        value.as_str().map(milli).or_else(|| value.as_i64().map(|whole| whole.saturating_mul(1000)))
    }

    /// What the answer comes to.
    pub(super) fn found(&self, measured: Result<Measured, String>, scaled: &Scaled<'_>) -> Result<Found, Failed> {
        let found = match &self.source {
            Source::Resource { name, container } => self.of_resource(name, container.as_deref(), measured, scaled),
            Source::Pods { metric } => self.of_pods(metric, measured, scaled),
            Source::Object { metric, object } => self.of_object(metric, object, measured, scaled),
            Source::External { metric } => self.of_external(metric, measured, scaled),
        };
        found.map_err(|why| self.failed(why))
    }

    /// Why nothing came of it.
    pub(super) fn failed(&self, why: String) -> Failed {
        let (reason, what) = match &self.source {
            Source::Resource { name, container: None } => {
                ("FailedGetResourceMetric", format!("{name} resource metric value"))
            }
            Source::Resource { container: Some(container), .. } => {
                ("FailedGetContainerResourceMetric", format!("{container} container metric value"))
            }
            Source::Pods { .. } => ("FailedGetPodsMetric", "pods metric value".to_owned()),
            Source::Object { .. } => ("FailedGetObjectMetric", "object metric value".to_owned()),
            Source::External { metric } => {
                ("FailedGetExternalMetric", format!("{} external metric value", owned(&metric["name"])))
            }
        };
        Failed { reason, summary: format!("failed to get {what}: {why}"), why }
    }

    fn of_resource(
        &self,
        name: &str,
        container: Option<&str>,
        measured: Result<Measured, String>,
        scaled: &Scaled<'_>,
    ) -> Result<Found, String> {
        let figures = figures(measured).map_err(|why| format!("unable to get metrics for resource {name}: {why}"));
        let (proposal, called, current) = if let Some(target) = self.target("averageValue") {
            let found = figures.and_then(|figures| scaled.by_average(&figures, name, target));
            let proposal = found.map_err(|why| format!("failed to get {name} usage: {why}"))?;
            (proposal, format!("{name} resource"), json!({"averageValue": quantity(name, proposal.average)}))
        } else {
            let target = self.target["averageUtilization"].as_i64().and_then(|target| i32::try_from(target).ok());
            let target = target.ok_or(
                "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set",
            )?;
            let found = figures.and_then(|figures| scaled.by_utilization(&figures, (name, container), target));
            let proposal = found.map_err(|why| format!("failed to get {name} utilization: {why}"))?;
            let of = if container.is_some() { "container resource" } else { "resource" };
            let current =
                json!({"averageUtilization": proposal.utilization, "averageValue": quantity(name, proposal.average)});
            (proposal, format!("{name} {of} utilization (percentage of request)"), current)
        };
        let status = match container {
            None => json!({"type": "Resource", "resource": {"name": name, "current": current}}),
            Some(container) => json!({"type": "ContainerResource",
                "containerResource": {"name": name, "container": container, "current": current}}),
        };
        Ok(Found { replicas: proposal.replicas, name: called, status })
    }

    fn of_pods(
        &self,
        metric: &Value,
        measured: Result<Measured, String>,
        scaled: &Scaled<'_>,
    ) -> Result<Found, String> {
        let name = owned(&metric["name"]);
        let figures = figures(measured).map_err(|why| format!("unable to get metric {name}: {why}"))?;
        let Proposal { replicas, average, .. } =
            scaled.by_average(&figures, "", self.target("averageValue").unwrap_or_default())?;
        let current = json!({"averageValue": quantity("", average)});
        let status = json!({"type": "Pods", "pods": {"metric": metric, "current": current}});
        Ok(Found { replicas, name: format!("pods metric {name}"), status })
    }

    fn of_object(
        &self,
        metric: &Value,
        object: &Value,
        measured: Result<Measured, String>,
        scaled: &Scaled<'_>,
    ) -> Result<Found, String> {
        let name = owned(&metric["name"]);
        let status = |current: Value| json!({"type": "Object", "object": {"metric": metric, "describedObject": object, "current": current}});
        if let Some(target) = self.target("value").filter(|_| self.target["type"] == "Value") {
            let usage = value(measured)?;
            let replicas = scaled.by_value(usage, target)?;
            let called = format!("{} metric {name}", owned(&object["kind"]));
            return Ok(Found { replicas, name: called, status: status(json!({"value": quantity("", usage)})) });
        }
        let target = self.target("averageValue").filter(|_| self.target["type"] == "AverageValue");
        let target =
            target.ok_or("invalid object metric source: neither a value target nor an average value target was set")?;
        by_part("object", metric, (measured, target), scaled, status)
    }

    fn of_external(
        &self,
        metric: &Value,
        measured: Result<Measured, String>,
        scaled: &Scaled<'_>,
    ) -> Result<Found, String> {
        let name = owned(&metric["name"]);
        let status = |current: Value| json!({"type": "External", "external": {"metric": metric, "current": current}});
        if let Some(target) = self.target("averageValue") {
            return by_part("external", metric, (measured, target), scaled, status);
        }
        let target = self.target("value");
        let target = target
            .ok_or("invalid external metric source: neither a value target nor an average value target was set")?;
        let usage = value(measured).and_then(|usage| Ok((scaled.by_value(usage, target)?, usage)));
        let (replicas, usage) = usage.map_err(|why| format!("failed to get external metric {name}: {why}"))?;
        let status = status(json!({"value": quantity("", usage)}));
        Ok(Found { replicas, name: described("external", metric), status })
    }
}

/// What one figure of all pods together asks for, each being meant to have `target` of it. Kubernetes calls those of objects external too.
fn by_part(
    what: &str,
    metric: &Value,
    (measured, target): (Result<Measured, String>, i64),
    scaled: &Scaled<'_>,
    status: impl FnOnce(Value) -> Value,
) -> Result<Found, String> {
    let usage =
        value(measured).map_err(|why| format!("failed to get {} {what} metric: {why}", owned(&metric["name"])))?;
    let (replicas, part) = scaled.by_part(usage, target);
    let status = status(json!({"averageValue": quantity("", part)}));
    Ok(Found { replicas, name: described("external", metric), status })
}

/// A metric with its selector, as Kubernetes prints both.
fn described(kind: &str, metric: &Value) -> String {
    let selector = match &metric["selector"] {
        Value::Null => "nil".to_owned(),
        selector => selector.to_string(),
    };
    format!("{kind} metric {}({selector})", owned(&metric["name"]))
}

fn figures(measured: Result<Measured, String>) -> Result<Figures, String> {
    match measured? {
        Measured::Pods(figures) => Ok(figures),
        Measured::Value(_) => Err("one value was measured and not one of each pod".to_owned()),
    }
}

fn value(measured: Result<Measured, String>) -> Result<i64, String> {
    match measured? {
        Measured::Value(value) => Ok(value),
        Measured::Pods(_) => Err("pods were measured and not one value".to_owned()),
    }
}

/// Thousandths as a quantity; memory is told in powers of two.
fn quantity(resource: &str, milli: i64) -> String {
    let text = match resource {
        "memory" if milli % 1_024_000 == 0 => format!("{}Ki", milli / 1_024_000),
        // A number of bytes that is no multiple of 1,024 stays one: as a power of ten it would read as another unit.
        "memory" if milli % 1000 == 0 => return (milli / 1000).to_string(),
        _ => format!("{milli}m"),
    };
    Quantity::parse(&text).map_or(text, Quantity::canonical)
}
