//! Forms that a schema may ask of texts and numbers (`format`). Those that are not known here ask nothing.

use super::structural::{Type, Types};
use crate::validate::names::Format;
use jiff::civil::Date;
use regex::Regex;
use std::net::IpAddr;
use std::sync::LazyLock;

/// A form that is known.
#[derive(Debug)]
pub(super) struct Form {
    /// As the schema writes it.
    pub(super) name: Box<str>,
    /// What a text must be; `None` for numbers.
    pub(super) fits: Option<fn(&str) -> bool>,
}

impl Form {
    /// The form of that name for values of these types, if it is known.
    pub(super) fn of(name: &str, types: Types) -> Option<Self> {
        let fits = match types {
            _ if name.is_empty() => return None,
            Types::Any | Types::IntOrString | Types::One(Type::String) => Some(text(&name.replace('-', ""))?),
            Types::One(Type::Integer) if matches!(name, "int32" | "int64") => None,
            Types::One(Type::Number) if matches!(name, "float" | "double") => None,
            Types::One(_) => return None,
        };
        Some(Self { name: name.into(), fits })
    }

    /// Whether a schema of that type may ask for that form.
    pub(super) fn is_known(name: &str, type_name: &str) -> bool {
        let types = match Type::named(type_name) {
            Some(one) => Types::One(one),
            None if type_name.is_empty() => Types::Any,
            None => return false,
        };
        name.is_empty() || Self::of(name, types).is_some()
    }
}

/// The test of a text in a form, whose name has no dashes.
fn text(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "bsonobjectid" => |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "uri" => uri,
        "email" => email,
        "hostname" => hostname,
        "ipv4" => |text| text.contains('.') && text.parse::<IpAddr>().is_ok(),
        "ipv6" => |text| text.contains(':') && text.parse::<IpAddr>().is_ok(),
        "cidr" => cidr,
        "mac" => mac,
        "uuid" => |text| UUID.is_match(text),
        "uuid3" => |text| uuid_of(text, &["3"], None),
        "uuid4" => |text| uuid_of(text, &["4"], Some("89ab")),
        "uuid5" => |text| uuid_of(text, &["5"], Some("89ab")),
        "isbn" => |text| isbn10(text) || isbn13(text),
        "isbn10" => isbn10,
        "isbn13" => isbn13,
        "creditcard" => credit_card,
        "ssn" => |text| SSN.is_match(text),
        "hexcolor" => |text| HEX_COLOR.is_match(text),
        "rgbcolor" => |text| RGB_COLOR.is_match(text),
        "byte" => |text| BASE64.is_match(text),
        "password" => |_| true,
        "date" => date,
        "duration" => duration,
        "datetime" => date_time,
        "k8sshortname" => |text| Format::Label.check(text).is_none(),
        "k8slongname" => |text| Format::Subdomain.check(text).is_none(),
        _ => return None,
    })
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("the pattern is well-formed"));
    };
}

