//! What an expression may name: variables and their types, objects and their fields.

use crate::schema::Shape;
use crate::types::Type;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Fields of an object type, by the names that expressions use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectType {
    /// Its fields.
    pub fields: BTreeMap<Box<str>, Type>,
}

/// What an expression may name.
#[derive(Debug, Clone, Default)]
pub struct Declarations {
    variables: Vec<(Box<str>, Type)>,
    objects: HashMap<Arc<str>, Arc<ObjectType>>,
    /// Sizes of what variables hold, for the estimate of costs: by variable.
    shapes: Vec<(Box<str>, Arc<Shape>)>,
    patches: bool,
}

impl Declarations {
    /// Nothing but the libraries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable.
    #[must_use]
    pub fn variable(mut self, name: &str, of: Type) -> Self {
        self.variables.push((name.into(), of));
        self
    }

    /// A variable of unknown type that nevertheless is declared as `dyn`.
    #[must_use]
    pub fn dynamic(self, name: &str) -> Self {
        self.variable(name, Type::Dyn)
    }

    /// An object type.
    #[must_use]
    pub fn object(mut self, name: &str, fields: &[(&str, Type)]) -> Self {
        let fields = fields.iter().map(|(name, of)| (Box::from(*name), of.clone())).collect();
        self.objects.insert(name.into(), Arc::new(ObjectType { fields }));
        self
    }

    /// A variable whose values a schema describes: its object types are declared under `type_name`, and sizes that the schema bounds
    /// count in estimates.
    #[must_use]
    pub fn schema(mut self, name: &str, type_name: &str, shape: &Arc<Shape>) -> Self {
        let of = shape.named(type_name, &mut self.objects);
        self.shapes.push((name.into(), shape.clone()));
        self.variable(name, of)
    }

    /// As [`Self::schema`], but the value may be missing: `optional_type(…)`.
    #[must_use]
    pub fn optional_schema(mut self, name: &str, type_name: &str, shape: &Arc<Shape>) -> Self {
        let of = shape.named(type_name, &mut self.objects);
        self.shapes.push((name.into(), shape.clone()));
        self.variable(name, Type::optional(of))
    }

    /// `Object{…}`, `Object.spec{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`, for mutating policies.
    #[must_use]
    pub fn patches(mut self) -> Self {
        self.patches = true;
        self
    }

    pub(crate) fn has_patches(&self) -> bool {
        self.patches
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Type> {
        self.variables.iter().rev().find(|(known, _)| &**known == name).map(|(_, of)| of)
    }

    /// The bounds of what is at a path from a variable.
    pub(crate) fn shape(&self, path: &[Box<str>]) -> Option<u64> {
        let (root, rest) = path.split_first()?;
        // Estimates of custom resources' rules know one schema, whichever variable a path begins with.
        let known = self.shapes.iter().find(|(name, _)| name == root).or(self.shapes.first())?;
        known.1.at(rest).map(Shape::max_elements)
    }

    pub(crate) fn has_object(&self, name: &str) -> bool {
        self.objects.contains_key(name) || (self.patches && patch_type(name))
    }

    /// Type of a field of an object type.
    pub(crate) fn field(&self, object: &str, field: &str) -> Option<Type> {
        if let Some(known) = self.objects.get(object) {
            // Reserved words are escaped in types and may be written as they are.
            let of = known.fields.get(field).or_else(|| {
                crate::escape::is_reserved(field).then(|| known.fields.get(&*format!("__{field}__"))).flatten()
            });
            return of.cloned();
        }
        if self.patches && object == "JSONPatch" {
            return match field {
                "op" | "path" | "from" => Some(Type::String),
                "value" => Some(Type::Dyn),
                _ => None,
            };
        }
        (self.patches && patch_type(object)).then_some(Type::Dyn)
    }
}

fn patch_type(name: &str) -> bool {
    name == "JSONPatch" || name == "Object" || name.starts_with("Object.")
}
