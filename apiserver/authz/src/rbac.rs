//! What roles and bindings allow (Kubernetes "Using RBAC Authorization").
//!
//! ```text
//!  user, groups ──► bindings of the cluster, then of the namespace ──► role ──► rules ──► the first that matches allows
//! ```
//!
//! Bindings are found by subject, roles by name: a decision costs what the asker's own bindings cost, however many others there are.
//! Rules only ever add: nothing here denies.

use crate::objects::{Binding, Kind, Role, RoleRef, SubjectKind};
use crate::rule::{Rule, missing, quoted};
use crate::{Attributes, Decision, Reason, User};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Bindings of one subject, each list in the order of their names.
#[derive(Debug, Default)]
struct Given {
    everywhere: Vec<Arc<Binding>>,
    by_namespace: HashMap<String, Vec<Arc<Binding>>>,
}

impl Given {
    fn list(&mut self, namespace: &str) -> &mut Vec<Arc<Binding>> {
        if namespace.is_empty() {
            return &mut self.everywhere;
        }
        self.by_namespace.entry(namespace.to_owned()).or_default()
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        let list = self.list(&binding.namespace);
        if let Err(place) = list.binary_search_by(|one| one.name.cmp(&binding.name)) {
            list.insert(place, Arc::clone(binding));
        }
    }

    fn remove(&mut self, binding: &Binding) {
        let list = self.list(&binding.namespace);
        list.retain(|one| one.name != binding.name);
        if list.is_empty() {
            self.by_namespace.remove(&binding.namespace);
        }
    }

    fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.by_namespace.is_empty()
    }
}

/// Roles or bindings by namespace, which is empty for the cluster's, and name.
type Named<T> = HashMap<String, HashMap<String, T>>;

fn take<T>(all: &mut Named<T>, namespace: &str, name: &str) -> Option<T> {
    let of_namespace = all.get_mut(namespace)?;
    let taken = of_namespace.remove(name);
    if of_namespace.is_empty() {
        all.remove(namespace);
    }
    taken
}

fn put<T>(all: &mut Named<T>, namespace: &str, name: &str, value: T) {
    all.entry(namespace.to_owned()).or_default().insert(name.to_owned(), value);
}

/// All rules that apply to somebody, and what could not be found on the way.
#[derive(Debug, Default)]
pub struct RulesFor {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Roles that bindings name and that are not there.
    pub errors: Vec<String>,
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub struct Roles {
    roles: Named<Arc<[Rule]>>,
    bindings: Named<Arc<Binding>>,
    users: HashMap<String, Given>,
    groups: HashMap<String, Given>,
}

impl Roles {
    /// Adds an object, or puts it in the place of the one that has its name.
    pub fn put(&mut self, kind: Kind, value: &serde_json::Value) {
        match kind {
            Kind::ClusterRole | Kind::Role => {
                let Role { namespace, name, rules } = Role::read(value);
                put(&mut self.roles, &namespace, &name, rules);
            }
            Kind::ClusterRoleBinding | Kind::RoleBinding => self.bind(Binding::read(value)),
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::ClusterRole | Kind::Role => drop(take(&mut self.roles, namespace, name)),
            Kind::ClusterRoleBinding | Kind::RoleBinding => self.unbind(namespace, name),
        }
    }

    fn bind(&mut self, binding: Binding) {
        self.unbind(&binding.namespace, &binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            self.of(subject.kind).entry(subject.key.clone()).or_default().add(&binding);
        }
        let (namespace, name) = (binding.namespace.clone(), binding.name.clone());
        put(&mut self.bindings, &namespace, &name, binding);
    }

    fn unbind(&mut self, namespace: &str, name: &str) {
        let Some(binding) = take(&mut self.bindings, namespace, name) else { return };
        for subject in &binding.subjects {
            let all = self.of(subject.kind);
            if let Some(given) = all.get_mut(&subject.key) {
                given.remove(&binding);
                if given.is_empty() {
                    all.remove(&subject.key);
                }
            }
        }
    }

