//! What an autoscaler measures, as one cell: `cpu: 30%/80%, 7/10 + 1 more...`.

use crate::view::text;
use serde_json::Value;

/// How many are shown.
const SHOWN: usize = 2;

/// What is measured, and what it should be.
pub(super) fn cell(metrics: &[Value], current: &[Value]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<_> = metrics.iter().enumerate().map(|(at, metric)| one(metric, current.get(at))).collect();
    match all.len() {
        0..=SHOWN => all.join(", "),
        count => format!("{} + {} more...", all[..SHOWN].join(", "), count - SHOWN),
    }
}

fn one(metric: &Value, current: Option<&Value>) -> String {
    let field = match text(metric, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = &metric[field]["target"];
    let now = current.map(|current| &current[field]["current"]).unwrap_or(&Value::Null);
    let amount = |value: &Value| value.as_str().map(str::to_owned);
    let shown = |value: Option<String>, other: &str| value.unwrap_or_else(|| other.to_owned());
    let (average, unknown) = (amount(&target["averageValue"]), "<unknown>");
    if matches!(field, "resource" | "containerResource") {
        let percent = |value: &Value| value.as_i64().map(|value| format!("{value}%"));
        let (now, wanted) = match average {
            Some(average) => (shown(amount(&now["averageValue"]), unknown), average),
            None => (
                shown(percent(&now["averageUtilization"]), unknown),
                shown(percent(&target["averageUtilization"]), "<auto>"),
            ),
        };
        return format!("{}: {now}/{wanted}", text(&metric[field], "name"));
    }
    match average {
        Some(average) => {
            let suffix = if field == "pods" { "" } else { " (avg)" };
            format!("{}/{average}{suffix}", shown(amount(&now["averageValue"]), unknown))
        }
        None => format!("{}/{}", shown(amount(&now["value"]), unknown), shown(amount(&target["value"]), "<nil>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_are_shown_and_the_others_counted() {
        let cpu = super::super::cpu_utilization(80);
        let pods = json!({"type": "Pods", "pods": {"target": {"type": "AverageValue", "averageValue": "10"}}});
        let now = [json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30}}})];
        assert_eq!(cell(&[], &[]), "<none>");
        assert_eq!(cell(std::slice::from_ref(&cpu), &now), "cpu: 30%/80%");
        assert_eq!(cell(&[cpu.clone(), pods, cpu], &now), "cpu: 30%/80%, <unknown>/10 + 1 more...");
    }
}
