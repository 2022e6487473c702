//! The schemas of the built-in kinds: `builtin/table.txt`, read once.
//!
//! The table holds facts and no sentences. `examples/table.rs` makes it; do not edit it by hand.
//!
//! ```text
//! @apps/v1 io.k8s.api.apps.v1 apps           a package, its short name, and the API group of its kinds
//! LocalObjectReference atomic                a struct; `atomic`: map type; `kind`: an object with apiVersion and kind
//!  name string 1 +                           a field: name, type, Protobuf number
//! ```
//!
//! A type is a word, a struct (`PodSpec`, `meta/v1.ListMeta`), `[]T`, `{}T` (a map) or `Struct|T`. A number `2.1` is field 1 of the
//! message in field 2, whose fields stand in their holder. Flags: `!` required, `?` a pointer in Go, `~` written even when it is
//! zero, `+` its default is zero or empty, `default=`JSON, `wrapped`; list types `atomic`, `set`, `map=`KEYS; `map-atomic`,
//! `map-granular`; `patch=`STRATEGY and `key=`MERGE KEY of strategic merges.

use crate::Resource;
use crate::node::{Field, ListType, Merge, Node, Schema, Shape, Struct, StructId, Wire};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// The text of the table.
pub(crate) const TABLE: &str = include_str!("builtin/table.txt");

/// All built-in structs, ordered by name.
fn table() -> &'static Arc<[Struct]> {
    static PARSED: OnceLock<Arc<[Struct]>> = OnceLock::new();
    PARSED.get_or_init(|| parse(TABLE).expect("the table is made by our tool, and a test reads it"))
}

/// The schema of a definition, e.g. `io.k8s.api.core.v1.Pod`.
pub(crate) fn schema(definition: &str) -> Option<Schema> {
    let structs = table();
    let at = structs.binary_search_by(|it| (*it.name).cmp(definition)).ok()?;
    Some(Schema::new(structs.clone(), StructId(u32::try_from(at).ok()?)))
}

/// What the table says about a definition beside its fields.
pub(crate) struct Row {
    /// Its name, e.g. `io.k8s.api.core.v1.Pod`.
    pub(crate) definition: String,
    /// Its last part.
    pub(crate) kind: &'static str,
    /// Group and version of its package.
    pub(crate) group_version: (&'static str, &'static str),
    /// Whether objects of it have `apiVersion` and `kind`.
    pub(crate) is_kind: bool,
    /// `x-kubernetes-unions`, as JSON.
    pub(crate) unions: Option<&'static str>,
}

/// A package: group, version and name.
type Header = (&'static str, &'static str, &'static str);

fn header(line: &'static str) -> Option<Header> {
    let mut words = line.strip_prefix('@')?.split(' ');
    let (alias, name, group) = (words.next()?, words.next()?, words.next().unwrap_or_default());
    Some((group, alias.split_once('/')?.1, name))
}

/// The definitions of the table, read from its text.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    let mut package: Header = ("", "", "");
    TABLE.lines().filter_map(move |line| {
        if let Some(found) = header(line) {
            package = found;
            return None;
        }
        let (group, version, name) = package;
        let mut words = line.split(' ');
        let kind = words.next().filter(|kind| !kind.is_empty())?;
        let flags = words.clone();
        Some(Row {
            definition: format!("{name}.{kind}"),
            kind,
            group_version: (group, version),
            is_kind: words.any(|word| word == "kind"),
            unions: flags.into_iter().find_map(|word| word.strip_prefix("unions=")),
        })
    })
}

/// The package of a group and version, e.g. `io.k8s.api.apps.v1` of `apps/v1`.
fn package_of(api_version: &str) -> Option<&'static str> {
    static PACKAGES: OnceLock<Vec<(String, &str)>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| {
        let packages = TABLE.lines().filter_map(header);
        let packages = packages.filter(|(group, _, name)| !group.is_empty() || name.starts_with("io.k8s.api.core."));
        let named = packages.map(|(group, version, name)| match group {
            "" => (version.to_owned(), name),
            group => (format!("{group}/{version}"), name),
        });
        named.collect()
    });
    packages.iter().find(|(version, _)| version == api_version).map(|(_, name)| *name)
}

