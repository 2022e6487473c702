//! What is wrong with a value: its type, and the limits that its schema sets.
//!
//! The messages, and the choice of which alternative of `anyOf` and `oneOf` is complained about, follow the validator of
//! Kubernetes' OpenAPI library: it counts what fitted, and tells the faults of the alternative that fitted best.

use super::lists::key_of;
use super::structural::{Additional, Bound, Elements, Limits, Structural, Type, Types};
use crate::{FieldError, FieldErrorKind};
use serde_json::{Number, Value};

/// What is wrong with `value`, which stands at `path` (empty: it is the whole object).
///
/// `old` is the value that it replaces: what was wrong before and is the same now may stay.
pub(super) fn validate(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Vec<FieldError> {
    let found = if old.is_some() { changed(schema, value, old, "") } else { check(schema, value, None, "") };
    found.faults.into_iter().map(|fault| fault.at(path)).collect()
}

/// One fault.
struct Fault {
    kind: FieldErrorKind,
    /// The field; `None` when the fault is one of alternatives, which names it in its text.
    name: Option<String>,
    value: Option<Value>,
    detail: String,
    /// Faults with the same text are told once.
    text: String,
}

impl Fault {
    fn at(self, path: &str) -> FieldError {
        let Self { kind, name, value, detail, .. } = self;
        let field = match (name.as_deref().map(|name| name.trim_start_matches('.')), path) {
            // Kubernetes prints the path that it has not.
            (None, "") | (Some(""), "") => "<nil>".to_owned(),
            (None | Some(""), path) => path.to_owned(),
            (Some(name), "") => name.to_owned(),
            (Some(name), path) => format!("{path}.{name}"),
        };
        FieldError { kind, field, value, detail }
    }
}

/// What came of a check.
#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    /// How much fitted.
    fitted: usize,
}

impl Found {
    fn add(&mut self, fault: Fault) {
        if !self.faults.iter().any(|told| told.text == fault.text) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Self) {
        self.fitted += other.fitted;
        other.faults.into_iter().for_each(|fault| self.add(fault));
    }

    fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// `text` follows the name of the field.
    fn invalid(&mut self, path: &str, value: impl Into<Value>, text: &str) {
        let detail = format!("{path} in body {text}");
        let (name, text) = (Some(path.to_owned()), detail.clone());
        self.add(Fault { kind: FieldErrorKind::Invalid, name, value: Some(value.into()), detail, text });
    }

    fn wrong_type(&mut self, path: &str, expected: &str, got: &str) {
        let detail = format!("{path} in body must be of type {expected}: {}", Value::from(got));
        let (name, text) = (Some(path.to_owned()), detail.clone());
        self.add(Fault { kind: FieldErrorKind::TypeInvalid, name, value: Some(got.into()), detail, text });
    }

    fn plain(&mut self, kind: FieldErrorKind, path: &str, value: Option<Value>, detail: String, text: &str) {
        let text = format!("{path} {text} {detail}");
        self.add(Fault { kind, name: Some(path.to_owned()), value, detail, text });
    }

    fn alternatives(&mut self, path: &str, text: &str) {
        let detail = format!("{} {text}", Value::from(path));
        let text = detail.clone();
        self.add(Fault { kind: FieldErrorKind::Invalid, name: None, value: Some("".into()), detail, text });
    }

    fn too_many(&mut self, path: &str, count: usize, most: i64) {
        let detail = format!("{count}: must have at most {most} item{}", if most == 1 { "" } else { "s" });
        self.plain(FieldErrorKind::TooMany, path, None, detail, "should have at most");
    }
}

