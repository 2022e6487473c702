//! The states of a disk that are judged: every one at a mark, and between two marks one that a power failure may leave.

use super::bench::Bench;
use super::driver::noted;
use super::plan::{CLIENTS, Plan};
use super::{BUG, NOTES_AT};
use crate::amount::{Progress, chance};
use rand::Rng;
use rand::rngs::StdRng;
use skiff_vm::{Image, Replay, WriteLog};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How many benches judge at a time.
const BENCHES: usize = 3;
/// Disks that wait to be judged. Those of one log share nearly all of their memory.
const WAITING: usize = 16;

/// The kernel writes ext4's superblock, 1 KiB at 1 KiB, in place, and mounts nothing whose superblock is half old: it trusts disks to
/// write that much at once. So do we, there.
const SUPERBLOCK_END: u64 = 2048;

/// Where in a log a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The disk has just promised that everything is there.
    AtMark,
    /// Some of what was written since is missing.
    Between,
    /// Not a state that may be: what was promised is more than what is there. It must be found wrong.
    Control,
}

/// So much more is promised in a control than was acknowledged: more than is under way.
const TOO_MUCH: usize = 2 * CLIENTS + 8;

struct State {
    image: Image,
    place: Place,
    position: usize,
    acknowledged: usize,
}

/// What was judged.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub marks: u64,
    pub between: u64,
    pub controls: u64,
    pub acknowledged: usize,
}

impl Counts {
    /// Those of one more life.
    pub(super) fn add(&mut self, other: Counts) {
        self.marks += other.marks;
        self.between += other.between;
        self.controls += other.controls;
        self.acknowledged += other.acknowledged;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { marks, between, controls, acknowledged } = self;
        write!(
            out,
            ": {marks} marks and {between} states between them, {acknowledged} commands acknowledged; {controls} controls"
        )
    }
}

/// Judges the states of the log in `folder`, of at most `marks` marks; an error is the first that is wrong.
pub(super) fn judge(
    folder: &Path,
    plan: &Plan,
    seed: u64,
    marks: u64,
    progress: &mut Progress,
) -> Result<Counts, String> {
    let log = WriteLog::open(folder).unwrap_or_else(|error| panic!("{error}"));
    let (send, receive) = sync_channel(WAITING);
    let (receive, wrong) = (Arc::new(Mutex::new(receive)), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..BENCHES {
            let (receive, wrong) = (receive.clone(), &wrong);
            scope.spawn(move || work(&receive, plan, seed, wrong));
        }
        // Nobody else may hold it: when all benches have ended, nothing more is taken, and sending ends.
        drop(receive);
        let walk = Walk { plan, marks, counts: Counts::default(), send, chance: chance(seed), wrong: &wrong };
        Ok(walk.along(&log, progress))
    })
    .and_then(|counts| wrong.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(counts), Err))
}

type Wrong = Mutex<Option<String>>;

struct Walk<'a> {
    plan: &'a Plan,
    marks: u64,
    counts: Counts,
    send: SyncSender<State>,
    chance: StdRng,
    wrong: &'a Wrong,
}

