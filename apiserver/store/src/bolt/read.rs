//! Reads the file, which may be anybody's: every offset is looked at before it is followed, and what is followed is bounded.

use super::{BRANCH, HEAD_BYTES, IS_BUCKET, LEAF, MAGIC, SUMMED_BYTES, VERSION, fnv};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Levels of a tree; one of 4 KiB pages with so many would not fit on a disk.
const LEVELS_MAX: usize = 24;
/// Bytes of one page with what it overflows into: far more than a request of etcd may have.
const PAGE_BYTES_MAX: u64 = 256 << 20;
/// Buckets; etcd has about a dozen.
const BUCKETS_MAX: usize = 1024;

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The disk's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file's.
    #[error("{0}")]
    Damaged(String),
}

fn damaged(page: u64, what: &str) -> Broken {
    Broken::Damaged(format!("is damaged: page {page} {what}"))
}

/// Bytes at places.
pub(crate) trait Source {
    /// Fills `out` from a place on.
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(out, at)
    }
}

impl Source for &[u8] {
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok();
        let part = from.and_then(|from| self.get(from..from.checked_add(out.len())?));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file whose first pages were read.
pub(crate) struct Bolt<S> {
    source: S,
    page_bytes: u64,
    root: u64,
    pages: u64,
}

/// Where a tree begins.
pub(crate) enum Tree {
    /// At this page.
    Page(u64),
    /// Inside the value that names it: this page.
    Inline(Vec<u8>),
}

/// Whether a file may be one of bbolt's.
pub(crate) fn is_bolt(first: &[u8]) -> bool {
    first.get(HEAD_BYTES..HEAD_BYTES + 4) == Some(&MAGIC.to_le_bytes())
}

/// A number of four bytes, of a size or a place; `None`: it is not inside.
fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(number.try_into().ok()?) as usize)
}

/// The same of eight bytes.
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Of a meta page: transaction, bytes of a page, first page of the tree of buckets, pages.
fn meta(page: &[u8]) -> Option<(u64, u64, u64, u64)> {
    let meta = page.get(HEAD_BYTES..)?;
    let is_whole = u32_at(meta, 0)? == MAGIC as usize
        && u32_at(meta, 4)? == VERSION as usize
        && u64_at(meta, SUMMED_BYTES)? == fnv(meta.get(..SUMMED_BYTES)?);
    let page_bytes = u32_at(meta, 8)? as u64;
    let fits = page_bytes.is_power_of_two() && (512..=1 << 16).contains(&page_bytes);
    (is_whole && fits).then_some((u64_at(meta, 48)?, page_bytes, u64_at(meta, 16)?, u64_at(meta, 40)?))
}

/// What is done with an element of a tree: its flags, its key and its value.
type OfElement<'a, E> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), E> + 'a;

/// What is done with a key and its value.
type OfPair<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

impl<S: Source> Bolt<S> {
    /// Reads the first pages of a file of so many bytes.
    pub(crate) fn open(source: S, bytes: u64) -> Result<Self, Broken> {
        // The second meta page is where the first page ends; a file whose first one is damaged does not say where.
        let places = std::iter::once(0).chain((9..=16).map(|power| 1_u64 << power));
        let metas = places.filter(|at| at + 80 <= bytes).filter_map(|at| {
            let mut page = [0; 80];
            source.read_at(&mut page, at).ok()?;
            meta(&page).filter(|&(_, page_bytes, ..)| at == 0 || at == page_bytes)
        });
        let newest = metas.max_by_key(|&(transaction, ..)| transaction);
        let whole = "is not a database of etcd: neither of its two first pages is whole";
        let (_, page_bytes, root, pages) = newest.ok_or_else(|| Broken::Damaged(whole.to_owned()))?;
        if pages.checked_mul(page_bytes).is_none_or(|all| all > bytes) {
            return Err(Broken::Damaged("is cut short: it has fewer pages than it says".to_owned()));
        }
        Ok(Bolt { source, page_bytes, root, pages })
    }

