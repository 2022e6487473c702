//! Which objects are meant: label selectors and field selectors, as in Kubernetes' query parameters
//! ("Labels and Selectors", "Field Selectors").

use super::feed::{By, Face};
use super::object::Object;
use super::partial;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Resource;

/// What a list or watch is restricted to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<FieldTest>,
}

/// One comma-separated part of a label selector.
#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

/// One part of a field selector.
#[derive(Debug, Clone, PartialEq)]
struct FieldTest {
    path: String,
    equal: bool,
    value: String,
}

impl Selection {
    /// Parses `labelSelector` and `fieldSelector`; empty texts select everything.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Status> {
        let selection = Self::read(labels, fields)?;
        for test in &selection.fields {
            check_field(resource, &test.path, fields)?;
        }
        Ok(selection)
    }

    /// The same, of whichever resource.
    pub(crate) fn read(labels: &str, fields: &str) -> Result<Self, Status> {
        let refused = |text: &str, why: String| {
            Status::bad_request(format!("unable to parse requirement in selector {text:?}: {why}"))
        };
        let label_tests = split_outside_parentheses(labels)
            .into_iter()
            .map(|part| requirement(part).map_err(|why| refused(labels, why)))
            .collect::<Result<_, _>>()?;
        let field_tests = split_escaped(fields)
            .iter()
            .map(|part| field_test(part).ok_or_else(|| refused(fields, format!("{part:?} is not field=value"))))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { labels: label_tests, fields: field_tests })
    }

    /// The same, as decisions about the request see it. What they do not know leaves more, so it is left out.
    pub(crate) fn requirements(&self) -> skiff_authz::Selection {
        let fields = self.fields.iter().map(|test| skiff_authz::Requirement {
            key: test.path.clone(),
            operator: if test.equal { "In" } else { "NotIn" }.to_owned(),
            values: vec![test.value.clone()],
        });
        let labels = self.labels.iter().filter_map(|requirement| {
            let (operator, values) = match &requirement.test {
                Test::In(values) => ("In", values.clone()),
                Test::NotIn(values) => ("NotIn", values.clone()),
                Test::Exists => ("Exists", Vec::new()),
                Test::Absent => ("DoesNotExist", Vec::new()),
                Test::Greater(_) | Test::Less(_) => return None,
            };
            Some(skiff_authz::Requirement { key: requirement.key.clone(), operator: operator.to_owned(), values })
        });
        skiff_authz::Selection { fields: fields.collect(), labels: labels.collect() }
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match, if the selection says so.
    pub(crate) fn single_name(&self) -> Option<&str> {
        self.equals("metadata.name")
    }

    /// What the field at `path` must be, if that is said and not nothing.
    pub(crate) fn equals(&self, path: &str) -> Option<&str> {
        let test = self.fields.iter().find(|test| test.path == path && test.equal)?;
        (!test.value.is_empty()).then_some(test.value.as_str())
    }

    /// A field of the object itself and what it must be, perhaps nothing.
    pub(crate) fn equal_field(&self) -> Option<(&str, &str)> {
        let test = self.fields.iter().find(|test| test.equal && !test.path.starts_with("metadata."))?;
        Some((&test.path, &test.value))
    }

    /// Whether `object` is selected; it is parsed only if something is to be tested.
    pub(crate) fn selects(&self, object: &Object) -> Result<bool, Status> {
        if self.is_everything() {
            return Ok(true);
        }
        let read = self.paths(&object.resource).and_then(|paths| partial::read(&object.stored, &paths));
        let value = read.map_or_else(|| object.value(), Ok)?;
        Ok(self.selects_value(&object.resource, &value))
    }

    /// The same for an object whose labels and fields have been read.
    pub(crate) fn selects_face(&self, face: &Face) -> Result<bool, Status> {
        for requirement in &self.labels {
            if !requirement.holds(face.label(&requirement.key)?) {
                return Ok(false);
            }
        }
        for test in &self.fields {
            if (face.field(&test.path)? == test.value) != test.equal {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A label or field, and the one value that it must have.
    pub(crate) fn value(&self) -> Option<(By<'_>, &str)> {
        let field = self.equal_field().map(|(path, value)| (By::Field(path), value));
        field.or_else(|| self.labels.iter().find_map(Requirement::one_value))
    }

    /// Where all that is tested stands; `None`: some of it is computed from the whole object.
    fn paths(&self, resource: &Resource) -> Option<Vec<Vec<&str>>> {
        let labels = (!self.labels.is_empty()).then(|| vec!["metadata", "labels"]);
        let fields = self.fields.iter().map(|test| {
            let is_plain = !resource.computes_field(&test.path);
            is_plain.then(|| test.path.split('.').collect())
        });
        labels.into_iter().map(Some).chain(fields).collect()
    }

    /// The same for a parsed object.
    pub(crate) fn selects_value(&self, resource: &Resource, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| requirement.holds(labels[&requirement.key].as_str()))
            && self.fields.iter().all(|test| (resource.field_value(object, &test.path) == test.value) == test.equal)
    }
}

impl Requirement {
    /// The label and its value, if it must have one and that.
    fn one_value(&self) -> Option<(By<'_>, &str)> {
        match &self.test {
            Test::In(values) if values.len() == 1 => Some((By::Label(&self.key), values[0].as_str())),
            _ => None,
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|wanted| wanted != value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(limit) => number().is_some_and(|number| number > *limit),
            Test::Less(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// The parts between commas, where commas inside `in (a,b)` do not count.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if text.trim().is_empty() { Vec::new() } else { parts }
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let part = part.trim();
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement { key: label_key(key)?, test: Test::Absent });
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(operator) {
            let values = vec![label_value(value)?];
            let test = if negated { Test::NotIn(values) } else { Test::In(values) };
            return Ok(Requirement { key: label_key(key)?, test });
        }
    }
    if let Some((key, limit)) = part.split_once('>') {
        return Ok(Requirement { key: label_key(key)?, test: Test::Greater(integer(limit)?) });
    }
    if let Some((key, limit)) = part.split_once('<') {
        return Ok(Requirement { key: label_key(key)?, test: Test::Less(integer(limit)?) });
    }
    set_requirement(part)
}

/// `key`, `key in (a,b)`, `key notin (a,b)`.
fn set_requirement(part: &str) -> Result<Requirement, String> {
    let Some((left, list)) = part.split_once('(') else {
        return Ok(Requirement { key: label_key(part)?, test: Test::Exists });
    };
    let list = list.trim_end().strip_suffix(')').ok_or_else(|| format!("{part:?} lacks a closing parenthesis"))?;
    let values = list.split(',').map(label_value).collect::<Result<Vec<_>, _>>()?;
    match left.split_whitespace().collect::<Vec<_>>()[..] {
        [key, "in"] => Ok(Requirement { key: label_key(key)?, test: Test::In(values) }),
        [key, "notin"] => Ok(Requirement { key: label_key(key)?, test: Test::NotIn(values) }),
        _ => Err(format!("{part:?}: expected key in (...) or key notin (...)")),
    }
}

fn integer(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{:?} is not an integer", text.trim()))
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|byte| inner(*byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn label_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let prefix_is_dns = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_name));
    if is_name(name) && prefix_is_dns { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a label key")) }
}

fn label_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_name(text) { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a label value")) }
}

/// The parts between commas that are not escaped; escapes stay.
fn split_escaped(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut escaped) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        if character == ',' && !escaped {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn field_test(part: &str) -> Option<FieldTest> {
    let at = part.find('=')?;
    let (mut path, value) = (&part[..at], &part[at + 1..]);
    let mut equal = true;
    if let Some(shorter) = path.strip_suffix('!') {
        (path, equal) = (shorter, false);
    }
    let value = value.strip_prefix('=').filter(|_| equal).unwrap_or(value);
    Some(FieldTest { path: path.trim().to_owned(), equal, value: unescape(value) })
}

fn unescape(value: &str) -> String {
    let (mut text, mut escaped) = (String::new(), false);
    for character in value.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(character);
            escaped = false;
        }
    }
    text
}

fn check_field(resource: &Resource, path: &str, selector: &str) -> Result<(), Status> {
    let mut known = ["metadata.name", "metadata.namespace"].into_iter().chain(resource.selectable_fields());
    if known.any(|field| field == path) {
        return Ok(());
    }
    let known = ["metadata.name", "metadata.namespace"].into_iter().chain(resource.selectable_fields());
    let known: Vec<String> = known.map(|name| format!("{name:?}")).collect();
    Err(Status::bad_request(format!(
        "Unable to find {} that match field selector {selector:?}: {path:?} is not a known field selector: only {}",
        resource.group_resource(),
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pods() -> &'static std::sync::Arc<Resource> {
        skiff_schema::find("", "v1", "pods").expect("pods are served")
    }

    fn selects(labels: &str, fields: &str) -> bool {
        let pod = json!({"metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web", "tier": "5"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        Selection::parse(pods(), labels, fields).expect("parses").selects_value(pods(), &pod)
    }

    #[test]
    fn label_selectors_mean_what_kubernetes_says() {
        for text in [
            "",
            "app=web",
            "app==web",
            "app",
            "!gone",
            "app in (web,api)",
            "gone notin (a)",
            "gone!=x",
            "tier>4",
            "app=web,tier in (5, 6)",
            " app = web ",
        ] {
            assert!(selects(text, ""), "{text:?}");
        }
        for text in
            ["app=api", "app!=web", "!app", "gone", "app notin (web)", "tier<5", "app=web,gone=x", "gone in (a)"]
        {
            assert!(!selects(text, ""), "{text:?}");
        }
    }

    #[test]
    fn field_selectors_mean_what_kubernetes_says() {
        for text in [
            "metadata.name=web-1",
            "status.phase!=Failed,status.phase!=Succeeded",
            "spec.nodeName==n1",
            "metadata.namespace=default",
            "spec.hostNetwork=false",
            "status.podIP=",
        ] {
            assert!(selects("", text), "{text:?}");
        }
        for text in ["metadata.name=web-2", "spec.nodeName!=n1", "spec.hostNetwork=true"] {
            assert!(!selects("", text), "{text:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_words_that_are_wrong() {
        for text in ["app in (a", "a b=c", "=x", "app in a", "a=b=c", "-x"] {
            assert!(Selection::parse(pods(), text, "").is_err(), "{text:?}");
        }
        let error = Selection::parse(pods(), "", "spec.color=red").expect_err("unknown field");
        assert!(error.message.contains("\"spec.color\" is not a known field selector"), "{error}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(labels in ".{0,40}", fields in ".{0,40}") {
            let _ = Selection::parse(pods(), &labels, &fields);
        }

        #[test]
        fn escaped_values_survive(value in "[a-z,=\\\\]{0,12}") {
            let mut escaped = String::new();
            for character in value.chars() {
                if ",=\\".contains(character) { escaped.push('\\'); }
                escaped.push(character);
            }
            let selection = Selection::parse(pods(), "", &format!("metadata.name={escaped}")).expect("parses");
            prop_assert_eq!(&selection.fields[0].value, &value);
        }
    }
}
