//! Custom resources: what a CustomResourceDefinition's `openAPIV3Schema` says about objects, and what follows from it.
//!
//! A definition's schema is read once into a [`Structural`] tree. The same tree prunes, defaults and validates objects, and gives
//! the [`crate::node::Schema`] on which merging and server-side apply work. Definitions are checked as they were written
//! ([`definition`], [`structure`]), because the messages name what stands there.
//!
//! ```text
//! definition ──► definition, structure: what is wrong with it
//!           └──► Structural ──► default ► prune ► metadata (reading)   limits, lists, metadata (validating)
//!                         └──► nodes (merging), columns, selectable fields, scale
//! ```

pub(crate) mod approval; // who may bring a kind of Kubernetes' own
mod columns; // what `kubectl get` prints
mod default; // what an author may leave out
pub(crate) mod definition; // what is wrong with a schema in a definition
mod formats; // texts in a known form
mod jsonpath; // values by path
mod limits; // what is wrong with a value
mod lists; // sets and maps in lists
mod metadata; // objects in objects
pub(crate) mod naming; // whether its names are free
mod nodes; // the schema that merging walks
mod pattern; // regular expressions as Go reads them
mod prune; // fields that nobody knows
pub(crate) mod resource; // what is served of it
mod rules; // rules in CEL
pub(crate) mod scale; // how many there are
mod structural; // a schema, read
mod structure; // whether a schema is structural
mod version; // all of it, for one version

#[cfg(test)]
mod tests;

pub(crate) use resource::Custom;
pub use resource::{Definition, custom_resources, stored_resource};
#[cfg(test)]
pub(crate) use version::Version;
pub(crate) use version::finalizer_warnings;

/// Whether Kubernetes' JSONPath understands `text`, written without its braces.
pub(crate) fn is_json_path(text: &str) -> bool {
    jsonpath::JsonPath::parse(text).is_some()
}
