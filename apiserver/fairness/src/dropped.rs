//! When those who are refused should come again (`Retry-After`): later and later while many are, as TCP does.

use std::collections::VecDeque;

/// The longest wait, in seconds.
const SECONDS_MAX: u64 = 32;

/// How many requests of one level were refused in each of the last seconds.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// Second, and how many in it.
    history: VecDeque<(u64, u64)>,
    current: (u64, u64),
    seconds: u64,
    raised_at: u64,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { history: VecDeque::new(), current: (0, 0), seconds: 1, raised_at: 0 }
    }
}

impl Dropped {
    /// One more is refused in the second `now`; answers after how many seconds it should come again.
    pub fn note(&mut self, now: u64) -> u64 {
        if self.current.0 == now {
            self.current.1 += 1;
            return self.seconds;
        }
        self.history.push_back(self.current);
        let kept = (2 * self.seconds).min(SECONDS_MAX);
        while self.history.front().is_some_and(|(second, _)| now.saturating_sub(*second) > kept) {
            self.history.pop_front();
        }
        self.current = (now, 1);
        self.adjust(now);
        self.seconds
    }

    /// Twice as long if the last `seconds` brought three refusals each or more, and a second less if they brought less than one each.
    fn adjust(&mut self, now: u64) {
        let recent = self.history.iter().filter(|(second, _)| now.saturating_sub(*second) <= self.seconds);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        if now.saturating_sub(self.raised_at) >= self.seconds && refused >= 3 * self.seconds {
            self.seconds = (2 * self.seconds).min(SECONDS_MAX);
            self.raised_at = now;
        } else if refused < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(script: &[(u64, u64)]) -> Vec<u64> {
        let mut dropped = Dropped::default();
        let mut note = |(now, count): &(u64, u64)| (0..*count).map(|_| dropped.note(*now)).last().unwrap_or(0);
        script.iter().map(&mut note).collect()
    }

    #[test]
    fn the_wait_doubles_and_shrinks() {
        assert_eq!(seconds(&[(100, 1), (101, 1), (102, 1)]), [1, 1, 1]);
        assert_eq!(seconds(&[(100, 5), (101, 9), (102, 9), (103, 20), (104, 20), (105, 1)]), [1, 2, 2, 4, 4, 4]);
        let flood: Vec<(u64, u64)> = (100..300).map(|second| (second, 1000)).collect();
        assert_eq!(seconds(&flood).last(), Some(&SECONDS_MAX));
        let mut after = flood;
        after.extend([(1000, 1), (1001, 1), (1002, 1)]);
        assert_eq!(seconds(&after)[200..], [31, 30, 29]);
    }
}
