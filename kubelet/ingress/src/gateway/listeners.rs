//! What a gateway listens for, and what it says of that.

use super::grants::Grants;
use super::status::Condition;
use super::{GROUP, Object, World, Written};
use crate::ingress::list;
use crate::plan::{Plan, SecretRef};
use crate::route::Host;
use serde_json::{Value, json};

/// A gateway and its listeners.
pub(super) struct Opened<'a> {
    pub(super) gateway: &'a Object<'a>,
    pub(super) listeners: Vec<Listener<'a>>,
}

/// One listener.
pub(super) struct Listener<'a> {
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) fields: &'a Value,
    pub(super) host: Host,
    /// Whether it takes requests.
    pub(super) is_open: bool,
    /// How many routes belong to it.
    pub(super) attached: usize,
    conditions: Vec<Condition>,
}

impl Listener<'_> {
    /// The kinds of routes that it takes.
    pub(super) fn kinds(&self) -> Vec<&str> {
        let asked = list(&self.fields["allowedRoutes"]["kinds"]);
        let asked: Vec<&str> = asked.filter(|kind| is_ours(kind)).filter_map(|kind| kind["kind"].as_str()).collect();
        let none_asked = list(&self.fields["allowedRoutes"]["kinds"]).next().is_none();
        if none_asked { ROUTES.to_vec() } else { asked.into_iter().filter(|kind| ROUTES.contains(kind)).collect() }
    }
}

const ROUTES: [&str; 2] = ["HTTPRoute", "GRPCRoute"];

fn is_ours(kind: &Value) -> bool {
    kind["group"].as_str().unwrap_or(GROUP) == GROUP
}

/// Opens the ports of a gateway in a plan.
pub(super) fn open<'a>(plan: &mut Plan, gateway: &'a Object<'a>, world: &World<'_>, grants: &Grants<'_>) -> Opened<'a> {
    let mut listeners: Vec<Listener<'a>> = Vec::new();
    for fields in list(&gateway.fields["spec"]["listeners"]) {
        let listener = listen(plan, (gateway, fields), &listeners, world, grants);
        listeners.push(listener);
    }
    Opened { gateway, listeners }
}

