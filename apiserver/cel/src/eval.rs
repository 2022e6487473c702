//! Evaluates plans, and counts what each step costs.

mod attribute; // variables and what is selected of them
mod fold; // comprehensions

use crate::activation::Activation;
use crate::cost::price::Price;
use crate::cost::runtime::Meter;
use crate::fault::Fault;
use crate::library::Implementation;
use crate::plan::{Call, Node, Step, Which};
use crate::value::{Key, List, Made, Map, Value, equal, truly_equal};
pub(crate) use attribute::go_type;
use fold::Frame;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a list, a map and an object cost to make.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;

/// A value, or why there is none.
pub(crate) type Outcome<'a> = Result<Value<'a>, Fault>;

/// One evaluation.
pub(crate) struct Evaluator<'e, 'a> {
    activation: &'e Activation<'a>,
    pub(crate) meter: Meter,
    frames: Vec<Frame<'a>>,
}

impl<'e, 'a> Evaluator<'e, 'a> {
    pub(crate) fn new(activation: &'e Activation<'a>, limit: u64, nodes: usize) -> Self {
        Self { activation, meter: Meter::new(limit, nodes), frames: Vec::new() }
    }

    /// Evaluates a node and counts it.
    pub(crate) fn node(&mut self, node: &'a Node) -> Outcome<'a> {
        match &node.step {
            Step::Constant(value) => {
                self.meter.push(node.id)?;
                Ok(value.clone())
            }
            Step::Attribute { attribute, test } => self.attribute(attribute, *test),
            Step::And(terms) => self.logical(node, terms, false),
            Step::Or(terms) => self.logical(node, terms, true),
            Step::Equal { negated, args } => self.equality(node, args, *negated),
            Step::Call(call) => self.call(node, call),
            Step::OptionalOr { args, unwrap } => self.optional_or(node, args, *unwrap),
            Step::Member { element, list } => {
                let found = self
                    .node(element)
                    .map(|value| Value::Bool(list.iter().any(|constant| truly_equal(constant, &value))));
                self.done(node, found)
            }
            Step::List { elements, optional } => self.list(node, elements, optional),
            Step::Map { keys, values, optional } => self.map(node, keys, values, optional),
            Step::Object { name, names, values, optional } => self.object(node, name, names, values, optional),
            Step::Fold(fold) => {
                let result = self.fold(fold);
                if !matches!(result, Err(Fault::CostExceeded)) {
                    self.meter.drop(fold.range.id);
                }
                self.done(node, result)
            }
        }
    }

    /// Notes that a step has its value.
    fn done(&mut self, node: &Node, result: Outcome<'a>) -> Outcome<'a> {
        if let Err(Fault::CostExceeded) = result {
            return result;
        }
        self.meter.push(node.id)?;
        result
    }

    /// `&&` (`absorbing` false) and `||` (true): a term that decides hides errors of the others.
    fn logical(&mut self, node: &'a Node, terms: &'a [Node], absorbing: bool) -> Outcome<'a> {
        let mut error = None;
        let mut result = None;
        for term in terms {
            match self.node(term) {
                Ok(Value::Bool(value)) if value == absorbing => {
                    result = Some(Ok(Value::Bool(value)));
                    break;
                }
                Ok(Value::Bool(_)) => {}
                Ok(_) => error = error.or(Some(Fault::no_overload())),
                Err(Fault::CostExceeded) => return Err(Fault::CostExceeded),
                Err(fault) => error = error.or(Some(fault)),
            }
        }
        for term in terms {
            self.meter.drop(term.id);
        }
        let result = result.unwrap_or_else(|| error.map_or(Ok(Value::Bool(!absorbing)), Err));
        self.done(node, result)
    }

    fn equality(&mut self, node: &'a Node, args: &'a [Node], negated: bool) -> Outcome<'a> {
        let left = self.value(&args[0])?;
        let right = self.value(&args[1])?;
        let result = match (&left, &right) {
            (Ok(left), Ok(right)) => match equal(left, right) {
                // What cannot be compared is not equal, so it is unequal.
                Err(Fault::Error(_)) if negated => Ok(Value::Bool(true)),
                same => same.map(|same| Value::Bool(same != negated)),
            },
            (Err(fault), _) | (_, Err(fault)) => Err(fault.clone()),
        };
        let price = if negated { Price::Smaller } else { Price::Equality };
        self.charge(args, price, &[left, right], &result);
        self.done(node, result)
    }

