//! Whether the target has what was copied: both are read in order of key, side by side.

use super::super::pages::Pages;
use super::super::progress::Progress;
use super::super::which::Opened;
use super::read::Source;
use super::write::Leases;
use super::{LEFT_OUT, shown};
use anyhow::bail;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::mvccpb::KeyValue;
use std::collections::VecDeque;

/// Keys with their values asked for at a time.
const PAGE: i64 = 256;

/// Refuses to call it a copy if a key is missing or differs. Other keys of the target are its own.
pub(super) async fn compare(
    from: &Opened,
    to: &Opened,
    source: &Source,
    leases: &Leases,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut sources = Keys::new(from, source.range());
    let mut targets = Keys::new(to, pb::RangeRequest { revision: 0, ..source.range() });
    let mut done = 0_usize;
    while let Some(wanted) = sources.next().await? {
        let found = loop {
            match targets.next().await? {
                Some(found) if found.key < wanted.key => (),
                other => break other.filter(|found| found.key == wanted.key),
            }
        };
        let Some(found) = found else {
            bail!("{} lacks key {} after the copy; does anybody write to it?", to.name, shown(&wanted.key))
        };
        let lease = leases.get(&wanted.lease).copied().unwrap_or(0);
        if (&found.value, found.lease) != (&wanted.value, lease) {
            bail!("key {} of {} differs after the copy; does anybody write to it?", shown(&wanted.key), to.name);
        }
        done += 1;
        progress.show(|| format!("{done} of {} keys compared", source.keys.len()));
    }
    if done != source.keys.len() {
        bail!("{} showed {} keys first and then {done}", from.name, source.keys.len());
    }
    Ok(())
}

/// What was to be copied of a range, one key after the other.
struct Keys<'a> {
    pages: Pages<'a>,
    read: VecDeque<KeyValue>,
}

impl<'a> Keys<'a> {
    fn new(opened: &'a Opened, range: pb::RangeRequest) -> Self {
        Self { pages: Pages::new(opened, pb::RangeRequest { limit: PAGE, ..range }), read: VecDeque::new() }
    }

    async fn next(&mut self) -> anyhow::Result<Option<KeyValue>> {
        loop {
            match self.read.pop_front() {
                Some(kv) if kv.key == LEFT_OUT => (),
                Some(kv) => return Ok(Some(kv)),
                None => match self.pages.next().await? {
                    Some(page) => self.read = page.into(),
                    None => return Ok(None),
                },
            }
        }
    }
}
