//! Who decides what may be done: a chain of authorizers, as `--authorization-mode=Node,RBAC` has them, behind the group that may do
//! everything. The first that allows or denies is heard; if none does, it is refused.
//!
//! ```text
//!  system:masters ──► Node ──► RBAC ──► no
//! ```
//!
//! Tasks keep what they know up to date ([`follow`]); at first start the default roles are written (`seed`).

mod chain; // who is asked, and in which order
mod conditions; // whether a webhook is asked at all
mod escalation; // nobody gives what they do not have
mod follow; // what is stored becomes what is known
mod seed; // default roles and bindings are written
mod webhook; // others are asked

pub(crate) use chain::follow_chain;
pub use chain::{Authorization, ChainError};
pub(crate) use escalation::confirm;
pub(crate) use follow::{follow, load};

use chain::Asked;
use skiff_authz::{
    Act, Attributes, Authorizer, Deciding, Decision, GROUP, Nodes, Roles, Rule, RulesFor, User, Verdict, node_name,
    node_then_roles,
};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// How long a request about roles waits for the default ones to be there.
const SEEDED_WITHIN: Duration = Duration::from_secs(5);
/// The user whose caches follow every resource from the start: it waits for nothing, and is told what comes.
const FOLLOWER: &str = "system:kube-controller-manager";

/// How long a kubelet's request waits for the pod that it is about: it may have been bound a moment ago, and both hear of it at once.
const BOUND_WITHIN: Duration = Duration::from_millis(100);

/// All that is known, and how it decides.
#[derive(Debug)]
pub(crate) struct Authority {
    roles: RwLock<Roles>,
    nodes: RwLock<Nodes>,
    /// Who is asked instead of nodes, then roles.
    chain: RwLock<Option<Arc<[Asked]>>>,
    /// Something about nodes has changed.
    heard: Notify,
    /// Somebody asks about roles.
    wanted: Notify,
    /// Whether default roles are stored.
    seeded: watch::Sender<bool>,
}

impl Default for Authority {
    /// Knows nobody.
    fn default() -> Self {
        Self {
            roles: RwLock::default(),
            nodes: RwLock::default(),
            chain: RwLock::default(),
            heard: Notify::new(),
            wanted: Notify::new(),
            seeded: watch::Sender::new(true),
        }
    }
}

/// What somebody may do in a namespace, as far as that can be listed.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) rules: Vec<Rule>,
    /// Whether there may be more.
    pub(crate) incomplete: bool,
    /// Why; empty: nothing went wrong.
    pub(crate) error: String,
}

impl Authority {
    /// Knows what every cluster grants, and nothing else.
    #[cfg(test)]
    pub(crate) fn with_defaults() -> Self {
        let authority = Self::default();
        for (kind, object) in skiff_authz::defaults::gathered() {
            authority.roles_mut().put(kind, &object);
        }
        authority
    }

    fn roles(&self) -> RwLockReadGuard<'_, Roles> {
        self.roles.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn roles_mut(&self) -> RwLockWriteGuard<'_, Roles> {
        self.roles.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> RwLockReadGuard<'_, Nodes> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes_mut(&self) -> RwLockWriteGuard<'_, Nodes> {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about one request.
    pub(crate) async fn decide(&self, asked: &Attributes<'_>) -> Decision {
        if matches!(asked.act, Act::Resource { group: GROUP, .. }) && asked.user.name != FOLLOWER {
            self.wait_for_seeds().await;
        }
        let chain = self.chain.read().unwrap_or_else(PoisonError::into_inner).clone();
        let decision = match &chain {
            Some(chain) => self.in_turn(chain, asked).await,
            None => self.decide_now(asked),
        };
        let of_nodes = chain.is_none_or(|chain| chain.iter().any(|one| matches!(one, Asked::Node)));
        if decision.verdict != Verdict::NoOpinion || !of_nodes || !awaits_a_pod(asked) {
            return decision;
        }
        self.bound_soon(asked).await.unwrap_or(decision)
    }

    /// That it may be done, if that soon follows from what is heard of nodes.
    async fn bound_soon(&self, asked: &Attributes<'_>) -> Option<Decision> {
        let until = Instant::now() + BOUND_WITHIN;
        loop {
            let mut heard = pin!(self.heard.notified());
            heard.as_mut().enable();
            let decision = self.nodes().decide(asked);
            if decision.is_allowed() {
                return Some(decision);
            }
            timeout_at(until, heard).await.ok()?;
        }
    }

    /// The same from what is known now.
    pub(crate) fn decide_now(&self, asked: &Attributes<'_>) -> Decision {
        node_then_roles(&self.nodes(), &self.roles(), asked)
    }

    async fn wait_for_seeds(&self) {
        if *self.seeded.borrow() {
            return;
        }
        self.wanted.notify_one();
        let mut seeded = self.seeded.subscribe();
        let waited = tokio::time::timeout(SEEDED_WITHIN, seeded.wait_for(|seeded| *seeded)).await;
        if waited.is_err() {
            tracing::warn!("a request about roles goes on before the default ones are stored");
        }
    }

    /// What somebody may do in `namespace`.
    pub(crate) fn rules(&self, user: &User<'_>, namespace: &str) -> Listed {
        let RulesFor { rules, errors } = self.roles().rules_for(user, namespace);
        let is_node = node_name(user).is_some();
        let mut all = errors;
        if is_node {
            all.insert(0, "node authorizer does not support user rule resolution".to_owned());
        }
        let error = match &all[..] {
            [] => String::new(),
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        Listed { rules, incomplete: is_node, error }
    }
}

/// Whether a kubelet asks for one thing that a pod brings.
fn awaits_a_pod(asked: &Attributes<'_>) -> bool {
    matches!(asked.act, Act::Resource { resource, name, .. } if !name.is_empty() && Nodes::brings(resource))
        && node_name(&asked.user).is_some()
}

impl Authorizer for Authority {
    fn authorize<'a>(&'a self, asked: &'a Attributes<'a>) -> Deciding<'a> {
        Box::pin(self.decide(asked))
    }
}

#[cfg(test)]
mod tests;
