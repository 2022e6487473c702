//! Which kubelet, and which of its paths (kubelet `/containerLogs`, `/exec`, `/attach`, `/portForward`).

use crate::options;
use crate::registry::{Registry, Target, built_in};
use crate::status::Status;
use axum::extract::Query;
use http::Uri;
use serde_json::Value;
use skiff_schema::FieldError;
use std::fmt::Write;

/// The port of kubelets that do not say theirs.
const KUBELET_PORT: u64 = 10250;

/// Where a pod runs.
#[derive(Debug)]
pub(crate) struct Place {
    pod: Value,
    /// `10.0.0.5:10250`
    pub(super) authority: String,
}

impl Place {
    /// Finds the kubelet of a pod.
    pub(super) async fn of(registry: &Registry, namespace: &str, name: &str) -> Result<Self, Status> {
        let pod = registry.get(&Target { resource: built_in("", "pods")?, namespace, name }).await?.value()?;
        let node_name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node_name.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let node = Target { resource: built_in("", "nodes")?, namespace: "", name: node_name };
        let node = registry.get(&node).await?.value()?;
        let authority = authority_of(&node).ok_or_else(|| {
            Status::internal(format!("no preferred addresses found; known addresses of {node_name}: none"))
        })?;
        Ok(Self { pod, authority })
    }

    fn containers(&self) -> Vec<&str> {
        let lists = ["containers", "initContainers", "ephemeralContainers"];
        let all = lists.iter().filter_map(|list| self.pod["spec"][list].as_array()).flatten();
        all.filter_map(|container| container["name"].as_str()).collect()
    }

    /// The container that `asked` names; empty: the only one, or the one that the pod calls its default.
    pub(super) fn container(&self, asked: &str) -> Result<String, Status> {
        let name = self.pod["metadata"]["name"].as_str().unwrap_or_default();
        let all = self.containers();
        if !asked.is_empty() {
            let unknown = || Status::bad_request(format!("container {asked} is not valid for pod {name}"));
            return all.contains(&asked).then(|| asked.to_owned()).ok_or_else(unknown);
        }
        let default = self.pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        let main = self.pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        match (default.filter(|default| all.contains(default)), main) {
            (Some(default), _) => Ok(default.to_owned()),
            (None, [only]) => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
            _ => Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            ))),
        }
    }
}

/// Where a node says that its kubelet listens.
pub(crate) fn authority_of(node: &Value) -> Option<String> {
    let addresses = node["status"]["addresses"].as_array()?;
    let of_kind = |kind: &str| addresses.iter().find(|address| address["type"] == kind)?["address"].as_str();
    let host = ["InternalIP", "Hostname"].iter().find_map(|kind| of_kind(kind))?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(KUBELET_PORT);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Status> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|Query(pairs)| pairs).map_err(|error| Status::bad_request(error.to_string()))
}

