//! PriorityLevelConfiguration: how many requests of a level are served at once, and what becomes of the others.

use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::view::{default, default_number, present_mut, text};
use serde_json::Value;

const GVK: [&str; 3] = ["flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    subresources: &[status(GVK)],
    rules: Rules {
        defaults,
        validate,
        printer: &PRINTER,
        generation: true,
        create_on_update: true,
        unconditional_update: false,
        status_keeps: crate::kinds::METADATA,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        GVK,
        ["prioritylevelconfigurations", "prioritylevelconfiguration"],
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    )
};

fn defaults(it: &mut Value) {
    let Some(spec) = present_mut(it, "spec") else { return };
    for (kind, shares) in [("exempt", 0), ("limited", 30)] {
        if let Some(level) = present_mut(spec, kind) {
            default(level, "nominalConcurrencyShares", shares);
            default(level, "lendablePercent", 0);
        }
    }
    let response = present_mut(spec, "limited").and_then(|limited| present_mut(limited, "limitResponse"));
    if let Some(queuing) = response.and_then(|response| present_mut(response, "queuing")) {
        for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            default_number(queuing, field, value);
        }
    }
}

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type", "Exempt, or Limited."),
        Column::text("NominalConcurrencyShares", "Its share of what is served at once."),
        Column::text("Queues", "Number of queues."),
        Column::text("HandSize", "Queues that a flow may use."),
        Column::text("QueueLengthLimit", "Most requests in a queue."),
        AGE,
    ],
    cells: |it, now| {
        let limited = &it["spec"]["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let of = |holder: &Value, field: &str| match holder.is_null() {
            true => Value::from("<none>"),
            false => number(&holder[field]).into(),
        };
        vec![
            name(it),
            text(&it["spec"], "type").into(),
            of(limited, "nominalConcurrencyShares"),
            of(queuing, "queues"),
            of(queuing, "handSize"),
            of(queuing, "queueLengthLimit"),
            age(it, now),
        ]
    },
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if change.part != "status" {
        spec(change.new, errors);
    }
    super::conditions(&change.new["status"], errors);
}

fn spec(level: &Value, errors: &mut Errors) {
    let (spec, path) = (&level["spec"], Path::Root.field("spec"));
    let kind = text(spec, "type");
    if (text(&level["metadata"], "name") == "exempt") != (kind == "Exempt") {
        errors.invalid(&path.field("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                errors.forbidden(&path.field("limited"), "must be nil if the type is not Limited");
            }
            shares(exempt, &path.field("exempt"), errors);
        }
        "Limited" => {
            if !exempt.is_null() {
                errors.forbidden(&path.field("exempt"), "must be nil if the type is Limited");
            }
            if limited.is_null() {
                errors.required(&path.field("limited"), "must not be empty when type is Limited");
            } else {
                self::limited(limited, &path.field("limited"), errors);
            }
        }
        other => errors.exactly_one_of(&path.field("type"), other, &["Exempt", "Limited"]),
    }
}

fn shares(level: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(shares) = level["nominalConcurrencyShares"].as_i64().filter(|shares| *shares < 0) {
        errors.invalid(&path.field("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    errors.in_range(&path.field("lendablePercent"), &level["lendablePercent"], (0, 100));
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut Errors) {
    shares(limited, path, errors);
    if let Some(percent) = limited["borrowingLimitPercent"].as_i64().filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&path.field("borrowingLimitPercent"), percent, detail);
    }
    let (response, path) = (&limited["limitResponse"], path.field("limitResponse"));
    let (queuing, at) = (&response["queuing"], path.field("queuing"));
    match (text(response, "type"), queuing.is_null()) {
        ("Reject", false) => errors.forbidden(&at, "must be nil if limited.limitResponse.type is not Limited"),
        ("Queue", true) => errors.required(&at, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", false) => self::queuing(queuing, &at, errors),
        (kind, _) => errors.exactly_one_of(&path.field("type"), kind, &["Queue", "Reject"]),
    }
}

/// Most queues of a level.
const QUEUES_MOST: i64 = 10_000_000;
/// Bits of the hash that deals queues to flows.
const HASH_BITS: i64 = 60;

fn queuing(queuing: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of = |field: &str| number(&queuing[field]);
    let (queues, hand) = (of("queues"), of("handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if of(field) <= 0 {
            errors.invalid(&path.field(field), of(field), "must be positive");
        }
    }
    if queues > QUEUES_MOST {
        errors.invalid(&path.field("queues"), queues, format!("must not be greater than {QUEUES_MOST}"));
    }
    if hand > queues {
        errors.invalid(&path.field("handSize"), hand, format!("should not be greater than queues ({queues})"));
    } else if hand > 0 && entropy(queues, hand) > HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.invalid(&path.field("handSize"), hand, detail);
    }
}

/// Bits that it takes to choose `hand` of `queues`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "both are small and positive")]
fn entropy(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::super::flow_schema;
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    #[test]
    fn levels_are_limited_but_for_one() {
        let level = |name: &str, spec: Value| errors(&super::ROW, &json!({"metadata": {"name": name}, "spec": spec}));
        let queue = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
        assert_eq!(level("exempt", json!({"type": "Exempt"})), [""; 0]);
        assert_eq!(level("a", queue(json!({}))), [""; 0]);
        assert_eq!(level("a", json!({"type": "Exempt"})), ["spec.type: Invalid"]);
        assert_eq!(level("a", json!({"type": "Limited"})), ["spec.limited: Required"]);
        assert_eq!(level("a", queue(Value::Null)), ["spec.limited.limitResponse.queuing: Required"]);
        let hand = ["spec.limited.limitResponse.queuing.handSize: Invalid"];
        assert_eq!(level("a", queue(json!({"queues": 4}))), hand);
        assert_eq!(level("a", queue(json!({"queues": 1024, "handSize": 7}))), hand);
    }

    #[test]
    fn schemas_name_subjects_and_what_they_do() {
        let schema = |rule: Value| {
            json!({"metadata": {"name": "a"},
                "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}})
        };
        let of = |rule: Value| errors(&flow_schema::ROW, &schema(rule));
        let user = json!({"kind": "User", "user": {"name": "u"}});
        let urls =
            |url: &str| json!({"subjects": [user], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": [url]}]});
        assert_eq!(of(urls("/healthz/*")), [""; 0]);
        assert_eq!(of(urls("/a*")), ["spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid"]);
        assert_eq!(of(json!({"subjects": [user]})), ["spec.rules[0]: Required"]);
        let nobody =
            json!({"subjects": [{"kind": "User"}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
        assert_eq!(of(nobody), ["spec.rules[0].subjects[0].user: Required"]);
    }
}