    fn of(&mut self, kind: SubjectKind) -> &mut HashMap<String, Given> {
        match kind {
            SubjectKind::Group => &mut self.groups,
            SubjectKind::User | SubjectKind::ServiceAccount => &mut self.users,
        }
    }

    /// Decides from what the user's bindings give.
    #[must_use]
    pub fn decide(&self, asked: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        let allowed = self.find(&asked.user, asked.act.namespace(), |binding| match self.rules_of(binding) {
            Ok(rules) => rules.iter().any(|rule| rule.allows(&asked.act)),
            Err(error) => {
                errors.push(error);
                false
            }
        });
        if let Some(binding) = allowed {
            let subject = binding.subjects.iter().position(|subject| subject.is(&asked.user));
            return Decision::allow(Reason::Binding(Arc::clone(binding), subject.unwrap_or_default()));
        }
        let errors = together(&errors);
        Decision::no_opinion(if errors.is_empty() { Reason::None } else { Reason::text(&format!("RBAC: {errors}")) })
    }

    /// The first binding of the user that `wanted` wants: those of the cluster come first.
    fn find(
        &self,
        user: &User<'_>,
        namespace: &str,
        mut wanted: impl FnMut(&Binding) -> bool,
    ) -> Option<&Arc<Binding>> {
        let given = || {
            let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            self.users.get(user.name).into_iter().chain(groups)
        };
        let everywhere = given().flat_map(|given| &given.everywhere).find(|binding| wanted(binding));
        if everywhere.is_some() || namespace.is_empty() {
            return everywhere;
        }
        given().filter_map(|given| given.by_namespace.get(namespace)).flatten().find(|binding| wanted(binding))
    }

    fn rules_of(&self, binding: &Binding) -> Result<&Arc<[Rule]>, String> {
        self.rules_of_role(&binding.role, &binding.namespace)
    }

    /// The rules of the role that a binding in `namespace` names.
    ///
    /// # Errors
    /// There is no such role.
    pub fn rules_of_role(&self, role: &RoleRef, namespace: &str) -> Result<&Arc<[Rule]>, String> {
        let namespace = match &*role.kind {
            "Role" => namespace,
            "ClusterRole" => "",
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let found = self.roles.get(namespace).and_then(|of_namespace| of_namespace.get(&role.name));
        found.ok_or_else(|| {
            let kind = role.kind.to_lowercase();
            format!("{kind}.rbac.authorization.k8s.io {:?} not found", role.name)
        })
    }

    /// All rules that apply to the user in `namespace`.
    #[must_use]
    pub fn rules_for(&self, user: &User<'_>, namespace: &str) -> RulesFor {
        let mut found = RulesFor::default();
        let mut seen = BTreeSet::new();
        self.find(user, namespace, |binding| {
            if seen.insert((binding.namespace.clone(), binding.name.clone())) {
                match self.rules_of(binding) {
                    Ok(rules) => found.rules.extend(rules.iter().cloned()),
                    Err(error) => found.errors.push(error),
                }
            }
            false
        });
        found
    }

    /// Refuses to let the user give `rules` in `namespace` that they do not have there themselves.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn confirm_no_escalation(&self, user: &User<'_>, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let held = self.rules_for(user, namespace);
        let missing = missing(&held.rules, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = missing.iter().map(Rule::compact).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(user.groups),
            lines.join("\n")
        );
        if !held.errors.is_empty() {
            text += &format!("; resolution errors: [{}]", together(&held.errors));
        }
        Err(text)
    }
}

/// As Go shows several errors: each once, in brackets if there is more than one.
pub(crate) fn together(errors: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    match &once[..] {
        [] => String::new(),
        [one] => (*one).to_owned(),
        more => format!("[{}]", more.join(", ")),
    }
}
