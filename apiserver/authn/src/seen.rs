//! Tokens whose signature was checked before: checking costs more than everything else about a request.
//!
//! Only what cannot change is kept: that this text was signed by a key that is believed, and what it claims. Whether the time and the
//! objects still fit is asked each time. Bounded: whoever sends thousands of tokens pushes out others', and no more.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A digest stands for the token, so that none is kept in memory.
type Digest = [u8; 32];

/// What a token claims.
pub type Claimed = Arc<Map<String, Value>>;

/// A bounded number of tokens; the oldest goes first.
#[derive(Debug)]
pub struct Seen {
    max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    claims: HashMap<Digest, Claimed>,
    order: VecDeque<Digest>,
}

impl Seen {
    /// Room for `max` tokens.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, inside: Mutex::default() }
    }

    /// What `token` claims, as it was proved before, or as `prove` proves it now. A token that is not proved is not kept.
    ///
    /// # Errors
    /// Those of `prove`.
    pub fn get<E>(&self, token: &str, prove: impl FnOnce() -> Result<Map<String, Value>, E>) -> Result<Claimed, E> {
        let name = fingerprint(token);
        if let Some(claims) = self.inside().claims.get(&name) {
            return Ok(Arc::clone(claims));
        }
        let claims = Arc::new(prove()?);
        let mut inside = self.inside();
        if inside.claims.insert(name, Arc::clone(&claims)).is_none() {
            inside.order.push_back(name);
            if inside.order.len() > self.max
                && let Some(oldest) = inside.order.pop_front()
            {
                inside.claims.remove(&oldest);
            }
        }
        Ok(claims)
    }

    /// Forgets all of them: keys have changed.
    pub fn clear(&self) {
        *self.inside() = Inside::default();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside().claims.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for `token` where it is not to be kept.
#[must_use]
pub fn fingerprint(token: &str) -> [u8; 32] {
    let mut name = Digest::default();
    name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_tokens_take_bounded_room() {
        let seen = Seen::new(10);
        for number in 0..5000 {
            seen.get(&number.to_string(), || Ok::<_, ()>(Map::new())).unwrap();
        }
        assert_eq!(seen.len(), 10);
        let known = seen.get("4999", || Err(()));
        assert!(known.is_ok(), "the last is known");
        assert!(seen.get("1", || Err(())).is_err(), "the first was pushed out");
        for number in 0..100 {
            assert!(seen.get(&format!("x{number}"), || Err(())).is_err());
        }
        assert_eq!(seen.len(), 10, "what is not proved is not kept");
    }
}
