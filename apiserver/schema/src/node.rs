//! A schema as everything here walks it: structs, their fields, and what is known about each value.
//!
//! Built-in kinds share one set of structs, made from the table; a custom resource has a set of its own. Both are the same to
//! decoding, defaulting, merging, server-side apply, Protobuf and OpenAPI.

#![allow(dead_code, reason = "the kinds move here one by one")]

use serde_json::Value;
use std::sync::Arc;

/// Place of a struct in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StructId(pub(crate) u32);

/// The schema of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    structs: Arc<[Struct]>,
    root: StructId,
}

impl Schema {
    /// The kind whose objects are `root`. Every [`StructId`] in `structs` must be a place in `structs`.
    pub(crate) fn new(structs: Arc<[Struct]>, root: StructId) -> Self {
        Self { structs, root }
    }

    /// What objects of the kind are.
    pub(crate) fn root(&self) -> &Struct {
        self.get(self.root)
    }

    /// Place of [`Self::root`].
    pub(crate) fn root_id(&self) -> StructId {
        self.root
    }

    /// The struct at a place.
    pub(crate) fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }

    /// The struct that a node's values are, if they are structs.
    pub(crate) fn struct_of(&self, node: &Node) -> Option<&Struct> {
        match node.shape {
            Shape::Struct(id) => Some(self.get(id)),
            _ => None,
        }
    }
}

/// Objects with named fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Struct {
    /// Name of the definition, e.g. `io.k8s.api.core.v1.PodSpec`; empty in custom resources.
    pub(crate) name: Box<str>,
    /// Ordered by name.
    pub(crate) fields: Box<[Field]>,
    /// What becomes of fields that are not listed.
    pub(crate) unknown: Unknown,
    /// `x-kubernetes-map-type: atomic` of the type: owned and replaced as a whole.
    pub(crate) atomic: bool,
    /// `x-kubernetes-embedded-resource`: an object with `apiVersion`, `kind` and `metadata` of its own.
    pub(crate) embedded: bool,
    /// Protobuf numbers, ordered by number; empty in custom resources.
    pub(crate) wire: Box<[(u32, Wire)]>,
}

impl Struct {
    /// The field of that JSON name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(at)
    }
}

/// What becomes of unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Unknown {
    /// They are pruned, warned about or refused, as `fieldValidation` says.
    #[default]
    Prune,
    /// They stay (`x-kubernetes-preserve-unknown-fields`).
    Keep,
}

/// What a number in a Protobuf message stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A field: its place in [`Struct::fields`].
    Field(u16),
    /// A message whose fields stand among those of its holder in JSON, ordered by number.
    Embedded(Box<[(u32, Wire)]>),
}

/// A field of a struct.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Its name in JSON.
    pub(crate) name: Box<str>,
    /// Whether it must be there.
    pub(crate) required: bool,
    /// Whether 0, false, "" and empty lists and maps are the same as nothing, so that they are left out (in Go `omitempty` on what is no
    /// pointer). Never in custom resources.
    pub(crate) omit_zero: bool,
    /// Whether it is written as null when it is not given (in Go a list or map without `omitempty`, or a time that is no pointer).
    pub(crate) writes_null: bool,
    /// In Protobuf, a list that is a message with one field.
    pub(crate) wrapped: bool,
    /// Its values.
    pub(crate) node: Node,
}

/// What is known about a value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What it must look like.
    pub(crate) shape: Shape,
    /// Whether null is a value of its own.
    pub(crate) nullable: bool,
    /// The value of an absent field, from the schema. (Defaults that depend on other fields are rules of the kind.)
    pub(crate) default: Option<Box<Value>>,
    /// How lists and maps in it merge; `None`: replaced by a strategic merge; a list is owned as a whole, a map or struct key by key.
    pub(crate) merge: Option<Box<Merge>>,
}

impl Node {
    /// A value of that shape, and nothing more.
    pub(crate) fn of(shape: Shape) -> Self {
        Self { shape, nullable: false, default: None, merge: None }
    }
}

/// What a JSON value must look like.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    String,
    Int32,
    Int64,
    Number,
    Boolean,
    /// Base64.
    Bytes,
    /// RFC 3339, kept in UTC with whole seconds.
    Time,
    /// RFC 3339, kept in UTC with microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// Anything, kept as it is.
    Any,
    List(Box<Node>),
    Map(Box<Node>),
    Struct(StructId),
    /// A struct, or something else that is no object: how the schemas in custom resource definitions say `items`,
    /// `additionalProperties` and `dependencies`.
    Either(StructId, Box<Node>),
}

/// How a list or map merges. A patch strategy and merge key rule strategic merge patches; list and map types rule server-side apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Merge {
    /// `x-kubernetes-list-type`.
    pub(crate) list: ListType,
    /// `x-kubernetes-map-type: atomic`, of a map or of a struct in this field.
    pub(crate) atomic_map: bool,
    /// `x-kubernetes-map-type: granular`: owned key by key, even where the struct in this field is atomic elsewhere.
    pub(crate) granular_map: bool,
    /// `x-kubernetes-patch-strategy: replace`: says what would hold anyway.
    pub(crate) replace: bool,
    /// Strategic merge merges the elements (`x-kubernetes-patch-strategy: merge`).
    pub(crate) strategic: bool,
    /// Strategic merge honours `$retainKeys`.
    pub(crate) retain_keys: bool,
    /// The field that identifies an element in a strategic merge (`x-kubernetes-patch-merge-key`); `None` for scalars.
    pub(crate) merge_key: Option<Box<str>>,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// Nothing is said: a list is one value, as with [`Self::Atomic`], but says nothing in OpenAPI.
    #[default]
    Unsaid,
    /// One value.
    Atomic,
    /// Scalars, each there once.
    Set,
    /// Elements told apart by these fields (`x-kubernetes-list-map-keys`).
    Map(Box<[Box<str>]>),
}
