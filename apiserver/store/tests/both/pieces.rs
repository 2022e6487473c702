//! RangeStream, which Debian's etcd does not have yet: asked of ours alone, with the answers that etcd 3.7 gives.

use crate::peers::ours_over;
use crate::server::{Server, beginning, said};
use redb::backends::InMemoryBackend;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_store::{Options, Store};
use tonic::{Code, Status};

const KEYS: usize = 60;
/// Sixty of them do not fit into what waits for a client: three pieces of 1 MiB, and the window of its stream.
const VALUE_BYTES: usize = 200_000;

async fn filled() -> Server {
    let [database, log] = [(); 2].map(|()| InMemoryBackend::new());
    let store = Store::open_disks(database, log, Options::default()).unwrap();
    let server = Server::connect(&ours_over(tempfile::tempdir().unwrap(), store).await.url, false).await;
    for index in 0..KEYS {
        server.try_put(&format!("p/{index:03}"), vec![7; VALUE_BYTES], 0).await.unwrap();
    }
    server
}

fn all() -> pb::RangeRequest {
    let (key, range_end) = beginning("p/");
    pb::RangeRequest { key, range_end, ..Default::default() }
}

async fn open(server: &Server, range: pb::RangeRequest) -> Result<tonic::Streaming<pb::RangeStreamResponse>, Status> {
    Ok(server.kv().range_stream(range).await?.into_inner())
}

/// Every piece, or the refusal that the stream ends with.
async fn pieces(server: &Server, range: pb::RangeRequest) -> Result<Vec<pb::RangeResponse>, Status> {
    let (mut stream, mut pieces) = (open(server, range).await?, Vec::new());
    while let Some(piece) = stream.message().await? {
        pieces.push(piece.range_response.unwrap());
    }
    Ok(pieces)
}

fn only(mut pieces: Vec<pb::RangeResponse>) -> pb::RangeResponse {
    assert_eq!(pieces.len(), 1);
    pieces.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_small_and_of_one_revision() {
    let server = filled().await;
    let revision = server.put("q", "1").await;
    let mut stream = open(&server, all()).await.unwrap();
    let mut pieces = vec![stream.message().await.unwrap().unwrap().range_response.unwrap()];
    // Nothing of this may be seen by who began before it.
    let (key, range_end) = beginning("p/");
    server.kv().delete_range(pb::DeleteRangeRequest { key, range_end, prev_kv: false }).await.unwrap();
    let newest = server.put("p/000", "later").await;
    server.compact(newest).await;
    while let Some(piece) = stream.message().await.unwrap() {
        pieces.push(piece.range_response.unwrap());
    }
    let keys: Vec<_> = pieces.iter().flat_map(|piece| &piece.kvs).collect();
    assert_eq!(keys.len(), KEYS);
    for (index, kv) in keys.iter().enumerate() {
        assert_eq!((&kv.key[..], kv.value.len()), (format!("p/{index:03}").as_bytes(), VALUE_BYTES));
    }
    let last = pieces.pop().unwrap();
    let header = last.header.unwrap();
    assert_eq!((header.revision, last.count, last.more), (revision, KEYS as i64, false));
    assert!(header.cluster_id != 0 && header.member_id != 0);
    assert_eq!(pieces.len(), 9, "six keys are more than 1 MiB");
    for piece in pieces {
        assert!(piece.header.is_none() && piece.count == 0 && !piece.more, "the last alone says so");
        assert!(piece.kvs.len() <= (1 << 20) / VALUE_BYTES + 1, "{} keys in a piece", piece.kvs.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_cuts_and_the_count_is_of_all() {
    let server = filled().await;
    let limited = pieces(&server, pb::RangeRequest { limit: 10, ..all() }).await.unwrap();
    let last = limited.last().unwrap();
    assert_eq!(limited.iter().map(|piece| piece.kvs.len()).sum::<usize>(), 10);
    assert_eq!((last.count, last.more), (KEYS as i64, true));
    let exact = pieces(&server, pb::RangeRequest { limit: KEYS as i64, ..all() }).await.unwrap();
    assert!(!exact.last().unwrap().more);
    let keys = only(pieces(&server, pb::RangeRequest { keys_only: true, ..all() }).await.unwrap());
    assert!(keys.kvs.len() == KEYS && keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 1));
    let counted = only(pieces(&server, pb::RangeRequest { count_only: true, ..all() }).await.unwrap());
    assert_eq!((counted.kvs.len(), counted.count), (0, KEYS as i64));
    let nothing = pb::RangeRequest { key: "no".into(), ..Default::default() };
    let empty = only(pieces(&server, nothing).await.unwrap());
    assert!(empty.kvs.is_empty() && empty.count == 0 && empty.header.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_refused_as_a_range_is() {
    let server = filled().await;
    let revision = server.put("p/000", "later").await;
    let old = pb::RangeRequest { revision: revision - 1, limit: 1, ..all() };
    let first = pieces(&server, old.clone()).await.unwrap();
    assert_eq!((first[0].kvs[0].value.len(), first[0].header.unwrap().revision), (VALUE_BYTES, revision));
    server.compact(revision).await;
    let refused = |text: &str| (Code::OutOfRange, format!("etcdserver: mvcc: {text}"));
    assert_eq!(said(pieces(&server, old).await), refused("required revision has been compacted"));
    let future = pb::RangeRequest { revision: revision + 1, ..all() };
    assert_eq!(said(pieces(&server, future).await), refused("required revision is a future revision"));
    let no_key = (Code::InvalidArgument, "etcdserver: key is not provided".to_owned());
    assert_eq!(said(pieces(&server, pb::RangeRequest::default()).await), no_key);
    let unimplemented = |what: &str| (Code::Unimplemented, format!("RangeStream does not support {what}"));
    let descending = pb::RangeRequest { sort_order: pb::range_request::SortOrder::Descend.into(), ..all() };
    assert_eq!(said(pieces(&server, descending).await), unimplemented("custom sort orders"));
    let filtered = pb::RangeRequest { min_mod_revision: 3, ..all() };
    assert_eq!(said(pieces(&server, filtered).await), unimplemented("revision filters"));
    let ascending = pb::RangeRequest { sort_order: pb::range_request::SortOrder::Ascend.into(), limit: 1, ..all() };
    assert_eq!(pieces(&server, ascending).await.unwrap()[0].kvs[0].value, "later");
}
