//! Where in the log file the next frame goes. Pure: the file is written by [`super::log`].
//!
//! ```text
//!  0        4096                                             length          most
//!  | header | frames 7 8 9 | free | frames 3 4 5 6 | unused  |  not yet there |
//!                          head   tail
//! ```
//!
//! Frames before the tail are in the database, durable, and may be overwritten. The file grows in steps of zeros while there is no
//! room behind the tail, up to its most; then whoever writes waits until the database has caught up.

use super::frame::SECTOR;

/// Where the first frame may be: the header has a page of its own.
pub(crate) const FIRST: u64 = 4096;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Where the next frame goes if it fits.
    head: u64,
    /// Where the oldest frame is that the database does not have; the head: there is none.
    tail: u64,
    /// Bytes of the file.
    length: u64,
    /// Bytes it may have.
    most: u64,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here.
    At(u64),
    /// Here, once the file has this length.
    Grow {
        /// Where.
        at: u64,
        /// The new length.
        length: u64,
    },
    /// Nowhere yet.
    Full,
}

impl Ring {
    /// A ring in a file of `length`, with frames from `tail` to `head`.
    pub(crate) fn new(tail: u64, head: u64, length: u64, most: u64) -> Self {
        Ring { head, tail, length, most: most.max(FIRST + 16 * SECTOR) }
    }

    /// The largest frame; a larger batch must go elsewhere.
    pub(crate) fn frame_most(&self) -> u64 {
        (self.most - FIRST) / 4
    }

    /// Where a frame of `bytes` goes.
    pub(crate) fn place(&self, bytes: u64) -> Place {
        let end = self.head + bytes;
        if self.head < self.tail {
            // Never up to the tail itself: head and tail at one place mean that there is no frame.
            return if end < self.tail { Place::At(self.head) } else { Place::Full };
        }
        if end <= self.length {
            Place::At(self.head)
        } else if FIRST + bytes < self.tail {
            Place::At(FIRST)
        } else if end <= self.most {
            let step = (self.most / 16).next_multiple_of(SECTOR);
            Place::Grow { at: self.head, length: end.next_multiple_of(step).min(self.most) }
        } else {
            Place::Full
        }
    }

    /// The file has grown.
    pub(crate) fn grown(&mut self, length: u64) {
        self.length = length;
    }

    /// A frame was written at a place.
    pub(crate) fn wrote(&mut self, at: u64, bytes: u64) {
        self.head = at + bytes;
    }

    /// Where the last frame ends.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The database has every frame up to the one that ends at `end`.
    pub(crate) fn release(&mut self, end: u64) {
        self.tail = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Whatever is written and released: no frame is overwritten that the database does not have, and whoever waits for the
        /// database gets room.
        #[test]
        fn frames_do_not_overlap(steps in proptest::collection::vec((1..6_u64, 0..3_usize), 1..200), most in 30..80_u64) {
            let mut ring = Ring::new(FIRST, FIRST, FIRST, FIRST + most * SECTOR);
            let mut live: VecDeque<(u64, u64)> = VecDeque::new();
            for (sectors, released) in steps {
                let bytes = (sectors * SECTOR).min(ring.frame_most() / SECTOR * SECTOR);
                let at = loop {
                    match ring.place(bytes) {
                        Place::At(at) => break at,
                        Place::Grow { at, length } => {
                            prop_assert!(length > ring.length() && length >= at + bytes);
                            ring.grown(length);
                            break at;
                        }
                        Place::Full => {
                            let (_, end) = live.pop_front().expect("an empty ring is not full");
                            ring.release(end);
                        }
                    }
                };
                let end = at + bytes;
                prop_assert!(at >= FIRST && end <= ring.length() && at % SECTOR == 0);
                prop_assert!(live.iter().all(|(begin, stop)| end <= *begin || at >= *stop), "{at}..{end} over {live:?}");
                ring.wrote(at, bytes);
                live.push_back((at, end));
                for _ in 0..released {
                    let Some((_, end)) = live.pop_front() else { break };
                    ring.release(end);
                }
            }
        }
    }
}
