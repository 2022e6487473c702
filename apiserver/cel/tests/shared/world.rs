//! Objects and schemas that recorded answers are about, and how answers are written.

#![allow(dead_code, reason = "each test uses its part")]

use serde_json::{Value as Json, json};
use skiff_cel::{Activation, CALL_COST_MAX, CompileError, Declarations, List, Map, Shape, Type, Value, compile};
use std::sync::Arc;

/// A schema, an object, and what expressions see of them.
pub(crate) struct World {
    shape: Arc<Shape>,
    value: Json,
    declarations: Declarations,
}

/// What an expression gave: each part as the reference writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    pub(crate) compile: String,
    pub(crate) program: String,
    pub(crate) of: String,
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) value: String,
    pub(crate) error: String,
    pub(crate) cost: Option<u64>,
}

/// The worlds as JSON, in their order.
pub(crate) fn written() -> Vec<Json> {
    serde_json::from_str(include_str!("../worlds.json")).expect("the file of worlds is JSON")
}

pub(crate) fn worlds() -> Vec<World> {
    let of = |world: Json| {
        let shape = Arc::new(Shape::of(&world["schema"], false));
        let declarations = Declarations::new().schema("self", "selfType", &shape).variable("object", Type::Dyn);
        World { shape, value: world["value"].clone(), declarations }
    };
    written().into_iter().map(of).collect()
}

impl World {
    pub(crate) fn ask(&self, text: &str) -> Answer {
        let mut answer = Answer::default();
        let program = match compile(&self.declarations, text) {
            Ok(program) => program,
            Err(CompileError::Invalid { shown, .. }) => return Answer { compile: shown, ..answer },
            Err(CompileError::Constant { fault, output, estimate }) => {
                return Answer {
                    program: fault.to_string(),
                    of: type_text(&output),
                    min: Some(estimate.min),
                    max: Some(estimate.max),
                    ..answer
                };
            }
        };
        answer.of = type_text(program.output());
        answer.min = Some(program.estimate().min);
        answer.max = Some(program.estimate().max);
        let activation = Activation::new()
            .with_result("self", Value::shaped(&self.value, &self.shape))
            .with("object", Value::json(&self.value));
        let run = program.evaluate(&activation, CALL_COST_MAX);
        answer.cost = Some(run.cost);
        match run.result {
            Ok(value) => answer.value = show(&value),
            Err(fault) => answer.error = fault.to_string(),
        }
        answer
    }
}

impl Answer {
    /// The line of a reference.
    pub(crate) fn read(line: &Json) -> Self {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        Self {
            compile: text("compile"),
            program: text("program"),
            of: text("type"),
            min: line["min"].as_u64(),
            max: line["max"].as_u64(),
            value: text("value"),
            error: text("error"),
            cost: line["cost"].as_u64(),
        }
    }

    pub(crate) fn write(&self) -> Json {
        let mut line = json!({});
        let texts = [
            ("compile", &self.compile),
            ("program", &self.program),
            ("type", &self.of),
            ("value", &self.value),
            ("error", &self.error),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            line[name] = json!(text);
        }
        for (name, number) in [("min", self.min), ("max", self.max), ("cost", self.cost)] {
            if let Some(number) = number {
                line[name] = json!(number);
            }
        }
        line
    }
}

pub(crate) fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) if value.is_nan() => "double(NaN)".to_owned(),
        Value::Double(value) => format!("double({:x})", value.to_bits()),
        Value::String(text) => go_json(text.as_str()),
        Value::Bytes(bytes) => format!("b{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Timestamp(time) => {
            let utc = skiff_cel::Timestamp { offset_seconds: 0, ..*time };
            format!("timestamp({})", Value::Timestamp(utc))
        }
        Value::Duration(nanos) => format!("duration({nanos})"),
        Value::List(list) => show_list(list),
        Value::Map(map) => show_map(map),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Optional(Some(value)) => format!("optional({})", show(value)),
        Value::Type(name) => format!("type({name})"),
        Value::Ip(_) => format!("ip({value})"),
        Value::Cidr(..) => format!("cidr({value})"),
        Value::Url(_) => format!("url({value})"),
        Value::Semver(_) => format!("semver({value})"),
        Value::Quantity(_) => format!("quantity({value})"),
        Value::Format(_) => format!("format({value})"),
        other => format!("other({other})"),
    }
}

/// A type as the reference writes it, by its names at run time.
fn type_text(of: &Type) -> String {
    of.to_string()
        .replace("timestamp", "google.protobuf.Timestamp")
        .replace("duration", "google.protobuf.Duration")
        .replace("null", "null_type")
}

/// A text as the reference's JSON writes it, which escapes what HTML would misread.
fn go_json(text: &str) -> String {
    let json = json!(text).to_string();
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn show_list(list: &List<'_>) -> String {
    let shown: Vec<String> = (0..list.len())
        .map(|at| list.get(at).map_or_else(|fault| format!("error({fault})"), |value| show(&value)))
        .collect();
    format!("[{}]", shown.join(", "))
}

fn show_map(map: &Map<'_>) -> String {
    let entry = |key: Value<'_>| {
        let value = map.find(&key);
        let value = value
            .map_or_else(|fault| format!("error({fault})"), |value| value.map_or("<nil>".to_owned(), |v| show(&v)));
        format!("{}: {value}", show(&key))
    };
    let mut shown: Vec<String> = map.keys().into_iter().map(entry).collect();
    shown.sort();
    format!("{{{}}}", shown.join(", "))
}
