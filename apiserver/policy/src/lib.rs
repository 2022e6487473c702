//! What admission policies and match conditions say of a request.
//!
//! ```text
//!  policy ──► expressions compiled once ──► scene of a request ──► conditions? ──► decisions, audit annotations (validating)
//!                                                                             └──► apply configurations, JSON patches (mutating)
//! ```
//!
//! Everything here is pure: who calls finds out which policies are bound to a request and with which parameters, shows the request as a
//! [`Scene`], and acts on what comes back. The order of evaluation, the budgets and the texts follow Kubernetes' admission plugins.
//!
//! What it leaves to others: the language (`skiff-cel`), rules and selectors, where objects come from, what a refusal looks like.

mod environment; // what expressions may speak of

mod expression; // one expression, compiled

mod scene; // what a request shows them

mod conditions; // when a webhook or a policy is asked

mod validating; // what requests must satisfy

mod mutating; // what changes them

mod checker; // what is wrong with the expressions of an object that is written

mod types; // whether expressions fit the kinds that they will see

pub use checker::Checker;
pub use conditions::Conditions;
pub use mutating::{Mutating, Mutation};
pub use scene::Scene;
pub use types::{TypeProblem, type_problems};
pub use validating::{Annotation, Decision, Validating, Verdict};

/// What all validations of one binding, or one change, may cost (`RuntimeCELCostBudget`): about a second.
const BUDGET: u64 = 10_000_000;
/// What all match conditions of one webhook or binding may cost (`RuntimeCELCostBudgetMatchConditions`).
const CONDITIONS_BUDGET: u64 = 2_500_000;
/// Longest message that an expression may give (`MaxEvaluatedMessageExpressionSizeBytes`).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Where the budget is spent.
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
