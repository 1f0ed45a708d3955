//! Whether a NAT of sockets opens a connection for each one that its inside asks for, and no other. Pure.
//!
//! The ports of the two connections have nothing to do with each other, so they are told by time alone: what the NAT opens comes
//! after the SYN that asks for it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::Opened;
use crate::model::evidence::{Nanos, Tuple};
use crate::model::plural::counted;

/// How long before the end of the evidence a SYN must have come to have gone out again by then.
const AT_THE_END: Nanos = 250_000_000;

/// By how much a SYN may be stamped after what the NAT made of it: a frame that is read late has the time of reading.
const STAMPED_LATE: Nanos = 1_000_000;

/// What the inside asked for towards one remote endpoint, and what the NAT opened. Each is in order of time.
#[derive(Debug)]
pub(super) struct Carried {
    /// Each SYN of the inside, as it came to the NAT.
    syns: Vec<Nanos>,
    /// The first SYN of each connection. One with another number from the same endpoint need not be another connection to the NAT.
    asked: Vec<Nanos>,
    /// The first SYN of each connection of the NAT's own.
    opened: Vec<Nanos>,
}

impl Carried {
    pub(super) fn towards(remote: SocketAddrV4, asked: &Opened, opened: &Opened) -> Self {
        let to_it = |all: &Opened| -> Vec<(Tuple, Vec<Nanos>)> {
            let to_it = all.iter().filter(|((tuple, _), _)| tuple.destination == remote);
            to_it.map(|((tuple, _), times)| (*tuple, times.clone())).collect()
        };
        let mut first: BTreeMap<Tuple, Nanos> = BTreeMap::new();
        for (tuple, at) in
            to_it(asked).iter().flat_map(|(tuple, times)| times.iter().map(move |at| (tuple, *at)))
        {
            let known = first.entry(*tuple).or_insert(at);
            *known = at.min(*known);
        }
        let sorted = |times: &mut dyn Iterator<Item = Nanos>| {
            let mut times: Vec<Nanos> = times.collect();
            times.sort_unstable();
            times
        };
        Self {
            syns: sorted(&mut to_it(asked).into_iter().flat_map(|(_, times)| times)),
            asked: sorted(&mut first.into_values()),
            opened: sorted(&mut to_it(opened).into_iter().filter_map(|(_, times)| times.into_iter().min())),
        }
    }

    /// What the NAT added or lost, if it did.
    pub(super) fn contradiction(&self, ended: Nanos) -> Option<String> {
        self.made_of_nothing().or_else(|| self.swallowed(ended))
    }

    /// Each connection of the NAT's needs a SYN that came before it. One that is sent again after a refusal which the inside was not
    /// told of opens another connection.
    fn made_of_nothing(&self) -> Option<String> {
        let without = |(before, at): (usize, &Nanos)| {
            self.syns.get(before).is_none_or(|syn| *syn > at + STAMPED_LATE).then_some(before)
        };
        let got = self.opened.iter().enumerate().find_map(without)?;
        let (syns, opened) = (counted(got, "SYN"), counted(got + 1, "connection"));
        Some(format!("it had got {syns} of its inside, and opened {opened}"))
    }

    /// Each connection that the inside asks for needs one of the NAT's that comes after it.
    fn swallowed(&self, ended: Nanos) -> Option<String> {
        let in_time = self.asked.iter().filter(|at| *at + AT_THE_END < ended);
        let later = |at: Nanos| self.opened.iter().filter(|opened| at <= *opened + STAMPED_LATE).count();
        let missing = |(after, at): (usize, &Nanos)| (later(*at) <= after).then_some((after + 1, later(*at)));
        let (asked, opened) = in_time.rev().enumerate().find_map(missing)?;
        Some(format!(
            "its inside asked for {}, and it opened {opened} afterwards",
            counted(asked, "connection")
        ))
    }
}
