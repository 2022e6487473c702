//! Bytes to bytes: what the zone knows at once, and what the host's resolvers know later.

use crate::answer::{Reply, reply};
use crate::forward::Forward;
use crate::screen::{Screened, refused, response_to, screen};
use crate::wire::{TCP_BYTES_MAX, encode, udp_limit};
use crate::zone::{Range, Zone};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Name;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many questions to the host's resolvers are open at once: CoreDNS's `max_concurrent` in the Corefile of Kubernetes' installers.
const FORWARDED_MAX: usize = 1000;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is done about what came.
pub(super) enum Now {
    /// Nothing.
    Nothing,
    /// The answer is in the buffer.
    Answered,
    /// The host's resolvers must be asked.
    Later(Box<Pending>),
}

/// A question that somebody else knows the answer to.
pub(super) struct Pending {
    request: Message,
    /// What the zone has said: aliases, of which the last leads elsewhere.
    so_far: Option<(Message, Name)>,
    limit: usize,
    _permit: OwnedSemaphorePermit,
}

/// What all sockets share.
pub(super) struct Core {
    zone: Arc<RwLock<Zone>>,
    forward: Forward,
    forwarded: Arc<Semaphore>,
    ranges: Vec<Range>,
    turn: AtomicUsize,
}

impl Core {
    pub(super) fn new(zone: Arc<RwLock<Zone>>, forward: Forward, ranges: Vec<Range>) -> Self {
        let forwarded = Arc::new(Semaphore::new(FORWARDED_MAX));
        Self { zone, forward, forwarded, ranges, turn: AtomicUsize::new(0) }
    }

    pub(super) fn zone(&self) -> &Arc<RwLock<Zone>> {
        &self.zone
    }

    pub(super) async fn look(&self) {
        self.forward.look().await;
    }

    /// Does what can be done without waiting.
    pub(super) fn now(&self, from: IpAddr, bytes: &[u8], transport: Transport, out: &mut Vec<u8>) -> Now {
        let request = match screen(bytes) {
            Screened::Nothing => return Now::Nothing,
            Screened::Refused(message) => return written(&message, limit(&message, transport), out),
            Screened::Question(request) => request,
        };
        let limit = limit(&request, transport);
        if !self.is_welcome(from) {
            return written(&refused(&request, ResponseCode::Refused), limit, out);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let replied = reply(&self.zone.read().unwrap_or_else(PoisonError::into_inner), &request, limit, turn);
        let so_far = match replied {
            Reply::Own(message) => return written(&message, limit, out),
            Reply::Chase(message, target) => Some((message, target)),
            Reply::Foreign => None,
        };
        if let Some(code) = self.unasked(&request, so_far.is_some()) {
            return written(&refused(&request, code), limit, out);
        }
        match Arc::clone(&self.forwarded).try_acquire_owned() {
            Ok(permit) => Now::Later(Box::new(Pending { request, so_far, limit, _permit: permit })),
            Err(_all_taken) => written(&refused(&request, ResponseCode::ServFail), limit, out),
        }
    }

    /// Why the host's resolvers are not asked, if they are not.
    fn unasked(&self, request: &Message, is_ours: bool) -> Option<ResponseCode> {
        let question = request.queries.first()?;
        if self.forward.is_own_probe(question) {
            return Some(ResponseCode::ServFail);
        }
        // Who does not want recursion asks for what we know ourselves.
        (!request.recursion_desired && !is_ours).then_some(ResponseCode::Refused)
    }

    /// Whether an address is of the cluster or its neighbourhood. Answering the whole internet would lend our host to those who
    /// want to flood others (RFC 5358).
    fn is_welcome(&self, from: IpAddr) -> bool {
        let is_near = match from {
            IpAddr::V4(from) => {
                from.is_private() || from.is_loopback() || from.is_link_local() || is_shared(from.octets())
            }
            IpAddr::V6(from) => from.is_loopback() || from.is_unique_local() || from.is_unicast_link_local(),
        };
        is_near || self.ranges.iter().any(|range| range.contains(from))
    }

    /// Asks the host's resolvers, and writes the answer; `false`: there is nothing to send.
    pub(super) async fn later(&self, pending: Pending, out: &mut Vec<u8>) -> bool {
        let Pending { request, so_far, limit, .. } = pending;
        let message = match so_far {
            None => self.forwarded(&request).await,
            Some((so_far, target)) => self.chased(&request, so_far, target).await,
        };
        matches!(written(&message, limit, out), Now::Answered)
    }

    async fn forwarded(&self, request: &Message) -> Message {
        let resolved = match request.queries.first() {
            Some(question) => self.forward.resolve(question, request).await,
            None => None,
        };
        let Some(found) = resolved else { return refused(request, ResponseCode::ServFail) };
        let mut message = response_to(request);
        message.metadata.response_code = found.response_code;
        message.metadata.authentic_data = found.authentic_data;
        message.metadata.truncation = found.truncation;
        message.answers = found.answers;
        message.authorities = found.authorities;
        message.additionals = found.additionals;
        in_letters_of_the_question(&mut message);
        message
    }

    async fn chased(&self, request: &Message, mut so_far: Message, target: Name) -> Message {
        let Some(question) = request.queries.first() else { return so_far };
        let onward = Query::query(target, question.query_type());
        let Some(found) = self.forward.resolve(&onward, request).await else {
            // Half an answer would be taken for one: that there is no address.
            return refused(request, ResponseCode::ServFail);
        };
        // The code is about the last name of the chain (RFC 6604).
        so_far.metadata.response_code = found.response_code;
        so_far.metadata.truncation = found.truncation;
        so_far.answers.extend(found.answers);
        so_far.authorities = found.authorities;
        so_far
    }
}

/// A question that was asked before may have had other letters; who chose them looks whether they come back (0x20).
fn in_letters_of_the_question(message: &mut Message) {
    let Some(name) = message.queries.first().map(|question| question.name().clone()) else { return };
    for record in message.answers.iter_mut().filter(|record| record.name == name) {
        record.name.clone_from(&name);
    }
}

/// 100.64.0.0/10, between a provider and its customers (RFC 6598).
fn is_shared([first, second, ..]: [u8; 4]) -> bool {
    first == 100 && second & 0xc0 == 64
}

fn limit(request: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Udp => udp_limit(request),
        Transport::Tcp => TCP_BYTES_MAX,
    }
}

fn written(message: &Message, limit: usize, out: &mut Vec<u8>) -> Now {
    match encode(message, limit, out) {
        Ok(()) => Now::Answered,
        Err(error) => {
            tracing::warn!(error = skiff_client::sentence(&error), "an answer cannot be written");
            Now::Nothing
        }
    }
}
