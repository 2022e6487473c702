//! One priority level: what its object says, and its queues.

use crate::dealer::Dealer;
use crate::dropped::Dropped;
use crate::flow::Flow;
use crate::queueset::{QueueSet, Queuing, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The level whose requests are never kept waiting.
pub(crate) const EXEMPT: &str = "exempt";

/// What the object of a level says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelSpec {
    /// Its name.
    pub name: String,
    /// Its identity; empty as long as it is not stored.
    pub uid: String,
    /// Its part of the server's seats, in proportion to the others'.
    pub shares: u32,
    /// How much of its part others may borrow.
    pub lendable_percent: u32,
    /// How much more than its part it may borrow; `None`: all there is.
    pub borrowing_percent: Option<u32>,
    /// What becomes of requests that find no seat.
    pub response: Response,
}

fn number(value: &Value, default: u32) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

fn size(value: &Value, default: usize) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

impl LevelSpec {
    /// Reads a stored object.
    ///
    /// # Errors
    /// It says what cannot be done; it is as if it were not there.
    pub fn read(object: &Value) -> Result<Self, String> {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid) = (text(&metadata["name"]), text(&metadata["uid"]));
        let is_exempt = spec["type"] == "Exempt";
        if is_exempt != (name == EXEMPT) || is_exempt == spec["limited"].is_object() {
            return Err("spec.type: Exempt is for the level of that name, and only others have spec.limited".to_owned());
        }
        let own = if is_exempt { &spec["exempt"] } else { &spec["limited"] };
        let response = if is_exempt { Response::Exempt } else { response(&own["limitResponse"])? };
        Ok(Self {
            name,
            uid,
            shares: number(&own["nominalConcurrencyShares"], if is_exempt { 0 } else { 30 }),
            lendable_percent: number(&own["lendablePercent"], 0).min(100),
            borrowing_percent: own["borrowingLimitPercent"].as_u64().and_then(|percent| u32::try_from(percent).ok()),
            response,
        })
    }

    pub(crate) fn is_exempt(&self) -> bool {
        self.response == Response::Exempt
    }
}

fn response(response: &Value) -> Result<Response, String> {
    let queuing = &response["queuing"];
    if response["type"] != "Queue" {
        return Ok(Response::Reject);
    }
    let (queues, hand) = (size(&queuing["queues"], 64), size(&queuing["handSize"], 8));
    let dealer = Dealer::new(queues, hand).map_err(|why| format!("spec.limited.limitResponse.queuing: {why}"))?;
    Ok(Response::Queue(Queuing { dealer, queues, length_max: size(&queuing["queueLengthLimit"], 50) }))
}

/// A level at work. It stays the same while its object changes.
#[derive(Debug)]
pub struct Level<W> {
    /// Its name.
    pub name: String,
    /// When those it refuses should come again.
    pub dropped: Mutex<Dropped>,
    set: Mutex<QueueSet<W>>,
    /// The most seats that one request is thought to need.
    seats_max: AtomicU32,
    flows: Mutex<BTreeMap<String, Arc<Flow>>>,
}

impl<W> Level<W> {
    pub(crate) fn new(name: &str, set: QueueSet<W>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            dropped: Mutex::default(),
            set: Mutex::new(set),
            seats_max: AtomicU32::new(u32::MAX),
            flows: Mutex::default(),
        })
    }

    /// Its queues, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, QueueSet<W>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most seats that one request is thought to need.
    #[must_use]
    pub fn seats_max(&self) -> u32 {
        self.seats_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_seats_max(&self, seats: u32) {
        self.seats_max.store(seats, Ordering::Relaxed);
    }

    /// What is counted of the requests of a schema.
    pub(crate) fn flow(&self, schema: &str) -> Arc<Flow> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flows.entry(schema.to_owned()).or_insert_with(|| Flow::new(schema)))
    }

    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Counts a refusal, and answers after how many seconds its client should come again; `now` is in whole seconds.
    pub fn refuse(&self, now: u64) -> u64 {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).note(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_say_what_levels_do() {
        let object = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 40, "borrowingLimitPercent": 7,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 9, "handSize": 2, "queueLengthLimit": 3}}}}});
        let spec = LevelSpec::read(&object).expect("sound");
        let dealer = Dealer::new(9, 2).expect("possible");
        assert_eq!(spec.response, Response::Queue(Queuing { dealer, queues: 9, length_max: 3 }));
        assert_eq!((spec.shares, spec.lendable_percent, spec.borrowing_percent), (5, 40, Some(7)));
        for (path, value) in [
            ("/spec/type", json!("Exempt")),
            ("/metadata/name", json!("exempt")),
            ("/spec/limited/limitResponse/queuing/handSize", json!(10)),
        ] {
            let mut wrong = object.clone();
            *wrong.pointer_mut(path).expect("it is there") = value;
            assert!(LevelSpec::read(&wrong).is_err(), "{path}");
        }
    }
}
