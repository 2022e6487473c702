//! What an expression may cost, from the types of its parts and the bounds of their sizes.

use super::calls::{self, CallEstimate};
use super::{PATTERN, TRAVERSAL};
use crate::check::{Checked, Reference};
use crate::declarations::Declarations;
use crate::syntax::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal};
use crate::types::Type;
use std::collections::HashMap;

/// Least and most: of a cost, or of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
}

impl Range {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates as upstream does"
)]
pub(super) fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).ceil() as u64
}

/// Sizes of keys and values of a list or map.
#[derive(Debug, Clone, Copy)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

/// Names from a variable to a part of it.
pub(crate) type Path = Vec<Box<str>>;

/// A variable inside of the expression.
#[derive(Debug, Clone)]
struct Local {
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// What is known of an argument.
#[derive(Debug)]
pub(crate) struct Part<'t> {
    pub(crate) path: Path,
    pub(crate) of: &'t Type,
    pub(crate) size: Option<Range>,
    pub(crate) literal: Option<&'t Literal>,
    entries: Option<Entries>,
}

pub(crate) struct Estimator<'c> {
    checked: &'c Checked,
    declarations: &'c Declarations,
    paths: HashMap<u32, Path>,
    sizes: HashMap<u32, Range>,
    entries: HashMap<u32, Entries>,
    locals: HashMap<Box<str>, Vec<Local>>,
}

/// Estimates the cost of an expression.
pub(crate) fn estimate(checked: &Checked, declarations: &Declarations) -> Range {
    let mut estimator = Estimator {
        checked,
        declarations,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: HashMap::new(),
    };
    estimator.cost(&checked.root)
}

