//! Which messages are questions at all, and what the others are told (RFC 1035, 4.1; RFC 6891; RFC 8906).
//!
//! No I/O. Nothing is answered to what is no request: two servers would answer each other for ever.

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The size of UDP messages that we send and take: what no path has to cut into fragments (DNS flag day 2020).
pub(crate) const UDP_PAYLOAD: u16 = 1232;

/// What came.
pub enum Screened {
    /// No request.
    Nothing,
    /// A request that is not answered as asked.
    Refused(Message),
    /// A question about one name, of a class and a type that names have.
    Question(Message),
}

/// Reads what came.
#[must_use]
pub fn screen(bytes: &[u8]) -> Screened {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Screened::Nothing };
    if header.message_type == MessageType::Response {
        return Screened::Nothing;
    }
    let bare = |code| Screened::Refused(without_question(&header.metadata, code));
    match header.op_code {
        OpCode::Query if header.counts.queries == 1 => {}
        OpCode::Query => return bare(ResponseCode::FormErr),
        // Nobody may change what we know.
        OpCode::Notify => return bare(ResponseCode::Refused),
        OpCode::Status | OpCode::Update | OpCode::Unknown(_) => return bare(ResponseCode::NotImp),
    }
    let Ok(request) = Message::from_vec(bytes) else { return bare(ResponseCode::FormErr) };
    match refusal(&request) {
        Some(code) => Screened::Refused(refused(&request, code)),
        None => Screened::Question(request),
    }
}

fn refusal(request: &Message) -> Option<ResponseCode> {
    let Some(question) = request.queries.first() else { return Some(ResponseCode::FormErr) };
    if request.version() > 0 {
        return Some(ResponseCode::BADVERS);
    }
    match (question.query_class(), question.query_type()) {
        (DNSClass::IN, RecordType::AXFR | RecordType::IXFR) => Some(ResponseCode::Refused),
        (DNSClass::IN, RecordType::OPT | RecordType::TSIG) => Some(ResponseCode::FormErr),
        (DNSClass::IN, _) => None,
        _ => Some(ResponseCode::Refused),
    }
}

fn without_question(request: &Metadata, code: ResponseCode) -> Message {
    let mut message = Message::response(request.id, request.op_code);
    message.metadata = Metadata::response_from_request(request);
    message.metadata.response_code = code;
    message
}

/// A response that has nothing but a code.
pub(crate) fn refused(request: &Message, code: ResponseCode) -> Message {
    let mut message = response_to(request);
    message.metadata.response_code = code;
    message
}

/// A response with the question as it was asked, letter by letter, and nothing else yet.
pub(crate) fn response_to(request: &Message) -> Message {
    let mut message = Message::response(request.id, request.op_code);
    message.metadata = Metadata::response_from_request(&request.metadata);
    message.metadata.recursion_available = true;
    message.queries.clone_from(&request.queries);
    message.edns = request.edns.as_ref().map(|theirs| {
        let mut ours = Edns::new();
        ours.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(theirs.flags().dnssec_ok);
        ours
    });
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    fn question(kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("Web.shop.svc.cluster.local.").unwrap(), kind));
        message
    }

    fn code(message: &Message) -> Option<ResponseCode> {
        match screen(&message.to_vec().unwrap()) {
            Screened::Nothing => None,
            Screened::Refused(answer) => {
                assert_eq!((answer.id, answer.message_type), (message.id, MessageType::Response));
                Some(answer.response_code)
            }
            Screened::Question(_) => Some(ResponseCode::NoError),
        }
    }

    #[test]
    fn only_questions_are_answered_as_asked() {
        assert_eq!(code(&question(RecordType::A)), Some(ResponseCode::NoError));
        assert_eq!(code(&question(RecordType::AXFR)), Some(ResponseCode::Refused));
        assert_eq!(code(&question(RecordType::A).into_response()), None);
        let mut chaos = question(RecordType::TXT);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&chaos), Some(ResponseCode::Refused));
        let mut two = question(RecordType::A);
        two.add_query(two.queries[0].clone());
        assert_eq!(code(&two), Some(ResponseCode::FormErr));
        for (op_code, expected) in [
            (OpCode::Notify, ResponseCode::Refused),
            (OpCode::Update, ResponseCode::NotImp),
            (OpCode::Status, ResponseCode::NotImp),
            (OpCode::Unknown(9), ResponseCode::NotImp),
        ] {
            let mut other = question(RecordType::A);
            other.metadata.op_code = op_code;
            assert_eq!(code(&other), Some(expected));
        }
        let mut edns = Edns::new();
        edns.set_version(1);
        let mut newer = question(RecordType::A);
        newer.set_edns(edns);
        assert_eq!(code(&newer), Some(ResponseCode::BADVERS));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let whole = question(RecordType::A).to_vec().unwrap();
        for length in 0..whole.len() {
            match screen(&whole[..length]) {
                Screened::Nothing => assert!(length < 12, "{length}"),
                Screened::Refused(answer) => assert_eq!(answer.response_code, ResponseCode::FormErr),
                Screened::Question(_) => panic!("{length} bytes are a question"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _only_a_panic_would_be_wrong = screen(&bytes);
        }

        #[test]
        fn any_change_of_a_question_is_read(place in 0_usize..60, byte: u8) {
            let mut bytes = question(RecordType::A).to_vec().unwrap();
            let place = place % bytes.len();
            bytes[place] = byte;
            let _only_a_panic_would_be_wrong = screen(&bytes);
        }
    }
}
