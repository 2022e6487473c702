//! What a route changes in requests and answers.

use super::grants::Grants;
use super::routes::{Resolved, backend};
use super::{Object, World};
use crate::ingress::list;
use crate::route::{Forward, HeaderChange, Mirror, PathChange, PathMatch, Redirect};
use http::{HeaderName, HeaderValue};
use serde_json::Value;

/// What filters make of a rule.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) forward: Forward,
    pub(super) redirect: Option<Redirect>,
}

/// Why a filter cannot be: the message of the condition Accepted.
pub(super) type Unsupported = String;

/// Reads the filters of a rule for one of its matches.
///
/// # Errors
/// One is of a type or has a value that is not supported.
pub(super) fn read(
    filters: &Value,
    path: &PathMatch,
    (route, world, grants): (&(&'static str, Object<'_>), &World<'_>, &Grants<'_>),
    resolved: &mut Resolved,
) -> Result<Filters, Unsupported> {
    let mut read = Filters::default();
    for filter in list(filters) {
        match filter["type"].as_str().unwrap_or_default() {
            "RequestHeaderModifier" => read.forward.request = headers(&filter["requestHeaderModifier"])?,
            "ResponseHeaderModifier" => read.forward.response = headers(&filter["responseHeaderModifier"])?,
            "RequestRedirect" => read.redirect = Some(redirect(&filter["requestRedirect"], path)?),
            "URLRewrite" => {
                let rewrite = &filter["urlRewrite"];
                let host = rewrite["hostname"].as_str().map(|host| value(host, "urlRewrite.hostname")).transpose()?;
                (read.forward.host, read.forward.path) = (host, change(&rewrite["path"], path)?);
            }
            "RequestMirror" => {
                read.forward.mirrors.extend(mirror(&filter["requestMirror"], (route, world, grants), resolved))
            }
            other => return Err(format!("filters of the type {other} are not supported")),
        }
    }
    Ok(read)
}

/// A header modifier.
pub(super) fn headers(modifier: &Value) -> Result<HeaderChange, Unsupported> {
    let name = |text: &str| HeaderName::try_from(text).map_err(|_| format!("{text} is no name of a header"));
    let pairs = |field: &str| {
        let pair = |one: &Value| {
            let text = one["name"].as_str().unwrap_or_default();
            Ok((name(text)?, value(one["value"].as_str().unwrap_or_default(), text)?))
        };
        list(&modifier[field]).map(pair).collect::<Result<Vec<_>, Unsupported>>()
    };
    let remove = list(&modifier["remove"]).filter_map(Value::as_str).map(name).collect::<Result<_, _>>()?;
    Ok(HeaderChange { set: pairs("set")?, add: pairs("add")?, remove })
}

fn value(text: &str, of: &str) -> Result<HeaderValue, Unsupported> {
    HeaderValue::from_str(text).map_err(|_| format!("{of}: {text} cannot stand in a header"))
}

fn redirect(filter: &Value, path: &PathMatch) -> Result<Redirect, Unsupported> {
    let text = |field: &str| filter[field].as_str().map(str::to_owned);
    let number = |field: &str| filter[field].as_u64().and_then(|number| u16::try_from(number).ok());
    let status = number("statusCode").unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        return Err(format!("requestRedirect.statusCode: {status} is no redirect"));
    }
    let path = change(&filter["path"], path)?;
    Ok(Redirect { scheme: text("scheme"), host: text("hostname"), port: number("port"), path, status })
}

fn change(path: &Value, matched: &PathMatch) -> Result<Option<PathChange>, Unsupported> {
    let text = |field: &str| path[field].as_str().unwrap_or_default().to_owned();
    match (path["type"].as_str(), matched) {
        (None, _) => Ok(None),
        (Some("ReplaceFullPath"), _) => Ok(Some(PathChange::Full(text("replaceFullPath")))),
        (Some("ReplacePrefixMatch"), PathMatch::Prefix(prefix)) => {
            Ok(Some(PathChange::Prefix(prefix.clone(), text("replacePrefixMatch"))))
        }
        (Some("ReplacePrefixMatch"), _) => Err("ReplacePrefixMatch needs a match of the type PathPrefix".to_owned()),
        (Some(other), _) => Err(format!("changes of paths of the type {other} are not supported")),
    }
}

fn mirror(
    filter: &Value,
    (route, world, grants): (&(&'static str, Object<'_>), &World<'_>, &Grants<'_>),
    resolved: &mut Resolved,
) -> Option<Mirror> {
    let to = backend(&filter["backendRef"], route, world, grants, resolved)?;
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let fraction = &filter["fraction"];
    let of_fraction =
        number(&fraction["numerator"]).map(|share| (share, number(&fraction["denominator"]).unwrap_or(100)));
    let share = of_fraction.or_else(|| number(&filter["percent"]).map(|percent| (percent, 100)));
    Some(Mirror { to, share: share.unwrap_or((1, 1)) })
}
