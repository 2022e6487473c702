//! Connections to what runs (exec, attach, port-forward, what is asked of pods, services and nodes): admission is asked before they are
//! made, with what they are to do as an object (`v1` PodExecOptions and its siblings).

use crate::admission::Operation;
use crate::registry::Registry;
use crate::request::Request;
use crate::status::Status;
use serde_json::{Map, Value};

/// Asks admission about the connection that `request` asks for; `beyond` is the path behind `/proxy`.
///
/// # Errors
/// Admission refuses it.
pub(crate) async fn admit(
    registry: &Registry,
    request: &Request,
    said: &[(String, String)],
    beyond: &str,
) -> Result<(), Status> {
    let options = options(request, said, beyond);
    registry.admit(request, Operation::Connect, options).await.map(drop)
}

fn options(request: &Request, said: &[(String, String)], beyond: &str) -> Value {
    let mut options = Map::new();
    let all = |name: &'static str| said.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str());
    if let Some(part) = request.resource.subresource(&request.part) {
        let api_version =
            if part.group.is_empty() { part.version.to_string() } else { format!("{}/{}", part.group, part.version) };
        options.insert("kind".to_owned(), (&*part.kind).into());
        options.insert("apiVersion".to_owned(), api_version.into());
    }
    match &*request.part {
        "proxy" if !beyond.is_empty() => drop(options.insert("path".to_owned(), beyond.into())),
        "proxy" => {}
        "portforward" => {
            let ports: Vec<Value> = all("ports").filter_map(|port| port.parse::<i64>().ok()).map(Value::from).collect();
            if !ports.is_empty() {
                options.insert("ports".to_owned(), ports.into());
            }
        }
        _ => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if all(flag).next().is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false")) {
                    options.insert(flag.to_owned(), true.into());
                }
            }
            if let Some(container) = all("container").next().filter(|name| !name.is_empty()) {
                options.insert("container".to_owned(), container.into());
            }
            let command: Vec<Value> = all("command").map(Value::from).collect();
            if !command.is_empty() {
                options.insert("command".to_owned(), command.into());
            }
        }
    }
    options.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Target;
    use serde_json::json;

    #[test]
    fn what_a_connection_is_to_do_is_an_object() {
        let resource = skiff_schema::find("", "v1", "pods").expect("served");
        let of = |part: &str, said: &[(&str, &str)], beyond: &str| {
            let request = Request::own("create", &Target { resource, namespace: "a", name: "p" }).of_part(part);
            let said: Vec<_> = said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            options(&request, &said, beyond)
        };
        assert_eq!(
            of(
                "exec",
                &[("command", "sh"), ("command", "-c"), ("stdin", "true"), ("tty", "0"), ("container", "c")],
                ""
            ),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "container": "c"})
        );
        assert_eq!(
            of("portforward", &[("ports", "80"), ("ports", "x")], ""),
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]})
        );
        assert_eq!(of("proxy", &[], "/a"), json!({"kind": "PodProxyOptions", "apiVersion": "v1", "path": "/a"}));
    }
}
