//! A file's content in pages that copies share, so that an image of it costs nothing until it is changed.

use std::io;
use std::ops::Range;
use std::sync::Arc;

pub(crate) const PAGE: usize = 4096;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages {
    len: usize,
    /// `None`: zeros.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

/// The parts of `from..from + len` that lie in one page each: page, offset in it, place in the buffer.
fn parts(from: usize, len: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (page, within) = ((from + done) / PAGE, (from + done) % PAGE);
        let count = (len - done).min(PAGE - within);
        done += count;
        (count > 0).then(|| (page, within, done - count..done))
    })
}

impl Pages {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        pages
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.len];
        self.read(0, &mut out).expect("all of it is there");
        out
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn read(&self, from: usize, out: &mut [u8]) -> io::Result<()> {
        if from + out.len() > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, part) in parts(from, out.len()) {
            match &self.pages[page] {
                Some(bytes) => out[part.clone()].copy_from_slice(&bytes[within..within + part.len()]),
                None => out[part].fill(0),
            }
        }
        Ok(())
    }

    /// Writes, and makes the file longer if it must.
    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        if at + data.len() > self.len {
            self.set_len(at + data.len());
        }
        for (page, within, part) in parts(at, data.len()) {
            let bytes = Arc::make_mut(self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE])));
            bytes[within..within + part.len()].copy_from_slice(&data[part]);
        }
    }

    /// Pages that take space.
    pub(crate) fn taken(&self) -> usize {
        self.pages.iter().flatten().count()
    }

    /// Pages that a write would take in addition.
    pub(crate) fn would_take(&self, at: usize, len: usize) -> usize {
        parts(at, len).filter(|(page, ..)| !matches!(self.pages.get(*page), Some(Some(_)))).count()
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        if len < self.len
            && let Some(Some(bytes)) = self.pages.get_mut(len / PAGE)
        {
            Arc::make_mut(bytes)[len % PAGE..].fill(0);
        }
        self.pages.resize(len.div_ceil(PAGE), None);
        self.len = len;
    }

    /// Takes over part of `other`, as far as both files reach.
    pub(crate) fn copy_from(&mut self, other: &Pages, part: Range<usize>) {
        let end = part.end.min(other.len);
        if part.start >= end {
            return;
        }
        let mut bytes = vec![0; end - part.start];
        other.read(part.start, &mut bytes).expect("it reaches that far");
        self.write(part.start, &bytes);
    }
}

#[test]
fn pages_are_a_file() {
    let mut pages = Pages::of(&[1; 5000]);
    let before = pages.clone();
    pages.write(4000, &[2; 3000]);
    pages.set_len(6000);
    pages.set_len(9000);
    let wanted = [vec![1; 4000], vec![2; 2000], vec![0; 3000]].concat();
    assert!(pages.bytes() == wanted && pages.len() == 9000);
    assert!(before.bytes() == [1; 5000], "a copy changed with it");
    assert!(pages.read(8999, &mut [0; 2]).is_err());
}
