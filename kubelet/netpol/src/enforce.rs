//! Follows policies, pods and namespaces, and applies what they say whenever they change, or before a pod's containers start.

use crate::plan::Table;
use crate::pods::{Labels, PodFacts};
use crate::select::Scene;
use crate::{NetpolConfig, NetpolError};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use skiff_client::{Cache, Subscription};
use skiff_step::{Engine, Step};
use skiff_sys::nft::{Change, Transaction, table_exists};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const APPLY: Step = Step::new("netpol.apply", "nftables: one transaction");
/// How often we look whether the table is still there. A foreign `nft flush ruleset` is repaired within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long we wait after a refusal of the kernel.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a new pod may be unknown to the cache before we take it for gone.
const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// Pods that wait at once.
const WAITING_MAX: usize = 256;

/// A pod that has an address and no containers yet.
struct Arrival {
    pod: Arc<Pod>,
    addresses: Vec<String>,
    in_force: oneshot::Sender<()>,
}

/// Lets pods wait until policies are in force for them; clones are the same.
#[derive(Clone)]
pub struct Gate {
    arrivals: mpsc::Sender<Arrival>,
}

impl Gate {
    /// Returns when the rules know that `pod` has these addresses: no packet of its containers passes before, neither one that a
    /// policy forbids nor one that is taken for a stranger's. Where nobody enforces, there is nothing to wait for.
    pub async fn wait(&self, pod: Arc<Pod>, addresses: Vec<String>) {
        let (in_force, done) = oneshot::channel();
        if self.arrivals.send(Arrival { pod, addresses, in_force }).await.is_ok() {
            let _in_force_or_ended = done.await;
        }
    }
}

/// What will keep the table.
pub struct Enforcer {
    arrivals: mpsc::Receiver<Arrival>,
}

/// A gate, and who opens it. They are made before anything runs, because the first pods may come at once.
#[must_use]
pub fn enforcer() -> (Gate, Enforcer) {
    let (sender, arrivals) = mpsc::channel(WAITING_MAX);
    (Gate { arrivals: sender }, Enforcer { arrivals })
}

