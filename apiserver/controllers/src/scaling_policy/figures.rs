//! What the metrics of a policy say of its target.

use super::read::Steps;
use crate::horizontal_autoscaler::ask::Asker;
use crate::horizontal_autoscaler::count::{Figures, used_share};
use crate::horizontal_autoscaler::metric::{Measured, Source};
use crate::horizontal_autoscaler::select;
use crate::horizontal_autoscaler::target::Target;
use k8s_openapi::api::core::v1::Pod;
use skiff_client::{Cache, Key};
use std::sync::Arc;

/// The figure of each step in thousandths, and why one is missing.
pub(super) async fn of(
    asker: &Asker,
    pods: &Cache<Pod>,
    (key, target): (&Key, &Target),
    all: &[Steps],
) -> (Vec<Option<i64>>, Option<String>) {
    let (mut figures, mut silent) = (Vec::new(), None);
    for (at, steps) in all.iter().enumerate() {
        match one(asker, pods, (key, target), steps).await {
            Ok(figure) => figures.push(Some(figure)),
            Err(why) => {
                figures.push(None);
                silent.get_or_insert(format!("spec.steps[{at}]: {why}"));
            }
        }
    }
    (figures, silent)
}

async fn one(asker: &Asker, pods: &Cache<Pod>, (key, target): (&Key, &Target), steps: &Steps) -> Result<i64, String> {
    if target.replicas() == 0 && matches!(steps.source, Source::Resource { .. } | Source::Pods { .. }) {
        return Err("there are no pods to measure".to_owned());
    }
    match asker.measure(&key.namespace, target.selector(), &steps.source).await? {
        Measured::Value(value) => Ok(value),
        Measured::Pods(figures) => match &steps.source {
            Source::Resource { name, container } if steps.is_utilization => {
                let chosen = select::read(target.selector())?;
                let chosen: Vec<Arc<Pod>> = pods.selected(&key.namespace, &chosen);
                used_share(&chosen, &figures, (name, container.as_deref()))
            }
            _ => average(&figures),
        },
    }
}

fn average(figures: &Figures) -> Result<i64, String> {
    let number = i64::try_from(figures.len()).unwrap_or(i64::MAX);
    let sum = figures.values().fold(0_i64, |sum, figure| sum.saturating_add(figure.value));
    sum.checked_div(number).ok_or_else(|| "no pod was measured".to_owned())
}
