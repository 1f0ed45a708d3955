//! How many frames passed stations so far: read at any time to see whether traffic still flows there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the frames of one station. The carrying thread counts, others read.
#[derive(Debug, Clone, Default)]
pub(super) struct FrameCount(Arc<AtomicU64>);

impl FrameCount {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The traffic of several stations. A frame counts once at each of them.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Vec<FrameCount>);

impl Traffic {
    pub(super) fn new(counts: Vec<FrameCount>) -> Self {
        Self(counts)
    }

    /// Frames that have passed since the stations were made. A frame that is only recorded may be counted some milliseconds
    /// after it passed.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_all_stations_are_counted() {
        let traffic = Traffic::new(vec![FrameCount::default(), FrameCount::default()]);
        assert_eq!(traffic.frames(), 0);
        traffic.0.iter().for_each(FrameCount::add_one);
        traffic.0[1].add_one();
        assert_eq!(traffic.clone().frames(), 3);
    }
}
