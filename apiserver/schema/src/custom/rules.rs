//! Rules in CEL (`x-kubernetes-validations`): what values of a schema must satisfy, beyond what a schema can say.
//!
//! ```text
//! definition ──► written (texts, paths) ──► compile: types, estimated costs ──► what is wrong with it
//! object     ──► run: rules at every value, against the value that it replaces ──► what is wrong with it, what is warned of
//! ```
//!
//! Expressions see `self`, the value at the schema that has the rule, and `oldSelf`, the value that it replaces. Which one that is, is known
//! for fields and for elements of lists that are maps; elsewhere a rule may not speak of it.

mod check; // what is wrong with the rules in a definition
mod context; // where in a definition a rule stands: how often it may run, and what its types are
mod field_path; // the field that a rule complains about
mod program; // expressions, compiled
mod ratchet; // what was wrong before and has not changed
mod run; // whether an object keeps them
mod written; // a rule, as it is written

pub(super) use check::{Checked, written};
pub(super) use context::Context;
pub(super) use run::Rules;

/// The cost that all rules of one object may have together (Kubernetes' `RuntimeCELCostBudget`): about a second.
const BUDGET: u64 = 10_000_000;
/// The cost that one expression may have each time that it runs (`PerCallLimit`): about a tenth of a second.
const CALL_LIMIT: u64 = 1_000_000;
/// The estimated cost up to which a rule is accepted (`StaticEstimatedCostLimit`).
const RULE_ESTIMATE_LIMIT: u64 = 10_000_000;
/// The estimated cost up to which all rules of a schema are accepted together (`StaticEstimatedCRDCostLimit`).
const SCHEMA_ESTIMATE_LIMIT: u64 = 100_000_000;
