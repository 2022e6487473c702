//! Match conditions: when a webhook is called, or a policy is asked.

use crate::environment::{Environment, Wanted};
use crate::expression::{Expression, Failed, Variables};
use crate::{CONDITIONS_BUDGET, Scene};
use serde_json::Value;

/// The `matchConditions` of a webhook or a policy, compiled.
#[derive(Debug, Default)]
pub struct Conditions {
    list: Vec<Expression>,
    /// Whether a condition that cannot be decided fails the request; otherwise nobody is asked.
    fail: bool,
}

impl Conditions {
    /// Those of a webhook, by its `matchConditions` and `failurePolicy`.
    #[must_use]
    pub fn of_webhook(hook: &Value) -> Self {
        Self::compile(hook, &Environment::default().with_authorizer(), &Variables::default())
    }

    pub(crate) fn compile(holder: &Value, environment: &Environment, variables: &Variables) -> Self {
        let list = holder["matchConditions"].as_array().into_iter().flatten();
        let compile = |one: &Value| {
            let text = one["expression"].as_str().unwrap_or_default();
            Expression::compile(text, environment, variables, Wanted::Bool)
        };
        Self { list: list.map(compile).collect(), fail: holder["failurePolicy"] != "Ignore" }
    }

    /// Whether there are none: then everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether all of them hold. One that is false decides, whatever others come to.
    ///
    /// # Errors
    /// Some cannot be decided, none is false, and the failure policy is `Fail`: why.
    pub fn hold(&self, scene: &Scene<'_>) -> Result<bool, String> {
        self.hold_with(scene, &Variables::default())
    }

    pub(crate) fn hold_with(&self, scene: &Scene<'_>, variables: &Variables) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(true);
        }
        let undecided = |why: String| if self.fail { Err(why) } else { Ok(false) };
        let mut evaluation = scene.without_namespace().begin(variables, CONDITIONS_BUDGET);
        // Costs are counted before anything is decided: what came first does not matter if all is spent.
        let mut results = Vec::with_capacity(self.list.len());
        for expression in &self.list {
            match evaluation.truth(expression) {
                Ok(truth) => results.push(Ok(truth)),
                Err(Failed::Expression(why)) => results.push(Err(why)),
                Err(Failed::Budget(why)) => return undecided(why),
            }
        }
        if results.contains(&Ok(false)) {
            return Ok(false);
        }
        let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        if failed.is_empty() { Ok(true) } else { undecided(aggregate(&failed)) }
    }
}

/// Several errors as one: `[a, b]`, each once.
fn aggregate(errors: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for error in errors {
        if !distinct.contains(&error.as_str()) {
            distinct.push(error);
        }
    }
    match distinct[..] {
        [one] => one.to_owned(),
        _ => format!("[{}]", distinct.join(", ")),
    }
}
