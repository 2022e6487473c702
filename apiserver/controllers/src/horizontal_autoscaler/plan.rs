//! What is to be done about one autoscaler, given what it scales and what was measured. Pure.

use super::count::{Scaled, Tolerance};
use super::limits::{Behavior, Memory, Wish};
use super::metric::{Failed, Found, Measured, Metric};
use super::pace::Autoscaling;
use super::status::Status;
use serde_json::Value;
use skiff_proto::quantity::Quantity;

/// What an autoscaler says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) metrics: Vec<Metric>,
    pub(super) behavior: Option<Behavior>,
    pub(super) tolerance: Tolerance,
}

impl Spec {
    pub(super) fn read(spec: &Value, pace: Autoscaling) -> Self {
        let number = |field: &str| spec[field].as_i64().and_then(|number| i32::try_from(number).ok());
        let behavior = &spec["behavior"];
        let tolerance = |rules: &str| {
            let text = behavior[rules]["tolerance"].as_str();
            text.and_then(|text| Quantity::parse(text).ok())
                .map_or(pace.tolerance, |quantity| quantity.nanos() as f64 / 1e9)
        };
        Self {
            min: number("minReplicas").unwrap_or(1),
            max: number("maxReplicas").unwrap_or(1),
            metrics: spec["metrics"].as_array().into_iter().flatten().filter_map(Metric::read).collect(),
            behavior: Some(behavior)
                .filter(|behavior| behavior.is_object())
                .map(|one| Behavior::read(one, pace.down_window)),
            tolerance: Tolerance { down: tolerance("scaleDown"), up: tolerance("scaleUp") },
        }
    }

    /// Whether nothing has to be measured to know what is to be done with so many replicas.
    pub(super) fn is_plain(&self, replicas: i32) -> bool {
        replicas == 0 || replicas > self.max || replicas < self.min
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing can be said: this is why, of all metrics together.
    Unknown(String),
    /// It stays as it is.
    Stay,
    /// There are to be so many, because of that.
    Scale(i32, String),
}

/// An event about the autoscaler that says that something went wrong.
pub(super) type Warning = (&'static str, String);

/// Decides about replicas of which nothing has to be measured.
pub(super) fn plain(spec: &Spec, replicas: i32, status: &mut Status) -> Step {
    if replicas == 0 {
        let why = "scaling is disabled since the replica count of the target is zero";
        status.set("ScalingActive", false, "ScalingDisabled", why);
        return Step::Stay;
    }
    if replicas > spec.max {
        return Step::Scale(spec.max, "Current number of replicas above Spec.MaxReplicas".to_owned());
    }
    Step::Scale(spec.min, "Current number of replicas below Spec.MinReplicas".to_owned())
}

/// Decides by what was measured: one answer for each metric.
pub(super) fn measured(
    spec: &Spec,
    scaled: &Scaled<'_>,
    answers: Vec<Result<Measured, String>>,
    memory: &mut Memory,
    status: &mut Status,
) -> (Step, Vec<Warning>) {
    let all = spec.metrics.iter().zip(answers).map(|(metric, answer)| metric.found(answer, scaled));
    let all: Vec<Result<Found, Failed>> = all.collect();
    // A metric that says nothing leaves its place empty.
    let place = |one: &Result<Found, Failed>| {
        one.as_ref().map_or_else(|_| serde_json::json!({"type": ""}), |one| one.status.clone())
    };
    status.metrics = all.iter().map(place).collect();
    let failed: Vec<&Failed> = all.iter().filter_map(|one| one.as_ref().err()).collect();
    let mut warnings: Vec<Warning> = failed.iter().map(|failed| (failed.reason, failed.why.clone())).collect();
    let mut best: Option<&Found> = None;
    for found in all.iter().flatten() {
        if best.is_none_or(|best| found.replicas > best.replicas) {
            best = Some(found);
        }
    }
    let too_few = best.is_none_or(|best| !failed.is_empty() && best.replicas < scaled.replicas);
    if let (true, Some(first)) = (too_few, failed.first()) {
        let (failures, metrics) = (failed.len(), spec.metrics.len());
        let why = format!("invalid metrics ({failures} invalid out of {metrics}), first error is: {}", first.summary);
        let message = format!("the HPA was unable to compute the replica count: {}", first.why);
        status.set("ScalingActive", false, first.reason, &message);
        warnings.push(("FailedComputeMetricsReplicas", why.clone()));
        return (Step::Unknown(why), warnings);
    }
    let Some(best) = best else { return (Step::Stay, warnings) };
    let message = format!("the HPA was able to successfully calculate a replica count from {}", best.name);
    status.set("ScalingActive", true, "ValidMetricFound", &message);
    (limited(spec, scaled, best, memory, status), warnings)
}

fn limited(spec: &Spec, scaled: &Scaled<'_>, best: &Found, memory: &mut Memory, status: &mut Status) -> Step {
    let present = scaled.replicas;
    let wish = Wish {
        present,
        wanted: best.replicas,
        min: spec.min,
        max: spec.max,
        behavior: spec.behavior.as_ref(),
        down_window: scaled.pace.down_window,
    };
    let limited = memory.limit(&wish, scaled.now);
    status.set("AbleToScale", true, limited.able.0, limited.able.1);
    let (is_limited, said) = limited.limited;
    status.set("ScalingLimited", is_limited, said.0, said.1);
    if limited.replicas == present {
        return Step::Stay;
    }
    let reason = match best.replicas.cmp(&present) {
        std::cmp::Ordering::Greater => format!("{} above target", best.name),
        std::cmp::Ordering::Less => "All metrics below target".to_owned(),
        std::cmp::Ordering::Equal => String::new(),
    };
    Step::Scale(limited.replicas, reason)
}

#[cfg(test)]
mod tests;
