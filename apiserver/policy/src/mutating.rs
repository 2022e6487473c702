//! Mutating admission policies: what changes requests.

use crate::conditions::Conditions;
use crate::environment::{Environment, Wanted};
use crate::expression::{Expression, Failed, Variables};
use crate::{BUDGET, Scene};
use serde_json::Value;

/// A `MutatingAdmissionPolicy`, compiled. What does not compile fails when it is asked.
#[derive(Debug)]
pub struct Mutating {
    variables: Variables,
    conditions: Conditions,
    mutations: Vec<(Kind, Expression)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Apply,
    Patch,
}

/// A change of the object.
#[derive(Debug, Clone, PartialEq)]
pub enum Mutation {
    /// An apply configuration, to be merged into it.
    Apply(Value),
    /// Operations of a JSON Patch.
    Patch(Vec<Value>),
}

impl Mutating {
    /// Compiles all expressions of a policy.
    #[must_use]
    pub fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let full = Environment::with_params(!spec["paramKind"].is_null()).with_authorizer();
        let patches = full.clone().with_patches();
        let variables = Variables::compile(&spec["variables"], &full);
        let mutation = |one: &Value| {
            let (kind, field, wanted) = match one["patchType"].as_str() {
                Some("JSONPatch") => (Kind::Patch, "jsonPatch", Wanted::Patches),
                _ => (Kind::Apply, "applyConfiguration", Wanted::Configuration),
            };
            let text = one[field]["expression"].as_str().unwrap_or_default();
            (kind, Expression::compile(text, &patches, &variables, wanted))
        };
        Self {
            conditions: Conditions::compile(spec, &full, &variables),
            mutations: spec["mutations"].as_array().into_iter().flatten().map(mutation).collect(),
            variables,
        }
    }

    /// Whether its conditions hold.
    ///
    /// # Errors
    /// They cannot be decided and the failure policy is `Fail`: why.
    pub fn holds(&self, scene: &Scene<'_>) -> Result<bool, String> {
        self.conditions.hold_with(scene, &self.variables)
    }

    /// How many changes it makes, one after the other.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    /// Whether it makes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// The change at `index`, of the object as the changes before it left it.
    ///
    /// # Errors
    /// Its expression does not compile, failed, or cost too much: why.
    pub fn mutation(&self, index: usize, scene: &Scene<'_>) -> Result<Mutation, String> {
        let Some((kind, expression)) = self.mutations.get(index) else { return Ok(Mutation::Patch(Vec::new())) };
        let mut evaluation = scene.begin(&self.variables, BUDGET);
        let why = |failed| match failed {
            Failed::Expression(why) | Failed::Budget(why) => why,
        };
        match kind {
            Kind::Apply => evaluation.configuration(expression).map(Mutation::Apply).map_err(why),
            Kind::Patch => evaluation.patches(expression).map(Mutation::Patch).map_err(why),
        }
    }
}
