//! Heartbeats: a thread that acts every 20 ms notices when it could not run.
//!
//! A machine does not notice when a hypervisor, a freezer or suspension pauses it. Its clocks go on, so a long time between two
//! beats shows the pause.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::kernel::clock::monotonic;
use crate::model::evidence::Nanos;

/// The time between two beats.
pub const BEAT: Duration = Duration::from_millis(20);

/// How many gaps are remembered: those of a minute, if every second beat is late.
const REMEMBERED: usize = 1500;

/// When a thread was last alive, and where there were gaps.
#[derive(Debug)]
pub struct Heartbeat(Mutex<HeartbeatState>);

#[derive(Debug)]
struct HeartbeatState {
    last: Nanos,
    /// The ends and lengths of gaps that were longer than a beat and a half.
    gaps: VecDeque<(Nanos, Nanos)>,
}

impl Heartbeat {
    /// A heart that beats now, and whose owner lets it [`beat`](Self::beat).
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(HeartbeatState { last: monotonic(), gaps: VecDeque::new() })))
    }

    /// A heart with a thread of its own: it tells whether this process runs. The thread ends with the last owner.
    ///
    /// # Errors
    /// When no thread is left.
    pub fn of_process() -> io::Result<Arc<Self>> {
        let heart = Self::new();
        let beating = Arc::downgrade(&heart);
        thread::Builder::new().name("heartbeat".to_owned()).spawn(move || keep_beating(&beating))?;
        Ok(heart)
    }

    /// Says that its owner is alive.
    pub fn beat(&self) {
        self.0.lock().beat(monotonic());
    }

    /// The longest time since `since` without a beat, including the one up to now.
    #[must_use]
    pub fn largest_gap_since(&self, since: Nanos) -> Duration {
        Duration::from_nanos(self.0.lock().largest_gap(since, monotonic()))
    }
}

fn keep_beating(heart: &Weak<Heartbeat>) {
    while let Some(heart) = heart.upgrade() {
        heart.beat();
        drop(heart);
        thread::sleep(BEAT);
    }
}

impl HeartbeatState {
    fn beat(&mut self, now: Nanos) {
        let gap = now.saturating_sub(self.last);
        if Duration::from_nanos(gap) > BEAT * 3 / 2 {
            self.gaps.push_back((now, gap));
            let superfluous = self.gaps.len().saturating_sub(REMEMBERED);
            self.gaps.drain(..superfluous);
        }
        self.last = now;
    }

    fn largest_gap(&self, since: Nanos, now: Nanos) -> Nanos {
        // What lay before is not counted.
        let within = |(end, gap): &(Nanos, Nanos)| (*gap).min(end.saturating_sub(since));
        let open = (now, now.saturating_sub(self.last));
        self.gaps.iter().chain([&open]).map(within).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_pause_is_seen_by_whoever_was_there_and_by_nobody_else() {
        let mut state = HeartbeatState { last: 0, gaps: VecDeque::new() };
        for at in [20, 40, 60, 1060, 1080] {
            state.beat(at * MS);
        }
        assert_eq!(state.largest_gap(30 * MS, 1090 * MS), 1000 * MS);
        assert_eq!(state.largest_gap(960 * MS, 1090 * MS), 100 * MS, "as much of it as was seen");
        assert_eq!(state.largest_gap(1070 * MS, 1090 * MS), 10 * MS);
        assert_eq!(state.largest_gap(1070 * MS, 3080 * MS), 2000 * MS, "a pause that has not ended");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut state = HeartbeatState { last: 0, gaps: VecDeque::new() };
        (1..4000).for_each(|beat| state.beat(beat * 40 * MS));
        assert_eq!(state.gaps.len(), REMEMBERED);
    }

    #[test]
    fn the_heart_of_this_process_beats() {
        let before = monotonic();
        let heart = Heartbeat::of_process().expect("a thread");
        let state = |heart: &Heartbeat| heart.0.lock().last;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let first = state(&heart);
        while state(&heart) == first {
            assert!(std::time::Instant::now() < deadline, "no beat");
            thread::yield_now();
        }
        assert!(heart.largest_gap_since(before) < Duration::from_secs(20));
    }
}
