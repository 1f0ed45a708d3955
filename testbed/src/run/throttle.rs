//! How many trials run at a time: as many as asked for, and fewer while the processors have little left to give.
//!
//! A program that waits for a processor starts late and gives up early, and then a trial says something of the machine
//! and nothing of the NATs. Most trials wait for packets, so many fit; of those that spray few do.

use std::convert::Infallible;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::kernel::backlog;
use crate::kernel::processors::Ticks;

/// How long the processors are watched before anything is changed: long enough for a share of some per cent.
const SAMPLE: Duration = Duration::from_millis(150);

/// The share of the processors' time that is to be left over.
const SPARE: f64 = 0.05;

/// Less than that is nothing: how many trials are too many it does not tell.
const NOTHING: f64 = SPARE / 4.0;

/// What is taken away while nothing is left over, as a share of the trials that run: at first, when it may be by chance, and
/// twice as much each time that it is so again before there is enough.
const FIRST_CUT: f64 = 1.0 / 8.0;
const DEEPEST_CUT: f64 = 1.0 / 4.0;

/// How many times as many may run from one sample to the next: until there have been too many, and after that, as those that
/// spray may just be waiting.
const FIRST_GROWTH: f64 = 2.0;
const GROWTH: f64 = 1.25;

/// Trials a processor to begin with.
const FIRST: usize = 4;

/// Trials a processor, however busy it is: somebody else may keep it so.
const LEAST: usize = 2;

/// Lets trials begin.
#[derive(Debug)]
pub(super) struct Throttle {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    running: usize,
    allowed: usize,
    least: usize,
    most: usize,
    /// What is taken away next if nothing is left over.
    cut: f64,
    growth: f64,
}

/// What the trials that run have done to the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ProcessorLoad {
    /// The share of the processors' time that was left over.
    Leaves(f64),
    /// Something was lost for want of time.
    TooMuch,
}

/// The right to run a trial, until it is dropped.
#[derive(Debug)]
pub(super) struct TrialPermit<'a>(&'a Throttle);

impl Throttle {
    /// At most so many at a time.
    pub(super) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let [least, allowed] = [LEAST, FIRST].map(|trials| most.min(processors * trials));
        let state = State { running: 0, allowed, least, most, cut: FIRST_CUT, growth: FIRST_GROWTH };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until one more may begin.
    pub(super) async fn permit(&self) -> TrialPermit<'_> {
        loop {
            let changed = self.changed.notified();
            if self.state().begin() {
                return TrialPermit(self);
            }
            changed.await;
        }
    }

    /// Watches the processors for ever. Where the kernel tells nothing of them, nothing changes.
    pub(super) async fn watch(&self) -> Infallible {
        let look = || (Ticks::read(), backlog::dropped_by_all().ok());
        let mut before = look();
        loop {
            sleep(SAMPLE).await;
            let now = look();
            if let Some(idle) = before.0.zip(now.0).and_then(|(before, now)| now.idle_since(before)) {
                // Frames for which there was no room are a sign that comes before the time is used up.
                let lost = now.1 > before.1;
                self.state().adapt(if lost { ProcessorLoad::TooMuch } else { ProcessorLoad::Leaves(idle) });
                self.changed.notify_waiters();
            }
            before = now;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for TrialPermit<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.changed.notify_one();
    }
}

impl State {
    fn begin(&mut self) -> bool {
        let may = self.running < self.allowed;
        self.running += usize::from(may);
        may
    }

    /// As many as would leave the right share over, if what is used grows with their number; what is used beyond all that
    /// there is nobody knows.
    fn adapt(&mut self, load: ProcessorLoad) {
        // Those that still run, though they are not allowed any more, are not counted twice.
        let now = self.running.min(self.allowed);
        let times = |share: f64| now as f64 * share;
        let wanted = match load {
            ProcessorLoad::Leaves(idle) if idle >= NOTHING => {
                if idle >= SPARE {
                    self.cut = FIRST_CUT;
                }
                times(((1.0 - SPARE) / (1.0 - idle)).min(self.growth)).round()
            }
            ProcessorLoad::Leaves(_) => {
                self.growth = GROWTH;
                let wanted = times(1.0 - self.cut).floor();
                self.cut = (2.0 * self.cut).min(DEEPEST_CUT);
                wanted
            }
            ProcessorLoad::TooMuch => {
                self.growth = GROWTH;
                times(1.0 - DEEPEST_CUT).floor()
            }
        } as usize;
        if wanted < now || self.running >= self.allowed {
            self.allowed = wanted.clamp(self.least, self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_runs_fewer_and_an_idle_one_more() {
        let mut state =
            State { running: 8, allowed: 8, least: 2, most: 32, cut: FIRST_CUT, growth: FIRST_GROWTH };
        let mut after = |running: usize, idle: f64| {
            state.running = running;
            state.adapt(ProcessorLoad::Leaves(idle));
            state.allowed
        };
        assert_eq!(after(8, 0.5), 15);
        assert_eq!(after(15, 0.24), 19, "nineteen would leave a twentieth over");
        assert_eq!(after(18, 0.5), 19, "nobody waits for more");
        assert_eq!(after(19, SPARE), 19);
        assert_eq!(after(19, 0.02), 18);
        assert_eq!([after(18, 0.0), after(15, 0.0), after(11, 0.005), after(8, 0.0)], [15, 11, 8, 6]);
        assert_eq!(after(11, 0.0), 4, "those that still run are not counted twice");
        assert_eq!([after(3, 0.0), after(2, 0.0)], [2, 2], "somebody else keeps it busy");
        assert_eq!(after(2, 0.9), 3, "slowly, now that there have been too many");
        assert_eq!(after(3, 0.0), 2, "one at least");
        assert_eq!(after(2, 0.03), 2);
        let most = (0..30).map(|_| after(32, 0.9)).last();
        assert_eq!(most, Some(32));
        state.running = 32;
        state.adapt(ProcessorLoad::TooMuch);
        assert_eq!(state.allowed, 24);
        assert!(
            State { running: 0, allowed: 1, least: 1, most: 1, cut: FIRST_CUT, growth: FIRST_GROWTH }.begin()
        );
    }

    #[tokio::test]
    async fn nobody_begins_before_there_is_room() {
        let throttle = Throttle::new(1);
        let first = throttle.permit().await;
        let second = throttle.permit();
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let _second = second.await;
        assert_eq!(throttle.state().running, 1);
    }
}
