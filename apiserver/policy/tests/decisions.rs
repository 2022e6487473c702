//! What policies say of requests, in the words and order of Kubernetes' admission plugins.

use serde_json::{Value, json};
use skiff_policy::{
    Annotation, Checker, Conditions, Decision, Mutating, Mutation, Scene, Validating, Verdict, type_problems,
};

static NULL: Value = Value::Null;

fn scene<'a>(object: &'a Value, params: &'a Value) -> Scene<'a> {
    Scene { object, old: &NULL, params, request: &NULL, namespace: &NULL, authorizer: None }
}

fn of(spec: &Value, object: &Value) -> Verdict {
    Validating::compile(&json!({"spec": spec})).evaluate(&scene(object, &NULL))
}

/// Decisions in short: `ok`, `reason: message`, or `error: message`.
fn said(spec: &Value, object: &Value) -> Vec<String> {
    let text = |decision: Decision| match decision {
        Decision::Admit => "ok".to_owned(),
        Decision::Deny { message, reason: Some(reason) } => format!("{reason}: {message}"),
        Decision::Deny { message, reason: None } => format!("error: {message}"),
    };
    of(spec, object).decisions.into_iter().map(text).collect()
}

#[test]
fn messages_are_the_first_that_can_be_shown() {
    let spec = json!({"validations": [
        {"expression": " object.a == 2 "},
        {"expression": "object.a == 2", "message": " told "},
        {"expression": "object.a == 2", "message": "told", "messageExpression": "'a is ' + string(object.a)"},
        {"expression": "object.a == 2", "message": "told", "messageExpression": "'two\nlines'"},
        {"expression": "object.a == 2", "message": "told", "messageExpression": "string(object.gone)"},
        {"expression": "object.a == 1", "reason": "Forbidden"},
        {"expression": "object.a == 2", "reason": "Forbidden"},
    ]});
    let wanted = [
        "Invalid: failed expression: object.a == 2",
        "Invalid: told",
        "Invalid: a is 1",
        "Invalid: told",
        "Invalid: told",
        "ok",
        "Forbidden: failed expression: object.a == 2",
    ];
    assert_eq!(said(&spec, &json!({"a": 1})), wanted);
}

#[test]
fn what_cannot_be_decided_is_as_the_failure_policy_says() {
    let mut spec = json!({"validations": [{"expression": "object.gone == 1"}, {"expression": "object.a == 2"}]});
    let object = json!({"a": 1});
    let error = "error: expression 'object.gone == 1' resulted in error: no such key: gone";
    assert_eq!(said(&spec, &object), [error, "Invalid: failed expression: object.a == 2"]);
    spec["failurePolicy"] = "Ignore".into();
    assert_eq!(said(&spec, &object), ["ok", "Invalid: failed expression: object.a == 2"]);
    spec["validations"][0]["expression"] = "object.".into();
    assert_eq!(said(&spec, &object)[0], "ok", "what another version compiled may not compile here");
}

#[test]
fn a_variable_is_evaluated_when_it_is_needed() {
    let spec = json!({
        "variables": [{"name": "one", "expression": "object.a"}, {"name": "two", "expression": "variables.one * 2"},
            {"name": "bad", "expression": "object.gone"}],
        "validations": [{"expression": "variables.two == 2 || variables.bad"}, {"expression": "variables.bad == 1"}]});
    let error = "error: expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: no such \
                 key: gone";
    assert_eq!(said(&spec, &json!({"a": 1})), ["ok", error]);
}

