//! Who is asked, and in which order: `--authorization-mode`, or a file (`apiserver.config.k8s.io` AuthorizationConfiguration).

use crate::objects::text;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a webhook may take.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Versions of the configuration that are read.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
/// Modes in the order in which Kubernetes lists them.
const MODES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const NO_ABAC: &str = "ABAC is not implemented: grant by roles instead (mode RBAC)";

/// What stands when a webhook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The next one is asked.
    NoOpinion,
    /// It is refused.
    Deny,
}

/// A server of others that is asked (`SubjectAccessReview`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Under which errors speak of it.
    pub name: String,
    /// How long a yes holds; `None`: it is asked each time.
    pub authorized_ttl: Option<Duration>,
    /// How long a no holds.
    pub unauthorized_ttl: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Of the review that is sent: `v1`, `v1beta1`.
    pub version: String,
    /// What stands when it does not answer.
    pub on_failure: OnFailure,
    /// Where it is, and who asks.
    pub kubeconfig: PathBuf,
    /// Expressions that must all hold of what it is asked; otherwise it has no opinion.
    pub conditions: Vec<String>,
}

/// One authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Says yes.
    AlwaysAllow,
    /// Says no.
    AlwaysDeny,
    /// Kubelets.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Others.
    Webhook(Box<Webhook>),
}

/// The chain that stands unless another one is asked for.
pub const DEFAULT: [Link; 2] = [Link::Node, Link::Rbac];

fn mode(name: &str) -> Option<Link> {
    Some(match name {
        "AlwaysAllow" => Link::AlwaysAllow,
        "AlwaysDeny" => Link::AlwaysDeny,
        "Node" => Link::Node,
        "RBAC" => Link::Rbac,
        _ => return None,
    })
}

/// Reads `--authorization-mode`: names with commas.
///
/// # Errors
/// A mode is unknown, stands there twice, or needs more than its name.
pub fn modes(list: &str) -> Result<Vec<Link>, String> {
    let mut links: Vec<Link> = Vec::new();
    for name in list.split(',') {
        let link = match name {
            "ABAC" => return Err(NO_ABAC.to_owned()),
            "Webhook" => return Err("mode Webhook: name the webhook in --authorization-config".to_owned()),
            name => {
                mode(name).ok_or_else(|| format!("{name:?} is not a valid mode; there are {}", MODES.join(", ")))?
            }
        };
        if links.contains(&link) {
            return Err(format!("{name:?} is there twice"));
        }
        links.push(link);
    }
    Ok(links)
}

