//! Waits for the absolute timeout: that a connection ends when it is due, however busy it is, and that none ends of a NAT that
//! declares no such timeout.
//!
//! [`super::lifetimes`] has read how long the timeout of the NAT itself is. Here it is cut to [`TIMEOUT`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::lab::absolute_timeout::AbsoluteTimeout;
use crate::model::behavior::{Behavior, Filtering, Hairpinning, Translation};
use crate::model::datapath::Datapath;
use crate::model::evidence::{CtChange, Tuple};
use crate::model::packet::TcpFlags;

use super::bench::Side;
use super::expiry::wait;
use super::finding::Finding;
use super::frame::Probe;
use super::lifetimes::{ProbeConnection, drive, way_to};
use super::prober::{Fate, Prober};

/// The absolute timeout that is waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer a connection is watched.
pub(super) const MARGIN: Duration = Duration::from_secs(1);
/// How long a busy connection is watched of a NAT that declares no absolute timeout.
pub(in crate::probe) const WATCHED_FOR: Duration = Duration::from_secs(7);
/// How often something passes.
const ROUND: Duration = Duration::from_millis(200);

/// What the row is called.
const ROW: &str = "absolute timeout";

const TRIED: &str = "wait for an absolute timeout";

/// What came of watching connections.
#[derive(Debug)]
pub(super) enum Watched {
    /// Whoever had to end them did so in time; what is wrong, if something is.
    InTime { wrong: Option<String> },
    /// Something looks wrong, and the machine was late, which may be why.
    Late(String),
}

/// Watches again where the machine was late, twice at most: where many NATs are proved at once, each waits for the others.
///
/// # Errors
/// When it always was, or those of watching.
pub(super) fn in_time(
    prober: &mut Prober,
    tried: &str,
    watch: impl Fn(&mut Prober) -> Result<Watched>,
) -> Result<Option<String>> {
    first_in_time(tried, || {
        let watched = watch(prober)?;
        if matches!(watched, Watched::Late(_)) {
            prober.bench.forget()?;
        }
        Ok(watched)
    })
}

/// What was seen the first time that the machine was not late.
fn first_in_time(tried: &str, mut watch: impl FnMut() -> Result<Watched>) -> Result<Option<String>> {
    const TIMES: usize = 3;
    let mut late = String::new();
    for _ in 0..TIMES {
        match watch()? {
            Watched::InTime { wrong } => return Ok(wrong),
            Watched::Late(why) => late = why,
        }
    }
    Err(Error::other(tried, format!("machine too slow: {late}")))
}

/// How busy connections are watched.
#[derive(Debug, Clone, Copy)]
struct BusyWatch {
    /// When they are to end, if ever.
    timeout: Option<Duration>,
    /// How long they are watched.
    time: Duration,
}

/// A connection that is kept busy.
#[derive(Debug)]
pub(super) struct BusyConnection {
    driven: ProbeConnection,
    /// Whether it stands, or repeats its SYN.
    pub(super) stands: bool,
    /// Before its first packet was sent.
    began: Instant,
    rounds: u32,
    /// What it did that it should not have done.
    wrong: Option<String>,
    ended: bool,
}

/// A connection that stands and one that opens, both kept busy until they are to have ended, and a little longer.
pub(super) fn absolute(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let Some(timeout) = prober.bench.absolute() else { return Ok(Vec::new()) };
    timeout.enforce();
    let expected = format!("set to {} s, ends a busy connection", TIMEOUT.as_secs());
    let plan = BusyWatch { timeout: Some(TIMEOUT), time: TIMEOUT + MARGIN };
    let observed = in_time(prober, TRIED, |prober| watch(prober, declared, plan))?;
    Ok(vec![Finding::new(ROW, expected.clone(), observed.unwrap_or(expected))])
}

/// A busy connection of a NAT that declares no absolute timeout.
pub(super) fn none(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if declared.translation == Translation::Router || prober.bench.datapath() == Datapath::Sockets {
        return Ok(Vec::new());
    }
    let expected = format!("a busy connection lives for {} s", WATCHED_FOR.as_secs());
    let plan = BusyWatch { timeout: None, time: WATCHED_FOR };
    let observed = in_time(prober, TRIED, |prober| watch(prober, declared, plan))?;
    let observed =
        observed.map(|what| format!("{what}: an absolute timeout, or it forgets everything at times"));
    Ok(vec![Finding::new(ROW, expected.clone(), observed.unwrap_or(expected))])
}

