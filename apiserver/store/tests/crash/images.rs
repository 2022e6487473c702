//! The power fails: every image that a failure may leave opens, and holds what was acknowledged.
//!
//! One life of a store (a few dozen commands) yields images at every position of its log. Some images are opened on a machine that
//! logs, used further, and crash again, at most of the times in the middle of opening.
//!
//! `SKIFF_IMAGES` is how many; `SKIFF_SEED` where chance begins (one seed a life).

use crate::amount::{Progress, amount, chance, first_seed};
use crate::check::{Trouble, check};
use crate::machine::{Image, Machine};
use crate::model::Model;
use crate::power::Walk;
use crate::workload::{Life, Restarts, disks, end, open};
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::fsck::fsck_disks;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const COMMANDS: usize = 60;
/// Images that one life yields, those of its second lives included.
const IMAGES_A_LIFE: u64 = 1000;
/// One image in so many lives on and crashes again ...
const LIVES_ON: u32 = 50;
/// ... in so many ways.
const SECOND_IMAGES: u64 = 10;

#[derive(Debug, Default)]
struct Counts {
    images: u64,
    again: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, ", {} of them crashed again after the first crash", self.again)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        (self.images, self.again) = (self.images + other.images, self.again + other.again);
    }
}

/// Lives share nothing, and mostly wait for syncs: so many for each processor keep it busy.
const LIVES_A_PROCESSOR: usize = 3;

#[test]
fn a_power_failure_loses_nothing_that_was_acknowledged() {
    let wanted = amount("SKIFF_IMAGES", 20_000, 1_000_000);
    let done = Mutex::new((Counts::default(), Progress::of("images")));
    let (first, next) = (first_seed(), AtomicU64::new(0));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let live = || {
        let _stop = StopOthers(&next);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let life = next.fetch_add(1, Ordering::Relaxed);
            let images = wanted.saturating_sub(life.saturating_mul(IMAGES_A_LIFE)).min(IMAGES_A_LIFE);
            if images == 0 {
                return;
            }
            let counts = runtime.block_on(one_life(first + life, images));
            let (all, progress) = &mut *done.lock().unwrap();
            *all += counts;
            progress.tell(all.images, wanted, all);
        }
    };
    std::thread::scope(|scope| {
        let lives: Vec<_> = (0..processors * LIVES_A_PROCESSOR).map(|_| scope.spawn(live)).collect();
        lives.into_iter().for_each(|life| life.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
    let (counts, progress) = done.into_inner().unwrap();
    progress.print(counts.images, wanted, &counts);
    assert!(counts.again * 10 >= counts.images || wanted < IMAGES_A_LIFE, "too few crashed again: {counts:?}");
}

/// Lets nobody begin another life when one has failed.
struct StopOthers<'a>(&'a AtomicU64);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(u64::MAX / 2, Ordering::Relaxed);
        }
    }
}

async fn one_life(seed: u64, images: u64) -> Counts {
    let (mut chance, mut counts) = (chance(seed), Counts::default());
    let mut life = Life::begin(Machine::default(), Model::new());
    let lived = life.live(&mut chance, COMMANDS, Restarts::Some).await;
    lived.unwrap_or_else(|error| panic!("SKIFF_SEED={seed}: opened again on a machine that works: {error}"));
    assert_eq!(life.refused, None, "SKIFF_SEED={seed}: refused on a machine that works");
    // What was never open has no name in its folder yet (see `folder.rs`).
    crash(&life, life.opened_at, &mut counts, images, seed, &mut chance).await;
    counts
}

/// Crashes `life` at positions from `first` on, with second lives, until `until` images are counted.
async fn crash(life: &Life, first: usize, counts: &mut Counts, until: u64, seed: u64, chance: &mut StdRng) {
    let (base, log) = life.log();
    let mut positions: Vec<usize> = (0..until).map(|_| chance.random_range(first..=log.len())).collect();
    positions.sort_unstable();
    let mut walk = Walk::along(base.clone(), &log);
    for position in positions {
        if counts.images >= until {
            return;
        }
        walk.advance(position);
        let image = walk.power_fails(chance);
        counts.images += 1;
        let lives_on = chance.random_ratio(1, LIVES_ON);
        let done = match lives_on {
            false => Box::pin(opens(&image, life, position, chance)).await,
            true => {
                // Half of the second lives begin after a kill: the power fails only later, and what was not synced before the kill
                // may be lost then.
                let machine = match chance.random_bool(0.5) {
                    true => Machine::started_with(image.clone()),
                    false => Machine::goes_on(base.clone(), &log[..position]),
                };
                Box::pin(lives_again(machine, life, position, counts, until, seed, chance)).await
            }
        };
        done.unwrap_or_else(|what| fail(&image, &what, position, log.len(), seed));
    }
}

