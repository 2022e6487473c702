//! The one task that owns a pod: it takes in events, plans, sets steps going and reports.
//!
//! Nobody else changes the pod's memory; everything that can wake the task is an [`Event`] or the plan's own moment.

use super::act::{Outcome, Scene, act};
use super::backoff::RESTARTS;
use super::memory::{Failure, Lane, Memory};
use super::observed::{Instance, Life, Observed, Sandbox};
use super::plan::{Plan, Step, plan};
use super::resizing::Resizing;
use super::sources::References;
use super::status::{Inputs, status};
use super::wanted::{Ending, PullPolicy, Removed, Wanted};
use super::{again, ephemeral, eviction, last_words, mirrors, report, static_pod};
use crate::agent::Agent;
use crate::board::Posted;
use crate::devices::counted;
use crate::events::Severity;
use crate::probe::{Kind, Probed};
use crate::unsupported;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use skiff_step::Step as Named;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

const SEEN: Named = Named::new("pod.seen", "Kubernetes API, watch pods with spec.nodeName");

/// Everything that can wake a pod's task.
#[derive(Debug)]
pub(crate) enum Event {
    /// The API object changed.
    Pod(Arc<Pod>),
    /// The API no longer has it.
    Removed,
    /// The runtime reported something.
    Seen(Sighting),
    /// A step ended.
    Done(Lane, Box<Outcome>),
    /// A probe came to a verdict.
    Probed(Probed),
    /// The pod takes more than it may.
    Evicted(Failure),
    /// An object that a volume shows has changed.
    SourceChanged,
    /// Devices have come, gone, or changed their health: the status is to tell of that.
    DevicesChanged,
}

/// A report of the runtime.
#[derive(Debug, Clone)]
pub(crate) enum Sighting {
    /// News of some parts.
    Some(Vec<Sandbox>, Vec<Instance>),
    /// All there is, as listed from the given moment on: what was known before and is not in it is gone.
    All(Observed, Instant),
}

/// How events reach the task. Unbounded, so that no report of the runtime is lost; senders are few and slow.
pub(crate) type Inbox = mpsc::UnboundedSender<Event>;

/// A step under way.
struct Running {
    handle: AbortHandle,
    /// Whether giving it up half-way leaves nothing behind in the runtime.
    can_be_given_up: bool,
}

pub(super) struct Worker {
    // Fixed.
    pub(super) agent: Arc<Agent>,
    pub(super) uid: String,
    pub(super) inbox: Inbox,
    first_seen: Timestamp,

    // What we know.
    pub(super) pod: Arc<Pod>,
    removed: Removed,
    pub(super) wanted: Wanted,
    pub(super) seen: Observed,
    learned: HashMap<String, Instant>,
    pub(super) memory: Memory,
    pub(super) sizes: Resizing,

    // What runs for us; dropped with us.
    pub(super) tasks: JoinSet<()>,
    lanes: HashMap<Lane, Running>,
    pub(super) probes: HashMap<(String, Kind), AbortHandle>,
    status: watch::Sender<Option<k8s_openapi::api::core::v1::PodStatus>>,
}

/// Runs the pod to its end; returns when nothing is left to do for it.
pub(crate) async fn run(
    agent: Arc<Agent>,
    pod: Arc<Pod>,
    adopted: Observed,
    inbox: Inbox,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    let mut worker = Worker::new(agent, pod, adopted, inbox);
    loop {
        let plan = worker.turn();
        if plan.over {
            break;
        }
        let wake = plan.wake_at.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => worker.take(event),
                None => break,
            },
            () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
        }
        // Whatever else waits belongs to the same turn.
        while let Ok(event) = events.try_recv() {
            worker.take(event);
        }
        while worker.tasks.try_join_next().is_some() {}
    }
    worker.agent.board.remove(&worker.uid);
}