impl Enforcer {
    /// Keeps the table equal to the policies until `shutdown`. At the start the table is replaced in one transaction, and at the end
    /// it stays: policies hold while nobody changes them.
    ///
    /// # Errors
    /// The kernel refuses nftables (rights, modules).
    pub async fn run(mut self, config: NetpolConfig, shutdown: CancellationToken) -> Result<(), NetpolError> {
        let mut keeper = Keeper::new(&config);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = keeper.synced() => {}
        }
        let (mut applied, mut waiting) = (false, Vec::new());
        loop {
            while let Ok(arrival) = self.arrivals.try_recv() {
                waiting.push(keeper.arrive(arrival));
            }
            match keeper.apply().await {
                Ok(()) => {
                    applied = true;
                    waiting.drain(..).for_each(|in_force: oneshot::Sender<()>| {
                        let _gone_meanwhile = in_force.send(());
                    });
                }
                Err(error) if !applied => return Err(error),
                Err(error) => {
                    let error = skiff_client::sentence(&error);
                    tracing::warn!(error, "cannot bring network policies up to date; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = tokio::time::sleep(RETRY_DELAY) => {}
                    }
                    keeper.changed.notify_one();
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = keeper.changed.notified() => {}
                // A kubelet that has ended asks for nothing; the others are waited for still.
                Some(arrival) = self.arrivals.recv() => waiting.push(keeper.arrive(arrival)),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }
}

/// What is followed, and what the kernel has.
struct Keeper {
    node_name: String,
    policies: Cache<NetworkPolicy>,
    pods: Cache<Pod>,
    namespaces: Cache<Namespace>,
    changed: Arc<Notify>,
    _subscriptions: (Subscription, Subscription, Subscription),
    /// Pods whose status does not show their addresses yet.
    early: BTreeMap<String, (PodFacts, Instant)>,
    table: String,
    engine: Engine,
    /// Without one we do not know, and replace what is there.
    applied: Option<Table>,
}

impl Keeper {
    fn new(config: &NetpolConfig) -> Self {
        let (policies, pods) = (config.caches.all::<NetworkPolicy>(), config.caches.all::<Pod>());
        let namespaces = config.caches.all::<Namespace>();
        let changed = Arc::new(Notify::new());
        let [one, two, three] = [(); 3].map(|()| Arc::clone(&changed));
        let subscriptions = (
            policies.subscribe(move |_| one.notify_one()),
            pods.subscribe(move |_| two.notify_one()),
            namespaces.subscribe(move |_| three.notify_one()),
        );
        Self {
            node_name: config.node_name.clone(),
            policies,
            pods,
            namespaces,
            changed,
            _subscriptions: subscriptions,
            early: BTreeMap::new(),
            table: config.table.clone(),
            engine: config.engine.clone(),
            applied: None,
        }
    }

    async fn synced(&self) {
        self.policies.synced().await;
        self.pods.synced().await;
        self.namespaces.synced().await;
    }

    fn arrive(&mut self, arrival: Arrival) -> oneshot::Sender<()> {
        let addresses: Vec<&str> = arrival.addresses.iter().map(String::as_str).collect();
        if let Some(facts) = PodFacts::at(&arrival.pod, &self.node_name, &addresses) {
            self.early.insert(facts.uid.clone(), (facts, Instant::now()));
        }
        arrival.in_force
    }

    async fn apply(&mut self) -> Result<(), NetpolError> {
        let wanted = self.wanted();
        let before = self.applied.take();
        let (table, engine) = (self.table.clone(), self.engine.clone());
        let work = move || commit(&table, &engine, &wanted, before.as_ref()).map(|()| wanted);
        let done = tokio::task::spawn_blocking(work).await;
        self.applied = Some(done.map_err(|error| NetpolError::CutOff(error.to_string()))??);
        Ok(())
    }

    fn wanted(&mut self) -> Table {
        let policies = self.policies.all();
        if policies.is_empty() {
            self.early.retain(|_, (_, since)| since.elapsed() < UNSEEN_MAX);
            return Table::default();
        }
        let pods = self.present();
        let namespaces: BTreeMap<String, Labels> = self
            .namespaces
            .all()
            .iter()
            .filter_map(|one| Some((one.metadata.name.clone()?, one.metadata.labels.clone().unwrap_or_default())))
            .collect();
        Table::of(policies.iter().map(AsRef::as_ref), Scene { pods: &pods, namespaces: &namespaces })
    }

    /// The pods as they are: those of the cache, and those that are ahead of it. Where two claim one address, the later has it.
    fn present(&mut self) -> Vec<PodFacts> {
        let mut all = self.pods.all();
        all.sort_by_key(|pod| (pod.metadata.deletion_timestamp.is_none(), pod.metadata.creation_timestamp.clone()));
        let known: BTreeMap<&str, &Pod> =
            all.iter().filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod.as_ref()))).collect();
        let node = &self.node_name;
        self.early.retain(|uid, (_, since)| match known.get(uid.as_str()) {
            Some(pod) => !has_ended(pod) && PodFacts::of(pod, node).is_none(),
            None => since.elapsed() < UNSEEN_MAX,
        });
        let early = self.early.values().map(|(facts, _)| facts.clone());
        let of_cache = all.iter().rev().filter_map(|pod| PodFacts::of(pod, node));
        let mut taken = HashSet::new();
        let pods = early.chain(of_cache).map(|mut pod| {
            pod.addresses.retain(|address| taken.insert(*address));
            pod
        });
        pods.filter(|pod| !pod.addresses.is_empty()).collect()
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn commit(table: &str, engine: &Engine, wanted: &Table, before: Option<&Table>) -> Result<(), NetpolError> {
    let run = |verb: &str, changes: Vec<Change>| {
        let operand = format!("{verb} {table}: {} changes", changes.len());
        let transaction = Transaction { table: table.to_owned(), changes };
        engine.run(&APPLY, || operand, || Ok::<(), NetpolError>(transaction.commit()?))
    };
    let Some(before) = before.filter(|_| table_exists(table).unwrap_or(false)) else {
        return run("replace", wanted.replace());
    };
    let changes = wanted.changes_since(before);
    if changes.is_empty() {
        return Ok(());
    }
    match run("amend", changes) {
        // Somebody else changed our table.
        Err(NetpolError::Rules(error)) if error.is_surprise() => run("replace", wanted.replace()),
        other => other,
    }
}
