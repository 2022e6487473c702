//! Port-forward over the channels of a WebSocket: a channel for data and one for what goes wrong, for each port in the order
//! in which they were asked for. Clients in Python and JavaScript speak this (cri-streaming/pkg/streaming/portforward).
//!
//! The first message on each channel is the port, two bytes, the lower one first. Neither side can end a single channel, so
//! a forwarded connection is over as soon as the pod has closed its half, and the socket closes after the last one.

use super::TellsEnd;
use crate::channels::{ChannelWriter, Decoded, OUTGOING_MESSAGES, Outgoing, decode, send_all};
use crate::protocol::Coding;
use crate::{PortForwardRequest, StreamRuntime};
use axum::extract::ws::WebSocket;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::SplitStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Ports of one socket: a channel's number is a byte, and each port has two.
pub(crate) const PORTS_MAX: usize = 128;
/// Bytes that wait for a pod that does not read.
const PIPE_BYTES: usize = 64 << 10;
/// How long a client may take to read the ending.
const ENDING_WITHIN: Duration = Duration::from_secs(10);

/// Serves the upgraded connection; `request` names between one and [`PORTS_MAX`] ports.
pub(crate) async fn serve(
    socket: WebSocket,
    request: PortForwardRequest,
    coding: Coding,
    runtime: Arc<dyn StreamRuntime>,
) {
    let (sink, stream) = socket.split();
    let (outgoing, messages) = mpsc::channel(OUTGOING_MESSAGES);
    let sending = tokio::spawn(send_all(sink, messages, coding));
    let (mut forwarded, mut pods) = (JoinSet::new(), Vec::new());
    for (data, port) in (0..=254).step_by(2).zip(request.ports) {
        for channel in [data, data + 1] {
            let _left = outgoing.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await;
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        pods.push(Some(ours));
        let one = Forward { sandbox_id: request.sandbox_id.clone(), port, data, from_client: theirs };
        forwarded.spawn(one.run(outgoing.clone(), Arc::clone(&runtime)));
    }
    tokio::select! {
        () = async { while forwarded.join_next().await.is_some() {} } => {}
        () = take_all(stream, coding, pods) => {}
    }
    drop((forwarded, outgoing));
    let abort = sending.abort_handle();
    if timeout(ENDING_WITHIN, sending).await.is_err() {
        abort.abort();
    }
}

/// Hands on what the client sends until it leaves. A pod that does not read makes the client wait.
async fn take_all(mut stream: SplitStream<WebSocket>, coding: Coding, mut pods: Vec<Option<DuplexStream>>) {
    while let Some(Ok(message)) = stream.next().await {
        match decode(coding, &message) {
            // The other channels are ours to write.
            Decoded::Data(channel, data) if channel % 2 == 0 => {
                let Some(pod) = pods.get_mut(usize::from(channel / 2)) else { continue };
                let Some(open) = pod else { continue };
                let pod_has_ended = open.write_all(&data).await.is_err();
                if pod_has_ended {
                    *pod = None;
                }
            }
            Decoded::Data(..) | Decoded::Ignored => {}
            Decoded::End => return,
        }
    }
}

/// One forwarded connection.
struct Forward {
    sandbox_id: String,
    port: u16,
    data: u8,
    from_client: DuplexStream,
}

impl Forward {
    async fn run(self, outgoing: Outgoing, runtime: Arc<dyn StreamRuntime>) {
        let Self { sandbox_id, port, data, from_client } = self;
        let (ended, pod_ended) = oneshot::channel();
        let writer = TellsEnd { writer: ChannelWriter::new(data, &outgoing), ended: Some(ended) };
        let stream = Box::new(tokio::io::join(from_client, writer));
        tokio::select! {
            biased;
            result = runtime.port_forward(sandbox_id.clone(), port, stream) => {
                if let Err(reason) = result {
                    let text = format!("error forwarding port {port} to pod {sandbox_id}: {reason}");
                    let _left = outgoing.send((data + 1, text.into())).await;
                }
            }
            Ok(()) = pod_ended => {}
        }
    }
}
