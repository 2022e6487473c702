//! One run: clients, watchers, a compactor and somebody who kills the store; and everything that was asked and answered.

use crate::history::{Act, Answer, Event, Keys, NEVER, Operation, Outcome, Request, Revision, now};
use crate::server::{Doors, Kind, Server};
use crate::traffic::{self, Client, Profile};
use crate::watching::{Habit, Watched, Watching, What};
use crate::wire;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) profile: Profile,
    pub(crate) clients: usize,
    /// Answered or not, at least.
    pub(crate) operations: usize,
    /// How often the store is stopped and opened again.
    pub(crate) stops: usize,
    /// Streams of watches besides the collector's.
    pub(crate) watchers: usize,
    pub(crate) compaction_every: Duration,
    /// Writes pause for this long in the middle: leases end meanwhile.
    pub(crate) rest: Duration,
    /// How long an answer may take until it counts as lost; a bound for stores that hang, not for slow machines.
    pub(crate) patience: Duration,
}

impl Plan {
    /// The usual run.
    pub(crate) fn new(seed: u64) -> Self {
        Plan {
            seed,
            kind: Kind::Process,
            profile: if seed % 4 == 3 { Profile::Kubernetes } else { Profile::Etcd },
            clients: 8,
            operations: 500,
            stops: 1,
            watchers: 6,
            compaction_every: Duration::from_millis(100),
            rest: Duration::ZERO,
            patience: Duration::from_secs(60),
        }
    }
}

/// What everybody in a run looks at.
pub(crate) struct Shared {
    doors: watch::Receiver<Option<Doors>>,
    /// Set when the run is over: no door opens any more.
    over: watch::Sender<bool>,
    /// The newest revision that an answer told of.
    pub(crate) newest: AtomicI64,
    /// The newest compaction that was answered.
    pub(crate) compacted: AtomicI64,
    /// Up to where the collector was sent everything.
    pub(crate) collected: AtomicI64,
    pub(crate) delivered: AtomicUsize,
    asked: AtomicUsize,
    /// Nobody is to ask anything more.
    enough: AtomicBool,
    /// Set to the last revision of the run when it is known.
    pub(crate) last: watch::Sender<Option<Revision>>,
    pub(crate) patience: Duration,
    log: Mutex<Vec<Operation>>,
    /// The store refuses everything although it was not stopped.
    broken: Mutex<Option<String>>,
    /// When it was opened again.
    opened: Mutex<Vec<u64>>,
    /// Held by everyone who is asking; whoever wants silence takes it alone.
    silence: RwLock<()>,
}

impl Shared {
    /// The way to the store, as soon as it is up; `None`: the run is over.
    pub(crate) async fn door(&self) -> Option<Doors> {
        self.door_after(0).await
    }

    /// The same, of a store that was opened later.
    pub(crate) async fn door_after(&self, opened: usize) -> Option<Doors> {
        let (mut doors, mut over) = (self.doors.clone(), self.over.subscribe());
        loop {
            let found = doors.borrow_and_update().clone().filter(|doors| doors.opened > opened);
            if *over.borrow_and_update() || found.is_some() {
                return found;
            }
            tokio::select! {
                changed = doors.changed() => if changed.is_err() { return None },
                _ = over.changed() => (),
            }
        }
    }

    /// Asks, and writes down what came of it.
    async fn ask(&self, client: usize, request: Request) -> Option<Outcome> {
        let doors = self.door().await?;
        let _asking = self.silence.read().await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let call = now();
        let lost = |_| Outcome::Unknown("no answer".to_owned());
        let sent = tokio::time::timeout(self.patience, wire::send(doors.wide, &request)).await;
        let outcome = sent.unwrap_or_else(lost);
        let end = now();
        match &outcome {
            Outcome::Answered(answer) => self.learn(&request, answer),
            Outcome::Unknown(_) => (),
        }
        let end = if matches!(outcome, Outcome::Unknown(_)) { NEVER } else { end };
        let operation = Operation { client, call, end, until: NEVER, request, outcome: outcome.clone() };
        self.log.lock().unwrap().push(operation);
        if let Outcome::Unknown(why) = &outcome {
            // The store is gone; there is no point in asking what is left of it.
            if tokio::time::timeout(self.patience, self.door_after(doors.opened)).await.is_err() {
                self.broken
                    .lock()
                    .unwrap()
                    .get_or_insert_with(|| format!("refused, although nobody stopped it: {why}"));
            }
        }
        Some(outcome)
    }

