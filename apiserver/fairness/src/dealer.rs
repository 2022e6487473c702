//! Shuffle sharding: a flow's hash deals it a hand of queues, so that a heavy flow and a light one seldom share all of theirs.

/// The most queues in a hand: sixty bits of entropy deal no more of a deck of sixteen.
pub const HAND_MAX: usize = 15;
/// Bits of a hash that may be used; with more, the last card would be dealt unevenly.
const BITS_MAX: f64 = 60.0;
/// The largest deck.
const DECK_MAX: usize = 1 << 26;

/// Deals hands of a size from a deck of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dealer {
    deck: usize,
    hand: usize,
}

/// Some different queues, in the order in which they were dealt.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    cards: [usize; HAND_MAX],
    size: usize,
}

impl Hand {
    /// The queues.
    #[must_use]
    pub fn cards(&self) -> &[usize] {
        &self.cards[..self.size]
    }
}

impl Dealer {
    /// Deals hands of `hand` from `deck` queues.
    ///
    /// # Errors
    /// There is no such hand, or a hash has too few bits to deal it.
    pub fn new(deck: usize, hand: usize) -> Result<Self, String> {
        if deck == 0 || hand == 0 || hand > deck || deck > DECK_MAX {
            return Err(format!("a hand of {hand} cannot be dealt from {deck} queues"));
        }
        let bits = ((deck as f64).log2() * hand as f64).ceil();
        if bits > BITS_MAX || hand > HAND_MAX {
            return Err(format!(
                "a hand of {hand} from {deck} queues needs {bits} bits of a hash, which has {BITS_MAX}"
            ));
        }
        Ok(Self { deck, hand })
    }

    /// Queues that a dealt hand has.
    #[must_use]
    pub fn hand_size(&self) -> usize {
        self.hand
    }

    /// The hand of a flow with this hash.
    #[must_use]
    pub fn deal(&self, mut hash: u64) -> Hand {
        let mut cards = [0; HAND_MAX];
        for (dealt, card) in cards.iter_mut().enumerate().take(self.hand) {
            let left = (self.deck - dealt) as u64;
            *card = (hash % left) as usize;
            hash /= left;
        }
        // Each is a position among the cards that were left. From the last on, because those before are still positions then.
        for dealt in (1..self.hand).rev() {
            let mut card = cards[dealt];
            for before in (0..dealt).rev() {
                card += usize::from(card >= cards[before]);
            }
            cards[dealt] = card;
        }
        Hand { cards, size: self.hand }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn impossible_hands_are_refused() {
        for (deck, hand) in [(0, 1), (1, 0), (4, 5), (1 << 27, 1), (512, 8), (64, 11)] {
            assert!(Dealer::new(deck, hand).is_err(), "{hand} of {deck}");
        }
        for (deck, hand) in [(1, 1), (15, 15), (128, 8), (512, 6), (1 << 26, 2)] {
            assert!(Dealer::new(deck, hand).is_ok(), "{hand} of {deck}");
        }
    }

    /// Every hand is dealt as often as every other, whatever the order of its cards.
    #[test]
    fn hands_are_dealt_evenly() {
        let dealer = Dealer::new(20, 3).expect("possible");
        let (hands, rounds) = (20 * 19 * 18, 4);
        let mut seen: HashMap<Vec<usize>, u64> = HashMap::new();
        for hash in 0..hands * rounds {
            let mut hand = dealer.deal(hash).cards().to_vec();
            hand.sort_unstable();
            *seen.entry(hand).or_default() += 1;
        }
        assert_eq!(seen.len(), 20 * 19 * 18 / 6);
        assert!(seen.values().all(|count| *count == 6 * rounds), "{seen:?}");
    }

    proptest! {
        #[test]
        fn cards_are_different_queues(deck in 1_usize..600, hand in 1_usize..16, hash: u64) {
            let Ok(dealer) = Dealer::new(deck, hand) else { return Ok(()) };
            let dealt = dealer.deal(hash);
            let mut cards = dealt.cards().to_vec();
            prop_assert_eq!(cards.len(), hand);
            prop_assert!(cards.iter().all(|card| *card < deck));
            cards.sort_unstable();
            cards.dedup();
            prop_assert_eq!(cards.len(), hand);
        }
    }
}
