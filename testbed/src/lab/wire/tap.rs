//! What a wire saw of its frames, until it is taken.

use std::time::Duration;

use crate::lab::wire::traffic::FrameCount;
use crate::model::evidence::{Fate, Frame, Nanos, SNAP_LENGTH};

/// How much a tap keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapLimits {
    /// Bytes of each frame. The default shows all headers of a TCP segment; `usize::MAX` is the whole frame.
    pub snap_length: usize,
    /// Frames of an epoch; more are counted, and reported as lost evidence.
    pub frames: usize,
}

impl Default for TapLimits {
    fn default() -> Self {
        Self { snap_length: SNAP_LENGTH as usize, frames: 100_000 }
    }
}

/// What a tap saw since it was last asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tapped {
    /// The frames, in the order of `entered`. Those still on the link are `InFlight`, and will not be told again.
    pub frames: Vec<Frame>,
    /// Evidence that was lost: one sentence for each way in which it was.
    pub lost: Vec<String>,
    /// By how much the latest frame left after it was due.
    pub lateness: Duration,
}

/// Which record of a log belongs to a frame under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordId {
    generation: u64,
    index: usize,
}

/// The frames of a link since they were last taken.
#[derive(Debug)]
pub(super) struct Log {
    name: String,
    limits: TapLimits,
    frames: Vec<Frame>,
    /// All frames that were ever noted, kept or not.
    passed: FrameCount,
    /// Counts how often the frames were taken: a record id of an earlier one means nothing any more.
    generation: u64,
    /// Frames kept so far in this epoch, also those that were taken.
    kept: usize,
    overflow: u64,
    refused: u64,
    refusal: Option<String>,
    lateness: Nanos,
    /// The socket's count of drops when it was last looked at.
    drops_told: u64,
}

impl Log {
    pub(super) fn new(name: String, limits: TapLimits) -> Self {
        Self {
            name,
            limits,
            frames: Vec::new(),
            passed: FrameCount::default(),
            generation: 0,
            kept: 0,
            overflow: 0,
            refused: 0,
            refusal: None,
            lateness: 0,
            drops_told: 0,
        }
    }

    /// Counts the frames as they are noted.
    pub(super) fn passed(&self) -> FrameCount {
        self.passed.clone()
    }

    pub(super) fn set_limits(&mut self, limits: TapLimits) {
        self.limits = limits;
    }

    pub(super) fn snap_length(&self) -> usize {
        self.limits.snap_length
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        self.forget();
        self.frames.clear();
        self.generation += 1;
        self.kept = 0;
    }

    fn forget(&mut self) {
        (self.overflow, self.refused, self.refusal, self.lateness) = (0, 0, None, 0);
    }

    /// Notes a frame; `frame.bytes` is empty and filled in from `bytes`. `None` when it is one too many.
    pub(super) fn note(&mut self, frame: Frame, bytes: &[u8]) -> Option<RecordId> {
        self.passed.add_one();
        if self.kept >= self.limits.frames {
            self.overflow += 1;
            return None;
        }
        let bytes = bytes[..bytes.len().min(self.limits.snap_length)].into();
        self.frames.push(Frame { bytes, ..frame });
        self.kept += 1;
        Some(RecordId { generation: self.generation, index: self.frames.len() - 1 })
    }

    /// Notes that a frame left.
    pub(super) fn left(&mut self, record: Option<RecordId>, due: Nanos, left: Nanos) {
        self.lateness = self.lateness.max(left.saturating_sub(due));
        if let Some(frame) = self.record(record) {
            frame.left = left;
            frame.fate = Fate::Delivered;
        }
    }

    /// Notes that a frame is due at another time than thought.
    pub(super) fn postponed(&mut self, record: Option<RecordId>, due: Nanos) {
        if let Some(frame) = self.record(record) {
            frame.due = due;
            frame.left = due;
        }
    }

    /// Notes that the kernel refused a frame on its way in or out.
    pub(super) fn refused(&mut self, why: &std::io::Error) {
        self.refused += 1;
        self.refusal.get_or_insert_with(|| crate::kernel::user_file::words(why));
    }

