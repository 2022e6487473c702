//! What tests of a whole node share: nodes in boxes, peers from Debian, the leak detector.
//!
//! A test that cannot run here says so through [`skip`], never by passing quietly: `tests/run` counts those lines.

pub mod chance; // inputs by chance
mod follower; // programs whose output is read as it comes
mod host; // a free port, a disk that can be filled
mod leak; // what a host looks like, and what was left on it
mod node; // a node of its own for a test
mod peer; // kubectl, etcdctl, crun … of both Debian releases
mod program; // copies that can be executed at once
mod wait; // until something holds, with an end

pub use follower::Follower;
pub use host::{bench_parameter, free_port, is_in_memory, processor_time, resident_bytes, with_small_disk};
pub use leak::Snapshot;
pub use node::{Ended, NEVER_EVICT, TestNode, skiff};
pub use peer::{Peer, needed, peer, peers_folder};
pub use program::copy_program;
pub use wait::{eventually, eventually_within};

/// Says that the running test cannot run here, and why. The test returns after it.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    eprintln!("SKIPPED: {}: {why}", thread.name().unwrap_or("test"));
}
