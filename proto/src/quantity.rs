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
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity (such as 100m or 1.5Gi)")]
pub struct NotAQuantity {
    /// As given.
    pub text: String,
}

const NANO: i128 = 1_000_000_000;
const MAX: i128 = (i64::MAX as i128) * NANO;
const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// `text` is none.
    pub fn parse(text: &str) -> Result<Self, NotAQuantity> {
        Self::read(text).ok_or_else(|| NotAQuantity { text: text.to_owned() })
    }

    fn read(text: &str) -> Option<Self> {
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

    /// A whole number.
    #[must_use]
    pub fn of_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// The same amount below zero, or above it.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }

    /// The sum, written as this one is unless this one is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    /// In units of 10⁻⁹, for comparing.
    #[must_use]
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// In thousandths, rounded away from zero: a node's CPU is counted so.
    #[must_use]
    pub fn millis(self) -> i128 {
        rounded(self.nanos, NANO / 1000)
    }

    /// In whole units, rounded away from zero: bytes of memory, devices.
    #[must_use]
    pub fn units(self) -> i64 {
        let units = rounded(self.nanos, NANO);
        i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is a whole number.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The canonical text: no fraction, the largest suffix that fits.
    #[must_use]
    pub fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let small = self.nanos.abs() < 1024 * NANO;
        match self.format {
            // Kubernetes turns to powers of ten rather than lose a fraction.
            Format::BinarySi if !small && self.is_whole() => binary_text(self.nanos),
            Format::Exponent => {
                decimal_text(self.nanos, |power| if power == 0 { String::new() } else { format!("e{power}") })
            }
            _ => decimal_text(self.nanos, decimal_suffix),
        }
    }
}

/// `nanos` in units of `unit`; what is left over counts as one more (Kubernetes rounds quantities away from zero).
fn rounded(nanos: i128, unit: i128) -> i128 {
    nanos / unit + if nanos % unit == 0 { 0 } else { nanos.signum() }
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
    // Twenty digits carry more than 2⁶³; the rest only rounds. Times 2⁶⁰ they still fit.
    let kept = digits.len().min(20);
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
    let mut value = rounded(nanos, NANO);
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
    use proptest::prelude::*;

    fn canonical(text: &str) -> Option<String> {
        Quantity::parse(text).ok().map(Quantity::canonical)
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
        let nanos = |text: &str| Quantity::parse(text).unwrap().nanos();
        assert_eq!(nanos("1Gi"), nanos("1073741824"));
        assert!(nanos("1G") < nanos("1Gi"));
        assert!(nanos("999m") < nanos("1"));
    }

    #[test]
    fn an_error_names_the_text() {
        let error = Quantity::parse("1 core").unwrap_err();
        assert_eq!(error.to_string(), "\"1 core\" is not a quantity (such as 100m or 1.5Gi)");
    }

    #[test]
    fn units_and_thousandths_round_away_from_zero() {
        let cases = [
            ("250m", 250, 1),
            ("0.1", 100, 1),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1e3", 1_000_000, 1000),
            ("1e-3", 1, 1),
            ("100n", 1, 1),
            ("-1500u", -2, -1),
            ("0", 0, 0),
            ("9223372036854775807", 9_223_372_036_854_775_807_000, i64::MAX),
            ("1234567890123456789", 1_234_567_890_123_456_789_000, 1_234_567_890_123_456_789),
            ("100E", 9_223_372_036_854_775_807_000, i64::MAX),
        ];
        for (text, millis, units) in cases {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.millis(), quantity.units()), (millis, units), "{text}");
        }
    }

    /// A suffix with what it stands for: numerator and denominator, in units of 10⁻⁹.
    fn suffixes() -> impl Strategy<Value = (&'static str, i128, i128)> {
        let of_ten = DECIMAL.map(|(name, power)| {
            let size = 10_i128.pow(power.unsigned_abs());
            if power < 0 { (name, NANO, size) } else { (name, size * NANO, 1) }
        });
        let of_two = BINARY.map(|(name, power)| (name, (1_i128 << power) * NANO, 1));
        let all: Vec<_> = of_ten.into_iter().chain(of_two).chain([("", NANO, 1)]).collect();
        proptest::sample::select(all)
    }

    proptest! {
        #[test]
        fn a_suffix_multiplies((suffix, top, bottom) in suffixes(), whole in 0_u32..5000, thousandths in 0_u32..1000) {
            let quantity = Quantity::parse(&format!("{whole}.{thousandths:03}{suffix}")).unwrap();
            let exact = (i128::from(whole) * 1000 + i128::from(thousandths)) * top;
            prop_assert_eq!(quantity.nanos(), rounded(exact, bottom * 1000).min(MAX));
        }

        #[test]
        fn an_exponent_is_a_shift(number in 0_u32..100_000, power in -9_i32..13, capital in proptest::bool::ANY) {
            let letter = if capital { 'E' } else { 'e' };
            let quantity = Quantity::parse(&format!("{number}{letter}{power}")).unwrap();
            let shift = 10_i128.pow((power + 9).unsigned_abs());
            prop_assert_eq!(quantity.nanos(), i128::from(number) * shift);
        }

        #[test]
        fn a_sign_only_mirrors((suffix, ..) in suffixes(), number in 0_u64..u64::MAX) {
            let (up, down) = (Quantity::parse(&format!("+{number}{suffix}")), Quantity::parse(&format!("-{number}{suffix}")));
            prop_assert_eq!(up.unwrap().nanos(), -down.unwrap().nanos());
        }

        #[test]
        fn the_canonical_form_is_the_same_amount_and_stays_as_it_is(
            (suffix, ..) in suffixes(), number in 0_u64..u64::MAX, fraction in 0_u32..1000,
        ) {
            let quantity = Quantity::parse(&format!("{number}.{fraction}{suffix}")).unwrap();
            let again = Quantity::parse(&quantity.canonical()).unwrap();
            prop_assert_eq!(again.canonical(), quantity.canonical());
            if quantity.is_whole() || !suffix.ends_with('i') {
                prop_assert_eq!(again.nanos(), quantity.nanos());
            } else {
                prop_assert!((again.nanos() - quantity.nanos()).abs() < NANO);
            }
        }

        #[test]
        fn any_text_is_a_quantity_or_an_error_that_names_it(text in ".{0,30}") {
            if let Err(error) = Quantity::parse(&text) {
                prop_assert_eq!(error.text, text);
            }
        }
    }
}
