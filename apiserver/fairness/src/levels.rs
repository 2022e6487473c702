//! All levels: what follows from the stored objects, and how levels lend each other seats (KEP-1040, "Borrowing").

use crate::allocate::{Share, allocate};
use crate::bootstrap;
use crate::demand::Seen;
use crate::level::{Level, LevelSpec};
use crate::plan::{Entry, Plan};
use crate::queueset::{QueueSet, Response, Waiter};
use crate::schema::Schema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

/// How much of a smoothed demand stays from one adjustment to the next: after five minutes half of it.
const SMOOTHING: f64 = 0.977;
/// The most of a level's seats that one request is thought to need.
const SEATS_MAX_PART: f64 = 0.15;

/// Requests that are served at the same time, as flags say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `--max-requests-inflight`.
    pub reading: u32,
    /// `--max-mutating-requests-inflight`.
    pub mutating: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reading: 400, mutating: 200 }
    }
}

impl Limits {
    /// Seats of the whole server.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.reading.saturating_add(self.mutating)
    }
}

/// A schema, and whether the level that it names is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dangling {
    /// The schema's name.
    pub schema: String,
    /// The level's name.
    pub level: String,
    /// Whether it is missing.
    pub is_dangling: bool,
}

impl Dangling {
    /// The condition that says so: type, status, reason, message.
    #[must_use]
    pub fn condition(&self) -> [String; 4] {
        let object = format!("This FlowSchema references the PriorityLevelConfiguration object named {:?}", self.level);
        let [status, reason, rest] = match self.is_dangling {
            true => ["True", "NotFound", "but there is no such object"],
            false => ["False", "Found", "and it exists"],
        };
        ["Dangling".to_owned(), status.to_owned(), reason.to_owned(), format!("{object} {rest}")]
    }

    /// Whether a stored schema says so already.
    #[must_use]
    pub fn is_said_by(&self, schema: &Value) -> bool {
        let conditions = schema["status"]["conditions"].as_array();
        let said = conditions.into_iter().flatten().find(|one| one["type"] == "Dangling");
        let [_, status, reason, message] = self.condition();
        said.is_some_and(|one| one["status"] == status && one["reason"] == reason && one["message"] == message)
    }
}

/// One level, and what its seats are.
#[derive(Debug)]
pub(crate) struct State<W> {
    pub(crate) spec: LevelSpec,
    pub(crate) level: Arc<Level<W>>,
    /// Its object is gone; it stays until its requests are.
    pub(crate) is_leaving: bool,
    pub(crate) nominal: u32,
    pub(crate) least: u32,
    pub(crate) most: u32,
    pub(crate) current: u32,
    pub(crate) seen: Seen,
    pub(crate) smoothed: f64,
    pub(crate) target: f64,
}

/// See the module.
#[derive(Debug)]
pub struct Levels<W> {
    seats: u32,
    hasher: RandomState,
    pub(crate) states: BTreeMap<String, State<W>>,
    nominal_sum: u32,
    pub(crate) fair_fraction: f64,
}

