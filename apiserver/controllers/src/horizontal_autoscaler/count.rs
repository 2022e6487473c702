//! How many replicas there should be by what one metric says. Pure; in the words and roundings of Kubernetes.
//!
//! Pods that say nothing are counted so that they can only make the change smaller: as using all that they asked for where there would be
//! fewer replicas, as using nothing where there would be more.

use super::pace::Autoscaling;
use crate::owned::{is_going, is_ready, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use kube::ResourceExt;
use skiff_proto::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was measured of one pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    /// In thousandths.
    pub(crate) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
}

/// The same of pods, by name.
pub(crate) type Figures = BTreeMap<String, Figure>;
/// Thousandths, by the name of a pod.
type Values = BTreeMap<String, i64>;

/// How far from what is wanted nothing is done: below, and above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What is scaled, as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled<'a> {
    /// As its specification says.
    pub(super) replicas: i32,
    /// As its status says.
    pub(super) present: i32,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerance: Tolerance,
    pub(super) pace: Autoscaling,
    pub(super) now: Timestamp,
}

/// What a metric of pods comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// In per cent of what the pods asked for; 0 where that is not what is wanted.
    pub(super) utilization: i32,
    /// In thousandths.
    pub(super) average: i64,
}

/// How what is used stands to what is wanted.
struct Ratio {
    ratio: f64,
    utilization: i32,
    average: i64,
}

impl Scaled<'_> {
    /// By per cent of what the pods ask for of a resource; of one of their containers, if `container` names it.
    pub(super) fn by_utilization(
        &self,
        figures: &Figures,
        (resource, container): (&str, Option<&str>),
        target: i32,
    ) -> Result<Proposal, String> {
        let requests = || requests(self.pods, resource, container);
        let ratio = |values: &Values| utilization(values, &requests()?, target);
        let at_most =
            |pod: &str| Ok(requests()?.get(pod).copied().unwrap_or_default() * i64::from(target.max(100)) / 100);
        self.by(figures, resource == "cpu", &ratio, &at_most)
    }

    /// By an average over the pods, in thousandths.
    pub(super) fn by_average(&self, figures: &Figures, resource: &str, target: i64) -> Result<Proposal, String> {
        let ratio = |values: &Values| {
            let average = values.values().sum::<i64>() / count(values.len());
            Ok(Ratio { ratio: float(average) / float(target), utilization: 0, average })
        };
        self.by(figures, resource == "cpu", &ratio, &|_| Ok(target))
    }

    fn by(
        &self,
        figures: &Figures,
        is_cpu: bool,
        ratio: &dyn Fn(&Values) -> Result<Ratio, String>,
        at_most: &dyn Fn(&str) -> Result<i64, String>,
    ) -> Result<Proposal, String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let groups = Groups::of(self.pods, figures, is_cpu, (&self.pace, self.now));
        let counts = |pod: &&String| !groups.ignored.contains(*pod) && !groups.unready.contains(*pod);
        let known = figures.keys().filter(counts).map(|pod| (pod.clone(), figures[pod].value));
        let mut values: Values = known.collect();
        if values.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let first = ratio(&values)?;
        let found = |replicas| Proposal { replicas, utilization: first.utilization, average: first.average };
        let up_with_unready = !groups.unready.is_empty() && first.ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            let enough = self.tolerance.covers(first.ratio);
            return Ok(found(if enough { self.replicas } else { upwards(first.ratio * float(count(groups.ready))) }));
        }
        for pod in &groups.missing {
            if first.ratio < 1.0 {
                values.insert(pod.clone(), at_most(pod)?);
            } else if first.ratio > 1.0 {
                values.insert(pod.clone(), 0);
            }
        }
        if up_with_unready {
            values.extend(groups.unready.iter().map(|pod| (pod.clone(), 0)));
        }
        let again = ratio(&values)?.ratio;
        let turns = (first.ratio < 1.0 && again > 1.0) || (first.ratio > 1.0 && again < 1.0);
        let replicas = upwards(again * float(count(values.len())));
        let wrong_way = (again < 1.0 && replicas > self.replicas) || (again > 1.0 && replicas < self.replicas);
        let stays = self.tolerance.covers(again) || turns || wrong_way;
        Ok(found(if stays { self.replicas } else { replicas }))
    }

    /// By one value that all replicas share, in thousandths.
    pub(super) fn by_value(&self, usage: i64, target: i64) -> Result<i32, String> {
        let ratio = float(usage) / float(target);
        if self.replicas == 0 {
            return Ok(upwards(ratio));
        }
        if self.tolerance.covers(ratio) {
            return Ok(self.replicas);
        }
        if self.pods.is_empty() {
            return Err("unable to calculate ready pods: no pods returned by selector while calculating replica count"
                .to_owned());
        }
        let ready = self.pods.iter().filter(|pod| phase(pod) == "Running" && is_ready(pod)).count();
        Ok(upwards(ratio * float(count(ready))))
    }

    /// By one value of which each replica takes its part: how many, and how much each takes now.
    pub(super) fn by_part(&self, usage: i64, target: i64) -> (i32, i64) {
        let ratio = float(usage) / (float(target) * f64::from(self.present));
        let enough = self.tolerance.covers(ratio);
        let replicas = if enough { self.present } else { upwards(float(usage) / float(target)) };
        (replicas, large((float(usage) / f64::from(self.present)).ceil()))
    }
}

