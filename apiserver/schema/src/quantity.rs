//! Quantities: `100m`, `1.5Gi`, `1e3`. Read, compared, and written in Kubernetes' canonical form.
//!
//! Held as a whole number of 10⁻⁹, which covers what Kubernetes accepts (2⁶³−1 with nano precision; more precise is rounded up).

/// How a quantity was written, and so how it is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    BinarySi,
    DecimalSi,
    Exponent,
}

/// A quantity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
const MAX: i128 = (i64::MAX as i128) * NANO;
const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Reads a quantity; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !only_digits(whole) || !only_digits(fraction) {
            return None;
        }
        let (format, scale) = Scale::parse(suffix)?;
        let magnitude = scale.nanos(whole, fraction);
        Some(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }

    /// In units of 10⁻⁹, for comparing.
    pub(crate) fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whether it is a whole number.
    pub(crate) fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The canonical text: no fraction, the largest suffix that fits.
    pub(crate) fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let small = self.nanos.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if !small => binary_text(self.nanos),
            Format::Exponent => {
                decimal_text(self.nanos, |power| if power == 0 { String::new() } else { format!("e{power}") })
            }
            _ => decimal_text(self.nanos, decimal_suffix),
        }
    }
}

/// A suffix: a power of ten or of two.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<(Format, Self)> {
        if suffix.is_empty() {
            return Some((Format::DecimalSi, Self::Ten(0)));
        }
        if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Some((Format::BinarySi, Self::Two(*power)));
        }
        if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Some((Format::DecimalSi, Self::Ten(*power)));
        }
        let exponent = suffix.strip_prefix(['e', 'E'])?;
        exponent.parse::<i32>().ok().map(|power| (Format::Exponent, Self::Ten(power.clamp(-400, 400))))
    }

    /// `whole.fraction` at this scale, in 10⁻⁹, rounded up and capped.
    fn nanos(self, whole: &str, fraction: &str) -> i128 {
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let power = match self {
            Self::Ten(power) => power,
            Self::Two(_) => 0,
        };
        let shift = 9 + power - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
        // The factor of two is applied before rounding, so that 0.5Gi loses nothing.
        let factor = match self {
            Self::Two(power) => 1_i128 << power,
            Self::Ten(_) => 1,
        };
        scaled(digits, shift, factor).min(MAX)
    }
}

/// `digits` × 10^`shift` × `factor`, rounded up; saturates.
fn scaled(digits: &str, shift: i32, factor: i128) -> i128 {
    if digits.is_empty() {
        return 0;
    }
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX / 2);
    if length + shift > 30 {
        return MAX;
    }
    if length + shift < -20 {
        return 1; // rounded up
    }
    // At most 18 digits carry the value; the rest only rounds.
    let kept = digits.len().min(18);
    let dropped = i32::try_from(digits.len() - kept).unwrap_or(0);
    let rest = digits[kept..].bytes().any(|byte| byte != b'0');
    let mantissa = digits[..kept].parse::<i128>().unwrap_or(0) + i128::from(rest);
    let product = mantissa.saturating_mul(factor);
    let shift = shift + dropped;
    match u32::try_from(shift) {
        Ok(up) => 10_i128.checked_pow(up).map_or(MAX, |power| product.saturating_mul(power)),
        Err(_) => match 10_i128.checked_pow(shift.unsigned_abs()) {
            Some(power) => product / power + i128::from(product % power != 0),
            None => 1,
        },
    }
}

fn binary_text(nanos: i128) -> String {
    // Fractions of a unit are rounded up (away from zero), as Kubernetes does.
    let mut value = nanos / NANO + if nanos % NANO == 0 { 0 } else { nanos.signum() };
    let mut suffix = "";
    for (name, _) in BINARY {
        if value % 1024 != 0 {
            break;
        }
        value /= 1024;
        suffix = name;
    }
    format!("{value}{suffix}")
}

fn decimal_text(nanos: i128, suffix: impl Fn(i32) -> String) -> String {
    let (mut value, mut power) = (nanos, -9);
    while power < 18 && value % 1000 == 0 {
        value /= 1000;
        power += 3;
    }
    format!("{value}{}", suffix(power))
}

fn decimal_suffix(power: i32) -> String {
    DECIMAL.iter().find(|(_, of)| *of == power).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Quantity::parse(text).map(Quantity::canonical)
    }

    #[test]
    fn canonical_forms_are_those_of_kubernetes() {
        let cases = [
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("512Ki", "512Ki"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("9E", "9E"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("0", "0"),
            ("-1", "-1"),
            ("0.1n", "1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("0Ki", "0"),
            ("0.5Ki", "512"),
            ("128974848", "128974848"),
            ("1000000000000000000000000", "9223372036854775807"),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "abc", "1.2.3", "1 Gi", "1gi", "--1", "1-", "e3", "Mi", "1ee3", "."] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_compare_across_suffixes() {
        let nanos = |text: &str| Quantity::parse(text).map(Quantity::nanos);
        assert_eq!(nanos("1Gi"), nanos("1073741824"));
        assert!(nanos("1G") < nanos("1Gi"));
        assert!(nanos("999m") < nanos("1"));
    }
}
