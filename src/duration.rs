//! Times on the command line.

use std::time::Duration;

/// For clap.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    skiff_proto::duration::parse(text).ok_or_else(|| "want a duration such as 10s, 1.5s, 250ms or 1h30m".to_owned())
}
