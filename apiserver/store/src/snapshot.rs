//! The whole store as one stream of bytes, and a store made of them: what `etcdctl snapshot save` is given.
//!
//! ```text
//!  magic · version · compacted · a byte per alarm ‖ record … ‖ lease … ‖ user or role … ‖ end: revision, counts ‖ zeros to 512 ‖ SHA-256 of all before
//! ```
//!
//! The format is ours, independent of the engine and its version; etcd's own is a bbolt file, which we neither read nor write.
//! The padding and the trailer are etcd's, because its clients look for them: a saved file is a multiple of 512 bytes and 32 more.
//! Numbers are little-endian. See `file` for reading one.

mod file;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub use file::{Summary, restore, status};

use crate::Store;
use crate::engine::{EngineError, decode};
use crate::record::{Point, Record};
use crate::request::{Alarm, Refusal};
use crate::writer::{Still, Work};

const MAGIC: &[u8; 8] = b"SKIFFSNP";
/// Of the format; another number is a snapshot this program cannot read.
const VERSION: u32 = 1;
/// Of the format with users in it: whoever knows only the other one must not make a store of it that is open to everybody.
const VERSION_USERS: u32 = 2;
/// A disk sector: what etcd's clients expect a database to be a multiple of.
const SECTOR_BYTES: u64 = 512;
/// Bytes of the trailer.
const SUM_BYTES: u64 = 32;
/// Bytes of one piece: what etcd sends.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces that wait for the reader.
const PIECES_MAX: usize = 8;

/// What follows in the stream.
mod tag {
    pub(super) const END: u8 = 0;
    pub(super) const RECORD: u8 = 1;
    pub(super) const LEASE: u8 = 2;
    pub(super) const USER: u8 = 3;
}

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
    let store = store.clone();
    tokio::spawn(async move {
        let still = store.ask(Work::Still).await;
        // What is sent takes as long as the reader takes.
        tokio::task::spawn_blocking(move || {
            if let Err(refusal) = still.and_then(|still| Ok(send(&still, &sender)?)) {
                // The reader may be gone; then nobody wants to know.
                let _reader_may_be_gone = sender.blocking_send(Err(refusal));
            }
        });
    });
    ReceiverStream::new(receiver).boxed()
}

fn send(still: &Still, sender: &mpsc::Sender<Result<Piece, Refusal>>) -> Result<(), EngineError> {
    // Looked through twice, so that every piece can say how much is to come.
    let mut total: u64 = 0;
    let counted = lay_out(still, &mut |bytes| {
        total += bytes.len() as u64;
        if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if counted.is_break() {
        return Ok(());
    }
    let mut remaining = total + SUM_BYTES;
    let (mut sum, mut piece) = (Sha256::new(), BytesMut::with_capacity(2 * PIECE_BYTES));
    let mut pass = |piece: &mut BytesMut| {
        remaining = remaining.saturating_sub(piece.len() as u64);
        let bytes = piece.split().freeze();
        match sender.blocking_send(Ok(Piece { bytes, remaining })) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let whole = lay_out(still, &mut |bytes| {
        sum.update(bytes);
        piece.extend_from_slice(bytes);
        if piece.len() < PIECE_BYTES { ControlFlow::Continue(()) } else { pass(&mut piece) }
    })?;
    if whole.is_continue() && (piece.is_empty() || pass(&mut piece).is_continue()) {
        piece.extend_from_slice(&sum.finalize());
        let _last_piece = pass(&mut piece);
    }
    Ok(())
}

/// Passes everything but the trailer to `out`, until that breaks.
fn lay_out(still: &Still, out: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<ControlFlow<()>, EngineError> {
    let mut layout = Layout { out, flow: ControlFlow::Continue(()), bytes: 0, line: BytesMut::new() };
    layout.line.put_slice(MAGIC);
    layout.line.put_u32_le(if still.users.is_empty() { VERSION } else { VERSION_USERS });
    layout.line.put_i64_le(still.compacted);
    for alarm in Alarm::ALL {
        layout.line.put_u8(still.alarms.bits(alarm));
    }
    layout.flush();
    let (mut records, mut damage) = (0_u64, None);
    still.snapshot.scan(Point::start_of(0), &mut |point, bytes| match decode(point, bytes) {
        // Written meanwhile.
        _ if point.revision > still.revision => ControlFlow::Break(()),
        Ok(record) => {
            records += 1;
            layout.record(&record);
            layout.flow
        }
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(()), Err)?;
    for (id, ttl_seconds) in &still.leases {
        layout.line.put_u8(tag::LEASE);
        layout.line.put_i64_le(*id);
        layout.line.put_i64_le(*ttl_seconds);
        layout.flush();
    }
    for (name, value) in &still.users {
        layout.user(name, value);
    }
    layout.end(still.revision, records, still.leases.len() as u64);
    Ok(layout.flow)
}

struct Layout<'a> {
    out: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    flow: ControlFlow<()>,
    bytes: u64,
    line: BytesMut,
}

impl Layout<'_> {
    fn flush(&mut self) {
        self.bytes += self.line.len() as u64;
        if self.flow.is_continue() {
            self.flow = (self.out)(&self.line);
        }
        self.line.clear();
    }

    fn record(&mut self, record: &Record) {
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).expect("requests are bounded far below 4 GiB");
        self.line.put_u8(tag::RECORD);
        self.line.put_i64_le(record.at.revision);
        self.line.put_u32_le(record.at.sub);
        self.line.put_i64_le(record.created);
        self.line.put_i64_le(record.version);
        self.line.put_i64_le(record.lease);
        self.line.put_u32_le(length(&record.key));
        self.line.put_u32_le(length(&record.value));
        self.line.put_slice(&record.key);
        self.line.put_slice(&record.value);
        self.flush();
    }

    fn user(&mut self, name: &Bytes, value: &Bytes) {
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).expect("requests are bounded far below 4 GiB");
        self.line.put_u8(tag::USER);
        self.line.put_u32_le(length(name));
        self.line.put_u32_le(length(value));
        self.line.put_slice(name);
        self.line.put_slice(value);
        self.flush();
    }

    fn end(&mut self, revision: i64, records: u64, leases: u64) {
        self.line.put_u8(tag::END);
        self.line.put_i64_le(revision);
        self.line.put_u64_le(records);
        self.line.put_u64_le(leases);
        let length = self.bytes + self.line.len() as u64;
        let padded = length.next_multiple_of(SECTOR_BYTES);
        self.line.put_bytes(0, usize::try_from(padded - length).expect("less than a sector"));
        self.flush();
    }
}
