//! The file that `--authentication-config` names (`apiserver.config.k8s.io` AuthenticationConfiguration).

use super::expression::About;
use super::{Expression, Issuer, Mapping, Rule, Source};
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
        if !value.is_null() && !value.is_object() {
            self.add(path, "must be an object");
        }
        let given = value.as_object().into_iter().flatten();
        for (field, _) in given.filter(|(field, _)| !fields.contains(&field.as_str())) {
            self.add(&format!("{path}.{field}"), "unknown field");
        }
    }

    /// A list that may be.
    fn list<'a>(&mut self, value: &'a Value, path: &str) -> &'a [Value] {
        if !value.is_null() && !value.is_array() {
            self.add(path, "must be a list");
        }
        value.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn invalid(&mut self, path: &str, value: &str, why: &str) {
        self.add(path, &format!("Invalid value: {value:?}: {why}"));
    }

    fn duplicate(&mut self, path: &str, value: &str) {
        self.add(path, &format!("Duplicate value: {value:?}"));
    }

    /// An expression, if it compiles.
    fn compiled(&mut self, text: &str, path: &str, about: About, decides: bool) -> Option<Expression> {
        Expression::compile(text, about, decides).map_err(|why| self.invalid(path, text, &why)).ok()
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
    let given = errors.list(&file["jwt"], "jwt");
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
    if !value["enabled"].is_null() && !value["enabled"].is_boolean() {
        errors.add("anonymous.enabled", "must be true or false");
    }
    let conditions = errors.list(&value["conditions"], "anonymous.conditions");
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
    if !url.is_empty() {
        check_url(&url, &format!("{at}.url"), errors);
    }
    if !of["egressSelectorType"].is_null() && of["egressSelectorType"] != "" {
        errors.add(&format!("{at}.egressSelectorType"), "egress selectors are not implemented");
    }
    let mappings = &value["claimMappings"];
    let (required, claim_rules) =
        claim_rules(&value["claimValidationRules"], &format!("{path}.claimValidationRules"), errors);
    let at_mappings = format!("{path}.claimMappings");
    errors.known(mappings, &at_mappings, &["username", "groups", "uid", "extra"]);
    let username = mapping(&mappings["username"], &format!("{at_mappings}.username"), true, errors);
    if username.is_none() && mappings["username"].as_object().is_none_or(serde_json::Map::is_empty) {
        errors.add(&format!("{at_mappings}.username"), "Required value: claim or expression is required");
    }
    let issuer = Issuer {
        discovery_url: discovery_url(of, &url, &at, errors),
        authority: errors.perhaps(of, &at, "certificateAuthority").filter(|text| !text.is_empty()),
        audiences: audiences(of, &at, errors),
        algorithms: Vec::new(),
        required,
        username: username.unwrap_or_default(),
        groups: mapping(&mappings["groups"], &format!("{at_mappings}.groups"), true, errors),
        uid: mapping(&mappings["uid"], &format!("{at_mappings}.uid"), false, errors),
        extra: extra(&mappings["extra"], &format!("{at_mappings}.extra"), errors),
        claim_rules,
        user_rules: user_rules(&value["userValidationRules"], &format!("{path}.userValidationRules"), errors),
        url,
    };
    check_email(&issuer, &format!("{at_mappings}.username.expression"), errors);
    issuer
}

/// An address that nobody has verified is anybody's: an expression that takes it must look at that too.
fn check_email(issuer: &Issuer, path: &str, errors: &mut Errors) {
    let Source::Expression(username) = &issuer.username else { return };
    let rules = issuer.claim_rules.iter().map(|rule| &rule.expression);
    let mut all = [username].into_iter().chain(issuer.extra.iter().map(|(_, of)| of)).chain(rules);
    if username.takes("email") && !all.any(|one| one.takes("email_verified")) {
        let why = "claims.email_verified must be used in claimMappings.username.expression or \
                   claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used \
                   in claimMappings.username.expression";
        errors.invalid(path, username.as_str(), why);
    }
}

fn discovery_url(of: &Value, url: &str, at: &str, errors: &mut Errors) -> Option<String> {
    let discovery = errors.perhaps(of, at, "discoveryURL").filter(|url| !url.is_empty())?;
    let path = format!("{at}.discoveryURL");
    check_url(&discovery, &path, errors);
    if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
        errors.invalid(&path, &discovery, "discoveryURL must be different from URL");
    }
    Some(discovery)
}

