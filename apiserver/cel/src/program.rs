//! Compiling and running expressions.

use crate::activation::Activation;
use crate::check::{self, Checked, Reference};
use crate::cost::estimate::{self, Range};
use crate::declarations::Declarations;
use crate::eval::Evaluator;
use crate::fault::Fault;
use crate::plan::{self, Node};
use crate::source::{Issue, Source};
use crate::syntax;
use crate::types::Type;
use crate::value::Value;

/// Why an expression is no program.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompileError {
    /// It does not parse or check: what upstream shows after `compilation failed: `.
    #[error("{shown}")]
    Invalid {
        /// All issues as one text, each with its line.
        shown: String,
        /// The issues.
        issues: Vec<Issue>,
    },
    /// A constant in it is none: what upstream shows after `program instantiation failed: `.
    #[error("{fault}")]
    Constant {
        /// What is wrong with it.
        fault: Fault,
        /// Type of what the expression would give.
        output: Type,
        /// What it would have cost.
        estimate: Range,
    },
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    root: Node,
    output: Type,
    estimate: Range,
    nodes: usize,
    names: Vec<Box<str>>,
}

/// What an evaluation gave, and what it cost.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The value, or why there is none.
    pub result: Result<Value<'a>, Fault>,
    /// In upstream's units.
    pub cost: u64,
}

/// Compiles an expression.
///
/// # Errors
/// It does not parse, names what is not declared, or applies functions to what they are not for.
pub fn compile(declarations: &Declarations, text: &str) -> Result<Program, CompileError> {
    let source = Source::new(text);
    let invalid = |issues: Vec<Issue>| CompileError::Invalid { shown: source.show_all(&issues), issues };
    let tree = syntax::parse(&source);
    if !tree.issues.is_empty() {
        return Err(invalid(tree.issues));
    }
    let (checked, offsets) = check::check(declarations, &source, tree).map_err(invalid)?;
    let issues = check::validate(&checked, &source, &offsets);
    if !issues.is_empty() {
        return Err(invalid(issues));
    }
    let estimate = estimate::estimate(&checked, declarations);
    let output = checked.type_of(&checked.root).clone();
    let root =
        plan::plan(&checked).map_err(|fault| CompileError::Constant { fault, output: output.clone(), estimate })?;
    Ok(Program { root, output, estimate, nodes: offsets.len(), names: names(&checked) })
}

/// Variables that the expression names.
fn names(checked: &Checked) -> Vec<Box<str>> {
    let mut names = Vec::new();
    checked.root.walk(&mut |expr| {
        if let (syntax::ast::Kind::Ident(name), Some(Reference::Variable)) = (&expr.kind, checked.reference(expr))
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    });
    names
}

impl Program {
    /// Type of what it gives.
    #[must_use]
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// What it may cost.
    #[must_use]
    pub fn estimate(&self) -> Range {
        self.estimate
    }

    /// Whether it names a variable, such as `oldSelf`.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.names.iter().any(|name| &**name == variable)
    }

    /// Evaluates it; more than `limit` it may not cost.
    pub fn evaluate<'a>(&'a self, activation: &Activation<'a>, limit: u64) -> Evaluation<'a> {
        let mut evaluator = Evaluator::new(activation, limit, self.nodes);
        let result = evaluator.node(&self.root);
        Evaluation { result, cost: evaluator.meter.cost }
    }
}