#[test]
fn one_false_condition_decides_whatever_the_others_come_to() {
    let object = json!({"a": 1});
    let hold = |conditions: &[&str], policy: &str| {
        let list: Vec<Value> = conditions.iter().map(|text| json!({"name": "x", "expression": text})).collect();
        let hook = json!({"matchConditions": list, "failurePolicy": policy});
        Conditions::of_webhook(&hook).hold(&scene(&object, &NULL))
    };
    assert_eq!(hold(&[], "Fail"), Ok(true));
    assert_eq!(hold(&["object.a == 1", "true"], "Fail"), Ok(true));
    assert_eq!(hold(&["object.gone == 1", "false"], "Fail"), Ok(false));
    assert_eq!(hold(&["object.gone == 1", "true"], "Ignore"), Ok(false));
    let why = "expression 'object.gone == 1' resulted in error: no such key: gone";
    assert_eq!(hold(&["object.gone == 1", "true"], "Fail"), Err(why.to_owned()));
    assert_eq!(
        hold(&["object.gone == 1", "1 / 0 == 1"], "Fail"),
        Err(format!("[{why}, expression '1 / 0 == 1' resulted in error: division by zero]"))
    );
}

#[test]
fn audit_annotations_are_published_left_out_or_wrong() {
    let spec = json!({"auditAnnotations": [
        {"key": "a", "valueExpression": "' x ' + string(object.a)"},
        {"key": "b", "valueExpression": "null"},
        {"key": "c", "valueExpression": "''"},
        {"key": "d", "valueExpression": "string(1 / 0)"}]});
    let error = "expression 'string(1 / 0)' resulted in error: division by zero".to_owned();
    let wanted = [Annotation::Publish("a".to_owned(), "x 1".to_owned()), Annotation::Error(error)];
    assert_eq!(of(&spec, &json!({"a": 1})).annotations, wanted);
}

#[test]
fn changes_are_configurations_and_operations() {
    let policy = json!({"spec": {"mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.spec{a: [1], b: {'c': object.x}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/a', value: Object.spec{b: 1}}, JSONPatch{op: 'move', from: '/a', path: '/b'}]"}},
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.wrong{a: 1}}"}}]}});
    let (policy, object) = (Mutating::compile(&policy), json!({"x": "y"}));
    let change = |index| policy.mutation(index, &scene(&object, &NULL));
    assert_eq!(change(0), Ok(Mutation::Apply(json!({"spec": {"a": [1], "b": {"c": "y"}}}))));
    let operations =
        vec![json!({"op": "add", "path": "/a", "value": {"b": 1}}), json!({"op": "move", "from": "/a", "path": "/b"})];
    assert_eq!(change(1), Ok(Mutation::Patch(operations)));
    let why = change(2).expect_err("its type is not that of its field");
    assert!(why.starts_with("type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\""), "{why}");
}

#[test]
fn expressions_are_refused_for_what_they_come_to() {
    let mut checker = Checker::new(false, true);
    assert_eq!(checker.variable("n", "1 + 1"), None);
    assert_eq!(checker.validation("variables.n == 2"), None);
    assert_eq!(checker.validation("1").as_deref(), Some("must evaluate to bool but got int"));
    assert_eq!(checker.annotation("1").as_deref(), Some("must evaluate to one of [string null_type] but got int"));
    assert!(checker.condition("variables.n == 2").is_some(), "conditions know no variables");
    assert!(checker.validation("params.x == 1").is_some(), "there are no parameters");
    assert!(checker.message("string(authorizer.path('/').check('get').allowed())").is_some());
    assert_eq!(checker.configuration("Object{}"), None);
    assert_eq!(checker.patches("[JSONPatch{op: 'remove', path: '/a'}]"), None);
}

#[test]
fn types_are_told_for_each_kind() {
    let policy = json!({"spec": {"variables": [{"name": "r", "expression": "object.spec.replicas"}],
        "validations": [{"expression": "object.spec.replicas > 1", "messageExpression": "object.spec.gone"},
            {"expression": "variables.r == 'x'"}]}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let problems = type_problems(&policy, &[("apps/v1, Kind=Deployment".to_owned(), schema)], None);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.validations[0].messageExpression", "spec.validations[1].expression"]);
    let wanted =
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'gone'\n | object.spec.gone\n | ...........^\n";
    assert_eq!(problems[0].warning, wanted);
}
