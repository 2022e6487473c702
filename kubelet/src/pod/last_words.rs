//! What a container left behind: its termination message.

use super::ephemeral::find;
use super::observed::Instance;
use k8s_openapi::api::core::v1::Pod;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How much of the file is taken (Kubernetes, "Customizing the termination message": 4096 bytes).
const FILE_BYTES_MAX: u64 = 4096;
/// How much of the log is taken instead (2048 bytes or 80 lines).
const LOG_BYTES_MAX: u64 = 2048;
const LOG_LINES_MAX: usize = 80;

/// The message of `instance` that ended with `code`; with `FallbackToLogsOnError` the end of its log may take its place.
pub(super) fn read(pod: &Pod, instance: &Instance, log: &Path, code: i32) -> Option<String> {
    let file = instance.termination_file.as_ref().and_then(|path| open(Path::new(path)));
    let text = file.map(|file| text(file.take(FILE_BYTES_MAX))).unwrap_or_default();
    let policy = find(pod, &instance.name).and_then(|container| container.termination_message_policy.clone());
    if text.is_empty() && code != 0 && policy.as_deref() == Some("FallbackToLogsOnError") {
        return Some(log_end(log)).filter(|text| !text.is_empty());
    }
    Some(text).filter(|text| !text.is_empty())
}

/// The container could have put a link or a pipe where its file was.
fn open(path: &Path) -> Option<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read has no message.
    let _unread = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The contents of the last lines of a CRI log, without their times and tags.
fn log_end(log: &Path) -> String {
    let Some(mut file) = open(log) else { return String::new() };
    let length = file.metadata().map_or(0, |meta| meta.len());
    // Times and tags are about 45 bytes a line, so twice the bytes hold enough lines.
    let start = length.saturating_sub(LOG_BYTES_MAX * 2 + 45 * LOG_LINES_MAX as u64);
    if file.seek(SeekFrom::Start(start)).is_err() {
        return String::new();
    }
    let all = text(file);
    let lines: Vec<_> = all.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let kept = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
    let mut cut = kept.len().saturating_sub(usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX));
    while !kept.is_char_boundary(cut) {
        cut += 1;
    }
    kept[cut..].to_owned()
}
