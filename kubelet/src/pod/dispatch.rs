//! From the API's watch and the runtime's reports to the pods' workers.
//!
//! One worker per pod uid, which is told when the API no longer has its pod; what the runtime has of pods that no list names is
//! cleaned up, after the first complete list only.

use super::admission::{self, HostPort, Refusal};
use super::backoff::{Backoff, RETRIES};
use super::manifests::{self, Folder};
use super::observed::Observed;
use super::orphans;
use super::runtime_events::{self, Inventory, News, Report};
use super::statics::Statics;
use super::worker::{self, Event, Inbox, Sighting};
use crate::agent::Agent;
use crate::devices::counted;
use crate::events::Severity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many controllers we remember whose pods we turned away, before those are forgotten that have been quiet since.
const CONTROLLERS_MAX: usize = 1024;

pub(super) struct Dispatch {
    pub(super) agent: Arc<Agent>,
    pub(super) workers: HashMap<String, Inbox>,
    /// The ports of the node that pods of workers have.
    ports: HashMap<String, Vec<HostPort>>,
    running: JoinSet<String>,
    pub(super) cleanups: JoinSet<String>,
    cleaned: HashSet<String>,
    /// What the runtime had when we started, of pods that have not come yet.
    unclaimed: HashMap<String, Observed>,
    /// How often pods of a controller were turned away, by the controller's uid.
    rejections: HashMap<String, Backoff>,
    /// Pods that are being given devices, as they were last seen.
    admitting: HashMap<String, Arc<Pod>>,
    admissions: JoinSet<(String, Result<(), String>)>,
    /// Pods that their workers are done with, until the API forgets them.
    done: HashSet<String>,
    /// Pods that the API has forgotten before their workers were done.
    forgotten: HashSet<String>,
    /// Whether a complete list has come.
    listed: bool,
    /// Those that files describe.
    pub(super) statics: Statics,
}

/// Runs the node's pods until `shutdown`; they keep running after it.
pub(crate) async fn run(agent: Arc<Agent>, shutdown: CancellationToken) -> Result<(), tonic::Status> {
    let mut inventory = Inventory::default();
    let unclaimed = inventory.list(&agent).await?;
    let (news, mut reports) = mpsc::unbounded_channel::<News>();
    let mut helpers = JoinSet::new();
    helpers.spawn(runtime_events::follow(Arc::clone(&agent), inventory, news));
    let (tell, mut changes) = mpsc::unbounded_channel();
    let mut following = JoinSet::new();
    following.spawn(follow(Arc::clone(&agent), tell));
    let mut files = agent.static_pod_path.as_deref().map(|path| Folder::new(path, &agent.node_name));
    let mut ticks = tokio::time::interval(manifests::PERIOD);
    let mut dispatch = Dispatch::new(agent, unclaimed);
    loop {
        tokio::select! {
            // Files first: a mirror without one is taken away.
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick(), if files.is_some() => {
                files.iter_mut().flat_map(Folder::changes).for_each(|change| dispatch.file(change));
            }
            Some(change) = changes.recv() => dispatch.change(change),
            Some((uid, report)) = reports.recv() => dispatch.report(uid, report),
            Some(ended) = dispatch.running.join_next() => dispatch.ended(ended),
            Some(Ok((uid, given))) = dispatch.admissions.join_next() => dispatch.admitted(uid, given),
            Some(_cleaned) = dispatch.cleanups.join_next() => {}
        }
    }
}

/// What the API says of the node's pods.
enum Change {
    Pod(Arc<Pod>),
    /// The pod with this uid is no longer there.
    Gone(String),
    /// All pods that there were have been told.
    Listed,
}

/// Tells of the node's pods, first those that there are; runs until it is dropped.
async fn follow(agent: Arc<Agent>, tell: mpsc::UnboundedSender<Change>) {
    let pods = agent.caches.chosen::<Pod>(&format!("spec.nodeName={}", agent.node_name));
    // A pod gets variables of the services that there are when it starts.
    futures::future::join(pods.synced(), agent.services.synced()).await;
    let told = tell.clone();
    // The receiver lives as long as this task.
    let _subscription = pods.subscribe(move |change| {
        let gone = change.before.filter(|_| change.now.is_none()).and_then(|pod| pod.metadata.uid.clone());
        let _over = match (change.now, gone) {
            (Some(pod), _) => told.send(Change::Pod(Arc::clone(pod))),
            (None, Some(uid)) => told.send(Change::Gone(uid)),
            (None, None) => Ok(()),
        };
    });
    let _over = tell.send(Change::Listed);
    std::future::pending::<()>().await;
}

impl Dispatch {
    fn new(agent: Arc<Agent>, unclaimed: HashMap<String, Observed>) -> Self {
        Self {
            agent,
            workers: HashMap::new(),
            ports: HashMap::new(),
            running: JoinSet::new(),
            cleanups: JoinSet::new(),
            cleaned: HashSet::new(),
            unclaimed,
            rejections: HashMap::new(),
            admitting: HashMap::new(),
            admissions: JoinSet::new(),
            done: HashSet::new(),
            forgotten: HashSet::new(),
            listed: false,
            statics: Statics::default(),
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Pod(pod) => self.of_api(pod),
            Change::Gone(uid) => self.remove(&uid),
            Change::Listed => self.listed(),
        }
    }

