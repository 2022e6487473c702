//! What is wrong with the expressions of a policy or a webhook that is written: they are compiled as they will be evaluated.

use crate::environment::{Environment, Wanted};
use crate::expression::{Expression, Variables};

/// Compiles the expressions of one policy, in the order in which they stand there; each method answers why its expression is refused.
#[derive(Debug)]
pub struct Checker {
    plain: Environment,
    full: Environment,
    variables: Variables,
}

impl Checker {
    /// Of a policy with parameters or without; a webhook has none. Expressions may speak of `variables` if the policy has some, or if it
    /// is one that changes objects (`always_composed`).
    #[must_use]
    pub fn new(has_params: bool, always_composed: bool) -> Self {
        let plain = Environment::with_params(has_params);
        let variables = if always_composed { Variables::none_yet() } else { Variables::default() };
        Self { full: plain.clone().with_authorizer(), plain, variables }
    }

    /// A match condition, which knows no variables.
    #[must_use]
    pub fn condition(&self, text: &str) -> Option<String> {
        problem(text, &self.full, &Variables::default(), Wanted::Bool)
    }

    /// A variable; those after it, and all other expressions, may use it.
    pub fn variable(&mut self, name: &str, text: &str) -> Option<String> {
        self.variables.add(name, text, &self.full)
    }

    /// A validation.
    #[must_use]
    pub fn validation(&self, text: &str) -> Option<String> {
        problem(text, &self.full, &self.variables, Wanted::Bool)
    }

    /// The expression of a message.
    #[must_use]
    pub fn message(&self, text: &str) -> Option<String> {
        problem(text, &self.plain, &self.variables, Wanted::Text)
    }

    /// The value of an audit annotation.
    #[must_use]
    pub fn annotation(&self, text: &str) -> Option<String> {
        problem(text, &self.full, &self.variables, Wanted::TextOrNull)
    }

    /// An apply configuration.
    #[must_use]
    pub fn configuration(&self, text: &str) -> Option<String> {
        problem(text, &self.full.clone().with_patches(), &self.variables, Wanted::Configuration)
    }

    /// The operations of a JSON Patch.
    #[must_use]
    pub fn patches(&self, text: &str) -> Option<String> {
        problem(text, &self.full.clone().with_patches(), &self.variables, Wanted::Patches)
    }
}

fn problem(text: &str, environment: &Environment, variables: &Variables, wanted: Wanted) -> Option<String> {
    Expression::compile(text, environment, variables, wanted).problem().map(str::to_owned)
}
