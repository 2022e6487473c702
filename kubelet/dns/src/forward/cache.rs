//! Which answers are kept, and for how long (RFC 2308). No I/O and no clock of its own.
//!
//! What is kept is bounded in number and bytes. It stands in two halves: what was asked for lately, and what was before. When
//! the first is full it becomes the second, whose content is forgotten unless it was asked for since.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many answers one half has at most.
const HALF_MAX: usize = 4096;
/// The largest message that is kept: with the above, 32 MiB in all.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The longest that an answer is kept.
const HOLDS_MAX: Duration = Duration::from_secs(3600);
/// The longest that it is kept that there is none (RFC 2308, 5, allows hours; a new name should be seen sooner).
const NEGATIVE_MAX: Duration = Duration::from_secs(30);
/// How long it is kept that a resolver could not say (RFC 2308, 7.1, allows five minutes).
const FAILURE: Duration = Duration::from_secs(5);

/// What is asked, and how. Letters' case makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    name: Name,
    kind: RecordType,
    /// The client wants signatures.
    pub(super) dnssec_ok: bool,
    /// The client checks signatures itself.
    pub(super) checking_disabled: bool,
}

impl Key {
    pub(super) fn new(question: &Query, dnssec_ok: bool, checking_disabled: bool) -> Self {
        Self { name: question.name().clone(), kind: question.query_type(), dnssec_ok, checking_disabled }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    /// `None`: nobody answered.
    bytes: Option<Arc<[u8]>>,
    since: Instant,
    holds: Duration,
}

/// What the cache knows.
pub(super) enum Kept {
    /// An answer, its times counted down.
    Answer(Message),
    /// That nobody answered.
    Silence,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Cache {
    lately: HashMap<Key, Entry>,
    before: HashMap<Key, Entry>,
}

impl Cache {
    /// What is kept for a question at this time.
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Kept> {
        if let Some(entry) = self.before.remove(key)
            && !self.lately.contains_key(key)
        {
            self.insert(key.clone(), entry);
        }
        let entry = self.lately.get(key)?;
        let age = now.saturating_duration_since(entry.since);
        if age >= entry.holds {
            self.lately.remove(key);
            return None;
        }
        let Some(bytes) = &entry.bytes else { return Some(Kept::Silence) };
        let mut message = Message::from_vec(bytes).ok()?;
        count_down(&mut message, u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Some(Kept::Answer(message))
    }

    /// Keeps an answer, if it may be kept.
    pub(super) fn put(&mut self, key: Key, bytes: &Arc<[u8]>, message: &Message, now: Instant) {
        let Some(holds) = holds(message).filter(|_| bytes.len() <= MESSAGE_BYTES_MAX) else { return };
        self.insert(key, Entry { bytes: Some(Arc::clone(bytes)), since: now, holds });
    }

    /// Keeps that nobody answered.
    pub(super) fn put_silence(&mut self, key: Key, holds: Duration, now: Instant) {
        self.insert(key, Entry { bytes: None, since: now, holds });
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.lately.len() >= HALF_MAX {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(key, entry);
    }
}

fn count_down(message: &mut Message, seconds: u32) {
    let records = message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals);
    for record in records {
        record.ttl = record.ttl.saturating_sub(seconds);
    }
}

/// How long a message may be kept; `None`: not at all.
fn holds(message: &Message) -> Option<Duration> {
    if message.truncation {
        return None;
    }
    let least = message.all_sections().map(|record| record.ttl).min();
    let answered = message.queries.first().is_some_and(|question| {
        let kind = question.query_type();
        message.answers.iter().any(|record| record.record_type() == kind || kind == RecordType::ANY)
    });
    let holds = match message.response_code {
        ResponseCode::NoError if answered => Duration::from_secs(least?.into()).min(HOLDS_MAX),
        ResponseCode::NoError | ResponseCode::NXDomain => {
            // Without the zone's own word it is not known how long there will be nothing (RFC 2308, 5).
            let minimum = message.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
                _ => None,
            })?;
            Duration::from_secs(minimum.min(least?).into()).min(NEGATIVE_MAX)
        }
        _ => FAILURE,
    };
    (!holds.is_zero()).then_some(holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(owner: &str, ttls: &[u32], soa: Option<(u32, u32)>) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name(owner), RecordType::A));
        for ttl in ttls {
            message.add_answer(Record::from_rdata(name(owner), *ttl, RData::A(A::new(192, 0, 2, 1))));
        }
        if let Some((ttl, minimum)) = soa {
            let soa = SOA::new(name("a."), name("b."), 1, 2, 3, 4, minimum);
            message.add_authority(Record::from_rdata(name("example."), ttl, RData::SOA(soa)));
        }
        message
    }

    fn put(cache: &mut Cache, owner: &str, message: &Message, now: Instant) -> Key {
        let key = Key::new(&Query::query(name(owner), RecordType::A), false, false);
        cache.put(key.clone(), &message.to_vec().unwrap().into(), message, now);
        key
    }

    fn ttl(cache: &mut Cache, key: &Key, now: Instant) -> Option<u32> {
        match cache.get(key, now)? {
            Kept::Answer(message) => message.answers.first().map(|record| record.ttl),
            Kept::Silence => None,
        }
    }

    #[test]
    fn times_are_counted_down_until_the_first_is_over() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let key = put(&mut cache, "Web.example.", &answer("web.example.", &[60, 10], None), start);
        let again = Key::new(&Query::query(name("wEB.example."), RecordType::A), false, false);
        assert_eq!(ttl(&mut cache, &again, start + Duration::from_secs(4)), Some(56));
        assert_eq!(ttl(&mut cache, &key, start + Duration::from_secs(10)), None);
        assert!(cache.lately.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn messages_hold_as_long_as_they_say_and_no_longer_than_we_keep_any() {
        let seconds = |message: &Message| holds(message).map(|holds| holds.as_secs());
        assert_eq!(seconds(&answer("a.", &[86_400], None)), Some(3600));
        assert_eq!(seconds(&answer("a.", &[0], None)), None);
        assert_eq!(seconds(&answer("a.", &[], None)), None, "nothing says how long");
        assert_eq!(seconds(&answer("a.", &[], Some((600, 20)))), Some(20));
        assert_eq!(seconds(&answer("a.", &[], Some((10, 20)))), Some(10));
        assert_eq!(seconds(&answer("a.", &[], Some((6000, 6000)))), Some(30));
        let mut failed = answer("a.", &[], None);
        failed.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(seconds(&failed), Some(5));
        failed.metadata.truncation = true;
        assert_eq!(seconds(&failed), None);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_number_is_bounded() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let loved = put(&mut cache, "loved.example.", &answer("loved.example.", &[3600], None), start);
        for number in 0..3 * HALF_MAX {
            let owner = format!("n{number}.example.");
            put(&mut cache, &owner, &answer(&owner, &[3600], None), start);
            if number % 1000 == 0 {
                assert!(ttl(&mut cache, &loved, start).is_some(), "{number}");
            }
        }
        assert!(cache.lately.len() + cache.before.len() <= 2 * HALF_MAX);
    }

    #[test]
    fn silence_is_kept_too() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let key = Key::new(&Query::query(name("a."), RecordType::A), false, false);
        cache.put_silence(key.clone(), Duration::from_secs(1), start);
        assert!(matches!(cache.get(&key, start), Some(Kept::Silence)));
        assert!(cache.get(&key, start + Duration::from_secs(1)).is_none());
    }
}
