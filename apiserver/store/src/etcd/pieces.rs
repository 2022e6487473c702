//! RangeStream: a range in pieces of a bounded size, all of one revision. Whatever is written or compacted meanwhile is not seen.
//!
//! As in etcd the last piece alone has the header, the count, and whether the limit cut some off.

use super::{Service, words};
use crate::core::{Picked, read};
use crate::request::{Range, Refusal, Want};
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of keys and values after which a piece is sent: far below what a client of gRPC takes by default, 4 MiB.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for the client.
const PIECES_MAX: usize = 2;

type Answer = Result<pb::RangeStreamResponse, Status>;

/// Answers `range`, which is in the order of keys and without filters.
pub(super) fn stream(service: Service, range: Range) -> BoxStream<'static, Answer> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        if let Err(status) = send(&service, &range, &sender) {
            // The client may be gone; then nobody wants to know.
            let _client_may_be_gone = sender.blocking_send(Err(status));
        }
    });
    ReceiverStream::new(receiver).boxed()
}

fn send(service: &Service, range: &Range, sender: &mpsc::Sender<Answer>) -> Result<(), Status> {
    let (picked, snapshot) = service.store.core().picked(range)?;
    let Picked { mut points, count, revision } = picked;
    let more = range.limit > 0 && points.len() > range.limit;
    if more {
        points.truncate(range.limit);
    }
    let (mut kvs, mut bytes) = (Vec::new(), 0);
    for point in points {
        if bytes >= PIECE_BYTES {
            let piece = pb::RangeResponse { kvs: std::mem::take(&mut kvs), ..Default::default() };
            bytes = 0;
            if sender.blocking_send(Ok(answer(piece))).is_err() {
                return Ok(());
            }
        }
        let mut record = read(&*snapshot, point).map_err(Refusal::from)?;
        if range.want == Want::KeysOnly {
            record.value.clear();
        }
        bytes += record.size_bytes();
        kvs.push(words::key_value(record));
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let last = pb::RangeResponse { header: service.header()(revision), kvs, more, count };
    // The client may be gone.
    let _client_may_be_gone = sender.blocking_send(Ok(answer(last)));
    Ok(())
}

fn answer(piece: pb::RangeResponse) -> pb::RangeStreamResponse {
    pb::RangeStreamResponse { range_response: Some(piece) }
}