    fn learn(&self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (_, Answer::Done { revision, .. }) => drop(self.newest.fetch_max(*revision, Ordering::SeqCst)),
            (Request::Compact { revision, .. }, Answer::Fine) => {
                self.compacted.fetch_max(*revision, Ordering::SeqCst);
            }
            _ => (),
        }
    }
}

/// Everything that happened.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) operations: Vec<Operation>,
    pub(crate) watches: Vec<Watched>,
    pub(crate) delivered: usize,
}

impl Run {
    /// What the collector saw, by revision.
    pub(crate) fn observed(&self) -> HashMap<Revision, Vec<Event>> {
        let mut observed: HashMap<Revision, Vec<Event>> = HashMap::new();
        let everything = |watch: &&Watched| watch.collects;
        for reply in self.watches.iter().filter(everything).flat_map(|watch| &watch.replies) {
            let What::Events(events) = &reply.what else { continue };
            for event in events {
                observed.entry(event.kv.mod_revision).or_default().push(event.clone());
            }
        }
        observed
    }
}

/// Does it. An error is a store that does not open, or does not answer.
pub(crate) async fn run(plan: &Plan) -> Result<Run, String> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut server = Server::start(plan.kind, plan.seed).await?;
    let shared = Arc::new(share(plan, &server));
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let client = Client::new(number, plan.profile, StdRng::seed_from_u64(random.random()));
            tokio::spawn(chat(shared.clone(), client, number))
        })
        .collect();
    let compactor = tokio::spawn(compact(shared.clone(), plan.clone(), StdRng::seed_from_u64(random.random())));
    let watchers: Vec<_> = (0..=plan.watchers).map(|number| watcher(&shared, plan, number, &mut random)).collect();
    let stopped = stops(plan, &shared, &mut server, &mut random).await;
    if stopped.is_err() {
        shared.over.send_replace(true);
        return stopped.map(|()| unreachable!("it is an error"));
    }
    // Not in the middle of a question: it would not be in the log.
    shared.enough.store(true, Ordering::SeqCst);
    for client in clients.into_iter().chain([compactor]) {
        client.await.map_err(|error| error.to_string())?;
    }
    let last = the_end(plan, &shared).await?;
    shared.last.send_replace(Some(last));
    let mut watches = Vec::new();
    for watcher in watchers {
        watches.extend(watcher.await.map_err(|error| error.to_string())?);
    }
    shared.over.send_replace(true);
    server.stop().await;
    let mut operations = std::mem::take(&mut *shared.log.lock().unwrap());
    let opened = shared.opened.lock().unwrap().clone();
    for operation in &mut operations {
        operation.until = opened.iter().copied().find(|opened| *opened > operation.call).unwrap_or(NEVER);
    }
    Ok(Run { operations, watches, delivered: shared.delivered.load(Ordering::SeqCst) })
}

fn share(plan: &Plan, server: &Server) -> Shared {
    Shared {
        doors: server.doors(),
        over: watch::channel(false).0,
        newest: AtomicI64::new(1),
        compacted: AtomicI64::new(0),
        collected: AtomicI64::new(1),
        delivered: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
        last: watch::channel(None).0,
        patience: plan.patience,
        log: Mutex::new(Vec::new()),
        broken: Mutex::new(None),
        opened: Mutex::new(Vec::new()),
        silence: RwLock::new(()),
    }
}

