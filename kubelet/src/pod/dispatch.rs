//! From the API's watch and the runtime's reports to the pods' workers.
//!
//! One worker per pod uid. A pod of which the API sends a deletion, or which a new list no longer has, is told so by its
//! worker; what the runtime has of pods that no list names is cleaned up, after the first complete list only.

use super::admission::{self, Refusal};
use super::backoff::{Backoff, RETRIES};
use super::observed::Observed;
use super::orphans;
use super::runtime_events::{self, Inventory, News, Report};
use super::worker::{self, Event, Inbox, Sighting};
use crate::agent::Agent;
use crate::events::Severity;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many controllers we remember whose pods we turned away, before those are forgotten that have been quiet since.
const CONTROLLERS_MAX: usize = 1024;

struct Dispatch {
    agent: Arc<Agent>,
    workers: HashMap<String, Inbox>,
    running: JoinSet<String>,
    cleanups: JoinSet<String>,
    cleaned: HashSet<String>,
    /// What the runtime had when we started, of pods that have not come yet.
    unclaimed: HashMap<String, Observed>,
    /// How often pods of a controller were turned away, by the controller's uid.
    rejections: HashMap<String, Backoff>,
    /// Pods that their workers are done with, until the API forgets them.
    done: HashSet<String>,
    /// Uids of the list that is coming in.
    listing: HashSet<String>,
    /// Whether a complete list has come.
    listed: bool,
}

/// Runs the node's pods until `shutdown`; they keep running after it.
pub(crate) async fn run(agent: Arc<Agent>, shutdown: CancellationToken) -> Result<(), tonic::Status> {
    let mut inventory = Inventory::default();
    let unclaimed = inventory.list(&agent).await?;
    let (news, mut reports) = mpsc::unbounded_channel::<News>();
    let mut helpers = JoinSet::new();
    helpers.spawn(runtime_events::follow(Arc::clone(&agent), inventory, news));
    let pods: Api<Pod> = Api::all(agent.client.clone());
    let ours = watcher::Config::default().fields(&format!("spec.nodeName={}", agent.node_name));
    let mut stream = watcher(pods, ours).default_backoff().into_stream().boxed();
    let mut dispatch = Dispatch::new(agent, unclaimed);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            change = stream.try_next() => match change {
                Ok(Some(change)) => dispatch.change(change),
                Ok(None) => return Ok(()),
                Err(error) => tracing::warn!(error = skiff_client::sentence(&error), "pod watch"),
            },
            Some((uid, report)) = reports.recv() => dispatch.report(uid, report),
            Some(ended) = dispatch.running.join_next() => dispatch.ended(ended),
            Some(_cleaned) = dispatch.cleanups.join_next() => {}
        }
    }
}

impl Dispatch {
    fn new(agent: Arc<Agent>, unclaimed: HashMap<String, Observed>) -> Self {
        Self {
            agent,
            workers: HashMap::new(),
            running: JoinSet::new(),
            cleanups: JoinSet::new(),
            cleaned: HashSet::new(),
            unclaimed,
            rejections: HashMap::new(),
            done: HashSet::new(),
            listing: HashSet::new(),
            listed: false,
        }
    }

    fn change(&mut self, change: watcher::Event<Pod>) {
        match change {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(pod) => {
                self.listing.extend(pod.metadata.uid.clone());
                self.assign(pod);
            }
            watcher::Event::InitDone => self.list_done(),
            watcher::Event::Apply(pod) => self.assign(pod),
            watcher::Event::Delete(pod) => self.remove(&pod.metadata.uid.unwrap_or_default()),
        }
    }

    fn assign(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if self.done.contains(&uid) {
            return;
        }
        let pod = Arc::new(pod);
        if let Some(inbox) = self.workers.get(&uid) {
            // A worker that has just ended is found out by `ended`.
            let _ended = inbox.send(Event::Pod(pod));
            return;
        }
        let adopted = self.unclaimed.remove(&uid).unwrap_or_default();
        let is_new = adopted == Observed::default();
        let limit = usize::try_from(self.agent.max_pods).unwrap_or(usize::MAX);
        let short = self.agent.gauge.pressure();
        let refusal = || {
            admission::refusal(&pod, self.workers.len(), limit, &self.agent.sysctls)
                .or_else(|| admission::under_pressure(&pod, short))
        };
        if is_new && let Some(refusal) = refusal() {
            return self.turn_away(uid, &pod, refusal);
        }
        let (inbox, events) = mpsc::unbounded_channel();
        let work = worker::run(Arc::clone(&self.agent), pod, adopted, inbox.clone(), events);
        self.workers.insert(uid.clone(), inbox);
        self.running.spawn(async move {
            work.await;
            uid
        });
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

    fn remove(&mut self, uid: &str) {
        self.done.remove(uid);
        if let Some(inbox) = self.workers.get(uid) {
            let _ended = inbox.send(Event::Removed);
        }
    }

    fn list_done(&mut self) {
        let listing = std::mem::take(&mut self.listing);
        let missing: Vec<_> = self.workers.keys().filter(|uid| !listing.contains(*uid)).cloned().collect();
        for uid in missing {
            self.remove(&uid);
        }
        self.done.retain(|uid| listing.contains(uid));
        if self.listed {
            return;
        }
        self.listed = true;
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
                self.done.insert(uid);
            }
            // A bug of ours in one pod's task must not look like a pod that is done: the process ends with its message.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
