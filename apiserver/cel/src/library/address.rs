//! IP addresses and networks.

use super::dispatch::Body;
use crate::fault::Fault;
use crate::value::Value;
use std::net::IpAddr;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_to_ip" => |args| parse(text(&args[0])?).map(Value::Ip),
        "is_ip" => |args| Ok(Value::Bool(parse(text(&args[0])?).is_ok())),
        "ip_is_canonical" => |args| {
            let text = text(&args[0])?;
            Ok(Value::Bool(parse(text)?.to_string() == text))
        },
        "ip_family" => |args| Ok(Value::Int(if ip(&args[0])?.is_ipv4() { 4 } else { 6 })),
        "ip_is_unspecified" => |args| Ok(Value::Bool(ip(&args[0])?.is_unspecified())),
        "ip_is_loopback" => |args| Ok(Value::Bool(ip(&args[0])?.is_loopback())),
        "ip_is_link_local_multicast" => |args| Ok(Value::Bool(is_link_local_multicast(ip(&args[0])?))),
        "ip_is_link_local_unicast" => |args| Ok(Value::Bool(is_link_local_unicast(ip(&args[0])?))),
        "ip_is_global_unicast" => |args| Ok(Value::Bool(is_global_unicast(ip(&args[0])?))),
        "string_to_cidr" => |args| parse_network(text(&args[0])?).map(|(ip, bits)| Value::Cidr(ip, bits)),
        "is_cidr" => |args| Ok(Value::Bool(parse_prefix(text(&args[0])?).is_ok())),
        "cidr_contains_ip_string" => |args| {
            // Upstream loses why the text is no address.
            let ip = parse(text(&args[1])?).map_err(|_| Fault::no_overload())?;
            Ok(Value::Bool(contains(network(&args[0])?, ip)))
        },
        "cidr_contains_ip_ip" => |args| Ok(Value::Bool(contains(network(&args[0])?, ip(&args[1])?))),
        "cidr_contains_cidr_string" => |args| {
            let other = parse_network(text(&args[1])?)?;
            Ok(Value::Bool(contains_network(network(&args[0])?, other)))
        },
        "cidr_contains_cidr" => |args| Ok(Value::Bool(contains_network(network(&args[0])?, network(&args[1])?))),
        "cidr_ip" => |args| Ok(Value::Ip(network(&args[0])?.0)),
        "cidr_prefix_length" => |args| Ok(Value::Int(i64::from(network(&args[0])?.1))),
        "cidr_masked" => |args| {
            let (ip, bits) = network(&args[0])?;
            Ok(Value::Cidr(masked(ip, bits), bits))
        },
        _ => return None,
    })
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(Fault::no_overload)
}

fn ip(value: &Value<'_>) -> Result<IpAddr, Fault> {
    match value {
        Value::Ip(ip) => Ok(*ip),
        _ => Err(Fault::no_overload()),
    }
}

