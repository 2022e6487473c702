//! What is stored becomes what is known: one task follows both kinds, keeps the objects that every cluster has, says of each schema whether
//! its level is there, and lets levels lend each other seats.

use super::{Fairness, seed};
use crate::app::App;
use crate::registry::object::{name_of, now};
use crate::registry::{Configuration, Event, EventKind, Registry, Target, WatchOptions, Watcher, built_in};
use crate::request::Request;
use crate::status::Status;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::{Value, json};
use skiff_fairness::{Dangling, GROUP, Kind, Step};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long after the start what every cluster has is written: a node starts first.
const SEED_AFTER: Duration = Duration::from_millis(500);
/// How often seats are lent anew (upstream's period).
const ADJUST_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody has changed or deleted what every cluster has (upstream's period).
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// The most conditions of one schema that are written within a minute: servers that do not agree should not fight.
const WRITES_A_MINUTE: usize = 6;
/// Who owns conditions (kube-apiserver's word).
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Both kinds, by name.
#[derive(Debug, Default)]
pub(super) struct Stored {
    levels: BTreeMap<String, Value>,
    schemas: BTreeMap<String, Value>,
    /// At which revision each was read.
    pub(super) revisions: Vec<(Kind, i64)>,
}

impl Stored {
    pub(super) fn of(&self, kind: Kind) -> &BTreeMap<String, Value> {
        if kind == Kind::Level { &self.levels } else { &self.schemas }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Value> {
        if kind == Kind::Level { &mut self.levels } else { &mut self.schemas }
    }

    fn values(&self, kind: Kind) -> Vec<Value> {
        self.of(kind).values().cloned().collect()
    }
}

impl Fairness {
    /// Takes what is stored; answers the schemas whose conditions say something else.
    fn learn(&self, stored: &Stored) -> Vec<Dangling> {
        let (levels, schemas) = (stored.values(Kind::Level), stored.values(Kind::Schema));
        let (plan, mut dangling) = self.levels().digest(self.now(), &levels, &schemas);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
        dangling.retain(|one| !stored.schemas.get(&one.schema).is_some_and(|schema| one.is_said_by(schema)));
        dangling
    }
}

/// Learns what the store has, with what it will have soon, before the server is ready.
pub(crate) async fn load(registry: &Registry, fairness: &Fairness) -> Result<(), Status> {
    let mut stored = seed::stored(registry).await?;
    for (kind, name, step) in seed::steps(&stored) {
        match step {
            Step::Update(object) => drop(stored.of_mut(kind).insert(name, *object)),
            Step::Delete => drop(stored.of_mut(kind).remove(&name)),
            Step::Keep | Step::Create => {}
        }
    }
    fairness.learn(&stored);
    Ok(())
}

/// Follows until the server stops or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: &CancellationToken) {
    let app = app.clone();
    tokio::spawn(until.clone().run_until_cancelled_owned(async move {
        tokio::time::sleep(SEED_AFTER).await;
        let mut follower = Follower { app, writes: HashMap::new() };
        loop {
            if let Err(status) = follower.follow_once().await {
                tracing::warn!(
                    message = status.message,
                    "following flow schemas and priority levels failed; again in a second"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }));
}

struct Follower {
    app: Arc<App>,
    /// When conditions of each schema were written.
    writes: HashMap<String, VecDeque<Instant>>,
}

type Batches = SelectAll<BoxStream<'static, (Kind, Vec<Event>)>>;

fn stream(kind: Kind, watcher: Watcher) -> BoxStream<'static, (Kind, Vec<Event>)> {
    let next = move |mut watcher: Watcher| async move {
        let events = watcher.next().await?;
        Some(((kind, events), watcher))
    };
    futures::stream::unfold(watcher, next).boxed()
}

async fn watch(registry: &Registry, stored: &Stored) -> Result<Batches, Status> {
    let mut all = SelectAll::new();
    for (kind, after) in &stored.revisions {
        let options = WatchOptions { after: *after, ..WatchOptions::default() };
        let watcher = registry.watch(built_in(GROUP, kind.plural())?, "", options).await?;
        all.push(stream(*kind, watcher));
    }
    Ok(all)
}

impl Follower {
    /// Writes, lists, then watches; ends when one of the watches does.
    async fn follow_once(&mut self) -> Result<(), Status> {
        seed::write(&self.app.registry).await?;
        let mut stored = seed::stored(&self.app.registry).await?;
        let mut batches = watch(&self.app.registry, &stored).await?;
        let count = batches.len();
        self.learn(&stored).await?;
        let begin = Instant::now();
        let mut adjust = tokio::time::interval_at(begin + ADJUST_EVERY, ADJUST_EVERY);
        let mut keep = tokio::time::interval_at(begin + KEEP_EVERY, KEEP_EVERY);
        while batches.len() == count {
            tokio::select! {
                batch = batches.next() => {
                    let Some((kind, events)) = batch else { return Ok(()) };
                    apply(stored.of_mut(kind), events)?;
                    self.learn(&stored).await?;
                }
                _ = adjust.tick() => {
                    self.app.fairness.levels().adjust(self.app.fairness.now());
                    if self.app.fairness.levels().has_left() {
                        self.learn(&stored).await?;
                    }
                }
                _ = keep.tick() => {
                    seed::write(&self.app.registry).await?;
                    self.learn(&stored).await?;
                }
            }
        }
        Ok(())
    }

    async fn learn(&mut self, stored: &Stored) -> Result<(), Status> {
        for one in self.app.fairness.learn(stored) {
            if self.may_write(&one.schema) {
                say(&self.app.registry, &one).await?;
            }
        }
        Ok(())
    }

    fn may_write(&mut self, schema: &str) -> bool {
        let now = Instant::now();
        let writes = self.writes.entry(schema.to_owned()).or_default();
        while writes.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60)) {
            writes.pop_front();
        }
        let may = writes.len() < WRITES_A_MINUTE;
        if may {
            writes.push_back(now);
        }
        may
    }
}

fn apply(objects: &mut BTreeMap<String, Value>, events: Vec<Event>) -> Result<(), Status> {
    for event in events {
        match event {
            Event::Object(kind, object) => {
                let value = object.value()?;
                let name = name_of(value).to_owned();
                match kind {
                    EventKind::Deleted => drop(objects.remove(&name)),
                    _ => drop(objects.insert(name, value.clone())),
                }
            }
            Event::Bookmark { .. } => {}
            Event::Error(status) => return Err(status),
        }
    }
    Ok(())
}

/// Writes a condition by applying it, as kube-apiserver does: it owns this one and no other.
async fn say(registry: &Registry, dangling: &Dangling) -> Result<(), Status> {
    let [condition, status, reason, message] = dangling.condition();
    let resource = built_in(GROUP, Kind::Schema.plural())?;
    let target = Target { resource, namespace: "", name: &dangling.schema };
    let mut request = Request::own("patch", &target).of_part("status");
    CONSUMER.clone_into(&mut request.options.manager);
    request.options.force = true;
    let condition = json!({"type": condition, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now()});
    let configuration = Configuration::of(json!({"apiVersion": resource.api_version(), "kind": &*resource.kind,
        "metadata": {"name": dangling.schema}, "status": {"conditions": [condition]}}))?;
    let written = registry.write(&request, &configuration.change(&request)).await;
    written.map(drop).or_else(|status| if status.reason == "NotFound" { Ok(()) } else { Err(status) })
}