pattern!(UUID, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
pattern!(SSN, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
pattern!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(
    RGB_COLOR,
    r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*(,\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*){2}\)$"
);
pattern!(BASE64, r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$");
pattern!(
    HOST_NAME,
    r"^([a-zA-Z0-9\p{S}\p{L}](-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)\.)+[a-zA-Z\p{L}]{2,63})$"
);
pattern!(
    CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);
pattern!(SPAN, r"^([0-9]+)\s*([A-Za-zµ]+)$");
pattern!(GO_SPAN, r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$");
pattern!(CLOCK, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$");

fn uuid_of(text: &str, version: &[&str], variant: Option<&str>) -> bool {
    let digits: String = text.replace('-', "").to_lowercase();
    let at = |index: usize| digits.get(index..=index).unwrap_or_default();
    UUID.is_match(text) && version.contains(&at(12)) && variant.is_none_or(|variant| variant.contains(at(16)))
}

/// What may stand in the first line of an HTTP request.
fn uri(text: &str) -> bool {
    let odd = |letter: char| letter.is_ascii_control() || letter == '\u{7f}';
    if text.is_empty() || text.contains(odd) || !percent_encoded(text) {
        return false;
    }
    if text.starts_with('/') || text == "*" {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) || !scheme.bytes().all(letters) {
        return false;
    }
    match rest.strip_prefix("//") {
        Some(rest) => authority(rest.split(['/', '?', '#']).next().unwrap_or_default()),
        None => true,
    }
}

fn percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    })
}

fn authority(text: &str) -> bool {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':').unwrap_or(after),
        None => host.split_once(':').map_or("", |(_, port)| port),
    };
    let is_odd = |letter: char| matches!(letter, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    !host.contains(is_odd) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// One address of RFC 5322, with or without a name before it.
fn email(text: &str) -> bool {
    let text = text.trim();
    let address = match (text.find('<'), text.strip_suffix('>')) {
        (Some(start), Some(inner)) => &inner[start + 1..],
        (None, None) => text,
        _ => return false,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| {
        let letter =
            |letter: char| letter.is_alphanumeric() || !letter.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(letter);
        !text.is_empty() && text.chars().all(letter)
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    (quoted || local.split('.').all(atom))
        && literal.map_or_else(|| domain.split('.').all(atom), |address| address.parse::<IpAddr>().is_ok())
}

fn hostname(text: &str) -> bool {
    text.len() <= 255 && HOST_NAME.is_match(text) && text.split('.').all(|label| label.len() <= 63)
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let plain = bits.bytes().all(|byte| byte.is_ascii_digit());
    plain && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// Six, eight or twenty bytes: pairs of digits between colons or dashes, or fours between dots.
fn mac(text: &str) -> bool {
    let (between, digits) = match text.chars().find(|letter| matches!(letter, ':' | '-' | '.')) {
        Some('.') => ('.', 4),
        Some(between) => (between, 2),
        None => return false,
    };
    let parts: Vec<&str> = text.split(between).collect();
    let fits = |part: &&str| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.iter().all(fits) && matches!(parts.len() * digits, 12 | 16 | 40)
}

fn isbn10(text: &str) -> bool {
    let digits = text.replace([' ', '-'], "");
    if digits.len() != 10 {
        return false;
    }
    let value = |(index, letter): (usize, char)| match letter {
        'X' if index == 9 => Some(10),
        _ => letter.to_digit(10),
    };
    let values: Option<Vec<u32>> = digits.chars().enumerate().map(value).collect();
    values.is_some_and(|values| {
        (1..).zip(values).map(|(weight, value): (u32, u32)| weight * value).sum::<u32>().is_multiple_of(11)
    })
}

fn isbn13(text: &str) -> bool {
    let digits = text.replace([' ', '-'], "");
    let values: Option<Vec<u32>> = digits.chars().map(|letter| letter.to_digit(10)).collect();
    let weighed =
        |values: Vec<u32>| [1, 3].iter().cycle().zip(values).map(|(weight, value)| weight * value).sum::<u32>();
    digits.len() == 13 && values.is_some_and(|values| weighed(values).is_multiple_of(10))
}

fn credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(index, digit): (usize, u32)| match (index % 2, digit) {
        (0, digit) => digit,
        (_, digit) => digit * 2 / 10 + digit * 2 % 10,
    };
    let sum: u32 = digits.chars().rev().filter_map(|digit| digit.to_digit(10)).enumerate().map(doubled).sum();
    CARD.is_match(&digits) && sum.is_multiple_of(10)
}

fn date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

/// As Go writes it (`1h30m`), or a number and a word (`22 days`).
fn duration(text: &str) -> bool {
    const WORDS: [&str; 7] = ["nanosecond", "microsecond", "millisecond", "second", "minute", "hour", "day"];
    const SHORT: [&str; 24] = [
        "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "d", "w", "wk", "week",
        "weeks", "nanos", "micros", "millis", "secs", "mins", "hrs",
    ];
    if GO_SPAN.is_match(text) {
        return true;
    }
    SPAN.captures(text).is_some_and(|found| {
        let unit = found.get(2).map_or("", |unit| unit.as_str());
        SHORT.contains(&unit) || WORDS.contains(&unit.strip_suffix('s').unwrap_or(unit))
    })
}

/// RFC 3339's `date-time`, in either case.
fn date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let Some((day, time)) = lower.split_once('t') else { return false };
    let Some(found) = CLOCK.captures(time) else { return false };
    let number = |index: usize| found.get(index).and_then(|part| part.as_str().parse::<u8>().ok()).unwrap_or(u8::MAX);
    date(day) && number(1) < 24 && number(2) < 60 && number(3) < 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_form() {
        let cases = [
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1a:2b:3c:4d:5e", "00:1a:2b"),
            ("mac", "0000.5e00.5301", "0000:5e00:5301"),
            ("uri", "https://example.com/a?b=c", "example.com"),
            ("uri", "/path", "http://a b/"),
            ("email", "a@example.com", "example.com"),
            ("hostname", "a.example.com", "-a"),
            ("uuid", "B9C0E1C6-0b43-4f6e-8b1a-6d1b7a0a0001", "B9C0"),
            ("uuid4", "b9c0e1c6-0b43-4f6e-8b1a-6d1b7a0a0001", "b9c0e1c6-0b43-3f6e-8b1a-6d1b7a0a0001"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("ssn", "111-11-1111", "111-11-111"),
            ("hexcolor", "#FFFFFF", "#FFFFF"),
            ("rgbcolor", "rgb(255,255,255)", "rgb(256,255,255)"),
            ("byte", "aGFsbG8=", "hallo!"),
            ("date", "2024-02-29", "2023-02-29"),
            ("duration", "22 ns", "22 moons"),
            ("duration", "1h30m", "1:30"),
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15 19:30:20"),
            ("datetime", "2014-12-15t19:30:20+02:00", "2014-12-15T24:30:20Z"),
            ("bson-object-id", "507f1f77bcf86cd799439011", "507f1f77"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A.b"),
        ];
        for (name, good, bad) in cases {
            let form = Form::of(name, Types::One(Type::String)).expect("the form is known");
            let fits = form.fits.expect("it is one of texts");
            assert!(fits(good), "{good} is a {name}");
            assert!(!fits(bad), "{bad} is no {name}");
        }
        assert!(Form::of("int32", Types::One(Type::String)).is_none());
        assert!(Form::of("int32", Types::One(Type::Integer)).is_some());
        assert!(!Form::is_known("colour", "string"));
    }
}
