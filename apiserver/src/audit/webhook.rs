//! Events go to a server of others (`--audit-webhook-config-file`), as an `audit.k8s.io/v1` EventList.

use super::counts::Counts;
use super::options::{AuditBatch, AuditError, AuditLimits, AuditMode, AuditWebhook};
use http::{Request, header};
use kube::Client;
use skiff_audit::{API_VERSION, Event, Fit, fitted};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// How often a batch is sent at most; the pause between grows by half (kube-apiserver's back-off).
const TRIES: u32 = 5;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many batches are under way at a time: whoever does not answer costs this many, and then the queue, and no more.
const UNDER_WAY_MAX: usize = 16;
/// Names the server by nothing but the kubeconfig: its whole address, path included, is the webhook's.
const ITSELF: &str = "webhook.invalid";

/// A server, and how events come to it.
pub(super) struct WebhookOutlet {
    post: Arc<Post>,
    queue: Option<Sender<Event>>,
    strict: bool,
}

impl fmt::Debug for WebhookOutlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookOutlet").field("strict", &self.strict).finish_non_exhaustive()
    }
}

/// Sends.
struct Post {
    client: Client,
    pause: Duration,
    limits: Option<AuditLimits>,
    counts: Arc<Counts>,
}

impl WebhookOutlet {
    pub(super) async fn open(options: &AuditWebhook, counts: Arc<Counts>) -> Result<Self, AuditError> {
        let path = &options.config_file;
        let client = skiff_client::from_kubeconfig(path).await;
        let client = client.map_err(|error| AuditError::new("initialize audit webhook", path, error))?;
        let post = Arc::new(Post { client, pause: options.initial_backoff, limits: options.limits, counts });
        let queue = (options.mode == AuditMode::Batch).then(|| {
            let (queue, events) = mpsc::channel(options.batch.events_max);
            tokio::spawn(send_batches(Arc::clone(&post), events, options.batch));
            queue
        });
        Ok(Self { post, queue, strict: options.mode == AuditMode::BlockingStrict })
    }

    /// Takes an event; false: it did not arrive, and must.
    pub(super) async fn take(&self, event: &Event) -> bool {
        if let Some(queue) = &self.queue {
            self.enqueue(queue, event);
            return true;
        }
        self.post.send(std::slice::from_ref(event)).await || !self.strict
    }

    /// The same for somebody who cannot wait.
    pub(super) fn take_later(&self, event: Event) {
        match &self.queue {
            Some(queue) => self.enqueue(queue, &event),
            None => {
                let post = Arc::clone(&self.post);
                match Handle::try_current() {
                    Ok(runtime) => drop(runtime.spawn(async move { post.send(&[event]).await })),
                    Err(error) => post.counts.lost("webhook", &error.to_string(), &[&event]),
                }
            }
        }
    }

    fn enqueue(&self, queue: &Sender<Event>, event: &Event) {
        if queue.try_send(event.clone()).is_err() {
            self.post.counts.lost("buffered", "audit buffer queue blocked", &[event]);
        }
    }
}

/// Collects events and sends them, several batches at once if answers take long, until nobody has any more. When all that may be under way
/// are, events wait in the queue, which is bounded too.
async fn send_batches(post: Arc<Post>, mut events: Receiver<Event>, batch: AuditBatch) {
    let mut throttle = batch.throttle.map(|(rate, burst)| Throttle::new(rate, burst, Instant::now()));
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    while let Some(first) = events.recv().await {
        let mut together = vec![first];
        let until = Instant::now() + batch.wait;
        while together.len() < batch.size_max {
            match timeout_at(until, events.recv()).await {
                Ok(Some(event)) => together.push(event),
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(throttle) = &mut throttle {
            sleep_until(throttle.next(Instant::now())).await;
        }
        let Ok(place) = Arc::clone(&under_way).acquire_owned().await else { return };
        let post = Arc::clone(&post);
        tokio::spawn(async move {
            post.send(&together).await;
            drop(place);
        });
    }
}

/// So many a second, and some at once after a rest.
struct Throttle {
    interval: Duration,
    burst: u32,
    /// When there would have been nothing for a whole burst.
    full: Instant,
}

impl Throttle {
    fn new(rate: f64, burst: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs_f64(1.0 / rate.max(0.001)), burst: burst.max(1), full: now }
    }

    /// When the next one may go that wants to go `now`.
    fn next(&mut self, now: Instant) -> Instant {
        let full = self.full.max(now);
        let slack = self.interval * (self.burst - 1);
        self.full = full + self.interval;
        full.checked_sub(slack).map_or(now, |at| at.max(now))
    }
}

impl Post {
    /// Sends events, in as many pieces as their limit asks for; whether all arrived.
    async fn send(&self, events: &[Event]) -> bool {
        let mut all = true;
        for piece in self.pieces(events) {
            let body = format!(
                "{{\"kind\":\"EventList\",\"apiVersion\":\"{API_VERSION}\",\"metadata\":{{}},\"items\":[{}]}}",
                piece.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(",")
            );
            if let Err(why) = self.insist(&body).await {
                let impacted: Vec<&Event> = piece.iter().map(|(_, event)| *event).collect();
                self.counts.lost("webhook", &why, &impacted);
                all = false;
            }
        }
        all
    }

    /// Events as JSON, together as far as they may be.
    fn pieces<'a>(&self, events: &'a [Event]) -> Vec<Vec<(String, &'a Event)>> {
        let mut pieces: Vec<Vec<(String, &Event)>> = vec![Vec::new()];
        let (event_max, batch_max) =
            self.limits.map_or((usize::MAX, usize::MAX), |it| (it.event_bytes, it.batch_bytes));
        let mut bytes = 0_usize;
        for event in events {
            let (Fit::Whole(text) | Fit::Truncated(text)) = fitted(event, event_max) else {
                self.counts.lost("truncate", "event is too large even after truncating", &[event]);
                continue;
            };
            if bytes > 0 && bytes.saturating_add(text.len()) > batch_max {
                pieces.push(Vec::new());
                bytes = 0;
            }
            bytes = bytes.saturating_add(text.len());
            if let Some(piece) = pieces.last_mut() {
                piece.push((text, event));
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    async fn insist(&self, body: &str) -> Result<(), String> {
        let mut pause = self.pause;
        let mut why = String::new();
        for tried in 1..=TRIES {
            why = match self.once(body).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if tried < TRIES {
                sleep(pause).await;
                pause = pause * 3 / 2;
            }
        }
        Err(why)
    }

    async fn once(&self, body: &str) -> Result<(), String> {
        let request = Request::post(ITSELF).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(body.as_bytes().to_vec()).map_err(|error| error.to_string())?;
        match timeout(ANSWER_TIMEOUT, self.client.request_text(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(skiff_client::sentence(&error)),
            Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_spread_after_a_burst() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(10.0, 3, begin);
        let waits: Vec<u128> = (0..5).map(|_| (throttle.next(begin) - begin).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        let later = begin + Duration::from_secs(10);
        assert_eq!(throttle.next(later), later);
    }
}
