//! Roles and bindings, as they are read from what is stored.

use crate::{GROUP, Rule, User};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The user that a service account is begins so.
const ACCOUNTS: &str = "system:serviceaccount:";

/// Which of RBAC's four kinds an object is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Rules for every namespace and for what has none.
    ClusterRole,
    /// Rules for one namespace.
    Role,
    /// Gives a cluster role everywhere.
    ClusterRoleBinding,
    /// Gives a role in one namespace.
    RoleBinding,
}

impl Kind {
    /// All of them, roles first.
    pub const ALL: [Self; 4] = [Self::ClusterRole, Self::Role, Self::ClusterRoleBinding, Self::RoleBinding];

    /// `clusterroles`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::ClusterRole => "clusterroles",
            Self::Role => "roles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::RoleBinding => "rolebindings",
        }
    }

    /// `ClusterRole`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterRole => "ClusterRole",
            Self::Role => "Role",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::RoleBinding => "RoleBinding",
        }
    }

    /// The kind that is called `plural` in [`GROUP`].
    #[must_use]
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        if group != GROUP {
            return None;
        }
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Rules under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Empty: of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub rules: Arc<[Rule]>,
}

impl Role {
    /// Reads what is stored.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let metadata = &value["metadata"];
        let rules = value["rules"].as_array().into_iter().flatten().map(Rule::read).collect();
        Self { namespace: text(metadata, "namespace").to_owned(), name: text(metadata, "name").to_owned(), rules }
    }
}

/// Which role a binding gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role`, `ClusterRole`.
    pub kind: String,
    /// Of the role.
    pub name: String,
    /// The API group that the binding names.
    pub group: String,
}

impl RoleRef {
    /// Reads `roleRef`.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let field = |name: &str| text(value, name).to_owned();
        Self { kind: field("kind"), name: field("name"), group: field("apiGroup") }
    }
}

/// What kind of subject somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// By name.
    User,
    /// By group.
    Group,
    /// A service account.
    ServiceAccount,
}

/// To whom a binding gives its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// How they are meant.
    pub kind: SubjectKind,
    /// Of the user, group or account.
    pub name: String,
    /// Of an account; the binding's own if it names none.
    pub namespace: String,
    /// The user or group that requests name.
    pub(crate) key: String,
}

impl Subject {
    /// Nobody is meant by a kind that we do not know, or by an account without a namespace.
    fn read(value: &Value, namespace: &str) -> Option<Self> {
        let name = text(value, "name").to_owned();
        let (kind, namespace) = match text(value, "kind") {
            "User" => (SubjectKind::User, ""),
            "Group" => (SubjectKind::Group, ""),
            "ServiceAccount" => {
                let own = text(value, "namespace");
                (SubjectKind::ServiceAccount, if own.is_empty() { namespace } else { own })
            }
            _ => return None,
        };
        let key = match kind {
            SubjectKind::ServiceAccount if namespace.is_empty() => return None,
            SubjectKind::ServiceAccount => format!("{ACCOUNTS}{namespace}:{name}"),
            SubjectKind::User | SubjectKind::Group => name.clone(),
        };
        Some(Self { kind, name, namespace: namespace.to_owned(), key })
    }

    pub(crate) fn is(&self, user: &User<'_>) -> bool {
        match self.kind {
            SubjectKind::User | SubjectKind::ServiceAccount => user.name == self.key,
            SubjectKind::Group => user.is_in(&self.key),
        }
    }
}

impl fmt::Display for Subject {
    /// `ServiceAccount "name/namespace"`, in the order in which kube-apiserver says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SubjectKind::User => write!(f, "User {:?}", self.name),
            SubjectKind::Group => write!(f, "Group {:?}", self.name),
            SubjectKind::ServiceAccount => write!(f, "ServiceAccount \"{}/{}\"", self.name, self.namespace),
        }
    }
}

/// Gives a role to subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Empty: in the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is given.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// Reads what is stored.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let metadata = &value["metadata"];
        let namespace = text(metadata, "namespace").to_owned();
        let subjects = value["subjects"].as_array().into_iter().flatten();
        let subjects = subjects.filter_map(|subject| Subject::read(subject, &namespace)).collect();
        Self { name: text(metadata, "name").to_owned(), role: RoleRef::read(&value["roleRef"]), subjects, namespace }
    }

    pub(crate) fn described(&self, subject: usize) -> String {
        let (name, role) = (&self.name, &self.role);
        let binding = match self.namespace.is_empty() {
            true => format!("ClusterRoleBinding {name:?}"),
            false => format!("RoleBinding \"{name}/{}\"", self.namespace),
        };
        let subject = self.subjects.get(subject).map(|subject| format!(" to {subject}")).unwrap_or_default();
        format!("{binding} of {} {:?}{subject}", role.kind, role.name)
    }
}
