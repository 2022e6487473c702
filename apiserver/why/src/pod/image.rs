//! Images that do not come.

use super::containers::Case;
use super::{events_about, last_time, times, whom};
use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{list, number, text};
use crate::node::same_image;
use crate::paths;
use crate::words::{ago, bytes, clipped, listed, moment, sentence, time};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::SignedDuration;
use serde_json::Value;

/// Delays between pulls: Kubernetes' first and longest, seconds.
const DELAY: (i64, i64) = (10, 300);

/// Whether `reason` is one of those with which images are waited for.
pub(super) fn is_about(reason: &str) -> bool {
    const REASONS: [&str; 8] = [
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "ImageNotReady",
    ];
    REASONS.contains(&reason)
}

/// The registry of a reference: what stands before the first slash if it is a host, Docker's otherwise.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// What an answer amounts to, by words that registries, TLS and resolvers use; and what helps.
const KINDS: &[(&[&str], &str, &str)] = &[
    (&["no space left"], "there is no space left on the node", "Make room on the node's filesystem of images."),
    (
        &["x509", "certificate", "tls:", "handshake", "https client"],
        "TLS failed",
        "Give the node the registry's authority, or use the name that its certificate has.",
    ),
    (
        &["no such host", "name resolution", "resolve", "dns error", "lookup"],
        "the registry's name does not resolve",
        "Check the name of the registry, and the resolver of the node (/etc/resolv.conf).",
    ),
    (
        &["connection refused", "no route to host", "network is unreachable"],
        "nobody answers at the registry",
        "Check the registry's address, and the node's way to it.",
    ),
    (
        &["timeout", "timed out", "deadline"],
        "the registry did not answer in time",
        "Check the node's way to the registry: proxy, firewall, MTU.",
    ),
    (
        &["429", "toomanyrequests", "too many requests", "rate limit"],
        "the registry answered 429: too many pulls",
        "Wait, or pull with credentials, or by a mirror.",
    ),
    (
        &["401", "unauthorized", "authentication required"],
        "the registry answered 401: it wants other credentials",
        "Name a secret with credentials for this registry in spec.imagePullSecrets.",
    ),
    (
        &["403", "forbidden", "denied"],
        "the registry answered 403: the image does not exist or these credentials may not have it",
        "Check the image's name, and the rights of the credentials.",
    ),
    (
        &["404", "not found", "manifest unknown", "name unknown", "does not exist"],
        "the registry answered 404: there is no such image or tag",
        "Check the image's name and tag.",
    ),
    (&["500", "502", "503", "504"], "the registry failed", "Wait until the registry works again."),
    (
        &["no match for platform", "no matching manifest", "architecture"],
        "there is no such image for this architecture",
        "Use an image that was built for the node's architecture.",
    ),
    (
        &["not implemented", "unimplemented", "cannot pull", "no registry"],
        "this node cannot pull it",
        "Import it on the node: skiff image import FILE.",
    ),
];

fn kind(message: &str) -> Option<(&'static str, &'static str)> {
    let message = message.to_lowercase();
    KINDS
        .iter()
        .find(|(words, ..)| words.iter().any(|word| message.contains(word)))
        .map(|(_, what, advice)| (*what, *advice))
}

/// Why the image of a container does not come.
pub(super) fn finding(case: &Case<'_>, reason: &str, message: &str) -> Finding {
    let image = text(case.spec, "/image");
    if reason == "InvalidImageName" {
        return case
            .finding("InvalidImageName", format!("{image:?} is no name of an image: {}", sentence(message)))
            .advice("Write it as HOST/PATH:TAG, in small letters.");
    }
    if reason == "ErrImageNeverPull" {
        let cause = format!(
            "The image {image} is not on node {}, and imagePullPolicy is Never.",
            text(case.pod, "/spec/nodeName")
        );
        return case.finding("ImageNeverPulled", cause).advice(import(image));
    }
    let said = last_failure(case).unwrap_or(message);
    let (what, advice) = kind(said).unwrap_or(("it failed", ""));
    let cause = format!("The image {image} cannot be pulled from {}: {what}.", registry(image));
    let finding = case
        .finding("ImagePull", cause)
        .fact(format!("The answer was: {}", sentence(&clipped(said, 500))))
        .fact(credentials(case, registry(image)))
        .fact(next_try(case));
    let finding = if advice.is_empty() { finding } else { finding.advice(advice) };
    match present(case, image) {
        Some(there) => {
            finding.fact(there).advice("Set imagePullPolicy: IfNotPresent, or give the image a tag that is not latest.")
        }
        None if image.contains("localhost") || text(case.spec, "/imagePullPolicy") == "Always" || latest(image) => {
            finding.advice(import(image))
        }
        None => finding,
    }
}

fn import(image: &str) -> String {
    format!(
        "If it was built on another machine or by another program, bring it to the node: docker save {image} -o image.tar; skiff image import image.tar"
    )
}

fn latest(image: &str) -> bool {
    image.rsplit('/').next().is_some_and(|last| last.ends_with(":latest") || !last.contains([':', '@']))
}

