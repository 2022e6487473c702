//! The schema that merging, server-side apply and OpenAPI's consumers walk, from a structural one.

use super::structural::{Additional, Elements, Structural, Type, Types};
use crate::builtin;
use crate::node::{Field, ListType, Merge, Node, Schema, Shape, Struct, StructId, Unknown};
use std::collections::HashMap;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of objects of a version.
pub(super) fn schema(structural: &Structural) -> Schema {
    let mut arena = Arena::default();
    let metadata = arena.built_in();
    let root = arena.object(structural, metadata, Whole::Yes);
    Schema::new(arena.structs.into(), root)
}

/// Whether a struct is the whole object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

/// Structs while they are made.
#[derive(Default)]
struct Arena {
    structs: Vec<Struct>,
}

impl Arena {
    fn add(&mut self, one: Struct) -> StructId {
        self.structs.push(one);
        StructId(u32::try_from(self.structs.len() - 1).unwrap_or(u32::MAX))
    }

    /// Copies the metadata that every object has.
    fn built_in(&mut self) -> Option<StructId> {
        let schema = builtin::schema(OBJECT_META)?;
        Some(self.copy(&schema, schema.root_id(), &mut HashMap::new()))
    }

    fn copy(&mut self, from: &Schema, id: StructId, copied: &mut HashMap<StructId, StructId>) -> StructId {
        if let Some(place) = copied.get(&id) {
            return *place;
        }
        let place = self.add(Struct::default());
        copied.insert(id, place);
        let mut one = from.get(id).clone();
        for field in &mut one.fields {
            self.copy_inner(from, &mut field.node.shape, copied);
        }
        self.structs[place.0 as usize] = one;
        place
    }

    fn copy_inner(&mut self, from: &Schema, shape: &mut Shape, copied: &mut HashMap<StructId, StructId>) {
        match shape {
            Shape::Struct(id) => *id = self.copy(from, *id, copied),
            Shape::List(inner) | Shape::Map(inner) => self.copy_inner(from, &mut inner.shape, copied),
            Shape::Either(id, inner) => {
                *id = self.copy(from, *id, copied);
                self.copy_inner(from, &mut inner.shape, copied);
            }
            _ => {}
        }
    }

    /// A struct of listed fields; an object of its own has type and metadata too.
    fn object(&mut self, from: &Structural, metadata: Option<StructId>, whole: Whole) -> StructId {
        let embedded = from.embedded || whole == Whole::Yes;
        let required =
            |name: &str| from.limits.as_deref().is_some_and(|limits| limits.required.iter().any(|one| **one == *name));
        let mut fields: Vec<Field> = Vec::with_capacity(from.properties.len() + 3);
        for (name, property) in &from.properties {
            let node = self.node(property, metadata);
            fields.push(field(name, required(name), node));
        }
        if let Some(metadata) = metadata.filter(|_| embedded) {
            meta(&mut fields, metadata);
        }
        let unknown = if from.keeps_unknown { Unknown::Keep } else { Unknown::Prune };
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        self.add(Struct { fields: fields.into(), unknown, atomic: from.atomic_map, embedded, ..Struct::default() })
    }

    fn node(&mut self, from: &Structural, metadata: Option<StructId>) -> Node {
        let mut merge = Merge { atomic_map: from.atomic_map, ..Merge::default() };
        merge.list = match &from.list {
            Elements::Unsaid => ListType::Unsaid,
            Elements::Atomic => ListType::Atomic,
            Elements::Set => ListType::Set,
            Elements::Map(keys) => ListType::Map(keys.clone().into()),
        };
        Node {
            nullable: from.nullable,
            default: from.default.clone(),
            merge: (merge != Merge::default()).then(|| Box::new(merge)),
            ..Node::of(self.shape(from, metadata))
        }
    }

    fn shape(&mut self, from: &Structural, metadata: Option<StructId>) -> Shape {
        let one = match from.types {
            Types::IntOrString => return Shape::IntOrString,
            Types::Any => return Shape::Any,
            Types::One(one) => one,
        };
        match one {
            Type::String => Shape::String,
            Type::Boolean => Shape::Boolean,
            Type::Number => Shape::Number,
            Type::Integer => Shape::Int64,
            Type::Array => {
                let items = from.items.as_deref().map(|items| self.node(items, metadata));
                Shape::List(Box::new(items.unwrap_or_else(|| Node::of(Shape::Any))))
            }
            Type::Object => match &from.additional {
                Some(Additional::Of(other)) if from.properties.is_empty() => {
                    Shape::Map(Box::new(self.node(other, metadata)))
                }
                _ => Shape::Struct(self.object(from, metadata, Whole::No)),
            },
        }
    }
}

fn field(name: &str, required: bool, node: Node) -> Field {
    Field { name: name.into(), required, omit_zero: false, writes_null: false, wrapped: false, node }
}

/// The fields of every object, in place of what the schema says about them.
fn meta(fields: &mut Vec<Field>, metadata: StructId) {
    for (name, shape) in [("apiVersion", Shape::String), ("kind", Shape::String), ("metadata", Shape::Struct(metadata))]
    {
        fields.retain(|field| &*field.name != name);
        fields.push(field(name, false, Node::of(shape)));
    }
}
