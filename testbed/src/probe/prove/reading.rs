//! What a measurement says of an axis: one of its values, or words for what no value describes.

use std::fmt;
use std::net::SocketAddrV4;

/// What was read off a NAT on one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::probe) enum Reading<T> {
    /// A value that can be declared.
    Value(T),
    /// What was seen, where no value of the axis says so.
    Other(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub(in crate::probe) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

impl<T: Clone + PartialEq + fmt::Display> Reading<T> {
    /// What was read at all of some endpoints; at each, where that is not the same.
    pub(in crate::probe) fn in_common(readings: &[(SocketAddrV4, Self)]) -> Self {
        let differ = readings.windows(2).any(|pair| pair[0].1 != pair[1].1);
        let at = |(endpoint, reading): &(SocketAddrV4, Self)| format!("{endpoint}: {reading}");
        match readings.first() {
            Some((_, reading)) if !differ => reading.clone(),
            _ => Self::Other(readings.iter().map(at).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Other(seen) => f.write_str(seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_that_differs_is_told() {
        let at = |port, seen| (SocketAddrV4::new([192, 0, 2, 2].into(), port), Reading::Value(seen));
        assert_eq!(Reading::in_common(&[at(999, 1), at(4_000, 1)]), Reading::Value(1));
        let differ = Reading::in_common(&[at(999, 1), at(4_000, 1), at(4_001, 2)]);
        assert_eq!(differ.to_string(), "192.0.2.2:999: 1, 192.0.2.2:4000: 1, 192.0.2.2:4001: 2");
    }
}
