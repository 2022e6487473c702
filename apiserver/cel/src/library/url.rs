//! URLs, read as Go reads them.

use super::dispatch::Body;
use super::strings::texts;
use crate::fault::Fault;
use crate::value::{Key, Map, Text, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Url {
    scheme: String,
    opaque: String,
    user: Option<String>,
    host: String,
    /// Written without `//`.
    omit_host: bool,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Url {
    /// The URL in one piece.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.scheme.is_empty() {
            text = format!("{}:", self.scheme);
        }
        if self.opaque.is_empty() {
            if !self.omit_host && (!self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some()) {
                let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                if !self.host.is_empty() || !self.path.is_empty() || self.user.is_some() {
                    text.push_str(&format!("//{user}{}", self.host));
                }
            }
            text.push_str(&escape_path(&self.path));
        } else {
            text.push_str(&self.opaque);
        }
        if let Some(query) = &self.query {
            text.push_str(&format!("?{query}"));
        }
        if let Some(fragment) = self.fragment.as_ref().filter(|fragment| !fragment.is_empty()) {
            text.push_str(&format!("#{fragment}"));
        }
        text
    }

    /// Host and port, as they are told apart.
    fn host_and_port(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (&self.host, ""),
        }
    }
}

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_to_url" => |args| {
            let text = text(&args[0])?;
            let url = request(text).and_then(|()| parse(text));
            url.map(|url| Value::Url(Arc::new(url))).map_err(|why| {
                Fault::new(format!("URL parse error during conversion from string: parse {text:?}: {why}"))
            })
        },
        "is_url_string" => |args| Ok(Value::Bool(request(text(&args[0])?).is_ok())),
        "url_get_scheme" => |args| Ok(Value::text(url(&args[0])?.scheme.clone())),
        "url_get_host" => |args| Ok(Value::text(url(&args[0])?.host.clone())),
        "url_get_hostname" => |args| {
            let host = url(&args[0])?.host_and_port().0;
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            Ok(Value::text(inner.unwrap_or(host)))
        },
        "url_get_port" => |args| Ok(Value::text(url(&args[0])?.host_and_port().1)),
        "url_get_escaped_path" => |args| Ok(Value::text(escape_path(&url(&args[0])?.path))),
        "url_get_query" => |args| {
            let mut entries: BTreeMap<Key<'_>, Vec<String>> = BTreeMap::new();
            for (name, value) in query(url(&args[0])?.query.as_deref().unwrap_or("")) {
                entries.entry(Key::String(Text::from(name))).or_default().push(value);
            }
            Ok(Value::Map(Map::of(entries.into_iter().map(|(name, values)| (name, texts(values))).collect())))
        },
        _ => return None,
    })
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(Fault::no_overload)
}

fn url<'v>(value: &'v Value<'_>) -> Result<&'v Url, Fault> {
    match value {
        Value::Url(url) => Ok(url),
        _ => Err(Fault::no_overload()),
    }
}

/// Whether it is an absolute URI or an absolute path, or why not.
pub(super) fn request(text: &str) -> Result<(), String> {
    read(text, true).map(|_| ())
}

fn parse(text: &str) -> Result<Url, String> {
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (text, None),
    };
    let mut url = read(rest, false)?;
    if let Some(fragment) = fragment {
        unescape(fragment, false)?;
        url.fragment = Some(fragment.to_owned());
    }
    Ok(url)
}

fn read(text: &str, request: bool) -> Result<Url, String> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() && request {
        return Err("empty url".to_owned());
    }
    let mut url = Url::default();
    if text == "*" {
        "*".clone_into(&mut url.path);
        return Ok(url);
    }
    let (scheme, rest) = scheme(text)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (mut rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query.to_owned())),
        None => (rest, None),
    };
    url.query = query;
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            rest.clone_into(&mut url.opaque);
            return Ok(url);
        }
        if request {
            return Err("invalid URI for request".to_owned());
        }
        if rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let has_authority = !url.scheme.is_empty() || (!request && !rest.starts_with("///"));
    if let Some(after) = rest.strip_prefix("//").filter(|_| has_authority) {
        let end = after.find('/').unwrap_or(after.len());
        authority(&after[..end], &mut url)?;
        rest = &after[end..];
    } else {
        url.omit_host = !url.scheme.is_empty();
    }
    unescape(rest, false)?;
    rest.clone_into(&mut url.path);
    Ok(url)
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' => {
                if at == 0 {
                    break;
                }
            }
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn authority(text: &str, url: &mut Url) -> Result<(), String> {
    let (user, host) = match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    };
    host_is_valid(host)?;
    host.clone_into(&mut url.host);
    if let Some(user) = user {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !user.chars().all(valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        unescape(user, false)?;
        url.user = Some(user.to_owned());
    }
    Ok(())
}

fn host_is_valid(host: &str) -> Result<(), String> {
    if host.rfind('[').is_some_and(|at| at > 0) {
        return Err("invalid IP-literal".to_owned());
    }
    let after = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        let inner = host[1..end].split_once("%25").map_or(&host[1..end], |(ip, _)| ip);
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("invalid host: {}", super::address::why_not(&host[1..end])));
        }
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let port = after.strip_prefix(':');
    if !after.is_empty() && !port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("invalid port {after:?} after host"));
    }
    unescape(host, true).map(|_| ())
}

/// What `%41` stands for; in hosts few characters may stand so, and few unescaped.
fn unescape(text: &str, host: bool) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits
                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|d| u8::from_str_radix(d, 16).ok());
            let shown: String = text[at..].chars().take(3).collect();
            let value = value.ok_or_else(|| format!("invalid URL escape {shown:?}"))?;
            if host && value < 0x80 && &shown != "%25" {
                return Err(format!("invalid URL escape {shown:?}"));
            }
            out.push(value);
            at += 3;
            continue;
        }
        let plain = byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte);
        if host && byte < 0x80 && !plain {
            let shown = char::from(byte).to_string();
            return Err(format!("invalid character {shown:?} in host name"));
        }
        out.push(byte);
        at += 1;
    }
    Ok(out)
}

/// The path as it stands in a request: as written, if that was valid.
fn escape_path(path: &str) -> String {
    let valid = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&byte));
    if valid || path == "*" {
        return path.to_owned();
    }
    let mut out = String::new();
    for byte in unescape(path, false).unwrap_or_default() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Names and values of a query; parts that are none are left out.
fn query(text: &str) -> Vec<(String, String)> {
    let read = |part: &str| {
        unescape(&part.replace('+', " "), false).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    text.split('&')
        .filter(|part| !part.is_empty() && !part.contains(';'))
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((read(name)?, read(value)?))
        })
        .collect()
}
