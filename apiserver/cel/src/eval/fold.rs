//! Comprehensions.

use super::attribute::go_type;
use super::{Evaluator, Outcome};
use crate::fault::Fault;
use crate::plan::{FoldPlan, Local, Node, Which};
use crate::value::Value;

/// Variables of a comprehension while it runs.
pub(super) struct Frame<'a> {
    init: &'a Node,
    /// Whether the accumulator is the macro's own, which nothing else names.
    pub(super) gathers: bool,
    /// Evaluated when it is first asked for.
    pub(super) accumulator: Option<Outcome<'a>>,
    first: Option<Outcome<'a>>,
    second: Option<Outcome<'a>>,
}

impl<'a> Evaluator<'_, 'a> {
    pub(super) fn fold(&mut self, plan: &'a FoldPlan) -> Outcome<'a> {
        let range = self.node(&plan.range)?;
        let at = self.frames.len();
        debug_assert_eq!(at, plan.depth, "a comprehension's variables stand at its depth");
        self.frames.push(Frame {
            init: &plan.init,
            gathers: plan.gathers,
            accumulator: None,
            first: None,
            second: None,
        });
        let result = self.iterate(plan, &range, at);
        self.frames.truncate(at);
        result
    }

    fn iterate(&mut self, plan: &'a FoldPlan, range: &Value<'a>, at: usize) -> Outcome<'a> {
        match range {
            Value::List(list) => {
                for (index, element) in list.values().enumerate() {
                    let (first, second) = if plan.two {
                        (Ok(Value::Int(i64::try_from(index).unwrap_or(i64::MAX))), Some(element))
                    } else {
                        (element, None)
                    };
                    if !self.iteration(plan, at, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let second = plan.two.then(|| map.find(&key).map(|value| value.unwrap_or(Value::Null)));
                    if !self.iteration(plan, at, Ok(key), second)? {
                        break;
                    }
                }
            }
            other if plan.two => {
                return Err(Fault::new(format!("unsupported comprehension range type: {}", go_type(other))));
            }
            other => return Err(Fault::new(format!("got '{}', expected iterable type", go_type(other)))),
        }
        self.node(&plan.result)
    }

    /// One element; whether to go on.
    fn iteration(
        &mut self,
        plan: &'a FoldPlan,
        at: usize,
        first: Outcome<'a>,
        second: Option<Outcome<'a>>,
    ) -> Result<bool, Fault> {
        self.frames[at].first = Some(first);
        self.frames[at].second = second;
        match self.node(&plan.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(Fault::CostExceeded) => return Err(Fault::CostExceeded),
            _ => {}
        }
        match self.node(&plan.step) {
            Err(Fault::CostExceeded) => Err(Fault::CostExceeded),
            result => {
                self.frames[at].accumulator = Some(result);
                Ok(true)
            }
        }
    }

    /// A variable of a comprehension.
    pub(super) fn local(&mut self, local: Local) -> Outcome<'a> {
        let frame = &self.frames[local.depth];
        let init = match local.which {
            Which::First => return frame.first.clone().unwrap_or_else(|| Err(Fault::no_overload())),
            Which::Second => return frame.second.clone().unwrap_or_else(|| Err(Fault::no_overload())),
            Which::Accumulator => match &frame.accumulator {
                Some(value) => return value.clone(),
                None => frame.init,
            },
        };
        // Only what stood around the comprehension is visible to it, and that stands at smaller depths.
        let inner = self.frames.split_off(local.depth);
        let value = self.node(init);
        self.frames.truncate(local.depth);
        self.frames.extend(inner);
        if !matches!(value, Err(Fault::CostExceeded)) {
            self.frames[local.depth].accumulator = Some(value.clone());
        }
        value
    }
}