fn watcher(shared: &Arc<Shared>, plan: &Plan, number: usize, random: &mut StdRng) -> JoinHandle<Vec<Watched>> {
    let habit = match number {
        0 => Habit::Collector,
        number if number % 3 == 0 => Habit::Slow,
        _ => Habit::Restless,
    };
    let random = StdRng::seed_from_u64(random.random());
    let watching = Watching { shared: shared.clone(), profile: plan.profile, habit, random, done: Vec::new() };
    tokio::spawn(watching.run())
}

async fn chat(shared: Arc<Shared>, mut client: Client, number: usize) {
    while !shared.enough.load(Ordering::SeqCst) {
        let request = client.request();
        let Some(outcome) = shared.ask(number, request.clone()).await else { return };
        client.learn(&request, &outcome);
    }
}

/// Compacts to what the collector has seen, and no further: what no answer tells of would be lost.
async fn compact(shared: Arc<Shared>, plan: Plan, mut random: StdRng) {
    while !shared.enough.load(Ordering::SeqCst) {
        tokio::time::sleep(plan.compaction_every).await;
        let request = traffic::compaction(&mut random, shared.collected.load(Ordering::SeqCst));
        if shared.ask(plan.clients, request).await.is_none() {
            return;
        }
    }
}

/// Lets the clients ask, and stops the store between.
async fn stops(plan: &Plan, shared: &Shared, server: &mut Server, random: &mut StdRng) -> Result<(), String> {
    for part in 1..=plan.stops {
        until_asked(shared, plan.operations * part / (plan.stops + 1)).await?;
        if !plan.rest.is_zero() && part == 1 {
            // In silence: keys that are written again leave their lease before its end.
            let _silence = shared.silence.write().await;
            tokio::time::sleep(plan.rest).await;
        }
        match random.random_range(0..3) {
            0 => quiet_stop(plan, shared, server, random).await,
            _ => {
                tokio::time::sleep(Duration::from_micros(random.random_range(0..3000))).await;
                server.stop().await;
            }
        }
        shared.opened.lock().unwrap().push(now());
        server.open().await?;
    }
    until_asked(shared, plan.operations).await
}

/// Stops the store when nobody has asked for anything since it compacted all there was.
async fn quiet_stop(plan: &Plan, shared: &Shared, server: &mut Server, random: &mut StdRng) {
    let _silence = shared.silence.write().await;
    let Some(doors) = shared.door().await else { return };
    for _ in 0..2000 {
        if shared.collected.load(Ordering::SeqCst) >= shared.newest.load(Ordering::SeqCst) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let physical = random.random();
    let request = Request::Compact { revision: shared.collected.load(Ordering::SeqCst), physical };
    let call = now();
    let outcome = wire::send(doors.wide, &request).await;
    if let Outcome::Answered(answer) = &outcome {
        shared.learn(&request, answer);
    }
    let end = if matches!(outcome, Outcome::Unknown(_)) { NEVER } else { now() };
    shared.log.lock().unwrap().push(Operation { client: plan.clients, call, end, until: NEVER, request, outcome });
    server.stop().await;
}

async fn until_asked(shared: &Shared, operations: usize) -> Result<(), String> {
    while shared.asked.load(Ordering::SeqCst) < operations {
        if let Some(why) = shared.broken.lock().unwrap().take() {
            return Err(why);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Reads everything once more: the last revision is the store's own.
async fn the_end(plan: &Plan, shared: &Shared) -> Result<Revision, String> {
    let all = Act::Range { keys: Keys::below(plan.profile.prefix()), revision: 0, limit: 0 };
    let asking = shared.ask(plan.clients + 1, Request::One(all));
    let outcome = tokio::time::timeout(plan.patience, asking).await.map_err(|_| "the last read has no answer")?;
    match outcome {
        Some(Outcome::Answered(Answer::Done { revision, .. })) => Ok(revision),
        other => Err(format!("the last read: {other:?}")),
    }
}