/// The schema of what calls itself that: a kind, a list, or one that every group-version has (Status, DeleteOptions, …).
pub(crate) fn by_kind(api_version: &str, kind: &str) -> Option<Schema> {
    const EVERYWHERE: [&str; 5] =
        ["DeleteOptions", "PartialObjectMetadata", "PartialObjectMetadataList", "Status", "WatchEvent"];
    let own = package_of(api_version).and_then(|package| schema(&format!("{package}.{kind}")));
    let everywhere = || EVERYWHERE.contains(&kind).then(|| schema(&format!("{META}{kind}"))).flatten();
    own.filter(|schema| schema.root().field("kind").is_some()).or_else(everywhere)
}

/// Where the definitions of metadata begin.
pub(crate) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The schema of a resource.
pub(crate) fn of(resource: &Resource) -> Schema {
    resource.schema.clone()
}

/// All built-in structs, ordered by name.
pub(crate) fn structs() -> &'static [Struct] {
    table()
}

/// A package: its short name, its name, and its structs in order, the first of which has a place among all.
struct Package<'a> {
    alias: &'a str,
    name: &'a str,
    first: u32,
    structs: Vec<&'a str>,
}

/// Why a line of the table cannot be read.
type Wrong = String;

fn parse(text: &str) -> Result<Arc<[Struct]>, Wrong> {
    let packages = packages(text)?;
    let mut structs: Vec<Struct> = Vec::new();
    let mut package = None;
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(header) = line.strip_prefix('@') {
            package = packages.iter().find(|it| header.starts_with(it.alias));
            continue;
        }
        let package = package.ok_or("the first line names no package")?;
        rows.clear();
        while let Some(row) = lines.next_if(|line| line.starts_with(' ')) {
            rows.push(row);
        }
        structs.push(one(line, &rows, package, &packages)?);
    }
    Ok(structs.into())
}

/// The packages with the names of their structs, so that types can be found before they are read.
fn packages(text: &str) -> Result<Vec<Package<'_>>, Wrong> {
    let mut packages: Vec<Package<'_>> = Vec::new();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        if let Some(header) = line.strip_prefix('@') {
            let mut words = header.split(' ');
            let (Some(alias), Some(name)) = (words.next(), words.next()) else {
                return Err(format!("no name in {line:?}"));
            };
            packages.push(Package { alias, name, first: count, structs: Vec::new() });
        } else if let Some(package) = packages.last_mut() {
            package.structs.push(line.split(' ').next().unwrap_or_default());
            count += 1;
        }
    }
    Ok(packages)
}

fn one(line: &str, rows: &[&str], package: &Package<'_>, packages: &[Package<'_>]) -> Result<Struct, Wrong> {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let atomic = words.any(|word| word == "atomic");
    let (mut fields, mut wire) = (Vec::with_capacity(rows.len()), Vec::new());
    for (at, row) in (0..).zip(rows) {
        let (field, numbers) = field(row, package, packages).map_err(|wrong| format!("{name}:{row}: {wrong}"))?;
        fields.push(field);
        if let Some(numbers) = numbers {
            number(&mut wire, numbers, at).ok_or_else(|| format!("{name}:{row}: no number"))?;
        }
    }
    let name = format!("{}.{name}", package.name).into();
    Ok(Struct { name, fields: fields.into(), atomic, wire: ordered(wire), ..Struct::default() })
}

/// Numbers of a message while they are read.
enum Numbered {
    Field(u16),
    Embedded(Vec<(u32, Numbered)>),
}

