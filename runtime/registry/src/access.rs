//! Who may do what: callers, policies, scopes of tokens. Pure.

use crate::name::Name;
use crate::route::Action;
use crate::rules::{Rules, matches};
use serde::{Deserialize, Serialize};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Their name; `None`: nobody has said.
    pub user: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// What a token of ours allows, and nothing beside; `None`: they showed a password, or a cluster's token.
    pub scopes: Option<Vec<Scope>>,
}

/// What a token is for, in the words of Docker's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `repository`, or `registry` for the catalog.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one.
    pub name: String,
    /// `pull`, `push`, `delete`, `*`.
    pub actions: Vec<String>,
}

impl Scope {
    /// Reads `repository:team/app:pull,push`; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    /// Its text.
    #[must_use]
    pub fn of(name: &Name, actions: &[Action]) -> String {
        let words: Vec<&str> = actions.iter().map(|action| action.word()).collect();
        format!("repository:{name}:{}", words.join(","))
    }

    fn covers(&self, name: &Name, action: Action) -> bool {
        self.kind == "repository"
            && self.name == name.as_str()
            && self.actions.iter().any(|one| one == "*" || one == action.word())
    }
}

/// Allows some people some actions on some repositories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Names, in which `*` stands for any characters; `*` alone is everybody who has said who they are.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, likewise.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Repositories, likewise.
    pub repositories: Vec<String>,
    /// `pull`, `push`, `delete`, or `*`.
    pub actions: Vec<String>,
}

impl Policy {
    fn allows(&self, caller: &Caller, action: Action, name: &Name) -> bool {
        let Some(user) = &caller.user else { return false };
        let any = |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        (any(&self.users, user) || caller.groups.iter().any(|group| any(&self.groups, group)))
            && any(&self.repositories, name.as_str())
            && self.actions.iter().any(|one| one == "*" || one == action.word())
    }

    /// Whether its words are ones.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Err("users and groups: at least one is needed".to_owned());
        }
        match self.actions.iter().find(|one| *one != "*" && Action::named(one).is_none()) {
            Some(unknown) => Err(format!("actions: \"{unknown}\" is not pull, push, delete or *")),
            None => Ok(()),
        }
    }
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// Nobody says who they are, and everybody may do everything.
    #[default]
    Open,
    /// These policies; without any, whoever has said who they are may do everything.
    Policies(Vec<Policy>),
}

impl Access {
    /// Whether `caller` may do it, by policies and rules alone.
    ///
    /// That is so whatever their token is for.
    #[must_use]
    pub fn grants(&self, caller: &Caller, action: Action, name: &Name, rules: &Rules) -> bool {
        match self {
            Self::Open => true,
            _ if rules.public && action == Action::Pull => true,
            Self::Policies(all) if all.is_empty() => caller.user.is_some(),
            Self::Policies(all) => all.iter().any(|policy| policy.allows(caller, action, name)),
        }
    }

    /// Whether `caller` may do it with what they showed.
    #[must_use]
    pub fn allows(&self, caller: &Caller, action: Action, name: &Name, rules: &Rules) -> bool {
        let public = rules.public && action == Action::Pull;
        let in_scope =
            caller.scopes.as_ref().is_none_or(|all| public || all.iter().any(|scope| scope.covers(name, action)));
        in_scope && self.grants(caller, action, name, rules)
    }