    /// The node's value or error; a cost that is too high ends everything.
    fn value(&mut self, node: &'a Node) -> Result<Outcome<'a>, Fault> {
        match self.node(node) {
            Err(Fault::CostExceeded) => Err(Fault::CostExceeded),
            other => Ok(other),
        }
    }

    fn charge(&mut self, nodes: &[Node], price: Price, args: &[Outcome<'a>], result: &Outcome<'a>) {
        // In upstream a call whose arguments are not all on the stack costs nothing.
        if self.meter.drop_all(nodes) {
            self.meter.cost = self.meter.cost.saturating_add(price.of(args, result));
        }
    }

    fn call(&mut self, node: &'a Node, call: &'a Call) -> Outcome<'a> {
        if let Some(result) = self.append(node, call) {
            return result;
        }
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            let value = self.value(arg)?;
            let failed = value.is_err();
            args.push(value);
            if failed && !call.eager {
                break;
            }
        }
        let result = invoke(call, &args);
        self.charge(&call.args, call.price, &args, &result);
        self.done(node, result)
    }

    /// `accumulator + [element]`, and one more entry of a map, take the accumulator instead of copying it.
    fn append(&mut self, node: &'a Node, call: &'a Call) -> Option<Outcome<'a>> {
        if !matches!(call.function, "_+_" | "cel.@mapInsert") {
            return None;
        }
        let Step::Attribute { attribute, test: false } = &call.args[0].step else { return None };
        let depth = attribute.accumulator()?;
        let frame = self.frames.get(depth)?;
        let whole = matches!(frame.accumulator, Some(Ok(Value::List(List::Made(_, None)) | Value::Map(Map::Made(_)))));
        (frame.gathers && whole).then(|| self.append_to(node, call, depth, attribute.id))
    }

    fn append_to(&mut self, node: &'a Node, call: &'a Call, depth: usize, id: u32) -> Outcome<'a> {
        self.meter.drop(id);
        self.meter.cost += 1;
        self.meter.push(id)?;
        let mut args = Vec::with_capacity(call.args.len());
        args.push(Ok(Value::Null));
        for arg in &call.args[1..] {
            let value = self.value(arg)?;
            let failed = value.is_err();
            args.push(value);
            if failed && !call.eager {
                break;
            }
        }
        if let Some(accumulator) = self.frames[depth].accumulator.take() {
            args[0] = accumulator;
        }
        let result = invoke_owned(call, args);
        if self.meter.drop_all(&call.args) {
            // Longer by one, whichever it is.
            self.meter.cost = self.meter.cost.saturating_add(1);
        }
        self.done(node, result)
    }

    fn optional_or(&mut self, node: &'a Node, args: &'a [Node], unwrap: bool) -> Outcome<'a> {
        let left = self.value(&args[0])?;
        let result = match left {
            Ok(Value::Optional(Some(value))) if unwrap => Ok((*value).clone()),
            Ok(Value::Optional(None)) => self.value(&args[1])?,
            other => other,
        };
        self.done(node, result)
    }

    /// Elements of a literal; `None` for optional ones that are missing.
    fn element(
        &mut self,
        node: &'a Node,
        optional: bool,
        refuse: impl Fn(&Value<'a>) -> String,
    ) -> Result<Result<Option<Value<'a>>, Fault>, Fault> {
        Ok(match self.value(node)? {
            Ok(Value::Optional(inner)) if optional => Ok(inner.map(|value| (*value).clone())),
            Ok(other) if optional => Err(Fault::new(refuse(&other))),
            other => other.map(Some),
        })
    }

    fn made(&mut self, node: &'a Node, parts: &[&'a [Node]], cost: u64, result: Outcome<'a>) -> Outcome<'a> {
        self.meter.drop_interleaved(parts);
        self.meter.cost = self.meter.cost.saturating_add(cost);
        self.done(node, result)
    }

    fn list(&mut self, node: &'a Node, elements: &'a [Node], optional: &[bool]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        let mut result = None;
        for (element, optional) in elements.iter().zip(optional) {
            let refuse = |value: &Value<'a>| {
                format!("cannot initialize optional list element from non-optional value {}", crate::value::show(value))
            };
            match self.element(element, *optional, refuse)? {
                Ok(value) => values.extend(value),
                Err(fault) => {
                    result = Some(Err(fault));
                    break;
                }
            }
        }
        let result = result.unwrap_or_else(|| Ok(Value::List(List::of(values))));
        self.made(node, &[elements], LIST_COST, result)
    }

    fn map(&mut self, node: &'a Node, keys: &'a [Node], values: &'a [Node], optional: &[bool]) -> Outcome<'a> {
        let result = self.entries(keys, values, optional)?.map(|entries| Value::Map(Map::of(entries)));
        self.made(node, &[keys, values], MAP_COST, result)
    }

    /// The outer failure ends the evaluation, the inner one is the map's.
    fn entries(
        &mut self,
        keys: &'a [Node],
        values: &'a [Node],
        optional: &[bool],
    ) -> Result<Result<BTreeMap<Key<'a>, Value<'a>>, Fault>, Fault> {
        let mut entries = BTreeMap::new();
        for ((key, value), optional) in keys.iter().zip(values).zip(optional) {
            let key = match self.value(key)? {
                Ok(key) => key,
                Err(fault) => return Ok(Err(fault)),
            };
            let refuse = |value: &Value<'a>| not_optional(&crate::value::show(&key), value);
            let value = match self.element(value, *optional, refuse)? {
                Ok(value) => value,
                Err(fault) => return Ok(Err(fault)),
            };
            let Some(place) = Key::of(&key) else {
                return Ok(Err(Fault::new(format!("unsupported key type: {}", key.type_name()))));
            };
            match value {
                Some(value) => entries.insert(place, value),
                None => entries.remove(&place),
            };
        }
        Ok(Ok(entries))
    }

    fn object(
        &mut self,
        node: &'a Node,
        name: &Arc<str>,
        names: &[Box<str>],
        values: &'a [Node],
        optional: &[bool],
    ) -> Outcome<'a> {
        let mut fields = BTreeMap::new();
        let mut result = None;
        for ((field, value), optional) in names.iter().zip(values).zip(optional) {
            match self.element(value, *optional, |value| not_optional(field, value))? {
                Ok(Some(value)) => fields.insert(field.clone(), value),
                Ok(None) => fields.remove(field),
                Err(fault) => {
                    result = Some(Err(fault));
                    break;
                }
            };
        }
        let result = result.unwrap_or_else(|| Ok(Value::Object(Arc::new(Made { name: name.clone(), fields }))));
        self.made(node, &[values], OBJECT_COST, result)
    }
}

