//! From CBOR to JSON values.

use super::CborError::{self, Duplicate, Foreign};
use super::{BIG_NUMBERS, LATER_BASE16, LATER_BASE64, LATER_BASE64URL, TIME_NUMBER, TIME_TEXT};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use serde_json::{Map, Number, Value};

/// How deep values may stand in each other: as deep as in JSON.
const DEPTH_MOST: usize = 128;

impl From<Error> for CborError {
    fn from(error: Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The one value in `bytes`.
pub(super) fn body(bytes: &[u8]) -> Result<Value, CborError> {
    let mut decoder = Decoder::new(bytes);
    let value = value(&mut decoder, DEPTH_MOST)?;
    if decoder.position() < bytes.len() {
        return Err(CborError::Malformed("something stands behind the object".to_owned()));
    }
    Ok(value)
}

fn value(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let depth = depth.checked_sub(1).ok_or(Foreign("its values stand too deep in each other"))?;
    match decoder.datatype()? {
        Type::Null => Ok(decoder.null().map(|()| Value::Null)?),
        Type::Bool => Ok(decoder.bool()?.into()),
        Type::F16 | Type::F32 | Type::F64 => float(decoder),
        Type::Tag => tagged(decoder, depth),
        Type::Array | Type::ArrayIndef => list(decoder, depth),
        Type::Map | Type::MapIndef => map(decoder, depth),
        Type::String | Type::StringIndef | Type::Bytes | Type::BytesIndef => Ok(text(decoder)?.into()),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let number = i64::try_from(decoder.int()?).map_err(|_| Foreign("a number is not of 64 bits"))?;
            Ok(number.into())
        }
        Type::Undefined | Type::Simple => Err(Foreign("it has a simple value that is none of false, true and null")),
        Type::Break | Type::Unknown(_) => Err(CborError::Malformed("a value is missing".to_owned())),
    }
}

fn float(decoder: &mut Decoder<'_>) -> Result<Value, CborError> {
    let number = match decoder.datatype()? {
        Type::F16 => half(decoder)?,
        Type::F32 => f64::from(decoder.f32()?),
        _ => decoder.f64()?,
    };
    Number::from_f64(number).map(Value::Number).ok_or(Foreign("a number is infinite or none"))
}

/// A number of 16 bits (RFC 8949, appendix D).
fn half(decoder: &mut Decoder<'_>) -> Result<f64, CborError> {
    let at = decoder.position();
    let bits =
        decoder.input().get(at + 1..at + 3).ok_or_else(|| CborError::Malformed("it ends in a number".to_owned()))?;
    decoder.set_position(at + 3);
    let (high, low) = (u16::from(bits[0]), u16::from(bits[1]));
    let (exponent, mantissa) = (i32::from((high >> 2) & 0x1f), f64::from(((high & 3) << 8) | low));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    Ok(if high & 0x80 == 0 { size } else { -size })
}

fn bytes(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, CborError> {
    match decoder.datatype()? {
        Type::Bytes => Ok(decoder.bytes()?.to_vec()),
        Type::BytesIndef => Ok(decoder.bytes_iter()?.collect::<Result<Vec<_>, _>>()?.concat()),
        _ => Err(Foreign("a tag that says how to write bytes stands before something else")),
    }
}

/// A text, as such or as bytes.
fn text(decoder: &mut Decoder<'_>) -> Result<String, CborError> {
    match decoder.datatype()? {
        Type::String => Ok(decoder.str()?.to_owned()),
        Type::StringIndef => Ok(decoder.str_iter()?.collect::<Result<Vec<_>, _>>()?.concat()),
        Type::Bytes | Type::BytesIndef => {
            String::from_utf8(bytes(decoder)?).map_err(|_| Foreign("a text is not in UTF-8"))
        }
        _ => Err(Foreign("a key of a map is no text")),
    }
}

fn list(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let mut list = Vec::new();
    let mut left = decoder.array()?;
    while more(decoder, &mut left)? {
        list.push(value(decoder, depth)?);
    }
    Ok(list.into())
}

fn map(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let mut map = Map::new();
    let mut left = decoder.map()?;
    while more(decoder, &mut left)? {
        let key = text(decoder)?;
        let value = value(decoder, depth)?;
        if map.contains_key(&key) {
            return Err(Duplicate(key));
        }
        map.insert(key, value);
    }
    Ok(map.into())
}

/// Whether there is one more; without a number, an end is marked.
fn more(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, CborError> {
    match left {
        Some(0) => Ok(false),
        Some(count) => {
            *count -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn tagged(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    match decoder.tag()?.as_u64() {
        LATER_BASE64URL => Ok(URL_SAFE_NO_PAD.encode(bytes(decoder)?).into()),
        LATER_BASE64 => Ok(STANDARD.encode(bytes(decoder)?).into()),
        LATER_BASE16 => Ok(hex::encode(bytes(decoder)?).into()),
        TIME_TEXT => Ok(text(decoder)?.into()),
        TIME_NUMBER => {
            let seconds = value(decoder, depth)?;
            let time = seconds.as_f64().map(|seconds| (seconds * 1e9).round());
            // Within the years that a time may have, nanoseconds fit.
            let time = time.and_then(|nanos| jiff::Timestamp::from_nanosecond(nanos as i128).ok());
            time.map(|time| time.to_string().into()).ok_or(Foreign("a time is out of range"))
        }
        tag if BIG_NUMBERS.contains(&tag) => Err(Foreign("a number is not of 64 bits")),
        // Other tags add no meaning; the first is that of CBOR itself.
        _ => value(decoder, depth),
    }
}
