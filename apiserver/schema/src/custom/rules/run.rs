//! Whether an object keeps the rules of its schema: each is run at every value that the schema describes.

use super::super::structural::Structural;
use super::program::{Expression, Outcome, Scene, Wanted};
use super::ratchet::{Pair, Ratchet, Replaced};
use super::written::{self, Rule};
use super::{BUDGET, field_path};
use crate::path::Path;
use crate::{FieldError, FieldErrorKind};
use serde_json::Value;
use skiff_cel::Shape;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text that an expression may give as message (`MaxEvaluatedMessageExpressionSizeBytes`).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// How messages begin of what cost more than one call may.
const CANCELLED: &str = "operation cancelled: actual cost limit exceeded";

/// The rules of a schema and of those in it; only schemas that lead to rules are there.
#[derive(Debug)]
pub(in super::super) struct Rules {
    /// What its values are, if it has rules.
    shape: Option<Arc<Shape>>,
    /// `type`, which errors show.
    type_name: Box<str>,
    rules: Vec<Compiled>,
    properties: BTreeMap<Box<str>, Rules>,
    others: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

/// A rule with its expressions.
#[derive(Debug)]
struct Compiled {
    /// Without the text of its expression.
    name: String,
    complaint: String,
    kind: FieldErrorKind,
    field_path: Option<String>,
    optional_old: bool,
    /// Or why it does not compile: it did when its definition was accepted.
    expression: Result<Expression, String>,
    /// The expression that makes the message, with its text.
    message: Option<(Expression, String)>,
}

impl Compiled {
    fn of(rule: Rule<'_>, schema: &Value, shape: &Arc<Shape>) -> Self {
        let optional_old = rule.optional_old().unwrap_or_default();
        let compile = |text: &str, wanted| Expression::compile(shape, optional_old, text, wanted);
        let text = rule.message_expression();
        let message = Some(text).filter(|text| !text.is_empty()).and_then(|text| compile(text, Wanted::Text).ok());
        Self {
            name: rule.name().to_owned(),
            complaint: rule.complaint(),
            kind: rule.error_kind(),
            field_path: Some(rule.field_path())
                .filter(|path| !path.is_empty())
                .and_then(|path| field_path::normalized(path, schema)),
            optional_old,
            expression: compile(rule.rule(), Wanted::Bool),
            message: message.map(|message| (message, text.to_owned())),
        }
    }
}

impl Rules {
    /// Those of a schema; `None`: neither it nor one in it has any. `whole`: its values have type and metadata of their own.
    pub(in super::super) fn of(schema: &Value, whole: bool) -> Option<Self> {
        if !written::any(schema) {
            return None;
        }
        // Expressions do not see values that they could not name a type of.
        let shape = match Rule::of(schema).len() {
            0 => None,
            _ => Some(Arc::new(Shape::of(schema, whole))).filter(|shape| shape.is_visible()),
        };
        let below = |schema: &Value| Self::of(schema, schema["x-kubernetes-embedded-resource"] == true);
        let boxed = |key: &str| below(&schema[key]).map(Box::new);
        let properties = schema["properties"].as_object().into_iter().flatten();
        let compile = |shape: &Arc<Shape>| Rule::of(schema).map(|rule| Compiled::of(rule, schema, shape)).collect();
        Some(Self {
            type_name: schema["type"].as_str().unwrap_or_default().into(),
            rules: shape.as_ref().map(compile).unwrap_or_default(),
            properties: properties.filter_map(|(name, inner)| Some((name.as_str().into(), below(inner)?))).collect(),
            others: boxed("additionalProperties"),
            items: boxed("items"),
            shape,
        })
    }

    /// What is wrong with a whole object that replaces `old`.
    pub(in super::super) fn object(&self, schema: &Structural, new: &Value, old: Option<&Value>) -> Found {
        let ratchet = Ratchet::of(old.map(|old| Pair { new, old, schema }));
        self.at(&Path::Root, schema, new, old, ratchet)
    }

    /// What is wrong with a default, as a value that was there before and as one that was not.
    pub(in super::super) fn default(&self, schema: &Structural, value: &Value, path: &Path<'_>) -> Found {
        let found = self.at(path, schema, value, Some(value), Ratchet::default());
        if found.errors.is_empty() { self.at(path, schema, value, None, Ratchet::default()) } else { found }
    }