/// What is not as it has to be.
fn watch(prober: &mut Prober, declared: &Behavior, plan: BusyWatch) -> Result<Watched> {
    let BusyWatch { timeout, time } = plan;
    let started = Instant::now();
    let (mut busy, mut ended) = (BusyConnection::both(prober, declared, time)?, BTreeSet::new());
    let mut slowest = Duration::ZERO;
    loop {
        // The last look is after the time: the one before it may have been long ago.
        let (round, is_last) = (Instant::now(), started.elapsed() >= time);
        let changes = prober.bench.changes()?.into_iter();
        ended.extend(changes.filter(|(change, _)| *change == CtChange::Destroy).map(|(_, e)| e.original));
        for connection in &mut busy {
            connection.look(prober, (declared, timeout), &ended)?;
        }
        if is_last {
            break;
        }
        wait(Instant::now() + ROUND);
        slowest = slowest.max(round.elapsed());
    }
    let mut late = prober.bench.absolute().map(AbsoluteTimeout::take_trouble).unwrap_or_default();
    late.extend(left_alone(slowest));
    let wrong = busy.into_iter().filter_map(|connection| connection.verdict(timeout, time));
    let wrong = wrong.reduce(|all, one| format!("{all}; {one}"));
    Ok(if wrong.is_some() && !late.is_empty() {
        Watched::Late(late.join(", "))
    } else {
        Watched::InTime { wrong }
    })
}

/// In words, that a NAT was not looked at for so long that it is the machine's affair what it did meanwhile, if it was.
pub(super) fn left_alone(slowest: Duration) -> Option<String> {
    (slowest > MARGIN / 2).then(|| format!("the NAT was left alone for {:.1} s", slowest.as_secs_f64()))
}

impl BusyConnection {
    /// A connection that stands, and one that opens, as far as the NAT has room for them, and as they can be kept for a `time`.
    pub(super) fn both(prober: &mut Prober, declared: &Behavior, time: Duration) -> Result<Vec<Self>> {
        let mut busy = Vec::new();
        // The time of a SYN that nobody answers goes on however often it is sent.
        let opening = declared.timeouts.syn_sent.is_none_or(|idle| idle > time + MARGIN);
        let ways = [(true, "established"), (false, "syn_sent")];
        for (stands, way) in ways.into_iter().filter(|(stands, _)| *stands || opening) {
            let began = Instant::now();
            let driven = drive(prober, way_to(way))?;
            busy.extend(driven.map(|driven| Self {
                driven,
                stands,
                began,
                rounds: 0,
                wrong: None,
                ended: false,
            }));
        }
        Ok(busy)
    }

    /// Its entry of connection tracking, by the direction that it begins in.
    pub(super) fn original(&self) -> Tuple {
        Tuple { source: self.driven.flow.inside, destination: self.driven.flow.remote }
    }

    /// Sends from inside what is next, after the NAT has forgotten the connection, and takes the external endpoint that it has now. Says
    /// whether it came out.
    pub(super) fn pick_up(&mut self, prober: &mut Prober) -> Result<bool> {
        let next = self.next_outward();
        let fate = prober.fate(self.driven.flow.side, &next)?;
        let Fate::Delivered { source, .. } = fate else { return Ok(false) };
        self.driven.external = source;
        Ok(true)
    }

    /// What is sent from inside next.
    fn next_outward(&self) -> Probe {
        let ProbeConnection { flow, theirs, .. } = self.driven;
        if !self.stands {
            return Probe::syn(flow.inside, flow.remote, flow.isn);
        }
        let sent = 1 + 4 * self.rounds;
        let numbers = (flow.isn.wrapping_add(sent), theirs.wrapping_add(sent));
        Probe { payload: b"data", ..Probe::ack((flow.inside, flow.remote), TcpFlags(0), numbers) }
    }

    /// Looks whether it has ended, and lets something pass.
    fn look(
        &mut self,
        prober: &mut Prober,
        (declared, timeout): (&Behavior, Option<Duration>),
        ended: &BTreeSet<Tuple>,
    ) -> Result<()> {
        if self.ended || self.wrong.is_some() {
            return Ok(());
        }
        let original = self.original();
        let age = self.began.elapsed();
        if ended.contains(&original) {
            self.ended = true;
            let in_time = timeout.is_some_and(|timeout| age >= timeout);
            let leads_in =
                self.stands && is_closed_to_others(declared) && self.leads_in(prober, &original)?;
            self.wrong = match (in_time, leads_in) {
                (false, _) => Some(self.says(&format!("ended within {:.1} s", age.as_secs_f64()))),
                (true, true) => Some(self.says("has ended, and packets from outside still come in")),
                (true, false) => None,
            };
            return Ok(());
        }
        let passes = self.pass(prober)?;
        // What was sent in time may have come just when it was over.
        if !passes && timeout.is_none_or(|timeout| self.began.elapsed() < timeout) {
            self.wrong = Some(self.says(&format!("did not pass after {:.1} s", age.as_secs_f64())));
        }
        Ok(())
    }

