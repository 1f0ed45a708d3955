//! Waits for timers: that a mapping ends when its timer says so, and that a late answer comes when it is due.
//!
//! Real timers run for minutes and days. So the NAT is built a second time with every timer set to [`TIMER`], and each
//! state of a connection is waited out; [`super::lifetimes`] has read how long the timers of the NAT itself are. The
//! probe's own lateness is measured, and too much of it is an error of the machine, never one of the NAT.

use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::remembers_mappings;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, IcmpError, InvalidPackets, Timeouts, Translation, UnsolicitedSyn,
};
use crate::model::packet::TcpFlags;

use super::bench::Side;
use super::filtering::closed_targets;
use super::finding::Finding;
use super::frame::Probe;
use super::lifetimes::{ProbeConnection, Step, WAYS, drive, is_reached, way_to};
use super::prober::{Fate, Prober};
use super::reading::Reading;
use super::room::{draws_like, few_exclusive_ports, few_ports, too_few};

/// Every timer of the NAT that is waited for.
const TIMER: Duration = Duration::from_secs(3);
/// How long before its end a mapping is asked for, and how long after.
const MARGIN: Duration = Duration::from_secs(1);
/// What the kernel's tick and its rounding may add.
const TICK: Duration = Duration::from_millis(50);

/// The mappings of one host that there must be room for, so that a connection can stand in each state.
const ROOM: u32 = 32;

/// How long a NAT must be silent before it answers (RFC 5382 REQ-4).
const SILENCE: Duration = Duration::from_secs(6);

/// The same NAT with timers that can be waited for.
pub(in crate::probe) fn scaled(declared: &Behavior) -> Behavior {
    let all = Some(TIMER);
    let timeouts = Timeouts {
        syn_sent: all,
        syn_sent2: all,
        syn_recv: all,
        established: all,
        fin_wait: all,
        close_wait: all,
        last_ack: all,
        time_wait: all,
        close: all,
        unacknowledged: all,
        max_retrans: all,
        // [`super::absolute`] and [`super::flushes`] wait for those.
        absolute: None,
        flush_every: None,
    };
    Behavior { timeouts, ..*declared }
}

/// A connection that is asked after once.
#[derive(Debug, Clone, Copy)]
struct PendingCheck {
    timer: &'static str,
    /// When its timer ends it.
    time: Duration,
    /// When it is asked after.
    moment: Duration,
    driven: ProbeConnection,
}

/// What the waited-for timers are called in the proof.
const EXPIRY: &str = "expiry";

/// Asks for one connection in each state before its timer ends, and for another one afterwards.
pub(in crate::probe) fn timers(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if let Some(instead) = without_timers(declared) {
        return Ok(instead);
    }
    let (mut early, mut late) = (Vec::new(), Vec::new());
    // What answers a SYN is invalid once the mapping is gone, and such a firewall lets it pass all the same.
    let passes_anyway =
        declared.translation == Translation::Firewall && declared.invalid_packets == InvalidPackets::Leak;
    let ways = WAYS.into_iter().filter(|(timer, _)| is_reached(timer, declared));
    for (timer, steps) in ways.filter(|(_, steps)| !passes_anyway || steps.contains(&Step::SynAck)) {
        for (group, moment) in [(&mut early, TIMER - MARGIN), (&mut late, TIMER + MARGIN)] {
            let Some(driven) = drive(prober, steps)? else { continue };
            group.push(PendingCheck { timer, time: TIMER, moment, driven });
        }
    }
    let memories = memories(prober, declared)?;
    let mut wrong = ended_early(prober, early)?;
    wrong.extend(ended_late(prober, late)?);
    if let Some((since, memories)) = memories {
        wait(since + TIMER + MARGIN);
        if still_remembered(prober, &memories)? {
            wrong.push("the mapping is remembered longer than its connection".to_owned());
        }
    }
    let expected = format!("each timer, set to {} s, ends its mapping", TIMER.as_secs());
    let observed = if wrong.is_empty() { expected.clone() } else { wrong.join(", ") };
    Ok(vec![Finding::new(EXPIRY, expected, observed)])
}

/// Those of which nothing is left before their time is over.
fn ended_early(prober: &mut Prober, early: Vec<PendingCheck>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for waiting in early {
        let PendingCheck { timer, time, moment, driven } = waiting;
        let asked = wait(driven.since + moment);
        if asked > driven.since + time - TICK {
            return Err(too_slow(asked - driven.since - moment));
        }
        if !alive(prober, &waiting)? {
            wrong.push(format!("{timer} ended within {:.1} s", moment.as_secs_f64()));
        }
    }
    Ok(wrong)
}

