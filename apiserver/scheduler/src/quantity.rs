//! Reads quantities: `250m`, `1.5`, `2Gi`, `1e3` (Kubernetes API concepts, "Quantity").

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// In thousandths, rounded up; `None` if it does not parse.
pub(crate) fn millis(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1000)
}

/// In whole units, rounded up; `None` if it does not parse.
pub(crate) fn whole(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1)
}

/// Suffixes with the factor they stand for, as numerator and denominator.
const SUFFIXES: &[(&str, i128, i128)] = &[
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1000),
    ("k", 1000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
];

fn scaled(text: &str, unit: i128) -> Option<i64> {
    let (number, numerator, denominator) = SUFFIXES
        .iter()
        .find_map(|(suffix, numerator, denominator)| Some((text.strip_suffix(suffix)?, *numerator, *denominator)))
        .unwrap_or((text, 1, 1));
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|power| power.abs() <= 18)?),
        None => (number, 0),
    };
    let (digits, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || digits.len() > 19 {
        return None;
    }
    let mantissa: i128 = format!("{digits}{fraction}").parse().ok()?;
    let power = |n: u32| 10_i128.checked_pow(n);
    let (up, down) = (power(exponent.max(0).unsigned_abs())?, power(exponent.min(0).unsigned_abs())?);
    let top = mantissa.checked_mul(numerator)?.checked_mul(up)?.checked_mul(unit)?;
    let bottom = denominator.checked_mul(down)?.checked_mul(power(u32::try_from(fraction.len()).ok()?)?)?;
    let rounded = top.div_euclid(bottom) + i128::from(top.rem_euclid(bottom) > 0);
    i64::try_from(rounded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        let cases = [("250m", 250), ("1.5", 1500), ("2", 2000), ("1e3", 1_000_000), ("100u", 1), ("0", 0)];
        for (text, expected) in cases {
            assert_eq!(millis(&Quantity(text.into())), Some(expected), "{text}");
        }
        let cases = [("2Gi", 2 << 30), ("1k", 1000), ("1.5Ki", 1536), ("128974848", 128_974_848), ("500m", 1)];
        for (text, expected) in cases {
            assert_eq!(whole(&Quantity(text.into())), Some(expected), "{text}");
        }
        for text in ["", "x", "1ee3", "1.2.3", "--1"] {
            assert_eq!(whole(&Quantity(text.into())), None, "{text}");
        }
    }
}