/// That the image is on the node already and was asked for all the same.
fn present(case: &Case<'_>, image: &str) -> Option<String> {
    let named = text(case.pod, "/spec/nodeName");
    let node = case.facts.get(&paths::global("nodes", named)).is()?;
    let here = list(node, "/status/images")
        .iter()
        .find(|one| list(one, "/names").iter().filter_map(Value::as_str).any(|name| same_image(image, name)))?;
    let size = number(here, "/sizeBytes").map(|size| format!(" ({})", bytes(size))).unwrap_or_default();
    let because = if latest(image) { " (the default for the tag latest)" } else { "" };
    (text(case.spec, "/imagePullPolicy") == "Always")
        .then(|| format!("The image is on node {named} already{size}, but the registry was asked because imagePullPolicy is Always{because}."))
}

fn of_container<'a>(case: &Case<'a>, reason: &str) -> Option<&'a Value> {
    let field = format!("{{{}}}", case.name);
    events_about(case.facts, case.pod).into_iter().find(|event| {
        text(event, "/reason") == reason
            && text(event, "/involvedObject/fieldPath").ends_with(&field)
            && (reason != "Failed" || text(event, "/message").contains("pull"))
    })
}

/// What the last pull said; a waiting container only says that it waits.
fn last_failure<'a>(case: &Case<'a>) -> Option<&'a str> {
    of_container(case, "Failed")
        .map(|event| text(event, "/message"))
        .filter(|message| message.len() > "Error: ImagePullBackOff".len())
}

/// Which credentials there were.
fn credentials(case: &Case<'_>, registry: &str) -> String {
    let namespace = text(case.pod, "/metadata/namespace");
    let secrets = list(case.pod, "/spec/imagePullSecrets").iter().map(|one| text(one, "/name"));
    let told: Vec<String> = secrets
        .map(|secret| match case.facts.get(&paths::one(namespace, "secrets", secret)) {
            Look::Absent => format!("the secret {secret}, which does not exist"),
            Look::Unknown => format!("the secret {secret}, which could not be looked at"),
            Look::Is(found) => match hosts(found) {
                Some(hosts) if hosts.iter().any(|host| host.contains(registry)) => {
                    format!("those of the secret {secret}")
                }
                Some(hosts) => format!("the secret {secret}, which is for {} and not for {registry}", listed(&hosts)),
                None => format!(
                    "the secret {secret}, which holds no credentials that can be read (type {})",
                    text(found, "/type")
                ),
            },
        })
        .collect();
    if told.is_empty() {
        "No credentials were named (spec.imagePullSecrets is empty).".to_owned()
    } else {
        format!("Credentials that were named: {}.", listed(&told))
    }
}

/// The registries that a secret has credentials for.
fn hosts(secret: &Value) -> Option<Vec<String>> {
    let data = text(secret, "/data/.dockerconfigjson");
    let (data, whole) = if data.is_empty() { (text(secret, "/data/.dockercfg"), false) } else { (data, true) };
    let config: Value = serde_json::from_slice(&BASE64.decode(data).ok()?).ok()?;
    let auths = if whole { config.get("auths")? } else { &config };
    Some(auths.as_object()?.keys().cloned().collect())
}

/// When the next pull is due, by Kubernetes' delays.
fn next_try(case: &Case<'_>) -> String {
    let Some((pulling, failed)) = of_container(case, "Pulling").zip(of_container(case, "Failed")) else {
        return String::new();
    };
    let tries = number(pulling, "/count").unwrap_or(1).clamp(1, 10);
    let delay = DELAY.0.saturating_mul(1 << (tries - 1)).min(DELAY.1);
    let due = time(last_time(failed)).and_then(|at| at.checked_add(SignedDuration::from_secs(delay)).ok());
    let due = due.map(|at| {
        format!("; the next try is due at about {}, after a back-off of {delay}s", moment(case.facts.now, at))
    });
    format!("It was tried {}{}.", times(case.facts, pulling), due.unwrap_or_default())
}

/// A pull that is going on.
pub(super) fn under_way(facts: &Facts, pod: &Value) -> Option<Finding> {
    let events = events_about(facts, pod);
    let last =
        events.iter().find(|event| matches!(text(event, "/reason"), "Pulling" | "Pulled" | "Failed" | "BackOff"))?;
    if text(last, "/reason") != "Pulling" {
        return None;
    }
    let age = ago(facts.now, last_time(last));
    let image = text(last, "/message").split('"').nth(1).unwrap_or("its image");
    Some(
        Finding::new(
            "Pulling",
            whom(pod),
            format!("The image {image} is being pulled from {} since {age}.", registry(image)),
        )
        .advice("Wait; how far it is is not told by kubelets."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_registries_are_told_apart() {
        let what = |message: &str| kind(message).map_or("", |(what, _)| what);
        assert!(what("unexpected status code 401 Unauthorized").contains("401"));
        assert!(what("tls: failed to verify certificate: x509: unknown authority").contains("TLS"));
        assert!(what("dial tcp: lookup reg: no such host").contains("resolve"));
        assert_eq!(
            ["nginx", "a/b", "localhost/x", "h:5000/x"].map(registry),
            ["docker.io", "docker.io", "localhost", "h:5000"]
        );
        assert!(latest("h:5000/a") && latest("a:latest") && !latest("a:1") && !latest("a@sha256:0"));
    }
}
