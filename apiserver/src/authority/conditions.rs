//! When an authorization webhook is asked at all (`matchConditions`): expressions over the review that it would be sent.

use serde_json::{Map, Value, json};
use skiff_cel::{Activation, CompileError, Declarations, MATCH_CONDITIONS_COST_MAX, Program, Type, compile};

/// Those of one webhook, compiled.
#[derive(Default)]
pub(super) struct Conditions(Vec<(String, Program)>);

/// What `spec` of a review has, which is `request` in expressions.
fn declarations() -> Declarations {
    let texts = || Type::list(Type::String);
    let requirement = [("key", Type::String), ("operator", Type::String), ("values", texts())];
    let of = "kubernetes.SelectorRequirement";
    let selector = [("rawSelector", Type::String), ("requirements", Type::list(Type::object(of)))];
    let fields = "kubernetes.SelectorAttributes";
    let mut resource: Vec<(&str, Type)> = ["namespace", "verb", "group", "version", "resource", "subresource", "name"]
        .map(|name| (name, Type::String))
        .into();
    resource.extend([("fieldSelector", Type::object(fields)), ("labelSelector", Type::object(fields))]);
    let request = [
        ("resourceAttributes", Type::object("kubernetes.ResourceAttributes")),
        ("nonResourceAttributes", Type::object("kubernetes.NonResourceAttributes")),
        ("user", Type::String),
        ("groups", texts()),
        ("extra", Type::map(Type::String, texts())),
        ("uid", Type::String),
    ];
    Declarations::new()
        .object(of, &requirement)
        .object(fields, &selector)
        .object("kubernetes.ResourceAttributes", &resource)
        .object("kubernetes.NonResourceAttributes", &[("path", Type::String), ("verb", Type::String)])
        .object("kubernetes.SubjectAccessReviewSpec", &request)
        .variable("request", Type::object("kubernetes.SubjectAccessReviewSpec"))
}

impl Conditions {
    /// Compiles them.
    ///
    /// # Errors
    /// One is no expression, or decides nothing: which, and why.
    pub(super) fn compile(texts: &[String]) -> Result<Self, String> {
        let compiled = texts.iter().enumerate().map(|(index, text)| {
            let at = |why: String| format!("matchConditions[{index}].expression: Invalid value: {text:?}: {why}");
            let program = compile(&declarations(), text).map_err(|error| match error {
                CompileError::Invalid { shown, .. } => at(format!("compilation failed: {shown}")),
                CompileError::Constant { fault, .. } => at(format!("program instantiation failed: {fault}")),
            })?;
            match program.output() {
                Type::Bool => Ok((text.clone(), program)),
                _ => Err(at("must evaluate to bool".to_owned())),
            }
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the webhook is asked about the review with this `spec`. One that is false decides, whatever others come to.
    ///
    /// # Errors
    /// Some cannot be decided, and none is false: why.
    pub(super) fn hold(&self, spec: &Value) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let request = filled(spec);
        let mut failed = Vec::new();
        for (text, program) in &self.0 {
            let activation = Activation::new().with("request", skiff_cel::Value::json(&request));
            match program.evaluate(&activation, MATCH_CONDITIONS_COST_MAX).result {
                Ok(skiff_cel::Value::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(fault) => {
                    failed.push(format!("cel evaluation error: expression '{text}' resulted in error: {fault}"))
                }
            }
        }
        match &failed[..] {
            [] => Ok(true),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }
}

/// The review, in which everything is there that is not said too.
fn filled(spec: &Value) -> Value {
    let mut request = json!({"user": "", "groups": [], "uid": "", "extra": {}});
    let said = spec.as_object().cloned().unwrap_or_default();
    for (name, value) in said {
        request[name.as_str()] = match name.as_str() {
            "resourceAttributes" => {
                let empty = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
                let mut all: Map<String, Value> = empty.into_iter().map(|name| (name.to_owned(), "".into())).collect();
                all.extend(value.as_object().cloned().unwrap_or_default());
                all.into()
            }
            _ => value,
        };
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(texts: &[&str]) -> Result<bool, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let spec = json!({"user": "u", "groups": ["g"], "resourceAttributes": {"verb": "get", "resource": "pods"}});
        Conditions::compile(&texts)?.hold(&spec)
    }

    #[test]
    fn a_webhook_is_asked_if_all_hold() {
        for (texts, expected) in [
            (&[][..], true),
            (&["request.user == 'u'", "'g' in request.groups"], true),
            (&["has(request.resourceAttributes)", "request.resourceAttributes.namespace == ''"], true),
            (&["has(request.nonResourceAttributes)"], false),
            (&["request.extra['x'][0] == 'y'", "request.user == 'other'"], false),
        ] {
            assert_eq!(hold(texts), Ok(expected), "{texts:?}");
        }
        let failed = hold(&["request.extra['x'][0] == 'y'", "request.user == 'u'"]).expect_err("no such key");
        assert!(
            failed.starts_with("cel evaluation error: expression 'request.extra['x'][0] == 'y'' resulted in error"),
            "{failed}"
        );
    }

    #[test]
    fn what_decides_nothing_is_refused() {
        for wrong in ["request.user", "request.nothing == 1", "1 +"] {
            let why = hold(&[wrong]).expect_err("refused");
            assert!(why.starts_with(&format!("matchConditions[0].expression: Invalid value: {wrong:?}: ")), "{why}");
        }
    }
}