impl Walk<'_> {
    fn along(mut self, log: &WriteLog, progress: &mut Progress) -> Counts {
        let failed = |error: skiff_vm::Error| -> ! { panic!("{error}") };
        let mut replay = Replay::along(log).unwrap_or_else(|error| failed(error));
        // How many writes of this stretch pass before the power fails.
        let mut fails_in = self.chance.random_range(0..6);
        while let Some(entry) = replay.step().unwrap_or_else(|error| failed(error)) {
            if entry.at >= NOTES_AT && entry.bytes > 0 {
                let note = log.data(entry).unwrap_or_else(|error| failed(error));
                self.counts.acknowledged = noted(&note).expect("nobody else writes there");
            }
            let ends_here = log.entries().get(replay.position()).is_none_or(|next| next.is_mark());
            if replay.pending() > 0 && (fails_in == 0 || (ends_here && fails_in > 0)) {
                let image = self.power_fails(&replay);
                self.counts.between += 1;
                self.send(image, Place::Between, &replay);
            }
            fails_in -= 1;
            if entry.is_mark() {
                fails_in = self.chance.random_range(0..6);
                self.mark(&replay);
                progress.tell(self.counts.marks, self.marks, &self.counts);
            }
            let is_wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if self.counts.marks >= self.marks || is_wrong {
                break;
            }
        }
        self.counts
    }

    fn mark(&mut self, replay: &Replay<'_>) {
        let image = replay.now().unwrap_or_else(|error| panic!("{error}"));
        self.counts.marks += 1;
        if self.counts.marks % 50 == 25 && self.counts.acknowledged + TOO_MUCH < self.plan.commands.len() {
            self.counts.controls += 1;
            self.send(image.clone(), Place::Control, replay);
        }
        self.send(image, Place::AtMark, replay);
    }

    fn send(&self, image: Image, place: Place, replay: &Replay<'_>) {
        let acknowledged = self.counts.acknowledged + if place == Place::Control { TOO_MUCH } else { 0 };
        // Refused: a bench has ended, which its thread tells.
        let _ = self.send.send(State { image, place, position: replay.position(), acknowledged });
    }

    /// Of what is pending: nothing, the first writes and a part of one more, some writes, some sectors or pages.
    fn power_fails(&mut self, replay: &Replay<'_>) -> Image {
        let chance = &mut self.chance;
        let first = chance.random_range(0..=replay.pending());
        let kept = chance.random_range(0.1..0.9);
        let unit = [512, 4096][chance.random_range(0..2)];
        let whole: Vec<bool> = (0..replay.pending()).map(|_| chance.random_bool(kept)).collect();
        let image = match chance.random_range(0..5) {
            0 => replay.power_fails(u64::MAX, &mut |_, _| false),
            1 => replay.power_fails(unit, &mut |number, at| {
                number < first || (number == first && kept_of(at, whole[number], kept, chance))
            }),
            2 => replay.power_fails(u64::MAX, &mut |number, _| whole[number]),
            _ => replay.power_fails(unit, &mut |number, at| kept_of(at, whole[number], kept, chance)),
        };
        image.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Whether the unit at `at` is there: by chance, or, where nothing tears, as the whole write is.
fn kept_of(at: u64, whole: bool, kept: f64, chance: &mut StdRng) -> bool {
    if at < SUPERBLOCK_END { whole } else { chance.random_bool(kept) }
}

/// One bench, until nothing is left to judge or something is wrong.
fn work(states: &Mutex<Receiver<State>>, plan: &Plan, seed: u64, wrong: &Wrong) {
    let bench = Bench::set_up().unwrap_or_else(|why| panic!("{why}"));
    let next = || states.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(state) = next() {
        if wrong.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            continue;
        }
        let mut chance = chance(seed ^ (state.position as u64) << 20);
        let judged = bench.judge(&state.image, plan, state.acknowledged, &mut chance);
        let trouble = match (state.place, judged) {
            (Place::Control, Ok(())) => "is taken for a disk with what was acknowledged only later".to_owned(),
            // Of all that can be wrong, it must be this.
            (Place::Control, Err(why)) if why.contains("it should be") => continue,
            (Place::Control, Err(why)) => format!("is a control, and {why}"),
            (_, Ok(())) => continue,
            (_, Err(trouble)) => trouble,
        };
        let State { place, position, acknowledged, .. } = state;
        let told =
            format!("the disk {place:?} {position} of life {seed}, {acknowledged} commands acknowledged, {trouble}");
        wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| told + &keep(&state, seed));
    }
}

/// Keeps the disk and says where. What a mistake made on purpose leaves is of no use to anybody.
fn keep(state: &State, seed: u64) -> String {
    if std::env::var_os(BUG).is_some() {
        return String::new();
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("block-state-{seed}-{}", state.position));
    state.image.save(&file).unwrap_or_else(|error| panic!("{error}"));
    format!("\nit is kept as {}", file.display())
}
