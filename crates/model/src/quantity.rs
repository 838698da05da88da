//! Kubernetes quantities: `500m`, `1.5`, `128Mi`, `1e3`.

/// An exact amount, in billionths of a unit (the API's own resolution).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity {
    nanos: i128,
}

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Whole units.
    #[must_use]
    pub fn units(units: i128) -> Self {
        Self { nanos: units.saturating_mul(NANO) }
    }

    /// Reads one; `None` for what is none. Amounts below a billionth are rounded up, as the API server
    /// does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let (multiply, divide) = factor(suffix)?;
        let divide = scale.checked_mul(divide)?;
        let nanos = ceil(digits.checked_mul(NANO)?.checked_mul(multiply)?, divide);
        Some(Self { nanos: if negative { -nanos } else { nanos } })
    }

    /// Whole units, rounded up: bytes of a memory limit.
    #[must_use]
    pub fn ceil_units(self) -> i128 {
        ceil(self.nanos, NANO)
    }

    /// Thousandths, rounded up: a CPU limit is enforced in these.
    #[must_use]
    pub fn ceil_millis(self) -> i128 {
        ceil(self.nanos, NANO / 1000)
    }

    /// In multiples of `divisor`, rounded up: what `resourceFieldRef` shows.
    #[must_use]
    pub fn ceil_div(self, divisor: Self) -> Option<i128> {
        (divisor.nanos > 0).then(|| ceil(self.nanos, divisor.nanos))
    }

    /// So many of it.
    #[must_use]
    pub fn times(self, count: i128) -> Self {
        Self { nanos: self.nanos.saturating_mul(count) }
    }

    /// What is left of it; nothing where `other` is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos).max(0) }
    }

    /// As a person writes it: `2.5`, `250m`; bytes as `512Mi`.
    #[must_use]
    pub fn show(self, bytes: bool) -> String {
        if bytes {
            let mib = ceil(self.nanos, NANO << 20);
            return if mib >= 1024 && mib % 1024 == 0 {
                format!("{}Gi", mib >> 10)
            } else {
                format!("{mib}Mi")
            };
        }
        match self.ceil_millis() {
            millis if millis % 1000 == 0 => (millis / 1000).to_string(),
            millis => format!("{millis}m"),
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self { nanos: all.fold(0, |sum, one| sum.saturating_add(one.nanos)) }
    }
}

fn ceil(value: i128, divisor: i128) -> i128 {
    let quotient = value.div_euclid(divisor);
    if value.rem_euclid(divisor) == 0 { quotient } else { quotient + 1 }
}

/// The factor of a suffix as a fraction.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: i32| {
        let factor = 10_i128.checked_pow(power.unsigned_abs())?;
        Some(if power < 0 { (1, factor) } else { (factor, 1) })
    };
    match suffix {
        "" => Some((1, 1)),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|power| power.abs() <= 18)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_as_people_write_them() {
        let sum = |texts: &[&str]| texts.iter().filter_map(|t| Quantity::parse(t)).sum::<Quantity>();
        assert_eq!(sum(&["500m", "1.5"]).show(false), "2");
        assert_eq!(sum(&["250m", "1"]).show(false), "1250m");
        assert_eq!(sum(&["512Mi", "512Mi"]).show(true), "1Gi");
        assert_eq!(sum(&["100Mi"]).times(3).less(sum(&["50Mi"])).show(true), "250Mi");
    }

    fn units(text: &str) -> Option<i128> {
        Quantity::parse(text).map(Quantity::ceil_units)
    }

    #[test]
    fn suffixes() {
        assert_eq!(units("128Mi"), Some(128 << 20));
        assert_eq!(units("128M"), Some(128_000_000));
        assert_eq!(units("1.5Gi"), Some(3 << 29));
        assert_eq!(units("1e3"), Some(1000));
        assert_eq!(units("1E3"), Some(1000));
        assert_eq!(units("2E"), Some(2_000_000_000_000_000_000));
        assert_eq!(units("128974848000m"), Some(128_974_848));
        assert_eq!(units(".5"), Some(1));
        assert_eq!(units("8Ei"), Some(8 << 60));
        for bad in [
            "",
            "Mi",
            "1mi",
            "1.2.3",
            "one",
            "1 Gi",
            "-",
            "1e99",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(units(bad), None, "{bad}");
        }
    }

    #[test]
    fn millis_and_divisors_round_up() {
        let parse = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(parse("0.0001").ceil_millis(), 1);
        assert_eq!(parse("250m").ceil_millis(), 250);
        assert_eq!(parse("250m").ceil_div(parse("1")), Some(1));
        assert_eq!(parse("1500m").ceil_div(parse("1m")), Some(1500));
        assert_eq!(parse("1G").ceil_div(parse("1Mi")), Some(954));
        assert_eq!(parse("1").ceil_div(parse("0")), None);
    }
}
