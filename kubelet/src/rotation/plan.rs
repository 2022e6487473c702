//! Which of a container's old logs go and which are compressed; no I/O.
//!
//! Beside `0.log` stand `0.log.20261121-101010`, the newest, which somebody may still be reading, and older ones as
//! `0.log.20261121-100000.gz`: names and order are those of the kubelet (its container log manager).

/// What ends the name of a compressed log.
pub(super) const COMPRESSED: &str = ".gz";
/// What ends the name of one that is being compressed.
pub(super) const UNFINISHED: &str = ".tmp";
/// The time in a name, in the node's time zone (strftime(3)).
pub(super) const TIME: &str = "%Y%m%d-%H%M%S";

/// What is to be done before `log` itself is turned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tidy {
    /// Too old, unfinished, or there compressed already.
    pub(super) remove: Vec<String>,
    /// Nobody reads them any more.
    pub(super) compress: Vec<String>,
}

/// Looks at the `names` in the log's folder. Afterwards there may be `files_max` files: the kept ones, the one that `log`
/// becomes, and the new `log`.
pub(super) fn tidy(log: &str, names: &[String], files_max: usize) -> Tidy {
    let mut rotated: Vec<&String> = names.iter().filter(|name| is_rotated(log, name)).collect();
    rotated.sort_unstable();
    let is_waste = |name: &str| {
        name.ends_with(UNFINISHED)
            || (!name.ends_with(COMPRESSED) && names.iter().any(|other| other.strip_suffix(COMPRESSED) == Some(name)))
    };
    let (waste, kept): (Vec<&String>, Vec<&String>) = rotated.into_iter().partition(|name| is_waste(name));
    let excess = kept.len().saturating_sub(files_max.saturating_sub(2));
    let (old, kept) = kept.split_at(excess);
    Tidy {
        remove: waste.iter().chain(old).map(|name| (*name).clone()).collect(),
        compress: kept.iter().filter(|name| !name.ends_with(COMPRESSED)).map(|name| (*name).clone()).collect(),
    }
}

/// Whether `name` is a rotated `log`.
pub(super) fn is_rotated(log: &str, name: &str) -> bool {
    name.strip_prefix(log).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_rotation_finds_nothing() {
        assert_eq!(tidy("0.log", &names("0.log 1.log 10.log.20260101-000000"), 5), Tidy::default());
    }

    #[test]
    fn old_ones_go_and_the_newest_is_compressed_at_last() {
        let found = "0.log 0.log.20260101-000001.gz 0.log.20260101-000002.gz 0.log.20260101-000003.gz
                     0.log.20260101-000004";
        let wanted = Tidy { remove: names("0.log.20260101-000001.gz"), compress: names("0.log.20260101-000004") };
        assert_eq!(tidy("0.log", &names(found), 5), wanted);
    }

    #[test]
    fn what_an_interrupted_compression_left_is_removed() {
        let found = "0.log 0.log.20260101-000001 0.log.20260101-000001.tmp 0.log.20260101-000002
                     0.log.20260101-000002.gz";
        let wanted = Tidy {
            remove: names("0.log.20260101-000001.tmp 0.log.20260101-000002"),
            compress: names("0.log.20260101-000001"),
        };
        assert_eq!(tidy("0.log", &names(found), 5), wanted);
    }

    proptest! {
        #[test]
        fn there_are_never_too_many_and_never_others(
            times in proptest::collection::btree_set(0u32..40, 0..12),
            suffixes in proptest::collection::vec(0usize..3, 12),
            files_max in 2usize..8,
        ) {
            let mut found = names("0.log 1.log 1.log.20260101-000000 00.log.x");
            let own: Vec<String> = times.iter().zip(suffixes)
                .map(|(time, suffix)| format!("0.log.20260101-0000{time:02}{}", ["", ".gz", ".tmp"][suffix]))
                .collect();
            found.extend(own.clone());
            let Tidy { remove, compress } = tidy("0.log", &found, files_max);
            prop_assert!(remove.iter().chain(&compress).all(|name| own.contains(name)));
            let gone: BTreeSet<&String> = remove.iter().collect();
            let kept: Vec<&String> = own.iter().filter(|name| !gone.contains(name)).collect();
            prop_assert!(kept.len() + 2 <= files_max.max(2));
            prop_assert!(kept.iter().all(|name| !name.ends_with(".tmp")));
            prop_assert!(compress.iter().all(|name| kept.contains(&name)));
            // What goes for its age is older than what stays.
            let aged = gone.iter().filter(|name| !name.ends_with(".tmp"));
            prop_assert!(kept.is_empty() || aged.max() <= kept.first());
        }
    }
}
