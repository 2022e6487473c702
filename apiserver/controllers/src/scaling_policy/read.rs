//! What a policy says, as it is meant.

use crate::cron_job::schedule::Schedule;
use crate::horizontal_autoscaler::metric::{Metric, Source};
use jiff::SignedDuration;
use serde_json::Value;
use skiff_proto::quantity::Quantity;

/// How long after a step none is taken, unless a policy says otherwise.
const COOLDOWN_SECONDS: i64 = 60;

/// A whole policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) bounds: Bounds,
    pub(super) schedules: Vec<Scheduled>,
    pub(super) steps: Vec<Steps>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: i32,
    pub(super) max: i32,
}

/// Bounds from a time on, until that of another one.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) name: String,
    pub(super) schedule: Schedule,
    pub(super) bounds: Bounds,
}

/// What follows from one metric.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) source: Source,
    /// Whether figures are per cent of what pods ask for.
    pub(super) is_utilization: bool,
    pub(super) cooldown: SignedDuration,
    pub(super) adjustments: Vec<Adjustment>,
}

/// What is done while a figure is within a range; in thousandths, `from` belongs to it and `to` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adjustment {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) change: Change,
}

/// By how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add(i32),
    AddPercent(i32),
    Set(i32),
}

impl Policy {
    /// Reads one.
    ///
    /// # Errors
    /// A field cannot be; the sentence names it.
    pub(super) fn read(spec: &Value) -> Result<Self, String> {
        let min = number(&spec["minReplicas"], "spec.minReplicas")?.unwrap_or(1);
        let max = number(&spec["maxReplicas"], "spec.maxReplicas")?.ok_or("spec.maxReplicas: it is required")?;
        let bounds = checked(Bounds { min, max }, "spec")?;
        let each = |field: &str| spec[field].as_array().cloned().unwrap_or_default().into_iter().enumerate();
        let schedules = each("schedules").map(|(at, one)| scheduled(&one, bounds, &format!("spec.schedules[{at}]")));
        let steps = each("steps").map(|(at, one)| steps(&one, &format!("spec.steps[{at}]")));
        Ok(Self { bounds, schedules: schedules.collect::<Result<_, _>>()?, steps: steps.collect::<Result<_, _>>()? })
    }
}

fn checked(bounds: Bounds, at: &str) -> Result<Bounds, String> {
    match bounds {
        Bounds { min, .. } if min < 0 => Err(format!("{at}.minReplicas: {min} is less than 0")),
        Bounds { min, max } if max < min => Err(format!("{at}.maxReplicas: {max} is less than minReplicas, {min}")),
        bounds => Ok(bounds),
    }
}

fn number(value: &Value, at: &str) -> Result<Option<i32>, String> {
    match value {
        Value::Null => Ok(None),
        value => {
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("{at}: {value} is no number of replicas"))
        }
    }
}

fn scheduled(one: &Value, usual: Bounds, at: &str) -> Result<Scheduled, String> {
    let named = |field: &str| one[field].as_str();
    let text = named("schedule").ok_or_else(|| format!("{at}.schedule: it is required"))?;
    let zone = Some(named("timeZone").unwrap_or("UTC"));
    let schedule = Schedule::parse(text, zone).map_err(|why| format!("{at}.schedule: {why}"))?;
    let min = number(&one["minReplicas"], &format!("{at}.minReplicas"))?;
    let max = number(&one["maxReplicas"], &format!("{at}.maxReplicas"))?;
    // One that is given moves the other out of its way: `maxReplicas: 0` alone means none.
    let bounds = match (min, max) {
        (Some(min), Some(max)) => Bounds { min, max },
        (Some(min), None) => Bounds { min, max: usual.max.max(min) },
        (None, Some(max)) => Bounds { min: usual.min.min(max), max },
        (None, None) => usual,
    };
    Ok(Scheduled { name: named("name").unwrap_or(text).to_owned(), schedule, bounds: checked(bounds, at)? })
}