impl Worker {
    fn new(agent: Arc<Agent>, pod: Arc<Pod>, adopted: Observed, inbox: Inbox) -> Self {
        let (status, statuses) = watch::channel(None);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let engine = agent.engine.correlated(Some(&super::sandbox::correlation(&pod, 0)));
        engine.note(&SEEN, || pod.metadata.name.clone().unwrap_or_default());
        let mut tasks = JoinSet::new();
        if static_pod::is_static(&pod) {
            tasks.spawn(mirrors::follow(Arc::clone(&agent), Arc::clone(&pod), statuses));
        } else {
            tasks.spawn(report::follow(agent.client.clone(), Arc::clone(&pod), statuses, engine));
        }
        let wanted = Wanted::of(&pod, Removed::No);
        let mut worker = Self {
            agent,
            uid,
            inbox,
            first_seen: Timestamp::now(),
            pod,
            removed: Removed::No,
            wanted,
            seen: Observed::default(),
            learned: HashMap::new(),
            memory: Memory::default(),
            sizes: Resizing::default(),
            tasks,
            lanes: HashMap::new(),
            probes: HashMap::new(),
            status,
        };
        worker.adopt(adopted);
        worker.watch_sources();
        worker.watch_volumes();
        // A new pod was looked at before; this is one that another kubelet started.
        if let Some(sentence) = unsupported::sentence(&worker.pod).filter(|_| worker.is_staying()) {
            worker.doom(unsupported::REASON, Failure::new(unsupported::REASON, sentence));
        }
        worker
    }

    pub(super) fn event(&self, container: Option<&str>, severity: Severity, reason: &'static str, message: &str) {
        self.agent.recorder.pod(&self.pod, container, severity, reason, message);
    }

    /// Takes over what a former kubelet left: what ran is not started again, hooks that ran do not run again, and what
    /// was ready stays so until a probe says otherwise.
    fn adopt(&mut self, adopted: Observed) {
        let statuses = self.pod.status.clone().unwrap_or_default();
        let all: Vec<_> =
            statuses.container_statuses.into_iter().chain(statuses.init_container_statuses).flatten().collect();
        let running: Vec<_> = adopted.containers.values().filter(|instance| instance.is_running()).cloned().collect();
        self.adopt_sizes(&running);
        for instance in &running {
            let reported = all.iter().find(|status| status.name == instance.name);
            let memory = self.memory.of(&instance.name);
            memory.hooked = Some(instance.id.clone());
            if reported.is_some_and(|status| status.started == Some(true)) {
                memory.started = Some(instance.id.clone());
            }
            if reported.is_some_and(|status| status.ready) {
                memory.ready = Some(instance.id.clone());
            }
        }
        self.sight(Sighting::Some(
            adopted.sandboxes.into_values().collect(),
            adopted.containers.into_values().collect(),
        ));
    }

    /// Follows the objects that volumes show.
    fn watch_sources(&mut self) {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        let references = References::of_volumes(&volumes);
        if !references.is_empty() && self.wanted.ending == Ending::Staying {
            let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
            let follow = super::sources::follow(self.agent.caches.clone(), namespace, references, self.inbox.clone());
            self.tasks.spawn(follow);
        }
    }

    /// Plans, sets the plan's steps going, and reports.
    fn turn(&mut self) -> Plan {
        let now = Timestamp::now();
        if self.wanted.deadline.is_some_and(|deadline| deadline <= now)
            && self.memory.ended_by.is_none()
            && self.is_staying()
        {
            let message = "Pod was active on the node longer than the specified deadline";
            self.doom("Failed", Failure::new("DeadlineExceeded", message));
        }
        self.reconsider_sizes();
        let mut plan = plan(&self.wanted, &self.seen, &self.memory, now);
        self.follow_sizes(&mut plan, now);
        let finishes_deletion = plan.steps.contains(&Step::FinishDeletion);
        self.report(now, finishes_deletion);
        for step in plan.steps.clone() {
            self.begin(step);
        }
        self.reconcile_probes();
        let (pod, seen, inbox) = (Arc::clone(&self.pod), Arc::new(self.seen.clone()), self.inbox.clone());
        let posted = Posted { pod, seen, inbox };
        self.agent.board.post(&self.uid, posted);
        plan
    }

    pub(super) fn is_staying(&self) -> bool {
        self.wanted.ending == Ending::Staying
    }

    fn doom(&mut self, event: &'static str, failure: Failure) {
        self.event(None, Severity::Warning, event, &failure.message);
        self.memory.ended_by = Some(failure);
    }

    fn evict(&mut self, failure: Failure) {
        if self.is_staying() && self.memory.ended_by.is_none() {
            self.memory.end_grace_seconds = Some(eviction::GRACE_SECONDS);
            self.doom("Evicted", failure);
        }
    }

