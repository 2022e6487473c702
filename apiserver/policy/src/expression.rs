//! One expression, compiled, and the variables of its policy.

use crate::OUT_OF_BUDGET;
use crate::environment::{Environment, Wanted};
use serde_json::Value as Json;
use skiff_cel::{Activation, CALL_COST_MAX, Evaluation as Evaluated, Program, Type, Value};

/// An expression and what it was compiled to, or why it was not.
#[derive(Debug)]
pub(crate) struct Expression {
    text: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(crate) fn compile(text: &str, environment: &Environment, variables: &Variables, wanted: Wanted) -> Self {
        let program = variables.see(environment).compile(text, wanted);
        Self { text: text.to_owned(), program }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Why it does not compile, if it does not.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// The variables of a policy, each of which may use those before it.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    list: Vec<(String, Expression, Type)>,
    /// Whether expressions may speak of `variables`, even if there are none.
    declared: bool,
}

impl Variables {
    /// None yet, where there may be some.
    pub(crate) fn none_yet() -> Self {
        Self { list: Vec::new(), declared: true }
    }

    /// Those of a policy.
    pub(crate) fn compile(written: &Json, environment: &Environment) -> Self {
        let mut variables = Self::none_yet();
        for one in written.as_array().into_iter().flatten() {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            variables.add(text("name"), text("expression"), environment);
        }
        variables
    }

    /// Adds one; answers why it does not compile. What uses it then fails when it is evaluated.
    pub(crate) fn add(&mut self, name: &str, text: &str, environment: &Environment) -> Option<String> {
        let expression = Expression::compile(text, environment, self, Wanted::Anything);
        let problem = expression.problem().map(str::to_owned);
        let of = expression.program.as_ref().map_or(Type::Dyn, |program| seen_type(program.output()));
        self.list.push((name.to_owned(), expression, of));
        problem
    }

    /// The environment of what may use them.
    fn see(&self, environment: &Environment) -> Environment {
        if !self.declared && self.list.is_empty() {
            return environment.clone();
        }
        let types: Vec<(&str, Type)> = self.list.iter().map(|(name, _, of)| (name.as_str(), of.clone())).collect();
        environment.with_variables(&types)
    }

    fn programs(&self) -> impl Iterator<Item = (&str, Result<&Program, String>)> {
        self.list.iter().map(|(name, expression, _)| (name.as_str(), expression.program.as_ref().map_err(Clone::clone)))
    }
}

/// The type under which a variable is seen: what is neither plain nor made of what is plain may be anything.
pub(crate) fn seen_type(of: &Type) -> Type {
    match of {
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => of.clone(),
        Type::List(element) => Type::list(seen_type(element)),
        Type::Map(both) => Type::map(seen_type(&both.0), seen_type(&both.1)),
        _ => Type::Dyn,
    }
}

/// Why an expression came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It does not compile, or is wrong for these values.
    Expression(String),
    /// Nothing more may be evaluated.
    Budget(String),
}

/// Expressions on one scene, which share a budget and the values of variables.
pub(crate) struct Evaluation<'a> {
    activation: Activation<'a>,
    left: u64,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(activation: Activation<'a>, variables: &'a Variables, budget: u64) -> Self {
        Self { activation: activation.with_variables(variables.programs(), CALL_COST_MAX), left: budget }
    }

    /// What may still be spent.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    fn value(&mut self, expression: &'a Expression) -> Result<Value<'a>, Failed> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(why) => return Err(Failed::Expression(format!("compilation error: {why}"))),
        };
        let Evaluated { result, cost } = program.evaluate(&self.activation, CALL_COST_MAX);
        let spent = cost.saturating_add(self.activation.take_spent());
        self.left = self.left.checked_sub(spent).ok_or_else(|| Failed::Budget(OUT_OF_BUDGET.to_owned()))?;
        let failed =
            |why: String| Failed::Expression(format!("expression '{}' resulted in error: {why}", expression.text));
        result.map_err(|fault| failed(fault.to_string()))
    }

    /// Of a condition or a validation.
    pub(crate) fn truth(&mut self, expression: &'a Expression) -> Result<bool, Failed> {
        Ok(self.value(expression)?.as_bool().unwrap_or_default())
    }

    /// Of a message or an annotation; nothing, if it is null.
    pub(crate) fn text(&mut self, expression: &'a Expression) -> Result<Option<String>, Failed> {
        Ok(self.value(expression)?.as_str().map(str::to_owned))
    }

    /// An apply configuration.
    pub(crate) fn configuration(&mut self, expression: &'a Expression) -> Result<Json, Failed> {
        compiled(expression)?;
        let value = self.value(expression)?;
        named_by_place(&value)?;
        let none = || Failed::Expression("the result of the expression has no form in JSON".to_owned());
        value.to_json().ok_or_else(none)
    }

    /// The operations of a JSON Patch.
    pub(crate) fn patches(&mut self, expression: &'a Expression) -> Result<Vec<Json>, Failed> {
        compiled(expression)?;
        let Value::List(list) = self.value(expression)? else {
            let why = "type mismatch: JSONPatchType.expression should evaluate to array";
            return Err(Failed::Expression(why.to_owned()));
        };
        let each = (0..list.len()).map(|at| {
            let operation = list.get(at).map_err(|fault| Failed::Expression(fault.to_string()))?;
            self::operation(&operation)
        });
        each.collect()
    }
}

/// What does not compile is said by a change in the compiler's own words.
fn compiled(expression: &Expression) -> Result<(), Failed> {
    expression.problem().map_or(Ok(()), |why| Err(Failed::Expression(why.to_owned())))
}

/// One operation of a JSON Patch, in the order in which clients write it.
fn operation(value: &Value<'_>) -> Result<Json, Failed> {
    let Value::Object(made) = value else {
        let why = format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
            value.type_name()
        );
        return Err(Failed::Expression(why));
    };
    let text = |name: &str| made.fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut operation = serde_json::json!({"op": text("op"), "path": text("path")});
    if !text("from").is_empty() {
        operation["from"] = text("from").into();
    }
    if let Some(value) = made.fields.get("value") {
        named_by_place(value)?;
        let none = || {
            let why = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
            Failed::Expression(why.to_owned())
        };
        operation["value"] = value.to_json().ok_or_else(none)?;
    }
    Ok(operation)
}

/// Objects that an expression makes are called after the field in which they stand: `Object.spec` in `spec`. The outermost begins where
/// its name says.
fn named_by_place(value: &Value<'_>) -> Result<(), Failed> {
    let Value::Object(made) = value else { return Ok(()) };
    let mut wrong = Vec::new();
    misnamed(value, &made.name, &mut wrong);
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failed::Expression(format!("type mismatch: {}", wrong.join("\n")))),
    }
}

fn misnamed(value: &Value<'_>, place: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Object(made) => {
            if *made.name != *place {
                wrong.push(format!(
                    "unexpected type name {:?}, expected {place:?}, which matches field name path from root Object type",
                    made.name
                ));
            }
            for (name, value) in &made.fields {
                misnamed(value, &format!("{place}.{name}"), wrong);
            }
        }
        Value::List(list) => {
            for at in 0..list.len() {
                if let Ok(value) = list.get(at) {
                    misnamed(&value, place, wrong);
                }
            }
        }
        Value::Map(skiff_cel::Map::Made(entries)) => entries.values().for_each(|value| misnamed(value, place, wrong)),
        _ => {}
    }
}
