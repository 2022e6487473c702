//! TokenRequest: a token of a service account, asked for at its part `token`.

use crate::kinds::{Change, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::object_mut;

/// The shortest life that may be asked for, seconds.
const SECONDS_MIN: i64 = 600;
/// The longest.
const SECONDS_MAX: i64 = 1 << 32;
/// The life of who does not say.
const SECONDS: i64 = 3600;

/// What it adds to its schema.
pub(crate) const RULES: Rules = Rules {
    defaults: |request| {
        if let Some(spec) = object_mut(request, "spec")
            && spec["expirationSeconds"].is_null()
        {
            spec["expirationSeconds"] = SECONDS.into();
        }
    },
    validate,
    ..Rules::PLAIN
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let seconds = change.new["spec"]["expirationSeconds"].as_i64().unwrap_or(SECONDS);
    let path = Path::Root.field("spec");
    let mut refuse = |why: &str| errors.invalid(&path.field("expirationSeconds"), seconds, why);
    if seconds < SECONDS_MIN {
        refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > SECONDS_MAX {
        refuse("may not specify a duration larger than 2^32 seconds");
    }
}
