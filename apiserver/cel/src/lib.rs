//! Kubernetes' expression language (CEL).
//!
//! ```text
//! text ── syntax ──► tree ── check ──► types and overloads ── plan ──► nodes ── eval ──► value
//!                                             └── cost::estimate             └── cost::runtime
//! ```
//!
//! Made for what Kubernetes needs of it: checked against schemas, messages that clients know, costs estimated before an expression is
//! accepted and counted while it runs, both as kube-apiserver counts them. See decision 22.
//!
//! Left out on purpose: protobuf messages (`google.protobuf.Struct{…}`), macros and functions that Kubernetes does not enable (`cel.bind`,
//! `math.…`, `base64.…`).

mod activation; // what variables hold
mod authorizer; // questions to the authorizer
mod calendar; // days and dates
mod check; // tree to types
mod cost; // what that costs
mod declarations; // what may be named
mod escape; // field names that no identifier can be
mod eval; // nodes to values
mod fault; // why there is no value
mod library; // functions
mod number; // numbers of different types
mod plan; // types to nodes
mod program;
mod schema; // schemas as types
mod source; // the text, and errors that point into it
mod syntax; // text to tree
mod types; // types
mod value; // values // all of it

pub use activation::Activation;
pub use authorizer::{Authorizer, Check, Decision, Question};
pub use cost::estimate::Range;
pub use declarations::{Declarations, ObjectType};
pub use escape::{escape, is_reserved, unescape};
pub use fault::Fault;
pub use program::{CompileError, Evaluation, Program, compile};
pub use schema::Shape;
pub use source::Issue;
pub use types::Type;
pub use value::{Amount, Key, List, Made, Map, Text, Timestamp, Value};

/// What one evaluation may cost.
pub const CALL_COST_MAX: u64 = 1_000_000;

/// What all evaluations for one object may cost, of a policy's binding or of a custom resource.
pub const OBJECT_COST_MAX: u64 = 10_000_000;

/// What the match conditions of one webhook or policy may cost for one object.
pub const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;

/// What a rule of a custom resource may be estimated to cost.
pub const RULE_ESTIMATE_MAX: u64 = 10_000_000;

/// What all rules of a custom resource definition may be estimated to cost.
pub const DEFINITION_ESTIMATE_MAX: u64 = 100_000_000;

/// Longest message that a message expression may give, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;
