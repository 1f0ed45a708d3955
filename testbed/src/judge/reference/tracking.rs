//! How a NAT tracks connections: its timers, and how closely it looks at numbers.

use std::time::Duration;

use super::rules::Rulebook;
use super::table::{TableCell, Transition};
use crate::model::behavior::{ABSOLUTE_LATE, Behavior, Strictness};
use crate::model::datapath::Datapath;
use crate::model::evidence::{CtState, Nanos, nanos};

/// How long a connection is remembered, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timers {
    state: [Nanos; 10],
    pub(super) unacknowledged: Nanos,
    pub(super) retransmitted: Nanos,
    pub(super) absolute: Absolute,
}

/// When connections end however busy they are, if they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absolute(Option<Nanos>);

impl Absolute {
    /// Until when a connection that began then is not ended.
    pub(super) fn earliest(&self, born: Nanos) -> Nanos {
        self.0.map_or(Nanos::MAX, |timeout| born.saturating_add(timeout))
    }

    /// From when on it has surely been ended.
    pub(super) fn latest(&self, born: Nanos) -> Nanos {
        self.earliest(born).saturating_add(nanos(ABSOLUTE_LATE))
    }
}

impl Timers {
    pub(super) fn of(behavior: &Behavior, rules: Rulebook) -> Self {
        let timers = behavior.timeouts.timers();
        let named = |name: &str| {
            let found = timers.iter().find(|(n, _, _)| *n == name);
            let time = found.map_or(Duration::ZERO, |(_, set, default)| set.unwrap_or(*default));
            rules.time(name, nanos(time))
        };
        let names = [
            "syn_sent",
            "syn_sent",
            "syn_recv",
            "established",
            "fin_wait",
            "close_wait",
            "last_ack",
            "time_wait",
            "close",
            "syn_sent2",
        ];
        Self {
            state: names.map(named),
            unacknowledged: named("unacknowledged"),
            retransmitted: named("max_retrans"),
            absolute: Absolute(behavior.timeouts.absolute.map(nanos)),
        }
    }

    pub(super) fn of_state(&self, state: CtState) -> Nanos {
        self.state[state as usize]
    }
}

/// How a NAT tracks: its timers, and how closely it looks at numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tracking {
    pub(super) timers: Timers,
    pub(super) liberal: bool,
    /// Whether the NAT keeps records of its own, which nobody can read, in the place of connection tracking.
    pub(super) by_own_records: bool,
    pub(super) rules: Rulebook,
}

impl Tracking {
    /// What the table of states says of a packet.
    pub(super) fn transition(&self, cell: TableCell) -> Transition {
        if self.rules.turns(cell) { cell.read().opposite() } else { cell.read() }
    }

    pub(super) fn of(behavior: &Behavior, datapath: Datapath, rules: Rulebook) -> Self {
        let liberal = behavior.strictness == Strictness::Liberal;
        let by_own_records = datapath != Datapath::Conntrack;
        Self { timers: Timers::of(behavior, rules), liberal, by_own_records, rules }
    }
}
