//! Lengths of time as kubectl shows them, in tables of the server and in words of the client.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `seconds` in two units at most, fewer the longer it is: `90s`, `5m30s`, `3h5m`, `2d3h`, `40d`, `2y30d`.
#[must_use]
pub fn duration(seconds: i64) -> String {
    // A clock may be a second off; more than that is a time that makes no sense.
    let seconds = match seconds {
        ..=-2 => return "<invalid>".to_owned(),
        -1 => 0,
        seconds => seconds,
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two((seconds / MINUTE, "m"), (seconds % MINUTE, "s")),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two((seconds / HOUR, "h"), (seconds % HOUR / MINUTE, "m")),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two((seconds / DAY, "d"), (seconds % DAY / HOUR, "h")),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two((seconds / YEAR, "y"), (seconds % YEAR / DAY, "d")),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two((large, large_unit): (i64, &str), (small, small_unit): (i64, &str)) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}