fn not_optional(name: &str, value: &Value<'_>) -> String {
    format!("cannot initialize optional entry '{name}' from non-optional value {}", crate::value::show(value))
}

/// Calls a function, unless an argument is an error.
fn invoke<'a>(call: &Call, args: &[Outcome<'a>]) -> Outcome<'a> {
    let lenient = call.function == "@not_strictly_false";
    if lenient {
        return Ok(match args {
            [Ok(Value::Bool(value))] => Value::Bool(*value),
            _ => Value::Bool(true),
        });
    }
    let mut values = Vec::with_capacity(args.len());
    for arg in args {
        values.push(arg.clone()?);
    }
    match &call.pattern {
        Some(pattern) => call.implementation.with_pattern(pattern, &values),
        None => call.implementation.call(&values),
    }
}

/// Calls with arguments that nobody else holds.
fn invoke_owned<'a>(call: &Call, args: Vec<Outcome<'a>>) -> Outcome<'a> {
    let args: Vec<Value<'a>> = args.into_iter().collect::<Result<_, _>>()?;
    call.implementation.call_owned(args)
}

/// A conversion of a constant, done once.
pub(crate) fn fold_constant(call: &Call, value: Value<'static>) -> Result<Value<'static>, Fault> {
    invoke(call, &[Ok(value)])
}

/// So that the implementation's kind can be told by who plans.
impl Implementation {
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(..))
    }
}

impl crate::plan::Attribute {
    /// The depth of the comprehension whose accumulator this is, if it is one and nothing is selected of it.
    fn accumulator(&self) -> Option<usize> {
        match &self.base {
            crate::plan::Base::Local(local) if local.which == Which::Accumulator && self.qualifiers.is_empty() => {
                Some(local.depth)
            }
            _ => None,
        }
    }
}
