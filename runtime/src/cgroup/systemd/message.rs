//! Messages of D-Bus: as little of the format as calls to systemd need (D-Bus Specification, Message Protocol).
//!
//! Little-endian only, which every peer must read. Values are aligned to their size from the start of the message; a body
//! starts at a multiple of eight, so it is put together on its own.

use std::borrow::Cow;

/// Who is called.
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const DESTINATION: &str = "org.freedesktop.systemd1";

/// Message types and header fields.
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// The fixed part of a header: type, body length, serial, length of the fields.
pub(super) const PREFIX_BYTES: usize = 16;

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Flag(bool),
    Byte(u8),
    Short(u16),
    SignedShort(i16),
    Word(u32),
    SignedWord(i32),
    Number(u64),
    Signed(i64),
    /// The bits of a floating point number.
    Real(u64),
    Pids(Vec<u32>),
    Bits(Vec<u8>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    const fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Flag(_) => "b",
            Self::Byte(_) => "y",
            Self::Short(_) => "q",
            Self::SignedShort(_) => "n",
            Self::Word(_) => "u",
            Self::SignedWord(_) => "i",
            Self::Number(_) => "t",
            Self::Signed(_) => "x",
            Self::Real(_) => "d",
            Self::Pids(_) => "au",
            Self::Bits(_) => "ay",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// A property of a unit.
pub(super) type Property = (Cow<'static, str>, Value);

/// Properties whose names are our own.
pub(super) fn named(properties: Vec<(&'static str, Value)>) -> Vec<Property> {
    properties.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Flag(bool),
    Properties(Vec<Property>),
    /// Units beside the one that is started: none, ever.
    NoUnits,
}

impl Argument {
    const fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Flag(_) => "b",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

/// Puts values together.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.aligned(&number.to_le_bytes());
    }

    /// A number, at a multiple of its size.
    fn aligned(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend(bytes);
    }

    /// Lengths are 32 bits; what we send is far below.
    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array's length does not count the padding before its first element.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Flag(flag) => self.number((*flag).into()),
            Value::Byte(number) => self.0.push(*number),
            Value::Short(number) => self.aligned(&number.to_le_bytes()),
            Value::SignedShort(number) => self.aligned(&number.to_le_bytes()),
            Value::Word(number) => self.number(*number),
            Value::SignedWord(number) => self.aligned(&number.to_le_bytes()),
            Value::Number(number) | Value::Real(number) => self.aligned(&number.to_le_bytes()),
            Value::Signed(number) => self.aligned(&number.to_le_bytes()),
            Value::Texts(texts) => self.array(4, |array| texts.iter().for_each(|text| array.text(text))),
            Value::Pids(pids) => self.array(4, |array| pids.iter().for_each(|pid| array.number(*pid))),
            Value::Bits(bits) => self.array(1, |array| array.0.extend(bits)),
            Value::Pairs(pairs) => self.array(8, |array| {
                for (one, other) in pairs {
                    array.align(8);
                    array.text(one);
                    array.text(other);
                }
            }),
        }
    }

    fn argument(&mut self, argument: &Argument) {
        match argument {
            Argument::Text(text) => self.text(text),
            Argument::Flag(flag) => self.number((*flag).into()),
            Argument::NoUnits => self.array(8, |_| ()),
            Argument::Properties(properties) => self.array(8, |array| {
                for (name, value) in properties {
                    array.align(8);
                    array.text(name);
                    array.value(value);
                }
            }),
        }
    }

    fn field(&mut self, code: u8, kind: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(kind);
        if kind == "g" { self.signature(text) } else { self.text(text) }
    }
}

/// A call of the manager's method `member`.
pub(super) fn call(serial: u32, member: &str, arguments: &[Argument]) -> Vec<u8> {
    message(serial, [PATH, INTERFACE, member, DESTINATION], arguments)
}

/// The call with which every client of a bus introduces itself; not where systemd is the other end.
pub(super) fn hello(serial: u32) -> Vec<u8> {
    let bus = "org.freedesktop.DBus";
    message(serial, ["/org/freedesktop/DBus", bus, "Hello", bus], &[])
}

