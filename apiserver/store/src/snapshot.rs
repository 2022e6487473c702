//! The whole store as one stream of bytes, and a store made of them: what `etcdctl snapshot save` is given.
//!
//! ```text
//!  save:     store ──► `etcd`: buckets ──► `bolt`: pages ‖ SHA-256 of all before
//!  restore:  ──► `file`: proved whole ──► `import`: of an etcd, or as our earlier releases saved it ──► store
//! ```
//!
//! What is saved is a database of etcd with etcd's trailer, so an etcd can be made of it, and a store of ours of what an etcd saved.

mod etcd;
mod file;
mod import;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub use file::{Summary, restore, status};

use crate::Store;
use crate::bolt::write::Plan;
use crate::engine::EngineError;
use crate::request::Refusal;
use crate::writer::{Still, Work};

/// A disk sector: what etcd's clients expect a database to be a multiple of.
const SECTOR_BYTES: u64 = 512;
/// Bytes of the trailer.
const SUM_BYTES: u64 = 32;
/// Bytes of one piece: what etcd sends.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces that wait for the reader.
const PIECES_MAX: usize = 8;

/// The store as it is now, in pieces; while they are read, the engine keeps what they need.
pub fn write(store: &Store) -> BoxStream<'static, Result<Bytes, Refusal>> {
    pieces(store).map(|piece| piece.map(|piece| piece.bytes)).boxed()
}

/// Some bytes of a snapshot.
pub(crate) struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// How many follow them.
    pub remaining: u64,
}

/// The same, with how much is to come.
pub(crate) fn pieces(store: &Store) -> BoxStream<'static, Result<Piece, Refusal>> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let (store, member) = (store.clone(), store.core().member);
    tokio::spawn(async move {
        let still = store.ask(Work::Still).await;
        // What is sent takes as long as the reader takes.
        tokio::task::spawn_blocking(move || {
            if let Err(refusal) = still.and_then(|still| Ok(send(&still, member, &sender)?)) {
                // The reader may be gone; then nobody wants to know.
                let _reader_may_be_gone = sender.blocking_send(Err(refusal));
            }
        });
    });
    ReceiverStream::new(receiver).boxed()
}

fn send(still: &Still, member: u64, sender: &mpsc::Sender<Result<Piece, Refusal>>) -> Result<(), EngineError> {
    // Looked through twice: the first pages say where the last ones are, and every piece says how much is to come.
    let listened = &mut |_: &[u8]| if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let plan = etcd::lay_out(still, member, Plan::default(), listened)?;
    if sender.is_closed() {
        return Ok(());
    }
    let mut remaining = plan.bytes() + SUM_BYTES;
    let (mut sum, mut piece) = (Sha256::new(), BytesMut::with_capacity(2 * PIECE_BYTES));
    let mut pass = |piece: &mut BytesMut| {
        remaining = remaining.saturating_sub(piece.len() as u64);
        let bytes = piece.split().freeze();
        match sender.blocking_send(Ok(Piece { bytes, remaining })) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let mut flow = ControlFlow::Continue(());
    etcd::lay_out(still, member, plan, &mut |bytes| {
        sum.update(bytes);
        piece.extend_from_slice(bytes);
        if piece.len() >= PIECE_BYTES {
            flow = pass(&mut piece);
        }
        flow
    })?;
    if flow.is_continue() && (piece.is_empty() || pass(&mut piece).is_continue()) {
        piece.extend_from_slice(&sum.finalize());
        let _last_piece = pass(&mut piece);
    }
    Ok(())
}
