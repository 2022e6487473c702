//! A checked expression as what is evaluated: names resolved, constants folded.
//!
//! The nodes are those of upstream's interpreter, because run-time costs are counted node by node: a chain of selections is one
//! *attribute* with qualifiers, a constant list costs nothing, membership in one is a look-up.

use crate::check::{Checked, Reference};
use crate::cost::price::{Price, price};
use crate::eval::fold_constant;
use crate::fault::Fault;
use crate::library::{self, Implementation, Overload};
use crate::syntax::ast::{ACCUMULATOR, Entry, Expr, FieldInit, Fold, Id, Kind, Literal};
use crate::value::{List, Map, Text, Value};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something to evaluate.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) step: Step,
}

#[derive(Debug)]
pub(crate) enum Step {
    Constant(Value<'static>),
    Attribute {
        attribute: Attribute,
        test: bool,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Equal {
        negated: bool,
        args: Vec<Node>,
    },
    Call(Call),
    /// `optional.or(other)`: the other is not evaluated if it is not needed.
    OptionalOr {
        args: Vec<Node>,
        unwrap: bool,
    },
    /// Membership in a list of constants.
    Member {
        element: Box<Node>,
        list: Vec<Value<'static>>,
    },
    List {
        elements: Vec<Node>,
        optional: Vec<bool>,
    },
    Map {
        keys: Vec<Node>,
        values: Vec<Node>,
        optional: Vec<bool>,
    },
    Object {
        name: Arc<str>,
        names: Vec<Box<str>>,
        values: Vec<Node>,
        optional: Vec<bool>,
    },
    Fold(Box<FoldPlan>),
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) price: Price,
    pub(crate) args: Vec<Node>,
    pub(crate) implementation: Implementation,
    /// Whether later arguments are evaluated after an error in an earlier one.
    pub(crate) eager: bool,
    /// The pattern, where it is a constant.
    pub(crate) pattern: Option<Box<Regex>>,
}

/// A variable or value, and what is selected of it.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) id: Id,
    pub(crate) base: Base,
    pub(crate) qualifiers: Vec<Qualifier>,
}

#[derive(Debug)]
pub(crate) enum Base {
    Variable(Box<str>),
    Local(Local),
    Value(Box<Node>),
    Conditional { condition: Box<Node>, yes: Box<Attribute>, no: Box<Attribute> },
}

/// A variable of a comprehension: the comprehension's depth, and which of its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) depth: usize,
    pub(crate) which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Accumulator,
    First,
    Second,
}

