//! The config map by which API servers behind this one know whom they may believe: clients by the cluster's authority, and users that a
//! front proxy names by the front proxy's.

use crate::caller::{FRONT_PROXY, FrontProxy};
use crate::registry::{Change, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Decoded;

/// Where they look.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// What it says: certificates are PEM, everything else is a list in JSON. This server comes to them as a front proxy that `own` vouches
/// for, with the usual headers, whomever else it believes itself.
pub(super) fn data(clients: &str, own: &str, believed: &FrontProxy) -> Value {
    let with = |own: &str, given: &[String]| {
        let mut all = given.to_vec();
        if !all.iter().any(|one| one.eq_ignore_ascii_case(own)) {
            all.push(own.to_owned());
        }
        json!(all).to_string()
    };
    let authorities = believed.authority.as_deref().map_or_else(|| own.to_owned(), |other| bundle(&[other, own]));
    // No name means every name; one of ours would make it one.
    let names = if believed.names.is_empty() { "[]".to_owned() } else { with(FRONT_PROXY, &believed.names) };
    json!({
        "client-ca-file": clients,
        "requestheader-client-ca-file": authorities,
        "requestheader-allowed-names": names,
        "requestheader-username-headers": with("X-Remote-User", &believed.user),
        "requestheader-uid-headers": with("X-Remote-Uid", &believed.uid),
        "requestheader-group-headers": with("X-Remote-Group", &believed.group),
        "requestheader-extra-headers-prefix": with("X-Remote-Extra-", &believed.extra_prefix),
    })
}

/// Certificates one after another.
pub(super) fn bundle(all: &[&str]) -> String {
    all.iter().map(|one| format!("{}\n", one.trim_end())).collect()
}

/// Makes it, or corrects it; what else it holds stays.
pub(super) async fn publish(registry: &Registry, data: &Value) -> Result<(), Status> {
    let target = Target { resource: built_in("", "configmaps")?, namespace: NAMESPACE, name: NAME };
    let filled = |current: &Value| {
        let mut next = current.clone();
        for (key, value) in data.as_object().into_iter().flatten() {
            next["data"][key] = value.clone();
        }
        next
    };
    let change = Change::of_present(|current| Ok(Decoded { object: filled(current), warnings: Vec::new() }));
    match registry.write(&Request::own("update", &target), &change).await {
        Err(status) if status.reason == "NotFound" => {}
        other => return other.map(drop),
    }
    let object =
        filled(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}}));
    let draft = Decoded { object, warnings: Vec::new() };
    match registry.create(&Request::own("create", &target), draft).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_behind_this_one_believe_it_and_whom_it_believes() {
        let usual = data("clients", "own", &FrontProxy::default());
        assert_eq!(usual["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(usual["requestheader-client-ca-file"], "own");
        let other = FrontProxy {
            authority: Some("other\n".to_owned()),
            names: vec!["proxy".to_owned()],
            user: vec!["X-User".to_owned()],
            ..FrontProxy::default()
        };
        let both = data("clients", "own\n", &other);
        assert_eq!(both["requestheader-client-ca-file"], "other\nown\n");
        assert_eq!(both["requestheader-allowed-names"], r#"["proxy","front-proxy-client"]"#);
        assert_eq!(both["requestheader-username-headers"], r#"["X-User","X-Remote-User"]"#);
        let any = data("clients", "own", &FrontProxy { names: Vec::new(), ..other });
        assert_eq!(any["requestheader-allowed-names"], "[]");
    }
}
