//! etcd's simple tokens: drawn for who has shown a password, and good for a while after each use. They are in memory only: who comes back
//! after a restart shows his password again.

use rand::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a token is good without being used (etcd's `--auth-token-ttl`).
const TTL: Duration = Duration::from_secs(300);
/// Letters of a token's first half.
const LETTERS: usize = 16;
/// Tokens of one user, at most: somebody who asks for one for each request would fill the memory. The oldest go.
const TOKENS_MAX: usize = 10_000;

#[derive(Debug)]
struct Token {
    user: Arc<str>,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tokens: HashMap<String, Token>,
    /// When it was last looked for those that are over.
    swept: Option<Instant>,
}

impl Tokens {
    /// A token for a user; `number` is its second half.
    pub(crate) fn draw(&mut self, user: &str, number: i64, now: Instant) -> String {
        self.sweep(now);
        let letter =
            |_| char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[rand::rng().random_range(0..52)]);
        let token = format!("{}.{number}", (0..LETTERS).map(letter).collect::<String>());
        self.tokens.insert(token.clone(), Token { user: user.into(), until: now + TTL });
        token
    }

    /// Whose a token is; it is good for longer from now on.
    pub(crate) fn user(&mut self, token: &str, now: Instant) -> Option<Arc<str>> {
        let token = self.tokens.get_mut(token).filter(|token| token.until > now)?;
        token.until = now + TTL;
        Some(token.user.clone())
    }

    /// Those of a user are good no longer.
    pub(crate) fn forget(&mut self, user: &str) {
        self.tokens.retain(|_, token| *token.user != *user);
    }

    /// None is.
    pub(crate) fn forget_all(&mut self) {
        self.tokens = HashMap::new();
    }

    fn sweep(&mut self, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| swept + TTL < now) || self.tokens.len() >= TOKENS_MAX;
        if is_due {
            self.swept = Some(now);
            self.tokens.retain(|_, token| token.until > now);
        }
        if self.tokens.len() >= TOKENS_MAX {
            let mut ends: Vec<Instant> = self.tokens.values().map(|token| token.until).collect();
            ends.sort_unstable();
            let middle = ends[ends.len() / 2];
            self.tokens.retain(|_, token| token.until > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_a_while_after_each_use() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.draw("ann", 7, now);
        assert!(token.ends_with(".7") && token.len() == LETTERS + 2);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(tokens.user(&token, later(299)).as_deref(), Some("ann"));
        assert_eq!(tokens.user(&token, later(598)).as_deref(), Some("ann"));
        assert_eq!(tokens.user(&token, later(899)), None);
        assert_eq!(tokens.user("ann.7", now), None);
    }

    #[test]
    fn who_is_forgotten_has_none() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let (ann, ben) = (tokens.draw("ann", 1, now), tokens.draw("ben", 1, now));
        tokens.forget("ann");
        assert_eq!((tokens.user(&ann, now), tokens.user(&ben, now).as_deref()), (None, Some("ben")));
        tokens.forget_all();
        assert_eq!(tokens.user(&ben, now), None);
    }

    #[test]
    fn many_tokens_take_bounded_room() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        for number in 0..3 * TOKENS_MAX as u64 {
            tokens.draw("ann", 1, now + Duration::from_micros(number));
        }
        assert!(tokens.tokens.len() <= TOKENS_MAX);
    }
}
