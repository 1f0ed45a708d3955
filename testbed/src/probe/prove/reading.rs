//! What a measurement says of an axis: one of its values, or words for what no value describes.

use std::fmt;

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

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Other(seen) => f.write_str(seen),
        }
    }
}
