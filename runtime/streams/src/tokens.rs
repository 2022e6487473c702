//! One-time tokens: what stands in a URL for a request that CRI has already allowed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a token waits for its client; the kubelet connects at once (kubelet's cache has the same minute).
const LIFETIME: Duration = Duration::from_secs(60);
/// Tokens that wait at once; beyond, the oldest goes.
const TOKENS_MAX: usize = 1000;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 16;

/// Requests by token. The caller passes the time.
#[derive(Debug)]
pub(crate) struct Tokens<T> {
    waiting: HashMap<String, (Instant, T)>,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new() }
    }
}

impl<T> Tokens<T> {
    /// Keeps the request, and gives the token that fetches it once.
    pub(crate) fn put(&mut self, request: T, now: Instant) -> String {
        self.waiting.retain(|_, (since, _)| now.duration_since(*since) < LIFETIME);
        if self.waiting.len() >= TOKENS_MAX {
            let oldest = self.waiting.iter().min_by_key(|(_, (since, _))| *since).map(|(token, _)| token.clone());
            oldest.and_then(|token| self.waiting.remove(&token));
        }
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        self.waiting.insert(token.clone(), (now, request));
        token
    }

    /// The request of this token, if it waits still.
    pub(crate) fn take(&mut self, token: &str, now: Instant) -> Option<T> {
        let (since, request) = self.waiting.remove(token)?;
        (now.duration_since(since) < LIFETIME).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once_and_for_a_minute() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.put("request", now);
        assert_eq!(tokens.take("guess", now), None);
        assert_eq!(tokens.take(&token, now + LIFETIME / 2), Some("request"));
        assert_eq!(tokens.take(&token, now), None);
        let late = tokens.put("late", now);
        assert_eq!(tokens.take(&late, now + LIFETIME), None);
    }

    #[test]
    fn the_oldest_gives_way() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let first = tokens.put(0, now);
        let rest: Vec<String> =
            (1..=TOKENS_MAX).map(|n| tokens.put(n, now + Duration::from_millis(n as u64))).collect();
        let later = now + Duration::from_secs(2);
        assert_eq!(tokens.take(&first, later), None);
        assert_eq!(tokens.take(&rest[0], later), Some(1));
        assert!(tokens.waiting.len() < TOKENS_MAX);
    }
}
