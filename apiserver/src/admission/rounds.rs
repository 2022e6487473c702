//! The second round of those that change objects (`reinvocationPolicy`): plugins that administrators configure may change what others have
//! looked at already, so those that want to look again may, once.
//!
//! Each such plugin has a name of its own here and keys for what it asks (its hooks, its policies).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one write has come to.
#[derive(Debug, Default)]
pub(crate) struct Rounds(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    number: usize,
    another: bool,
    plugins: BTreeMap<&'static str, Asked>,
}

/// What one plugin has asked.
#[derive(Debug, Default)]
struct Asked {
    /// What wants to look again, and has not had to yet.
    waiting: BTreeSet<String>,
    /// What looks again.
    again: BTreeSet<String>,
    /// What the object was when the plugin was done with it.
    last: Option<Value>,
}

impl Rounds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which round it is: 0 or 1.
    pub(crate) fn number(&self) -> usize {
        self.state().number
    }

    /// Begins another round if somebody wanted it; there are two at most.
    pub(super) fn next(&self) -> bool {
        let mut state = self.state();
        let begins = state.another && state.number == 0;
        if begins {
            state.number = 1;
        }
        begins
    }

    /// `plugin` begins with `object`: if others have changed it since, all that want to look again do.
    pub(crate) fn begin(&self, plugin: &'static str, object: &Value) {
        let mut state = self.state();
        let is_second = state.number > 0;
        let asked = state.plugins.entry(plugin).or_default();
        if is_second && asked.last.as_ref() != Some(object) {
            asked.again.append(&mut asked.waiting);
        }
    }

    /// Whether what `key` names is asked in this round. Nothing is asked for the first time in the second round.
    pub(crate) fn is_asked(&self, plugin: &'static str, key: &str) -> bool {
        let state = self.state();
        state.number == 0 || state.plugins.get(plugin).is_some_and(|asked| asked.again.contains(key))
    }

    /// `plugin` has changed the object: what it asked before may look again, and all plugins come once more.
    pub(crate) fn changed(&self, plugin: &'static str) {
        let mut state = self.state();
        state.another = true;
        let asked = state.plugins.entry(plugin).or_default();
        asked.again.append(&mut asked.waiting);
    }

    /// What `key` names was asked and wants to look again if something changes.
    pub(crate) fn may_ask_again(&self, plugin: &'static str, key: String) {
        self.state().plugins.entry(plugin).or_default().waiting.insert(key);
    }

    /// `plugin` is done with `object`.
    pub(crate) fn end(&self, plugin: &'static str, object: &Value) {
        self.state().plugins.entry(plugin).or_default().last = Some(object.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const P: &str = "p";

    #[test]
    fn who_came_before_a_change_looks_again() {
        let rounds = Rounds::default();
        rounds.begin(P, &json!(1));
        for key in ["a", "b", "c"] {
            assert!(rounds.is_asked(P, key));
            if key == "b" {
                rounds.changed(P);
            }
            rounds.may_ask_again(P, key.to_owned());
        }
        rounds.end(P, &json!(2));
        assert!(rounds.next(), "something has changed");
        rounds.begin(P, &json!(2));
        let again: Vec<bool> = ["a", "b", "c", "new"].iter().map(|key| rounds.is_asked(P, key)).collect();
        assert_eq!(again, [true, false, false, false]);
        assert!(!rounds.next(), "there are two rounds");
    }

    #[test]
    fn what_others_change_counts() {
        let rounds = Rounds::default();
        rounds.begin(P, &json!(1));
        rounds.may_ask_again(P, "a".to_owned());
        rounds.end(P, &json!(1));
        rounds.changed("other");
        assert!(rounds.next());
        rounds.begin(P, &json!(2));
        assert!(rounds.is_asked(P, "a"));
        assert!(!Rounds::default().next(), "nothing has changed");
    }
}
