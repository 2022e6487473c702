//! Who goes first: each request gets seats before it is authorized, waits for them, or is refused (KEP-1040). What is decided is
//! `skiff-fairness`; here are the clock, the waiting and the answers.
//!
//! A request has its seats until its answer is ready; of an answer that is written while it is sent, until that is sent or a second has
//! passed, because a slow reader should keep nobody waiting. A watch has them until what it begins with is on its way. Requests that take as
//! long as their client wants (exec, attach, port-forward, logs, proxies) have none.
//!
//! What this server asks of itself takes no seats, so no request waits for a second one of ours. Servers of others that are asked on behalf
//! of a request (webhooks, API servers behind this one) may ask back, as themselves: they are at a level of their own, and whoever waits for
//! them does so for a limited time.

mod calls; // seats over gRPC
mod follow; // what is stored becomes what is known
mod seat; // a seat, and how it is given back
mod seed; // the objects that every cluster has
mod shape; // seats over HTTP

pub(crate) use calls::enter_call;
pub(crate) use follow::{follow, load};
pub(crate) use seat::{Counted, Seat};
pub(crate) use shape::shaped;
pub use skiff_fairness::Limits;

use jiff::{SignedDuration, Timestamp};
use seat::{Plain, Waiting};
use skiff_client::Identity;
use skiff_fairness::{
    Arrival, Asked, Details, Entry, Levels, Plan, Query, Size, User, Watches, Work, dump_levels, dump_queues,
    dump_requests, list_work, metrics, write_work,
};
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a watch may wait for a seat, or a request that has no limit of its own (kube-apiserver: a quarter of `--request-timeout`).
const WAIT_MAX: Duration = Duration::from_secs(15);

/// See the module.
pub(crate) struct Fairness {
    /// All times are counted from here.
    begin: Instant,
    begin_time: Timestamp,
    plan: RwLock<Arc<Plan<Waiting>>>,
    levels: Mutex<Levels<Waiting>>,
    watches: Arc<Watches>,
    /// What limits requests instead, if nothing fairer does.
    plain: RwLock<Option<Arc<Plain>>>,
}

/// What a request has, and what its answer says of it.
pub(crate) struct Entered {
    /// `None`: it needs none.
    pub(crate) seat: Option<Seat>,
    /// The identities of its schema and level.
    pub(crate) marks: Option<Marks>,
}

/// The identities of a schema and a level; empty as long as these are not stored.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) schema: String,
    pub(crate) level: String,
}

/// A request that gets no seat.
pub(crate) struct Refused {
    /// When its client should come again.
    pub(crate) seconds: u64,
    pub(crate) marks: Option<Marks>,
}

/// How much longer a request may wait, and how large what it reads is: asked for only when it matters.
pub(crate) trait About {
    /// The longest wait.
    fn wait_max(&self) -> Duration;
    /// What there is of what it names.
    fn size(&self) -> Option<Size>;
}

impl Fairness {
    /// With the limits that Kubernetes has.
    pub(crate) fn new() -> Arc<Self> {
        let hasher = RandomState::new();
        let mut levels = Levels::new(Limits::default().seats(), hasher.clone());
        let (plan, _) = levels.digest(Duration::ZERO, &[], &[]);
        Arc::new(Self {
            begin: Instant::now(),
            begin_time: Timestamp::now(),
            plan: RwLock::new(Arc::new(plan)),
            levels: Mutex::new(levels),
            watches: Arc::new(Watches::new(hasher)),
            plain: RwLock::default(),
        })
    }

    /// Has other limits, and is fair within them or not at all.
    pub(crate) fn limit(&self, limits: Limits, fairly: bool) {
        *self.plain.write().unwrap_or_else(PoisonError::into_inner) = (!fairly).then(|| Arc::new(Plain::new(limits)));
        self.levels().set_seats(self.now(), limits.seats());
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn levels(&self) -> MutexGuard<'_, Levels<Waiting>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> Arc<Plan<Waiting>> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a request its seats, when it is its turn.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        who: &Identity,
        asked: &Asked<'_>,
        query: &Query<'_>,
        about: &impl About,
    ) -> Result<Entered, Refused> {
        if asked.is_long() {
            return Ok(Entered { seat: None, marks: None });
        }
        let plain = self.plain.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(plain) = plain {
            return plain.enter(who, asked);
        }
        let plan = self.plan();
        let user = User { name: &who.user, groups: &who.groups };
        let Some(entry) = plan.find(&user, asked) else { return Ok(Entered { seat: None, marks: None }) };
        let marks = Some(Marks { schema: entry.schema.uid.clone(), level: entry.level_uid.clone() });
        let work = self.work(entry, asked, query, about);
        match self.take(&plan, entry, &user, asked, work, about).await {
            Some(seat) => Ok(Entered { seat: Some(seat), marks }),
            None => {
                let seconds = entry.level.refuse(Timestamp::now().as_second().unsigned_abs());
                Err(Refused { seconds, marks })
            }
        }
    }

