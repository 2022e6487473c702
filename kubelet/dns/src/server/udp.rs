//! Datagrams.

use super::ask::{Core, Now, Transport};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;

/// More than any question has; what is longer is cut, and then malformed.
const QUESTION_BYTES_MAX: usize = 4096;
/// Datagrams that are taken before other tasks get their turn.
const TURN_MAX: usize = 64;
/// Refusals of the socket in a row after which it is given up.
const ERRORS_MAX: usize = 100;

/// Answers until the socket breaks.
pub(super) async fn serve(core: Arc<Core>, socket: Arc<UdpSocket>) -> io::Result<()> {
    let (mut question, mut answer) = (vec![0; QUESTION_BYTES_MAX], Vec::with_capacity(QUESTION_BYTES_MAX));
    let mut errors = 0;
    loop {
        socket.readable().await?;
        for _ in 0..TURN_MAX {
            match socket.try_recv_from(&mut question) {
                Ok((length, from)) => {
                    errors = 0;
                    take(&core, &socket, &question[..length], from, &mut answer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The network's word about an earlier answer, such as that nobody waits for it any more.
                Err(error) if errors >= ERRORS_MAX => return Err(error),
                Err(_) => errors += 1,
            }
        }
        tokio::task::yield_now().await;
    }
}

fn take(core: &Arc<Core>, socket: &Arc<UdpSocket>, question: &[u8], from: SocketAddr, answer: &mut Vec<u8>) {
    match core.now(from.ip(), question, Transport::Udp, answer) {
        Now::Nothing => {}
        Now::Answered => send(socket, answer, from),
        Now::Later(pending) => {
            let (core, socket) = (Arc::clone(core), Arc::clone(socket));
            tokio::spawn(async move {
                let mut answer = Vec::new();
                if core.later(*pending, &mut answer).await {
                    send(&socket, &answer, from);
                }
            });
        }
    }
}

/// An answer that the network does not take is lost, as any datagram may be: the client asks again.
fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    let _asked_again_if_lost = socket.try_send_to(answer, to);
}
