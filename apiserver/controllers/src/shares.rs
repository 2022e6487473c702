//! Numbers that users write as they are or as a percentage of a whole. No I/O.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a part of a whole is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

/// What a number or a percentage comes to `of` a whole; never less than none.
pub(crate) fn resolve(value: &IntOrString, of: i32, round: Round) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            let hundredths = i64::from(of) * percent.max(0);
            let whole = match round {
                Round::Up => (hundredths + 99) / 100,
                Round::Down => hundredths / 100,
            };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// How many, as statuses say it.
pub(crate) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked() {
        let of = |text: &str, round| resolve(&IntOrString::String(text.to_owned()), 10, round);
        assert_eq!((of("25%", Round::Up), of("25%", Round::Down), of("x", Round::Up)), (3, 2, 0));
        assert_eq!(
            (resolve(&IntOrString::Int(-1), 10, Round::Up), resolve(&IntOrString::Int(7), 1, Round::Up)),
            (0, 7)
        );
    }
}
