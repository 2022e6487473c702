//! Values, over the JSON they come from: nothing is copied that an expression does not make.

mod convert; // JSON to values and back
mod equal; // which values are the same
mod list;
mod map;
mod show; // values in messages

pub(crate) use convert::{from_json, from_shaped, to_json};
pub(crate) use equal::{deep_equal, equal, truly_equal};
pub use list::List;
pub use map::{Key, Map};
pub(crate) use show::show;

use crate::authorizer::Check;
use crate::fault::Fault;
use crate::library::{Format, Url, Version};
use serde_json::Value as Json;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A text, borrowed from an object or made.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// From an object or a program.
    Borrowed(&'a str),
    /// Made by an expression.
    Made(Arc<str>),
}

impl Text<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Made(text.into())
    }
}

/// A point in time, and the offset from UTC with which it was written.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp {
    /// Since 1970.
    pub seconds: i64,
    /// Within the second.
    pub nanos: u32,
    /// With which it is written again.
    pub offset_seconds: i32,
}

impl Timestamp {
    /// For comparing.
    pub(crate) fn instant(self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }
}

/// A quantity.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// How much.
    pub quantity: Quantity,
    /// Whether an expression added or subtracted to make it.
    pub summed: bool,
}

/// An object that an expression made: `Object{…}`, `JSONPatch{…}`.
#[derive(Debug, Clone)]
pub struct Made<'a> {
    /// Name of its type.
    pub name: Arc<str>,
    /// What was given.
    pub fields: BTreeMap<Box<str>, Value<'a>>,
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(Text<'a>),
    /// `bytes`.
    Bytes(Arc<[u8]>),
    /// `google.protobuf.Timestamp`.
    Timestamp(Timestamp),
    /// `google.protobuf.Duration`, in nanoseconds.
    Duration(i64),
    /// `list`.
    List(List<'a>),
    /// `map`, and objects of schemas.
    Map(Map<'a>),
    /// An object that an expression made.
    Object(Arc<Made<'a>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// `optional_type`.
    Optional(Option<Arc<Value<'a>>>),
    /// `kubernetes.Quantity`.
    Quantity(Amount),
    /// `net.IP`.
    Ip(IpAddr),
    /// `net.CIDR`: address and length of the prefix.
    Cidr(IpAddr, u8),
    /// `kubernetes.URL`.
    Url(Arc<Url>),
    /// `kubernetes.NamedFormat`.
    Format(&'static Format),
    /// `kubernetes.Semver`.
    Semver(Arc<Version>),
    /// What `authorizer` gives.
    Check(Arc<Check>),
    /// Policies' variables, evaluated when they are asked for.
    Variables,
    /// What a schema keeps without describing it.
    Preserved(&'a Json),
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(self))
    }
}

impl<'a> Value<'a> {
    /// A text made by an expression.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(Text::from(text.into()))
    }

    /// A version (semver.org), as `semver(text)` gives it; `None`: it is none.
    #[must_use]
    pub fn semver(text: &str) -> Option<Self> {
        Version::read(text).map(|version| Self::Semver(Arc::new(version)))
    }

    /// JSON as a policy sees it: without a schema.
    #[must_use]
    pub fn json(json: &'a Json) -> Self {
        from_json(json)
    }

    /// JSON as its schema describes it.
    ///
    /// # Errors
    /// The JSON does not fit the schema.
    pub fn shaped(json: &'a Json, shape: &'a crate::schema::Shape) -> Result<Self, Fault> {
        from_shaped(json, shape)
    }

    /// As JSON; `None` for what has no JSON, such as types and authorizers.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        to_json(self)
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Name of its type at run time.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(made) => &made.name,
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Check(check) => check.type_name(),
            Self::Variables => "kubernetes.variables",
            Self::Preserved(_) => "unknown",
        }
    }

    /// As many elements, characters or bytes as it has; 1 for what has none. Costs are counted with it.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Optional(Some(value)) => value.size(),
            Self::Cidr(_, bits) => u64::from(*bits).div_ceil(8),
            _ => self.sized().unwrap_or(1),
        }
    }

    /// What `size()` gives; `None` for what has no size.
    pub(crate) fn sized(&self) -> Option<u64> {
        let length = match self {
            Self::String(text) => text.as_str().chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            _ => return None,
        };
        Some(length as u64)
    }
}
