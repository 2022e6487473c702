//! OpenAPI documents as Protobuf, in the messages of gnostic (`openapi.v2.Document`, `openapi.v3.Document`), which clients ask for.
//!
//! What a message is made of stands in tables ([`v2`], [`v3`]) with gnostic's numbers; one walk over a document writes it by them.
//! Only fields that our documents have are there. Extensions and other free values travel as YAML text, and JSON is YAML.

pub(super) mod v2;
pub(super) mod v3;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// A message: its fields, and the number of the field for extensions (`x-…`).
pub(super) struct Message {
    fields: &'static [(&'static str, u32, Form)],
    extensions: u32,
}

/// How a value travels.
pub(super) enum Form {
    /// A text; a document without it has an empty one.
    Text,
    /// True or false; false is left out.
    Flag,
    /// A whole number.
    Whole,
    /// Any number.
    Number,
    /// Any value, as text.
    Any,
    /// A default of version 3: a number, a truth value, a text, or a message without any of them.
    Default,
    /// A message.
    Of(&'static Message),
    /// What stands alone in a message, in the field of that number.
    In(u32, &'static Form),
    /// The elements of a list, one after the other; a value that is no list is one of them.
    Each(&'static Form),
    /// A message in whose field of that number stands each entry of a map, as a message of name (1) and value (2).
    Named(u32, &'static Form),
    /// A message with either what it is (1) or a reference to it (2).
    Referred(&'static Form),
    /// A message with either a schema (1) or a truth value (2).
    OrFlag(&'static Form),
}

/// The name of a reference's field, in documents of both versions.
const REFERENCE: &str = "$ref";

impl Message {
    /// The bytes of `value` as such a message.
    pub(super) fn encode(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, number, form) in self.fields {
            if let Some(value) = value.get(name) {
                form.write(*number, value, &mut out);
            }
        }
        for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            let mut named = Vec::new();
            bytes(1, name.as_bytes(), &mut named);
            Form::Any.write(2, value, &mut named);
            bytes(self.extensions, &named, &mut out);
        }
        out
    }
}

impl Form {
    /// Writes a value as the field `number`.
    fn write(&self, number: u32, value: &Value, out: &mut Vec<u8>) {
        match self {
            Self::Each(form) => match value {
                Value::Array(list) => list.iter().for_each(|one| form.write(number, one, out)),
                one => form.write(number, one, out),
            },
            Self::Text => text(number, value, out),
            Self::Flag if value == true => varint(number, 1, out),
            Self::Whole => {
                if let Some(whole) = value.as_i64().filter(|whole| *whole != 0) {
                    varint(number, whole.cast_unsigned(), out);
                }
            }
            Self::Number => {
                if let Some(double) = value.as_f64().filter(|double| *double != 0.0) {
                    fixed(number, double, out);
                }
            }
            Self::Flag => {}
            message => bytes(number, &message.message(value), out),
        }
    }

    /// The bytes of a value that travels as a message.
    fn message(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Of(message) => return message.encode(value),
            Self::Any => bytes(2, value.to_string().as_bytes(), &mut out),
            Self::Default => match value {
                Value::Number(number) => fixed(1, number.as_f64().unwrap_or_default(), &mut out),
                Value::Bool(flag) => varint(2, u64::from(*flag), &mut out),
                Value::String(text) => bytes(3, text.as_bytes(), &mut out),
                _ => {}
            },
            Self::In(number, form) => form.write(*number, value, &mut out),
            Self::Named(number, form) => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let mut named = Vec::new();
                    bytes(1, name.as_bytes(), &mut named);
                    form.write(2, value, &mut named);
                    bytes(*number, &named, &mut out);
                }
            }
            Self::Referred(form) => match value.get(REFERENCE) {
                Some(reference) => {
                    let mut target = Vec::new();
                    text(1, reference, &mut target);
                    bytes(2, &target, &mut out);
                }
                None => form.write(1, value, &mut out),
            },
            Self::OrFlag(form) => match value {
                Value::Bool(flag) => varint(2, u64::from(*flag), &mut out),
                schema => form.write(1, schema, &mut out),
            },
            Self::Text | Self::Flag | Self::Whole | Self::Number | Self::Each(_) => {}
        }
        out
    }
}

fn text(number: u32, value: &Value, out: &mut Vec<u8>) {
    let text = value.as_str().unwrap_or_default();
    if !text.is_empty() {
        bytes(number, text.as_bytes(), out);
    }
}

fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(number: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

fn fixed(number: u32, value: f64, out: &mut Vec<u8>) {
    encode_key(number, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests;
