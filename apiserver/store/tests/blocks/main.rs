//! The power fails under a real kernel: whatever its ext4 had written at any flush, the store opens, is sound, and holds what was
//! acknowledged.
//!
//! A virtual machine (`skiff-vm`) runs this same program as a guest's suite: it uses a store on a disk whose writes are logged, with
//! several clients, restarts and defragmentation. From the log come the states of the disk: one at every mark (a flush, or a
//! write that is durable at once), and one between every two, where some of what was written since is missing or torn. Each is
//! mounted, which replays the filesystem's journal, and the store in it is judged. Now and then a disk is judged by what was
//! acknowledged only later, and must be found wrong.
//!
//! A machine without loop devices, QEMU or Debian's kernel skips this.
//!
//! `SKIFF_MARKS` is how many marks, `SKIFF_SEED` where chance begins (one seed a life). A life is not repeated exactly by its
//! seed: a failure keeps the disk and the log.

#![allow(clippy::unwrap_used)]

#[path = "../crash/amount.rs"]
mod amount; // how much, and from which seed
#[path = "../crash/ask.rs"]
mod ask; // one command to a store
mod bench; // a loop device, and the judgement
#[path = "../crash/check.rs"]
mod check; // whether a store is what the model says
mod driver; // what happens in the guest
#[cfg(feature = "seeded")]
mod hunt; // for mistakes put there on purpose
#[allow(dead_code)] // Others use more of it.
#[path = "../crash/model.rs"]
mod model; // what a store should be
mod plan; // what the store is asked
mod states; // which disks are judged

use crate::amount::{Progress, amount, first_seed};
use bench::Bench;
use plan::Plan;
use skiff_vm::{Command, Guest, Kernel, Limits};
use states::Counts;
use std::path::Path;
use std::time::Duration;

/// Tells the driver in the guest who it is.
const SEED: &str = "SKIFF_TEST_BLOCKS_SEED";
const COMMANDS: &str = "SKIFF_TEST_BLOCKS_COMMANDS";
/// The mistake that a store of the feature `seeded` makes.
const BUG: &str = "SKIFF_STORE_BUG";

/// The store, in its filesystem; and where that is in the guest.
const STORE: &str = "store";
const FOLDER: &str = "/scratch/store";
const FILESYSTEM_MIB: u64 = 40;
const NOTES_MIB: u64 = 1;
const DISK_MIB: u64 = FILESYSTEM_MIB + NOTES_MIB;
/// Where the driver notes what was acknowledged.
const NOTES_AT: u64 = FILESYSTEM_MIB << 20;
/// Commands of one life: half a minute for an emulated machine on an idle host, several on a busy one.
const COMMANDS_MAX: u64 = 2500;
const LIMITS: Limits = Limits {
    boot: Duration::from_secs(120),
    boots_max: 3,
    total: Duration::from_secs(3600),
    silence: Duration::from_secs(900),
};

#[test]
fn every_state_of_a_disk_has_what_was_acknowledged() {
    if is_missing_something() {
        return;
    }
    let wanted = amount("SKIFF_MARKS", 100, 5000);
    let (mut all, mut progress) = (Counts::default(), Progress::of("marks"));
    for seed in first_seed().. {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // Commands share commits, and some marks are the filesystem's own: a hundred marks are about 130 commands.
        let commands = ((wanted - all.marks) * 3 / 2).clamp(150, COMMANDS_MAX);
        live(seed, commands, folder.path()).unwrap_or_else(|error| panic!("life {seed}: {error}"));
        let plan = Plan::draw(seed, usize::try_from(commands).unwrap());
        match states::judge(folder.path(), &plan, seed, wanted - all.marks, &mut progress) {
            Ok(counts) => all.add(counts),
            // As a line of its own: the hunter looks for it.
            Err(wrong) => {
                eprintln!("{wrong}");
                if std::env::var_os(BUG).is_none() {
                    eprintln!("the log is kept in {}", folder.keep().display());
                }
                panic!("a state of the disk is wrong");
            }
        }
        progress.print(all.marks, wanted, &all);
        if all.marks >= wanted {
            break;
        }
    }
    assert!(all.controls > 0 && all.acknowledged > 0 && all.between * 2 > all.marks, "too little was looked at{all}");
}

/// Whether this machine cannot do it, which is said aloud.
fn is_missing_something() -> bool {
    // A bench belongs to its thread.
    let place = std::thread::spawn(|| Bench::set_up().map(drop)).join().unwrap();
    let place = place.map_err(|why| format!("no place to mount a disk: {why}"));
    let kernel = Kernel::peer("6.1").map(drop).map_err(|error| error.to_string());
    let qemu = skiff_vm::check_qemu().map_err(|error| error.to_string());
    place.and(kernel).and(qemu).inspect_err(|why| skiff_harness::skip(why)).is_err()
}

/// Not a test: what the guest runs.
#[test]
fn driver_in_a_guest() {
    if std::env::var_os(SEED).is_some() {
        driver::live();
    }
}

/// A life of a store in a guest, logged to `folder`.
fn live(seed: u64, commands: u64, folder: &Path) -> skiff_vm::Result<()> {
    let program = std::env::current_exe().unwrap();
    // Every second life has a newer kernel, if there is one.
    let newer = Kernel::peer("6.12").ok().filter(|_| seed.is_multiple_of(2));
    let mut guest = Guest::new(newer.map_or_else(|| Kernel::peer("6.1"), Ok)?)?;
    guest.program(&program, "/driver")?.limits(LIMITS);
    guest.disk_mib(FILESYSTEM_MIB).disk_raw_mib(NOTES_MIB).log_writes(folder);
    if let Ok(bug) = std::env::var(BUG) {
        guest.env(BUG, &bug);
    }
    let command = Command::new(["/driver", "--exact", "driver_in_a_guest", "--nocapture"]);
    let command = command.env(SEED, &seed.to_string()).env(COMMANDS, &commands.to_string());
    let outcome = guest.run(&[command])?;
    eprintln!("life {seed} on Linux {}", outcome.release);
    let ran = &outcome.commands[0];
    assert_eq!(ran.code, 0, "life {seed}: {}{}\n{}", ran.out(), ran.err(), outcome.console);
    Ok(())
}