/// Checks a value that may be what it was.
fn changed(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Found {
    let mut found = check(schema, value, old, path);
    if !found.is_good() && old.is_some_and(|old| equal(old, value)) {
        found.faults.clear();
    }
    found
}

fn below(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Found {
    match old {
        Some(_) => changed(schema, value, old, path),
        None => check(schema, value, None, path),
    }
}

/// Checks a value against everything that its schema says.
fn check(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Found {
    let mut found = Found::default();
    let limits = schema.limits.as_deref();
    let format = limits.and_then(|limits| limits.format.as_ref()).map_or("", |form| &*form.name);
    if value.is_null() {
        if schema.types == Types::Any || schema.nullable {
            found.fitted += 1;
        } else {
            found.wrong_type(path, schema.types.name(), "null");
        }
        if let Some(limits) = limits {
            one_of_values(limits, value, path, &mut found);
        }
        return found;
    }
    if schema.types != Types::Any || !format.is_empty() {
        of_type(schema, format, value, path, &mut found);
        found.fitted += 1;
    }
    if let Some(limits) = limits {
        combined(limits, value, old, path, &mut found);
    }
    found.fitted += 2;
    match value {
        Value::String(text) => {
            if let Some(limits) = limits {
                text_limits(limits, text, path, &mut found);
                text_form(limits, text, path, &mut found);
            }
            found.fitted += 1 + usize::from(!format.is_empty());
        }
        Value::Number(number) => {
            number_limits(schema, limits, format, number, path, &mut found);
            found.fitted += 2;
        }
        Value::Array(list) => {
            list_limits(schema, limits, list, old, path, &mut found);
            found.fitted += 2;
        }
        _ => {}
    }
    if let Some(limits) = limits {
        one_of_values(limits, value, path, &mut found);
    }
    found.fitted += 1;
    if let Value::Object(_) = value {
        object_limits(schema, limits, value, old, path, &mut found);
        found.fitted += 1;
    }
    found.fitted += 1;
    found
}

/// Type of a value, and the form that Kubernetes' library takes it for.
fn type_of(value: &Value) -> (Type, &'static str) {
    match value {
        Value::Bool(_) | Value::Null => (Type::Boolean, ""),
        Value::String(_) => (Type::String, ""),
        Value::Number(number) if number.is_i64() => (Type::Integer, "int64"),
        Value::Number(_) => (Type::Number, "float64"),
        Value::Array(_) => (Type::Array, ""),
        Value::Object(_) => (Type::Object, ""),
    }
}

fn of_type(schema: &Structural, format: &str, value: &Value, path: &str, found: &mut Found) {
    let types = schema.types;
    let (is, is_format) = type_of(value);
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let whole_float = is == Type::Number && whole && types.has(Type::Integer);
    let float = is == Type::Integer && types.has(Type::Number);
    let fits = types.has(is) || whole_float || float;
    let (text_like, numeric) =
        (matches!(is, Type::String | Type::Array), types.has(Type::Number) || types.has(Type::Integer));
    if !text_like && !format.is_empty() && !fits && is_format != format {
        found.wrong_type(path, format, is_format);
    } else if text_like && !format.is_empty() && !numeric {
        found.fitted += 1;
    } else if !fits {
        found.wrong_type(path, types.name(), is.name());
    } else {
        found.fitted += 1;
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn combined(limits: &Limits, value: &Value, old: Option<&Value>, path: &str, found: &mut Found) {
    if !limits.any_of.is_empty() {
        let mut results: Vec<Found> = Vec::new();
        for schema in &limits.any_of {
            results.push(check(schema, value, old, path));
            if results.last().is_some_and(Found::is_good) {
                break;
            }
        }
        if !results.last().is_some_and(Found::is_good) {
            found.alternatives(path, "must validate at least one schema (anyOf)");
        } else {
            results.retain(Found::is_good);
        }
        merge_best(results, found);
    }
    if !limits.one_of.is_empty() {
        let mut results: Vec<Found> = limits.one_of.iter().map(|schema| check(schema, value, old, path)).collect();
        let good = results.iter().filter(|result| result.is_good()).count();
        match good {
            0 => found.alternatives(path, "must validate one and only one schema (oneOf). Found none valid"),
            1 => {}
            _ => {
                let text = format!("must validate one and only one schema (oneOf). Found {good} valid alternatives");
                found.alternatives(path, &text);
            }
        }
        if good == 1 {
            results.retain(Found::is_good);
        }
        if good < 2 {
            merge_best(results, found);
        }
    }
    let mut good = 0;
    for schema in &limits.all_of {
        let result = check(schema, value, old, path);
        good += usize::from(result.is_good());
        found.merge(result);
    }
    if good < limits.all_of.len() {
        let none = if good == 0 { ". None validated" } else { "" };
        found.alternatives(path, &format!("must validate all the schemas (allOf){none}"));
    }
    if limits.not.as_deref().is_some_and(|not| check(not, value, old, path).is_good()) {
        found.alternatives(path, "must not validate the schema (not)");
    }
}

/// Merges the first of those that fitted best.
fn merge_best(results: Vec<Found>, found: &mut Found) {
    let best = results.into_iter().reduce(|best, next| if next.fitted > best.fitted { next } else { best });
    found.merge(best.unwrap_or_default());
}

fn text_limits(limits: &Limits, text: &str, path: &str, found: &mut Found) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(most) = limits.max_length.filter(|most| length > *most) {
        let detail = format!("may not be more than {most} byte{}", if most == 1 { "" } else { "s" });
        found.plain(FieldErrorKind::TooLong, path, None, detail, "should be at most");
    } else if let Some(least) = limits.min_length.filter(|least| length < *least) {
        found.invalid(path, text, &format!("should be at least {least} chars long"));
    } else if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_in(text)) {
        let wrong = pattern.problem().map_or_else(String::new, |wrong| format!(", but pattern is invalid: {wrong}"));
        found.invalid(path, text, &format!("should match '{}{wrong}'", pattern.text()));
    }
}

fn text_form(limits: &Limits, text: &str, path: &str, found: &mut Found) {
    if let Some(form) = &limits.format
        && form.fits.is_some_and(|fits| !fits(text))
    {
        found.wrong_type(path, &form.name, text);
    }
}

fn number_limits(
    schema: &Structural,
    limits: Option<&Limits>,
    format: &str,
    number: &Number,
    path: &str,
    found: &mut Found,
) {
    let value = plain_number(number);
    let float = number.as_f64().unwrap_or_default();
    if !in_range(schema.types, format, number) {
        let kind = schema.types.name();
        let form = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
        let detail = format!("Checked value must be of type {kind} {form} in {path}");
        let text = detail.clone();
        found.add(Fault { kind: FieldErrorKind::Invalid, name: None, value: Some("".into()), detail, text });
    }
    let Some(limits) = limits else { return };
    if let Some(factor) = limits.multiple_of {
        let factor_text = number_text(number, factor);
        let useless = number.as_i64().map_or(factor <= 0.0, |_| as_whole(factor) <= 0);
        if useless {
            let detail = format!("factor MultipleOf declared for {path} must be positive: {factor_text}");
            let shown = serde_json::from_str(&factor_text).unwrap_or_default();
            found.plain(FieldErrorKind::Invalid, path, Some(shown), detail, "");
        } else if !is_multiple(number, factor) {
            found.invalid(path, value.clone(), &format!("should be a multiple of {factor_text}"));
        }
    }
    let out = |bound: &Bound, beyond: bool| beyond || (bound.exclusive && same_number(number, bound.number));
    if let Some(least) = limits.minimum.filter(|least| out(least, less(float, number, least.number))) {
        let relation = if least.exclusive { "greater than" } else { "greater than or equal to" };
        found.invalid(path, value.clone(), &format!("should be {relation} {}", number_text(number, least.number)));
    }
    if let Some(most) = limits.maximum.filter(|most| out(most, more(float, number, most.number))) {
        let relation = if most.exclusive { "less than" } else { "less than or equal to" };
        found.invalid(path, value, &format!("should be {relation} {}", number_text(number, most.number)));
    }
}

/// Bounds of whole numbers are whole: what is behind their point does not count.
#[expect(clippy::cast_possible_truncation, reason = "a bound beyond i64 is its end, as in Go")]
fn as_whole(bound: f64) -> i64 {
    bound as i64
}

fn less(float: f64, number: &Number, bound: f64) -> bool {
    number.as_i64().map_or(float < bound, |number| number < as_whole(bound))
}

fn more(float: f64, number: &Number, bound: f64) -> bool {
    number.as_i64().map_or(float > bound, |number| number > as_whole(bound))
}

fn same_number(number: &Number, bound: f64) -> bool {
    number.as_i64().map_or(number.as_f64() == Some(bound), |number| number == as_whole(bound))
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    match number.as_i64() {
        Some(number) if as_whole(factor) > 0 => number % as_whole(factor) == 0,
        Some(_) => false,
        None => {
            let float = number.as_f64().unwrap_or_default();
            let times = if factor < 1.0 { 1.0 / factor * float } else { float / factor };
            (times - times.round()).abs() < 1e-9
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whether it fits is the question")]
fn in_range(types: Types, format: &str, number: &Number) -> bool {
    match (types, number.as_i64()) {
        (Types::One(Type::Integer), None) => {
            number.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() < 9.2e18)
        }
        (Types::One(Type::Integer), Some(whole)) => format != "int32" || i32::try_from(whole).is_ok(),
        (Types::One(Type::Number), _) if format == "float" => {
            number.as_f64().is_some_and(|float| (float as f32).is_finite())
        }
        _ => true,
    }
}

/// How a bound reads beside a number: as a whole number beside whole ones.
fn number_text(beside: &Number, bound: f64) -> String {
    if beside.is_i64() { as_whole(bound).to_string() } else { float_text(bound) }
}

/// A float as Go prints it.
pub(super) fn float_text(float: f64) -> String {
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    float.to_string()
}

/// A number as Go writes it into JSON: no point where nothing is behind it.
fn plain_number(number: &Number) -> Value {
    match number.as_f64() {
        Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 1e15 => as_whole(float).into(),
        _ => Value::Number(number.clone()),
    }
}

fn list_limits(
    schema: &Structural,
    limits: Option<&Limits>,
    list: &[Value],
    old: Option<&Value>,
    path: &str,
    found: &mut Found,
) {
    if let Some(items) = &schema.items {
        for (index, value) in list.iter().enumerate() {
            let old = correlated(schema, value, old);
            found.merge(below(items, value, old, &format!("{path}[{index}]")));
        }
    }
    let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let Some(limits) = limits else { return };
    if let Some(least) = limits.min_items.filter(|least| count < *least) {
        found.invalid(path, count, &format!("should have at least {least} items"));
    }
    if let Some(most) = limits.max_items.filter(|most| count > *most) {
        found.too_many(path, list.len(), most);
    }
}

/// The element that this one replaces: lists that are maps say so.
fn correlated<'a>(schema: &Structural, value: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let Elements::Map(keys) = &schema.list else { return None };
    let key = key_of(value, keys);
    old?.as_array()?.iter().find(|old| key_of(old, keys) == key)
}

fn object_limits(
    schema: &Structural,
    limits: Option<&Limits>,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    found: &mut Found,
) {
    let Some(map) = value.as_object() else { return };
    let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
    if let Some(limits) = limits {
        if let Some(least) = limits.min_properties.filter(|least| count < *least) {
            found.invalid(path, count, &format!("should have at least {least} properties"));
        }
        if let Some(most) = limits.max_properties.filter(|most| count > *most) {
            found.too_many(path, map.len(), most);
        }
    }
    let before = |name: &str| {
        let meta = path.is_empty() && matches!(name, "apiVersion" | "kind");
        old.filter(|_| !meta).and_then(|old| old.get(name))
    };
    for (name, value) in map.iter().filter(|(name, _)| !schema.properties.contains_key(name.as_str())) {
        match &schema.additional {
            Some(Additional::None) => {
                let detail = format!("{path}.{name} in body is a forbidden property");
                found.plain(FieldErrorKind::Invalid, path, Some(name.as_str().into()), detail, "");
            }
            Some(Additional::Of(other)) => {
                found.merge(below(other, value, before(name), &format!("{path}.{name}")));
            }
            Some(Additional::Any) | None => {}
        }
    }
    for (name, property) in &schema.properties {
        if let Some(value) = map.get(&**name) {
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            found.merge(below(property, value, before(name), &path));
        }
    }
    for name in limits.map_or(&[][..], |limits| &limits.required) {
        if !map.contains_key(&**name) {
            found.plain(FieldErrorKind::Required, &format!("{path}.{name}"), None, String::new(), "is required");
        }
    }
}

fn one_of_values(limits: &Limits, value: &Value, path: &str, found: &mut Found) {
    if limits.values.is_empty() || limits.values.iter().any(|one| equal(one, value)) {
        return;
    }
    let shown: Vec<String> =
        limits.values.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    let quoted: Vec<String> = shown.iter().map(|one| Value::from(one.as_str()).to_string()).collect();
    let detail = format!("supported values: {}", quoted.join(", "));
    found.plain(FieldErrorKind::NotSupported, path, Some(value.clone()), detail, "should be one of");
}

/// Whether two values are the same, 1 and 1.0 too.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || (one.as_f64() == other.as_f64()),
        _ => one == other,
    }
}
