//! How many seats a request needs (KEP-1040, "Width of the request"; `SizeBasedListCostEstimate`): a list by the bytes that are in memory
//! for it, a write by the watchers that are told of it.

use crate::asked::{Asked, Named, Query};
use crate::work::Work;
use std::time::Duration;

/// Bytes in memory for which a list gets a seat.
const BYTES_PER_SEAT: u64 = 100_000;
/// Bytes that a list from the state of a cache has in memory at most: it is written piece by piece.
const STREAMED_BYTES_MAX: u64 = 1_000_000;
/// The most seats of a list.
const LIST_SEATS_MAX: u32 = 100;
/// Watchers that take one seat to tell.
const WATCHERS_PER_SEAT: u32 = 10;
/// How long it takes to tell these.
const TELLING: Duration = Duration::from_millis(5);
/// The most seats of a write.
const WRITE_SEATS_MAX: u32 = 10;

/// All objects of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// How many.
    pub objects: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Size {
    fn of(self, objects: u64) -> u64 {
        self.bytes.checked_div(self.objects).unwrap_or(0).saturating_mul(objects.min(self.objects))
    }
}

/// What a list, or the beginning of a watch, needs; `None`: nobody knows how large the resource is, as of one that another server has.
#[must_use]
pub fn list_work(asked: &Asked<'_>, query: &Query<'_>, size: Option<Size>, seats_max: u32) -> Work {
    let is_watch = asked.verb == "watch";
    let begins_with_all = query.initial_events || matches!(query.revision, "" | "0");
    let Some(size) = size.filter(|_| !is_watch || begins_with_all) else { return Work::ONE };
    let from_cache = is_watch || !from_store(query);
    let wanted = if query.limit == 0 { size.objects } else { query.limit.min(size.objects) };
    let objects = match asked.named {
        Some(Named { name, .. }) if !name.is_empty() => 1,
        _ if !from_cache && (query.labels || !query.fields.is_empty()) => wanted.max(size.objects / 2),
        _ => wanted,
    };
    let bytes = size.of(objects);
    let bytes = if from_cache { bytes.min(STREAMED_BYTES_MAX) } else { bytes };
    let seats = u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX);
    Work::of(seats.min(LIST_SEATS_MAX).min(seats_max).max(1))
}

/// Whether a list is of a state that a cache has not: one of the past.
fn from_store(query: &Query<'_>) -> bool {
    match query.version_match {
        "" => query.continues || (query.limit > 0 && !matches!(query.revision, "" | "0")),
        other => other != "NotOlderThan",
    }
}

/// What a write needs of which so many watchers are told. Few are told in no time.
#[must_use]
pub fn write_work(named: &Named<'_>, watchers: u32, seats_max: u32) -> Work {
    // A token is no object: nobody is told.
    let is_token = (named.resource, named.part) == ("serviceaccounts", "token");
    if is_token || watchers < WATCHERS_PER_SEAT {
        return Work::ONE;
    }
    let work = Work { initial_seats: 1, final_seats: watchers.div_ceil(WATCHERS_PER_SEAT), latency: TELLING };
    work.narrowed(WRITE_SEATS_MAX.min(seats_max).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(path: &str, query: &str, size: Option<Size>, seats_max: u32) -> u32 {
        let query = Query::of(query);
        list_work(&Asked::of("GET", path, &query), &query, size, seats_max).seats()
    }

    #[test]
    fn lists_are_as_wide_as_what_is_in_memory() {
        let size = |objects, bytes| Some(Size { objects, bytes });
        for (query, size, seats_max, expected) in [
            ("", size(10, 1000), 100, 1),
            ("", size(100, 450_000), 100, 5),
            ("", size(1000, 450_000_000), 100, 10),
            ("", size(1000, 450_000_000), 7, 7),
            ("limit=10", size(1000, 30_000_000), 100, 3),
            ("limit=500", size(1000, 30_000_000), 100, 10),
            ("limit=500&continue=x", size(1000, 2_000_000), 100, 10),
            ("limit=500&continue=x", size(1000, 90_000_000), 100, 100),
            ("limit=10&continue=x&labelSelector=a", size(1000, 2_000_000), 100, 10),
            ("limit=10&labelSelector=a", size(1000, 2_000_000), 100, 1),
            ("resourceVersion=7&resourceVersionMatch=Exact", size(1000, 9_000_000), 100, 90),
            ("fieldSelector=metadata.name%3Dx", size(1000, 450_000_000), 100, 5),
            ("watch=1", size(1000, 1_000_000), 100, 10),
            ("watch=1&resourceVersion=0", size(1000, 1_000_000), 100, 10),
            ("watch=1&resourceVersion=9", size(1000, 1_000_000), 100, 1),
            ("watch=1&resourceVersion=9&sendInitialEvents=true", size(1000, 1_000_000), 100, 10),
            ("", None, 100, 1),
            ("", size(0, 0), 100, 1),
        ] {
            assert_eq!(seats("/api/v1/pods", query, size, seats_max), expected, "{query} {size:?}");
        }
    }

    #[test]
    fn writes_are_as_wide_as_their_watchers() {
        let pods = Named { resource: "pods", ..Named::default() };
        assert_eq!(write_work(&pods, 9, 10), Work::ONE);
        let told = |final_seats, latency| Work { initial_seats: 1, final_seats, latency };
        assert_eq!(write_work(&pods, 25, 10), told(3, Duration::from_millis(5)));
        assert_eq!(write_work(&pods, 400, 100), told(10, Duration::from_millis(20)));
        assert_eq!(write_work(&pods, 400, 4), told(4, Duration::from_millis(50)));
        let token = Named { resource: "serviceaccounts", part: "token", ..Named::default() };
        assert_eq!(write_work(&token, 400, 4), Work::ONE);
    }
}
