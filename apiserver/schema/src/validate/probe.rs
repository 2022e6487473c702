//! Probes and lifecycle handlers.

use super::errors::Errors;
use super::names::{self, Format};
use crate::path::Path;
use crate::view::{list, text};
use serde_json::Value;

/// What a handler may be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Probe,
    Hook,
}

/// The three probes of a container.
pub(crate) fn probes(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (name, once) in [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)] {
        let (probe, path) = (&container[name], path.field(name));
        if !probe.is_object() {
            continue;
        }
        handler(probe, Use::Probe, &path, errors);
        for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            errors.not_negative(&path.field(field), &probe[field]);
        }
        if let Some(threshold) = probe["successThreshold"].as_i64()
            && once
            && threshold != 1
        {
            errors.invalid(&path.field("successThreshold"), threshold, "must be 1");
        }
        let grace = path.field("terminationGracePeriodSeconds");
        if !once && probe["terminationGracePeriodSeconds"].is_number() {
            errors.invalid(
                &grace,
                probe["terminationGracePeriodSeconds"].clone(),
                "must not be set for readinessProbes",
            );
        } else {
            errors.at_least(&grace, &probe["terminationGracePeriodSeconds"], 1);
        }
    }
}

/// `postStart` and `preStop`.
pub(crate) fn lifecycle(lifecycle: &Value, path: &Path<'_>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        if lifecycle[hook].is_object() {
            handler(&lifecycle[hook], Use::Hook, &path.field(hook), errors);
        }
    }
}

fn handler(holder: &Value, purpose: Use, path: &Path<'_>, errors: &mut Errors) {
    let kinds: &[&str] = match purpose {
        Use::Probe => &["exec", "httpGet", "tcpSocket", "grpc"],
        Use::Hook => &["exec", "httpGet", "tcpSocket", "sleep"],
    };
    let mut given = kinds.iter().filter(|kind| holder[**kind].is_object());
    let Some(kind) = given.next() else {
        return errors.required(path, "must specify a handler type");
    };
    for more in given {
        errors.forbidden(&path.field(more), "may not specify more than 1 handler type");
    }
    let (action, path) = (&holder[*kind], path.field(kind));
    match *kind {
        "exec" if list(action, "command").is_empty() => errors.required(&path.field("command"), ""),
        "httpGet" => http_get(action, &path, errors),
        "tcpSocket" => names::port(&action["port"], &path.field("port"), errors),
        "grpc" => errors.in_range(&path.field("port"), &action["port"], names::PORTS),
        "sleep" => errors.not_negative(&path.field("seconds"), &action["seconds"]),
        _ => {}
    }
}

fn http_get(action: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(action, "path").is_empty() {
        errors.required(&path.field("path"), "");
    }
    names::port(&action["port"], &path.field("port"), errors);
    errors.one_of(&path.field("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"]);
    for (index, header) in list(action, "httpHeaders").iter().enumerate() {
        let headers = path.field("httpHeaders");
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let name = text(header, "name");
        if name.is_empty() || !name.bytes().all(token) {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')";
            errors.invalid(&headers.index(index).field("name"), name, detail);
        }
    }
}

/// The keys of a config map or secret that a variable or file takes.
pub(crate) fn config_key(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    Format::ConfigKey.require_given(text(holder, "key"), &path.field("key"), errors);
}
