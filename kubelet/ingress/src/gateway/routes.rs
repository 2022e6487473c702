//! HTTPRoute and GRPCRoute to rules.

use super::attach::attach;
use super::filters::{self, Unsupported};
use super::grants::Grants;
use super::listeners::Opened;
use super::status::Condition;
use super::{CONTROLLER, GROUP, Object, World, Written};
use crate::ingress::{list, options, order};
use crate::plan::Plan;
use crate::route::{Action, Backend, Forward, Host, Order, PathMatch, PortRef, Rule, Weighted};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use std::time::Duration;

/// What became of the objects that a route names: the condition ResolvedRefs.
pub(super) struct Resolved(Condition);

impl Resolved {
    fn new() -> Self {
        Self(Condition::new("ResolvedRefs", true, "ResolvedRefs", "all that is named is there"))
    }

    fn wrong(&mut self, reason: &'static str, message: String) {
        if self.0.holds {
            self.0 = Condition::new("ResolvedRefs", false, reason, message);
        }
    }
}

type Route<'a> = (&'static str, Object<'a>);

/// All routes, the older first.
pub(super) fn all<'a>(world: &World<'a>) -> Vec<Route<'a>> {
    let http = world.http_routes.iter().map(|route| ("HTTPRoute", *route));
    let grpc = world.grpc_routes.iter().map(|route| ("GRPCRoute", *route));
    let mut routes: Vec<Route<'a>> = http.chain(grpc).collect();
    routes.sort_by_key(|(_, route)| order(route.meta));
    routes
}