/// Those that live when their time is over.
fn ended_late(prober: &mut Prober, late: Vec<PendingCheck>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for waiting in late {
        let PendingCheck { timer, moment, driven, .. } = waiting;
        wait(driven.since + moment);
        if alive(prober, &waiting)? {
            wrong.push(format!("{timer} lives after {:.1} s", moment.as_secs_f64()));
        }
    }
    Ok(wrong)
}

/// What stands in the place of the row for a NAT whose timers cannot be asked: nothing for one that has none.
fn without_timers(declared: &Behavior) -> Option<Vec<Finding>> {
    if declared.translation == Translation::Router {
        return Some(Vec::new());
    }
    let of_quota = declared.quota.filter(|quota| *quota < ROOM);
    let of_quota =
        of_quota.map(|_| format!("a quota below {ROOM} has no room for a connection in each state"));
    let of_pool = few_exclusive_ports(declared).filter(|ports| *ports < ROOM);
    let of_pool = of_pool.map(|ports| format!("{}, and each state takes connections", too_few(ports)));
    of_quota.or(of_pool).map(|why| vec![Finding::not_looked_at(EXPIRY, &why)])
}

/// The same of a NAT whose rules a user wrote.
pub(in crate::probe) fn timers_of_user(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if prober.bench.fills_sets() {
        let why = "your own rules fill sets or maps, whose timers cannot be shortened";
        return Ok(vec![Finding::not_looked_at(EXPIRY, why)]);
    }
    timers(prober, declared)
}

/// How long a timer is waited for that cannot be set: nobody waits for days.
const WAITED_FOR: Duration = Duration::from_secs(8);

