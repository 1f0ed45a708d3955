//! Quantities as people write them in suites and on the command line: durations, probabilities, rates.

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

/// Reads a duration: `5ms`, `3s`, `1m 30s`.
///
/// # Errors
/// A sentence that names the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|why| format!("\"{text}\" is not a duration such as \"5ms\": {why}"))
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
    Ok(Offset { sign, by: duration(rest)? })
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
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim() {
        "bit" => 1,
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        _ => return Err(refuse()),
    };
    let number: u64 = digits.parse().map_err(|_| refuse())?;
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
    fn rates_have_a_unit() {
        assert_eq!(rate("10Mbit"), Ok(10_000_000));
        assert_eq!(rate("64 kbit"), Ok(64_000));
        for wrong in ["", "10", "0bit", "Mbit", "10MB", "99999999999Gbit"] {
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
