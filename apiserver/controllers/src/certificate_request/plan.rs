//! What becomes of a request for a certificate.

use super::sign::{
    CLIENT_SIGNER, KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER, SERVER_SIGNER, kubelet_client, kubelet_serving,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use skiff_authn::certificate::{Request, ends};
use std::net::IpAddr;
use std::time::Duration;

/// How long a request stays after it was issued, denied, or has failed.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);
/// How long one stays about which nobody has said a word, or which was approved and not issued.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// How soon a node that lacks what a request names is looked at again while the request is young, and later.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(60);

/// When to look again at a node that lacks what `request` names.
pub(super) fn patience(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let made = request.metadata.creation_timestamp.as_ref().map_or(now, |made| made.0);
    if now.duration_since(made) < SignedDuration::from_secs(60) { SOON } else { LATER }
}

/// What an author needs so that a request is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Of a kubelet for itself.
    SelfNode,
    /// Of somebody else for a node.
    Node,
}

impl Permission {
    /// The part of `certificatesigningrequests` that they may create.
    pub(super) fn part(self) -> &'static str {
        match self {
            Self::SelfNode => "selfnodeclient",
            Self::Node => "nodeclient",
        }
    }

    /// What the approval says.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::SelfNode => "Auto approving self kubelet client certificate after SubjectAccessReview.",
            Self::Node => "Auto approving kubelet client certificate after SubjectAccessReview.",
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing; somebody else has to look at it.
    Nothing,
    /// Its time is over.
    Delete,
    /// Approve it, if its author has one of these permissions.
    Approve(&'static [Permission]),
    /// Approve it, if this node has what it names.
    ApproveServing(Serving),
    /// Sign it, or say why not.
    Sign,
}

/// What a kubelet that serves wants to be known by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Serving {
    pub(super) node: String,
    names: Vec<String>,
    ips: Vec<IpAddr>,
}

impl Serving {
    /// What the approval says.
    pub(super) const MESSAGE: &str =
        "Auto approving kubelet serving certificate for the names and addresses of its node.";

    /// What a request asks for, if a kubelet asks for itself.
    fn of(request: &CertificateSigningRequest, asked: Request) -> Option<Self> {
        let spec = &request.spec;
        let is_kubelet = spec.groups.iter().flatten().any(|group| group == "system:nodes");
        if !is_kubelet || spec.username.as_deref() != Some(asked.name.as_str()) || asked.ips.len() != asked.addresses {
            return None;
        }
        kubelet_serving(&asked, spec.usages.as_deref().unwrap_or_default()).ok()?;
        let node = asked.name.strip_prefix("system:node:")?.to_owned();
        Some(Self { node, names: asked.dns_names, ips: asked.ips })
    }

    /// Whether all of it is what the node says of itself.
    pub(super) fn belongs_to(&self, node: &Node) -> bool {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
        let has_name = |name: &String| {
            *name == self.node
                || addresses.iter().any(|one| {
                    ["Hostname", "InternalDNS", "ExternalDNS"].contains(&one.type_.as_str()) && one.address == *name
                })
        };
        let has_ip = |ip: &IpAddr| {
            addresses
                .iter()
                .any(|one| ["InternalIP", "ExternalIP"].contains(&one.type_.as_str()) && one.address.parse() == Ok(*ip))
        };
        self.names.iter().all(has_name) && self.ips.iter().all(has_ip)
    }
}

/// That, and in how long its time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) act: Act,
    pub(super) again: Option<SignedDuration>,
}

/// Decides it; `signs`: there is a signer.
pub(super) fn next(request: &CertificateSigningRequest, signs: bool, now: Timestamp) -> Next {
    let left = over(request).map(|at| at.duration_since(now));
    if left.is_some_and(|left| left.is_negative()) {
        return Next { act: Act::Delete, again: None };
    }
    // A time is over when it lies behind.
    Next { act: act(request, signs), again: left.map(|left| left + SignedDuration::from_secs(1)) }
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    request.status.iter().flat_map(|status| status.conditions.iter().flatten()).any(|it| it.type_ == kind)
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.map(|bytes| &bytes.0[..]).filter(|bytes| !bytes.is_empty())
}

/// When the time of a request is over.
fn over(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions: Vec<_> = request.status.iter().flat_map(|status| status.conditions.iter().flatten()).collect();
    let certificate = certificate(request);
    if conditions.is_empty() {
        return request.metadata.creation_timestamp.as_ref().and_then(|made| made.0.checked_add(PENDING).ok());
    }
    let after = conditions.iter().filter_map(|condition| {
        let limit = match (condition.type_.as_str(), certificate) {
            ("Denied" | "Failed", _) | ("Approved", Some(_)) => SETTLED,
            ("Approved", None) => PENDING,
            _ => return None,
        };
        condition.last_update_time.as_ref()?.0.checked_add(limit).ok()
    });
    let ended = certificate.filter(|_| has(request, "Approved")).and_then(ends);
    after.chain(ended.and_then(|at| Timestamp::from_second(at).ok())).min()
}

