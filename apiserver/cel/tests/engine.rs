//! What recorded answers do not reach: authorizers, policies' variables, patches, expressions that run away.

use serde_json::{Value as Json, json};
use skiff_cel::{
    Activation, Authorizer, CALL_COST_MAX, Check, Decision, Declarations, Fault, Question, Shape, Type, Value, compile,
};
use std::sync::Arc;

/// Allows who asks about what is named `yes`, and fails on `broken`.
struct ByName;

impl Authorizer for ByName {
    fn decide(&self, question: &Question) -> Decision {
        let broken = question.name == "broken";
        let allowed = question.name == "yes" || question.path.as_deref() == Some("/healthz");
        let who = question.service_account.as_ref().map_or("user".to_owned(), |(ns, name)| format!("{ns}/{name}"));
        let reason =
            format!("{who} {} {}/{} in {}", question.verb, question.resource, question.subresource, question.namespace);
        Decision { allowed, reason, error: broken.then(|| "it is broken".to_owned()) }
    }
}

/// The value of an expression, or its error, and the cost.
fn run(declarations: &Declarations, activation: &Activation<'_>, text: &str) -> (String, u64) {
    let program = match compile(declarations, text) {
        Ok(program) => Box::leak(Box::new(program)),
        Err(error) => return (error.to_string(), 0),
    };
    // An activation lives as long as what its expressions give; a test may leak both.
    let activation: &Activation<'_> = activation;
    let run = program.evaluate(activation, CALL_COST_MAX);
    let shown = match run.result {
        Ok(value) => value.to_json().unwrap_or_else(|| json!(value.to_string())).to_string(),
        Err(fault) => format!("error: {fault}"),
    };
    (shown, run.cost)
}

#[test]
fn the_authorizer_is_asked_what_the_expression_says() {
    let declarations = Declarations::new().variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    let authorizer = Value::Check(Arc::new(Check::authorizer(Arc::new(ByName))));
    let activation = Activation::new().with("authorizer", authorizer);
    let cases = [
        ("authorizer.path('/healthz').check('get').allowed()", "true", 350_003),
        (
            "authorizer.group('').resource('pods').subresource('log').namespace('n').name('yes').check('get').reason()",
            "\"user get pods/log in n\"",
            350_007,
        ),
        (
            "authorizer.serviceAccount('ns', 'me').group('').resource('pods').name('no').check('list').allowed()",
            "false",
            350_006,
        ),
        ("authorizer.group('').resource('pods').name('broken').check('list').errored()", "true", 350_005),
        ("authorizer.group('').resource('pods').name('broken').check('list').error()", "\"it is broken\"", 350_005),
        ("authorizer.group('').resource('')", "error: resource must not be empty", 3),
        ("authorizer.path(' ')", "error: path must not be empty", 2),
        ("authorizer.serviceAccount('ns', 'Not A Name')", "error: Invalid service account name", 2),
    ];
    for (text, value, cost) in cases {
        assert_eq!(run(&declarations, &activation, text), (value.to_owned(), cost), "{text}");
    }
    let thrice = "[1, 2, 3].all(x, authorizer.path('/healthz').check('get').allowed())";
    assert_eq!(run(&declarations, &activation, thrice).0, "error: operation cancelled: actual cost limit exceeded");
}

