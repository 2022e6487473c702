//! Authorizers one after another: the first that allows or denies is heard, and what the others said is kept.

use crate::rbac::together;
use crate::{Attributes, Decision, MASTERS, Nodes, Reason, Roles, Verdict};

/// What authorizers have said so far.
#[derive(Debug, Default)]
pub struct Opinions {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Opinions {
    /// Hears one more; the decision, if that is one.
    pub fn hear(&mut self, decision: Decision) -> Option<Decision> {
        if decision.verdict != Verdict::NoOpinion {
            return Some(decision);
        }
        self.reasons.extend(Some(decision.reason.to_string()).filter(|reason| !reason.is_empty()));
        self.errors.extend(Some(decision.error).filter(|error| !error.is_empty()));
        None
    }

    /// Nobody has decided: what was said about it, a line each.
    #[must_use]
    pub fn none(self) -> Decision {
        Decision { error: together(&self.errors), ..Decision::no_opinion(Reason::text(&self.reasons.join("\n"))) }
    }
}

/// The decision of `--authorization-mode=Node,RBAC`, behind the group that may do everything.
#[must_use]
pub fn node_then_roles(nodes: &Nodes, roles: &Roles, asked: &Attributes<'_>) -> Decision {
    if asked.user.is_in(MASTERS) {
        return Decision::allow(Reason::None);
    }
    let mut opinions = Opinions::default();
    let heard = opinions.hear(nodes.decide(asked)).or_else(|| opinions.hear(roles.decide(asked)));
    heard.unwrap_or_else(|| opinions.none())
}