/// Notes that the field at a place has that number, `2.1` if it stands in an embedded message.
fn number(wire: &mut Vec<(u32, Numbered)>, numbers: &str, at: u16) -> Option<()> {
    let Some((outer, inner)) = numbers.split_once('.') else {
        wire.push((numbers.parse().ok()?, Numbered::Field(at)));
        return Some(());
    };
    let outer = outer.parse().ok()?;
    let place = wire.iter().position(|(number, _)| *number == outer).unwrap_or_else(|| {
        wire.push((outer, Numbered::Embedded(Vec::new())));
        wire.len() - 1
    });
    match &mut wire.get_mut(place)?.1 {
        Numbered::Embedded(fields) => number(fields, inner, at),
        Numbered::Field(_) => None,
    }
}

fn ordered(mut wire: Vec<(u32, Numbered)>) -> Box<[(u32, Wire)]> {
    wire.sort_unstable_by_key(|(number, _)| *number);
    let wires = wire.into_iter().map(|(number, what)| match what {
        Numbered::Field(at) => (number, Wire::Field(at)),
        Numbered::Embedded(fields) => (number, Wire::Embedded(ordered(fields))),
    });
    wires.collect()
}

/// A field, and its number in Protobuf.
fn field<'a>(row: &'a str, package: &Package<'_>, packages: &[Package<'_>]) -> Result<(Field, Option<&'a str>), Wrong> {
    let mut words = row.trim_start().split(' ').peekable();
    let name = words.next().unwrap_or_default();
    let shape = shape(words.next().ok_or("it has no type")?, package, packages)?;
    let numbers = words.next_if(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    // Times that are structs are written in any case, but for the one that Go calls `omitzero`.
    let writes_null = matches!(shape, Shape::Time | Shape::MicroTime) && name != "creationTimestamp";
    let mut field = Field {
        name: name.into(),
        required: false,
        omit_zero: true,
        writes_null,
        wrapped: false,
        node: Node::of(shape),
    };
    let mut merge = Merge::default();
    for word in words {
        match word {
            "!" => field.required = true,
            "?" => (field.omit_zero, field.writes_null) = (false, false),
            "~" => {
                field.omit_zero = false;
                field.writes_null |= matches!(field.node.shape, Shape::List(_) | Shape::Map(_));
            }
            "+" => field.node.default = zero(&field.node.shape).map(Box::new),
            "wrapped" => field.wrapped = true,
            _ => extend(word, &mut field.node, &mut merge)?,
        }
    }
    field.node.merge = (merge != Merge::default()).then(|| Box::new(merge));
    Ok((field, numbers))
}

fn extend(word: &str, node: &mut Node, merge: &mut Merge) -> Result<(), Wrong> {
    match word.split_once('=').unwrap_or((word, "")) {
        ("atomic", "") => merge.list = ListType::Atomic,
        ("set", "") => merge.list = ListType::Set,
        ("map", keys) => merge.list = ListType::Map(keys.split(',').map(Box::from).collect()),
        ("map-atomic", "") => merge.atomic_map = true,
        ("map-granular", "") => merge.granular_map = true,
        ("key", key) => merge.merge_key = Some(key.into()),
        ("patch", strategies) => {
            for strategy in strategies.split(',') {
                match strategy {
                    "merge" => merge.strategic = true,
                    "retainKeys" => merge.retain_keys = true,
                    "replace" => merge.replace = true,
                    _ => return Err(format!("unknown strategy {strategy}")),
                }
            }
        }
        ("default", json) => {
            node.default = Some(serde_json::from_str(json).map_err(|error| format!("{json}: {error}"))?);
        }
        _ => return Err(format!("unknown word {word}")),
    }
    Ok(())
}

/// The zero value that is a default; times have none.
pub(crate) fn zero(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::String | Shape::Bytes => Value::String(String::new()),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Boolean => false.into(),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Map(_) | Shape::Struct(_) => Value::Object(serde_json::Map::new()),
        Shape::Any | Shape::Time | Shape::MicroTime | Shape::Either(..) => return None,
    })
}

