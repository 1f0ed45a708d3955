//! How many trials work at a time: as many as asked for, and fewer while the processors have little left to give.
//!
//! A program that waits for a processor starts late and gives up early. Its trial then measures the machine and not the NATs.
//! So only few trials that spray work at a time, and many that send a packet now and then.
//!
//! A trial whose programs run and send hardly any packets only *waits*, mostly for its deadline. Such a trial takes none of the
//! places of trials that work. A trial is taken for a waiting one only while the processors had time left. Otherwise programs
//! that compute without sending would pass for programs that wait, and ever more of them would begin.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::kernel::backlog;
use crate::kernel::processors::{self, Ticks};
use crate::lab::wire::Traffic;

/// How long the processors are watched before anything is changed: long enough for a share of some per cent.
const SAMPLE: Duration = Duration::from_millis(150);

/// The share of the processors' time that is to be left over.
const SPARE: f64 = 0.05;

/// Less than that is nothing: how many trials are too many it does not tell.
const NOTHING: f64 = SPARE / 4.0;

/// What is taken away while nothing is left over, as a share of the trials that work: at first, when it may be by chance, and
/// twice as much each time that it is so again before there is enough.
const FIRST_CUT: f64 = 1.0 / 8.0;
const DEEPEST_CUT: f64 = 1.0 / 4.0;

/// How many times as many may work from one sample to the next: until there have been too many, and after that, as those that
/// spray may just be waiting.
const FIRST_GROWTH: f64 = 2.0;
const GROWTH: f64 = 1.25;

/// Trials a processor to begin with.
const FIRST: usize = 4;

/// Trials a processor that work at most. What a trial takes of it shows some tenths of a second after it has begun: by then
/// far too many could have.
const MOST: usize = 16;

/// Trials a processor, however busy it is: somebody else may keep it so.
const LEAST: usize = 2;

/// Frames in a sample with which a trial may still only wait, each counted on every link that it passes: retransmitted SYNs,
/// or the measurements before another try, which take a few hundredths of a processor. Who sprays sends thousands.
const FEW_FRAMES: u64 = 256;

/// Samples in a row with so few frames until a trial is taken to wait: what is between two steps of a program is shorter.
const CALM_SAMPLES: u32 = 2;

/// Lets trials begin.
#[derive(Debug)]
pub(super) struct Throttle {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    /// Trials whose programs run, by the number of their permit.
    running: BTreeMap<u64, RunningPrograms>,
    permits: u64,
}

/// How many trials may work.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    working: usize,
    allowed: usize,
    least: usize,
    most: usize,
    /// What is taken away next if nothing is left over.
    cut: f64,
    growth: f64,
}

/// The programs of a trial while they run.
#[derive(Debug)]
struct RunningPrograms {
    traffic: Traffic,
    /// Frames when they were last counted.
    frames: u64,
    /// Samples in a row with few frames.
    calm: u32,
    waits: bool,
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
pub(super) struct TrialPermit {
    throttle: Arc<Throttle>,
    number: u64,
}

impl Throttle {
    /// At most this many trials work at a time, and no more than the processors have time for.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let processors = processors::count();
        let [least, allowed, most] = [LEAST, FIRST, MOST].map(|trials| most.min(processors * trials));
        let limit = Limit { working: 0, allowed, least, most, cut: FIRST_CUT, growth: FIRST_GROWTH };
        let state = State { limit, running: BTreeMap::new(), permits: 0 };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Waits until one more may begin. One at a time may wait here.
    pub(super) async fn permit(self: &Arc<Self>) -> TrialPermit {
        loop {
            let begun = self.state().begin();
            match begun {
                Some(number) => return TrialPermit { throttle: Arc::clone(self), number },
                None => self.changed.notified().await,
            }
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
                self.state().sampled(if lost { ProcessorLoad::TooMuch } else { ProcessorLoad::Leaves(idle) });
                self.changed.notify_one();
            }
            before = now;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl TrialPermit {
    /// Says that the programs of the trial run and send their packets here: from now on it may be that they only wait.
    pub(super) fn programs_run(&self, traffic: Traffic) {
        let programs = RunningPrograms { frames: traffic.frames(), traffic, calm: 0, waits: false };
        self.throttle.state().running.insert(self.number, programs);
    }

    /// Says that they have ended: what is left to do is work.
    pub(super) fn programs_ended(&self) {
        self.throttle.state().work_again(self.number);
    }
}

impl Drop for TrialPermit {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        state.end(self.number);
        drop(state);
        self.throttle.changed.notify_one();
    }
}

impl State {
    /// The number of the permit.
    fn begin(&mut self) -> Option<u64> {
        if self.limit.working >= self.limit.allowed {
            return None;
        }
        self.limit.working += 1;
        self.permits += 1;
        Some(self.permits)
    }

    fn end(&mut self, number: u64) {
        self.work_again(number);
        self.limit.working -= 1;
    }

    fn work_again(&mut self, number: u64) {
        let waited = self.running.remove(&number).is_some_and(|programs| programs.waits);
        self.limit.working += usize::from(waited);
    }

    fn sampled(&mut self, load: ProcessorLoad) {
        self.limit.adapt(load);
        let spare = matches!(load, ProcessorLoad::Leaves(idle) if idle >= NOTHING);
        for programs in self.running.values_mut() {
            let waited = programs.waits;
            programs.look(spare);
            match (waited, programs.waits) {
                (false, true) => self.limit.working -= 1,
                (true, false) => self.limit.working += 1,
                _ => {}
            }
        }
    }
}

impl RunningPrograms {
    /// Finds out whether they only wait, after a sample in which the processors had something left or not.
    fn look(&mut self, spare: bool) {
        let frames = self.traffic.frames();
        let few = frames - std::mem::replace(&mut self.frames, frames) <= FEW_FRAMES;
        self.calm = if few { self.calm + 1 } else { 0 };
        self.waits = few && (self.waits || spare && self.calm >= CALM_SAMPLES);
    }
}

impl Limit {
    /// As many as would leave the right share over, if what is used grows with their number; what is used beyond all that
    /// there is nobody knows.
    fn adapt(&mut self, load: ProcessorLoad) {
        // Those that still work, though they are not allowed any more, are not counted twice.
        let now = self.working.min(self.allowed);
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
        if wanted < now || self.working >= self.allowed {
            self.allowed = wanted.clamp(self.least, self.most);
        }
    }
}

#[cfg(test)]
mod tests;
