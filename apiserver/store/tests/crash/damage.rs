//! Damage: somebody changes a store's files while nobody has them open. It is refused with a sentence, or harmless; never is anything
//! wrong read, and nothing panics.
//!
//! `SKIFF_DAMAGES` is how many; `SKIFF_SEED` where chance begins (one seed a store).

use crate::FORKS;
use crate::amount::{Progress, amount, chance, first_seed};
use crate::check::{Trouble, check};
use crate::machine::{Image, Machine};
use crate::model::{After, Model};
use crate::pages::{PAGE, Pages};
use crate::workload::{Life, Restarts, disks, end, open};
use futures::FutureExt;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::fsck;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

const COMMANDS: usize = 80;
const DAMAGES_A_STORE: u64 = 100;

/// What damage makes redb panic is caught by the store and refused; the report of the panic itself is not wanted here.
fn hush_panics_of_redb() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let redbs = info.location().is_some_and(|location| location.file().contains("/redb-"));
            if !redbs || std::env::var_os("SKIFF_TEST_ALL_PANICS").is_some() {
                before(info);
            }
        }));
    });
}

#[derive(Debug, Default)]
struct Counts {
    refused_at_opening: u64,
    refused_when_read: u64,
    harmless: u64,
    seen_by_fsck: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { refused_at_opening, refused_when_read, harmless, seen_by_fsck } = self;
        write!(
            out,
            ": {refused_at_opening} refused at opening, {refused_when_read} when read, {harmless} harmless; fsck saw {seen_by_fsck}"
        )
    }
}

#[test]
fn damage_is_found_or_harmless() {
    hush_panics_of_redb();
    let wanted = amount("SKIFF_DAMAGES", 200, 10_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut counts, mut progress, mut done) = (Counts::default(), Progress::of("damages"), 0);
    for seed in first_seed().. {
        let mut chance = chance(seed);
        let (stores, life) = runtime.block_on(a_store(&mut chance));
        for number in 0..DAMAGES_A_STORE.min(wanted - done) {
            let (image, what) = damaged(&stores, &mut chance);
            let again = format!(
                "{what} (number {number}); again: SKIFF_SEED={seed} SKIFF_DAMAGES={DAMAGES_A_STORE} \
                 cargo test -p skiff-store --test crash damage"
            );
            runtime.block_on(stands(&image, &life, &stores.possible, &again, &mut counts, &mut chance));
            done += 1;
            progress.tell(done, wanted, &counts);
        }
        if done >= wanted {
            break;
        }
    }
    progress.print(done, wanted, &counts);
    assert!(counts.refused_at_opening > wanted / 10, "hardly anything was damaged: {counts}");
}

/// The files of a store as they are, and as they were some time before that.
struct Stores {
    now: Image,
    before: Image,
    /// Whether it was killed. Then damage to the last write in its log cannot be told from a write that was cut off by the kill, and
    /// larger damage there not from writes that never were: only bits are flipped, and what was before the last write is right, too.
    killed: bool,
    /// What they hold.
    possible: Vec<After>,
}

async fn a_store(chance: &mut StdRng) -> (Stores, Life) {
    let mut life = Life::begin(Machine::default(), Model::new());
    life.live(chance, COMMANDS / 2, Restarts::Some).await.unwrap();
    let before = life.machine.files();
    life.live(chance, COMMANDS / 2, Restarts::Some).await.unwrap();
    life.live_a_little(chance).await;
    let possible: Vec<After> = life.sent.iter().rev().take(2).map(|sent| sent.after.clone()).collect();
    match chance.random_bool(0.5) {
        true => (Stores { now: life.machine.files(), before, killed: false, possible: possible[..1].to_vec() }, life),
        false => (Stores { now: life.before_end.clone(), before, killed: true, possible }, life),
    }
}

/// Opens a damaged image and reads everything.
async fn stands(image: &Image, life: &Life, possible: &[After], what: &str, counts: &mut Counts, chance: &mut StdRng) {
    let fsck = fsck_finds(image);
    counts.seen_by_fsck += u64::from(fsck.is_some());
    let machine = Machine::started_with(image.clone());
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| open(&machine, chance)));
    match opened.unwrap_or_else(|_| panic!("{what}: panics when it is opened")) {
        Err(error) => {
            assert!(error.to_string().contains("the given disk"), "{what}: does not name what is damaged: {error}");
            assert!(fsck.is_some(), "{what}: is refused ({error}), but fsck sees nothing");
            counts.refused_at_opening += 1;
        }
        Ok(store) => {
            let possible: Vec<&After> = possible.iter().collect();
            let checked = AssertUnwindSafe(check(&store, &life.model, &possible, chance)).catch_unwind().await;
            match checked.unwrap_or_else(|_| panic!("{what}: panics when it is read")) {
                Ok(_) => counts.harmless += 1,
                Err(Trouble::Refused(why)) => {
                    assert!(fsck.is_some(), "{what}: cannot be read ({why}), but fsck sees nothing");
                    counts.refused_when_read += 1;
                }
                Err(Trouble::Wrong(answer)) => panic!("{what}: {answer}"),
            }
            end(store, &machine, true).await;
        }
    }
}