fn shape(word: &str, package: &Package<'_>, packages: &[Package<'_>]) -> Result<Shape, Wrong> {
    let inner = |word| shape(word, package, packages).map(|shape| Box::new(Node::of(shape)));
    Ok(match word {
        "string" => Shape::String,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "double" => Shape::Number,
        "bool" => Shape::Boolean,
        "bytes" => Shape::Bytes,
        "time" => Shape::Time,
        "micro" => Shape::MicroTime,
        "quantity" => Shape::Quantity,
        "port" => Shape::IntOrString,
        "raw" | "json" | "fields" => Shape::Any,
        _ => match (word.strip_prefix("[]"), word.strip_prefix("{}"), word.split_once('|')) {
            (Some(element), ..) => Shape::List(inner(element)?),
            (_, Some(value), _) => Shape::Map(inner(value)?),
            (.., Some((name, other))) => Shape::Either(place(name, package)?, inner(other)?),
            _ => Shape::Struct(match word.split_once('.') {
                None => place(word, package)?,
                Some((alias, name)) => {
                    let package = packages.iter().find(|it| it.alias == alias);
                    place(name, package.ok_or_else(|| format!("no package {alias}"))?)?
                }
            }),
        },
    })
}

fn place(name: &str, package: &Package<'_>) -> Result<StructId, Wrong> {
    let at = package.structs.binary_search(&name).map_err(|_| format!("no struct {name} in {}", package.name))?;
    u32::try_from(at).map(|at| StructId(package.first + at)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod as_custom;

#[cfg(test)]
mod random;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_its_fields_are_too() {
        assert!(structs().is_sorted_by(|one, other| one.name < other.name));
        for it in structs() {
            assert!(it.fields.is_sorted_by(|one, other| one.name < other.name), "{}", it.name);
            assert!(it.wire.is_sorted_by(|one, other| one.0 < other.0), "{}", it.name);
        }
    }

    #[test]
    fn a_row_says_what_a_field_is() {
        let pod = schema("io.k8s.api.core.v1.PodSpec").expect("a schema");
        let containers = pod.root().field("containers").expect("a field");
        assert!(containers.required);
        let merge = containers.node.merge.as_deref().expect("a merge");
        assert_eq!(merge.merge_key.as_deref(), Some("name"));
        assert_eq!(merge.list, ListType::Map(["name".into()].into()));
        assert!(merge.strategic && !merge.retain_keys);
        let Shape::List(element) = &containers.node.shape else { panic!("a list") };
        let container = pod.struct_of(element).expect("a struct");
        assert_eq!(&*container.name, "io.k8s.api.core.v1.Container");
        assert!(container.field("stdin").is_some_and(|it| it.omit_zero));
        assert!(container.field("name").is_some_and(|it| !it.omit_zero && it.node.default.is_some()));
        let probe = schema("io.k8s.api.core.v1.Probe").expect("a schema");
        assert!(matches!(&probe.root().wire[0], (1, Wire::Embedded(fields)) if fields.len() == 4), "{probe:?}");
    }

    #[test]
    fn kinds_are_found_by_what_they_call_themselves() {
        let name = |version, kind| by_kind(version, kind).map(|schema| schema.root().name.to_string());
        for (version, kind, definition) in [
            ("v1", "Pod", "io.k8s.api.core.v1.Pod"),
            ("v1", "PodList", "io.k8s.api.core.v1.PodList"),
            ("rbac.authorization.k8s.io/v1", "Role", "io.k8s.api.rbac.v1.Role"),
            ("autoscaling/v2", "HorizontalPodAutoscaler", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"),
            ("v1", "Status", "io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
            ("example.com/v3", "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
        ] {
            assert_eq!(name(version, kind).as_deref(), Some(definition), "{version} {kind}");
        }
        assert_eq!(name("v1", "PodSpec"), None);
        assert_eq!(name("example.com/v1", "Pod"), None);
    }

    #[test]
    fn every_kind_of_the_former_table_has_a_schema() {
        for resource in crate::resources().iter().chain(crate::catalog::auxiliary()) {
            let schema = schema(&resource.definition).unwrap_or_else(|| panic!("{}", resource.definition));
            assert!(schema.root().field("kind").is_some(), "{}", resource.kind);
        }
    }
}