    /// Every bucket by its name.
    pub(crate) fn buckets(&self) -> Result<Vec<(Vec<u8>, Tree)>, Broken> {
        let mut buckets = Vec::new();
        self.rows(&Tree::Page(self.root), &mut |flags, name, value| {
            let first = u64_at(value, 0).filter(|_| flags & IS_BUCKET != 0 && value.len() >= HEAD_BYTES);
            let first = first.ok_or_else(|| damaged(self.root, "has something among the buckets that is none"))?;
            if buckets.len() == BUCKETS_MAX {
                return Err(damaged(self.root, "has too many buckets"));
            }
            let tree = if first == 0 { Tree::Inline(value[HEAD_BYTES..].to_vec()) } else { Tree::Page(first) };
            buckets.push((name.to_vec(), tree));
            Ok::<(), Broken>(())
        })?;
        Ok(buckets)
    }

    /// Visits every key and value of a bucket, in order.
    pub(crate) fn walk<E: From<Broken>>(&self, tree: &Tree, visit: &mut OfPair<'_, E>) -> Result<(), E> {
        self.rows(tree, &mut |flags, key, value| {
            if flags & IS_BUCKET != 0 {
                return Err(Broken::Damaged("is not of an etcd: it has a bucket inside a bucket".to_owned()).into());
            }
            visit(key, value)
        })
    }

    /// Visits every element of a tree with its flags, in order. Pages still to read and pages read are each no more than the file has,
    /// so that a tree whose branches name each other ends, whatever it says.
    fn rows<E: From<Broken>>(&self, tree: &Tree, visit: &mut OfElement<'_, E>) -> Result<(), E> {
        let first = match tree {
            Tree::Inline(page) => return self.page(0, page, &mut Vec::new(), visit),
            Tree::Page(first) => *first,
        };
        // Pages to read, the next one last, and how far below the first one each is.
        let (mut ahead, mut read) = (vec![(first, 0)], 0);
        while let Some((id, level)) = ahead.pop() {
            read += 1;
            if read > self.pages || level > LEVELS_MAX {
                return Err(damaged(id, "is part of a tree that does not end").into());
            }
            let mut children = Vec::new();
            self.page(id, &self.load(id)?, &mut children, visit)?;
            if (ahead.len() + children.len()) as u64 > self.pages {
                return Err(damaged(id, "names more pages than there are").into());
            }
            ahead.extend(children.into_iter().rev().map(|child| (child, level + 1)));
        }
        Ok(())
    }

    /// A page with what it overflows into.
    fn load(&self, id: u64) -> Result<Vec<u8>, Broken> {
        if id < 2 || id >= self.pages {
            return Err(damaged(id, "is named and does not exist"));
        }
        let (mut head, at) = ([0; HEAD_BYTES], id * self.page_bytes);
        self.source.read_at(&mut head, at)?;
        let more = u32_at(&head, 12).unwrap_or(0) as u64;
        let bytes = (more + 1) * self.page_bytes;
        if u64_at(&head, 0) != Some(id) || more >= self.pages - id || bytes > PAGE_BYTES_MAX {
            return Err(damaged(id, "has the head of another one"));
        }
        let mut page = vec![0; bytes as usize];
        self.source.read_at(&mut page, at)?;
        Ok(page)
    }

    /// Visits the elements of a leaf, or collects the pages that a branch names.
    fn page<E: From<Broken>>(
        &self,
        id: u64,
        page: &[u8],
        children: &mut Vec<u64>,
        visit: &mut OfElement<'_, E>,
    ) -> Result<(), E> {
        let outside = || damaged(id, "has an element that is not inside it");
        let head = page.get(..HEAD_BYTES).ok_or_else(outside)?;
        let (kind, count) = (u16::from_le_bytes([head[8], head[9]]), u16::from_le_bytes([head[10], head[11]]));
        for element in (1..=usize::from(count)).map(|at| at * HEAD_BYTES) {
            match kind {
                LEAF => {
                    let (flags, key, value) = row(page, element).ok_or_else(outside)?;
                    visit(flags, key, value)?;
                }
                BRANCH => children.push(u64_at(page, element + 8).ok_or_else(outside)?),
                _ => return Err(damaged(id, "is neither leaf nor branch").into()),
            }
        }
        Ok(())
    }
}

/// Flags, key and value of a leaf's element.
fn row(page: &[u8], element: usize) -> Option<(u32, &[u8], &[u8])> {
    let key_at = element.checked_add(u32_at(page, element + 4)?)?;
    let value_at = key_at.checked_add(u32_at(page, element + 8)?)?;
    let end = value_at.checked_add(u32_at(page, element + 12)?)?;
    Some((u32_at(page, element)? as u32, page.get(key_at..value_at)?, page.get(value_at..end)?))
}
