//! Expressions, compiled: over `self` and `oldSelf`, the value at a schema and the one that it replaces.

use super::CALL_LIMIT;
use serde_json::Value as Json;
use skiff_cel::{Activation, CompileError, Declarations, Evaluation, Fault, Program, Shape, Type, Value};
use std::sync::Arc;

const SELF: &str = "self";
const OLD: &str = "oldSelf";
/// A name that no expression should rely on.
const TYPE_NAME: &str = "selfType";

/// What an expression must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of a rule.
    Bool,
    /// Of a message.
    Text,
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression(Program);

/// What came of an expression.
pub(super) struct Outcome<T> {
    pub(super) result: Result<T, String>,
    pub(super) cost: u64,
}

impl Expression {
    /// Compiles `text` over values of a shape. `optional_old`: what is replaced is always there, with or without a value.
    ///
    /// # Errors
    /// Why it is refused, as Kubernetes says it.
    pub(super) fn compile(of: &Arc<Shape>, optional_old: bool, text: &str, wanted: Wanted) -> Result<Self, String> {
        let declarations = Declarations::new().schema(SELF, TYPE_NAME, of);
        let declarations = match optional_old {
            true => declarations.optional_schema(OLD, TYPE_NAME, of),
            false => declarations.schema(OLD, TYPE_NAME, of),
        };
        let (what, kind, needed) = match wanted {
            Wanted::Bool => ("", Type::Bool, "cel expression must evaluate to a bool"),
            Wanted::Text => ("messageExpression ", Type::String, "messageExpression must evaluate to a string"),
        };
        let program = skiff_cel::compile(&declarations, text).map_err(|error| match &error {
            CompileError::Invalid { .. } => format!("{what}compilation failed: {error}"),
            CompileError::Constant { output, .. } if *output != kind => needed.to_owned(),
            CompileError::Constant { .. } if what.is_empty() => format!("program instantiation failed: {error}"),
            CompileError::Constant { .. } => format!("{what}instantiation failed: {error}"),
        })?;
        if *program.output() == kind { Ok(Self(program)) } else { Err(needed.to_owned()) }
    }

    /// The most that one run can cost.
    pub(super) fn estimate(&self) -> u64 {
        self.0.estimate().max
    }

    /// Whether it speaks of the value that is replaced.
    pub(super) fn uses_old(&self) -> bool {
        self.0.uses(OLD)
    }

    pub(super) fn truth(&self, scene: &Scene<'_>, optional_old: bool) -> Outcome<bool> {
        self.run(scene, optional_old, |value| value.as_bool().unwrap_or_default())
    }

    pub(super) fn text(&self, scene: &Scene<'_>, optional_old: bool) -> Outcome<String> {
        self.run(scene, optional_old, |value| value.as_str().unwrap_or_default().to_owned())
    }

    fn run<T>(&self, scene: &Scene<'_>, optional_old: bool, read: impl Fn(&Value<'_>) -> T) -> Outcome<T> {
        let activation = scene.activation(optional_old);
        let Evaluation { result, cost } = self.0.evaluate(&activation, CALL_LIMIT);
        Outcome { result: result.map(|value| read(&value)).map_err(|fault| fault.to_string()), cost }
    }
}

/// What expressions see.
pub(super) struct Scene<'a> {
    new: Result<Value<'a>, Fault>,
    old: Option<Result<Value<'a>, Fault>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(shape: &'a Shape, new: &'a Json, old: Option<&'a Json>) -> Self {
        Self { new: Value::shaped(new, shape), old: old.map(|old| Value::shaped(old, shape)) }
    }

    pub(super) fn has_old(&self) -> bool {
        self.old.is_some()
    }

    /// Lives no longer than what it is given to.
    fn activation<'b>(&self, optional_old: bool) -> Activation<'b>
    where
        'a: 'b,
    {
        let activation = Activation::new().with_result(SELF, self.new.clone());
        match (optional_old, self.old.clone()) {
            (true, old) => {
                let old = old.transpose().map(|old| Value::Optional(old.map(Arc::new)));
                activation.with_result(OLD, old)
            }
            (false, Some(old)) => activation.with_result(OLD, old),
            (false, None) => activation,
        }
    }
}
