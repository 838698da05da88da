//! Quantities as people write them: `10s`, `200/s`, `99.9%`, `10m`.

use std::time::Duration;

/// The longest duration that is taken for meant.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The highest rate per second that is taken for meant.
const HIGHEST: f64 = 100_000.0;

/// A duration: `500ms`, `10s`, `2m`, `1h`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write `500ms`, `10s`, `2m` or `1h`");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("`{text}` is longer than a day"))
}

/// A rate per second: `200/s`, `30/m`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate above zero: write `200/s` or `30/m`");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let per_second = match unit {
        "/s" => number,
        "/m" => number / 60.0,
        _ => return Err(wrong()),
    };
    if per_second > HIGHEST {
        return Err(format!("`{text}` is more than the {HIGHEST}/s that are taken for meant"));
    }
    if per_second > 0.0 { Ok(per_second) } else { Err(wrong()) }
}

/// A percentage as a part of one: `99.9%` is 0.999.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn percentage(text: &str) -> Result<f64, String> {
    match split(text) {
        Some((number, "%")) if number <= 100.0 => Ok(number / 100.0),
        _ => Err(format!("`{text}` is not a percentage: write `99.9%`")),
    }
}

/// A size in bytes: `512`, `64k`, `10m`, `1g`, in steps of 1024 as web servers count them.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write bytes, or `64k`, `10m`, `1g`");
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[at..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    text[..at].parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// A number and the unit behind it. Digits and one point only: no sign, no exponent.
fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number = text[..at].parse().ok()?;
    Some((number, text[at..].trim_start()))
}

/// A duration as [`duration`] reads it, in the largest unit that leaves no fraction: `90s`, `2m`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ if millis > 1000 => format!("{}s", duration.as_secs_f64()),
        _ => format!("{millis}ms"),
    }
}

/// A part of one as [`percentage`] reads it: `99.9%`.
#[must_use]
pub fn show_percentage(part: f64) -> String {
    // What 99.9 / 100 * 100 leaves behind the tenth digit is not meant.
    format!("{}%", (part * 1e8).round() / 1e6)
}

/// A rate as [`rate`] reads it: `200/s`.
#[must_use]
pub fn show_rate(per_second: f64) -> String {
    format!("{}/s", (per_second * 1e3).round() / 1e3)
}

/// A size as [`size`] reads it, in the largest unit that leaves no fraction: `10m`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let whole = units.into_iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    whole.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_in_the_units_that_people_write() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(read), text);
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        for wrong in ["", "10", "s", "-1s", "1d", "1e3s", "1.2.3s", "25h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_percentages_and_sizes_are_read() {
        assert_eq!(rate("200/s"), Ok(200.0));
        assert_eq!(rate("30/m"), Ok(0.5));
        for wrong in ["200", "0/s", "/s", "-1/s", "5/h", "100001/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!((percentage("99.9%").unwrap() - 0.999).abs() < 1e-12);
        assert_eq!(show_percentage(percentage("99.95%").unwrap()), "99.95%");
        for wrong in ["99.9", "101%", "%", "-1%"] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("10m"), Ok(10 << 20));
        for text in ["512", "64k", "10m", "3g"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for wrong in ["", "m", "10mb", "1.5m", "99999999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