fn message(serial: u32, [path, interface, member, destination]: [&str; 4], arguments: &[Argument]) -> Vec<u8> {
    let mut body = Writer::default();
    arguments.iter().for_each(|argument| body.argument(argument));
    let signature: String = arguments.iter().map(Argument::signature).collect();
    let mut message = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    message.length(body.0.len());
    message.number(serial);
    message.array(8, |fields| {
        fields.field(FIELD_PATH, "o", path);
        fields.field(FIELD_INTERFACE, "s", interface);
        fields.field(FIELD_MEMBER, "s", member);
        fields.field(FIELD_DESTINATION, "s", destination);
        if !signature.is_empty() {
            fields.field(FIELD_SIGNATURE, "g", &signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// What a message from the other end is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The call with this serial was done.
    Done(u32),
    /// It was not: name of the error, and what it says.
    Failed(u32, String, String),
    /// A signal, or a call to us.
    Other,
}

/// How many bytes follow a message's first [`PREFIX_BYTES`]; `None` if these are not of a message that we can read.
pub(super) fn rest_bytes(prefix: &[u8; PREFIX_BYTES]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(prefix.get(at..at + 4)?.try_into().ok()?) as usize);
    let (body, fields) = (number(4)?, number(12)?);
    (prefix[0] == b'l').then(|| fields.next_multiple_of(8) + body)
}

/// Reads a message: its first [`PREFIX_BYTES`] and the rest.
pub(super) fn read(prefix: &[u8; PREFIX_BYTES], rest: &[u8]) -> Option<Came> {
    let fields_bytes = u32::from_le_bytes(prefix[12..16].try_into().ok()?) as usize;
    let (fields, body) = (rest.get(..fields_bytes)?, rest.get(fields_bytes.next_multiple_of(8)..)?);
    let (mut serial, mut name) = (None, String::new());
    let mut reader = Reader { bytes: fields, at: 0 };
    while reader.at < fields.len() {
        reader.align(8);
        let code = reader.byte()?;
        match reader.signature()?.as_str() {
            "u" => serial = Some(reader.number()?).filter(|_| code == FIELD_REPLY_SERIAL).or(serial),
            "s" | "o" => {
                let text = reader.text()?;
                name = if code == FIELD_ERROR_NAME { text } else { name };
            }
            "g" => drop(reader.signature()?),
            _ => return Some(Came::Other),
        }
    }
    Some(match (prefix[1], serial) {
        (METHOD_RETURN, Some(serial)) => Came::Done(serial),
        (ERROR, Some(serial)) => {
            let said = Reader { bytes: body, at: 0 }.text().unwrap_or_default();
            Came::Failed(serial, name, said)
        }
        _ => Came::Other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The header's fields start at a multiple of eight, so what is aligned in them is aligned in the message.
    const fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self, count: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.take(count)?).into_owned();
        self.byte()?;
        Some(text)
    }

    fn text(&mut self) -> Option<String> {
        let count = self.number()? as usize;
        self.string(count)
    }

    fn signature(&mut self) -> Option<String> {
        let count = self.byte()?.into();
        self.string(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Put together by hand from the specification.
    const STOP: &[u8] = b"l\x01\x00\x01\
        \x18\x00\x00\x00\x07\x00\x00\x00\xa0\x00\x00\x00\
        \x01\x01o\x00\x19\x00\x00\x00/org/freedesktop/systemd1\x00\x00\x00\x00\x00\x00\x00\
        \x02\x01s\x00\x20\x00\x00\x00org.freedesktop.systemd1.Manager\x00\x00\x00\x00\x00\x00\x00\x00\
        \x03\x01s\x00\x08\x00\x00\x00StopUnit\x00\x00\x00\x00\x00\x00\x00\x00\
        \x06\x01s\x00\x18\x00\x00\x00org.freedesktop.systemd1\x00\x00\x00\x00\x00\x00\x00\x00\
        \x08\x01g\x00\x02ss\x00\
        \x07\x00\x00\x00a.scope\x00\x07\x00\x00\x00replace\x00";

    #[test]
    fn a_call_is_as_the_specification_says() {
        let arguments = ["a.scope", "replace"].map(|text| Argument::Text(text.to_owned()));
        let made = call(7, "StopUnit", &arguments);
        assert_eq!(String::from_utf8_lossy(&made), String::from_utf8_lossy(STOP));
        assert_eq!(made, STOP);
    }

    #[test]
    fn properties_are_aligned() {
        let mut writer = Writer::default();
        let pairs = Value::Pairs(vec![("a".to_owned(), "rw".to_owned())]);
        writer.argument(&Argument::Properties(named(vec![("X", Value::Number(5)), ("Y", pairs)])));
        let number = b"\x01\0\0\0X\0\x01t\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
        let pairs = b"\x01\0\0\0Y\0\x05a(ss)\0\0\0\0\x0f\0\0\0\0\0\0\0\x01\0\0\0a\0\0\0\x02\0\0\0rw\0";
        let length = u32::try_from(number.len() + pairs.len()).unwrap();
        let expected = [&length.to_le_bytes(), [0; 4].as_slice(), number, pairs].concat();
        assert_eq!(String::from_utf8_lossy(&writer.0), String::from_utf8_lossy(&expected));
    }

    /// An answer, as a peer would write it.
    fn answer(kind: u8, name: Option<&str>, text: &str) -> ([u8; PREFIX_BYTES], Vec<u8>) {
        let mut body = Writer::default();
        body.text(text);
        let mut message = Writer(vec![b'l', kind, 0, 1]);
        message.length(body.0.len());
        message.number(99);
        message.array(8, |fields| {
            fields.align(8);
            fields.0.extend([FIELD_REPLY_SERIAL, 1, b'u', 0]);
            fields.number(7);
            if let Some(name) = name {
                fields.field(FIELD_ERROR_NAME, "s", name);
            }
            fields.field(FIELD_SIGNATURE, "g", "s");
        });
        message.align(8);
        message.0.extend(body.0);
        let (prefix, rest) = message.0.split_at(PREFIX_BYTES);
        (prefix.try_into().unwrap(), rest.to_vec())
    }

    #[test]
    fn answers_are_understood() {
        let (prefix, rest) = answer(METHOD_RETURN, None, "/job/1");
        assert_eq!(rest_bytes(&prefix), Some(rest.len()));
        assert_eq!(read(&prefix, &rest), Some(Came::Done(7)));
        let (prefix, rest) = answer(ERROR, Some("org.x.No"), "not today");
        assert_eq!(read(&prefix, &rest), Some(Came::Failed(7, "org.x.No".to_owned(), "not today".to_owned())));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(prefix: [u8; PREFIX_BYTES], rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _either_way = rest_bytes(&prefix);
            let _either_way = read(&prefix, &rest);
        }
    }
}
