//! Names that are not the cluster's: asked of the host's resolvers, and kept for as long as their answers hold.
//!
//! Whoever asks for what is being asked already waits for the same answer. That also ends what would go in a circle: a resolver
//! that asks us again waits for itself and gives up. [`probe`] finds such resolvers and leaves them out.

mod cache; // what answers are kept, and for how long; no I/O
mod exchange; // one question to one resolver
mod probe; // resolvers that lead back to us
mod resolvers; // who is asked

pub use resolvers::Upstreams;

use crate::wire::HEADER_BYTES;
use cache::{Cache, Key};
use hickory_proto::op::{Message, Query, ResponseCode};
use probe::Probes;
use resolvers::Resolvers;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long each resolver is waited for, the first time and the second. Together with another resolver's turn that stays below
/// the five seconds after which resolv.conf(5) lets clients ask again.
const TURNS: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(1200)];
/// How long all of them are waited for.
const ALL_MAX: Duration = Duration::from_millis(4500);
/// How long it is remembered that nobody answered (RFC 9520, 3.2, asks for at least a second).
const SILENCE: Duration = Duration::from_secs(1);

/// What a question came to: a resolver's message, or nothing.
type Outcome = Option<Arc<[u8]>>;

/// Asks resolvers. One for all who ask.
pub(crate) struct Forward {
    resolvers: Resolvers,
    probes: Probes,
    cache: Mutex<Cache>,
    asked: Mutex<HashMap<Key, Arc<OnceCell<Outcome>>>>,
    /// Which resolver answered last: it is asked first.
    preferred: AtomicUsize,
}

impl Forward {
    pub(crate) fn new(upstreams: Upstreams) -> Self {
        Self {
            resolvers: Resolvers::new(upstreams),
            probes: Probes::default(),
            cache: Mutex::default(),
            asked: Mutex::default(),
            preferred: AtomicUsize::new(0),
        }
    }

    /// Whether a question is one that we have sent ourselves to see whether it comes back.
    pub(crate) fn is_own_probe(&self, question: &Query) -> bool {
        self.probes.came_back(question.name())
    }

    /// Looks who is to be asked, and whether they lead back here.
    pub(crate) async fn look(&self) {
        if let Some(servers) = self.resolvers.refresh() {
            self.probes.send(&servers).await;
        }
    }

    /// What the host's resolvers say to `question`, its times counted down; `None` if none of them answers. `of` says whether the
    /// client wants signatures, and whether it checks them itself.
    pub(crate) async fn resolve(&self, question: &Query, of: &Message) -> Option<Message> {
        let dnssec_ok = of.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let key = Key::new(question, dnssec_ok, of.checking_disabled);
        match lock(&self.cache).get(&key, Instant::now()) {
            Some(cache::Kept::Answer(message)) => return Some(message),
            Some(cache::Kept::Silence) => return None,
            None => {}
        }
        let cell = Arc::clone(lock(&self.asked).entry(key.clone()).or_default());
        let outcome = cell.get_or_init(|| self.ask(question, &key)).await.clone();
        // Whoever comes first takes it away; a later question has a cell of its own by then.
        let mut asked = lock(&self.asked);
        if asked.get(&key).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
            asked.remove(&key);
        }
        drop(asked);
        Message::from_vec(&outcome?).ok()
    }

    async fn ask(&self, question: &Query, key: &Key) -> Outcome {
        let asking = self.ask_each(question, key);
        let outcome = tokio::time::timeout(ALL_MAX, asking).await.ok().flatten();
        let (outcome, message) = outcome.unzip();
        let mut cache = lock(&self.cache);
        match (&outcome, &message) {
            (Some(bytes), Some(message)) => cache.put(key.clone(), bytes, message, Instant::now()),
            _ => cache.put_silence(key.clone(), SILENCE, Instant::now()),
        }
        outcome
    }

    async fn ask_each(&self, question: &Query, key: &Key) -> Option<(Arc<[u8]>, Message)> {
        let servers: Vec<SocketAddr> = self.servers();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut unable = None;
        for turn in TURNS {
            for step in 0..servers.len() {
                let index = (first + step) % servers.len();
                match exchange::ask(servers[index], question, key, turn).await {
                    Ok((bytes, message)) if is_answer(&message) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Some((bytes.into(), message));
                    }
                    Ok((bytes, message)) => unable = Some((bytes.into(), message)),
                    Err(error) => {
                        let (server, error) = (servers[index], skiff_client::sentence(&error));
                        tracing::debug!(%server, error, "a resolver of the host does not answer");
                    }
                }
            }
            if unable.is_some() {
                // All were asked, and who answered could not say.
                break;
            }
        }
        unable
    }

    /// Those that do not lead back here.
    fn servers(&self) -> Vec<SocketAddr> {
        let known = self.resolvers.known();
        known.iter().copied().filter(|server| !self.probes.is_looping(*server)).collect()
    }
}

/// Whether the next resolver could not say it better.
fn is_answer(message: &Message) -> bool {
    matches!(message.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that a message has at least.
const MESSAGE_BYTES_MIN: usize = HEADER_BYTES;

#[cfg(test)]
mod tests;
