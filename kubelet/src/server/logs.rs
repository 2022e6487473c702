//! Streams a container's log file.
//!
//! While someone follows, the file is looked at ten times a second; a file that was rotated away is read to its end and
//! the new one opened.

use super::log_lines::{Wish, render};
use crate::agent::Agent;
use crate::pod::observed::Life;
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc::Sender;

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Blocks in which the end of a file is searched for lines.
const BLOCK_BYTES: u64 = 64 << 10;

/// Which log, and what of it.
pub(super) struct Order {
    pub(super) path: PathBuf,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) id: String,
    pub(super) follow: bool,
    pub(super) tail_lines: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) wish: Wish,
}

/// Opens a log without following a link that a container may have put there.
pub(super) async fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).await?;
    if file.metadata().await?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(format!("{} is not a file", path.display())))
}

/// Sends the ordered lines of `file` to `to`, until the end or until nobody listens.
pub(super) async fn send(agent: Arc<Agent>, mut file: File, order: Order, to: Sender<io::Result<Bytes>>) {
    if let Err(error) = try_send(&agent, &mut file, &order, &to).await {
        // The client is told, if it is still there.
        let _gone = to.send(Err(error)).await;
    }
}

async fn try_send(agent: &Agent, file: &mut File, order: &Order, to: &Sender<io::Result<Bytes>>) -> io::Result<()> {
    let start = match order.tail_lines {
        Some(lines) => tail_offset(file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut reader = BufReader::new(file.try_clone().await?);
    let (mut line, mut in_line, mut next) = (Vec::new(), false, None);
    let mut left = order.limit_bytes.unwrap_or(u64::MAX);
    loop {
        let running = is_running(agent, order);
        let read = reader.read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") {
            line.pop();
            if let Some(mut out) = render(&line, &order.wish, &mut in_line) {
                out.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= out.len() as u64;
                if to.send(Ok(Bytes::from(out))).await.is_err() || left == 0 {
                    return Ok(());
                }
            }
            line.clear();
        } else if read == 0 {
            if let Some(next) = next.take() {
                reader = BufReader::new(next);
                continue;
            }
            next = rotated(&reader, &order.path).await;
            if next.is_some() {
                // Written between our last look and the rotation; nothing comes to this file any more.
                continue;
            } else if !order.follow || !running || to.is_closed() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn is_running(agent: &Agent, order: &Order) -> bool {
    let posted = agent.board.find(&order.namespace, &order.pod);
    let instance = posted.as_ref().and_then(|posted| posted.seen.containers.get(&order.id));
    instance.is_some_and(|instance| !matches!(instance.life, Life::Exited { .. }))
}

/// The new file at `path`, if it is not the one being read any more.
async fn rotated(reader: &BufReader<File>, path: &Path) -> Option<File> {
    let now = tokio::fs::symlink_metadata(path).await.ok()?;
    let read = reader.get_ref().metadata().await.ok()?;
    if (now.dev(), now.ino()) == (read.dev(), read.ino()) {
        return None;
    }
    open(path).await.ok()
}

/// Where the last `lines` lines of `file` begin.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata().await?.len();
    if lines == 0 {
        return Ok(end);
    }
    let (mut found, mut block) = (0, Vec::new());
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start)).await?;
        block.clear();
        file.take(end - start).read_to_end(&mut block).await?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The newline that ends the last line does not begin another.
            found += 1;
            if found > lines {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_begins_at_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\nbb\nccc\n").unwrap();
        let mut file = open(&path).await.unwrap();
        let mut offsets = vec![];
        for lines in 0..5 {
            offsets.push(tail_offset(&mut file, lines).await.unwrap());
        }
        assert_eq!(offsets, [9, 5, 2, 0, 0]);
    }

    #[tokio::test]
    async fn a_link_is_not_a_log() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("log")).unwrap();
        assert!(open(&folder.path().join("log")).await.is_err());
    }
}
