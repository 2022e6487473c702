//! What a request may say, and what each of its parts may change.

use super::pem;
use crate::kinds::Change;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{list, text};
use serde_json::Value;

/// Certificates do not last shorter.
const SECONDS_LEAST: i64 = 600;
/// What was asked for before signers had names.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// Conditions that are true or absent.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What is wrong with a change.
pub(super) fn whole(change: &Change<'_>, errors: &mut Errors) {
    let (new, old) = (change.new, change.old);
    let (spec, path) = (&new["spec"], Path::Root.field("spec"));
    let had = |wrong: fn(&Value) -> bool| old.is_some_and(wrong);
    let request = text(spec, "request");
    if let Some(detail) = pem::request_problem(request) {
        errors.invalid(&path.field("request"), request, detail);
    }
    usages(spec, had(has_odd_usages), had(has_double_usages), &path.field("usages"), errors);
    let (signer, at) = (text(spec, "signerName"), path.field("signerName"));
    let is_legacy = |it: &Value| text(&it["spec"], "signerName") == LEGACY_SIGNER;
    if is_legacy(new) && !old.is_some_and(is_legacy) {
        errors.invalid(&at, signer, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(signer, &at, errors);
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds < SECONDS_LEAST) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.field("expirationSeconds"), seconds, detail);
    }
    conditions(new, old, errors);
    certificate(new, old, errors);
    if let Some(old) = old {
        changed(change, old, errors);
    }
}

fn usage_texts(it: &Value) -> impl Iterator<Item = &str> {
    list(&it["spec"], "usages").iter().map(|usage| usage.as_str().unwrap_or_default())
}

fn has_odd_usages(it: &Value) -> bool {
    usage_texts(it).any(|usage| !USAGES.contains(&usage))
}

fn has_double_usages(it: &Value) -> bool {
    usage_texts(it).enumerate().any(|(at, usage)| usage_texts(it).take(at).any(|before| before == usage))
}

fn usages(spec: &Value, had_odd: bool, had_double: bool, path: &Path<'_>, errors: &mut Errors) {
    let usages = list(spec, "usages");
    if usages.is_empty() {
        errors.required(path, "");
    }
    for (index, usage) in usages.iter().enumerate().filter(|_| !had_odd) {
        errors.exactly_one_of(&path.index(index), usage.as_str().unwrap_or_default(), &USAGES);
    }
    for (index, usage) in usages.iter().enumerate().filter(|_| !had_double) {
        if usages[..index].contains(usage) {
            errors.duplicate(&path.index(index), usage.clone());
        }
    }
}

/// A domain and a path: `example.com/signer`.
fn signer_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    const DOMAIN_MOST: usize = 253;
    const MOST: usize = DOMAIN_MOST + (DOMAIN_MOST + 63 + 1) + 1;
    if name.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, detail);
    };
    if domain.len() > DOMAIN_MOST {
        errors.too_long(path, DOMAIN_MOST);
    }
    segment(domain, Format::Label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    segment(rest, Format::Subdomain, path, errors);
    if name.len() > MOST {
        errors.too_long(path, MOST);
    }
}

/// Reports the first label of a segment that is wrong.
fn segment(segment: &str, format: Format, path: &Path<'_>, errors: &mut Errors) {
    if let Some((label, detail)) = segment.split('.').find_map(|label| Some((label, format.check(label)?))) {
        errors.invalid(path, segment, format!("validating label {label:?}: {detail}"));
    }
}

fn of_type<'a>(it: &'a Value, kind: &str) -> Vec<&'a Value> {
    list(&it["status"], "conditions").iter().filter(|condition| text(condition, "type") == kind).collect()
}

