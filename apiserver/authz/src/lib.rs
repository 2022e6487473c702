//! Who may do what: decisions about requests, from roles and bindings (RBAC) and from what nodes have to do with objects.
//!
//! Begin with [`Attributes`], which is what is asked, and [`Decision`], which is the answer. [`Roles`] answers from rules; [`Nodes`]
//! answers kubelets; [`defaults`] has the roles that every cluster has.
//!
//! What it leaves to others: following what is stored, asking webhooks, refusing.

mod aggregate; // roles that gather rules
mod chain; // one authorizer after another
pub mod config; // which ones
pub mod defaults; // what every cluster grants
mod node; // what nodes have to do with objects
mod objects; // roles and bindings as they are stored
mod rbac; // what roles and bindings allow
mod rule; // one rule: what it matches, what it covers

pub use aggregate::aggregated;
pub use chain::{Opinions, node_then_roles};
pub use node::{Nodes, node_name};
pub use objects::{Binding, Kind, Role, RoleRef, Subject, SubjectKind};
pub use rbac::{Roles, RulesFor};
pub use rule::{Rule, full_authority, missing};

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// The group of RBAC's own resources.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// The group of those who may do everything, whatever roles say.
pub const MASTERS: &str = "system:masters";

static NOTHING: BTreeMap<String, Vec<String>> = BTreeMap::new();

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// `system:node:a`.
    pub name: &'a str,
    /// Empty if nobody gave one.
    pub uid: &'a str,
    /// `system:nodes`.
    pub groups: &'a [String],
    /// What else is known, by key.
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> User<'a> {
    /// Somebody of whom name and groups are known.
    #[must_use]
    pub fn new(name: &'a str, groups: &'a [String]) -> Self {
        Self { name, uid: "", groups, extra: &NOTHING }
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|has| has == group)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// A path that is no resource.
    Path {
        /// The HTTP method in lower case.
        verb: &'a str,
        /// `/metrics`.
        path: &'a str,
    },
    /// A resource, or a part of it.
    Resource {
        /// Kubernetes' verb: `get`, `deletecollection`.
        verb: &'a str,
        /// Empty for the core group.
        group: &'a str,
        /// The plural name.
        resource: &'a str,
        /// The subresource; empty for the object itself.
        part: &'a str,
        /// Empty: of no namespace, or of all.
        namespace: &'a str,
        /// Empty: all of them, or not known yet.
        name: &'a str,
    },
}

impl<'a> Act<'a> {
    /// What is done.
    #[must_use]
    pub fn verb(&self) -> &'a str {
        match self {
            Self::Path { verb, .. } | Self::Resource { verb, .. } => verb,
        }
    }

    /// The namespace that is meant; empty: none, or all.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        match self {
            Self::Path { .. } => "",
            Self::Resource { namespace, .. } => namespace,
        }
    }
}

impl fmt::Display for Act<'_> {
    /// `cannot get resource "pods/log" in API group "" in the namespace "a"`, as kube-apiserver refuses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { verb, path } => write!(f, "cannot {verb} path {path:?}"),
            Self::Resource { verb, group, resource, part, namespace, .. } => {
                let slash = if part.is_empty() { "" } else { "/" };
                write!(f, "cannot {verb} resource \"{resource}{slash}{part}\" in API group {group:?} ")?;
                match namespace.is_empty() {
                    true => write!(f, "at the cluster scope"),
                    false => write!(f, "in the namespace {namespace:?}"),
                }
            }
        }
    }
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label, or the field's path.
    pub key: String,
    /// As review objects name it: `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// What it is compared with.
    pub values: Vec<String>,
}

impl Requirement {
    /// `key=value`.
    #[must_use]
    pub fn equals(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), operator: "In".to_owned(), values: vec![value.to_owned()] }
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.key == key && self.operator == "In" && matches!(&self.values[..], [one] if one == value)
    }
}

/// What selectors leave of the objects that are asked for. A decision may depend on it only if it is narrower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of fields.
    pub fields: Vec<Requirement>,
    /// Of labels.
    pub labels: Vec<Requirement>,
}

static ALL: Selection = Selection { fields: Vec::new(), labels: Vec::new() };

/// One request, as far as a decision depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: User<'a>,
    /// For what.
    pub act: Act<'a>,
    /// The version of the group that the request names; `*` or empty where it matters to nobody.
    pub version: &'a str,
    /// Which objects are left by selectors.
    pub selection: &'a Selection,
}

impl<'a> Attributes<'a> {
    /// A request without selectors.
    #[must_use]
    pub fn new(user: User<'a>, act: Act<'a>) -> Self {
        Self { user, act, version: "*", selection: &ALL }
    }
}

/// What an authorizer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done; nobody else is asked.
    Allow,
    /// It may not; nobody else is asked.
    Deny,
    /// Somebody else may allow it.
    NoOpinion,
}

/// Why.
#[derive(Debug, Clone, Default)]
pub enum Reason {
    /// There is nothing to say.
    #[default]
    None,
    /// In words.
    Text(Arc<str>),
    /// A binding gave it, to this one of its subjects.
    Binding(Arc<Binding>, usize),
}

impl Reason {
    /// In these words; none if there are none.
    #[must_use]
    pub fn text(words: &str) -> Self {
        if words.is_empty() { Self::None } else { Self::Text(words.into()) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Binding(binding, subject) => write!(f, "RBAC: allowed by {}", binding.described(*subject)),
        }
    }
}

/// A verdict and what led to it.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What is decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What went wrong on the way; empty: nothing.
    pub error: String,
}

impl Decision {
    /// Yes.
    #[must_use]
    pub fn allow(reason: Reason) -> Self {
        Self { verdict: Verdict::Allow, reason, error: String::new() }
    }

    /// No, whatever others say.
    #[must_use]
    pub fn deny(reason: Reason) -> Self {
        Self { verdict: Verdict::Deny, reason, error: String::new() }
    }

    /// Ask others.
    #[must_use]
    pub fn no_opinion(reason: Reason) -> Self {
        Self { verdict: Verdict::NoOpinion, reason, error: String::new() }
    }

    /// Whether it may be done.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// A decision that is on its way.
pub type Deciding<'a> = Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;

/// Who decides. Whoever needs to know whether something may be done asks one, and does not know what stands behind it.
pub trait Authorizer: Send + Sync {
    /// Decides about one request.
    fn authorize<'a>(&'a self, asked: &'a Attributes<'a>) -> Deciding<'a>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_kubernetes_words_them() {
        let act =
            |part, namespace| Act::Resource { verb: "get", group: "", resource: "pods", part, namespace, name: "p" };
        assert_eq!(
            act("log", "a").to_string(),
            r#"cannot get resource "pods/log" in API group "" in the namespace "a""#
        );
        assert_eq!(act("", "").to_string(), r#"cannot get resource "pods" in API group "" at the cluster scope"#);
        assert_eq!(Act::Path { verb: "get", path: "/x" }.to_string(), r#"cannot get path "/x""#);
    }
}
