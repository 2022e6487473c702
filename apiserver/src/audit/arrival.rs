//! What is known of a request when it arrives, before anybody has looked at its credentials.

use crate::caller::Peer;
use crate::rest::percent_decode;
use axum::extract::Request;
use http::HeaderMap;
use http::header::USER_AGENT;
use skiff_audit::{Attributes, Event, Object, ObjectRef};
use std::net::IpAddr;

/// How much of a client's name is kept.
const AGENT_BYTES_MAX: usize = 1024;

/// A request that has arrived.
pub(super) struct Arrival {
    pub(super) attributes: Attributes,
    /// Everything that is known already.
    pub(super) event: Event,
}

impl Arrival {
    /// Looks at `request`, which came at `now`.
    pub(super) fn of(request: &Request, audit_id: &str, now: i64) -> Self {
        let uri = request.uri();
        let path = percent_decode(uri.path()).unwrap_or_else(|| uri.path().to_owned());
        let attributes = Attributes::of(request.method().as_str(), &path, uri.query().unwrap_or_default());
        let event = Event {
            audit_id: audit_id.to_owned(),
            uri: uri.path_and_query().map_or_else(String::new, ToString::to_string),
            verb: attributes.verb.clone(),
            source_ips: addresses(request.headers(), request.extensions().get::<Peer>().map(|peer| peer.0)),
            user_agent: agent(request.headers()),
            object: attributes.object.as_ref().map(reference),
            received: now,
            reached: now,
            ..Event::default()
        };
        Self { attributes, event }
    }
}

impl Arrival {
    /// Something else is asked for than the path says.
    pub(super) fn turn_to(&mut self, attributes: Attributes) {
        self.event.verb.clone_from(&attributes.verb);
        self.event.object = attributes.object.as_ref().map(reference);
        self.attributes = attributes;
    }
}

fn reference(object: &Object) -> ObjectRef {
    let object = object.clone();
    ObjectRef {
        resource: object.resource,
        namespace: object.namespace,
        name: object.name,
        api_group: object.group,
        api_version: object.version,
        subresource: object.part,
        ..ObjectRef::default()
    }
}

/// Where a request comes from: what proxies say, then the other end of the connection, which nobody can make up.
fn addresses(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut all: Vec<IpAddr> = said("x-forwarded-for").split(',').filter_map(address).collect();
    all.extend(address(said("x-real-ip")).filter(|real| !all.contains(real)));
    if peer.is_some() && all.last() != peer.as_ref() {
        all.extend(peer);
    }
    all.iter().map(ToString::to_string).collect()
}

fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes())).unwrap_or_default();
    if agent.len() <= AGENT_BYTES_MAX {
        return agent.into_owned();
    }
    let end = (0..=AGENT_BYTES_MAX).rev().find(|end| agent.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...TRUNCATED", &agent[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_speak_first_and_the_connection_last() {
        let of = |headers: &[(&'static str, &str)], peer: &str| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            addresses(&headers, peer.parse().ok()).join(" ")
        };
        assert_eq!(of(&[], "10.0.0.1"), "10.0.0.1");
        assert_eq!(of(&[("x-forwarded-for", "192.0.2.1, x, 192.0.2.2")], "10.0.0.1"), "192.0.2.1 192.0.2.2 10.0.0.1");
        assert_eq!(of(&[("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")], "10.0.0.1"), "10.0.0.1");
        assert_eq!(of(&[("x-real-ip", "192.0.2.1")], ""), "192.0.2.1");
    }

    #[test]
    fn long_names_are_cut() {
        let headers = |agent: String| [(USER_AGENT, agent.parse().unwrap())].into_iter().collect::<HeaderMap>();
        assert_eq!(agent(&headers("x".repeat(1024))).len(), 1024);
        let cut = agent(&headers("x".repeat(1025)));
        assert!(cut.ends_with("xx...TRUNCATED") && cut.len() == 1024 + 12, "{}", cut.len());
    }
}
