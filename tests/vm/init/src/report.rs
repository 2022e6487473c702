//! What the guest says while it works.

use crate::frame::{Frame, Garbled};

/// One message of the guest to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Process 1 runs, modules and cgroups are in place; the suite begins.
    Ready {
        /// What uname(2) says of the kernel.
        release: String,
    },
    /// The command of this number (from 0) wrote to its stdout.
    Out(u32, Vec<u8>),
    /// The command of this number wrote to its stderr.
    Err(u32, Vec<u8>),
    /// The command of this number ended, with this exit code; 128 plus its number for a signal, as shells have it.
    Ended(u32, i32),
    /// A piece of a file that was asked for. The pieces of one file come in order; an empty file is one empty piece.
    File {
        /// Its path in the guest.
        path: String,
        /// The next bytes of it.
        bytes: Vec<u8>,
    },
    /// Process 1 could not do its part, and ends.
    Trouble(String),
    /// Everything is said; the machine switches itself off.
    Done,
}

impl Report {
    /// As a frame.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let number = |index: &u32| index.to_string().into_bytes();
        match self {
            Self::Ready { release } => Frame::new(b'r', [release]),
            Self::Out(index, bytes) => Frame::new(b'o', [&number(index), bytes]),
            Self::Err(index, bytes) => Frame::new(b'e', [&number(index), bytes]),
            Self::Ended(index, code) => Frame::new(b'x', [index.to_string(), code.to_string()]),
            Self::File { path, bytes } => Frame::new(b'f', [path.as_bytes(), bytes]),
            Self::Trouble(text) => Frame::new(b't', [text]),
            Self::Done => Frame::new(b'd', [""; 0]),
        }
    }

    /// Out of a frame.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn parse(frame: Frame) -> Result<Self, Garbled> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| Garbled);
        let index = |bytes: Vec<u8>| text(bytes)?.parse().map_err(|_| Garbled);
        let mut fields = frame.fields.into_iter();
        let mut next = || fields.next().ok_or(Garbled);
        Ok(match frame.tag {
            b'r' => Self::Ready { release: text(next()?)? },
            b'o' => Self::Out(index(next()?)?, next()?),
            b'e' => Self::Err(index(next()?)?, next()?),
            b'x' => Self::Ended(index(next()?)?, text(next()?)?.parse().map_err(|_| Garbled)?),
            b'f' => Self::File { path: text(next()?)?, bytes: next()? },
            b't' => Self::Trouble(text(next()?)?),
            b'd' => Self::Done,
            _ => return Err(Garbled),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_arrives_as_it_was_sent() {
        for report in [
            Report::Ready { release: "6.1".to_owned() },
            Report::Out(0, b"x\xff".to_vec()),
            Report::Err(7, Vec::new()),
            Report::Ended(3, -1),
            Report::File { path: "/a".to_owned(), bytes: vec![0; 3] },
            Report::Trouble("no".to_owned()),
            Report::Done,
        ] {
            assert_eq!(Report::parse(report.frame()), Ok(report));
        }
        assert_eq!(Report::parse(Frame::new(b'?', [""])), Err(Garbled));
        assert_eq!(Report::parse(Frame::new(b'x', ["1"])), Err(Garbled));
    }
}
