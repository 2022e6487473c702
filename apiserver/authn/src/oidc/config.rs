//! The file that `--authentication-config` names (`apiserver.config.k8s.io` AuthenticationConfiguration).
//!
//! Expressions in CEL are refused, not passed over: nothing here evaluates them.

use super::{Issuer, Mapping};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The versions that are read; what is read is the same in all.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// The most issuers.
const ISSUERS_MAX: usize = 64;

/// What is said of requests without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    /// Whether there may be any.
    pub enabled: bool,
    /// Paths that they may be for; empty: all.
    pub paths: Vec<String>,
}

impl Default for Anonymous {
    fn default() -> Self {
        Self { enabled: true, paths: Vec::new() }
    }
}

impl Anonymous {
    /// Whether a request for `path` may come without credentials.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|one| one == path))
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The issuers whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// Requests without credentials, if something is said of them.
    pub anonymous: Option<Anonymous>,
}

/// What is wrong, field by field.
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, path: &str, why: &str) {
        self.0.push(format!("{path}: {why}"));
    }

    /// A text that must be there.
    fn text(&mut self, value: &Value, path: &str, field: &str) -> String {
        let text = self.perhaps(value, path, field).unwrap_or_default();
        if text.is_empty() {
            self.add(&format!("{path}.{field}"), "Required value");
        }
        text
    }

    /// One that may be.
    fn perhaps(&mut self, value: &Value, path: &str, field: &str) -> Option<String> {
        match &value[field] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => {
                self.add(&format!("{path}.{field}"), "must be a text");
                None
            }
        }
    }

    fn known(&mut self, value: &Value, path: &str, fields: &[&str]) {
        let given = value.as_object().into_iter().flatten();
        for (field, _) in given.filter(|(field, _)| !fields.contains(&field.as_str())) {
            self.add(&format!("{path}.{field}"), "unknown field");
        }
    }

    /// Fields that hold expressions, which nothing here evaluates.
    fn no_expressions(&mut self, value: &Value, path: &str, fields: &[&str]) {
        for field in fields.iter().filter(|field| !value[**field].is_null()) {
            self.add(&format!("{path}.{field}"), "expressions in CEL are not implemented for authentication");
        }
    }
}

/// Reads the file, given as JSON.
///
/// # Errors
/// All that is wrong with it, each with its field.
pub fn parse(file: &Value) -> Result<Configuration, Vec<String>> {
    let mut errors = Errors(Vec::new());
    if !VERSIONS.iter().any(|version| file["apiVersion"] == *version) || file["kind"] != "AuthenticationConfiguration" {
        return Err(vec![format!("it is no AuthenticationConfiguration of {}", VERSIONS[0])]);
    }
    errors.known(file, "", &["apiVersion", "kind", "jwt", "anonymous"]);
    let given = file["jwt"].as_array().map(Vec::as_slice).unwrap_or_default();
    if given.len() > ISSUERS_MAX {
        errors.add("jwt", &format!("Too many: {}: must have at most {ISSUERS_MAX} items", given.len()));
    }
    let mut seen = BTreeSet::new();
    let mut issuers = Vec::new();
    for (index, one) in given.iter().enumerate() {
        let path = format!("jwt[{index}]");
        let issuer = issuer(one, &path, &mut errors);
        if !issuer.url.is_empty() && !seen.insert(issuer.url.clone()) {
            errors.add(&format!("{path}.issuer.url"), &format!("Duplicate value: {:?}", issuer.url));
        }
        issuers.push(issuer);
    }
    let anonymous = anonymous(&file["anonymous"], &mut errors);
    if errors.0.is_empty() { Ok(Configuration { issuers, anonymous }) } else { Err(errors.0) }
}

fn anonymous(value: &Value, errors: &mut Errors) -> Option<Anonymous> {
    if value.is_null() {
        return None;
    }
    errors.known(value, "anonymous", &["enabled", "conditions"]);
    let enabled = value["enabled"].as_bool().unwrap_or(false);
    let conditions = value["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !enabled && !conditions.is_empty() {
        errors.add("anonymous.conditions", "enabled should be set to true when conditions are defined");
    }
    let paths = (conditions.iter().enumerate())
        .map(|(index, condition)| errors.text(condition, &format!("anonymous.conditions[{index}]"), "path"));
    Some(Anonymous { enabled, paths: paths.collect() })
}