fn steps(one: &Value, at: &str) -> Result<Steps, String> {
    let metric = Metric::read(&one["metric"]).ok_or_else(|| format!("{at}.metric.type: there is no such type"))?;
    let is_resource = matches!(metric.source, Source::Resource { .. });
    let is_utilization = match one["measure"].as_str() {
        None => is_resource,
        Some("Utilization") if is_resource => true,
        Some("Utilization") => return Err(format!("{at}.measure: only resources have a utilization")),
        Some("AverageValue" | "Value") => false,
        Some(other) => return Err(format!("{at}.measure: {other}: want Utilization, AverageValue or Value")),
    };
    let cooldown = one["cooldownSeconds"].as_i64().unwrap_or(COOLDOWN_SECONDS);
    let all = one["adjustments"].as_array().cloned().unwrap_or_default();
    let all = all.iter().enumerate().map(|(number, one)| adjustment(one, &format!("{at}.adjustments[{number}]")));
    Ok(Steps {
        source: metric.source,
        is_utilization,
        cooldown: SignedDuration::from_secs(cooldown.max(0)),
        adjustments: all.collect::<Result<_, _>>()?,
    })
}

fn adjustment(one: &Value, at: &str) -> Result<Adjustment, String> {
    let (from, to) = (figure(&one["from"], &format!("{at}.from"))?, figure(&one["to"], &format!("{at}.to"))?);
    if from.zip(to).is_some_and(|(from, to)| to <= from) {
        return Err(format!("{at}.to: it is not above from"));
    }
    let of = |field: &str| number(&one[field], &format!("{at}.{field}"));
    let change = match (of("add")?, of("addPercent")?, of("set")?) {
        (Some(add), None, None) => Change::Add(add),
        (None, Some(percent), None) => Change::AddPercent(percent),
        (None, None, Some(set)) => Change::Set(set),
        _ => return Err(format!("{at}: want one of add, addPercent and set")),
    };
    Ok(Adjustment { from, to, change })
}

/// A figure in thousandths: a number, or a quantity.
fn figure(value: &Value, at: &str) -> Result<Option<i64>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let milli = Quantity::parse(&text).map(|quantity| i64::try_from(quantity.millis()).unwrap_or(i64::MAX));
    milli.map(Some).map_err(|_| format!("{at}: {text} is no quantity"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_is_named() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu"}});
        let with = |steps: Value| json!({"maxReplicas": 2, "steps": [steps]});
        for (spec, wanted) in [
            (json!({}), "spec.maxReplicas: it is required"),
            (json!({"minReplicas": 3, "maxReplicas": 2}), "spec.maxReplicas: 2 is less than minReplicas, 3"),
            (
                json!({"maxReplicas": 2, "schedules": [{"schedule": "x"}]}),
                "spec.schedules[0].schedule: expected exactly 5 fields, found 1: [x]",
            ),
            (
                json!({"maxReplicas": 2, "schedules": [{"schedule": "@daily", "timeZone": "No/Where"}]}),
                "spec.schedules[0].schedule: unknown time zone No/Where",
            ),
            (
                json!({"maxReplicas": 2, "schedules": [{"schedule": "@daily", "minReplicas": -1}]}),
                "spec.schedules[0].minReplicas: -1 is less than 0",
            ),
            (with(json!({"metric": {"type": "No"}})), "spec.steps[0].metric.type: there is no such type"),
            (
                with(json!({"metric": cpu, "adjustments": [{"add": 1, "set": 2}]})),
                "spec.steps[0].adjustments[0]: want one of add, addPercent and set",
            ),
            (
                with(json!({"metric": cpu, "adjustments": [{"from": 5, "to": "5", "add": 1}]})),
                "spec.steps[0].adjustments[0].to: it is not above from",
            ),
        ] {
            assert_eq!(Policy::read(&spec).err().as_deref(), Some(wanted), "{spec}");
        }
    }

    #[test]
    fn a_bound_that_is_given_moves_the_other() {
        let of = |one: Value| {
            let spec = json!({"minReplicas": 2, "maxReplicas": 4, "schedules": [one]});
            let bounds = Policy::read(&spec).unwrap().schedules[0].bounds;
            (bounds.min, bounds.max)
        };
        assert_eq!(of(json!({"schedule": "@daily", "maxReplicas": 0})), (0, 0));
        assert_eq!(of(json!({"schedule": "@daily", "minReplicas": 6})), (6, 6));
        assert_eq!(of(json!({"schedule": "@daily"})), (2, 4));
    }
}