    /// What a token is given: less than was asked for is no error in Docker's protocol, and clients notice when they use it.
    ///
    /// That is what of the asked scopes a token may have.
    #[must_use]
    pub fn granted(&self, caller: &Caller, asked: &[Scope], rules: &dyn Fn(&Name) -> Rules) -> Vec<Scope> {
        let one = |scope: &Scope| {
            if scope.kind == "registry" && scope.name == "catalog" && caller.user.is_some() {
                return Some(scope.clone());
            }
            let name = scope.name.parse::<Name>().ok().filter(|_| scope.kind == "repository")?;
            let rules = rules(&name);
            let wanted = |action: &Action| scope.actions.iter().any(|one| one == "*" || one == action.word());
            let may = |action: &Action| wanted(action) && self.grants(caller, *action, &name, &rules);
            let actions: Vec<String> = [Action::Pull, Action::Push, Action::Delete]
                .into_iter()
                .filter(may)
                .map(|action| action.word().to_owned())
                .collect();
            (!actions.is_empty()).then(|| Scope { kind: scope.kind.clone(), name: scope.name.clone(), actions })
        };
        asked.iter().filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn user(name: &str, groups: &[&str]) -> Caller {
        Caller {
            user: Some(name.into()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            scopes: None,
        }
    }

    fn policies() -> Access {
        let policy = |users: &[&str], groups: &[&str], repositories: &[&str], actions: &[&str]| {
            let all = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
            Policy { users: all(users), groups: all(groups), repositories: all(repositories), actions: all(actions) }
        };
        Access::Policies(vec![
            policy(&["ann"], &[], &["*"], &["*"]),
            policy(&["*"], &[], &["shared/*"], &["pull"]),
            policy(&[], &["system:serviceaccounts:ci"], &["ci/*"], &["pull", "push"]),
        ])
    }

    #[test]
    fn a_table_of_who_may_what() {
        use Action::{Delete, Pull, Push};
        let (nobody, ann, bob) = (Caller::default(), user("ann", &[]), user("bob", &[]));
        let robot = user("system:serviceaccount:ci:build", &["system:serviceaccounts:ci"]);
        let (private, public) = (Rules::default(), Rules { public: true, ..Rules::default() });
        for (caller, action, repository, rules, may) in [
            (&ann, Delete, "x", &private, true),
            (&bob, Pull, "x", &private, false),
            (&bob, Pull, "shared/x", &private, true),
            (&bob, Push, "shared/x", &private, false),
            (&bob, Pull, "x", &public, true),
            (&robot, Push, "ci/app", &private, true),
            (&robot, Delete, "ci/app", &private, false),
            (&robot, Push, "ci", &private, false),
            (&nobody, Pull, "shared/x", &private, false),
            (&nobody, Pull, "x", &public, true),
            (&nobody, Push, "x", &public, false),
        ] {
            assert_eq!(
                policies().allows(caller, action, &name(repository), rules),
                may,
                "{caller:?} {action:?} {repository}"
            );
        }
        assert!(Access::Open.allows(&nobody, Delete, &name("x"), &private));
        assert!(Access::Policies(vec![]).allows(&bob, Delete, &name("x"), &private));
        assert!(!Access::Policies(vec![]).allows(&nobody, Pull, &name("x"), &private));
    }

    #[test]
    fn a_token_allows_what_it_is_for_and_its_owner_may() {
        let asked: Vec<Scope> =
            ["repository:shared/x:pull,push", "repository:x:pull", "registry:catalog:*", "repository:../x:pull"]
                .iter()
                .map(|text| Scope::parse(text).unwrap())
                .collect();
        let mut bob = user("bob", &[]);
        let granted = policies().granted(&bob, &asked, &|_| Rules::default());
        let texts: Vec<String> =
            granted.iter().map(|scope| format!("{}:{}", scope.name, scope.actions.join(","))).collect();
        assert_eq!(texts, ["shared/x:pull", "catalog:*"]);
        bob.scopes = Some(granted);
        let rules = Rules::default();
        assert!(policies().allows(&bob, Action::Pull, &name("shared/x"), &rules));
        assert!(!policies().allows(&bob, Action::Pull, &name("shared/y"), &rules), "the token is not for it");
        bob.scopes = Some(vec![Scope::parse("repository:x:*").unwrap()]);
        assert!(!policies().allows(&bob, Action::Pull, &name("x"), &rules), "the token is older than the policy");
    }
}
