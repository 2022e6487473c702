//! Whether the expressions of a policy fit the kinds that they will see. Nothing depends on it: objects are of no type when a policy is
//! evaluated, and a warning tells the author what would go wrong.

use crate::environment::Environment;
use crate::expression::seen_type;
use serde_json::Value;
use skiff_cel::{Shape, Type};
use std::sync::Arc;

/// An expression that does not fit some kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeProblem {
    /// Where it stands: `spec.validations[0].expression`.
    pub field: String,
    /// Each kind with what is wrong.
    pub warning: String,
}

/// What does not fit in the validations of a `ValidatingAdmissionPolicy`. `kinds`: how each is called (`apps/v1, Kind=Deployment`), and its
/// schema without references; `params`: the schema of the parameters, if their kind has one.
#[must_use]
pub fn type_problems(policy: &Value, kinds: &[(String, Value)], params: Option<&Value>) -> Vec<TypeProblem> {
    let spec = &policy["spec"];
    let params = params.map(|schema| Arc::new(Shape::of(schema, true)));
    let has_params = !spec["paramKind"].is_null();
    let environments: Vec<(&str, Environment)> = kinds
        .iter()
        .map(|(name, schema)| {
            let environment = Environment::typed(&Arc::new(Shape::of(schema, true)), params.as_ref(), has_params);
            (name.as_str(), with_variables(&environment, &spec["variables"]))
        })
        .collect();
    let mut problems = Vec::new();
    for (index, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation[field].as_str().unwrap_or_default();
            if field == "messageExpression" && text.is_empty() {
                continue;
            }
            let wrong = environments.iter().filter_map(|(name, environment)| {
                let why = environment.check(text).err()?;
                Some(format!("{name}: {why}\n"))
            });
            let warning = wrong.collect::<Vec<_>>().join("\n");
            if !warning.is_empty() {
                problems.push(TypeProblem { field: format!("spec.validations[{index}].{field}"), warning });
            }
        }
    }
    problems
}

/// The environment of what may use variables; one that does not fit may be anything.
fn with_variables(environment: &Environment, variables: &Value) -> Environment {
    let mut types: Vec<(&str, Type)> = Vec::new();
    for one in variables.as_array().into_iter().flatten() {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        let of = environment.with_variables(&types).check(text("expression"));
        types.push((text("name"), of.map_or(Type::Dyn, |of| seen_type(&of))));
    }
    environment.with_variables(&types)
}
