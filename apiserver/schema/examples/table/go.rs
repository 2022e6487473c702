//! What Go's struct tags say: how fields are called, their numbers on the wire, and which are left out when zero.

use crate::Done;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The structs of a package, by name.
pub(crate) struct Package {
    structs: BTreeMap<String, Vec<Member>>,
    /// Named lists that are messages of their own on the wire.
    wrapped: BTreeSet<String>,
}

/// A field of a Go struct.
#[derive(Clone)]
pub(crate) struct Member {
    /// Name in JSON; empty for an embedded struct.
    pub(crate) json: String,
    /// Go type, without the star.
    pub(crate) kind: String,
    /// Whether the type is a pointer.
    pub(crate) pointer: bool,
    /// Whether zero values are left out: `omitempty`.
    pub(crate) omit: bool,
    /// Number on the wire, if it travels.
    pub(crate) wire: Option<u32>,
}

impl Package {
    /// Reads the Go files of a folder.
    pub(crate) fn read(folder: &Path) -> Done<Self> {
        let mut package = Self { structs: BTreeMap::new(), wrapped: BTreeSet::new() };
        let entries = fs::read_dir(folder).map_err(|error| format!("read {}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".go") && !name.ends_with("_test.go") && !name.starts_with("zz_") {
                package.read_file(&fs::read_to_string(&path)?);
            }
        }
        Ok(package)
    }

    fn read_file(&mut self, text: &str) {
        let (mut current, mut nullable): (Option<String>, bool) = (None, false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
                current = Some(name.to_owned());
                self.structs.insert(name.to_owned(), Vec::new());
            } else if line == "}" {
                current = None;
            } else if let Some(list) = line.strip_prefix("type ").and_then(|rest| rest.split_once(" []")) {
                if nullable {
                    self.wrapped.insert(list.0.to_owned());
                }
            } else if let (Some(name), Some(member)) = (&current, member(line)) {
                self.structs.entry(name.clone()).or_default().push(member);
            }
            nullable = line.starts_with("//") && (nullable || line.contains("+protobuf.nullable"));
        }
    }

    /// Whether values of that type are a list in JSON and a message with one field on the wire.
    pub(crate) fn is_wrapped(&self, kind: &str) -> bool {
        self.wrapped.contains(kind)
    }

    /// The number of a member on the wire, `2.1` when it is number 1 of the embedded message number 2.
    pub(crate) fn numbers(&self, name: &str, json: &str) -> Option<String> {
        let members = self.members(name);
        if let Some(member) = members.iter().find(|member| member.json == json) {
            return member.wire.map(|number| number.to_string());
        }
        let embedded = members.iter().filter(|member| member.json.is_empty());
        embedded.filter_map(|member| Some(format!("{}.{}", member.wire?, self.numbers(&member.kind, json)?))).next()
    }

    /// The members of a struct, embedded structs as one.
    fn members(&self, name: &str) -> &[Member] {
        self.structs.get(name).map_or(&[], Vec::as_slice)
    }

    /// The member of that JSON name, of the struct or of one embedded in it.
    pub(crate) fn member(&self, name: &str, json: &str) -> Option<Member> {
        let members = self.members(name);
        members.iter().find(|member| member.json == json).cloned().or_else(|| {
            let embedded = members.iter().filter(|member| member.json.is_empty());
            embedded.filter_map(|member| self.member(&member.kind, json)).next()
        })
    }
}

/// `apiVersion` and `kind`, which every kind embeds from another package and which do not travel on the wire.
pub(crate) fn of_type_meta(json: &str) -> Option<Member> {
    ["apiVersion", "kind"].contains(&json).then(|| Member {
        json: json.to_owned(),
        kind: "string".to_owned(),
        pointer: false,
        omit: true,
        wire: None,
    })
}

/// `Name Type` and tags; embedded structs have no name.
fn member(line: &str) -> Option<Member> {
    let (declared, tags) = line.split_once('`')?;
    let declared = declared.trim();
    if declared.starts_with("//") {
        return None;
    }
    let json = tag(tags, "json")?;
    let (name, options) = json.split_once(',').unwrap_or((json, ""));
    let kind = declared.split_whitespace().last()?;
    let wire = tag(tags, "protobuf").and_then(|tag| tag.split(',').nth(1)?.parse().ok());
    Some(Member {
        json: name.to_owned(),
        kind: kind.trim_start_matches('*').to_owned(),
        pointer: kind.starts_with('*'),
        omit: options.contains("omitempty"),
        wire,
    })
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    tags.split_once(&format!("{name}:\""))?.1.split('"').next()
}