/// Which pods count.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    fn of(pods: &[Arc<Pod>], figures: &Figures, is_cpu: bool, at: (&Autoscaling, Timestamp)) -> Self {
        let mut groups = Self::default();
        for pod in pods {
            let name = pod.name_any();
            let group = match figures.get(&name) {
                _ if is_going(pod) || phase(pod) == "Failed" => &mut groups.ignored,
                _ if phase(pod) == "Pending" => &mut groups.unready,
                None => &mut groups.missing,
                Some(figure) if is_cpu && !is_settled(pod, figure, at) => &mut groups.unready,
                Some(_) => {
                    groups.ready += 1;
                    continue;
                }
            };
            group.insert(name);
        }
        groups
    }
}

/// Whether what the pod uses now is what it will use.
fn is_settled(pod: &Pod, figure: &Figure, (pace, now): (&Autoscaling, Timestamp)) -> bool {
    let Some(status) = &pod.status else { return false };
    let mut conditions = status.conditions.iter().flatten();
    let ready: Option<&PodCondition> = conditions.find(|condition| condition.type_ == "Ready");
    let (Some(ready), Some(start)) = (ready, &status.start_time) else { return false };
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let is_unready = ready.status == "False";
    if now.duration_since(start.0) < pace.cpu_initialization {
        return !is_unready && figure.at.duration_since(since) >= figure.window;
    }
    !is_unready || since.duration_since(start.0) >= pace.readiness_delay
}

/// What each pod asks for, in thousandths.
fn requests(pods: &[Arc<Pod>], resource: &str, container: Option<&str>) -> Result<Values, String> {
    let of_pod = |pod: &Arc<Pod>| Ok((pod.name_any(), request(pod, resource, container)?));
    pods.iter().map(of_pod).collect()
}

fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let name = pod.name_any();
    let spec = pod.spec.as_ref();
    let whole = spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    if let (Some(whole), None) = (whole.filter(|whole| !whole.is_empty()), container) {
        let missing = || format!("missing pod-level request for {resource} in Pod {name}");
        return whole.get(resource).map(|quantity| milli(&quantity.0)).ok_or_else(missing);
    }
    let first = spec.into_iter().flat_map(|spec| spec.containers.iter());
    let beside = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let beside = beside.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let mut sum = 0;
    for one in first.chain(beside).filter(|one| container.is_none_or(|wanted| wanted == one.name)) {
        let missing = || format!("missing request for {resource} in container {} of Pod {name}", one.name);
        sum += asks(one, resource).ok_or_else(missing)?;
        if container.is_some() {
            return Ok(sum);
        }
    }
    match container {
        Some(wanted) => Err(format!("container {wanted} not found in Pod {name}")),
        None => Ok(sum),
    }
}

fn asks(container: &Container, resource: &str) -> Option<i64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    requests.get(resource).map(|quantity| milli(&quantity.0))
}

/// What pods use of a resource, in thousandths of a per cent of what they ask for.
///
/// # Errors
/// One of them asks for nothing, or nothing was measured.
pub(crate) fn used_share(pods: &[Arc<Pod>], figures: &Figures, of: (&str, Option<&str>)) -> Result<i64, String> {
    let values: Values = figures.iter().map(|(pod, figure)| (pod.clone(), figure.value)).collect();
    let measured: Vec<Arc<Pod>> = pods.iter().filter(|pod| values.contains_key(&pod.name_any())).cloned().collect();
    let ratio = utilization(&values, &requests(&measured, of.0, of.1)?, 1)?;
    Ok(i64::from(ratio.utilization).saturating_mul(1000))
}

/// A quantity in thousandths.
pub(super) fn milli(quantity: &str) -> i64 {
    let milli = Quantity::parse(quantity).map_or(0, Quantity::millis);
    i64::try_from(milli).unwrap_or(i64::MAX)
}

fn utilization(values: &Values, requests: &Values, target: i32) -> Result<Ratio, String> {
    let known = || values.iter().filter_map(|(pod, value)| Some((*value, *requests.get(pod)?)));
    let (used, asked) =
        (known().map(|(value, _)| value).sum::<i64>(), known().map(|(_, request)| request).sum::<i64>());
    if asked == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let utilization = i32::try_from(used.saturating_mul(100) / asked).unwrap_or(i32::MAX);
    let ratio = f64::from(utilization) / f64::from(target);
    Ok(Ratio { ratio, utilization, average: used / count(known().count()) })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "Kubernetes divides in floating point too, and rounds the same way")]
fn float(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation, reason = "what is too large becomes the largest that there is")]
fn upwards(replicas: f64) -> i32 {
    replicas.ceil() as i32
}

#[allow(clippy::cast_possible_truncation, reason = "what is too large becomes the largest that there is")]
fn large(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests;
