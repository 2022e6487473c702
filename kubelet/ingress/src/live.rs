//! A plan as it can be done: rules that lead to pools, and certificates that were read. What a port holds is never changed: another one takes its place, and
//! requests that are under way end with the one they began with.

use crate::certificates::Certificates;
use crate::metrics::{Counts, Metrics};
use crate::plan::{Plan, SecretRef};
use crate::pool::Pool;
use crate::route::{Action, Backend, Forward, Order, Redirect};
use crate::table::Table;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// What a request's rule does.
pub(crate) struct Entry {
    pub(crate) act: Act,
    pub(crate) counts: Arc<Counts>,
    /// Namespace and name of the object.
    pub(crate) object: String,
}

/// An action with its pools.
pub(crate) enum Act {
    Forward(Box<Ready>),
    Redirect(Redirect),
    Answer(u16),
}

/// A way on.
pub(crate) struct Ready {
    pub(crate) plan: Forward,
    /// The pool of each of `plan.to`.
    pub(crate) pools: Vec<Option<Arc<Pool>>>,
    /// The pool of each of `plan.mirrors`.
    pub(crate) mirrors: Vec<Arc<Pool>>,
}

impl Ready {
    /// Whose turn it is, by weight; `None`: nobody has any.
    pub(crate) fn choose(&self) -> Option<usize> {
        if let [only] = self.plan.to.as_slice() {
            return (only.weight > 0).then_some(0);
        }
        let total: u64 = self.plan.to.iter().map(|one| u64::from(one.weight)).sum();
        let mut at = (total > 0).then(|| rand::random_range(0..total))?;
        self.plan.to.iter().position(|one| {
            let is_here = at < u64::from(one.weight);
            at = at.saturating_sub(u64::from(one.weight));
            is_here
        })
    }
}

/// What a port does now.
pub(crate) struct Door {
    pub(crate) table: Table<Entry>,
    certificates: Certificates,
    tls: bool,
}

impl Door {
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }
}

/// The place of a port's door.
pub(crate) struct Slot(RwLock<Arc<Door>>);

impl Slot {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self(RwLock::new(door))
    }

    pub(crate) fn now(&self) -> Arc<Door> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, door: Arc<Door>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = door;
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a port with {} rules", self.now().table.len())
    }
}

impl ResolvesServerCert for Slot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now().certificates.find(hello.server_name())
    }
}

/// Makes the doors of a plan; `pool` finds the pool of a backend.
pub(crate) fn doors(
    plan: Plan,
    keys: &HashMap<SecretRef, Arc<CertifiedKey>>,
    metrics: &Metrics,
    pool: &mut dyn FnMut(&Backend) -> Arc<Pool>,
) -> BTreeMap<u16, Arc<Door>> {
    let ports = plan.ports.into_iter().map(|(number, port)| {
        let rules = port.rules.into_iter().map(|rule| rule.with(|action, order| entry(action, order, metrics, pool)));
        let table = Table::new(rules.collect());
        let certificates = Certificates::new(&port.certificates, keys);
        (number, Arc::new(Door { table, certificates, tls: port.tls }))
    });
    ports.collect()
}

fn entry(action: Action, order: &Order, metrics: &Metrics, pool: &mut dyn FnMut(&Backend) -> Arc<Pool>) -> Entry {
    let act = match action {
        Action::Redirect(redirect) => Act::Redirect(redirect),
        Action::Answer(status) => Act::Answer(status),
        Action::Forward(plan) => {
            let pools = plan.to.iter().map(|one| one.to.as_ref().map(&mut *pool)).collect();
            let mirrors = plan.mirrors.iter().map(|one| pool(&one.to)).collect();
            Act::Forward(Box::new(Ready { plan: *plan, pools, mirrors }))
        }
    };
    Entry { act, counts: metrics.of(&order.object), object: order.object.clone() }
}
