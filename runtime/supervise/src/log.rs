//! Container logs as CRI wants them: `TIME stdout|stderr P|F text`, one line of text each.
//!
//! Format: kubernetes/design-proposals-archive, node/kubelet-cri-logging.md. `F` ends a line of the container's; `P` says
//! that the line goes on in the next entry of the same stream, or that the container ended without a newline.

use crate::supervisor::complain;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest text of one entry. The kubelet reads whole entries into memory; 16 KiB is what containerd cuts at too.
pub(crate) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Whether an entry ends the container's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Partial,
    Full,
}

/// Cuts a stream of bytes into entries.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    begun: Vec<u8>,
}

impl Framer {
    /// Takes the next bytes; `emit` gets every entry that they complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Tag, &[u8])) {
        while !bytes.is_empty() {
            let room = TEXT_BYTES_MAX - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.emit(Tag::Full, &bytes[..end], &mut emit);
                    bytes = &bytes[end + 1..];
                }
                None if window.len() == room && bytes.get(room) != Some(&b'\n') => {
                    self.emit(Tag::Partial, window, &mut emit);
                    bytes = &bytes[room..];
                }
                // A newline right behind a full buffer ends the line rather than beginning an empty one.
                None if window.len() == room => {
                    self.emit(Tag::Full, window, &mut emit);
                    bytes = &bytes[room + 1..];
                }
                None => {
                    self.begun.extend_from_slice(window);
                    bytes = &[];
                }
            }
        }
    }

    /// The stream ended: what is left had no newline.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Tag, &[u8])) {
        if !self.begun.is_empty() {
            self.emit(Tag::Partial, &[], &mut emit);
        }
    }

    fn emit(&mut self, tag: Tag, rest: &[u8], emit: &mut impl FnMut(Tag, &[u8])) {
        if self.begun.is_empty() {
            return emit(tag, rest);
        }
        self.begun.extend_from_slice(rest);
        emit(tag, &self.begun);
        self.begun.clear();
    }
}

/// The open log file of one container.
///
/// A container never waits for its log: what cannot be written, because the disk is full for example, is dropped, whole
/// entries at a time. Our own log says so when it begins, and how much was lost when it is over.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes of entries dropped since writing last worked.
    dropped: u64,
}

impl LogFile {
    /// Opens `path` for appending, made with mode 0640 if absent.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // O_NOFOLLOW: the folder belongs to whoever keeps the pods' logs, but a link there must not redirect us.
        let options =
            OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
        Ok(Self { path: path.to_owned(), file: options, dropped: 0 })
    }

    /// Opens the path anew; after a rotation that is another file. On failure the old one stays.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file = Self::open(&self.path)?.file;
        Ok(())
    }

    /// Appends entries made by [`entry`], all or none of them.
    pub(crate) fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        match self.try_append(entries) {
            Ok(()) if self.dropped == 0 => {}
            Ok(()) => {
                let lost = format!("it works again; {} bytes of output were dropped", self.dropped);
                complain(&self.operation(), &lost);
                self.dropped = 0;
            }
            Err(error) => {
                if self.dropped == 0 {
                    complain(&self.operation(), &format!("{error}; output is dropped until it works again"));
                }
                self.dropped += entries.len() as u64;
            }
        }
    }

    fn operation(&self) -> String {
        format!("write {}", self.path.display())
    }

    fn try_append(&self, entries: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < entries.len() {
            match (&self.file).write(&entries[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Half an entry would spoil the next one too. Nobody else writes here.
                    if written > 0 {
                        let before = self.file.metadata()?.len().saturating_sub(written as u64);
                        self.file.set_len(before)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Appends one entry to `out`.
pub(crate) fn entry(out: &mut Vec<u8>, at: &str, stream: Stream, tag: Tag, text: &[u8]) {
    out.extend_from_slice(at.as_bytes());
    out.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    out.extend_from_slice(match tag {
        Tag::Partial => b"P ",
        Tag::Full => b"F ",
    });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 in UTC with nanoseconds, all nine digits: `2026-01-01T00:00:00.000000000Z`.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_nanos()
    )
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts from 0000-03-01, so that leap days are the last of their years: 146,097 days are 400 years.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(chunks: &[&[u8]]) -> Vec<(Tag, Vec<u8>)> {
        let (mut framer, mut entries) = (Framer::default(), Vec::new());
        for chunk in chunks {
            framer.push(chunk, |tag, text| entries.push((tag, text.to_vec())));
        }
        framer.finish(|tag, text| entries.push((tag, text.to_vec())));
        entries
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let expected = vec![(Tag::Full, b"one".to_vec()), (Tag::Full, vec![]), (Tag::Partial, b"two".to_vec())];
        assert_eq!(frame(&[b"one\n\ntwo"]), expected);
        assert_eq!(frame(&[b"o", b"ne", b"\n", b"\nt", b"wo"]), expected);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_one_entry() {
        let mut line = vec![b'x'; TEXT_BYTES_MAX];
        line.push(b'\n');
        assert_eq!(frame(&[&line]).iter().map(|entry| entry.0).collect::<Vec<_>>(), [Tag::Full]);
    }

    #[test]
    fn known_times_read_as_known() {
        let at = |seconds, nanos| timestamp(UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(at(1_767_225_599, 999_999_999), "2025-12-31T23:59:59.999999999Z");
        assert_eq!(at(4_107_542_399, 0), "2100-02-28T23:59:59.000000000Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn an_entry_looks_as_the_kubelet_expects() {
        let mut out = Vec::new();
        entry(&mut out, &timestamp(UNIX_EPOCH), Stream::Stderr, Tag::Full, b"hello world");
        assert_eq!(out, b"1970-01-01T00:00:00.000000000Z stderr F hello world\n");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_entry_is_too_long(
            line_bytes in proptest::collection::vec(0usize..40_000, 0..5),
            cuts in proptest::collection::vec(1usize..50_000, 1..6),
            end_with_newline: bool,
        ) {
            let mut input = line_bytes.iter().map(|&n| vec![b'y'; n]).collect::<Vec<_>>().join(&b'\n');
            if end_with_newline {
                input.push(b'\n');
            }
            let (mut chunks, mut rest) = (Vec::new(), &input[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at(rest.len().min(*cut));
                chunks.push(head);
                rest = tail;
            }
            let mut rebuilt = Vec::new();
            for (tag, text) in frame(&chunks) {
                prop_assert!(text.len() <= TEXT_BYTES_MAX && !text.contains(&b'\n'));
                rebuilt.extend_from_slice(&text);
                if tag == Tag::Full {
                    rebuilt.push(b'\n');
                }
            }
            prop_assert_eq!(rebuilt, input);
        }
    }
}