fn rounded(seats: f64) -> u32 {
    seats.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

impl<W: Waiter> Levels<W> {
    /// None yet.
    #[must_use]
    pub fn new(seats: u32, hasher: RandomState) -> Self {
        Self { seats, hasher, states: BTreeMap::new(), nominal_sum: 0, fair_fraction: 0.0 }
    }

    /// Has another number of seats from now on.
    pub fn set_seats(&mut self, now: Duration, seats: u32) {
        self.seats = seats;
        self.divide();
        self.adjust(now);
    }

    /// Takes all stored levels and schemas: which requests belong where from now on, and which schemas name levels that are missing. The
    /// objects without which nothing works are as if they were there.
    pub fn digest(&mut self, now: Duration, levels: &[Value], schemas: &[Value]) -> (Plan<W>, Vec<Dangling>) {
        let specs: Vec<LevelSpec> = levels.iter().filter_map(|object| LevelSpec::read(object).ok()).collect();
        let is_there = |name: &str| specs.iter().any(|spec| spec.name == name);
        let (mut dangling, mut used) = (Vec::new(), Vec::new());
        for schema in schemas.iter().map(Schema::read) {
            let is_dangling = !is_there(&schema.level);
            dangling.push(Dangling { schema: schema.name.clone(), level: schema.level.clone(), is_dangling });
            if !is_dangling {
                used.push(schema);
            }
        }
        let names: Vec<String> = used.iter().map(|schema| schema.name.clone()).collect();
        let missing = bootstrap::mandatory_schemas().map(|object| Schema::read(&object)).into_iter();
        used.extend(missing.filter(|one| !names.contains(&one.name)));
        self.take(now, specs);
        self.divide();
        self.adjust(now);
        let entries = used.into_iter().filter_map(|schema| {
            let state = self.states.get(&schema.level)?;
            Some(Entry {
                flow: state.level.flow(&schema.name),
                level: Arc::clone(&state.level),
                level_uid: state.spec.uid.clone(),
                is_exempt: state.spec.is_exempt(),
                schema,
            })
        });
        (Plan::new(entries.collect(), self.hasher.clone()), dangling)
    }

    /// Whether a level whose object is gone has no requests any more, so that it can go at the next digest.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.states.values().any(|state| state.is_leaving && state.level.lock().is_idle())
    }

    /// Makes, changes and removes levels.
    fn take(&mut self, now: Duration, mut specs: Vec<LevelSpec>) {
        for object in bootstrap::mandatory_levels() {
            let Ok(spec) = LevelSpec::read(&object) else { continue };
            if !specs.iter().any(|one| one.name == spec.name) {
                specs.push(spec);
            }
        }
        for state in self.states.values_mut() {
            state.is_leaving = !specs.iter().any(|spec| spec.name == state.spec.name);
        }
        self.states.retain(|_, state| !state.is_leaving || !state.level.lock().is_idle());
        for spec in specs {
            match self.states.get_mut(&spec.name) {
                Some(state) => state.spec = spec,
                None => drop(self.states.insert(spec.name.clone(), State::new(now, spec))),
            }
        }
    }

    /// Divides the server's seats by shares. A level gets a whole number, so all of them may get a few more than there are.
    fn divide(&mut self) {
        let sum: f64 = self.states.values().map(|state| f64::from(state.spec.shares)).sum();
        for state in self.states.values_mut() {
            let spec = &state.spec;
            let part = if sum > 0.0 { f64::from(self.seats) * f64::from(spec.shares) / sum } else { 0.0 };
            let nominal = part.ceil();
            let percent = |percent: u32| rounded(nominal * f64::from(percent) / 100.0);
            let lendable = percent(spec.lendable_percent);
            let borrowing = if spec.is_exempt() { None } else { spec.borrowing_percent };
            state.nominal = rounded(nominal);
            state.least = state.nominal.saturating_sub(lendable);
            state.most = state.nominal.saturating_add(borrowing.map_or(self.seats, percent));
            if let Response::Queue(queuing) = spec.response {
                let hand = u32::try_from(queuing.dealer.hand_size()).unwrap_or(u32::MAX).max(1);
                let seats = (nominal * SEATS_MAX_PART).ceil().min(f64::from(state.nominal / hand)).max(1.0);
                state.level.set_seats_max(rounded(seats));
            }
        }
        self.nominal_sum = self.states.values().map(|state| state.nominal).sum();
    }

    /// Gives each level as many seats as it seems to need, within what it may borrow and must lend: every ten seconds.
    pub fn adjust(&mut self, now: Duration) {
        for state in self.states.values_mut() {
            state.see(now);
        }
        let exempt: u32 = self.states.values().filter(|state| state.spec.is_exempt()).map(State::floor).sum();
        let others: Vec<&State<W>> = self.states.values().filter(|state| !state.spec.is_exempt()).collect();
        let least: i64 = others.iter().map(|state| i64::from(state.least)).sum();
        let floor: i64 = others.iter().map(|state| i64::from(state.floor())).sum();
        let left = i64::from(self.nominal_sum) - i64::from(exempt);
        let seats: Vec<u32>;
        (seats, self.fair_fraction) = if left <= least {
            (others.iter().map(|state| state.least).collect(), 0.0)
        } else if left <= floor {
            let part = (left - least) as f64 / (floor - least) as f64;
            let between = |state: &&State<W>| state.least + rounded(f64::from(state.floor() - state.least) * part);
            (others.iter().map(between).collect(), 0.0)
        } else {
            // As upstream has it: what the exempt level takes is not taken away from the others here, as far as they have more than
            // they need.
            let shares: Vec<Share> = others.iter().map(|state| state.share()).collect();
            match allocate(f64::from(self.nominal_sum), &shares) {
                Ok((parts, fraction)) => (parts.into_iter().map(rounded).collect(), fraction),
                // Bounds that leave no division: everybody keeps what it has.
                Err(_) => (others.iter().map(|state| state.current).collect(), 0.0),
            }
        };
        let mut seats = seats.into_iter();
        for state in self.states.values_mut() {
            let current = if state.spec.is_exempt() { state.floor() } else { seats.next().unwrap_or(state.current) };
            state.current = current;
            state.level.lock().configure(now, state.spec.response, current);
        }
    }
}

impl<W: Waiter> State<W> {
    fn new(now: Duration, spec: LevelSpec) -> Self {
        Self {
            level: Level::new(&spec.name, QueueSet::new(now, spec.response, 0)),
            spec,
            is_leaving: false,
            nominal: 0,
            least: 0,
            most: 0,
            current: 0,
            seen: Seen::default(),
            smoothed: 0.0,
            target: 0.0,
        }
    }

    /// Takes what was seen of its demand, and smooths it: it rises at once and falls slowly.
    fn see(&mut self, now: Duration) {
        let seen = self.level.lock().take_demand(now);
        if seen.seconds > 0.0 {
            let envelope = seen.average + seen.deviation;
            self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
            self.seen = seen;
        } else {
            self.seen.most = seen.most;
        }
        self.target = f64::from(self.floor()).max(self.smoothed);
    }

    /// The fewest seats that it gets now: what it has used lately, up to its nominal seats; the exempt level all that it has used.
    fn floor(&self) -> u32 {
        let used = rounded(self.seen.most);
        if self.spec.is_exempt() { self.least.max(used) } else { self.least.max(self.nominal.min(used)) }
    }

    fn share(&self) -> Share {
        Share { target: self.target, least: f64::from(self.floor()), most: f64::from(self.most) }
    }
}

/// What a level's seats are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seats {
    /// By its shares.
    pub nominal: u32,
    /// What it keeps.
    pub least: u32,
    /// What it may have.
    pub most: u32,
    /// What it has.
    pub current: u32,
}

impl<W: Waiter> Levels<W> {
    /// The seats of a level, if there is one of that name.
    #[must_use]
    pub fn seats_of(&self, level: &str) -> Option<Seats> {
        let state = self.states.get(level)?;
        let (nominal, least, most, current) = (state.nominal, state.least, state.most, state.current);
        Some(Seats { nominal, least, most, current })
    }
}

#[cfg(test)]
mod tests;
