//! Which prefixes have most keys and bytes: all keys are read, so it is done seldom.

use super::super::pages::{Pages, beginning};
use super::super::print::natural;
use super::super::which::Opened;
use serde_json::{Value, json};
use skiff_proto::etcd::etcdserverpb as pb;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Keys with their values asked for at a time.
const PAGE: i64 = 500;
/// How many times as long as it took until it is done again: so it is a twentieth of what goes on.
const PAUSE_RATIO: u32 = 19;
/// Not more often than this, however fast it is.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// What the keys below one prefix come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) keys: u64,
    /// Of keys and values, without history.
    pub(super) bytes: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Census {
    prefixes: HashMap<String, Sum>,
    /// The revision it shows; 0: none yet.
    pub(super) revision: i64,
    due: Option<Instant>,
}

impl Census {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Counts everything as of `revision`.
    pub(super) async fn count(&mut self, opened: &Opened, revision: i64, depth: usize) -> anyhow::Result<()> {
        let started = Instant::now();
        let counted = if revision == self.revision { None } else { Some(count(opened, revision, depth).await) };
        self.due = Some(Instant::now() + PAUSE_MIN.max(started.elapsed() * PAUSE_RATIO));
        if let Some(prefixes) = counted.transpose()? {
            (self.prefixes, self.revision) = (prefixes, revision);
        }
        Ok(())
    }

    /// All of them together.
    pub(super) fn total(&self) -> Sum {
        let add = |sum: Sum, more: &Sum| Sum { keys: sum.keys + more.keys, bytes: sum.bytes + more.bytes };
        self.prefixes.values().fold(Sum::default(), add)
    }

    /// Those with most bytes first.
    pub(super) fn biggest(&self, most: usize) -> Vec<(&str, &Sum)> {
        let mut all: Vec<_> = self.prefixes.iter().map(|(prefix, sum)| (prefix.as_str(), sum)).collect();
        all.sort_by(|a, b| (b.1.bytes, b.1.keys, a.0).cmp(&(a.1.bytes, a.1.keys, b.0)));
        all.truncate(most);
        all
    }

    pub(super) fn value(&self, most: usize) -> Value {
        let total = self.total();
        let prefix =
            |(prefix, sum): (&str, &Sum)| json!({"prefix": prefix, "totalKey": sum.keys, "totalSize": sum.bytes});
        let prefixes: Vec<_> = self.biggest(most).into_iter().map(prefix).collect();
        json!({"totalKey": total.keys, "totalSize": total.bytes, "revision": self.revision, "prefixes": prefixes})
    }
}

async fn count(opened: &Opened, revision: i64, depth: usize) -> anyhow::Result<HashMap<String, Sum>> {
    let range = pb::RangeRequest { limit: PAGE, revision, ..beginning("") };
    let (mut pages, mut sums) = (Pages::new(opened, range), HashMap::<String, Sum>::new());
    while let Some(page) = pages.next().await? {
        for kv in &page {
            let sum = sums.entry(prefix(&kv.key, depth)).or_default();
            sum.keys += 1;
            sum.bytes += natural(i64::try_from(kv.key.len() + kv.value.len())?);
        }
    }
    Ok(sums)
}

/// The first `depth` parts of the folder that a key is in, so to speak; a key without a slash is in none.
fn prefix(key: &[u8], depth: usize) -> String {
    let text = key.escape_ascii().to_string();
    let Some((folder, _)) = text.rsplit_once('/') else { return "(none)".to_owned() };
    let lead = usize::from(folder.starts_with('/'));
    let parts: Vec<_> = folder.split('/').take(depth + lead).collect();
    match parts.join("/") {
        empty if empty.is_empty() => "/".to_owned(),
        prefix => prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::prefix;

    #[test]
    fn a_prefix_is_the_beginning_of_a_path() {
        let two = |key: &str| prefix(key.as_bytes(), 2);
        assert_eq!(two("/registry/pods/default/web"), "/registry/pods");
        assert_eq!(two("/registry/ranges"), "/registry");
        assert_eq!(two("a/b/c/d"), "a/b");
        assert_eq!(two("/health"), "/");
        assert_eq!(two("compact_rev_key"), "(none)");
    }
}
