//! Users of a container that are others on the host.

use std::fs::File;

/// Who the users of a container are on the host, where it has users of its own (user_namespaces(7)).
#[derive(Debug)]
pub struct Users {
    /// Their namespace.
    pub namespace: File,
    /// Its map of users.
    pub uids: Vec<IdRange>,
    /// Its map of groups.
    pub gids: Vec<IdRange>,
}

/// Ids that follow one another inside and outside alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first one as the container knows it.
    pub inside: u32,
    /// Who that is on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Who `inside` is on the host; `None`: nobody.
#[must_use]
pub fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|&offset| offset < range.count)?;
        range.outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_their_range_and_nowhere_else() {
        let ranges = [IdRange { inside: 0, outside: 65_536, count: 10 }, IdRange { inside: 50, outside: 7, count: 1 }];
        let found = [0, 9, 10, 50, 51].map(|inside| outside(&ranges, inside));
        assert_eq!(found, [Some(65_536), Some(65_545), None, Some(7), None]);
    }
}