fn listen<'a>(
    plan: &mut Plan,
    (gateway, fields): (&'a Object<'a>, &'a Value),
    before: &[Listener<'_>],
    world: &World<'_>,
    grants: &Grants<'_>,
) -> Listener<'a> {
    let port = fields["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let host = Host::of_gateway(fields["hostname"].as_str().unwrap_or_default());
    let name = fields["name"].as_str().unwrap_or_default();
    let mut listener = Listener { name, port, fields, host, is_open: false, attached: 0, conditions: Vec::new() };
    let protocol = fields["protocol"].as_str().unwrap_or_default();
    let tls = protocol == "HTTPS";
    let is_known = tls || protocol == "HTTP";
    let passes = tls && fields["tls"]["mode"] == "Passthrough";
    let unopened = world.refused.get(&port);
    let accepted = match (is_known && !passes, unopened) {
        (false, _) => Condition::new("Accepted", false, "UnsupportedProtocol", "want HTTP, or HTTPS that ends here"),
        (true, Some(why)) => Condition::new("Accepted", false, "PortUnavailable", why.clone()),
        (true, None) => Condition::new("Accepted", true, "Accepted", "the listener is served"),
    };
    let is_twin = before.iter().any(|one| one.port == port && one.host == listener.host);
    let conflict = match (is_known, is_twin) {
        (false, _) => None,
        (true, true) => Some("HostnameConflict"),
        (true, false) => plan.port(port, tls).is_none().then_some("ProtocolConflict"),
    };
    let conflicted = match conflict {
        Some(reason) => Condition::new("Conflicted", true, reason, "another listener has the port"),
        None => Condition::new("Conflicted", false, "NoConflicts", "no other listener has the same"),
    };
    let (secrets, resolved) = certificates(gateway, &listener, tls, world, grants);
    let has_certificate = !tls || !secrets.is_empty();
    listener.is_open = is_known && !passes && conflict.is_none() && has_certificate;
    if listener.is_open
        && let Some(opened) = plan.port(port, tls)
    {
        opened.certificates.extend(secrets.into_iter().map(|secret| (listener.host.clone(), secret)));
    }
    let is_programmed = listener.is_open && accepted.holds && resolved.holds;
    let programmed = match is_programmed {
        true => Condition::new("Programmed", true, "Programmed", "the listener is served"),
        false => Condition::new("Programmed", false, "Invalid", "see the other conditions"),
    };
    listener.conditions = vec![accepted, conflicted, resolved, programmed];
    listener
}

/// The certificates of a listener that can be used, and the condition ResolvedRefs.
fn certificates(
    gateway: &Object<'_>,
    listener: &Listener<'_>,
    tls: bool,
    world: &World<'_>,
    grants: &Grants<'_>,
) -> (Vec<SecretRef>, Condition) {
    let wrong = |reason, message: String| Condition::new("ResolvedRefs", false, reason, message);
    let mut condition = Condition::new("ResolvedRefs", true, "ResolvedRefs", "all that is named is there");
    let asked = list(&listener.fields["allowedRoutes"]["kinds"]).count();
    if asked > 0 && listener.kinds().len() < asked {
        condition = wrong("InvalidRouteKinds", "want HTTPRoute or GRPCRoute".to_owned());
    }
    let mut found = Vec::new();
    for named in list(&listener.fields["tls"]["certificateRefs"]).filter(|_| tls) {
        let name = named["name"].as_str().unwrap_or_default();
        let is_secret = named["group"].as_str().unwrap_or_default().is_empty()
            && named["kind"].as_str().unwrap_or("Secret") == "Secret";
        let namespace = named["namespace"].as_str().unwrap_or(gateway.namespace());
        let secret = SecretRef { namespace: namespace.to_owned(), name: name.to_owned() };
        if !is_secret {
            condition = wrong("InvalidCertificateRef", format!("{name} is no secret"));
        } else if !grants.allow(("Gateway", gateway.namespace()), ("Secret", namespace, name)) {
            condition = wrong("RefNotPermitted", format!("no ReferenceGrant lets secret {namespace}/{name} be named"));
        } else {
            if let Some(why) = (world.wrong)(&secret) {
                condition = wrong("InvalidCertificateRef", why);
            }
            found.push(secret);
        }
    }
    if tls && found.is_empty() && condition.holds {
        condition = wrong("InvalidCertificateRef", "tls.certificateRefs names no secret".to_owned());
    }
    (found, condition)
}

/// The status of a gateway.
pub(super) fn written(opened: &Opened<'_>, addresses: &[String]) -> Written {
    let Opened { gateway, listeners } = opened;
    let generation = gateway.generation();
    let is_any_open = listeners.iter().any(|listener| listener.is_open);
    let (accepted, programmed) = match is_any_open {
        true => (
            Condition::new("Accepted", true, "Accepted", "the gateway is served"),
            Condition::new("Programmed", true, "Programmed", "the gateway is served"),
        ),
        false => (
            Condition::new("Accepted", false, "ListenersNotValid", "no listener can be served"),
            Condition::new("Programmed", false, "Invalid", "no listener can be served"),
        ),
    };
    let shown = |listener: &Listener<'_>| {
        let kinds: Vec<Value> =
            listener.kinds().into_iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect();
        let conditions: Vec<Value> = listener.conditions.iter().map(|one| one.value(generation)).collect();
        json!({
            "name": listener.name,
            "supportedKinds": kinds,
            "attachedRoutes": listener.attached,
            "conditions": conditions,
        })
    };
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"type": "IPAddress", "value": ip})).collect();
    Written {
        path: format!("/apis/{GROUP}/v1/namespaces/{}/gateways/{}/status", gateway.namespace(), gateway.name()),
        before: gateway.fields["status"].clone(),
        status: json!({
            "addresses": addresses,
            "conditions": [accepted.value(generation), programmed.value(generation)],
            "listeners": listeners.iter().map(shown).collect::<Vec<_>>(),
        }),
    }
}
