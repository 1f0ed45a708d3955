//! How many trials run at a time: as many as asked for, and fewer while the processors have nothing left to give.
//!
//! A program that waits for a processor starts late and gives up early, and then a trial says something of the machine
//! and nothing of the NATs. Most trials wait for packets, so many fit; of those that spray few do.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::kernel::backlog;
use crate::kernel::processors::Ticks;

/// How long the processors are watched before anything is changed: long enough for a share of some per cent.
const SAMPLE: Duration = Duration::from_millis(150);

/// With less idle time than this, fewer trials run; with more than that, more do.
const BUSY: f64 = 0.04;
const ROOM: f64 = 0.1;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    running: usize,
    allowed: usize,
    least: usize,
    most: usize,
}

/// The right to run a trial, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Throttle);

impl Throttle {
    /// At most so many at a time.
    pub(super) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let [least, allowed] = [LEAST, FIRST].map(|trials| most.min(processors * trials));
        let state = State { running: 0, allowed, least, most };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until one more may begin.
    pub(super) async fn turn(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            if self.state().begin() {
                return Turn(self);
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
                self.state().adapt(if now.1 > before.1 { 0.0 } else { idle });
                self.changed.notify_waiters();
            }
            before = now;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
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

    /// A quarter fewer than there are, or a quarter more than were allowed if so many there were.
    fn adapt(&mut self, idle: f64) {
        if idle < BUSY {
            let fewer = self.running.min(self.allowed) * 3 / 4;
            self.allowed = fewer.max(self.least);
        } else if idle > ROOM && self.running >= self.allowed {
            self.allowed = (self.allowed + (self.allowed / 4).max(1)).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_runs_fewer_and_an_idle_one_more() {
        let mut state = State { running: 8, allowed: 8, least: 2, most: 32 };
        let mut after = |running: usize, idle: f64| {
            state.running = running;
            state.adapt(idle);
            state.allowed
        };
        assert_eq!(after(8, 0.0), 6);
        assert_eq!(after(7, 0.0), 4, "those that still run are not counted twice");
        assert_eq!(after(4, 0.07), 4, "neither busy nor idle");
        assert_eq!(after(4, 0.5), 5);
        assert_eq!(after(3, 0.5), 5, "nobody waits for more");
        assert_eq!([after(2, 0.0), after(2, 0.0)], [2, 2], "somebody else keeps it busy");
        let most = (0..30).map(|_| after(32, 0.9)).last();
        assert_eq!(most, Some(32));
        assert!(State { running: 0, allowed: 1, least: 1, most: 1 }.begin());
    }

    #[tokio::test]
    async fn nobody_begins_before_there_is_room() {
        let throttle = Throttle::new(1);
        let first = throttle.turn().await;
        let second = throttle.turn();
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let _second = second.await;
        assert_eq!(throttle.state().running, 1);
    }
}