    /// Sees that the pod keeps to its limits of local storage.
    fn watch_volumes(&mut self) {
        let limits = self.pod.spec.as_ref().map(eviction::Limits::of).unwrap_or_default();
        if !limits.is_empty() && self.wanted.ending == Ending::Staying {
            let (agent, pod) = (Arc::clone(&self.agent), Arc::clone(&self.pod));
            self.tasks.spawn(eviction::follow(agent, pod, limits, self.inbox.clone()));
        }
    }

    /// Computes the status and hands it to the writer, unless finishing the deletion will write it.
    fn report(&mut self, now: Timestamp, finishes_deletion: bool) {
        if self.removed == Removed::Yes || self.wanted.ending == Ending::Terminal {
            return;
        }
        let mut new = status(&Inputs {
            pod: &self.pod,
            wanted: &self.wanted,
            seen: &self.seen,
            memory: &self.memory,
            node: &self.agent.facts,
            first_seen: self.first_seen,
            now,
        });
        counted::tell(&self.agent, &self.pod, &mut new);
        if self.pod.status.as_ref() != Some(&new) {
            Arc::make_mut(&mut self.pod).status = Some(new.clone());
            self.wanted = Wanted::of(&self.pod, self.removed);
        }
        if !finishes_deletion {
            self.status.send_if_modified(|old| {
                let changed = old.as_ref() != Some(&new);
                *old = Some(new);
                changed
            });
        }
    }

