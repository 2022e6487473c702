//! A seed is a history: the same requests leave the same bytes.
//!
//! A life is lived twice, with its restarts and with commands that share a commit; what it writes to the log must be the same
//! entries in the same order. Chance decides nothing but the names of a store (the log's id, its cluster and its member), which its first
//! batch holds; threads decide only where in the log a batch lies, and whether history that is to be forgotten shares a batch
//! with the next command.
//!
//! `SKIFF_SAME` is how many seeds; `SKIFF_SEED` the first.

use crate::amount::{Progress, amount, chance, first_seed};
use crate::machine::{Logged, Machine, Op};
use crate::model::Model;
use crate::workload::{LOG, Life, Restarts};

const COMMANDS: usize = 60;
/// See docs/store-format.md: magic, checksum, sequence, length.
const MAGIC: &[u8] = b"SKFB";
const HEAD: usize = 20;

#[test]
fn a_seed_leaves_the_same_bytes_again() {
    let wanted = amount("SKIFF_SAME", 100, 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut progress, mut bytes) = (Progress::of("seeds lived twice"), 0);
    for seed in first_seed()..first_seed() + wanted {
        let (first, second) = (runtime.block_on(entries(seed)), runtime.block_on(entries(seed)));
        let differs = first.iter().zip(&second).position(|(first, second)| first != second);
        assert_eq!(differs, None, "SKIFF_SEED={seed}: the byte that differs when it is lived again");
        assert_eq!(first.len(), second.len(), "SKIFF_SEED={seed}: one life writes more bytes");
        bytes += first.len();
        progress.tell(seed - first_seed(), wanted, &format!(": {bytes} bytes"));
    }
    progress.print(wanted, wanted, &format!(": {bytes} bytes"));
    assert!(bytes as u64 > wanted * 5000, "hardly anything was written");
}

/// The entries that a life writes to its log, without the first batch.
async fn entries(seed: u64) -> Vec<u8> {
    let mut chance = chance(seed);
    let mut life = Life::begin(Machine::default(), Model::new());
    // A batch that is large beside the log goes to the database at once, and how large one is, is the threads' affair (see above).
    life.log_bytes = Some(8 << 20);
    life.live(&mut chance, COMMANDS, Restarts::Some).await.unwrap();
    let (_, log) = life.log();
    log.iter().filter_map(batch).skip(1).flatten().collect()
}

/// What a write to the log holds, if it is a batch.
fn batch(logged: &Logged) -> Option<Vec<u8>> {
    let Logged { file: LOG, op: Op::Write { data, .. } } = logged else { return None };
    let head = data.get(..HEAD).filter(|head| head.starts_with(MAGIC))?;
    let length = u32::from_le_bytes(head[16..].try_into().unwrap()) as usize;
    Some(data[HEAD..HEAD + length].to_vec())
}
