//! The one table of resources: names, schemas, defaults, merge keys, printer columns, and the documents derived from it.
//!
//! Pure functions over [`serde_json::Value`]: no I/O, no clock, no async. The API server asks [`find`] which resource a path
//! names, [`decode`]s the body against its schema, [`apply_defaults`], validates, and stores; reading back it may ask for a
//! [`table`]. Patches are computed by [`strategic_merge`]. Discovery and OpenAPI documents come from the same table, so that
//! what is announced is what is served.
//!
//! What it leaves to others: identity (uid, resourceVersion, creationTimestamp, managedFields), allocation (cluster addresses,
//! node ports, job selectors), admission, storage and the wire.

mod resource; // which resources exist, and what they are called

mod catalog; // all of them, at one time

mod kinds; // what each adds to its schema

mod node; // schemas as trees of what is known about each value

mod builtin; // those of the built-in kinds, from the table

mod custom; // schemas of custom resources

mod descriptions; // JSON schemas with descriptions

mod apply; // which client owns which fields

mod json; // JSON text with its repeated keys

mod path; // how a field is called in a message

mod view; // short ways to look into JSON objects

mod decode; // is this body such an object, and what in it is unknown

mod defaults; // what an author may leave out

mod error; // how a refusal reads

mod validate; // what is refused

mod merge; // what a strategic merge patch does

mod table; // what `kubectl get` prints

pub mod discovery;
pub mod openapi;

pub mod cbor;
pub mod protobuf;

pub use apply::{Applied, ApplyError, Author, apply, apply_scale, merge_configuration, settle, track};
pub use catalog::{Catalog, find, find_auxiliary, find_kind, resources};
pub use custom::naming::{
    CLEANUP_FINALIZER, is_true as definition_is, set as set_condition, settle as settle_definition,
};
pub use custom::{Definition, custom_resources, stored_resource};
pub use decode::{
    DEPTH_MAX, DecodeError, Decoded, FieldValidation, Parsed, Problem, decode, decode_applied, decode_value, parse,
    sentence,
};
pub use defaults::apply_defaults;
pub use error::{FieldError, FieldErrorKind};
pub use kinds::apiregistration::registered::{Registration, registrations, served_versions};
pub use kinds::{Review, Stamp};
pub use merge::{PatchError, strategic_merge};
pub use resource::{Name, Resource, Subresource};
pub use table::template::RowTemplate;
pub use table::{IncludeObject, TableOptions, TableVersion, table};
pub use validate::{validate_change, validate_create, validate_review, validate_update};
