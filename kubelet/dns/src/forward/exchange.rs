//! One question to one resolver: over UDP, and over TCP if the answer did not fit.
//!
//! Each question has a socket and a number of its own, so that whoever wants to answer in the resolver's place has to guess both
//! (RFC 5452).

use super::MESSAGE_BYTES_MIN;
use super::cache::Key;
use crate::screen::UDP_PAYLOAD;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Datagrams that are looked at: what comes from elsewhere or answers something else is passed over, but not for ever.
const STRANGERS_MAX: usize = 32;
/// No UDP message of a resolver is larger, whatever it was asked for.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// Asks, and waits for at most `patience`.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Query,
    key: &Key,
    patience: Duration,
) -> io::Result<(Vec<u8>, Message)> {
    let request = request(question, key);
    let bytes = request.to_vec().map_err(io::Error::other)?;
    let exchange = async {
        let (answer, message) = over_udp(server, &request, &bytes).await?;
        if !message.truncation {
            return Ok((answer, message));
        }
        // A resolver without TCP has said at least something.
        Ok(over_tcp(server, &request, &bytes).await.unwrap_or((answer, message)))
    };
    tokio::time::timeout(patience, exchange).await.map_err(io::Error::from)?
}

fn request(question: &Query, key: &Key) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = key.checking_disabled;
    message.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(key.dnssec_ok);
    message.set_edns(edns);
    message
}

async fn over_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<(Vec<u8>, Message)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    for _ in 0..STRANGERS_MAX {
        let length = socket.recv(&mut buffer).await?;
        if let Some(message) = answer_to(request, &buffer[..length]) {
            buffer.truncate(length);
            return Ok((buffer, message));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "only answers to other questions came"))
}

async fn over_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<(Vec<u8>, Message)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let message = answer_to(request, &answer);
    let message = message.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))?;
    Ok((answer, message))
}

/// The message, if it answers this request.
fn answer_to(request: &Message, bytes: &[u8]) -> Option<Message> {
    if bytes.len() < MESSAGE_BYTES_MIN || bytes[..2] != request.id.to_be_bytes() {
        return None;
    }
    let message = Message::from_vec(bytes).ok()?;
    let is_ours = message.message_type == MessageType::Response && message.queries == request.queries;
    is_ours.then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RecordType};

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let question = Query::query(Name::from_ascii("Web.example.").unwrap(), RecordType::A);
        let asked = request(&question, &Key::new(&question, true, false));
        assert!(asked.recursion_desired && asked.edns.as_ref().unwrap().flags().dnssec_ok);
        let take = |message: &Message| answer_to(&asked, &message.to_vec().unwrap()).is_some();
        assert!(take(&asked.clone().into_response()));
        assert!(!take(&asked), "the question itself");
        let mut other = asked.clone().into_response();
        other.metadata.id ^= 1;
        assert!(!take(&other));
        let mut other = asked.clone().into_response();
        other.queries[0].set_query_type(RecordType::AAAA);
        assert!(!take(&other));
        assert!(answer_to(&asked, &asked.id.to_be_bytes()).is_none());
    }
}