/// Reads a configuration.
///
/// # Errors
/// All that is wrong with it, by field.
pub fn read(config: &Value) -> Result<Vec<Link>, Vec<String>> {
    let mut errors = Vec::new();
    let (version, kind) = (text(config, "apiVersion"), text(config, "kind"));
    if kind != "AuthorizationConfiguration" || !VERSIONS.contains(&version) {
        return Err(vec![format!("{version}, Kind={kind}: not an AuthorizationConfiguration of {}", VERSIONS[0])]);
    }
    let authorizers = config["authorizers"].as_array().cloned().unwrap_or_default();
    if authorizers.is_empty() {
        errors.push("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    let (mut links, mut types, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (index, one) in authorizers.iter().enumerate() {
        let path = format!("authorizers[{index}]");
        let (kind, name) = (text(one, "type"), text(one, "name"));
        match kind {
            "" => errors.push(format!("{path}.type: Required value")),
            "ABAC" => errors.push(format!("{path}.type: {NO_ABAC}")),
            kind if !MODES.contains(&kind) => errors.push(format!("{path}.type: Unsupported value: {kind:?}")),
            kind if kind != "Webhook" && types.contains(&kind) => {
                errors.push(format!("{path}.type: Duplicate value: {kind:?}"));
            }
            kind => {
                if name.is_empty() {
                    errors.push(format!("{path}.name: Required value"));
                } else if names.contains(&name) {
                    errors.push(format!("{path}.name: Duplicate value: {name:?}"));
                }
                types.push(kind);
                links.extend(link(&path, kind, one, &mut errors));
            }
        }
        names.push(name);
    }
    if errors.is_empty() { Ok(links) } else { Err(errors) }
}

fn link(path: &str, kind: &str, one: &Value, errors: &mut Vec<String>) -> Option<Link> {
    let hook = &one["webhook"];
    match (kind, hook.is_null()) {
        ("Webhook", true) => errors.push(format!("{path}.webhook: Required value: required when type=Webhook")),
        ("Webhook", false) => return Some(Link::Webhook(Box::new(webhook(path, text(one, "name"), hook, errors)))),
        (_, false) => errors.push(format!("{path}.webhook: Invalid value: may only be specified when type=Webhook")),
        (_, true) => return mode(kind),
    }
    None
}

fn webhook(path: &str, name: &str, hook: &Value, errors: &mut Vec<String>) -> Webhook {
    let timeout = span(path, hook, "timeout", errors);
    if timeout > TIMEOUT_MAX {
        errors.push(format!("{path}.timeout: Invalid value: {:?}: must be > 0s and <= 30s", text(hook, "timeout")));
    }
    let ttl = |span: Duration, cached: &str| (hook[cached] != false).then_some(span);
    let authorized = span(path, hook, "authorizedTTL", errors);
    let unauthorized = span(path, hook, "unauthorizedTTL", errors);
    let version = one_of(path, hook, "subjectAccessReviewVersion", &["v1", "v1beta1"], errors);
    let on_failure = match &*one_of(path, hook, "failurePolicy", &["NoOpinion", "Deny"], errors) {
        "Deny" => OnFailure::Deny,
        _ => OnFailure::NoOpinion,
    };
    let connection = &hook["connectionInfo"];
    let file = text(connection, "kubeConfigFile");
    match text(connection, "type") {
        "KubeConfigFile" if file.is_empty() => {
            errors.push(format!("{path}.connectionInfo.kubeConfigFile: Required value"))
        }
        "KubeConfigFile" if !file.starts_with('/') => errors
            .push(format!("{path}.connectionInfo.kubeConfigFile: Invalid value: {file:?}: must be an absolute path")),
        "KubeConfigFile" => {}
        "" => errors.push(format!("{path}.connectionInfo.type: Required value")),
        other => errors.push(format!(
            "{path}.connectionInfo.type: Unsupported value: {other:?}: supported values: \"KubeConfigFile\""
        )),
    }
    let conditions = conditions(path, hook, errors);
    Webhook {
        name: name.to_owned(),
        authorized_ttl: ttl(authorized, "cacheAuthorizedRequests"),
        unauthorized_ttl: ttl(unauthorized, "cacheUnauthorizedRequests"),
        timeout,
        version,
        on_failure,
        kubeconfig: file.into(),
        conditions,
    }
}

/// The expressions of `matchConditions`; what they mean is seen when they are compiled.
fn conditions(path: &str, hook: &Value, errors: &mut Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (index, condition) in hook["matchConditions"].as_array().into_iter().flatten().enumerate() {
        let (at, expression) = (format!("{path}.matchConditions[{index}].expression"), text(condition, "expression"));
        if expression.trim().is_empty() {
            errors.push(format!("{at}: Required value"));
        } else if found.iter().any(|other| other == expression) {
            errors.push(format!("{at}: Duplicate value: {expression:?}"));
        } else {
            found.push(expression.to_owned());
        }
    }
    found
}

fn one_of(path: &str, hook: &Value, field: &str, words: &[&str], errors: &mut Vec<String>) -> String {
    let word = text(hook, field);
    if word.is_empty() {
        errors.push(format!("{path}.{field}: Required value"));
    } else if !words.contains(&word) {
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        errors.push(format!("{path}.{field}: Unsupported value: {word:?}: supported values: {}", quoted.join(", ")));
    }
    word.to_owned()
}

fn span(path: &str, hook: &Value, field: &str, errors: &mut Vec<String>) -> Duration {
    let said = text(hook, field);
    let span = duration(said);
    match span {
        _ if said.is_empty() => errors.push(format!("{path}.{field}: Required value")),
        None => errors.push(format!("{path}.{field}: Invalid value: {said:?}: not a duration such as 3s or 5m30s")),
        Some(span) if span.is_zero() => errors.push(format!("{path}.{field}: Required value")),
        Some(_) => {}
    }
    span.unwrap_or_default()
}

/// As Go writes durations, without sign and fractions: `5m30s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let length = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        let one = match &unit[..length] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        sum = sum.checked_add(one)?;
        rest = &unit[length..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(authorizers: Value) -> Value {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers})
    }

    fn hook() -> Value {
        json!({"type": "Webhook", "name": "opa", "webhook": {"timeout": "3s", "authorizedTTL": "5m30s", "unauthorizedTTL": "30s",
            "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny", "cacheUnauthorizedRequests": false,
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/etc/opa"}}})
    }

    #[test]
    fn a_chain_is_read_in_its_order() {
        let links = read(&config(json!([{"type": "Node", "name": "node"}, hook(), {"type": "RBAC", "name": "rbac"}])));
        let [Link::Node, Link::Webhook(hook), Link::Rbac] = &links.expect("sound")[..] else { panic!("another order") };
        assert_eq!((hook.authorized_ttl, hook.unauthorized_ttl), (Some(Duration::from_secs(330)), None));
        assert_eq!((hook.timeout, hook.on_failure), (Duration::from_secs(3), OnFailure::Deny));
    }

    #[test]
    fn what_is_wrong_is_said_by_field() {
        let with = |pointer: &str, value: Value| {
            let mut hook = hook();
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            hook.pointer_mut(parent).expect("there")[field] = value;
            json!([hook])
        };
        for (authorizers, why) in [
            (json!([]), "authorizers: Required value"),
            (json!([{"name": "a"}]), "authorizers[0].type: Required value"),
            (json!([{"type": "X", "name": "a"}]), "authorizers[0].type: Unsupported value: \"X\""),
            (json!([{"type": "ABAC", "name": "a"}]), "ABAC is not implemented"),
            (
                json!([{"type": "RBAC", "name": "a"}, {"type": "RBAC", "name": "b"}]),
                "authorizers[1].type: Duplicate value",
            ),
            (
                json!([{"type": "RBAC", "name": "a"}, {"type": "Node", "name": "a"}]),
                "authorizers[1].name: Duplicate value",
            ),
            (json!([{"type": "RBAC"}]), "authorizers[0].name: Required value"),
            (json!([{"type": "Webhook", "name": "a"}]), "required when type=Webhook"),
            (with("/webhook/timeout", "31s".into()), "must be > 0s and <= 30s"),
            (with("/webhook/timeout", "".into()), "authorizers[0].timeout: Required value"),
            (with("/webhook/failurePolicy", "Fail".into()), "supported values: \"NoOpinion\", \"Deny\""),
            (
                with("/webhook/connectionInfo", json!({"type": "KubeConfigFile", "kubeConfigFile": "a"})),
                "must be an absolute path",
            ),
            (
                with("/webhook/connectionInfo", json!({"type": "InClusterConfig"})),
                "Unsupported value: \"InClusterConfig\"",
            ),
            (
                with("/webhook/matchConditions", json!([{"expression": " "}])),
                "matchConditions[0].expression: Required value",
            ),
            (
                with("/webhook/matchConditions", json!([{"expression": "true"}, {"expression": "true"}])),
                "matchConditions[1].expression: Duplicate value: \"true\"",
            ),
        ] {
            let errors = read(&config(authorizers)).expect_err(why);
            assert!(errors.iter().any(|error| error.contains(why)), "{errors:?} does not say {why}");
        }
        assert!(read(&json!({"kind": "x"})).is_err());
    }

    #[test]
    fn modes_are_names_with_commas() {
        assert_eq!(modes("Node,RBAC"), Ok(DEFAULT.to_vec()));
        for (list, why) in [
            ("RBAC,RBAC", "twice"),
            ("ABAC", "not implemented"),
            ("Webhook", "--authorization-config"),
            ("", "valid mode"),
        ] {
            assert!(modes(list).expect_err(why).contains(why), "{list}");
        }
    }
}