    fn record(&mut self, record: Option<RecordId>) -> Option<&mut Frame> {
        let record = record.filter(|r| r.generation == self.generation)?;
        self.frames.get_mut(record.index)
    }

    /// Hands over what was seen. `drops` is how many frames the kernel has dropped so far, for whatever log.
    pub(super) fn take(&mut self, drops: std::io::Result<u64>) -> Tapped {
        let dropped = drops.map(|all| all - std::mem::replace(&mut self.drops_told, all));
        let mut frames = std::mem::take(&mut self.frames);
        frames.sort_by_key(|frame| frame.entered);
        let tapped =
            Tapped { frames, lost: self.losses(dropped), lateness: Duration::from_nanos(self.lateness) };
        self.generation += 1;
        self.forget();
        tapped
    }

    fn losses(&self, dropped: std::io::Result<u64>) -> Vec<String> {
        let name = &self.name;
        let mut lost = Vec::new();
        match dropped {
            Ok(0) => {}
            Ok(count) => {
                lost.push(format!("{name}: {count} frames found the receive buffer full and are gone"))
            }
            Err(why) => lost.push(format!("{name}: cannot tell whether frames were dropped: {why}")),
        }
        if self.overflow > 0 {
            let (overflow, limit) = (self.overflow, self.limits.frames);
            lost.push(format!("{name}: {overflow} frames beyond the first {limit} were not recorded"));
        }
        if let Some(why) = &self.refusal {
            lost.push(format!("{name}: the kernel refused {} frames, the first with: {why}", self.refused));
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::Direction;

    fn frame(entered: Nanos) -> Frame {
        Frame {
            link: 0,
            direction: Direction::Up,
            entered,
            due: entered + 5,
            left: entered + 5,
            fate: Fate::InFlight,
            is_copy: false,
            length: 4,
            bytes: Box::default(),
        }
    }

    fn log(limits: TapLimits) -> Log {
        Log::new("wire of \"nat-a\"".to_owned(), limits)
    }

    #[test]
    fn frames_are_told_once_and_in_order() {
        let mut log = log(TapLimits { snap_length: 2, frames: 10 });
        let late = log.note(frame(20), b"late");
        let early = log.note(frame(10), b"earl");
        log.left(early, 15, 18);
        let first = log.take(Ok(0));
        let told: Vec<_> = first.frames.iter().map(|f| (f.entered, f.left, f.fate, &*f.bytes)).collect();
        let expected: [(_, _, _, &[u8]); 2] =
            [(10, 18, Fate::Delivered, b"ea"), (20, 25, Fate::InFlight, b"la")];
        assert_eq!(told, expected);
        assert_eq!((first.lateness, first.lost), (Duration::from_nanos(3), vec![]));
        log.note(frame(30), b"next");
        log.left(late, 25, 25);
        let second = log.take(Ok(0));
        assert_eq!(second.frames.len(), 1);
        assert_eq!(
            second.frames[0].fate,
            Fate::InFlight,
            "the earlier frame's end is not taken for this one's"
        );
    }

    #[test]
    fn every_way_of_losing_evidence_is_told() {
        let mut log = log(TapLimits { snap_length: 128, frames: 1 });
        for entered in 0..3 {
            log.note(frame(entered), b"");
        }
        log.refused(&std::io::Error::from(crate::kernel::Errno::ENOBUFS));
        let tapped = log.take(Ok(7));
        assert_eq!(tapped.frames.len(), 1);
        assert_eq!(
            tapped.lost,
            [
                "wire of \"nat-a\": 7 frames found the receive buffer full and are gone",
                "wire of \"nat-a\": 2 frames beyond the first 1 were not recorded",
                "wire of \"nat-a\": the kernel refused 1 frames, the first with: \
                 No buffer space available (ENOBUFS)",
            ]
        );
        log.note(frame(9), b"");
        assert_eq!(log.take(Ok(7)).lost.len(), 1, "the limit is one of the epoch, and the drops were told");
        log.restart();
        log.note(frame(10), b"");
        assert_eq!(log.take(Ok(7)).lost, Vec::<String>::new());
    }
}