impl<'c> Estimator<'c> {
    fn cost(&mut self, expr: &'c Expr) -> Range {
        match &expr.kind {
            Kind::Unknown => Range::fixed(0),
            Kind::Literal(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Range::fixed(1)
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { .. } => self.call(expr),
            Kind::List { elements, .. } => self.list(expr, elements),
            Kind::Map(entries) => {
                let mut sum = Range::fixed(0);
                let empty = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut key, mut value) = (empty, empty);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { list: false, key, value });
                sum.plus(Range::fixed(30))
            }
            Kind::Object { fields, .. } => {
                let sum = fields.iter().fold(Range::fixed(0), |sum, field| sum.plus(self.cost(&field.value)));
                sum.plus(Range::fixed(40))
            }
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn list(&mut self, expr: &'c Expr, elements: &'c [Expr]) -> Range {
        let mut sum = Range::fixed(0);
        let mut value = Range { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for element in elements {
            sum = sum.plus(self.cost(element));
            value = value.union(self.size_or_unknown(element));
        }
        self.entries.insert(expr.id, Entries { list: true, key: Range::fixed(1), value });
        sum.plus(Range::fixed(10))
    }

    fn select(&mut self, expr: &'c Expr, operand: &'c Expr, field: &str, test: bool) -> Range {
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.checked.type_of(operand), Type::Map(_) | Type::Object(_) | Type::Param(_)) {
            sum = sum.plus(Range::fixed(1));
        }
        let mut path = self.path(operand);
        path.push(field.into());
        self.paths.insert(expr.id, path);
        sum
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn push(&mut self, name: &str, local: Local) {
        self.locals.entry(name.into()).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    /// The size at a path, from the schema.
    pub(crate) fn size_at(&self, path: &[Box<str>]) -> Option<Range> {
        self.declarations.shape(path).map(|max| Range { min: 0, max })
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(known) = self.sizes.get(&expr.id) {
            return Some(*known);
        }
        if let Some(written) = written_size(expr) {
            return Some(written);
        }
        let path = self.path(expr);
        if let Some(known) = self.size_at(&path) {
            self.sizes.insert(expr.id, known);
            return Some(known);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(known) = self.entries.get(&expr.id) {
            return Some(*known);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    /// Variables of a comprehension over a range: the element or key, or key and value.
    fn push_range(&mut self, fold: &'c Fold) {
        let known = self.entries_of(&fold.range);
        let list = known.map_or_else(|| matches!(self.checked.type_of(&fold.range), Type::List(_)), |known| known.list);
        let path = |name: &str| {
            let mut path = self.path(&fold.range);
            path.push(name.into());
            path
        };
        let key = known.map(|known| known.key);
        let value = known.map(|known| known.value);
        let (key_path, value_path) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
        let (key_path, value_path) = (path(key_path), path(value_path));
        let of = |path, size| Local { path, size, entries: None };
        match &fold.var2 {
            Some(second) => {
                self.push(&fold.var, of(key_path, key));
                self.push(second, of(value_path, value));
            }
            None if list => self.push(&fold.var, of(value_path, value)),
            None => self.push(&fold.var, of(key_path, key)),
        }
    }

    fn push_value(&mut self, name: &str, expr: &Expr) {
        let local = Local { path: self.path(expr), size: None, entries: self.entries_of(expr) };
        let size = self.size(expr);
        self.push(name, Local { size, ..local });
    }

    fn fold(&mut self, expr: &'c Expr, fold: &'c Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        self.push_range(fold);
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.pop(&fold.var);
        if let Some(second) = &fold.var2 {
            self.pop(second);
        }
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(step.plus(condition)));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn bind(&mut self, expr: &'c Expr, fold: &'c Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        self.copy(expr, &fold.result);
        sum
    }

    fn copy(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn part(&mut self, expr: &'c Expr) -> Part<'c> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| &**first == ACCUMULATOR || &**first == "__result__") {
            path.clear();
        }
        let literal = match &expr.kind {
            Kind::Literal(literal) => Some(literal),
            _ => None,
        };
        Part { path, of: self.checked.type_of(expr), size: self.size(expr), literal, entries: self.entries_of(expr) }
    }

    fn call(&mut self, expr: &'c Expr) -> Range {
        let Kind::Call { function, target, args } = &expr.kind else { return Range::fixed(0) };
        if &**function == "dyn"
            && let Some(arg) = args.first()
        {
            let cost = self.cost(arg);
            self.copy(expr, arg);
            return cost.plus(Range::fixed(1));
        }
        let (mut costs, mut parts) = (Vec::new(), Vec::new());
        for arg in args {
            costs.push(self.cost(arg));
            parts.push(self.part(arg));
        }
        let Some(Reference::Overloads(_, overloads)) = self.checked.reference(expr) else { return Range::fixed(0) };
        let mut sum = Range::fixed(0);
        let target = target.as_ref().map(|target| {
            sum = sum.plus(self.cost(target));
            self.part(target)
        });
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let estimated = self.function(expr, function, overload.id, target.as_ref(), &parts, &costs);
            cost = cost.union(estimated.cost);
            if let Some(result) = estimated.size {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            let step = match overload.id {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if !step.is_empty() && !args.is_empty() {
                size = parts[0].entries.map(|entries| entries.value);
                let mut path = self.path(&args[0]);
                path.push(step.into());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
        costs: &[Range],
    ) -> CallEstimate {
        let all = costs.iter().fold(Range::fixed(0), |sum, cost| sum.plus(*cost));
        if let Some(estimated) = calls::estimate(self, function, overload, target, args) {
            return CallEstimate { cost: estimated.cost.plus(all), size: estimated.size };
        }
        let of = |at: usize| args.get(at).and_then(|part| part.size).unwrap_or(Range::UNKNOWN);
        match (overload, args.len()) {
            ("logical_or" | "logical_and", 2) => {
                let cost = Range { min: costs[0].min, max: costs[0].plus(costs[1]).max };
                return CallEstimate { cost, size: None };
            }
            ("conditional", 3) => {
                self.join_entries(expr, &args[1], &args[2]);
                return CallEstimate { cost: costs[0].plus(costs[1].union(costs[2])), size: Some(of(1).union(of(2))) };
            }
            ("add_string" | "add_bytes" | "add_list", 2) => self.join_entries(expr, &args[0], &args[1]),
            _ => {}
        }
        let own = standard(overload, target.map(|target| target.size.unwrap_or(Range::UNKNOWN)), args.len(), &of);
        CallEstimate { cost: own.cost.plus(all), size: own.size }
    }

    /// Sizes of entries of what may be one or the other, or both one after the other.
    fn join_entries(&mut self, expr: &Expr, left: &Part<'_>, right: &Part<'_>) {
        if let Some((left, right)) = left.entries.zip(right.entries) {
            let (key, value) = (left.key.union(right.key), left.value.union(right.value));
            self.entries.insert(expr.id, Entries { list: left.list, key, value });
        }
    }
}

/// Standard functions, without their arguments.
fn standard(overload: &str, target: Option<Range>, count: usize, of: &dyn Fn(usize) -> Range) -> CallEstimate {
    let plain = |cost: Range| CallEstimate { cost, size: None };
    let converted = |min: u64, max: u64| CallEstimate { cost: of(0).scaled(TRAVERSAL), size: Some(Range { min, max }) };
    match (overload, target, count) {
        ("string_format", Some(text), _) => plain(text.scaled(TRAVERSAL)),
        ("string_to_bytes", _, 1) => converted(of(0).min, of(0).max.wrapping_mul(4)),
        ("bytes_to_string", _, 1) => converted(of(0).min / 4, of(0).max),
        ("strings_quote", _, 1) => converted(of(0).min.wrapping_add(2), of(0).max.wrapping_mul(2).wrapping_add(2)),
        ("starts_with_string" | "ends_with_string", _, 1) => plain(of(0).scaled(TRAVERSAL)),
        ("in_list", _, 2) => plain(of(1).scaled(1.0)),
        ("matches_string", Some(text), 1) => {
            plain(text.plus(Range::fixed(1)).scaled(TRAVERSAL).times(of(0).scaled(PATTERN)))
        }
        ("contains_string", Some(text), 1) => plain(text.scaled(TRAVERSAL).times(of(0).scaled(TRAVERSAL))),
        ("add_list", _, 2) => CallEstimate { cost: Range::fixed(1), size: Some(of(0).plus(of(1))) },
        ("add_string" | "add_bytes", _, 2) => {
            let size = of(0).plus(of(1));
            CallEstimate { cost: size.scaled(TRAVERSAL), size: Some(size) }
        }
        ("equals" | "not_equals", _, 2) => plain(compared(of(0), of(1))),
        (_, _, 2) if is_text_comparison(overload) => plain(compared(of(0), of(1))),
        _ => plain(Range::fixed(1)),
    }
}

pub(super) fn is_text_comparison(overload: &str) -> bool {
    ["less", "less_equals", "greater", "greater_equals"]
        .iter()
        .any(|name| overload.strip_prefix(name).is_some_and(|rest| matches!(rest, "_string" | "_bytes")))
}

fn compared(left: Range, right: Range) -> Range {
    let max = left.max.min(right.max);
    Range { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
}

fn is_bind(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List { elements, .. } if elements.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
}

/// The size of what is written out.
fn written_size(expr: &Expr) -> Option<Range> {
    let size = match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List { elements, .. } => elements.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Range::fixed(size as u64))
}

fn is_scalar(of: &Type) -> bool {
    matches!(of, Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint)
        || of.optional_of().is_some_and(is_scalar)
}