    fn at(
        &self,
        path: &Path<'_>,
        schema: &Structural,
        new: &Value,
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
    ) -> Found {
        let mut run = Run { left: BUDGET, found: Found::default() };
        let _spent_was_told = run.value(self, schema, path, Values { new, old, ratchet });
        run.found
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    pub(in super::super) errors: Vec<FieldError>,
    /// What was wrong before and may stay.
    pub(in super::super) warnings: Vec<String>,
}

/// A value and what it replaces.
#[derive(Clone, Copy)]
struct Values<'a> {
    new: &'a Value,
    /// `null` counts as nothing.
    old: Option<&'a Value>,
    ratchet: Ratchet<'a>,
}

/// The budget is spent: nothing more is run.
struct Spent;

struct Run {
    left: u64,
    found: Found,
}

impl Run {
    fn value<'a>(
        &mut self,
        node: &Rules,
        schema: &'a Structural,
        path: &Path<'_>,
        values: Values<'a>,
    ) -> Result<(), Spent> {
        let Values { new, old, ratchet } = values;
        if new.is_null() {
            return Ok(());
        }
        self.rules(node, path, values)?;
        match new {
            Value::Array(list) => {
                let Some((node, items)) = node.items.as_deref().zip(schema.items.as_deref()) else { return Ok(()) };
                let replaced = Replaced::of(schema, old);
                for (index, new) in list.iter().enumerate() {
                    let old = replaced.by(new);
                    let values = Values { new, old, ratchet: ratchet.element(new, old) };
                    self.value(node, items, &path.index(index), values)?;
                }
            }
            Value::Object(map) => {
                for (name, new) in map {
                    let Some(inner) = schema.field(name) else { continue };
                    let listed = node.properties.get(name.as_str());
                    let others = node.others.as_deref();
                    let values = Values { new, old: old.and_then(|old| old.get(name)), ratchet: ratchet.key(name) };
                    if let Some(node) = others {
                        self.value(node, inner, &path.key(name), values)?;
                    }
                    if let Some(node) = listed {
                        self.value(node, inner, &path.field(name), values)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(&mut self, node: &Rules, path: &Path<'_>, values: Values<'_>) -> Result<(), Spent> {
        let Some(shape) = node.shape.as_ref() else { return Ok(()) };
        if self.left == 0 {
            return Err(self.out_of_budget(node, path));
        }
        let old = values.old.filter(|old| !old.is_null());
        let scene = Scene::new(shape, values.new, old);
        for rule in &node.rules {
            self.rule(rule, node, &scene, path, values)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Compiled,
        node: &Rules,
        scene: &Scene<'_>,
        path: &Path<'_>,
        values: Values<'_>,
    ) -> Result<(), Spent> {
        let expression = match &rule.expression {
            Ok(expression) => expression,
            Err(why) => {
                self.invalid(node, path, format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        // What is about a change is asked where there is one, or where the rule says how it does without.
        if expression.uses_old() && !scene.has_old() && !rule.optional_old {
            return Ok(());
        }
        let Outcome { result, cost } = expression.truth(scene, rule.optional_old);
        self.left = self.left.checked_sub(cost).ok_or_else(|| self.out_of_budget(node, path))?;
        let name = &rule.name;
        match result {
            Ok(true) => Ok(()),
            Ok(false) => self.broken(rule, expression, node, scene, path, values),
            Err(why) if why.starts_with("no such overload") => {
                let detail = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                );
                self.invalid(node, path, detail);
                Ok(())
            }
            Err(why) if why.starts_with(CANCELLED) => {
                let detail = format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                );
                self.invalid(node, path, detail);
                Err(Spent)
            }
            Err(why) => {
                self.invalid(node, path, format!("{why} evaluating rule: {name}"));
                Ok(())
            }
        }
    }

    /// Tells that a rule is broken, in the words of its message.
    fn broken(
        &mut self,
        rule: &Compiled,
        expression: &Expression,
        node: &Rules,
        scene: &Scene<'_>,
        path: &Path<'_>,
        values: Values<'_>,
    ) -> Result<(), Spent> {
        let at = match &rule.field_path {
            Some(field) => path.field(field),
            None => *path,
        };
        let forgiven = !expression.uses_old() && values.ratchet.forgives();
        let detail = match self.message(rule, scene) {
            Ok(message) => message.unwrap_or_else(|| rule.complaint.clone()),
            Err(why) => {
                self.add(error(FieldErrorKind::Invalid, &at, Some((*node.type_name).into()), why), forgiven);
                return Err(Spent);
            }
        };
        let shown = Some(values.new).filter(|_| !matches!(&*node.type_name, "object" | "array")).cloned();
        self.add(
            match rule.kind {
                kind @ (FieldErrorKind::Forbidden | FieldErrorKind::Required) => error(kind, &at, None, detail),
                kind @ FieldErrorKind::Duplicate => error(kind, &at, shown, String::new()),
                kind => error(kind, &at, shown, detail),
            },
            forgiven,
        );
        Ok(())
    }

    /// What the rule's own expression says; nothing if it has none, or if it comes to nothing that can be shown. An error: the budget is
    /// spent.
    fn message(&mut self, rule: &Compiled, scene: &Scene<'_>) -> Result<Option<String>, String> {
        let Some((expression, text)) = &rule.message else { return Ok(None) };
        let Outcome { result, cost } = expression.text(scene, rule.optional_old);
        let spent = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
        self.left = self.left.checked_sub(cost).ok_or(spent)?;
        match result {
            Ok(message) => {
                let message = message.trim();
                let fine = !message.is_empty() && message.len() <= MESSAGE_BYTES_MAX && !message.contains('\n');
                Ok(fine.then(|| message.to_owned()))
            }
            Err(why) if why.starts_with(CANCELLED) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {text:?}"
            )),
            // Whatever else went wrong, the rule is broken all the same.
            Err(_) => Ok(None),
        }
    }

    fn out_of_budget(&mut self, node: &Rules, path: &Path<'_>) -> Spent {
        let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
        self.invalid(node, path, detail.to_owned());
        Spent
    }

    fn invalid(&mut self, node: &Rules, path: &Path<'_>, detail: String) {
        self.found.errors.push(error(FieldErrorKind::Invalid, path, Some((*node.type_name).into()), detail));
    }

    fn add(&mut self, error: FieldError, forgiven: bool) {
        if forgiven { self.found.warnings.push(error.to_string()) } else { self.found.errors.push(error) }
    }
}

fn error(kind: FieldErrorKind, path: &Path<'_>, value: Option<Value>, detail: String) -> FieldError {
    let field = path.to_string();
    // Kubernetes prints the path that the whole object has not.
    let field = if field.is_empty() { "<nil>".to_owned() } else { field };
    FieldError { kind, field, value, detail }
}
