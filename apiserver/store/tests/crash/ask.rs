//! One command of the model, asked of a store.

use crate::model::{Command, Step, TTL_SECONDS};
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::keys::KeyRange;
use skiff_store::request::{Delete, Op, Put, Txn};
use skiff_store::{Options, Store};

/// A log so small that it is full now and then, and that some batches do not fit in it.
pub(crate) fn options(chance: &mut StdRng) -> Options {
    let log_bytes = [16 << 10, 40 << 10, 200 << 10][chance.random_range(0..3)];
    Options { cache_bytes: 1 << 20, log_bytes, ..Options::default() }
}

/// Does a command; `revision` is what it should answer (0: that is not looked at).
pub(crate) async fn perform(store: &Store, command: &Command, revision: i64) -> Result<(), String> {
    match command {
        Command::Write(steps) => {
            let txn = Txn { success: steps.iter().map(op).collect(), ..Txn::default() };
            let done = store.txn(txn).await.map_err(|refusal| refusal.to_string())?;
            assert!(revision == 0 || done.revision == revision, "answered {} for {revision}", done.revision);
        }
        Command::Grant(id) => drop(store.grant(*id, TTL_SECONDS).await.map_err(|refusal| refusal.to_string())?),
        Command::Revoke(id) => store.revoke(*id).await.map_err(|refusal| refusal.to_string())?,
        Command::Compact(to, removed) => {
            store.compact(*to, *removed).await.map_err(|refusal| refusal.to_string())?;
        }
    }
    Ok(())
}

fn op(step: &Step) -> Op {
    match step.clone() {
        Step::Put { key, value, lease } => {
            Op::Put(Put { key, value: Some(value), lease: Some(lease), want_previous: false })
        }
        Step::Delete { key } => Op::Delete(Delete { keys: KeyRange::single(key), want_previous: false }),
    }
}
