//! The loop: takes in what changes, decides about one pod at a time, and hands decisions to the binder.

use crate::bind::Binder;
use crate::cluster::{Cluster, Object};
use crate::config::Config;
use crate::cycle::Cycle;
use crate::decide::{Decision, Half, Nominate, Placement, Wait, conclude, look};
use crate::figures::{Attempt, Outcome};
use crate::hints::{Event, helps};
use crate::node::differs;
use crate::plugin::{Plugin, Plugins, Refusal};
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::queue::{Millis, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What the loop hears of.
pub(crate) enum Signal {
    /// An object came, changed or went.
    Changed { before: Option<Object>, now: Option<Object> },
    /// The binding of this pod was not taken.
    NotBound { pod: Arc<PodInfo>, placement: Placement },
    /// The pods that were in the way are being deleted, or some could not be.
    Preempted { uid: String, worked: bool },
}

/// What the scheduler knows and what it has yet to do.
pub(crate) struct Scheduler {
    pub(crate) config: Config,
    pub(crate) cluster: Cluster,
    pub(crate) queue: Queue,
    /// From which node on the next pod's search begins.
    start: usize,
}

impl Scheduler {
    pub(crate) fn new(config: Config) -> Self {
        let queue = Queue::new(config.back_off);
        Self { config, cluster: Cluster::new(), queue, start: 0 }
    }

    /// The profile that decides about a pod.
    fn profile(&self, pod: &Pod) -> Option<&Profile> {
        let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        self.config.profile(name.filter(|name| !name.is_empty()).unwrap_or(crate::SCHEDULER_NAME))
    }

    /// Takes in what happened.
    pub(crate) fn note(&mut self, signal: Signal, now: Millis) {
        match signal {
            Signal::Changed { before: Some(Object::Pod(pod)), now: None } => self.lose_pod(&pod, now),
            Signal::Changed { now: Some(Object::Pod(pod)), .. } => self.see_pod(&pod, now),
            Signal::Changed { before, now: object } => self.see_other(before.as_ref(), object.as_ref(), now),
            Signal::NotBound { pod, placement } => {
                let volumes = placement.volumes;
                let given: Vec<_> = volumes.bindings.iter().map(|(volume, _)| Arc::clone(volume)).collect();
                self.cluster.storage.forget(&volumes.provisions, &given);
                self.cluster.devices.forget(&placement.devices);
                if self.cluster.forget(&pod.uid) {
                    self.wake(now, &Event::Pod { before: Some(&pod), now: None });
                }
                self.queue.fail(&pod.uid, now);
            }
            Signal::Preempted { uid, worked } => self.queue.preempted(&uid, worked, now),
        }
    }

    fn see_other(&mut self, before: Option<&Object>, object: Option<&Object>, now: Millis) {
        match (object, before) {
            (Some(object), _) => self.cluster.put(object),
            (None, Some(before)) => self.cluster.remove(before),
            (None, None) => return,
        }
        let node = |object: Option<&Object>| match object {
            Some(Object::Node(node)) => Some(Arc::clone(node)),
            _ => None,
        };
        let (was, is) = (node(before), node(object));
        if was.is_none() && is.is_none() {
            self.wake(now, &Event::Other { before, now: object });
        } else if was.as_ref().zip(is.as_ref()).is_none_or(|(was, is)| differs(was, is)) {
            self.wake(now, &Event::Node { before: was.as_ref(), now: is.as_ref() });
        }
    }

    fn see_pod(&mut self, pod: &Arc<Pod>, now: Millis) {
        let pod = Arc::new(PodInfo::new(Arc::clone(pod)));
        let before = self.cluster.placed_pod(&pod.uid);
        if pod.is_finished() {
            self.queue.remove(&pod.uid);
            self.cluster.remove_pod(&pod.uid);
            if let Some(before) = before {
                self.wake(now, &Event::Pod { before: Some(&before), now: None });
            }
        } else if pod.node().is_some() {
            self.queue.remove(&pod.uid);
            // Its room was counted when it was assumed; to others it comes now.
            let confirmed = before.filter(|before| before.node().is_some());
            self.cluster.put_pod(&pod);
            self.wake(now, &Event::Pod { before: confirmed.as_deref(), now: Some(&pod) });
        } else if self.cluster.is_assumed(&pod.uid) {
            // An older state, or one from before the binding: it counts again only if the binding is not taken.
            match pod.terminating {
                true => self.queue.remove(&pod.uid),
                false => self.queue.put(pod, false, now, now),
            }
        } else if pod.terminating {
            self.queue.remove(&pod.uid);
            self.cluster.remove_pod(&pod.uid);
        } else if let Some(profile) = self.profile(&pod.pod) {
            let held = profile.gates && pod.gates().next().is_some();
            self.cluster.put_pod(&pod);
            let made = pod.pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            self.queue.put(pod, held, Millis::try_from(made.as_millisecond()).unwrap_or(0), now);
        }
    }

    fn lose_pod(&mut self, pod: &Arc<Pod>, now: Millis) {
        let gone = PodInfo::new(Arc::clone(pod));
        self.queue.remove(&gone.uid);
        let nominated = gone.nominated().is_some();
        let counted = self.cluster.placed_pod(&gone.uid).is_some();
        self.cluster.remove_pod(&gone.uid);
        if counted || nominated {
            self.wake(now, &Event::Pod { before: Some(&gone), now: None });
        }
    }

    fn wake(&mut self, now: Millis, event: &Event<'_>) {
        let (cluster, config) = (&self.cluster, &self.config);
        let default = crate::SCHEDULER_NAME;
        self.queue.wake(now, &|pod: &PodInfo, rejectors: Plugins| {
            let name = pod.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(default);
            config.profile(name).is_some_and(|profile| helps(cluster, profile, pod, rejectors, event))
        });
    }

    /// Decides about the next pod. Answers whether there was one.
    pub(crate) async fn decide(&mut self, binder: &Binder, now: Millis) -> bool {
        let Some(pod) = self.queue.take(now) else { return false };
        let Some(profile) = self.profile(&pod.pod).cloned() else {
            self.queue.remove(&pod.uid);
            return true;
        };
        let attempt = Attempt::begin(&profile.name, (&self.queue, &pod.uid), now);
        let mut half = look(&self.cluster, &profile, &pod, self.start);
        self.start = (self.start + half.looked_at()) % self.cluster.nodes.len().max(1);
        let more = match self.ask_extenders(binder, &pod, &mut half).await {
            Ok(more) => more,
            Err(reason) => {
                self.queue.fail(&pod.uid, now);
                attempt.end(Outcome::Error);
                binder.fail(pod, reason);
                return true;
            }
        };
        let cycle = Cycle { cluster: &self.cluster, profile: &profile, pod: &pod };
        let points = |node: &str| more.get(node).copied().unwrap_or(0);
        match conclude(&cycle, half, &points, self.config.seed, Timestamp::now()) {
            Decision::Bind(placement) => self.place(pod, placement, binder, (attempt, profile.args.bind_timeout)),
            Decision::Wait(wait) => {
                attempt.end(Outcome::Unschedulable);
                self.wait(pod, wait, binder, now);
            }
        }
        true
    }

    /// Takes away what extenders refuse; answers the points that they give.
    async fn ask_extenders(
        &self,
        binder: &Binder,
        pod: &PodInfo,
        half: &mut Half,
    ) -> Result<HashMap<String, i64>, String> {
        let mut more = HashMap::new();
        for extender in &*binder.extenders {
            let nodes: Vec<_> = half.found.fit.iter().map(|at| &self.cluster.nodes[*at]).collect();
            if nodes.is_empty() {
                break;
            }
            let filtered = match extender.filter(pod, &nodes).await {
                Ok(filtered) => filtered,
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(error = skiff_client::sentence(&error), "an extender is passed over");
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            let Some(kept) = filtered.kept else { continue };
            let (fit, gone): (Vec<_>, Vec<_>) =
                half.found.fit.iter().partition(|at| kept.contains(&self.cluster.nodes[**at].name));
            half.found.fit = fit;
            for at in gone {
                let refusal = filtered.refused.get(&self.cluster.nodes[at].name).cloned();
                let unsaid = || Refusal { reasons: Vec::new(), ..Refusal::by_pods(Plugin::Extender, "") };
                half.found.refused.push((at, refusal.unwrap_or_else(unsaid)));
            }
        }
        let nodes: Vec<_> = half.found.fit.iter().map(|at| &self.cluster.nodes[*at]).collect();
        for extender in binder.extenders.iter().filter(|_| nodes.len() > 1) {
            match extender.prioritize(pod, &nodes).await {
                Ok(points) => points.into_iter().for_each(|(node, points)| *more.entry(node).or_default() += points),
                Err(error) => tracing::info!(error = skiff_client::sentence(&error), "an extender gives no points"),
            }
        }
        Ok(more)
    }

    fn place(&mut self, pod: Arc<PodInfo>, placement: Placement, binder: &Binder, how: (Attempt, Duration)) {
        // Counted at once, so that the next decision sees the room gone; the watch confirms it.
        self.cluster.assume(&pod, &placement.node);
        self.cluster.storage.assume(&placement.volumes, &placement.node);
        self.cluster.devices.assume(&placement.devices);
        binder.bind(pod, placement, how);
    }

    fn wait(&mut self, pod: Arc<PodInfo>, mut wait: Wait, binder: &Binder, now: Millis) {
        let preemption = wait.preemption.take();
        match &wait.nominate {
            Nominate::Set(Some(node)) => self.cluster.nominate(&pod, node),
            Nominate::Set(None) => self.cluster.unnominate(&pod.uid),
            Nominate::Keep => {}
        }
        match preemption {
            None => self.queue.park(&pod.uid, wait.rejectors, now),
            Some(plan) => {
                self.queue.preempt(&pod.uid, wait.rejectors, now);
                let nominated = self.cluster.nominated_to(&plan.node);
                let outranked = nominated.filter(|other| other.priority < pod.priority).cloned().collect();
                binder.preempt(Arc::clone(&pod), plan, outranked);
            }
        }
        binder.refuse(pod, wait);
    }
}