    /// What there is to say against it in the end.
    fn verdict(self, timeout: Option<Duration>, time: Duration) -> Option<String> {
        let lives = || self.says(&format!("lives after {:.1} s", time.as_secs_f64()));
        let outlived = (timeout.is_some() && !self.ended).then(lives);
        self.wrong.or(outlived)
    }

    pub(super) fn says(&self, what: &str) -> String {
        let which = if self.stands { "a busy connection" } else { "a repeated SYN" };
        format!("{which} {what}")
    }

    /// Whether what is sent from outside comes in although there is no entry of the connection.
    pub(super) fn leads_in(&self, prober: &mut Prober, original: &Tuple) -> Result<bool> {
        // The last packet may have come when the entry had just ended, and have made another one.
        let ProbeConnection { flow, external, theirs, .. } = self.driven;
        let inward = Tuple { source: flow.remote, destination: external };
        for made_again in [*original, inward] {
            if prober.bench.conntrack().lifetime(&made_again)?.is_some() {
                return Ok(false);
            }
        }
        let sent = 1 + 4 * self.rounds;
        let numbers = (theirs.wrapping_add(sent), flow.isn.wrapping_add(sent));
        let late = Probe { payload: b"late", ..Probe::ack((flow.remote, external), TcpFlags(0), numbers) };
        let fate = prober.fate(Side::Outside, &late)?;
        Ok(matches!(fate, Fate::Delivered { destination, .. } if destination == flow.inside))
    }

    /// Whether data gets through both ways, or a SYN once more.
    pub(super) fn pass(&mut self, prober: &mut Prober) -> Result<bool> {
        let ProbeConnection { flow, external, theirs, .. } = self.driven;
        let outward = prober.fate(flow.side, &self.next_outward())?;
        let went_out = matches!(outward, Fate::Delivered { source, .. } if source == external);
        if !self.stands {
            return Ok(went_out);
        }
        let sent = 1 + 4 * self.rounds;
        let numbers = (theirs.wrapping_add(sent), flow.isn.wrapping_add(sent + 4));
        let back = Probe::ack((flow.remote, external), TcpFlags(0), numbers);
        let inward = prober.fate(Side::Outside, &Probe { payload: b"data", ..back })?;
        self.rounds += 1;
        Ok(went_out && matches!(inward, Fate::Delivered { destination, .. } if destination == flow.inside))
    }
}

/// Whether nothing leads in from outside but the entries of connections.
fn is_closed_to_others(declared: &Behavior) -> bool {
    declared.translation == Translation::Nat
        && declared.filtering == Filtering::AddressAndPortDependent
        && declared.hairpinning == Hairpinning::Off
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of watching where the machine is late the first few times, and how often it is watched.
    fn watched(late: usize, wrong: Option<&str>) -> (usize, Result<Option<String>>) {
        let mut times = 0;
        let found = first_in_time("watch", || {
            times += 1;
            Ok(match times <= late {
                true => Watched::Late(format!("late {times}")),
                false => Watched::InTime { wrong: wrong.map(str::to_owned) },
            })
        });
        (times, found)
    }

    #[test]
    fn a_nat_that_was_not_looked_at_for_half_a_second_was_left_alone() {
        assert_eq!(left_alone(MARGIN / 2), None);
        assert_eq!(
            left_alone(Duration::from_millis(612)).as_deref(),
            Some("the NAT was left alone for 0.6 s")
        );
    }

    #[test]
    fn what_looks_wrong_on_a_late_machine_is_watched_again_and_twice_at_most() {
        for late in [0, 1, 2] {
            for wrong in [None, Some("it lives")] {
                let (times, found) = watched(late, wrong);
                assert_eq!(times, late + 1, "late {late} times");
                assert_eq!(found.expect("it was in time at last").as_deref(), wrong);
            }
        }
        let (times, found) = watched(usize::MAX, Some("it lives"));
        let why = found.expect_err("it never was in time").to_string();
        assert_eq!(times, 3);
        assert!(why.contains("machine too slow: late 3"), "{why}");
    }
}