#[derive(Debug, Clone)]
pub(crate) struct Qualifier {
    pub(crate) id: Id,
    pub(crate) key: QualifierKey,
    pub(crate) optional: bool,
    /// `has(…)`.
    pub(crate) test: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum QualifierKey {
    Constant(Value<'static>),
    /// Another attribute; whether it is one by itself or only so that it can be a qualifier.
    Attribute(Arc<Attribute>, bool),
}

#[derive(Debug)]
pub(crate) struct FoldPlan {
    pub(crate) depth: usize,
    pub(crate) two: bool,
    /// Whether the accumulator is a macro's own.
    pub(crate) gathers: bool,
    pub(crate) range: Node,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Attribute {
    /// Of its last qualifier.
    pub(crate) fn id(&self) -> Id {
        match (&self.base, self.qualifiers.last()) {
            (Base::Conditional { yes, no, .. }, _) => {
                if yes.id() == no.id() {
                    yes.id()
                } else {
                    self.id
                }
            }
            (_, Some(last)) => last.id,
            (_, None) => self.id,
        }
    }

    fn qualify(&mut self, qualifier: Qualifier) {
        match &mut self.base {
            Base::Conditional { yes, no, .. } => {
                yes.qualify(qualifier.clone());
                no.qualify(qualifier);
            }
            _ => self.qualifiers.push(qualifier),
        }
    }
}

impl Node {
    fn constant(&self) -> Option<&Value<'static>> {
        match &self.step {
            Step::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// As an attribute, so that it can be qualified.
    fn into_attribute(self) -> Attribute {
        match self.step {
            Step::Attribute { attribute, .. } => attribute,
            _ => Attribute { id: self.id, base: Base::Value(Box::new(self)), qualifiers: Vec::new() },
        }
    }
}

/// Plans an expression.
///
/// # Errors
/// A constant cannot be converted, or a constant pattern is none.
pub(crate) fn plan(checked: &Checked) -> Result<Node, Fault> {
    Planner { checked, scopes: Vec::new(), depth: 0 }.node(&checked.root)
}

struct Planner<'c> {
    checked: &'c Checked,
    /// Names of comprehensions' variables that are visible.
    scopes: Vec<(Box<str>, Local)>,
    depth: usize,
}

type Planned = Result<Node, Fault>;

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Planned {
        let id = expr.id;
        let step = match &expr.kind {
            Kind::Unknown => return Err(Fault::new("unspecified expression")),
            Kind::Literal(literal) => Step::Constant(constant(literal)),
            Kind::Ident(name) => self.ident(expr, name)?,
            Kind::Select { operand, field, test } => return self.select(id, operand, field, *test),
            Kind::Call { function, target, args } => return self.call(expr, function, target.as_deref(), args),
            Kind::List { elements, optional } => {
                let elements = self.nodes(elements)?;
                folded_list(elements, optional.clone())
            }
            Kind::Map(entries) => self.map(entries)?,
            Kind::Object { name, fields } => self.object(name, fields)?,
            Kind::Fold(fold) => self.fold(fold)?,
        };
        Ok(Node { id, step })
    }

    fn nodes(&mut self, exprs: &[Expr]) -> Result<Vec<Node>, Fault> {
        exprs.iter().map(|expr| self.node(expr)).collect()
    }

    fn ident(&self, expr: &Expr, name: &str) -> Result<Step, Fault> {
        if let Some(Reference::Type(of)) = self.checked.reference(expr) {
            if matches!(name, "timestamp" | "duration") {
                return Err(Fault::new(format!("reference to undefined type: {name}")));
            }
            return Ok(Step::Constant(Value::Type(of.name().into())));
        }
        let local = self.scopes.iter().rev().find(|(known, _)| &**known == name);
        let base = local.map_or_else(|| Base::Variable(name.into()), |(_, local)| Base::Local(*local));
        Ok(Step::Attribute { attribute: Attribute { id: expr.id, base, qualifiers: Vec::new() }, test: false })
    }

    fn select(&mut self, id: Id, operand: &Expr, field: &str, test: bool) -> Planned {
        let mut attribute = self.node(operand)?.into_attribute();
        let key = QualifierKey::Constant(Value::text(field));
        attribute.qualify(Qualifier { id, key, optional: false, test });
        Ok(Node { id: attribute.id(), step: Step::Attribute { attribute, test } })
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Planned {
        let id = expr.id;
        let args: Vec<Node> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect::<Result<_, _>>()?;
        let step = match function {
            "_&&_" => Step::And(args),
            "_||_" => Step::Or(args),
            "_==_" => Step::Equal { negated: false, args },
            "_!=_" => Step::Equal { negated: true, args },
            "_?_:_" => conditional(id, args),
            "_[_]" => return index(id, args, false),
            "_[?_]" | "_?._" => return index(id, args, true),
            "or" => Step::OptionalOr { args, unwrap: false },
            "orValue" => Step::OptionalOr { args, unwrap: true },
            _ => self.function_call(expr, args)?,
        };
        let id = match &step {
            Step::Attribute { attribute, .. } => attribute.id(),
            _ => id,
        };
        Ok(Node { id, step })
    }

    fn function_call(&mut self, expr: &Expr, args: Vec<Node>) -> Result<Step, Fault> {
        let Some(Reference::Overloads(function, meant)) = self.checked.reference(expr) else {
            return Err(Fault::no_overload());
        };
        let single: Option<&'static Overload> = match meant[..] {
            [only] => Some(only),
            _ => None,
        };
        let overload = single.map_or("", |overload| overload.id);
        if overload == "in_list" {
            return Ok(membership(args, function, single));
        }
        let implementation = library::implementation(function, single);
        let mut eager =
            args.len() <= 2 && overload != "string_format" && (single.is_some() || implementation.is_whole());
        let mut pattern = None;
        if matches!(function.name, "matches" | "find" | "findAll")
            && let Some(Value::String(text)) = args.get(1).and_then(Node::constant)
        {
            pattern = Some(Box::new(library::compile_regex(text.as_str()).map_err(Fault::new)?));
            eager = false;
        }
        let folds = matches!(
            function.name,
            "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint"
        );
        let constant = args.first().filter(|_| folds && args.len() == 1).and_then(Node::constant).cloned();
        let price = price(function.name, overload);
        let call = Call { function: function.name, price, args, implementation, eager, pattern };
        match constant {
            Some(value) => fold_constant(&call, value).map(Step::Constant),
            None => Ok(Step::Call(call)),
        }
    }

    fn map(&mut self, entries: &[Entry]) -> Result<Step, Fault> {
        let (mut keys, mut values, mut optional) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            keys.push(self.node(&entry.key)?);
            values.push(self.node(&entry.value)?);
            optional.push(entry.optional);
        }
        let constants = keys
            .iter()
            .zip(&values)
            .map(|(key, value)| Some((crate::value::Key::of(key.constant()?)?, value.constant()?.clone())));
        if !optional.contains(&true)
            && let Some(entries) = constants.collect::<Option<BTreeMap<_, _>>>()
        {
            return Ok(Step::Constant(Value::Map(Map::of(entries))));
        }
        Ok(Step::Map { keys, values, optional })
    }

    fn object(&mut self, name: &str, fields: &[FieldInit]) -> Result<Step, Fault> {
        let name = name.strip_prefix('.').unwrap_or(name).into();
        let values = fields.iter().map(|field| self.node(&field.value)).collect::<Result<_, _>>()?;
        let names = fields.iter().map(|field| field.name.clone()).collect();
        Ok(Step::Object { name, names, values, optional: fields.iter().map(|field| field.optional).collect() })
    }

    fn fold(&mut self, fold: &Fold) -> Result<Step, Fault> {
        let init = self.node(&fold.init)?;
        let range = self.node(&fold.range)?;
        let depth = self.depth;
        self.depth += 1;
        let scope = self.scopes.len();
        self.scopes.push((fold.accu.clone(), Local { depth, which: Which::Accumulator }));
        let result = self.node(&fold.result)?;
        self.scopes.push((fold.var.clone(), Local { depth, which: Which::First }));
        if let Some(name) = &fold.var2 {
            self.scopes.push((name.clone(), Local { depth, which: Which::Second }));
        }
        // The accumulator hides variables of the same name.
        self.scopes.push((fold.accu.clone(), Local { depth, which: Which::Accumulator }));
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.scopes.truncate(scope);
        self.depth -= 1;
        let two = fold.var2.is_some();
        let gathers = &*fold.accu == ACCUMULATOR;
        Ok(Step::Fold(Box::new(FoldPlan { depth, two, gathers, range, init, condition, step, result })))
    }
}

fn folded_list(elements: Vec<Node>, optional: Vec<bool>) -> Step {
    let constants: Option<Vec<Value<'static>>> = elements.iter().map(|element| element.constant().cloned()).collect();
    match constants {
        Some(values) if !optional.contains(&true) => Step::Constant(Value::List(List::of(values))),
        _ => Step::List { elements, optional },
    }
}

fn conditional(id: Id, args: Vec<Node>) -> Step {
    let mut args = args.into_iter();
    let (Some(condition), Some(yes), Some(no)) = (args.next(), args.next(), args.next()) else {
        return Step::Constant(Value::Null);
    };
    let (yes, no) = (Box::new(yes.into_attribute()), Box::new(no.into_attribute()));
    let base = Base::Conditional { condition: Box::new(condition), yes, no };
    Step::Attribute { attribute: Attribute { id, base, qualifiers: Vec::new() }, test: false }
}

fn index(id: Id, args: Vec<Node>, optional: bool) -> Planned {
    let mut args = args.into_iter();
    let (Some(operand), Some(index)) = (args.next(), args.next()) else { return Err(Fault::no_overload()) };
    let mut attribute = operand.into_attribute();
    let key = match index.step {
        Step::Constant(value) => {
            let of = crate::eval::go_type(&value);
            let valid = matches!(of, "types.String" | "types.Int" | "types.Uint" | "types.Bool" | "types.Double");
            if !valid {
                return Err(Fault::new(format!("invalid qualifier type: {of}")));
            }
            QualifierKey::Constant(value)
        }
        Step::Attribute { attribute, .. } => QualifierKey::Attribute(Arc::new(attribute), true),
        step => {
            let base = Base::Value(Box::new(Node { id: index.id, step }));
            QualifierKey::Attribute(Arc::new(Attribute { id, base, qualifiers: Vec::new() }), false)
        }
    };
    attribute.qualify(Qualifier { id, key, optional, test: false });
    Ok(Node { id: attribute.id(), step: Step::Attribute { attribute, test: false } })
}

/// `x in list`: a look-up, if the list is of constants that can be looked up.
fn membership(args: Vec<Node>, function: &'static library::Function, single: Option<&'static Overload>) -> Step {
    let list = args.get(1).and_then(Node::constant);
    let constants: Option<Vec<Value<'static>>> = match list {
        Some(Value::List(list)) => list.values().map(|value| value.ok().filter(is_hashable)).collect(),
        _ => None,
    };
    match constants {
        Some(list) if list.is_empty() => Step::Constant(Value::Bool(false)),
        Some(list) => match args.into_iter().next() {
            Some(element) => Step::Member { element: Box::new(element), list },
            None => Step::Constant(Value::Bool(false)),
        },
        None => {
            let implementation = library::implementation(function, single);
            Step::Call(Call {
                function: function.name,
                price: Price::Second,
                args,
                implementation,
                eager: true,
                pattern: None,
            })
        }
    }
}

fn is_hashable(value: &Value<'static>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_))
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Made(text.clone().into())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone().into()),
    }
}