fn issuer(value: &Value, path: &str, errors: &mut Errors) -> Issuer {
    errors.known(value, path, &["issuer", "claimValidationRules", "claimMappings", "userValidationRules"]);
    let (of, at) = (&value["issuer"], format!("{path}.issuer"));
    let fields =
        ["url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"];
    errors.known(of, &at, &fields);
    let url = errors.text(of, &at, "url");
    check_url(&url, &format!("{at}.url"), errors);
    let discovery_url = errors.perhaps(of, &at, "discoveryURL").filter(|url| !url.is_empty());
    if let Some(discovery) = &discovery_url {
        check_url(discovery, &format!("{at}.discoveryURL"), errors);
        if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
            errors.add(&format!("{at}.discoveryURL"), "discoveryURL must be different from URL");
        }
    }
    if !of["egressSelectorType"].is_null() && of["egressSelectorType"] != "" {
        errors.add(&format!("{at}.egressSelectorType"), "there are no egress selectors here");
    }
    let audiences = audiences(of, &at, errors);
    let mappings = &value["claimMappings"];
    let at = format!("{path}.claimMappings");
    errors.known(mappings, &at, &["username", "groups", "uid", "extra"]);
    if mappings["extra"].as_array().is_some_and(|extra| !extra.is_empty()) {
        errors.add(&format!("{at}.extra"), "expressions in CEL are not implemented for authentication");
    }
    if value["userValidationRules"].as_array().is_some_and(|rules| !rules.is_empty()) {
        errors.add(&format!("{path}.userValidationRules"), "expressions in CEL are not implemented for authentication");
    }
    let username = mapping(&mappings["username"], &format!("{at}.username"), errors);
    if username.is_none() {
        errors.add(&format!("{at}.username"), "claim or expression is required");
    }
    Issuer {
        url,
        discovery_url,
        authority: errors
            .perhaps(of, &format!("{path}.issuer"), "certificateAuthority")
            .filter(|text| !text.is_empty()),
        audiences,
        algorithms: Vec::new(),
        required: required(&value["claimValidationRules"], &format!("{path}.claimValidationRules"), errors),
        username: username.unwrap_or_default(),
        groups: mapping(&mappings["groups"], &format!("{at}.groups"), errors),
        uid: uid(&mappings["uid"], &format!("{at}.uid"), errors),
    }
}

fn check_url(url: &str, path: &str, errors: &mut Errors) {
    let Some(rest) = url.strip_prefix("https://") else {
        return errors.add(path, "URL scheme must be https");
    };
    if rest.split('/').next().is_some_and(|host| host.contains('@')) {
        errors.add(path, "URL must not contain a username or password");
    }
    if rest.contains('?') {
        errors.add(path, "URL must not contain a query");
    }
    if rest.contains('#') {
        errors.add(path, "URL must not contain a fragment");
    }
}

fn audiences(issuer: &Value, path: &str, errors: &mut Errors) -> Vec<String> {
    let at = format!("{path}.audiences");
    let given = issuer["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = given.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if texts.is_empty() || texts.len() < given.len() || texts.iter().any(String::is_empty) {
        errors.add(&at, "Required value: at least one audience, and none may be empty");
    }
    let policy = issuer["audienceMatchPolicy"].as_str().unwrap_or_default();
    match (texts.len(), policy) {
        (0 | 1, "" | "MatchAny") | (_, "MatchAny") => {}
        (_, "") => {
            errors.add(&format!("{path}.audienceMatchPolicy"), "must be MatchAny for multiple audiences");
        }
        _ => errors.add(&format!("{path}.audienceMatchPolicy"), "must be MatchAny or empty"),
    }
    texts
}

/// A claim with its prefix, which must be said, be it empty: nobody should get a name of another kind by accident.
fn mapping(value: &Value, path: &str, errors: &mut Errors) -> Option<Mapping> {
    errors.known(value, path, &["claim", "prefix", "expression"]);
    errors.no_expressions(value, path, &["expression"]);
    let claim = errors.perhaps(value, path, "claim").unwrap_or_default();
    let prefix = errors.perhaps(value, path, "prefix");
    match (claim.is_empty(), prefix) {
        (true, None) => None,
        (true, Some(_)) => {
            errors.add(&format!("{path}.prefix"), "prefix can't be set when claim is not");
            None
        }
        (false, None) => {
            let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            errors.add(&format!("{path}.prefix"), why);
            None
        }
        (false, Some(prefix)) => Some(Mapping { claim, prefix }),
    }
}

fn uid(value: &Value, path: &str, errors: &mut Errors) -> Option<String> {
    errors.known(value, path, &["claim", "expression"]);
    errors.no_expressions(value, path, &["expression"]);
    errors.perhaps(value, path, "claim").filter(|claim| !claim.is_empty())
}

