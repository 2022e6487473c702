//! Gateway API (gateway.networking.k8s.io/v1) to rules, and what becomes of each object to conditions in upstream's words. No I/O.
//!
//! Its definitions are installed by users. Objects are read by the names of their fields, so any version of the definitions will do
//! that has them.

mod attach; // which listeners a route belongs to
mod filters; // what a route changes
mod grants; // references into other namespaces
mod listeners; // what a gateway listens for
mod routes; // a route to rules
mod status; // conditions

use crate::plan::{Plan, SecretRef};
use crate::route::Backend;
use grants::Grants;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use status::Condition;
pub(crate) use status::{dated, is_same};
use std::collections::BTreeMap;

/// Who a GatewayClass has to name for its gateways to be ours.
pub(crate) const CONTROLLER: &str = "skiff.dev/gateway";
/// The group of all kinds of this module.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

/// An object: its metadata, and its other fields as they came.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) fields: &'a Value,
}

impl Object<'_> {
    fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    fn generation(&self) -> i64 {
        self.meta.generation.unwrap_or_default()
    }
}

/// Everything that decides.
pub(crate) struct World<'a> {
    pub(crate) classes: Vec<Object<'a>>,
    pub(crate) gateways: Vec<Object<'a>>,
    pub(crate) http_routes: Vec<Object<'a>>,
    pub(crate) grpc_routes: Vec<Object<'a>>,
    pub(crate) grants: Vec<Object<'a>>,
    /// The labels of a namespace.
    pub(crate) labels: &'a dyn Fn(&str) -> BTreeMap<String, String>,
    /// Why nothing can stand behind a backend.
    pub(crate) missing: &'a dyn Fn(&Backend) -> Option<String>,
    /// What is wrong with a certificate.
    pub(crate) wrong: &'a dyn Fn(&SecretRef) -> Option<String>,
    /// Which ports cannot be opened, and why.
    pub(crate) refused: &'a BTreeMap<u16, String>,
    /// Where gateways are reached.
    pub(crate) addresses: &'a [String],
}

/// What is to be written into an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// The path of its status.
    pub(crate) path: String,
    /// What it is now.
    pub(crate) before: Value,
    /// What it has to be, times of conditions aside.
    pub(crate) status: Value,
}

/// Adds all gateways to a plan; answers the statuses of all objects.
pub(crate) fn add(plan: &mut Plan, world: &World<'_>) -> Vec<Written> {
    let ours: Vec<&Object<'_>> =
        world.classes.iter().filter(|class| class.fields["spec"]["controllerName"] == CONTROLLER).collect();
    let mut written: Vec<Written> = ours.iter().map(|class| accepted_class(class)).collect();
    let grants = Grants::read(&world.grants);
    let is_ours = |gateway: &&Object<'_>| {
        let class = gateway.fields["spec"]["gatewayClassName"].as_str();
        ours.iter().any(|one| Some(one.name()) == class)
    };
    let mut gateways: Vec<&Object<'_>> = world.gateways.iter().filter(is_ours).collect();
    // Of two that want one thing, the older has it.
    gateways.sort_by_key(|gateway| crate::ingress::order(gateway.meta));
    let mut opened: Vec<listeners::Opened<'_>> =
        gateways.into_iter().map(|gateway| listeners::open(plan, gateway, world, &grants)).collect();
    for (kind, route) in routes::all(world) {
        written.extend(routes::add(plan, &mut opened, (kind, route), world, &grants));
    }
    written.extend(opened.iter().map(|gateway| listeners::written(gateway, world.addresses)));
    written
}

fn accepted_class(class: &Object<'_>) -> Written {
    let accepted = Condition::new("Accepted", true, "Accepted", "this controller serves the class");
    Written {
        path: format!("/apis/{GROUP}/v1/gatewayclasses/{}/status", class.name()),
        before: class.fields["status"].clone(),
        status: json!({"conditions": [accepted.value(class.generation())]}),
    }
}

#[cfg(test)]
mod tests;