    fn begin(&mut self, step: Step) {
        let (lane, container) = (step.lane(), container_of(&step));
        // A pull, a hook and a wait for an end can be asked for again; anything else makes or removes something.
        let can_be_given_up = matches!(step, Step::EnsureImage { .. } | Step::PostStart { .. } | Step::Stop { .. });
        match &step {
            Step::Start { container, attempt, .. } if *attempt > 0 && self.memory.of(container).resized.is_none() => {
                self.note_start(&container.clone());
            }
            Step::Prepare => self.memory.stale = false,
            Step::Stop { container, id, .. } => self.note_stop(&container.clone(), &id.clone()),
            _ => {}
        }
        let image = container.as_ref().and_then(|name| self.memory.get(name)?.image.clone()).map(|(_, image)| image);
        let pull = container
            .as_ref()
            .and_then(|name| self.wanted.container(name))
            .map_or(PullPolicy::IfNotPresent, |c| c.pull);
        let scene = Scene {
            agent: Arc::clone(&self.agent),
            pod: Arc::clone(&self.pod),
            sandbox: self.seen.newest_sandbox().cloned(),
            image,
            pull,
            target: container.map_or(Ok(None), |name| ephemeral::target(&self.pod, &name, &self.seen)),
            last_status: self.pod.status.clone().unwrap_or_default(),
        };
        let (inbox, to) = (self.inbox.clone(), lane.clone());
        let handle = self.tasks.spawn(async move {
            let outcome = act(scene, step).await;
            // The worker outlives its tasks; when it is gone nobody wants to know.
            let _closed = inbox.send(Event::Done(to, Box::new(outcome)));
        });
        self.memory.busy.insert(lane.clone());
        self.lanes.insert(lane, Running { handle, can_be_given_up });
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Pod(pod) => self.renew(pod),
            Event::Removed => {
                self.removed = Removed::Yes;
                self.rethink();
            }
            Event::Seen(sighting) => self.sight(sighting),
            Event::Done(lane, outcome) => {
                self.memory.busy.remove(&lane);
                self.lanes.remove(&lane);
                self.learn(*outcome);
            }
            Event::Probed(probed) => self.judge(probed),
            Event::Evicted(failure) => self.evict(failure),
            Event::SourceChanged => self.note_change(),
            // Each turn tells.
            Event::DevicesChanged => {}
        }
    }

    /// Volumes have to be written again.
    fn note_change(&mut self) {
        self.memory.stale = true;
        if self.memory.prepared {
            self.memory.refresh_at = Some(Timestamp::now());
        }
    }

    /// A new version of the API object: its spec and metadata count, of its status only what others wrote.
    fn renew(&mut self, pod: Arc<Pod>) {
        let changed = |old: &Pod, new: &Pod| {
            old.metadata.labels != new.metadata.labels || old.metadata.annotations != new.metadata.annotations
        };
        if changed(&self.pod, &pod) {
            self.note_change();
        }
        let mut pod = pod;
        if let Some(ours) = self.pod.status.clone() {
            let status = Arc::make_mut(&mut pod).status.get_or_insert_default();
            let theirs = status.conditions.take().unwrap_or_default();
            *status = ours;
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|ours| is_ours(ours) || theirs.iter().any(|theirs| theirs.type_ == ours.type_));
            for condition in theirs.into_iter().filter(|condition| !is_ours(condition)) {
                conditions.retain(|known| known.type_ != condition.type_);
                conditions.push(condition);
            }
        }
        self.size(&mut pod);
        self.pod = pod;
        self.rethink();
    }

    /// Reads the wish again; when the pod is told to go, what would only delay that is given up.
    pub(super) fn rethink(&mut self) {
        let before = self.wanted.ending;
        self.wanted = Wanted::of(&self.pod, self.removed);
        if self.wanted.ending == before {
            return;
        }
        self.memory.endings.clear();
        let given_up: Vec<_> =
            self.lanes.iter().filter(|(_, running)| running.can_be_given_up).map(|(lane, _)| lane.clone()).collect();
        for lane in given_up {
            if let Some(running) = self.lanes.remove(&lane) {
                running.handle.abort();
                self.memory.busy.remove(&lane);
            }
        }
    }

    pub(super) fn sight(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Some(sandboxes, instances) => {
                for sandbox in sandboxes {
                    self.learned.entry(sandbox.id.clone()).or_insert_with(Instant::now);
                    self.seen.absorb_sandbox(sandbox);
                }
                for instance in instances {
                    self.absorb(instance);
                }
            }
            Sighting::All(all, listed_at) => {
                let gone = |id: &String| self.learned.get(id).is_none_or(|at| *at < listed_at);
                let known = self.seen.sandboxes.keys().chain(self.seen.containers.keys());
                let there = |id: &String| all.sandboxes.contains_key(id) || all.containers.contains_key(id);
                let lost: Vec<_> = known.filter(|id| !there(id) && gone(id)).cloned().collect();
                for id in lost {
                    self.seen.forget(&id);
                }
                self.sight(Sighting::Some(
                    all.sandboxes.into_values().collect(),
                    all.containers.into_values().collect(),
                ));
            }
        }
    }

    pub(super) fn absorb(&mut self, mut instance: Instance) {
        let known = self.seen.containers.get(&instance.id);
        let ended_before = known.is_some_and(|known| matches!(known.life, Life::Exited { .. }));
        self.learned.entry(instance.id.clone()).or_insert_with(Instant::now);
        if let Life::Exited { code, finished_at, .. } = instance.life
            && !ended_before
        {
            let log = self.agent.log(&self.pod, &instance);
            instance.last_words = last_words::read(&self.pod, &instance, &log, code);
            self.seen.absorb(instance.clone());
            self.note_end(&instance, finished_at);
        } else {
            self.seen.absorb(instance);
        }
    }

    /// A container starts again: if that counts, the next time has to wait longer.
    fn note_start(&mut self, name: &str) {
        let wanted = self.wanted.container(name);
        if wanted.is_none_or(|wanted| again::counts(wanted, self.memory.get(name), &self.seen)) {
            self.memory.of(name).runs.note(RESTARTS, Timestamp::now());
        }
    }

    /// A container ended: if it has to wait before its next run, say so.
    fn note_end(&self, instance: &Instance, finished_at: Timestamp) {
        let (wanted, memory) = (self.wanted.container(&instance.name), self.memory.get(&instance.name));
        let due = wanted.map(|wanted| again::due(wanted, memory, &self.seen, finished_at));
        if due.is_some_and(|due| due > finished_at) && self.is_staying() {
            let meta = &self.pod.metadata;
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let message = format!(
                "Back-off restarting failed container {} in pod {}_{}({})",
                instance.name,
                text(&meta.name),
                text(&meta.namespace),
                self.uid
            );
            self.event(Some(&instance.name), Severity::Warning, "BackOff", &message);
        }
    }
}

fn container_of(step: &Step) -> Option<String> {
    match step.lane() {
        Lane::Container(name) | Lane::Hook(name) => Some(name),
        _ => None,
    }
}

fn is_ours(condition: &PodCondition) -> bool {
    super::conditions::OURS.contains(&condition.type_.as_str())
}
