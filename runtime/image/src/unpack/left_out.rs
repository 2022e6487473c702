//! Extended attributes that a layer has and its unpacked form has not, for one sentence about each.

use crate::tape::Entry;
use std::collections::BTreeMap;

/// Names that are told apart; an archive may invent as many as it likes.
const NAMES_MAX: usize = 16;

/// What was left out so far: how often, and where first.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    named: BTreeMap<String, (u64, String)>,
    others: u64,
}

impl LeftOut {
    /// The attribute `name` of this entry was left out.
    pub(super) fn note(&mut self, name: &str, entry: &Entry) {
        if let Some((count, _)) = self.named.get_mut(name) {
            *count += 1;
        } else if self.named.len() < NAMES_MAX {
            let first = String::from_utf8_lossy(&entry.path).into_owned();
            self.named.insert(name.to_owned(), (1, first));
        } else {
            self.others += 1;
        }
    }

    /// Names come from the archive, so what would steer a terminal is escaped.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let told = self.named.iter().map(|(name, (count, first))| {
            let (name, first) = (name.escape_debug(), first.escape_debug());
            match count {
                1 => format!("the extended attribute `{name}` of {first} was left out"),
                _ => format!("the extended attribute `{name}` was left out {count} times, first of {first}"),
            }
        });
        let others = (self.others > 0).then(|| format!("{} further extended attributes were left out", self.others));
        told.chain(others).collect()
    }
}