/// What of a log is wanted (`v1` PodLogOptions).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogQuery {
    pub(crate) container: String,
    /// As kubelet and clients spell them: `follow=true`, `tailLines=10`.
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl LogQuery {
    /// Reads the query of `pods/log`.
    pub(super) fn of(uri: &Uri) -> Result<Self, Status> {
        const KNOWN: [&str; 8] =
            ["follow", "previous", "timestamps", "tailLines", "sinceSeconds", "sinceTime", "limitBytes", "stream"];
        let mut query = Self::default();
        for (key, value) in pairs(uri)? {
            if key == "container" {
                query.container = value;
            } else if let Some(name) = KNOWN.iter().find(|name| **name == key) {
                query.parameters.push((name, value));
            }
        }
        query.check()?;
        Ok(query)
    }

    /// Refuses what no kubelet could make sense of.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let errors = self.errors()?;
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid_core("PodLogOptions", &errors)) }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// What Kubernetes' ValidatePodLogOptions would say.
    fn errors(&self) -> Result<Vec<FieldError>, Status> {
        let mut errors = Vec::new();
        for (name, least, rule) in [
            ("tailLines", 0, "must be greater than or equal to 0"),
            ("limitBytes", 1, "must be greater than 0"),
            ("sinceSeconds", 1, "must be greater than 0"),
        ] {
            let Some(text) = self.text(name) else { continue };
            let number: i64 =
                text.parse().map_err(|_| Status::bad_request(format!("invalid {name}: {text:?} is not a number")))?;
            if number < least {
                errors.push(options::invalid(name, number.into(), rule));
            }
        }
        if self.text("sinceSeconds").is_some() && self.text("sinceTime").is_some() {
            errors.push(options::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        match self.text("stream") {
            None | Some("All") => {}
            Some("Stdout" | "Stderr") if self.text("tailLines").is_none() => {}
            Some("Stdout" | "Stderr") => {
                errors.push(options::forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now"));
            }
            Some(other) => errors.push(options::not_supported("stream", other.into(), &["All", "Stdout", "Stderr"])),
        }
        Ok(errors)
    }
}

/// The kubelet's path for a log.
pub(crate) fn log_path(namespace: &str, pod: &str, container: &str, query: &LogQuery) -> String {
    let path = format!("/containerLogs/{}/{}/{}", encode(namespace), encode(pod), encode(container));
    with_query(path, query.parameters.iter().map(|(key, value)| (*key, value.as_str())))
}

/// The kubelet's path for exec, attach or port-forward. The kubelet spells the streams otherwise than PodExecOptions does.
pub(super) fn stream_path(
    place: &Place,
    namespace: &str,
    pod: &str,
    subresource: &str,
    uri: &Uri,
) -> Result<String, Status> {
    let given = pairs(uri)?;
    if subresource == "portforward" {
        let ports = given.iter().filter(|(key, _)| key == "ports" || key == "port");
        let path = format!("/portForward/{}/{}", encode(namespace), encode(pod));
        return Ok(with_query(path, ports.map(|(_, value)| ("port", value.as_str()))));
    }
    let first = |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let text = |name: &str| first(name).unwrap_or_default();
    // As everywhere in Kubernetes, what is there and doesn't say no says yes.
    let said = |name: &str| first(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"));
    let container = place.container(text("container"))?;
    let commands: Vec<(&str, &str)> =
        given.iter().filter(|(key, _)| key == "command").map(|(_, value)| ("command", value.as_str())).collect();
    if subresource == "exec" && commands.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let streams = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let streams: Vec<(&str, &str)> =
        streams.iter().filter(|(ours, _)| said(ours)).map(|(_, theirs)| (*theirs, "1")).collect();
    if streams.iter().all(|(name, _)| *name == "tty") {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let path = format!("/{subresource}/{}/{}/{}", encode(namespace), encode(pod), encode(&container));
    Ok(with_query(path, commands.into_iter().chain(streams)))
}

pub(super) fn with_query<'a>(mut path: String, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    for (index, (key, value)) in pairs.enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        path.push_str(&format!("{separator}{key}={}", encode(value)));
    }
    path
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::{Meaning, Place as Said};
    use serde_json::json;

    fn place(containers: Value) -> Place {
        Place { pod: json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}), authority: String::new() }
    }

    fn path(subresource: &str, query: &str) -> Result<String, Status> {
        let uri: Uri = format!("/x?{query}").parse().expect("a uri");
        stream_path(&place(json!([{"name": "c"}])), "ns", "p", subresource, &uri)
    }

    #[test]
    fn streams_are_translated_to_the_kubelets_words() {
        assert_eq!(
            path("exec", "command=sh&command=-c&command=a%20%26+b&container=c&stdin=true&stdout=true&tty=true"),
            Ok("/exec/ns/p/c?command=sh&command=-c&command=a%20%26%20b&input=1&output=1&tty=1".to_owned())
        );
        assert_eq!(path("attach", "stderr=true&stdout=false"), Ok("/attach/ns/p/c?error=1".to_owned()));
        assert_eq!(path("portforward", ""), Ok("/portForward/ns/p".to_owned()));
        assert_eq!(path("portforward", "ports=80"), Ok("/portForward/ns/p?port=80".to_owned()));
    }

    /// Fault N4: every parameter of logs and streams that `asked.rs` lists is passed on, or is not, as its row says.
    #[test]
    fn what_is_asked_of_a_kubelet_is_in_its_path() {
        let containers = json!([{"name": "c"}, {"name": "c2"}]);
        let outcome = |verb: &str, query: &str| {
            let uri: Uri = format!("/x?{query}").parse().expect("a uri");
            match verb {
                "log" => LogQuery::of(&uri).map(|query| log_path("ns", "p", &query.container, &query)),
                verb => stream_path(&place(containers.clone()), "ns", "p", verb, &uri),
            }
        };
        let mut walked = 0;
        for row in crate::asked::rows().filter(|row| row.place == Said::Query) {
            for verb in row.verbs.iter().filter(|verb| ["log", "exec", "attach", "portforward"].contains(verb)) {
                let given: Vec<&str> = match *verb {
                    "exec" => vec!["container=c", "command=sh", "stdout=true"],
                    "attach" => vec!["container=c", "stdout=true"],
                    _ => Vec::new(),
                };
                let rest: Vec<&str> =
                    given.iter().filter(|pair| !pair.starts_with(&format!("{}=", row.name))).copied().collect();
                let with = [rest, vec![&format!("{}={}", row.name, row.example)]].concat().join("&");
                let differs = outcome(verb, &given.join("&")) != outcome(verb, &with);
                assert_eq!(differs, row.meaning == Meaning::Honoured, "{verb} with {with}");
                walked += 1;
            }
        }
        assert!(walked > 15, "{walked} rows");
    }

    #[test]
    fn options_of_logs_are_checked() {
        let check = |query: &str| {
            let uri: Uri = format!("/x?{query}").parse().expect("a uri");
            LogQuery::of(&uri).map(drop).map_err(|status| (status.code.as_u16(), status.message))
        };
        for (query, code, sentence) in [
            ("tailLines=x", 400, "invalid tailLines: \"x\" is not a number"),
            (
                "tailLines=-1",
                422,
                "PodLogOptions \"\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "limitBytes=0",
                422,
                "PodLogOptions \"\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
            ),
            (
                "stream=Both",
                422,
                "PodLogOptions \"\" is invalid: stream: Unsupported value: \"Both\": supported values: \"All\", \"Stdout\", \"Stderr\"",
            ),
        ] {
            assert_eq!(check(query), Err((code, sentence.to_owned())), "{query}");
        }
        assert!(check("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z").is_err());
        assert!(check("stream=Stdout&tailLines=1").is_err());
        assert_eq!(check("stream=Stdout&sinceSeconds=1&limitBytes=1&follow=true&nonsense=1"), Ok(()));
    }

    #[test]
    fn incomplete_requests_are_refused() {
        assert!(path("exec", "stdout=true").is_err());
        assert!(path("exec", "command=ls").is_err());
        assert!(path("exec", "command=ls&stdout=true&container=other").is_err());
    }

    #[test]
    fn a_pod_with_several_containers_wants_a_choice() {
        let error = place(json!([{"name": "c"}, {"name": "d"}])).container("").expect_err("ambiguous");
        assert_eq!(error.message, "a container name must be specified for pod p, choose one of: [c d]");
    }

    #[test]
    fn nodes_say_where_their_kubelet_is() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.5"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 4321}}}});
        assert_eq!(authority_of(&node).as_deref(), Some("10.0.0.5:4321"));
        assert_eq!(authority_of(&json!({})), None);
    }
}
