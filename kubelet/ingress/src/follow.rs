//! The cluster to doors: whatever changes, the rules of all objects are read again, and pools of services that changed are filled again.
//!
//! Routes are few and change seldom, so all of them are planned anew; endpoints change often, so a change of theirs touches the pools of
//! their service only.

mod backends; // services and endpoint slices to pools
mod gateways; // Gateway API while it is installed
mod secrets; // certificates

use crate::gateway::{self, World, Written};
use crate::ingress::{CONTROLLER, Ports, add, is_ours};
use crate::live::doors;
use crate::metrics::Metrics;
use crate::objects::{Ingress, IngressClass};
use crate::plan::{Plan, Problem, SecretRef};
use crate::report::{IngressReport, Report};
use crate::route::{Action, Backend, Rule};
use crate::serve::Server;
use backends::Backends;
use gateways::Gateways;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrets::Secrets;
use skiff_client::{Cache, Caches, Subscription};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

/// What follows the cluster.
pub(crate) struct Follower {
    ports: Ports,
    metrics: Arc<Metrics>,
    is_ready: Arc<AtomicBool>,
    server: Server,
    report: watch::Sender<Report>,
    changed: Arc<Notify>,
    routes_changed: Arc<AtomicBool>,
    ingresses: Cache<Ingress>,
    classes: Cache<IngressClass>,
    backends: Backends,
    secrets: Secrets,
    gateways: Gateways,
    /// What ingresses ask for, without gateways.
    of_ingresses: Plan,
    /// Ports that cannot be opened, and why.
    refused: BTreeMap<u16, String>,
    addresses: Vec<String>,
    /// The ingresses that are ours, what is wrong with each, and where it leads.
    planned: Vec<(Arc<Ingress>, Vec<Problem>, Vec<Backend>)>,
    _subscriptions: [Subscription; 2],
}

