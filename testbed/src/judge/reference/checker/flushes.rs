//! What a NAT has to have forgotten that forgets everything it holds at regular intervals.
//!
//! Nothing that the NAT does tells when that was: sets and maps are emptied without an event, and where there is nothing to forget nothing is
//! told. So whatever has it forget says when, and the interval is held against what is declared. A packet that came to the NAT at about that
//! time may have found everything, or nothing.

use std::collections::HashMap;

use super::{Checker, Entry};
use crate::judge::reference::flush_window::FlushWindow;
use crate::judge::reference::order::Way;
use crate::judge::reference::passage::{Passage, Side};
use crate::judge::reference::rules::named as rules;
use crate::judge::reference::tracker::Tracked;
use crate::judge::reference::{Contradiction, NatView};
use crate::model::behavior::{FLUSH_OFF, Filtering};
use crate::model::evidence::{CtEvent, Evidence, Nanos, Tuple, nanos};

/// The times that a NAT forgot everything.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// Those to come, the next one last.
    to_come: Vec<FlushWindow>,
    /// All of them.
    all: Vec<FlushWindow>,
    /// Whether a packet has come at about the time of the next one.
    in_doubt: bool,
}

/// SYNs that nobody expected.
#[derive(Debug, Default)]
pub(super) struct RefusedSyns {
    /// When each came first; `None` if the NAT may have forgotten that since.
    first: HashMap<Tuple, Option<Nanos>>,
}

impl RefusedSyns {
    /// One came. Returns when it came first, if that is known.
    pub(super) fn came(&mut self, tuple: Tuple, at: Nanos) -> Option<Nanos> {
        *self.first.entry(tuple).or_insert(Some(at))
    }

    /// When it came first, if that is known; what has not come before does so at `at`.
    pub(super) fn first(&self, tuple: &Tuple, at: Nanos) -> Option<Nanos> {
        self.first.get(tuple).copied().unwrap_or(Some(at))
    }

    fn doubt(&mut self) {
        self.first.values_mut().for_each(|first| *first = None);
    }
}

impl Flushes {
    /// Those of a NAT that declares to do so.
    pub(super) fn of(nat: &NatView<'_>, evidence: &Evidence, margin: Nanos) -> Self {
        let declared = nat.declared.timeouts.flush_every.is_some();
        let flushes = evidence.flushes_of(nat.node).filter(|_| declared);
        let flushes = flushes.map(|flush| FlushWindow::of(flush, margin));
        let all: Vec<FlushWindow> = flushes.collect();
        Self { to_come: all.iter().rev().copied().collect(), all, in_doubt: false }
    }

    /// Whether there are any.
    pub(super) fn are_told(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether an event tells what may have happened when the NAT forgot everything.
    pub(super) fn explain(&self, event: &CtEvent) -> bool {
        self.all.iter().any(|flush| flush.explains(event))
    }
}

impl Checker<'_> {
    /// Forgets what the NAT had forgotten when something came to it at `at`, or may have.
    pub(in crate::judge::reference) fn forget_until(&mut self, at: Nanos) {
        while let Some(flush) = self.flushes.to_come.last().copied().filter(|flush| flush.opens <= at) {
            self.may_have_forgotten(flush);
            if at <= flush.closes {
                self.flushes.in_doubt = true;
                return;
            }
            self.has_forgotten(flush);
            self.flushes.in_doubt = false;
            self.flushes.to_come.pop();
        }
    }

    /// Whether a packet that passed may have made an entry in which the ends have changed places: where the entry may be gone, and that which
    /// leads in or round by itself is there. When a NAT forgets everything, connections are forgotten a moment before that.
    pub(super) fn may_be_turned_round(&self, way: Way, passage: &Passage, may_be_gone: bool) -> bool {
        let is_led = passage.input.side == Side::Inside
            || self.nat.declared.filtering != Filtering::AddressAndPortDependent;
        let may_be_gone = self.flushes.in_doubt || may_be_gone;
        may_be_gone && way == Way::Reply && passage.output.is_some() && is_led
    }

