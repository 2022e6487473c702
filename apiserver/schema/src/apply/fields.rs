//! Sets of fields of an object, and their JSON (`fieldsV1`).
//!
//! A set is a tree. Each step is the name of a field (`f:`), the keys of a list's element (`k:`), the value of a set's element
//! (`v:`) or a place in a list (`i:`); the step is a member itself, or only leads to members, or both (`.`).

use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt;

/// A step from a value to one in it. In the order that `fieldsV1` has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Element {
    /// A field of a struct or map.
    Field(Box<str>),
    /// The element of a list whose keys have these values, ordered by name.
    Key(Vec<(Box<str>, Value)>),
    /// The element of a set.
    Value(Value),
    /// A place in a list.
    Index(i64),
}

impl Eq for Element {}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            (Self::Value(a), Self::Value(b)) => order(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Numbers, then texts, then booleans, then the rest.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

/// As messages have it: `.name`, `[name="x"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl Element {
    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }

    /// As a key of `fieldsV1`.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let text = |name: &str| serde_json::to_string(name).unwrap_or_default();
                let pairs: Vec<String> = keys.iter().map(|(name, value)| format!("{}:{value}", text(name))).collect();
                format!("k:{{{}}}", pairs.join(","))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// `Ok(None)`: of a kind that is not known, and passed over.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if text.as_bytes()[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
        let (kind, rest) = text.split_at(2);
        Ok(Some(match kind {
            "f:" => Self::Field(rest.into()),
            "v:" => Self::Value(json(rest)?),
            "i:" => Self::Index(rest.parse().map_err(|_| format!("{rest:?} is not a place in a list"))?),
            "k:" => {
                let Value::Object(keys) = json(rest)? else { return Err(format!("{rest} is not a JSON object")) };
                let mut keys: Vec<(Box<str>, Value)> =
                    keys.into_iter().map(|(name, value)| (name.into(), value)).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Key(keys)
            }
            _ => return Ok(None),
        }))
    }
}

/// What a set says about one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// Whether the step itself is in the set.
    pub(crate) member: bool,
    /// What below it is.
    pub(crate) below: Set,
}