    /// Takes seats at once or later; `None`: never.
    async fn take(
        self: &Arc<Self>,
        plan: &Plan<Waiting>,
        entry: &Entry<Waiting>,
        user: &User<'_>,
        asked: &Asked<'_>,
        work: Work,
        about: &impl About,
    ) -> Option<Seat> {
        let distinguisher = entry.distinguisher(user, asked);
        let hash = if entry.is_exempt { 0 } else { plan.hash(entry, distinguisher) };
        let (now, mut told) = (self.now(), None);
        let arrival = entry.level.lock().arrive(now, hash, work, &entry.flow, || {
            let (sender, receiver) = oneshot::channel();
            told = Some(receiver);
            (Waiting::new(sender), details(user, asked, distinguisher))
        });
        let is_watch = asked.verb == "watch";
        let mut seat = match arrival {
            Arrival::Rejected(_) => None,
            Arrival::Executes(ticket) | Arrival::Waits(ticket) => Some(Seat::new(self, entry, ticket, is_watch)),
        };
        if let (Some(told), Some(waiting)) = (told, &mut seat) {
            waiting.arm();
            // Whoever goes away meanwhile gives its place in the queue back, as this seat is dropped then.
            if !matches!(tokio::time::timeout(about.wait_max(), told).await, Ok(Ok(()))) {
                seat = None;
            }
        }
        if !entry.is_exempt {
            entry.flow.note_wait(self.now().saturating_sub(now), seat.is_some());
        }
        let mut seat = seat?;
        seat.begin();
        if let (true, Some(named)) = (is_watch, &asked.named) {
            seat.count(&self.watches, named);
        }
        Some(seat)
    }

    fn work(&self, entry: &Entry<Waiting>, asked: &Asked<'_>, query: &Query<'_>, about: &impl About) -> Work {
        let seats_max = entry.level.seats_max();
        let work = match (asked.verb, &asked.named) {
            ("list" | "watch", _) => list_work(asked, query, about.size(), seats_max),
            ("create" | "update" | "patch" | "delete", Some(named)) => {
                let watchers = self.watches.told(named);
                entry.flow.note_watchers(watchers);
                write_work(named, watchers, seats_max)
            }
            _ => Work::ONE,
        };
        entry.flow.note_seats(work.seats());
        work
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> String {
        metrics(&self.levels())
    }

    /// A page for those who look; `None`: there is no such page.
    pub(crate) fn page(&self, name: &str, details: bool) -> Option<String> {
        let levels = self.levels();
        let clock = |at: Duration| {
            let passed = SignedDuration::try_from(at).unwrap_or_default();
            self.begin_time.checked_add(passed).unwrap_or(self.begin_time).to_string()
        };
        match name {
            "dump_priority_levels" => Some(dump_levels(&levels)),
            "dump_queues" => Some(dump_queues(&levels)),
            "dump_requests" => Some(dump_requests(&levels, details, clock)),
            _ => None,
        }
    }
}

fn details(user: &User<'_>, asked: &Asked<'_>, distinguisher: &str) -> Details {
    let named = asked.named.unwrap_or_default();
    let api_version = match (named.group, named.version) {
        ("", version) => version.to_owned(),
        (group, version) => format!("{group}/{version}"),
    };
    Details {
        distinguisher: distinguisher.to_owned(),
        user: user.name.to_owned(),
        verb: asked.verb.to_owned(),
        path: asked.path.to_owned(),
        namespace: named.namespace.to_owned(),
        name: named.name.to_owned(),
        api_version,
        resource: named.resource.to_owned(),
        part: named.part.to_owned(),
    }
}