#[test]
fn variables_of_a_policy_are_evaluated_once_and_when_they_are_asked_for() {
    let declarations = Declarations::new()
        .variable("object", Type::Dyn)
        .object("kubernetes.variables", &[("sum", Type::Dyn), ("twice", Type::Dyn), ("bad", Type::Dyn)])
        .variable("variables", Type::object("kubernetes.variables"));
    let sum = compile(&declarations, "object.a + object.b").expect("the first variable");
    let twice = compile(&declarations, "variables.sum + variables.sum").expect("the second variable");
    let bad = compile(&declarations, "object.nope").expect("the third variable");
    let rule = compile(&declarations, "variables.twice == 6 && variables.sum == 3").expect("the rule");
    let wrong = compile(&declarations, "variables.bad").expect("the rule that fails");
    let object: Json = json!({"a": 1, "b": 2});
    let variables = [("sum", Ok(&sum)), ("twice", Ok(&twice)), ("bad", Ok(&bad))];
    let activation = Activation::new().with("object", Value::json(&object)).with_variables(variables, CALL_COST_MAX);
    assert_eq!(activation.take_spent(), 0);
    assert_eq!(rule.evaluate(&activation, CALL_COST_MAX).result.map(|value| value.as_bool()), Ok(Some(true)));
    assert_eq!(activation.take_spent(), 5 + 5, "each once");
    let failed = wrong.evaluate(&activation, CALL_COST_MAX).result.map(|value| value.to_string());
    let why = "composited variable \"bad\" fails to evaluate: no such key: nope";
    assert_eq!(failed, Err(Fault::Error(why.into())));
}

#[test]
fn patches_are_made_of_objects_without_a_schema() {
    let declarations = Declarations::new().variable("object", Type::Dyn).patches();
    let object: Json = json!({"spec": {"replicas": 2}});
    let activation = Activation::new().with("object", Value::json(&object));
    let cases = [
        (
            "Object{spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none()}}",
            r#"{"spec":{"replicas":3}}"#,
        ),
        (
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: {'x': 1}}]",
            r#"[{"op":"add","path":"/metadata/labels/a~1b~0c","value":{"x":1}}]"#,
        ),
    ];
    for (text, value) in cases {
        assert_eq!(run(&declarations, &activation, text).0, value, "{text}");
    }
    let refused = run(&declarations, &activation, "JSONPatch{op: 1}").0;
    assert!(refused.contains("expected type of field 'op' is 'string' but provided type is 'int'"), "{refused}");
    let plain = Declarations::new();
    assert!(run(&plain, &Activation::new(), "Object{}").0.contains("undeclared reference to 'Object'"));
}

#[test]
fn runaway_expressions_stop_at_the_limit() {
    let declarations = Declarations::new().variable("object", Type::Dyn);
    let object: Json = json!({"l": (0..1000).collect::<Vec<_>>()});
    for text in [
        "object.l.all(a, object.l.all(b, object.l.all(c, a + b + c >= 0)))",
        "object.l.map(a, object.l.map(b, a * b)).size() > 0",
        "lists.range(1000000).map(x, [x, x]).size() > 0",
        "object.l.transformMapEntry(i, v, {i: object.l.map(x, x)}).size() > 0",
    ] {
        let program = compile(&declarations, text).expect("it compiles");
        let activation = Activation::new().with("object", Value::json(&object));
        let run = program.evaluate(&activation, CALL_COST_MAX);
        assert!(matches!(run.result, Err(Fault::CostExceeded)), "{text}");
        assert!(run.cost > CALL_COST_MAX && run.cost < CALL_COST_MAX + 1_100_000, "{text}: {}", run.cost);
    }
}

#[test]
fn an_old_value_may_be_missing() {
    let shape = Arc::new(Shape::of(&json!({"type": "object", "properties": {"n": {"type": "integer"}}}), false));
    let declarations =
        Declarations::new().schema("self", "selfType", &shape).optional_schema("oldSelf", "selfType", &shape);
    let rule = compile(&declarations, "!oldSelf.hasValue() || oldSelf.value().n <= self.n").expect("the rule");
    assert!(rule.uses("oldSelf"));
    let (old, new): (Json, Json) = (json!({"n": 3}), json!({"n": 2}));
    let now = || Value::shaped(&new, &shape).expect("it fits");
    let made = Activation::new().with("self", now()).with("oldSelf", Value::Optional(None));
    assert_eq!(rule.evaluate(&made, CALL_COST_MAX).result.map(|value| value.as_bool()), Ok(Some(true)));
    let before = Value::shaped(&old, &shape).expect("it fits");
    let changed = Activation::new().with("self", now()).with("oldSelf", Value::Optional(Some(Arc::new(before))));
    assert_eq!(rule.evaluate(&changed, CALL_COST_MAX).result.map(|value| value.as_bool()), Ok(Some(false)));
}