/// Opens an image, reads everything, writes something, and closes.
async fn opens(image: &Image, life: &Life, position: usize, chance: &mut StdRng) -> Result<(), String> {
    let machine = Machine::started_with(image.clone());
    let store = open(&machine, chance).map_err(|error| format!("is refused: {error}"))?;
    check(&store, &life.model, &life.possible(position), chance).await.map_err(told)?;
    if chance.random_ratio(1, 3) {
        let written = store.grant(0, 100).await;
        written.map_err(|refusal| format!("opens, and then refuses to write: {refusal}"))?;
    }
    end(store, &machine, chance.random_bool(0.5)).await;
    if chance.random_ratio(1, 20) {
        let (database, log) = disks(&Machine::started_with(machine.files()));
        let report = fsck_disks(database, log).map_err(|error| error.to_string())?;
        if !report.is_sound() {
            return Err(format!("is not sound: {report}"));
        }
    }
    Ok(())
}

/// Opens an image on a machine that logs, goes on for a few commands, and crashes that life, most often while it was opened.
async fn lives_again(
    machine: Machine,
    life: &Life,
    position: usize,
    counts: &mut Counts,
    until: u64,
    seed: u64,
    chance: &mut StdRng,
) -> Result<(), String> {
    let began_at = machine.position();
    let store = open(&machine, chance).map_err(|error| format!("is refused: {error}"))?;
    let recovered_at = machine.position();
    let found = check(&store, &life.model, &life.possible(position), chance).await.map_err(told)?;
    end(store, &machine, true).await;
    let (base, log) = machine.log();
    let mut walk = Walk::along(base, &log);
    let mut positions: Vec<usize> = (0..SECOND_IMAGES).map(|_| chance.random_range(began_at..=log.len())).collect();
    positions.sort_unstable();
    for second in positions {
        walk.advance(second);
        let image = walk.power_fails(chance);
        (counts.images, counts.again) = (counts.images + 1, counts.again + 1);
        // What was read is acknowledged as well: it must not be undone.
        let read = [&found];
        let possible = life.possible(position);
        let possible = if second < recovered_at { &possible[..] } else { &read[..] };
        let machine = Machine::started_with(image.clone());
        let opened = match open(&machine, chance) {
            Err(error) => Err(format!("is refused: {error}")),
            Ok(store) => {
                let checked = check(&store, &life.model, possible, chance).await;
                end(store, &machine, chance.random_bool(0.5)).await;
                checked.map_err(told)
            }
        };
        if let Err(what) = opened {
            fail(
                &image,
                &format!("after a second crash (in recovery: {})  {what}", second < recovered_at),
                second,
                log.len(),
                seed,
            );
        }
    }
    if counts.images < until {
        goes_on(machine, life, found, counts, until, seed, chance).await;
    }
    Ok(())
}

/// A store that recovered is as good as any: it is used, and that life crashes, too.
async fn goes_on(
    machine: Machine,
    life: &Life,
    found: crate::model::After,
    counts: &mut Counts,
    until: u64,
    seed: u64,
    chance: &mut StdRng,
) {
    let mut model = life.model.clone();
    model.back_to(found);
    let mut second = Life::begin(Machine::started_with(machine.files()), model);
    let lived = second.live(chance, 5, Restarts::None).await;
    lived.unwrap_or_else(|error| panic!("SKIFF_SEED={seed}: a recovered store does not open again: {error}"));
    let (base, log) = second.log();
    let mut walk = Walk::along(base, &log);
    let mut positions: Vec<usize> = (0..SECOND_IMAGES).map(|_| chance.random_range(0..=log.len())).collect();
    positions.sort_unstable();
    for position in positions {
        if counts.images >= until {
            return;
        }
        walk.advance(position);
        let image = walk.power_fails(chance);
        (counts.images, counts.again) = (counts.images + 1, counts.again + 1);
        let done = Box::pin(opens(&image, &second, position, chance)).await;
        done.unwrap_or_else(|what| fail(&image, &format!("after a second life {what}"), position, log.len(), seed));
    }
}

fn told(trouble: Trouble) -> String {
    trouble.to_string()
}

/// Keeps the image, says how to repeat it, and panics.
fn fail(image: &Image, what: &str, position: usize, of: usize, seed: u64) -> ! {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-image-{seed}-{position}"));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, pages) in image {
        std::fs::write(folder.join(name), pages.bytes()).unwrap();
    }
    panic!(
        "the image at {position} of {of} {what}\nit is kept in {}\nagain: SKIFF_SEED={seed} SKIFF_IMAGES={IMAGES_A_LIFE} \
         cargo test -p skiff-store --test crash power_failure",
        folder.display()
    );
}