fn conditions(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let status = Path::Root.field("status");
    let path = status.field("conditions");
    let all = list(&new["status"], "conditions");
    let before = old.map_or(&[][..], |old| list(&old["status"], "conditions"));
    let kinds = |all: &[Value]| all.iter().map(|it| text(it, "type").to_owned()).collect::<Vec<_>>();
    let (seen, had) = (kinds(all), kinds(before));
    let was_both = ["Approved", "Denied"].iter().all(|kind| had.iter().any(|it| it == kind));
    let was_double = had.iter().enumerate().any(|(at, kind)| had[..at].contains(kind));
    let was_empty = had.iter().any(String::is_empty);
    for (index, condition) in all.iter().enumerate() {
        let (at, kind) = (path.index(index), text(condition, "type"));
        if kind.is_empty() && !was_empty {
            errors.required(&at.field("type"), "");
        }
        let values: &[&str] = if DECISIONS.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        errors.required_one_of(&at.field("status"), text(condition, "status"), values);
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !was_both && !opposite.is_empty() && seen[..index].iter().any(|it| it == opposite) {
            errors.invalid(&path, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !was_double && seen[..index].iter().any(|it| it == kind) {
            errors.duplicate(&at.field("type"), kind);
        }
    }
}

fn certificate(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let certificate = |it: &Value| text(&it["status"], "certificate").to_owned();
    let tolerated = old.is_some_and(|old| {
        certificate(old) == certificate(new) || pem::certificate_problem(&certificate(old)).is_some()
    });
    let problem = pem::certificate_problem(&certificate(new)).filter(|_| !tolerated);
    if let Some(detail) = problem {
        let status = Path::Root.field("status");
        errors.invalid(&status.field("certificate"), "<certificate data>", detail);
    }
}

/// Decisions are not taken back, and each part writes its own.
fn changed(change: &Change<'_>, old: &Value, errors: &mut Errors) {
    let (new, status) = (change.new, Path::Root.field("status"));
    let path = status.field("conditions");
    for kind in DECISIONS {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            errors.forbidden(&path, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for kind in ["Approved", "Denied"].into_iter().filter(|_| change.part != "approval") {
        let (before, after) = (of_type(old, kind), of_type(new, kind));
        if after.len() > before.len() {
            errors.forbidden(&path, format!("updates may not add a condition of type {kind:?}"));
        } else if after.len() == before.len() && after != before {
            errors.forbidden(&path, format!("updates may not modify a condition of type {kind:?}"));
        }
    }
    let (before, after) = (text(&old["status"], "certificate"), text(&new["status"], "certificate"));
    let at = status.field("certificate");
    if before == after {
        return;
    }
    if change.part != "status" {
        errors.forbidden(&at, "updates may not set certificate content");
    } else if !before.is_empty() {
        errors.forbidden(&at, "updates may not modify existing certificate content");
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROW;
    use crate::kinds::testing::{errors, part_errors, set};
    use serde_json::{Value, json};

    /// CN=u, O=users, over a P-256 key.
    const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1INENBUUF3SERFT01Bd0dBMVVFQ2d3RmRYTmxjbk14Q2pBSUJnTlZCQU1NQVhVd1dUQVRCZ2NxaGtqTwpQUUlCQmdncWhrak9QUU1CQndOQ0FBUkhqQlNhWmIwdDk2UUJIcFh5SlpyWUZ6VGdDYVNwTmdYOEJHL0M4RWRNCm5RUGxvOElFSnpzaFdZTFZ6dG5zVW9paUhDbm5lK3RyKytoWnJwMDRIVGNvb0FBd0NnWUlLb1pJemowRUF3SUQKU1FBd1JnSWhBUFhTUzBWTHVvV20zYkI4S1ZqRnRMaUp1MER0b1VBY041VHdUUmJsQVJ5akFpRUE2SXZRYndYWQpsMzIzSldyajVGZ3NPSVR1NEJHcWNFSzJzUks0NXl6QWRnZz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

    fn request() -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"request": REQUEST, "signerName": "example.com/signer",
            "usages": ["client auth"]}})
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(errors(&ROW, &request()), [""; 0]);
        for (pointer, value, expected) in [
            ("/spec/request", json!("eA=="), "spec.request: Invalid"),
            ("/spec/usages", json!([]), "spec.usages: Required"),
            ("/spec/usages", json!(["x"]), "spec.usages[0]: NotSupported"),
            ("/spec/usages", json!(["any", "any"]), "spec.usages[1]: Duplicate"),
            ("/spec/signerName", json!("a.b"), "spec.signerName: Invalid"),
            ("/spec/signerName", json!("a/b"), "spec.signerName: Invalid"),
            ("/spec/signerName", json!("kubernetes.io/legacy-unknown"), "spec.signerName: Invalid"),
            ("/spec/expirationSeconds", json!(599), "spec.expirationSeconds: Invalid"),
        ] {
            let mut it = request();
            set(&mut it, pointer, value);
            assert_eq!(errors(&ROW, &it), [expected]);
        }
    }

    #[test]
    fn decisions_are_made_through_their_part_and_stay() {
        let (old, mut new) = (request(), request());
        new["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        assert_eq!(part_errors(&ROW, &new, &old, Some("approval")), [""; 0]);
        assert_eq!(part_errors(&ROW, &new, &old, Some("status")), ["status.conditions: Forbidden"]);
        assert_eq!(part_errors(&ROW, &old, &new, Some("approval")), ["status.conditions: Forbidden"]);
        let both = json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]);
        new["status"]["conditions"] = both;
        assert_eq!(part_errors(&ROW, &new, &old, Some("approval")), ["status.conditions: Invalid"]);
    }

    #[test]
    fn what_is_issued_is_a_certificate_and_stays() {
        let (old, mut new) = (request(), request());
        new["status"] = json!({"certificate": "eA=="});
        let at = "status.certificate";
        assert_eq!(part_errors(&ROW, &new, &old, Some("status")), [format!("{at}: Invalid")]);
        assert_eq!(part_errors(&ROW, &new, &old, None), [format!("{at}: Invalid"), format!("{at}: Forbidden")]);
    }
}