impl Entry {
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

/// A set of fields, below one value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Set(Vec<(Element, Entry)>);

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Element, Entry)> {
        self.0.iter()
    }

    /// What it says about a step.
    pub(crate) fn get(&self, element: &Element) -> Option<&Entry> {
        let at = self.0.binary_search_by(|(it, _)| it.cmp(element)).ok()?;
        Some(&self.0[at].1)
    }

    /// Adds what `entry` says; an empty one says nothing.
    pub(crate) fn add(&mut self, element: Element, entry: Entry) {
        if entry.is_empty() {
            return;
        }
        // Walks over objects come in order, nearly always.
        if self.0.last().is_none_or(|(last, _)| *last < element) {
            self.0.push((element, entry));
            return;
        }
        match self.0.binary_search_by(|(it, _)| it.cmp(&element)) {
            Ok(at) => {
                let present = &mut self.0[at].1;
                present.member |= entry.member;
                present.below.join(entry.below);
            }
            Err(at) => self.0.insert(at, (element, entry)),
        }
    }

    /// Adds what is in the other one.
    pub(crate) fn join(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (element, entry) in other.0 {
            self.add(element, entry);
        }
    }

    /// Takes out what is in the other one too: what [`Self::difference`] leaves.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.cut(other, |mine, theirs| {
            mine.member &= !theirs.member;
            mine.below.subtract(&theirs.below);
        });
    }

    /// Takes out what is in the other one, or below one of its members: what [`Self::without`] leaves.
    pub(crate) fn prune(&mut self, other: &Self) {
        self.cut(other, |mine, theirs| {
            if theirs.member {
                *mine = Entry::default();
            } else {
                mine.below.prune(&theirs.below);
            }
        });
    }

    fn cut(&mut self, other: &Self, cut: impl Fn(&mut Entry, &Entry)) {
        for (element, theirs) in &other.0 {
            let Ok(at) = self.0.binary_search_by(|(it, _)| it.cmp(element)) else { continue };
            cut(&mut self.0[at].1, theirs);
            if self.0[at].1.is_empty() {
                self.0.remove(at);
            }
        }
    }

    /// What is in one of both.
    pub(crate) fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Entry { member: a.member || b.member, below: a.below.union(&b.below) },
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => Entry::default(),
        })
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Entry { member: a.member && b.member, below: a.below.intersection(&b.below) },
            _ => Entry::default(),
        })
    }

    /// What is in this one only. A parent is no reason to take its children away.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Entry { member: a.member && !b.member, below: a.below.difference(&b.below) },
            (Some(a), None) => a.clone(),
            (None, _) => Entry::default(),
        })
    }

    /// What is in this one, and neither in `other` nor below one of its members.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(_), Some(Entry { member: true, .. })) | (None, _) => Entry::default(),
            (Some(a), Some(b)) => Entry { member: a.member, below: a.below.without(&b.below) },
            (Some(a), None) => a.clone(),
        })
    }

    fn zip(&self, other: &Self, join: impl Fn(Option<&Entry>, Option<&Entry>) -> Entry) -> Self {
        let mut out = Self::default();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.0.cmp(&b.0),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return out,
            };
            let a = if order == Ordering::Greater { None } else { left.next() };
            let b = if order == Ordering::Less { None } else { right.next() };
            let entry = join(a.map(|it| &it.1), b.map(|it| &it.1));
            if let (Some((element, _)), false) = (a.or(b), entry.is_empty()) {
                out.0.push((element.clone(), entry));
            }
        }
    }

    /// The paths of all members, as messages have them.
    pub(crate) fn paths(&self) -> Vec<String> {
        fn walk(set: &Set, prefix: &str, out: &mut Vec<String>) {
            for (element, _) in set.iter().filter(|(_, entry)| entry.member) {
                out.push(format!("{prefix}{element}"));
            }
            for (element, entry) in set.iter() {
                walk(&entry.below, &format!("{prefix}{element}"), out);
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }

    /// The set that `fieldsV1` says.
    #[cfg(test)]
    pub(crate) fn of(value: &Value) -> Self {
        Self::from_json(value).expect("fields")
    }

    /// Reads `fieldsV1`.
    pub(crate) fn from_json(value: &Value) -> Result<Self, String> {
        let fields = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(fields) => fields,
            other => return Err(format!("{other} is not a JSON object")),
        };
        let mut set = Self::default();
        for (text, below) in fields.iter().filter(|(text, _)| *text != ".") {
            let Some(element) = Element::parse(text).map_err(|why| format!("parsing key as path element: {why}"))?
            else {
                continue;
            };
            let below_set = Self::from_json(below)?;
            // A step that leads nowhere is meant itself.
            let member = below_set.is_empty() || below.get(".").is_some();
            set.add(element, Entry { member, below: below_set });
        }
        Ok(set)
    }

    /// Writes `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (element, entry) in &self.0 {
            let mut below = entry.below.to_json();
            if let (true, false, Some(fields)) = (entry.member, entry.below.is_empty(), below.as_object_mut()) {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.text(), below);
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_read_and_written_as_they_were() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
                "f:finalizers": {"v:\"kubernetes\"": {}}, "f:list": {"i:1": {}}},
        });
        let set = Set::of(&fields);
        assert_eq!(set.to_json(), fields);
        let paths = set.paths();
        for path in [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.ports[containerPort=80,protocol=\"TCP\"].name",
            ".spec.finalizers[=\"kubernetes\"]",
            ".spec.list[1]",
        ] {
            assert!(paths.iter().any(|it| it == path), "{path} is not in {paths:?}");
        }
        assert_eq!(Set::of(&json!({"x:unknown": {}})), Set::default());
        assert!(Set::from_json(&json!({"f": {}})).is_err());
        assert!(Set::from_json(&json!({"fspec": {}})).is_err());
    }

    #[test]
    fn sets_are_joined_and_taken_away() {
        let a = Set::of(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = Set::of(&json!({"f:a": {"f:b": {}}, "f:d": {}}));
        assert_eq!(a.union(&b).to_json(), json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {}}));
        assert_eq!(a.intersection(&b).to_json(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(a.difference(&b).to_json(), json!({"f:a": {}, "f:c": {}}));
        assert_eq!(a.difference(&Set::of(&json!({"f:a": {}}))).to_json(), json!({"f:a": {"f:b": {}}, "f:c": {}}));
        assert_eq!(a.without(&Set::of(&json!({"f:a": {}}))).to_json(), json!({"f:c": {}}));
        let sets = [json!({"f:a": {}}), json!({"f:a": {"f:b": {}}, "f:d": {}}), json!({}), a.to_json()]
            .map(|set| Set::of(&set));
        for other in &sets {
            let changed = |change: fn(&mut Set, &Set)| {
                let mut set = a.clone();
                change(&mut set, other);
                set
            };
            assert_eq!(changed(|set, other| set.join(other.clone())), a.union(other));
            assert_eq!(changed(Set::subtract), a.difference(other));
            assert_eq!(changed(Set::prune), a.without(other));
        }
    }
}