    pub(super) fn assign(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if self.done.contains(&uid) {
            return;
        }
        if let Some(inbox) = self.workers.get(&uid) {
            // A worker that has just ended is found out by `ended`.
            let _ended = inbox.send(Event::Pod(pod));
            return;
        }
        let adopted = self.unclaimed.remove(&uid).unwrap_or_default();
        let is_new = adopted == Observed::default();
        let limit = usize::try_from(self.agent.max_pods).unwrap_or(usize::MAX);
        let short = self.agent.gauge.pressure();
        self.ports.retain(|uid, _| self.workers.contains_key(uid));
        let ports = admission::host_ports(&pod);
        let refusal = || {
            admission::refusal(&pod, self.workers.len(), limit, &self.agent.sysctls)
                .or_else(|| admission::under_pressure(&pod, short))
                .or_else(|| admission::port_taken(&ports, self.ports.values().flatten()))
        };
        if is_new && let Some(refusal) = refusal() {
            return self.turn_away(uid, &pod, refusal);
        }
        if is_new && self.is_given_devices_first(&uid, &pod) {
            return;
        }
        let (inbox, events) = mpsc::unbounded_channel();
        let work = worker::run(Arc::clone(&self.agent), pod, adopted, inbox.clone(), events);
        self.workers.insert(uid.clone(), inbox);
        self.ports.extend((!ports.is_empty()).then(|| (uid.clone(), ports)));
        self.running.spawn(async move {
            work.await;
            uid
        });
    }

    /// Has plugins hand out what a new pod asks for; true while that lasts.
    fn is_given_devices_first(&mut self, uid: &str, pod: &Arc<Pod>) -> bool {
        let is_under_way = self.admitting.contains_key(uid);
        let asked = counted::asked(pod);
        if !is_under_way && (admission::is_over(pod) || !self.agent.counted.needs(&asked)) {
            return false;
        }
        self.admitting.insert(uid.to_owned(), Arc::clone(pod));
        if !is_under_way {
            let (agent, uid) = (Arc::clone(&self.agent), uid.to_owned());
            self.admissions.spawn(async move { (uid, agent.counted.allocate(&asked).await) });
        }
        true
    }

    fn admitted(&mut self, uid: String, given: Result<(), String>) {
        match (self.admitting.remove(&uid), given) {
            // It was removed in the meantime.
            (None, _) => {
                self.agent.counted.release(&uid);
                self.static_ended(&uid);
            }
            (Some(pod), Ok(())) => self.assign(pod),
            (Some(pod), Err(why)) => self.turn_away(uid, &pod, admission::unexpected(&why)),
        }
    }

    fn turn_away(&mut self, uid: String, pod: &Arc<Pod>, refusal: Refusal) {
        self.agent.recorder.pod(pod, None, Severity::Warning, refusal.reason.clone(), &refusal.message);
        self.done.insert(uid.clone());
        let pause = self.pause_before_rejection(pod);
        let (agent, pod) = (Arc::clone(&self.agent), Arc::clone(pod));
        self.cleanups.spawn(async move {
            tokio::time::sleep(pause).await;
            super::report::reject(&agent.client, &pod, &refusal.reason, &refusal.message).await;
            uid
        });
    }

    /// Whoever controls the pod makes another as soon as this one has failed, and here it comes back to us: so the first
    /// fails at once, and the next ones ever later.
    fn pause_before_rejection(&mut self, pod: &Pod) -> Duration {
        let owners = pod.metadata.owner_references.iter().flatten();
        let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
            return Duration::ZERO;
        };
        let now = Timestamp::now();
        if self.rejections.len() >= CONTROLLERS_MAX {
            self.rejections.retain(|_, backoff| backoff.delay_seconds(RETRIES, now) > 0);
        }
        let backoff = self.rejections.entry(owner.uid.clone()).or_default();
        let seconds = backoff.delay_seconds(RETRIES, now);
        backoff.note(RETRIES, now);
        Duration::from_secs(seconds.unsigned_abs())
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.done.remove(uid);
        self.admitting.remove(uid);
        if let Some(inbox) = self.workers.get(uid) {
            let _ended = inbox.send(Event::Removed);
            self.forgotten.insert(uid.to_owned());
        }
    }

    /// The first list came: what it does not name is of pods that are gone.
    fn listed(&mut self) {
        self.listed = true;
        self.agent.counted.retain(|uid| self.workers.contains_key(uid) || self.admitting.contains_key(uid));
        for uid in orphans::folders(&self.agent) {
            if !self.workers.contains_key(&uid) && !self.done.contains(&uid) {
                self.unclaimed.entry(uid).or_default();
            }
        }
        for (uid, left) in std::mem::take(&mut self.unclaimed) {
            self.clean_up(uid, left);
        }
    }

    fn clean_up(&mut self, uid: String, left: Observed) {
        if !self.cleaned.insert(uid.clone()) {
            return;
        }
        let agent = Arc::clone(&self.agent);
        self.cleanups.spawn(async move {
            orphans::clean_up(agent, uid.clone(), left).await;
            uid
        });
    }

    fn report(&mut self, uid: Option<String>, report: Report) {
        match (uid, report) {
            (Some(uid), Report::Parts(sighting)) => self.tell(&uid, sighting),
            (_, Report::Everything(mut all, listed_at)) => {
                let uids: Vec<_> = self.workers.keys().cloned().collect();
                for uid in uids {
                    let seen = all.remove(&uid).unwrap_or_default();
                    self.tell(&uid, Sighting::All(seen, listed_at));
                }
                if !self.listed {
                    // Pods that have not come yet: the newer list is the better one.
                    self.unclaimed.extend(all);
                }
            }
            (None, Report::Parts(_)) => {}
        }
    }

    fn tell(&self, uid: &str, sighting: Sighting) {
        if let Some(inbox) = self.workers.get(uid) {
            let _ended = inbox.send(Event::Seen(sighting));
        }
    }

    fn ended(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.workers.remove(&uid);
                self.static_ended(&uid);
                if !self.forgotten.remove(&uid) {
                    self.done.insert(uid);
                }
            }
            // A bug of ours in one pod's task must not look like a pod that is done: the process ends with its message.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