fn act(request: &CertificateSigningRequest, signs: bool) -> Act {
    let ours = [CLIENT_SIGNER, KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER, SERVER_SIGNER];
    let settled = certificate(request).is_some() || has(request, "Denied") || has(request, "Failed");
    if settled || !ours.contains(&request.spec.signer_name.as_str()) {
        return Act::Nothing;
    }
    if has(request, "Approved") {
        return if signs { Act::Sign } else { Act::Nothing };
    }
    if [CLIENT_SIGNER, SERVER_SIGNER].contains(&request.spec.signer_name.as_str()) {
        return Act::Nothing;
    }
    let Ok(asked) = Request::from_pem(&request.spec.request.0) else { return Act::Nothing };
    if request.spec.signer_name == KUBELET_SERVING_SIGNER {
        return Serving::of(request, asked).map_or(Act::Nothing, Act::ApproveServing);
    }
    if kubelet_client(&asked, request.spec.usages.as_deref().unwrap_or_default()).is_err() {
        return Act::Nothing;
    }
    match request.spec.username.as_deref() == Some(asked.name.as_str()) {
        true => Act::Approve(&[Permission::SelfNode, Permission::Node]),
        false => Act::Approve(&[Permission::Node]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sign::testing::request;
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const MADE: Timestamp = Timestamp::UNIX_EPOCH;

    fn with(conditions: &[&str], certificate: Option<&str>) -> CertificateSigningRequest {
        let mut request = request("system:node:n", "system:nodes", &[]);
        request.metadata.creation_timestamp = Some(Time(MADE));
        let status = request.status.get_or_insert_default();
        let condition = |kind: &&str| CertificateSigningRequestCondition {
            type_: (*kind).to_owned(),
            last_update_time: Some(Time(MADE)),
            ..CertificateSigningRequestCondition::default()
        };
        status.conditions = Some(conditions.iter().map(condition).collect());
        status.certificate = certificate.map(|text| ByteString(text.as_bytes().to_vec()));
        request
    }

    fn what(request: &CertificateSigningRequest, signs: bool) -> Act {
        next(request, signs, MADE).act
    }

    #[test]
    fn a_kubelets_request_is_approved_and_signed() {
        let mut one = with(&[], None);
        assert_eq!(what(&one, true), Act::Approve(&[Permission::Node]), "somebody asks for a node");
        one.spec.username = Some("system:node:n".to_owned());
        assert_eq!(what(&one, true), Act::Approve(&[Permission::SelfNode, Permission::Node]));
        for (conditions, certificate, signs, expected) in [
            (&["Approved"][..], None, true, Act::Sign),
            (&["Approved"], None, false, Act::Nothing),
            (&["Approved"], Some("x"), true, Act::Nothing),
            (&["Approved", "Denied"], None, true, Act::Nothing),
            (&["Approved", "Failed"], None, true, Act::Nothing),
            (&["Denied"], None, true, Act::Nothing),
        ] {
            assert_eq!(what(&with(conditions, certificate), signs), expected, "{conditions:?} {certificate:?}");
        }
        for (name, group, sans) in [
            ("system:node:n", "system:masters", &[][..]),
            ("root", "system:nodes", &[]),
            ("system:node:n", "system:nodes", &["x"]),
        ] {
            assert_eq!(what(&request(name, group, sans), true), Act::Nothing, "{name} {group}");
        }
        for signer in [KUBELET_SERVING_SIGNER, CLIENT_SIGNER, "example.com/x"] {
            let mut other = with(&[], None);
            other.spec.signer_name = signer.to_owned();
            assert_eq!(what(&other, true), Act::Nothing, "somebody has to look at it");
        }
    }

    #[test]
    fn a_serving_certificate_is_for_what_the_node_has() {
        let asked = |user: &str, group: &str, sans: &[&str]| {
            let mut one = request("system:node:n", "system:nodes", sans);
            one.spec.signer_name = KUBELET_SERVING_SIGNER.to_owned();
            one.spec.usages = Some(vec!["digital signature".to_owned(), "server auth".to_owned()]);
            (one.spec.username, one.spec.groups) = (Some(user.to_owned()), Some(vec![group.to_owned()]));
            what(&one, true)
        };
        let node: Node = serde_json::from_value(serde_json::json!({"status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "h"}]}}))
        .unwrap();
        for (sans, good) in [
            (&["n", "h", "192.0.2.1"][..], true),
            (&["192.0.2.1"], true),
            (&["n", "other"], false),
            (&["192.0.2.2"], false),
            (&["kubelet.skiff.internal"], false),
        ] {
            let Act::ApproveServing(serving) = asked("system:node:n", "system:nodes", sans) else { panic!("{sans:?}") };
            assert_eq!((serving.node.as_str(), serving.belongs_to(&node)), ("n", good), "{sans:?}");
        }
        for (user, group) in [("system:node:m", "system:nodes"), ("system:node:n", "system:masters")] {
            assert_eq!(asked(user, group, &["n"]), Act::Nothing, "{user} {group}");
        }
    }

    #[test]
    fn requests_do_not_stay() {
        let at = |request: &CertificateSigningRequest, hours: i64, seconds: i64| {
            let now = MADE + SignedDuration::from_secs(hours * 3600 + seconds);
            next(request, false, now).act == Act::Delete
        };
        for (request, hours) in [
            (with(&[], None), 24),
            (with(&["Denied"], None), 1),
            (with(&["Approved", "Failed"], None), 1),
            (with(&["Approved"], None), 24),
            (with(&["Approved"], Some("no certificate")), 1),
        ] {
            assert!(!at(&request, hours, 0), "{hours}");
            assert!(at(&request, hours, 1), "{hours}");
            let again = next(&request, false, MADE).again;
            assert_eq!(again, Some(SignedDuration::from_secs(hours * 3600 + 1)));
        }
        assert_eq!(over(&with(&["Other"], None)), None, "somebody has said something else of it");
    }
}
