//! Waits until a NAT forgets everything it holds, as it declares to do at regular intervals: twice, with connections that are kept busy.
//!
//! [`super::lifetimes`] has read how long the interval of the NAT itself is. Here it is cut to [`TIMEOUT`].

use std::time::{Duration, Instant};

use crate::kernel::error::Result;
use crate::lab::periodic_flush::PeriodicFlush;
use crate::model::behavior::{Behavior, Translation};
use crate::model::evidence::CtChange;

use super::absolute::{BusyConnection, MARGIN, TIMEOUT, Watched, in_time, left_alone};
use super::expiry::wait;
use super::finding::Finding;
use super::prober::Prober;

/// What the row is called.
const ROW: &str = "flush";

/// How often something passes: so that the NAT seldom forgets everything in the middle of a round.
const ROUND: Duration = Duration::from_millis(190);

/// How many times are waited for.
const TIMES: u32 = 2;

/// A connection that is kept busy, and taken up again after each time that the NAT has forgotten it.
#[derive(Debug)]
struct FlushedConnection {
    busy: BusyConnection,
    /// When it was seen to be forgotten.
    ends: Vec<Instant>,
    /// Whether it was, and has not been taken up again.
    is_over: bool,
    /// What it did that it should not have done.
    wrong: Option<String>,
}

/// A connection that stands and one that opens, both kept busy while the NAT forgets everything, twice.
pub(super) fn flushes(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if prober.bench.flushing().is_none() {
        return Ok(Vec::new());
    }
    let expected = format!("set to {} s, forgets busy connections each time", TIMEOUT.as_secs());
    let wrong = in_time(prober, "wait until a NAT forgets everything", |prober| watch(prober, declared))?;
    let observed = wrong.unwrap_or_else(|| expected.clone());
    Ok(vec![Finding::new(ROW, expected, observed)])
}

/// What is not as it has to be where all is forgotten at each [`TIMEOUT`].
fn watch(prober: &mut Prober, declared: &Behavior) -> Result<Watched> {
    let time = TIMEOUT * TIMES + MARGIN;
    prober.bench.flushing().into_iter().for_each(PeriodicFlush::put_off);
    let both = BusyConnection::both(prober, declared, time)?;
    let flushed = |busy| FlushedConnection { busy, ends: Vec::new(), is_over: false, wrong: None };
    let mut all: Vec<FlushedConnection> = both.into_iter().map(flushed).collect();
    let began = Instant::now();
    prober.bench.flushing().into_iter().for_each(PeriodicFlush::enforce);
    let mut slowest = Duration::ZERO;
    while began.elapsed() < time {
        let round = Instant::now();
        for turn in 0..all.len() {
            note_ends(prober, &mut all)?;
            let passes = all[turn].pass(prober, declared)?;
            note_ends(prober, &mut all)?;
            all[turn].judge(passes);
        }
        wait(Instant::now() + ROUND);
        slowest = slowest.max(round.elapsed());
    }
    let wrong = all.into_iter().filter_map(|connection| connection.verdict(began));
    let wrong = wrong.reduce(|all, one| format!("{all}; {one}"));
    let late = lateness(prober, slowest);
    Ok(if wrong.is_some() && !late.is_empty() {
        Watched::Late(late.join(", "))
    } else {
        Watched::InTime { wrong }
    })
}

/// Notes which connections the NAT has forgotten since this was last asked.
fn note_ends(prober: &mut Prober, all: &mut [FlushedConnection]) -> Result<()> {
    let now = Instant::now();
    for (change, entry) in prober.bench.changes()? {
        // A packet from outside may have come when connections were forgotten and mappings were not, and have made an entry of its own.
        let of_it = |connection: &&mut FlushedConnection| {
            [entry.original, entry.reply].contains(&connection.busy.original())
        };
        if change == CtChange::Destroy
            && let Some(connection) = all.iter_mut().find(of_it)
        {
            connection.ends.push(now);
            connection.is_over = true;
        }
    }
    Ok(())
}

/// In words, that the NAT was made to forget everything too late, or was looked at too late, which is the machine's affair.
fn lateness(prober: &Prober, slowest: Duration) -> Vec<String> {
    let mut late = prober.bench.flushing().map(PeriodicFlush::take_trouble).unwrap_or_default();
    late.extend(left_alone(slowest));
    late
}

impl FlushedConnection {
    /// Goes on with it if it was forgotten, and lets something pass. Says whether it did.
    fn pass(&mut self, prober: &mut Prober, declared: &Behavior) -> Result<bool> {
        if std::mem::take(&mut self.is_over) {
            self.take_up(prober, declared)?;
        }
        Ok(self.wrong.is_some() || self.busy.pass(prober)?)
    }

    /// What does not pass has to have been forgotten just now: before the packet, or between it and its answer.
    fn judge(&mut self, passes: bool) {
        if !passes && !self.is_over {
            self.wrong = Some(self.busy.says("did not pass though it was not forgotten"));
        }
    }

    /// Goes on after it was forgotten.
    fn take_up(&mut self, prober: &mut Prober, declared: &Behavior) -> Result<()> {
        // Asked when the NAT has forgotten mappings as well, which whoever does it may be about to do.
        prober.bench.flushing().into_iter().for_each(PeriodicFlush::wait_until_done);
        let leads_in = declared.translation == Translation::Nat
            && self.busy.stands
            && self.busy.leads_in(prober, &self.busy.original())?;
        if leads_in {
            self.wrong = Some(self.busy.says("was forgotten, and packets from outside still come in"));
        } else if !self.busy.pick_up(prober)? {
            self.wrong = Some(self.busy.says("was forgotten, and what comes from inside does not go out"));
        }
        Ok(())
    }

    /// What there is to say against it in the end.
    fn verdict(self, began: Instant) -> Option<String> {
        let starts = [began].into_iter().chain(self.ends.iter().copied());
        let seconds = starts.zip(&self.ends).map(|(start, end)| end.duration_since(start));
        let seconds: Vec<Duration> = seconds.collect();
        let near = |time: &Duration| (TIMEOUT - MARGIN..TIMEOUT + MARGIN).contains(time);
        let all = seconds.len() == TIMES as usize && seconds.iter().all(near);
        let told = || {
            let times: Vec<String> = seconds.iter().map(|s| format!("{:.1} s", s.as_secs_f64())).collect();
            match times.is_empty() {
                true => self.busy.says("was never forgotten"),
                false => self.busy.says(&format!("was forgotten after {}", times.join(", and again after "))),
            }
        };
        self.wrong.clone().or_else(|| (!all).then(told))
    }
}