fn check_url(url: &str, path: &str, errors: &mut Errors) {
    let Some(rest) = url.strip_prefix("https://") else {
        return errors.invalid(path, url, "URL scheme must be https");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    for (is_wrong, why) in [
        (host.is_empty(), "URL must have a host"),
        (host.contains('@'), "URL must not contain a username or password"),
        (rest.contains('?'), "URL must not contain a query"),
        (rest.contains('#'), "URL must not contain a fragment"),
    ] {
        if is_wrong {
            errors.invalid(path, url, why);
        }
    }
}

fn audiences(issuer: &Value, path: &str, errors: &mut Errors) -> Vec<String> {
    let at = format!("{path}.audiences");
    let mut texts: Vec<String> = Vec::new();
    for (index, one) in errors.list(&issuer["audiences"], &at).iter().enumerate() {
        let (one, at) = (one.as_str().unwrap_or_default(), format!("{at}[{index}]"));
        if one.is_empty() {
            errors.add(&at, "Required value");
        } else if texts.iter().any(|known| known == one) {
            errors.duplicate(&at, one);
        }
        texts.push(one.to_owned());
    }
    if texts.is_empty() {
        errors.add(&at, &format!("Required value: at least one {at} is required"));
    }
    let policy = issuer["audienceMatchPolicy"].as_str().unwrap_or_default();
    let at = format!("{path}.audienceMatchPolicy");
    match (texts.len(), policy) {
        (0 | 1, "") | (_, "MatchAny") => {}
        (0 | 1, _) => errors.invalid(&at, policy, "audienceMatchPolicy must be empty or MatchAny for single audience"),
        _ => errors.invalid(&at, policy, "audienceMatchPolicy must be MatchAny for multiple audiences"),
    }
    texts
}

/// A claim or an expression. A claim's prefix must be said, be it empty: nobody should get a name of another kind by accident.
fn mapping(value: &Value, path: &str, has_prefix: bool, errors: &mut Errors) -> Option<Source> {
    errors.known(value, path, if has_prefix { &["claim", "prefix", "expression"] } else { &["claim", "expression"] });
    let claim = errors.perhaps(value, path, "claim").filter(|claim| !claim.is_empty());
    let expression = errors.perhaps(value, path, "expression").filter(|expression| !expression.is_empty());
    let prefix = errors.perhaps(value, path, "prefix");
    match (claim, expression) {
        (Some(_), Some(_)) => {
            errors.invalid(path, "", "claim and expression can't both be set");
            None
        }
        (None, None) => {
            if prefix.is_some() {
                errors.add(path, "Required value: claim or expression is required");
            }
            None
        }
        (None, Some(text)) => {
            if let Some(prefix) = prefix {
                errors.invalid(&format!("{path}.prefix"), &prefix, "may not be specified when expression is set");
            }
            errors.compiled(&text, &format!("{path}.expression"), About::Claims, false).map(Source::Expression)
        }
        (Some(claim), None) => {
            if has_prefix && prefix.is_none() {
                let why = "Required value: prefix is required when claim is set. It can be set to an empty string to disable \
                           prefixing";
                errors.add(&format!("{path}.prefix"), why);
            }
            Some(Source::Claim(Mapping { claim, prefix: prefix.unwrap_or_default() }))
        }
    }
}

fn extra(value: &Value, path: &str, errors: &mut Errors) -> Vec<(String, Expression)> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, one) in errors.list(value, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        errors.known(one, &path, &["key", "valueExpression"]);
        let key = errors.text(one, &path, "key");
        if !key.is_empty() {
            check_key(&key, &format!("{path}.key"), errors);
        }
        if !seen.insert(key.clone()) {
            errors.duplicate(&format!("{path}.key"), &key);
        }
        let text = errors.text(one, &path, "valueExpression");
        if !text.is_empty()
            && let Some(expression) = errors.compiled(&text, &format!("{path}.valueExpression"), About::Claims, false)
        {
            all.push((key, expression));
        }
    }
    all
}

/// Keys of what else is known of a user belong to whoever says it: `example.org/foo`.
fn check_key(key: &str, path: &str, errors: &mut Errors) {
    let Some((domain, _)) = key.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty()) else {
        return errors.invalid(path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    if key.chars().any(char::is_uppercase) {
        errors.invalid(path, key, "must be lowercase");
    }
    let is_or_under = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    if is_or_under("k8s.io") || is_or_under("kubernetes.io") {
        errors.invalid(path, key, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
    }
}

/// Claims that must have a value, and what else tokens must fulfil.
fn claim_rules(rules: &Value, path: &str, errors: &mut Errors) -> (BTreeMap<String, String>, Vec<Rule>) {
    let (mut required, mut all, mut seen) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    for (index, rule) in errors.list(rules, path).iter().enumerate() {
        let at = format!("{path}[{index}]");
        errors.known(rule, &at, &["claim", "requiredValue", "expression", "message"]);
        let mut said = |field: &str| errors.perhaps(rule, &at, field).unwrap_or_default();
        let (claim, value, text, message) = (said("claim"), said("requiredValue"), said("expression"), said("message"));
        match (claim.is_empty(), text.is_empty()) {
            (true, true) => errors.add(&at, "Required value: claim or expression is required"),
            (false, false) => errors.invalid(&at, &claim, "claim and expression can't both be set"),
            (false, true) => {
                if !message.is_empty() {
                    errors.invalid(&format!("{at}.message"), &message, "may not be specified when claim is set");
                }
                if required.insert(claim.clone(), value).is_some() {
                    errors.duplicate(&format!("{at}.claim"), &claim);
                }
            }
            (true, false) => {
                if !value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.invalid(&format!("{at}.requiredValue"), &value, why);
                }
                all.extend(self::rule(text, message, &format!("{at}.expression"), About::Claims, &mut seen, errors));
            }
        }
    }
    (required, all)
}

fn user_rules(rules: &Value, path: &str, errors: &mut Errors) -> Vec<Rule> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, one) in errors.list(rules, path).iter().enumerate() {
        let at = format!("{path}[{index}]");
        errors.known(one, &at, &["expression", "message"]);
        let text = errors.text(one, &at, "expression");
        let message = errors.perhaps(one, &at, "message").unwrap_or_default();
        if !text.is_empty() {
            all.extend(rule(text, message, &format!("{at}.expression"), About::User, &mut seen, errors));
        }
    }
    all
}

fn rule(
    text: String,
    message: String,
    path: &str,
    about: About,
    seen: &mut BTreeSet<String>,
    errors: &mut Errors,
) -> Option<Rule> {
    let expression = errors.compiled(&text, path, about, true);
    if !seen.insert(text.clone()) {
        errors.duplicate(path, &text);
        return None;
    }
    Some(Rule { expression: expression?, message })
}

#[cfg(test)]
mod tests;
