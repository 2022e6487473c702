//! `/apis/metrics.k8s.io/v1beta1`: what nodes and pods use, where no other server answers for it.

use super::deadline::within;
use super::negotiate::Shape;
use super::options::Parameters;
use super::respond::{Style, partial, plain};
use crate::aggregation::may;
use crate::app::App;
use crate::metrics::{self, GROUP, Wanted};
use crate::status::Status;
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::Value;
use std::sync::Arc;

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked<'a> {
    /// What is served.
    Resources,
    /// One node, or all.
    Nodes(&'a str),
    /// One pod of a namespace, all of it, or all.
    Pods(&'a str, &'a str),
}

fn asked<'a>(segments: &[&'a str]) -> Option<Asked<'a>> {
    // Names of nodes, pods and namespaces have no letter that is written otherwise in a path.
    match *segments.get(3..)? {
        [] => Some(Asked::Resources),
        ["nodes"] => Some(Asked::Nodes("")),
        ["nodes", name] => Some(Asked::Nodes(name)),
        ["pods"] => Some(Asked::Pods("", "")),
        ["namespaces", namespace, "pods"] => Some(Asked::Pods(namespace, "")),
        ["namespaces", namespace, "pods", name] => Some(Asked::Pods(namespace, name)),
        _ => None,
    }
}

pub(super) async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Status> {
    may(request.method(), request.uri(), request.extensions()).await?;
    let parameters = Parameters::of(request.uri())?;
    let segments: Vec<&str> = request.uri().path().split('/').filter(|segment| !segment.is_empty()).collect();
    let asked = asked(&segments).ok_or_else(Status::no_such_path)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) || parameters.flag("watch") {
        return Err(Status::method_not_allowed());
    }
    let style = Style::of(request.headers(), &parameters, request.extensions())?;
    let mut said = Box::pin(said(app, asked, &parameters, style));
    within(&parameters, said.as_mut()).await
}

async fn said(app: &Arc<App>, asked: Asked<'_>, parameters: &Parameters, style: Style) -> Result<Response, Status> {
    let (namespace, name) = match asked {
        Asked::Resources => return plain(StatusCode::OK, style, &metrics::resources()),
        Asked::Nodes(name) => ("", name),
        Asked::Pods(namespace, name) => (namespace, name),
    };
    let of_list = |parameter| if name.is_empty() { parameters.text(parameter) } else { "" };
    let (labels, fields) = (of_list("labelSelector"), of_list("fieldSelector"));
    let wanted = Wanted { namespace, name, labels, fields };
    match asked {
        Asked::Nodes(_) => shown(style, "NodeMetrics", app.metrics.nodes(app, &wanted).await?, (name, name.to_owned())),
        _ => {
            let title = format!("{namespace}/{name}");
            shown(style, "PodMetrics", app.metrics.pods(app, &wanted).await?, (name, title))
        }
    }
}

/// One object if one was named, else a list.
fn shown(
    style: Style,
    kind: &'static str,
    mut found: Vec<Value>,
    (name, title): (&str, String),
) -> Result<Response, Status> {
    if !name.is_empty() && found.is_empty() {
        return Err(Status::none_of((GROUP, &kind.to_lowercase()), &title));
    }
    let value = match style.form.shape {
        Shape::Table(_) => metrics::table(&found),
        Shape::Metadata(version) if !name.is_empty() => partial(version, &found.remove(0)),
        Shape::Metadata(version) => {
            let mut list = metrics::list(kind, found.iter().map(|object| partial(version, object)).collect());
            (list["kind"], list["apiVersion"]) = ("PartialObjectMetadataList".into(), version.into());
            list
        }
        Shape::Whole if !name.is_empty() => found.remove(0),
        Shape::Whole => metrics::list(kind, found),
    };
    plain(StatusCode::OK, style, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let of = |path: &'static str| asked(&path.split('/').skip(1).filter(|one| !one.is_empty()).collect::<Vec<_>>());
        let base = "/apis/metrics.k8s.io/v1beta1";
        assert_eq!(of(base), Some(Asked::Resources));
        for (path, expected) in [
            ("/apis/metrics.k8s.io/v1beta1/nodes/a", Some(Asked::Nodes("a"))),
            ("/apis/metrics.k8s.io/v1beta1/pods", Some(Asked::Pods("", ""))),
            ("/apis/metrics.k8s.io/v1beta1/namespaces/n/pods", Some(Asked::Pods("n", ""))),
            ("/apis/metrics.k8s.io/v1beta1/namespaces/n/pods/p", Some(Asked::Pods("n", "p"))),
            ("/apis/metrics.k8s.io/v1beta1/namespaces/n/nodes", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
