//! In the guest: uses a store on the logged disk, and notes on the same disk what was acknowledged.
//!
//! The notes go behind the end of the filesystem, past the page cache: a note stands in the log after all that the disk did before the
//! answer, and before all that is asked after it.

use super::plan::{CLIENTS, Plan};
use super::{COMMANDS, FOLDER, NOTES_AT, SEED};
use crate::amount::chance;
use crate::ask::{options, perform};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use nix::fcntl::OFlag;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::{Options, Store, StoreError};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a note begins with.
const MAGIC: &[u8; 8] = b"acks:   ";
const NOTE_BYTES: usize = 512;
/// How many commands come between two looks around.
const STRETCH: std::ops::Range<usize> = 10..120;

/// Who has the files of a store longer than this keeps them.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Direct writes want buffers that begin at a sector.
#[repr(align(512))]
struct Sector([u8; NOTE_BYTES]);

struct Notes {
    disk: File,
    acknowledged: usize,
}

impl Notes {
    fn open() -> Self {
        let disk = OpenOptions::new().write(true).custom_flags(OFlag::O_DIRECT.bits()).open("/dev/vda").unwrap();
        Notes { disk, acknowledged: 0 }
    }

    /// Notes that the command of this number, and so all before it, was acknowledged.
    fn note(&mut self, index: usize) {
        if index < self.acknowledged {
            return;
        }
        self.acknowledged = index + 1;
        let mut sector = Sector([0; NOTE_BYTES]);
        sector.0[..8].copy_from_slice(MAGIC);
        sector.0[8..16].copy_from_slice(&(self.acknowledged as u64).to_le_bytes());
        self.disk.write_all_at(&sector.0, NOTES_AT).unwrap();
    }
}

/// How many commands were acknowledged, from the bytes of a note.
pub(super) fn noted(note: &[u8]) -> Option<usize> {
    let count = note.strip_prefix(MAGIC)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*count)).ok()
}

/// The whole of it, told by the environment.
pub(super) fn live() {
    let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    let seed: u64 = number(SEED);
    let plan = Plan::draw(seed, usize::try_from(number(COMMANDS)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live_by(&plan, &mut chance(!seed)));
}

async fn live_by(plan: &Plan, chance: &mut StdRng) {
    let (mut notes, mut next) = (Notes::open(), 0);
    let mut store = opened(chance).await;
    while next < plan.commands.len() {
        let end = (next + chance.random_range(STRETCH)).min(plan.commands.len());
        send(&store, plan, next..end, chance.random_range(1..=CLIENTS), &mut notes).await;
        next = end;
        match chance.random_range(0..6) {
            0 => store.close().await,
            1 => drop(store),
            2 => {
                store.defragment().await.unwrap();
                continue;
            }
            _ => continue,
        }
        println!("opened again after {next} commands");
        store = opened(chance).await;
    }
    store.close().await;
}

/// Sends commands in order, always as many at a time as there are clients. They are done in that order, so that what is answered says the
/// same of all before it.
async fn send(store: &Store, plan: &Plan, commands: std::ops::Range<usize>, clients: usize, notes: &mut Notes) {
    let mut waiting = FuturesUnordered::new();
    for index in commands {
        let (command, after) = &plan.commands[index];
        let mut answer = perform(store, command, after.revision).map(move |done| (index, done)).boxed_local();
        // The first poll queues it, before the next one is.
        match futures::poll!(&mut answer) {
            std::task::Poll::Ready(done) => waiting.push(futures::future::ready(done).boxed_local()),
            std::task::Poll::Pending => waiting.push(answer),
        }
        if waiting.len() >= clients {
            answered(waiting.next().await, notes);
        }
    }
    while !waiting.is_empty() {
        answered(waiting.next().await, notes);
    }
}

fn answered(answer: Option<(usize, Result<(), String>)>, notes: &mut Notes) {
    let (index, done) = answer.expect("some are waited for");
    done.unwrap_or_else(|why| panic!("command {index} is refused on a disk that works: {why}"));
    notes.note(index);
}

async fn opened(chance: &mut StdRng) -> Store {
    let opened = open(Path::new(FOLDER), options(chance)).await;
    opened.unwrap_or_else(|error| panic!("is not opened again: {error}"))
}

/// Opens a store. One that was dropped has its folder until its writer has ended, and a process being started has the files of
/// all others until it executes its program.
pub(super) async fn open(folder: &Path, options: Options) -> Result<Store, StoreError> {
    let begun = Instant::now();
    loop {
        match Store::open(folder, options.clone()) {
            Err(StoreError::InUse { .. }) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            opened => return opened,
        }
    }
}