/// The two timers that packets alone show, of a NAT that keeps records of its own: a connection that only its SYN has begun, and one
/// that stands. Each has to live for as long as it is declared to, as far as [`WAITED_FOR`] shows, and to be gone afterwards.
pub(in crate::probe) fn own_timers(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if let Some(instead) = without_timers(declared) {
        return Ok(instead);
    }
    let (mut early, mut late, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for (timer, value, default) in declared.timeouts.timers() {
        let Some(way) = ["syn_sent", "established"].contains(&timer).then(|| way_to(timer)) else { continue };
        let time = value.unwrap_or(default);
        for (group, moment) in
            [(&mut early, time.min(WAITED_FOR).saturating_sub(MARGIN)), (&mut late, time + MARGIN)]
        {
            if moment > WAITED_FOR + MARGIN {
                continue;
            }
            let Some(driven) = drive(prober, way)? else { continue };
            group.push(PendingCheck { timer, time, moment, driven });
        }
        told.push(match time <= WAITED_FOR {
            true => format!("{timer} {} s", time.as_secs()),
            false => format!("{timer} more than {} s", (WAITED_FOR - MARGIN).as_secs()),
        });
    }
    early.sort_by_key(|waiting| waiting.moment);
    let mut wrong = ended_early(prober, early)?;
    wrong.extend(ended_late(prober, late)?);
    let expected = format!("{}, by packets", told.join(", "));
    let observed = if wrong.is_empty() { expected.clone() } else { wrong.join(", ") };
    Ok(vec![Finding::new(NatAxis::Timeouts.name(), expected, observed)])
}

/// Inside endpoints with their external ones.
type MappingPairs = Vec<(SocketAddrV4, SocketAddrV4)>;

/// Mappings that would show, by their port, if they were remembered too long.
fn memories(prober: &mut Prober, declared: &Behavior) -> Result<Option<(Instant, MappingPairs)>> {
    /// That all of these draw the same port a second time has a probability below 64^-6; where there are fewer ports, there are more.
    const COUNT: usize = 6;
    let fresh = matches!(declared.allocation, Allocation::Random | Allocation::Sequential { .. });
    if !remembers_mappings(declared) || !fresh {
        return Ok(None);
    }
    let mut memories = Vec::new();
    for _ in 0..draws_like(COUNT, few_ports(declared)) {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        memories.extend(external.map(|external| (flow.inside, external)));
    }
    Ok(Some((Instant::now(), memories)))
}

fn still_remembered(prober: &mut Prober, memories: &MappingPairs) -> Result<bool> {
    let mut same = 0;
    for (n, (inside, external)) in memories.iter().enumerate() {
        if 2 * n == memories.len() - memories.len() % 2 {
            // A counter through few ports may be in step with the first, and is not with those after it.
            prober.open_fresh(Side::Inside0)?;
        }
        let remote = prober.remote();
        let flow = prober.flow_between(Side::Inside0, *inside, remote);
        same += usize::from(prober.open(&flow)? == Some(*external));
    }
    Ok(same == memories.len())
}

/// Whether a segment from the remote still reaches the inside.
fn alive(prober: &mut Prober, waiting: &PendingCheck) -> Result<bool> {
    let ProbeConnection { flow, external, theirs, .. } = waiting.driven;
    let back = (flow.remote, external);
    let ours = flow.isn.wrapping_add(1);
    let steps = WAYS.iter().find(|(timer, _)| *timer == waiting.timer).map_or(&[][..], |(_, steps)| steps);
    let finished = |step| u32::from(steps.contains(&step));
    let probe = if !steps.contains(&Step::SynAck) {
        Probe::ack(back, TcpFlags::SYN, (theirs, ours))
    } else {
        let next = theirs.wrapping_add(1 + finished(Step::FinBack));
        // Data is not acknowledged here: that would end the very state that is waited out.
        Probe::ack(back, TcpFlags(0), (next, ours.wrapping_add(finished(Step::FinAcked))))
    };
    let fate = prober.fate(Side::Outside, &probe)?;
    Ok(matches!(fate, Fate::Delivered { destination, .. } if destination == flow.inside))
}

/// What comes of a SYN for which there is no mapping, and of its retransmissions, over more than six seconds.
pub(in crate::probe) fn late_answer(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if !matches!(declared.unsolicited_syn, UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds) {
        return Ok(Vec::new());
    }
    let targets = closed_targets(prober, declared)?;
    let answer = read_late_answer(prober, &targets)?;
    Ok(vec![Finding::of(NatAxis::UnsolicitedSyn, declared, answer.to_string())])
}

/// What comes of such a SYN to each of these endpoints, whatever is declared: silence, or an answer after six seconds.
pub(in crate::probe) fn read_late_answer(
    prober: &mut Prober,
    targets: &[SocketAddrV4],
) -> Result<Reading<UnsolicitedSyn>> {
    /// When the SYN is sent: at once, well within the silence, and after it.
    const TIMES: [Duration; 3] =
        [Duration::ZERO, Duration::from_secs(3), SILENCE.saturating_add(Duration::from_millis(300))];
    let syns: Vec<Probe> =
        targets.iter().map(|target| Probe::syn(prober.remote(), *target, prober.isn())).collect();
    let mut answers = vec![Vec::new(); syns.len()];
    let mut starts = Vec::new();
    for time in TIMES {
        for (n, syn) in syns.iter().enumerate() {
            if starts.len() == n {
                starts.push(Instant::now());
            }
            let started = starts[n];
            let asked = wait(started + time);
            if time < SILENCE && asked > started + SILENCE - TICK {
                return Err(too_slow(asked - started - time));
            }
            answers[n].push(prober.fate(Side::Outside, syn)?);
        }
    }
    let readings = answers.iter().map(|answers| in_time(answers));
    Ok(Reading::in_common(&targets.iter().copied().zip(readings).collect::<Vec<_>>()))
}

/// What the answers to a SYN at 0 s, 3 s and 6.3 s come to.
fn in_time(answers: &[Fate]) -> Reading<UnsolicitedSyn> {
    let refused = Fate::Icmp(3, IcmpError::PortUnreachable.code());
    match answers[..] {
        [Fate::Silence, Fate::Silence, Fate::Silence] => Reading::Value(UnsolicitedSyn::Drop),
        [Fate::Silence, Fate::Silence, late] if late == refused => {
            Reading::Value(UnsolicitedSyn::IcmpAfterSixSeconds)
        }
        _ => {
            let answers: Vec<String> = answers.iter().map(Fate::to_string).collect();
            Reading::Other(format!("at 0 s, 3 s and 6.3 s: {}", answers.join(", ")))
        }
    }
}

/// Waits until then; returns when it is.
pub(super) fn wait(until: Instant) -> Instant {
    sleep(until.saturating_duration_since(Instant::now()));
    Instant::now()
}

fn too_slow(late: Duration) -> Error {
    Error::other("wait for a timer", format!("machine too slow: {:.1} s late", late.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_whose_timers_cannot_be_asked_says_so() {
        let limited = |quota| Behavior { quota, ..Behavior::port_preserving() };
        assert_eq!(without_timers(&limited(None)), None);
        assert_eq!(without_timers(&limited(Some(ROOM))), None);
        let rows = without_timers(&limited(Some(ROOM - 1))).expect("a row in its place");
        assert!(rows.len() == 1 && !rows[0].looked_at && rows[0].observed.contains("quota"), "{rows:?}");
        assert_eq!(without_timers(&Behavior::router()), Some(Vec::new()));
    }
}
