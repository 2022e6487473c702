//! What is wrong with the rules in a definition: with what they say, with their expressions, and with what they may cost.

use super::context::Context;
use super::field_path;
use super::program::{Expression, Wanted};
use super::written::{KEY, Rule};
use super::{RULE_ESTIMATE_LIMIT, SCHEMA_ESTIMATE_LIMIT};
use crate::path::Path;
use crate::validate::errors::Errors;
use serde_json::Value;

/// How many of the most expensive rules are named when all together are too expensive.
const NAMED_MOST: usize = 4;
/// Reasons that a rule may give.
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Reports what is wrong with rules as they are written.
pub(in super::super) fn written(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field(KEY);
    for (index, rule) in Rule::of(schema).enumerate() {
        one(rule, schema, &path.index(index), errors);
    }
}

fn one(rule: Rule<'_>, schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let lines = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (rule.rule().trim(), rule.message().trim());
    let at = path.field("message");
    if expression.is_empty() {
        errors.required(&path.field("rule"), "rule is not specified");
    } else if !rule.message().is_empty() && message.is_empty() {
        errors.invalid(&at, rule.message(), "must be non-empty if specified");
    } else if lines(message) {
        errors.invalid(&at, rule.message(), "must not contain line breaks");
    } else if lines(expression) && message.is_empty() {
        errors.required(&at, "message must be specified if rule contains line breaks");
    }
    if !rule.message_expression().is_empty() && rule.message_expression().trim().is_empty() {
        errors.required(&path.field("messageExpression"), "messageExpression must be non-empty if specified");
    }
    if let Some(reason) = rule.reason() {
        errors.exactly_one_of(&path.field("reason"), reason, &REASONS);
    }
    let (field, at) = (rule.field_path(), path.field("fieldPath"));
    if field.is_empty() {
        return;
    }
    if field.trim().is_empty() {
        errors.invalid(&at, field, "must be non-empty if specified");
    }
    if lines(field) {
        errors.invalid(&at, field, "must not contain line breaks");
    }
    if field_path::normalized(field, schema).is_none() {
        errors.invalid(&at, field, "must be a valid path");
    }
}

/// What came of compiling the rules of a schema.
pub(in super::super) struct Checked {
    errors: Errors,
    old_costs: bool,
    total: u64,
    expensive: Vec<(u64, String)>,
}

impl Checked {
    /// Of nothing yet. `old_costs`: single rules may cost what they like, because they did when they were accepted.
    pub(in super::super) fn new(old_costs: bool) -> Self {
        Self { errors: Errors::default(), old_costs, total: 0, expensive: Vec::new() }
    }

    /// Compiles the rules at `path`. `unrelated`: the path of a schema around them below which no old value is known.
    pub(in super::super) fn compile(&mut self, context: &Context<'_>, unrelated: Option<&str>, path: &Path<'_>) {
        let path = path.field(KEY);
        if context.rules().len() > 0 && context.shape().is_none() {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert \
                          structural schema to CEL declarations";
            self.errors.internal(&path, detail);
            return;
        }
        for (index, rule) in context.rules().enumerate() {
            self.one(rule, context, unrelated, &path.index(index));
        }
    }

    fn one(&mut self, rule: Rule<'_>, context: &Context<'_>, unrelated: Option<&str>, path: &Path<'_>) {
        let Some(shape) = context.shape() else { return };
        let optional = rule.optional_old().unwrap_or_default();
        let at = path.field("rule");
        let expression = match Expression::compile(shape, optional, rule.rule(), Wanted::Bool) {
            Ok(expression) => expression,
            Err(detail) => {
                self.observe(&at, 0);
                self.errors.invalid(&at, rule.shown(), detail);
                return self.about_old(rule, false, unrelated, path);
            }
        };
        let cost = context.cost_of(expression.estimate());
        self.limit(&at, "estimated rule cost", cost);
        self.observe(&at, cost);
        if !rule.message_expression().is_empty() {
            let at = path.field("messageExpression");
            match Expression::compile(shape, optional, rule.message_expression(), Wanted::Text) {
                Ok(message) => {
                    self.limit(&at, "estimated messageExpression cost", message.estimate());
                    self.observe(&at, message.estimate());
                }
                Err(detail) => self.errors.invalid(&at, rule.shown(), detail),
            }
        }
        self.about_old(rule, expression.uses_old(), unrelated, path);
    }

    /// Reports rules that speak of an old value that is not known, and those that say something about one of which they do not speak.
    fn about_old(&mut self, rule: Rule<'_>, uses_old: bool, unrelated: Option<&str>, path: &Path<'_>) {
        match (uses_old, unrelated, rule.optional_old()) {
            (true, Some(within), _) => {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
                self.errors.invalid(&path.field("rule"), rule.rule(), detail);
            }
            (false, _, Some(said)) => {
                let detail = "may not be set if oldSelf is not used in rule";
                self.errors.invalid(&path.field("optionalOldSelf"), said, detail);
            }
            _ => {}
        }
    }

    fn limit(&mut self, path: &Path<'_>, what: &str, cost: u64) {
        if !self.old_costs && cost > RULE_ESTIMATE_LIMIT {
            self.errors.forbidden(path, too_expensive(what, cost, RULE_ESTIMATE_LIMIT));
        }
    }

    fn observe(&mut self, path: &Path<'_>, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_ESTIMATE_LIMIT / 100 {
            self.expensive.push((cost, path.to_string()));
        }
    }

    /// Reports all that was found in the schema at `path`.
    pub(in super::super) fn report(mut self, path: &Path<'_>, errors: &mut Errors) {
        errors.extend(self.errors.into_inner());
        if self.total <= SCHEMA_ESTIMATE_LIMIT {
            return;
        }
        self.expensive.sort_by_key(|one| std::cmp::Reverse(one.0));
        for (_, rule) in self.expensive.iter().take(NAMED_MOST) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(&Path::Root.field(rule), detail);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, too_expensive(what, self.total, SCHEMA_ESTIMATE_LIMIT));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a factor is shown with one digit")]
fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = match times {
        _ if times > 100.0 => "more than 100x".to_owned(),
        _ if times < 1.5 => format!("{times:.6}x"),
        _ => format!("{times:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}