/// Adds a route to all of our gateways that it names; its status, if there are any.
pub(super) fn add(
    plan: &mut Plan,
    opened: &mut [Opened<'_>],
    route: Route<'_>,
    world: &World<'_>,
    grants: &Grants<'_>,
) -> Option<Written> {
    let (kind, object) = &route;
    let mut resolved = Resolved::new();
    let rules = rules(&route, world, grants, &mut resolved);
    let mut parents = Vec::new();
    for parent in list(&object.fields["spec"]["parentRefs"]) {
        let Some(gateway) = opened.iter_mut().find(|one| is_meant(one, parent, object.namespace())) else { continue };
        let accepted = match (attach(gateway, (*kind, object), parent, world), &rules) {
            (Err(reason), _) => Condition::new("Accepted", false, reason, "no listener of the gateway takes the route"),
            (Ok(_), Err(why)) => Condition::new("Accepted", false, "UnsupportedValue", why.clone()),
            (Ok(places), Ok(rules)) => {
                for (port, attached, hosts) in places {
                    *attached += 1;
                    if let Some(port) = plan.ports.get_mut(&port) {
                        port.rules.extend(hosts.iter().flat_map(|host| rules.iter().map(|rule| at(rule, host))));
                    }
                }
                Condition::new("Accepted", true, "Accepted", "the route is served")
            }
        };
        let conditions = [accepted, resolved.0.clone()].map(|one| one.value(object.generation()));
        parents.push(json!({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}));
    }
    let before = &object.fields["status"];
    let had = list(&before["parents"]).any(|parent| parent["controllerName"] == CONTROLLER);
    if parents.is_empty() && !had {
        return None;
    }
    let others = list(&before["parents"]).filter(|parent| parent["controllerName"] != CONTROLLER).cloned();
    let plural = if *kind == "GRPCRoute" { "grpcroutes" } else { "httproutes" };
    Some(Written {
        path: format!("/apis/{GROUP}/v1/namespaces/{}/{plural}/{}/status", object.namespace(), object.name()),
        before: before.clone(),
        status: json!({"parents": others.chain(parents).collect::<Vec<_>>()}),
    })
}

/// Whether a reference of a route in `namespace` is to this gateway.
fn is_meant(opened: &Opened<'_>, parent: &Value, namespace: &str) -> bool {
    let said = |field: &str, otherwise: &'static str| parent[field].as_str().unwrap_or(otherwise) == otherwise;
    said("group", GROUP)
        && said("kind", "Gateway")
        && parent["name"] == *opened.gateway.name()
        && parent["namespace"].as_str().unwrap_or(namespace) == opened.gateway.namespace()
}

fn at(rule: &Rule<Action>, host: &Host) -> Rule<Action> {
    Rule { host: host.clone(), ..rule.clone() }
}

/// The rules of a route, for any host.
fn rules(
    route: &Route<'_>,
    world: &World<'_>,
    grants: &Grants<'_>,
    resolved: &mut Resolved,
) -> Result<Vec<Rule<Action>>, Unsupported> {
    let (kind, object) = route;
    let (mut found, mut place) = (Vec::new(), order(object.meta));
    let everything = json!([{}]);
    for rule in list(&object.fields["spec"]["rules"]) {
        let to = backends(rule, route, world, grants, resolved)?;
        let matches = &rule["matches"];
        let matches = if list(matches).next().is_none() { &everything } else { matches };
        for matched in list(matches) {
            place.index += 1;
            let mut one = if *kind == "GRPCRoute" { of_grpc(matched, &place)? } else { of_http(matched, &place)? };
            let read = filters::read(&rule["filters"], &one.path, (route, world, grants), resolved)?;
            one.action = match read.redirect {
                Some(redirect) => Action::Redirect(redirect),
                // What names nothing leads nowhere.
                None if to.is_empty() => Action::Answer(500),
                None => {
                    let timeouts = &rule["timeouts"];
                    let (within, try_within) =
                        (duration(&timeouts["request"])?, duration(&timeouts["backendRequest"])?);
                    let forward = Forward { to: to.clone(), within, try_within, ..read.forward };
                    Action::Forward(Box::new(forward))
                }
            };
            found.push(one);
        }
    }
    Ok(found)
}

/// A duration; zero is none.
fn duration(value: &Value) -> Result<Option<Duration>, Unsupported> {
    let Some(text) = value.as_str() else { return Ok(None) };
    let millis = options::millis(text).ok_or_else(|| format!("timeouts: {text} is no duration"))?;
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

fn of_http(matched: &Value, place: &Order) -> Result<Rule<Action>, Unsupported> {
    let path = matched["path"]["value"].as_str().unwrap_or("/");
    let path = match matched["path"]["type"].as_str().unwrap_or("PathPrefix") {
        "PathPrefix" => PathMatch::prefix(path),
        "Exact" => PathMatch::Exact(path.to_owned()),
        other => return Err(format!("matches of paths of the type {other} are not supported")),
    };
    let mut rule = Rule::new(Host::Any, path, place.clone(), Action::Answer(500));
    let method = matched["method"].as_str().map(|text| Method::from_bytes(text.as_bytes()));
    rule.method = method.transpose().map_err(|_| "matches: no method".to_owned())?;
    rule.headers = headers(matched)?;
    for one in list(&matched["queryParams"]) {
        exact(one)?;
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        rule.query.push((text("name"), text("value")));
    }
    Ok(rule)
}

/// gRPC calls are POSTs to `/service/method`.
fn of_grpc(matched: &Value, place: &Order) -> Result<Rule<Action>, Unsupported> {
    let method = &matched["method"];
    exact(method)?;
    let path = match (method["service"].as_str(), method["method"].as_str()) {
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) => PathMatch::prefix(&format!("/{service}")),
        (None, Some(_)) => return Err("a method without its service is not supported".to_owned()),
        (None, None) => PathMatch::prefix("/"),
    };
    let mut rule = Rule::new(Host::Any, path, place.clone(), Action::Answer(500));
    rule.headers = headers(matched)?;
    Ok(rule)
}

fn exact(one: &Value) -> Result<(), Unsupported> {
    match one["type"].as_str().unwrap_or("Exact") {
        "Exact" => Ok(()),
        other => Err(format!("matches of the type {other} are not supported")),
    }
}

fn headers(matched: &Value) -> Result<Vec<(HeaderName, HeaderValue)>, Unsupported> {
    let read = |one: &Value| {
        exact(one)?;
        let (name, value) = (one["name"].as_str().unwrap_or_default(), one["value"].as_str().unwrap_or_default());
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
        pair.ok_or_else(|| format!("matches: no request can have a header {name}: {value}"))
    };
    list(&matched["headers"]).map(read).collect()
}

/// The backends of a rule; one that cannot be used keeps its share.
fn backends(
    rule: &Value,
    route: &Route<'_>,
    world: &World<'_>,
    grants: &Grants<'_>,
    resolved: &mut Resolved,
) -> Result<Vec<Weighted>, Unsupported> {
    let mut found = Vec::new();
    for named in list(&rule["backendRefs"]) {
        let weight = named["weight"].as_u64().map_or(1, |weight| u32::try_from(weight).unwrap_or(u32::MAX));
        let mut one = Weighted { weight, to: backend(named, route, world, grants, resolved), ..Weighted::default() };
        for filter in list(&named["filters"]) {
            match filter["type"].as_str().unwrap_or_default() {
                "RequestHeaderModifier" => one.request = filters::headers(&filter["requestHeaderModifier"])?,
                "ResponseHeaderModifier" => one.response = filters::headers(&filter["responseHeaderModifier"])?,
                other => return Err(format!("filters of the type {other} are not supported at backends")),
            }
        }
        found.push(one);
    }
    Ok(found)
}

/// The service that a reference names, if it can be used.
pub(super) fn backend(
    named: &Value,
    (kind, object): &Route<'_>,
    world: &World<'_>,
    grants: &Grants<'_>,
    resolved: &mut Resolved,
) -> Option<Backend> {
    let name = named["name"].as_str().unwrap_or_default();
    let is_service = named["group"].as_str().unwrap_or_default().is_empty()
        && named["kind"].as_str().unwrap_or("Service") == "Service";
    let port = named["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let namespace = named["namespace"].as_str().unwrap_or(object.namespace());
    let (true, Some(port)) = (is_service, port) else {
        resolved.wrong("InvalidKind", format!("{name} is no port of a service"));
        return None;
    };
    if !grants.allow((kind, object.namespace()), ("Service", namespace, name)) {
        resolved.wrong("RefNotPermitted", format!("no ReferenceGrant lets service {namespace}/{name} be named"));
        return None;
    }
    let to = Backend { namespace: namespace.to_owned(), service: name.to_owned(), port: PortRef::Number(port) };
    if let Some(why) = (world.missing)(&to) {
        resolved.wrong("BackendNotFound", why);
        return None;
    }
    Some(to)
}
