//! The wire format: tags, varints, length-delimited bytes; and the messages that are scalars in JSON.

use super::ProtobufError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

/// The value of a field, as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// Its bytes: texts, messages, maps.
    pub(super) fn bytes(self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::Malformed("a field has the wrong wire type")),
        }
    }

    /// Its number; negative ones are sign-extended to 64 bits on the wire.
    pub(super) fn integer(self) -> Result<i64, ProtobufError> {
        match self {
            Self::Varint(bits) => Ok(bits.cast_signed()),
            _ => Err(ProtobufError::Malformed("a field has the wrong wire type")),
        }
    }

    /// Its floating-point number.
    pub(super) fn double(self) -> Result<f64, ProtobufError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Self::Fixed32(bits) => Ok(f32::from_bits(bits).into()),
            _ => Err(ProtobufError::Malformed("a field has the wrong wire type")),
        }
    }
}

/// Goes through the fields of a message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn field(&mut self) -> Result<(u32, Field<'a>), ProtobufError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Malformed("a field number is too large"))?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| ProtobufError::Malformed("a length is too large"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(ProtobufError::Malformed("an unknown wire type")),
        };
        Ok((number, field))
    }

    /// The next of numbers that stand in one field, without tags.
    pub(super) fn packed(&mut self) -> Result<Option<Field<'a>>, ProtobufError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(|number| Some(Field::Varint(number))) }
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        const GROUPS: u32 = 10; // of 7 bits: 64 bits
        let mut value = 0_u64;
        for group in 0..GROUPS {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(7 * group);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed("a number has no end"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ProtobufError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        self.take(N)?.try_into().map_err(|_| ProtobufError::Malformed("it ends too early"))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Field<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Bytes that are text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::Malformed("a text is not UTF-8"))
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `Quantity`: its text (1).
pub(super) fn quantity(bytes: &[u8]) -> Result<String, ProtobufError> {
    let mut text = "0";
    for field in Reader::new(bytes) {
        if let (1, Field::Bytes(found)) = field? {
            text = utf8(found)?;
        }
    }
    Ok(text.to_owned())
}

/// `IntOrString`: which of them (1; 0 is the number), the number (2), the text (3).
pub(super) fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Reader::new(bytes) {
        match field? {
            (1, field) => is_text = field.integer()? != 0,
            (2, field) => number = field.integer()?,
            (3, field) => text = utf8(field.bytes()?)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// `Time` and `MicroTime`: seconds (1) and nanoseconds (2) since the epoch; null when both are missing.
pub(super) fn time(bytes: &[u8], format: &str) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(bytes) {
        match field? {
            (1, field) => seconds = field.integer()?,
            (2, field) => nanos = field.integer()?,
            _ => {}
        }
    }
    if (seconds, nanos) == (0, 0) {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Malformed("a time has too many nanoseconds"))?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed("a time is out of range"))?;
    Ok(time.strftime(format).to_string().into())
}

/// `FieldsV1` and `RawExtension`: JSON text (1).
pub(super) fn raw_json(bytes: &[u8]) -> Result<Value, ProtobufError> {
    for field in Reader::new(bytes) {
        if let (1, Field::Bytes(text)) = field? {
            return serde_json::from_slice(text).map_err(|_| ProtobufError::Malformed("embedded JSON is not JSON"));
        }
    }
    Ok(Value::Null)
}
