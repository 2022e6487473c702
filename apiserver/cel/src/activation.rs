//! What variables hold while an expression is evaluated.

use crate::fault::Fault;
use crate::program::Program;
use crate::value::Value;
use std::cell::{Cell, RefCell};

/// What variables hold. One activation serves all expressions of a policy for one object: its `variables` are evaluated once.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    values: Vec<(Box<str>, Result<Value<'a>, Fault>)>,
    variables: Vec<PolicyVariable<'a>>,
    limit: u64,
    spent: Cell<u64>,
}

/// A variable of a policy, evaluated when it is first asked for.
#[derive(Debug)]
struct PolicyVariable<'a> {
    name: Box<str>,
    program: Result<&'a Program, Box<str>>,
    value: RefCell<Option<Result<Value<'a>, Fault>>>,
}

impl<'a> Activation<'a> {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable and its value.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value<'a>) -> Self {
        self.values.push((name.into(), Ok(value)));
        self
    }

    /// A variable whose value may have failed to be made.
    #[must_use]
    pub fn with_result(mut self, name: &str, value: Result<Value<'a>, Fault>) -> Self {
        self.values.push((name.into(), value));
        self
    }

    /// `variables` of a policy, each with its program or why it has none; a single one may cost up to `limit`.
    #[must_use]
    pub fn with_variables(
        mut self,
        programs: impl IntoIterator<Item = (&'a str, Result<&'a Program, String>)>,
        limit: u64,
    ) -> Self {
        self.limit = limit;
        for (name, program) in programs {
            let program = program.map_err(Into::into);
            self.variables.push(PolicyVariable { name: name.into(), program, value: RefCell::new(None) });
        }
        self.values.push(("variables".into(), Ok(Value::Variables)));
        self
    }

    /// What policies' variables cost since it was last asked.
    pub fn take_spent(&self) -> u64 {
        self.spent.take()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Result<Value<'a>, Fault>> {
        self.values.iter().rev().find(|(known, _)| &**known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn policy_variable(&self, name: &str) -> Option<Result<Value<'a>, Fault>> {
        let variable = self.variables.iter().find(|variable| &*variable.name == name)?;
        if let Some(value) = &*variable.value.borrow() {
            return Some(value.clone());
        }
        let value = match &variable.program {
            Err(why) => Err(Fault::new(format!("composited variable {name:?} fails to compile: {why}"))),
            Ok(program) => {
                let run = program.evaluate(self, self.limit);
                self.spent.set(self.spent.get().saturating_add(run.cost));
                run.result
                    .map_err(|fault| Fault::new(format!("composited variable {name:?} fails to evaluate: {fault}")))
            }
        };
        *variable.value.borrow_mut() = Some(value.clone());
        Some(value)
    }
}
