//! Messages to bytes, cut to what the client takes (RFC 1035, 4.2.1; RFC 2181, 9; RFC 6891, 6.2.5). No I/O.

use crate::screen::UDP_PAYLOAD;
use hickory_proto::ProtoError;
use hickory_proto::op::{Header, HeaderCounts, Message};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, EncodedSize};

/// The most that a UDP message of ours has.
pub const UDP_BYTES_MAX: usize = UDP_PAYLOAD as usize;
/// The most that a message has behind the two bytes of its length (RFC 1035, 4.2.2).
pub(crate) const TCP_BYTES_MAX: usize = u16::MAX as usize;
/// An OPT record without options (RFC 6891, 6.1.2).
const OPT_BYTES: usize = 11;

/// How many bytes of a UDP message this client takes.
#[must_use]
pub fn udp_limit(request: &Message) -> usize {
    // Without EDNS 512; what says less than that means 512 as well.
    usize::from(request.max_payload()).min(UDP_BYTES_MAX)
}

/// Writes a message of at most `limit` bytes in place of what is in `buffer`. Of records that answer and do not fit, as many
/// as fit are there, and the message says that it is truncated; of those that are only helpful, it does not.
///
/// # Errors
/// Not even header and question fit, or a record cannot be written.
pub fn encode(message: &Message, limit: usize, buffer: &mut Vec<u8>) -> Result<(), ProtoError> {
    buffer.clear();
    let mut encoder = BinEncoder::new(buffer);
    let whole = u16::try_from(limit).unwrap_or(u16::MAX);
    let reserved = if message.edns.is_some() { OPT_BYTES } else { 0 };
    encoder.set_max_size(u16::try_from(limit.saturating_sub(reserved)).unwrap_or(u16::MAX));
    let header = encoder.place::<Header>()?;
    let queries = encoder.emit_all(message.queries.iter())?;
    let (answers, all_answers) = emit(&message.answers, &mut encoder)?;
    let (authorities, all_authorities) =
        if all_answers { emit(&message.authorities, &mut encoder)? } else { (0, true) };
    let is_whole = all_answers && all_authorities;
    let (mut additionals, _helpful_only) = if is_whole { emit(&message.additionals, &mut encoder)? } else { (0, true) };
    if let Some(edns) = &message.edns {
        let mut edns = edns.clone();
        edns.set_rcode_high(message.response_code.high());
        encoder.set_max_size(whole);
        Record::from(&edns).emit(&mut encoder)?;
        additionals += 1;
    }
    let mut metadata = message.metadata;
    metadata.truncation |= !is_whole;
    let counts = HeaderCounts { queries: count(queries)?, answers, authorities, additionals };
    encoder.emit_at(header, Header { metadata, counts })
}

/// How many of the records fit, and whether all of them do.
fn emit(records: &[Record], encoder: &mut BinEncoder<'_>) -> Result<(u16, bool), ProtoError> {
    match encoder.emit_all(records.iter()) {
        Ok(number) => Ok((count(number)?, true)),
        Err(ProtoError::NotAllRecordsWritten { count: number, .. }) => Ok((count(number)?, false)),
        Err(error) => Err(error),
    }
}

fn count(number: usize) -> Result<u16, ProtoError> {
    u16::try_from(number).map_err(|_| ProtoError::Message("too many records for one message"))
}

/// The header's size, for who reads a message's first bytes.
pub(crate) const HEADER_BYTES: usize = Header::LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::response_to;
    use hickory_proto::op::{Edns, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RData, RecordType};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn message(answers: usize, additionals: usize, edns: Option<u16>) -> (Message, Message) {
        let mut request = Message::new(7, MessageType::Query, OpCode::Query);
        request.add_query(Query::query(name("Big.shop.svc.cluster.local."), RecordType::A));
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            request.set_edns(edns);
        }
        let mut message = response_to(&request);
        let record = |number: usize| {
            let octets = u32::try_from(number).unwrap().to_be_bytes();
            Record::from_rdata(name("Big.shop.svc.cluster.local."), 5, RData::A(A(octets.into())))
        };
        message.add_answers((0..answers).map(record));
        message.add_additionals((0..additionals).map(record));
        (request, message)
    }

    #[test]
    fn a_client_without_edns_gets_512_bytes_and_others_what_they_take_up_to_our_size() {
        for (size, expected) in [(None, 512), (Some(100), 512), (Some(1000), 1000), (Some(4096), 1232)] {
            assert_eq!(udp_limit(&message(0, 0, size).0), expected);
        }
    }

    #[test]
    fn a_negative_answer_without_room_for_its_soa_is_truncated() {
        let (_, mut negative) = message(0, 0, None);
        negative.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(name("a."), name("b."), 1, 2, 3, 4, 5);
        negative.add_authority(Record::from_rdata(name("cluster.local."), 5, RData::SOA(soa)));
        let mut bytes = Vec::new();
        encode(&negative, 50, &mut bytes).unwrap();
        assert!(Message::from_vec(&bytes).unwrap().truncation);
    }

    proptest! {
        /// The laws of truncation: never more than the limit; what is there is the beginning of what there was; truncated is
        /// said if and only if something that answers is missing; the question and EDNS stay.
        #[test]
        fn what_does_not_fit_is_cut_and_said(answers in 0_usize..200, additionals in 0_usize..50, edns in proptest::option::of(0_u16..5000), limit in 60_usize..3000) {
            let (_, whole) = message(answers, additionals, edns);
            let mut bytes = vec![1, 2, 3];
            encode(&whole, limit, &mut bytes).unwrap();
            prop_assert!(bytes.len() <= limit);
            let cut = Message::from_vec(&bytes).unwrap();
            prop_assert_eq!(&cut.queries, &whole.queries);
            prop_assert!(cut.queries[0].name().eq_case(whole.queries[0].name()));
            prop_assert_eq!(cut.edns.is_some(), whole.edns.is_some());
            prop_assert_eq!(cut.truncation, cut.answers.len() < answers);
            prop_assert_eq!(&cut.answers[..], &whole.answers[..cut.answers.len()]);
            prop_assert_eq!(&cut.additionals[..], &whole.additionals[..cut.additionals.len()]);
            prop_assert!(cut.additionals.is_empty() || !cut.truncation);
            // One more would not have fitted: an address takes 16 bytes, and the encoder wants room for the whole name before
            // it finds that a pointer to it is enough.
            let room = limit - bytes.len();
            prop_assert!(!cut.truncation || room < 16 + whole.queries[0].name().len());
        }
    }
}
