//! Quantities as people write them in suites and on the command line: durations, probabilities, rates.

use std::str::FromStr;
use std::time::Duration;

/// A duration with a sign: how much later than another something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offset {
    /// Which way.
    pub sign: Sign,
    /// How much.
    pub by: Duration,
}

/// The direction of an [`Offset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sign {
    /// Later.
    #[default]
    Later,
    /// Earlier: written with a minus sign.
    Earlier,
}

impl Offset {
    /// In seconds: negative when earlier.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        match self.sign {
            Sign::Later => self.by.as_secs_f64(),
            Sign::Earlier => -self.by.as_secs_f64(),
        }
    }
}

/// The longest time that a frame may be delayed: no link is that slow.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The longest that something in a trial may take.
const LONGEST_TIME: Duration = Duration::from_secs(3600);

/// The longest that a NAT may remember a mapping; the kernel counts the time in ticks, in 31 bits.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2_000_000);

/// Reads a duration: `5ms`, `3s`, `1m 30s`.
///
/// # Errors
/// A sentence that names the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| format!("\"{text}\" is not a duration such as \"5ms\" or \"1m 30s\"{why}");
    if text.trim_start().starts_with('-') {
        return Err(refuse(": it is negative"));
    }
    humantime::parse_duration(text).map_err(|why| match why {
        humantime::DurationError::NumberOverflow => format!("\"{text}\" is too long"),
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => refuse(": it has no unit"),
        humantime::DurationError::UnknownUnit { unit, .. } => {
            refuse(&format!(": \"{unit}\" is no unit of time"))
        }
        _ => refuse(""),
    })
}

/// The duration that a text gave, if it is no longer than this.
///
/// # Errors
/// A sentence that names the text.
pub fn at_most(given: Duration, text: &str, most: Duration) -> Result<Duration, String> {
    match given <= most {
        true => Ok(given),
        false => Err(format!("\"{text}\" is too long: at most {}", in_words(most))),
    }
}

/// A duration with a blank before each unit that is a word: `23 days 3h 33m 20s`.
fn in_words(duration: Duration) -> String {
    let parts = humantime::format_duration(duration).to_string();
    let spaced = |part: &str| match part.find(|letter: char| letter.is_ascii_alphabetic()) {
        Some(unit) if part[unit..].len() > 2 => format!("{} {}", &part[..unit], &part[unit..]),
        _ => part.to_owned(),
    };
    parts.split(' ').map(spaced).collect::<Vec<_>>().join(" ")
}

/// Reads how long a frame is delayed.
///
/// # Errors
/// A sentence that names the text.
pub fn delay(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|delay| at_most(delay, text, LONGEST_DELAY))
}

/// Reads how long something in a trial takes.
///
/// # Errors
/// A sentence that names the text.
pub fn time_of_trial(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| at_most(time, text, LONGEST_TIME))
}

/// Reads how long a NAT remembers a mapping.
///
/// # Errors
/// A sentence that names the text.
pub fn timeout(text: &str) -> Result<Duration, String> {
    positive_duration(text).and_then(|time| at_most(time, text, LONGEST_TIMEOUT))
}

/// Reads a number that has no sign and no fraction.
///
/// # Errors
/// A sentence that says which numbers there are.
pub fn whole_number(text: &str) -> Result<u64, String> {
    digits(text).ok_or_else(|| match is_digits(text) {
        true => format!("must be at most {}", u64::MAX),
        false => "expected a whole number".to_owned(),
    })
}

/// Reads a number of nothing but digits, if the type can hold it: the sign that Rust would read as well is none that anybody means.
#[must_use]
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    is_digits(text).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a duration that must not be zero.
///
/// # Errors
/// A sentence that names the text.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("\"{text}\" must be longer than nothing")),
        longer => Ok(longer),
    }
}

/// Reads a duration with an optional sign: `-50ms`, `0ms`, `+3ms`.
///
/// # Errors
/// A sentence that names the text.
pub fn offset(text: &str) -> Result<Offset, String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (Sign::Earlier, rest),
        None => (Sign::Later, text.strip_prefix('+').unwrap_or(text)),
    };
    Ok(Offset { sign, by: time_of_trial(rest)? })
}

/// Reads a probability: a number from 0 to 1.
///
/// # Errors
/// A sentence that names the text.
pub fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(format!("\"{text}\" is not a probability from 0 to 1")),
    }
}

/// Reads a rate in bits per second: `800bit`, `64kbit`, `10Mbit`, `1Gbit`.
///
/// # Errors
/// A sentence that names the text.
pub fn rate(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("\"{text}\" is not a rate such as \"10Mbit\" (bit, kbit, Mbit or Gbit per second)");
    let written = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[written.len()..].trim() {
        "bit" => 1,
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        _ => return Err(refuse()),
    };
    let number: u64 = digits(written).ok_or_else(refuse)?;
    number.checked_mul(unit).filter(|bits| *bits > 0).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_carry_a_sign() {
        assert_eq!(offset("-50ms").map(Offset::as_secs_f64), Ok(-0.05));
        assert_eq!(offset("+3ms").map(Offset::as_secs_f64), Ok(0.003));
        assert_eq!(offset("0ms"), Ok(Offset::default()));
        for wrong in ["", "-", "5", "--5ms", "5 parsecs"] {
            assert!(offset(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_an_end() {
        let form = "is not a duration such as \"5ms\" or \"1m 30s\"";
        for (wrong, why) in [
            ("-3s", format!("\"-3s\" {form}: it is negative")),
            ("5", format!("\"5\" {form}: it has no unit")),
            ("5 parsecs", format!("\"5 parsecs\" {form}: \"parsecs\" is no unit of time")),
            ("ten", format!("\"ten\" {form}")),
            ("", format!("\"\" {form}")),
            ("99999999999999999999y", "\"99999999999999999999y\" is too long".to_owned()),
        ] {
            assert_eq!(duration(wrong), Err(why));
        }
        assert_eq!(delay("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(delay("1000h"), Err("\"1000h\" is too long: at most 1m".to_owned()));
        assert_eq!(time_of_trial("1000years"), Err("\"1000years\" is too long: at most 1h".to_owned()));
        assert!(offset("-2h").is_err() && timeout("5days").is_ok() && timeout("30days").is_err());
        let most = "\"30days\" is too long: at most 23 days 3h 33m 20s";
        assert_eq!(timeout("30days"), Err(most.to_owned()));
    }

    #[test]
    fn whole_numbers_are_read() {
        assert_eq!(whole_number("7"), Ok(7));
        for (wrong, why) in [
            ("x", "expected a whole number"),
            ("-1", "expected a whole number"),
            ("+1", "expected a whole number"),
            ("", "expected a whole number"),
            ("99999999999999999999", "must be at most 18446744073709551615"),
        ] {
            assert_eq!(whole_number(wrong), Err(why.to_owned()));
        }
    }

    #[test]
    fn rates_have_a_unit() {
        assert_eq!(rate("10Mbit"), Ok(10_000_000));
        assert_eq!(rate("64 kbit"), Ok(64_000));
        for wrong in ["", "10", "0bit", "Mbit", "10MB", "99999999999Gbit", "+5bit"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn probabilities_lie_between_nought_and_one() {
        assert_eq!(probability("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.01", "NaN", "5%", ""] {
            assert!(probability(wrong).is_err(), "{wrong}");
        }
    }
}