fn network(value: &Value<'_>) -> Result<(IpAddr, u8), Fault> {
    match value {
        Value::Cidr(ip, bits) => Ok((*ip, *bits)),
        _ => Err(Fault::no_overload()),
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn parse(text: &str) -> Result<IpAddr, Fault> {
    if text.split_once('%').is_some_and(|(ip, zone)| !zone.is_empty() && ip.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Err(Fault::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        Fault::new(format!("IP Address {text:?} parse error during conversion from string: {}", why_not(text)))
    })?;
    if is_mapped(ip) {
        return Err(Fault::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok(ip)
}

/// What Go says of a text that is no address.
pub(super) fn why_not(text: &str) -> String {
    let mark = text.find(['.', ':', '%']).and_then(|at| text[at..].chars().next());
    let reason = match mark {
        Some('.') => v4_reason(text),
        Some(':') => {
            let (why, at) = v6_reason(text);
            let at = if at.is_empty() { String::new() } else { format!(" (at {at:?})") };
            return format!("ParseAddr({text:?}): {why}{at}");
        }
        Some('%') => "missing IPv6 address".to_owned(),
        _ => "unable to parse IP".to_owned(),
    };
    format!("ParseAddr({text:?}): {reason}")
}

/// What is wrong with an IPv6 address, and where.
fn v6_reason(text: &str) -> (&'static str, &str) {
    let (mut rest, zone) = match text.split_once('%') {
        Some((rest, zone)) => (rest, Some(zone)),
        None => (text, None),
    };
    if zone == Some("") {
        return ("zone must be a non-empty string", "");
    }
    let mut ellipsis = rest.starts_with("::");
    rest = rest.strip_prefix("::").unwrap_or(rest);
    let mut bytes = 0;
    while bytes < 16 {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits > 4 {
            return ("each group must have 4 or less digits", rest);
        }
        if digits == 0 {
            return ("each colon-separated field must have at least one digit", rest);
        }
        if rest[digits..].starts_with('.') {
            return if !ellipsis && bytes != 12 {
                ("embedded IPv4 address must replace the final 2 fields of the address", rest)
            } else {
                ("too many hex fields to fit an embedded IPv4 at the end of the address", rest)
            };
        }
        bytes += 2;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        let Some(after) = rest.strip_prefix(':') else { return ("unexpected character, want colon", rest) };
        if after.is_empty() {
            return ("colon must be followed by more characters", rest);
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis {
                return ("multiple :: in address", rest);
            }
            ellipsis = true;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    if rest.is_empty() { ("address string too short", "") } else { ("trailing garbage after address", rest) }
}

fn v4_reason(text: &str) -> String {
    let (mut value, mut digits, mut fields) = (0_u32, 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                if digits == 1 && value == 0 {
                    return "IPv4 field has octet with leading zero".to_owned();
                }
                value = value * 10 + u32::from(c) - u32::from('0');
                digits += 1;
                if value > 255 {
                    return "IPv4 field has value >255".to_owned();
                }
            }
            '.' => {
                if at == 0 || at == text.len() - 1 || digits == 0 {
                    return format!("IPv4 field must have at least one digit (at {:?})", &text[at..]);
                }
                if fields == 3 {
                    return "IPv4 address too long".to_owned();
                }
                fields += 1;
                (value, digits) = (0, 0);
            }
            _ => return format!("unexpected character (at {:?})", &text[at..]),
        }
    }
    "IPv4 address too short".to_owned()
}

fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let error = |why: &str| {
        format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}")
    };
    let (ip, length) = text.rsplit_once('/').ok_or_else(|| error("no '/'"))?;
    let parsed: IpAddr = ip.parse().map_err(|_| error(&why_not(ip)))?;
    let bad = || error(&format!("bad bits after slash: {length:?}"));
    if length.is_empty() || (length.len() > 1 && !matches!(length.as_bytes()[0], b'1'..=b'9')) {
        return Err(bad());
    }
    let bits: u32 = length.parse().map_err(|_| bad())?;
    let most: u8 = if parsed.is_ipv4() { 32 } else { 128 };
    let bits =
        u8::try_from(bits).ok().filter(|bits| *bits <= most).ok_or_else(|| error("prefix length out of range"))?;
    if is_mapped(parsed) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok((parsed, bits))
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), Fault> {
    parse_prefix(text)
        .map_err(|why| Fault::new(format!("network address parse error during conversion from string: {why}")))
}

fn bits_of(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

fn same_prefix(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let ((a, width), (b, other)) = (bits_of(a), bits_of(b));
    width == other && (bits == 0 || (a ^ b) >> (width - bits) == 0)
}

fn contains(network: (IpAddr, u8), ip: IpAddr) -> bool {
    same_prefix(network.0, ip, network.1)
}

fn contains_network(network: (IpAddr, u8), other: (IpAddr, u8)) -> bool {
    network.1 <= other.1 && same_prefix(network.0, other.0, network.1)
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    let keep = |width: u8| if bits == 0 { 0 } else { u128::MAX << (width - bits) };
    match ip {
        IpAddr::V4(ip) => {
            IpAddr::V4((u32::from(ip) & u32::try_from(keep(32) & u128::from(u32::MAX)).unwrap_or(0)).into())
        }
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & keep(128)).into()),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !is_link_local_unicast(ip)
}