impl Follower {
    pub(crate) fn new(
        caches: &Caches,
        (ports, addresses): (Ports, Vec<String>),
        (metrics, is_ready): (Arc<Metrics>, Arc<AtomicBool>),
        server: Server,
        report: watch::Sender<Report>,
    ) -> Self {
        let (changed, routes_changed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
        let (ingresses, classes) = (caches.all::<Ingress>(), caches.all::<IngressClass>());
        let wake = Wake { changed: Arc::clone(&changed), routes_changed: Arc::clone(&routes_changed) };
        let (one, other) = (wake.clone(), wake.clone());
        Self {
            ports,
            metrics,
            is_ready,
            server,
            report,
            backends: Backends::new(caches, &changed),
            gateways: Gateways::new(caches, wake.clone()),
            secrets: Secrets::new(caches.clone(), wake),
            of_ingresses: Plan::default(),
            refused: BTreeMap::new(),
            addresses,
            planned: Vec::new(),
            _subscriptions: [ingresses.subscribe(move |_| one.routes()), classes.subscribe(move |_| other.routes())],
            changed,
            routes_changed,
            ingresses,
            classes,
        }
    }

    /// Follows for as long as it is polled.
    pub(crate) async fn run(&mut self) {
        tokio::join!(self.ingresses.synced(), self.classes.synced(), self.backends.synced());
        loop {
            let of_services = self.backends.refresh();
            if self.backends.services_changed() && self.gateways.is_active() {
                self.routes_changed.store(true, Ordering::Release);
            }
            if self.routes_changed.swap(false, Ordering::AcqRel) {
                self.plan().await;
            } else if !of_services {
                self.changed.notified().await;
                continue;
            }
            self.tell();
            self.is_ready.store(true, Ordering::Relaxed);
            self.changed.notified().await;
        }
    }

    /// Closes the ports.
    pub(crate) async fn close(self) {
        self.server.close().await;
    }

    async fn plan(&mut self) {
        let is_of_us = |class: &Arc<IngressClass>| class.text("/spec/controller") == CONTROLLER;
        let classes: Vec<String> =
            self.classes.all().iter().filter(|class| is_of_us(class)).map(|class| class.name().to_owned()).collect();
        let mut plan = Plan::default();
        self.planned.clear();
        for ingress in self.ingresses.all() {
            if is_ours(&ingress.metadata, &ingress.fields, &classes) {
                let mut own = Plan::default();
                let problems = add(&mut own, self.ports, &ingress.metadata, &ingress.fields);
                self.planned.push((ingress, problems, backends_of(&own)));
                merge(&mut plan, own);
            }
        }
        self.of_ingresses = plan;
        self.gateways.look().await;
        self.secrets.want(self.with_gateways().0.secrets()).await;
        // Again, now that certificates are known.
        let (plan, _) = self.with_gateways();
        self.backends.begin();
        let doors = doors(plan, self.secrets.keys(), &self.metrics, &mut |backend| self.backends.pool(backend));
        self.backends.end();
        let refused = self.server.put(doors).await;
        let told = |(port, error): (u16, std::io::Error)| {
            let message = format!("port {port} cannot be opened: {error}");
            tracing::warn!("{message}");
            (port, message)
        };
        self.refused = refused.into_iter().map(told).collect();
    }

    /// What all objects ask for, and what becomes of those of Gateway API.
    fn with_gateways(&self) -> (Plan, Vec<Written>) {
        let mut plan = self.of_ingresses.clone();
        if !self.gateways.is_active() {
            return (plan, Vec::new());
        }
        let missing = |backend: &Backend| self.backends.find(backend).err().map(|why| why.to_string());
        let wrong = |secret: &SecretRef| self.secrets.problem(secret);
        let (refused, addresses) = (&self.refused, self.addresses.as_slice());
        let none = Vec::new;
        let rest = World {
            classes: none(),
            gateways: none(),
            http_routes: none(),
            grpc_routes: none(),
            grants: none(),
            labels: &|_| BTreeMap::new(),
            missing: &missing,
            wrong: &wrong,
            refused,
            addresses,
        };
        let written = self.gateways.show(rest, |world| gateway::add(&mut plan, world));
        (plan, written)
    }

    /// Tells whoever writes it down what has become of each object.
    fn tell(&self) {
        let reports = self.planned.iter().map(|(ingress, problems, backends)| {
            let mut problems = problems.clone();
            let missing = backends.iter().filter_map(|backend| self.backends.missing(backend));
            problems.extend(missing.map(|why| Problem { reason: "BackendNotFound", message: why.to_string() }));
            let named = plan_secrets(ingress);
            let wrong = named.into_iter().filter_map(|secret| self.secrets.problem(&secret));
            problems.extend(wrong.map(|message| Problem { reason: "CertificateNotUsable", message }));
            let unopened = self.refused.iter().filter(|(port, _)| [self.ports.http, self.ports.https].contains(port));
            problems.extend(unopened.map(|(_, why)| Problem { reason: "PortUnavailable", message: why.clone() }));
            problems.sort();
            problems.dedup();
            IngressReport { ingress: Arc::clone(ingress), problems }
        });
        let (_, gateways) = self.with_gateways();
        self.report.send_replace(Report { ingresses: reports.collect(), gateways });
    }
}

/// Wakes the follower.
#[derive(Clone)]
pub(crate) struct Wake {
    changed: Arc<Notify>,
    routes_changed: Arc<AtomicBool>,
}

impl Wake {
    /// Rules or certificates changed.
    pub(crate) fn routes(&self) {
        self.routes_changed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// The secrets that an ingress names.
fn plan_secrets(ingress: &Ingress) -> Vec<SecretRef> {
    let namespace = ingress.namespace().unwrap_or_default();
    let all = crate::ingress::list(&ingress.fields["spec"]["tls"]).filter_map(|tls| tls["secretName"].as_str());
    let all = all.filter(|name| !name.is_empty());
    all.map(|name| SecretRef { namespace: namespace.clone(), name: name.to_owned() }).collect()
}

fn backends_of(plan: &Plan) -> Vec<Backend> {
    let of = |rule: &Rule<Action>| match &rule.action {
        Action::Forward(forward) => forward.to.iter().filter_map(|one| one.to.clone()).collect(),
        _ => Vec::new(),
    };
    let mut all: Vec<Backend> = plan.ports.values().flat_map(|port| &port.rules).flat_map(of).collect();
    all.sort();
    all.dedup();
    all
}

/// Adds one plan to another; ports of both do the same by their making.
fn merge(plan: &mut Plan, own: Plan) {
    for (number, port) in own.ports {
        if let Some(all) = plan.port(number, port.tls) {
            all.rules.extend(port.rules);
            all.certificates.extend(port.certificates);
        }
    }
}

/// A secret as caches hold it, for those below.
pub(super) type SecretCache = Cache<Secret>;