    /// A packet from inside went out that may belong to an entry in which the ends have changed places, so that it may have made a mapping
    /// or not.
    pub(super) fn learn_perhaps(&mut self, id: usize, passage: &Passage) {
        let entry = &self.entries[id];
        let goes_out = passage.input.side == Side::Inside && passage.input.head.tuple == entry.original;
        if self.flushes.are_told() && goes_out && passage.output.is_some() {
            let flow = entry.outgoing();
            self.mappings.learn(self.nat, &self.how, flow, self.times(passage));
            self.mappings.doubt_mappings_of(&flow);
        }
    }

    /// It has all that it had, or nothing.
    fn may_have_forgotten(&mut self, flush: FlushWindow) {
        for entry in &mut self.entries {
            entry.each_states(|states| {
                if !states.contains(&None) {
                    states.push(None);
                }
            });
        }
        self.mappings.doubt(flush);
        self.refused.doubt();
    }

    /// What is left came at about that time, or later.
    fn has_forgotten(&mut self, flush: FlushWindow) {
        let is_gone = |state: &Option<Tracked>| state.is_some_and(|tracked| tracked.born < flush.opens);
        for entry in &mut self.entries {
            entry.each_states(|states| states.retain(|state| !is_gone(state)));
            if !self.flushes.in_doubt {
                (entry.lost, entry.given_up) = (false, false);
                entry.possible = vec![None];
            }
        }
        self.mappings.forget(flush, self.flushes.in_doubt);
        if !self.flushes.in_doubt {
            self.refused = RefusedSyns::default();
        }
    }

    /// Whether it forgot everything as often as it declares, and no more often. That whatever has it forget was late is told elsewhere.
    pub(in crate::judge::reference) fn flushed_in_time(&self) -> Result<(), Contradiction> {
        let (Some(every), Some(first)) = (self.nat.declared.timeouts.flush_every, self.frames.first()) else {
            return Ok(());
        };
        let (every, off) = (nanos(every), nanos(FLUSH_OFF));
        let times = || self.flushes.all.iter().map(|flush| flush.before);
        let starts = [first.entered].into_iter().chain(times());
        let without = starts.zip(times().chain([self.passages.ended]));
        let longest = without.map(|(start, end)| (end.saturating_sub(start), end)).max();
        let between = times().zip(times().skip(1)).map(|(one, next)| (next - one, next)).min();
        let too_long = longest.filter(|(time, _)| *time > every.saturating_add(off));
        let too_short = between.filter(|(time, _)| time.saturating_add(off) < every);
        let seconds = |time: Nanos| time as f64 / 1e9;
        let found = match (too_long, too_short) {
            (Some((time, end)), _) => Some((end, format!("it forgot nothing for {:.1} s", seconds(time)))),
            (None, Some((time, end))) => {
                Some((end, format!("it forgot everything again after {:.1} s", seconds(time))))
            }
            (None, None) => None,
        };
        let (end, what) = found.unzip();
        let held = self.rules.hold(rules::TIMERS, what.map_or(Ok(()), Err));
        held.map_err(|(rule, what)| {
            let last = self.passages.all.iter().rfind(|passage| Some(passage.input.at) <= end);
            let frames =
                last.map(|last| (last.input.frame, "the last packet before that was seen".to_owned()));
            Contradiction { rule, sentence: self.sentence(rule, &what), frames: frames.into_iter().collect() }
        })
    }
}

impl Entry {
    /// All states that it may be in, and that it may have been in before the last packet.
    fn each_states(&mut self, mut change: impl FnMut(&mut Vec<Option<Tracked>>)) {
        change(&mut self.possible);
        if let Some((_, _, states)) = &mut self.before {
            change(states);
        }
    }
}
