//! Values as messages and results show them.

use super::{List, Map, Timestamp, Value};
use crate::number;

/// As a message shows it.
pub(crate) fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => number::show(*value, number::SHORTEST),
        Value::String(text) => text.as_str().to_owned(),
        Value::Bytes(bytes) => format!("{bytes:?}").replace(',', ""),
        Value::Timestamp(time) => rfc3339(*time),
        Value::Duration(nanos) => seconds(*nanos),
        Value::List(list) => show_list(list),
        Value::Map(map) => show_map(map),
        Value::Type(name) => name.to_string(),
        Value::Optional(Some(value)) => format!("optional({})", show(value)),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Quantity(amount) => amount.quantity.canonical(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(ip, bits) => format!("{ip}/{bits}"),
        Value::Url(url) => url.text(),
        Value::Format(format) => format.name.to_owned(),
        Value::Semver(version) => version.text(),
        Value::Object(_) | Value::Check(_) | Value::Variables | Value::Preserved(_) => value.type_name().to_owned(),
    }
}

fn show_list(list: &List<'_>) -> String {
    let shown: Vec<String> =
        list.values().map(|value| value.map_or_else(|fault| fault.to_string(), |v| show(&v))).collect();
    format!("[{}]", shown.join(", "))
}

fn show_map(map: &Map<'_>) -> String {
    let entry = |key: Value<'_>| {
        let value = map.find(&key).ok().flatten().unwrap_or(Value::Null);
        format!("{}: {}", show(&key), show(&value))
    };
    let shown: Vec<String> = map.keys().into_iter().map(entry).collect();
    format!("{{{}}}", shown.join(", "))
}

/// A duration in seconds, as short as it can be.
pub(crate) fn seconds(nanos: i64) -> String {
    let (whole, rest) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    // Upstream goes through a double, which has 15 digits for sure.
    #[expect(clippy::cast_precision_loss, reason = "as upstream does")]
    let number = whole as f64 + rest as f64 / 1e9;
    format!("{}{number}s", if nanos < 0 { "-" } else { "" })
}

/// A time with the offset it came with.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let local = time.seconds + i64::from(time.offset_seconds);
    let (days, of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = crate::calendar::civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction =
        if time.nanos == 0 { String::new() } else { format!(".{:09}", time.nanos).trim_end_matches('0').to_owned() };
    let offset = time.offset_seconds / 60;
    let zone = if time.offset_seconds == 0 {
        "Z".to_owned()
    } else {
        format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60)
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
}
