//! Crashes: what a store acknowledged survives a kill, a power failure, a failing disk; damage is found.
//!
//! | module   | what happens to the store |
//! |----------|---------------------------|
//! | `images` | the power fails, on a simulated disk, with what was not synced lost, torn or reordered; and again in recovery |
//! | `every`  | its n-th durable operation fails, for every n |
//! | `full`   | its disk has no room, once at the n-th operation or for a while, and then has |
//! | `kills`  | its process is killed under load, on a real disk |
//! | `damage` | somebody changes its files |
//! | `same`   | nothing: the same life twice leaves the same bytes |
//!
//! Everything is drawn from a seed; a failure prints it with the command that repeats it. Amounts are in [`amount`]'s variables.

#![allow(clippy::unwrap_used)]

mod amount; // how much of it, and from which seed
mod ask; // one command to a store
mod check; // whether a store is what a model says
mod damage;
mod every;
mod full;
#[cfg(feature = "seeded")]
mod hunt; // for mistakes put there on purpose
mod images;
mod kills;
mod machine; // a simulated computer: files, and a power switch
mod model; // what a store should be
mod pages; // a file's content, cheap to copy
mod power; // what a power failure leaves of them
mod same; // whether it was chance
mod workload; // what is done to a store before it crashes

/// Held while a process is made: until it executes another program it holds the locks of all folders that this one has open.
static FORKS: std::sync::Mutex<()> = std::sync::Mutex::new(());