fn fsck_finds(image: &Image) -> Option<String> {
    let (database, log) = disks(&Machine::started_with(image.clone()));
    match fsck::fsck_disks(database, log) {
        Ok(report) => (!report.is_sound()).then(|| report.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// An image with something wrong with one of its files, and what.
fn damaged(stores: &Stores, chance: &mut StdRng) -> (Image, String) {
    let mut image = stores.now.clone();
    let file = chance.random_range(0..image.len());
    let (name, pages) = &mut image[file];
    let before =
        &stores.before.iter().find(|(there, _)| there == name).map_or(Pages::default(), |(_, pages)| pages.clone());
    let what = match stores.killed && name == "store.log" {
        true => flip(pages, 1, chance),
        false => damage(pages, before, chance),
    };
    let what = format!("{name}: {what}");
    (image, what)
}

fn read(pages: &Pages, page: usize) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    pages.read(page * PAGE, &mut bytes).unwrap();
    bytes
}

/// Most of a file may be unused: of a few tries, the first page that is not empty.
fn used(pages: &Pages, chance: &mut StdRng) -> usize {
    let tries: Vec<usize> = (0..20).map(|_| chance.random_range(0..pages.len() / PAGE)).collect();
    tries.iter().copied().find(|&page| read(pages, page) != [0; PAGE]).unwrap_or(tries[0])
}

fn flip(pages: &mut Pages, times: usize, chance: &mut StdRng) -> String {
    let mut told = Vec::new();
    for _ in 0..times {
        let (page, within, bit) = (used(pages, chance), chance.random_range(0..PAGE), chance.random_range(0..8));
        let byte = read(pages, page)[within] ^ (1 << bit);
        pages.write(page * PAGE + within, &[byte]);
        told.push(format!("{page}+{within}.{bit}"));
    }
    format!("bits flipped at {}", told.join(" "))
}

fn damage(pages: &mut Pages, before: &Pages, chance: &mut StdRng) -> String {
    let (a, b) = (used(pages, chance), used(pages, chance));
    let (first, second) = (read(pages, a), read(pages, b));
    match chance.random_range(0..20) {
        0..=9 => {
            let times = [1, 1, 1, 2, 8][chance.random_range(0..5)];
            flip(pages, times, chance)
        }
        10..=11 => {
            pages.write(a * PAGE, &second);
            pages.write(b * PAGE, &first);
            format!("pages {a} and {b} swapped")
        }
        12 => {
            pages.write(b * PAGE, &first);
            format!("page {a} also at {b}")
        }
        13..=14 if (a + 1) * PAGE <= before.len() => {
            pages.write(a * PAGE, &read(before, a));
            format!("page {a} as it was")
        }
        13..=15 => {
            pages.write(a * PAGE, &[0; PAGE]);
            format!("page {a} zeroed")
        }
        16..=18 => {
            let (cut, len) = (chance.random_range(0..pages.len()), pages.len());
            pages.set_len(cut);
            format!("cut to {cut} of {len} bytes")
        }
        _ => foreign(pages, chance),
    }
}

fn foreign(pages: &mut Pages, chance: &mut StdRng) -> String {
    let mut noise = vec![0; 20_000];
    chance.fill(&mut noise[..]);
    let (bytes, what) = match chance.random_range(0..4) {
        0 => (b"SQLite format 3\0".repeat(600), "another database"),
        1 => (b"apiVersion: v1\nkind: List\n".to_vec(), "a text"),
        2 => (vec![0; 1 << 16], "zeros"),
        _ => (noise, "noise"),
    };
    *pages = Pages::of(&bytes);
    what.to_owned()
}

/// On a real disk the sentence names the file.
#[test]
fn a_damaged_file_is_named() {
    let _alone = FORKS.lock().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(damaged_files_are_named());
}

async fn damaged_files_are_named() {
    use skiff_store::Store;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), skiff_store::Options::default()).unwrap();
    for revision in 2..20 {
        assert_eq!(store.grant(revision, 100).await.unwrap().0, revision);
    }
    store.close().await;
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = names.filter(|path| !path.ends_with("lock")).collect();
    assert!(!files.is_empty());
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        for bytes in [&b"what is this?"[..], &whole[..1000], &vec![7; whole.len()]] {
            std::fs::write(&path, bytes).unwrap();
            let told = match Store::open(folder.path(), skiff_store::Options::default()) {
                Ok(_) => panic!("{}: {} bytes of something else are served", path.display(), bytes.len()),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(&*path.to_string_lossy()), "does not name {}: {told}", path.display());
            let fsck = fsck::fsck(folder.path());
            assert!(
                fsck.is_err() || fsck.is_ok_and(|report| !report.is_sound()),
                "fsck finds {} sound",
                path.display()
            );
        }
        std::fs::write(&path, whole).unwrap();
    }
    let store = Store::open(folder.path(), skiff_store::Options::default()).unwrap();
    assert!(store.grant(2, 100).await.is_err(), "the lease is gone");
    store.close().await;
}

#[tokio::test]
async fn another_format_is_refused() {
    let (stores, _) = a_store(&mut chance(first_seed())).await;
    let machine = Machine::started_with(stores.now);
    {
        let database = redb::Builder::new().create_with_backend(machine.file("store.redb")).unwrap();
        let writes = database.begin_write().unwrap();
        let marks = redb::TableDefinition::<&str, i64>::new("marks");
        writes.open_table(marks).unwrap().insert("format", 99).unwrap();
        writes.commit().unwrap();
    }
    let told = match open(&machine, &mut chance(first_seed())) {
        Ok(_) => panic!("a store of format 99 is served"),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("format 99"), "{told}");
}