fn required(rules: &Value, path: &str, errors: &mut Errors) -> BTreeMap<String, String> {
    let mut required = BTreeMap::new();
    for (index, rule) in rules.as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}[{index}]");
        errors.known(rule, &at, &["claim", "requiredValue", "expression", "message"]);
        errors.no_expressions(rule, &at, &["expression"]);
        let claim = errors.perhaps(rule, &at, "claim").unwrap_or_default();
        if claim.is_empty() {
            errors.add(&at, "claim or expression is required");
        } else if !rule["message"].is_null() && rule["message"] != "" {
            errors.add(&format!("{at}.message"), "message can't be set when claim is set");
        }
        let value = errors.perhaps(rule, &at, "requiredValue").unwrap_or_default();
        if required.insert(claim.clone(), value).is_some() {
            errors.add(&format!("{at}.claim"), &format!("Duplicate value: {claim:?}"));
        }
    }
    required
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(jwt: Value) -> Value {
        json!({"apiVersion": VERSIONS[0], "kind": "AuthenticationConfiguration", "jwt": [jwt]})
    }

    fn sound() -> Value {
        json!({
            "issuer": {"url": "https://i", "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny", "certificateAuthority": "pem"},
            "claimValidationRules": [{"claim": "hd", "requiredValue": "x"}],
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "g", "prefix": "p:"}, "uid": {"claim": "o"}},
        })
    }

    #[test]
    fn a_sound_file_is_read() {
        let mut whole = file(sound());
        whole["anonymous"] = json!({"enabled": true, "conditions": [{"path": "/livez"}]});
        let read = parse(&whole).unwrap();
        let issuer = &read.issuers[0];
        assert_eq!((issuer.url.as_str(), &issuer.audiences[..]), ("https://i", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(issuer.groups.as_ref().unwrap().prefix, "p:");
        assert_eq!(issuer.required["hd"], "x");
        let anonymous = read.anonymous.unwrap();
        assert!(anonymous.allows("/livez") && !anonymous.allows("/livez/ping") && !anonymous.allows("/api"));
        assert!(Anonymous::default().allows("/api"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pointer, value, why) in [
            ("/issuer/url", json!("http://i"), "jwt[0].issuer.url: URL scheme must be https"),
            ("/issuer/url", json!("https://u:p@i"), "jwt[0].issuer.url: URL must not contain a username"),
            ("/issuer/url", json!(""), "jwt[0].issuer.url: Required value"),
            ("/issuer/discoveryURL", json!("https://i/"), "jwt[0].issuer.discoveryURL: discoveryURL must be different"),
            ("/issuer/audiences", json!([]), "jwt[0].issuer.audiences: Required"),
            ("/issuer/audienceMatchPolicy", json!(""), "jwt[0].issuer.audienceMatchPolicy: must be MatchAny"),
            ("/issuer/egressSelectorType", json!("cluster"), "jwt[0].issuer.egressSelectorType: there are no"),
            ("/issuer/color", json!(1), "jwt[0].issuer.color: unknown field"),
            (
                "/claimMappings/username",
                json!({"claim": "sub"}),
                "jwt[0].claimMappings.username.prefix: prefix is required",
            ),
            ("/claimMappings/username", json!({}), "jwt[0].claimMappings.username: claim or expression is required"),
            (
                "/claimMappings/username",
                json!({"expression": "claims.sub"}),
                "jwt[0].claimMappings.username.expression: expressions",
            ),
            ("/claimMappings/extra", json!([{"key": "a"}]), "jwt[0].claimMappings.extra: expressions"),
            ("/claimValidationRules", json!([{}]), "jwt[0].claimValidationRules[0]: claim or expression"),
            ("/userValidationRules", json!([{"expression": "true"}]), "jwt[0].userValidationRules: expressions"),
        ] {
            let mut jwt = sound();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            jwt.pointer_mut(parent).unwrap()[field] = value;
            let errors = parse(&file(jwt)).unwrap_err();
            assert!(errors.iter().any(|error| error.starts_with(why)), "{pointer}: {errors:?}");
        }
        let mut twice = file(sound());
        twice["jwt"] = json!([sound(), sound()]);
        assert!(parse(&twice).unwrap_err()[0].contains("Duplicate value"));
        assert!(parse(&json!({"kind": "Pod"})).is_err());
        let closed = json!({"apiVersion": VERSIONS[0], "kind": "AuthenticationConfiguration", "anonymous": {"enabled": false, "conditions": [{"path": "/x"}]}});
        assert!(parse(&closed).unwrap_err()[0].starts_with("anonymous.conditions"));
    }
}
