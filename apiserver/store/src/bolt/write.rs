//! Writes the file from its first byte to its last: leaves as they fill, then what is above them.
//!
//! The first pages say where the last ones are, so a file is laid out twice: once for the [`Plan`], with nobody listening, and once with it.

use super::{BRANCH, FREE, HEAD_BYTES, IS_BUCKET, LEAF, MAGIC, META, SUMMED_BYTES, VERSION, fnv};
use bytes::{BufMut, BytesMut};
use std::ops::ControlFlow;

/// Of a page: what etcd has on every machine whose memory has such pages.
const PAGE_BYTES: usize = 4096;

/// Where the last pages are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    root: u64,
    free: u64,
    pages: u64,
}

impl Plan {
    /// Of the whole file.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// Pages on their way out.
pub(crate) struct Pages<'a> {
    out: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    flow: ControlFlow<()>,
    next: u64,
    page: BytesMut,
}

impl<'a> Pages<'a> {
    /// Writes the two pages that say where everything is.
    pub(crate) fn begin(out: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>, plan: Plan) -> Self {
        let mut pages = Pages { out, flow: ControlFlow::Continue(()), next: 0, page: BytesMut::new() };
        // Of two transactions; the later one counts.
        for transaction in 0..2_u64 {
            let mut meta = Vec::with_capacity(64);
            meta.put_u32_le(MAGIC);
            meta.put_u32_le(VERSION);
            meta.put_u32_le(PAGE_BYTES as u32);
            meta.put_u32_le(0);
            meta.put_u64_le(plan.root);
            meta.put_u64_le(0);
            meta.put_u64_le(plan.free);
            meta.put_u64_le(plan.pages);
            meta.put_u64_le(transaction);
            debug_assert_eq!(meta.len(), SUMMED_BYTES);
            meta.put_u64_le(fnv(&meta));
            pages.page(META, 0, &meta);
        }
        pages
    }

    /// Whether anybody still listens.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        self.flow
    }

    /// Writes the tree of the buckets, which are sorted by name, and the list of free pages.
    pub(crate) fn end(mut self, buckets: &[(&[u8], u64)]) -> Plan {
        let mut root = Bucket { flags: IS_BUCKET, ..Bucket::default() };
        for (name, first) in buckets {
            let head = [first.to_le_bytes(), 0_u64.to_le_bytes()].concat();
            root.put(&mut self, name, &head);
        }
        let root = root.end(&mut self);
        let free = self.page(FREE, 0, &[]);
        Plan { root, free, pages: self.next }
    }

    /// Writes a page, with as many after it as its body needs, and returns its number.
    fn page(&mut self, kind: u16, count: u16, body: &[u8]) -> u64 {
        let id = self.next;
        let whole = (HEAD_BYTES + body.len()).next_multiple_of(PAGE_BYTES);
        let pages = (whole / PAGE_BYTES) as u32;
        self.page.clear();
        self.page.put_u64_le(id);
        self.page.put_u16_le(kind);
        self.page.put_u16_le(count);
        self.page.put_u32_le(pages - 1);
        self.page.put_slice(body);
        self.page.put_bytes(0, whole - self.page.len());
        if self.flow.is_continue() {
            self.flow = (self.out)(&self.page);
        }
        self.next += u64::from(pages);
        id
    }
}

/// A tree that is being written, in the order of its keys.
#[derive(Default)]
pub(crate) struct Bucket {
    flags: u32,
    /// Of the leaf that is not full.
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    /// First key and page of everything written.
    below: Vec<(Vec<u8>, u64)>,
}

impl Bucket {
    /// The next key.
    pub(crate) fn put(&mut self, pages: &mut Pages<'_>, key: &[u8], value: &[u8]) {
        let bytes = HEAD_BYTES + key.len() + value.len();
        if !self.rows.is_empty() && HEAD_BYTES + self.bytes + bytes > PAGE_BYTES {
            self.leaf(pages);
        }
        self.rows.push((key.to_vec(), value.to_vec()));
        self.bytes += bytes;
    }

    /// Writes the rows that wait as one leaf; a row that is larger than a page has one of its own, which overflows.
    fn leaf(&mut self, pages: &mut Pages<'_>) {
        let rows = std::mem::take(&mut self.rows);
        let (mut body, mut before) = (Vec::with_capacity(self.bytes), 0);
        for (at, (key, value)) in rows.iter().enumerate() {
            body.put_u32_le(self.flags);
            body.put_u32_le(((rows.len() - at) * HEAD_BYTES + before) as u32);
            body.put_u32_le(key.len() as u32);
            body.put_u32_le(value.len() as u32);
            before += key.len() + value.len();
        }
        rows.iter().for_each(|(key, value)| body.extend(key.iter().chain(value)));
        let page = pages.page(LEAF, rows.len() as u16, &body);
        self.bytes = 0;
        self.below.push((rows.into_iter().next().unwrap_or_default().0, page));
    }

    /// Writes what is left, and the branches; returns the first page of the tree.
    pub(crate) fn end(mut self, pages: &mut Pages<'_>) -> u64 {
        if !self.rows.is_empty() || self.below.is_empty() {
            self.leaf(pages);
        }
        let mut level = self.below;
        while level.len() > 1 {
            level = above(&level, pages);
        }
        level[0].1
    }
}

/// A level of branches over a level of pages. Each has two at least but the last, however long the keys, so that levels become shorter.
fn above(level: &[(Vec<u8>, u64)], pages: &mut Pages<'_>) -> Vec<(Vec<u8>, u64)> {
    let (mut branches, mut rest) = (Vec::new(), level);
    while !rest.is_empty() {
        let (mut bytes, mut count) = (HEAD_BYTES, 0);
        while let Some((key, _)) = rest.get(count) {
            bytes += HEAD_BYTES + key.len();
            if bytes > PAGE_BYTES && count >= 2 {
                break;
            }
            count += 1;
        }
        let (these, others) = rest.split_at(count);
        let page = branch(these, pages);
        branches.push((these[0].0.clone(), page));
        rest = others;
    }
    branches
}

/// Writes one branch: the first key below each page, so that whoever looks for a key knows where to go on.
fn branch(children: &[(Vec<u8>, u64)], pages: &mut Pages<'_>) -> u64 {
    let (mut body, mut before) = (Vec::with_capacity(PAGE_BYTES), 0);
    for (at, (key, page)) in children.iter().enumerate() {
        body.put_u32_le(((children.len() - at) * HEAD_BYTES + before) as u32);
        body.put_u32_le(key.len() as u32);
        body.put_u64_le(*page);
        before += key.len();
    }
    children.iter().for_each(|(key, _)| body.extend(key));
    pages.page(BRANCH, children.len() as u16, &body)
}
