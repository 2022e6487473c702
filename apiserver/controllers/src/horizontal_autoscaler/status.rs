//! The status of an autoscaler while it is being made. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Status {
    before: Value,
    conditions: Vec<Value>,
    now: Timestamp,
    /// `currentMetrics`.
    pub(super) metrics: Vec<Value>,
}

impl Status {
    pub(super) fn of(before: &Value, now: Timestamp) -> Self {
        let conditions = before["conditions"].as_array().cloned().unwrap_or_default();
        Self { before: before.clone(), conditions, now, metrics: Vec::new() }
    }

    /// Sets a condition; the time of the last change stays as long as its status does.
    pub(super) fn set(&mut self, kind: &str, is_true: bool, reason: &str, message: &str) {
        let status = if is_true { "True" } else { "False" };
        let present = self.conditions.iter_mut().find(|condition| condition["type"] == kind);
        let since = present.as_ref().filter(|condition| condition["status"] == status);
        let since = since.map_or_else(|| json!(seconds(self.now)), |condition| condition["lastTransitionTime"].clone());
        let next =
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
        match present {
            Some(condition) => *condition = next,
            None => self.conditions.push(next),
        }
    }

    /// The whole; `None`: it is as it was. `replicas` are those that there are and those that are wanted, if both are known; `scaled` says
    /// whether they were just changed.
    pub(super) fn whole(self, replicas: Option<(i32, i32)>, scaled: bool) -> Option<Value> {
        let mut status = self.before.clone();
        if !status.is_object() {
            status = json!({});
        }
        if let Some((current, desired)) = replicas {
            (status["currentReplicas"], status["desiredReplicas"]) = (current.into(), desired.into());
            status["currentMetrics"] = self.metrics.into();
            if status["currentMetrics"] == json!([]) {
                status.as_object_mut().and_then(|fields| fields.remove("currentMetrics"));
            }
        }
        if scaled {
            status["lastScaleTime"] = seconds(self.now).into();
        }
        // A status that nobody has written yet has this field all the same.
        if status["desiredReplicas"].is_null() {
            status["desiredReplicas"] = 0.into();
        }
        status["conditions"] = self.conditions.into();
        (status != self.before).then_some(status)
    }

    /// How many were wanted at last.
    pub(super) fn desired(&self) -> i32 {
        self.before["desiredReplicas"].as_i64().and_then(|desired| i32::try_from(desired).ok()).unwrap_or_default()
    }
}

/// Whole seconds, as Kubernetes' times are.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
