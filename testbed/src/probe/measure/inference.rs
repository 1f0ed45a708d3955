//! A behaviour in the making: what was concluded so far of a NAT, axis by axis. Pure.

use crate::model::axis::NatAxis;
use crate::model::behavior::Behavior;
use crate::model::description::{DescribedAxis, Known};
use crate::probe::prove::reading::Reading;

/// A value that was measured by these means.
pub(super) fn measured(by: impl Into<String>) -> Known {
    Known::Measured { by: by.into() }
}

/// A behaviour in the making.
#[derive(Debug)]
pub(super) struct Inference {
    pub(super) behavior: Behavior,
    pub(super) axes: Vec<DescribedAxis>,
}

impl Inference {
    /// Says how the value of an axis is known.
    pub(super) fn note(&mut self, axis: NatAxis, known: Known) {
        self.axes.push(DescribedAxis { axis, known });
    }

    /// Takes over what was read off, or says what was seen in place of it.
    pub(super) fn take<T: Copy>(
        &mut self,
        axis: NatAxis,
        reading: &Reading<T>,
        by: &str,
        set: impl FnOnce(&mut Behavior, T),
    ) {
        match reading {
            Reading::Value(value) => {
                set(&mut self.behavior, *value);
                self.note(axis, measured(by));
            }
            Reading::Other(seen) => self.note(axis, Known::Undeclarable { seen: seen.clone() }),
        }
    }
}
