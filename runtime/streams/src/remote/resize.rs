//! Terminal sizes on their way to the runtime: of many that arrive while it is busy, the newest is kept.

use crate::TerminalSize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

/// Bytes of a size as JSON, with room for spaces.
const SIZE_BYTES_MAX: usize = 256;

/// Where arriving sizes go.
pub(super) struct Resizes(watch::Sender<Option<TerminalSize>>);

/// A place for arriving sizes, and the receiver for the runtime.
pub(super) fn channel() -> (Resizes, mpsc::Receiver<TerminalSize>) {
    let (newest, mut changes) = watch::channel(None);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let size = *changes.borrow_and_update();
            if let Some(size) = size
                && sender.send(size).await.is_err()
            {
                return;
            }
        }
    });
    (Resizes(newest), receiver)
}

impl Resizes {
    /// Takes a size as JSON; what is none is ignored, as kubelets do.
    pub(super) fn take(&self, json: &[u8]) {
        if let Ok(size) = serde_json::from_slice(json) {
            self.0.send_replace(Some(size));
        }
    }

    /// Takes sizes, one JSON object after the other, until the stream ends.
    pub(super) async fn take_all(self, mut stream: impl AsyncRead + Unpin) {
        let mut object = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            object.push(byte);
            // Sizes have no inner objects, so the first closing brace ends one.
            if byte == b'}' {
                self.take(&object);
                object.clear();
            } else if object.len() > SIZE_BYTES_MAX {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_size_gets_through() {
        let (resizes, mut sizes) = channel();
        let mut text: Vec<u8> =
            (1..=1000).flat_map(|n| format!("{{\"Width\":{n},\"Height\":2}}\n").into_bytes()).collect();
        text.extend_from_slice(b"{\"Width\":\"x\"}");
        resizes.take_all(text.as_slice()).await;
        let mut last = None;
        while let Some(size) = sizes.recv().await {
            last = Some(size);
        }
        assert_eq!(last, Some(TerminalSize { width: 1000, height: 2 }));
    }
}
