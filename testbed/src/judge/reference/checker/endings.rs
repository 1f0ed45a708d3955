//! Ends of entries that the NAT's own records tell of.

use std::collections::HashMap;
use std::ptr;
use std::time::Duration;

use super::{Checker, Entry};
use crate::judge::reference::Contradiction;
use crate::judge::reference::order::Way;
use crate::judge::reference::rules::named as rules;
use crate::model::evidence::{CtChange, CtEntry, CtEvent, Evidence, Nanos, Tuple};
use crate::model::topology::NodeName;

/// How long after the first packet of a connection the end of one that it replaced may come: the NAT ends it when it handles that
/// packet.
const REPLACED: Nanos = 500_000_000;

/// The beginnings of all entries of a NAT, in their order, by the direction that they began in.
pub(super) fn begun<'a>(evidence: &'a Evidence, node: &NodeName) -> HashMap<Tuple, Vec<&'a CtEvent>> {
    let mut begun: HashMap<Tuple, Vec<&CtEvent>> = HashMap::new();
    for event in evidence.conntrack.iter().filter(|e| e.change == CtChange::New && e.node == *node) {
        begun.entry(event.entry.original).or_default().push(event);
    }
    begun
}

impl Checker<'_> {
    /// Judges the end of an entry that the NAT's own records tell of. A connection that has time left and was not reset
    /// must not be forgotten (RFC 5382, REQ-5).
    pub(in crate::judge::reference) fn ended(&mut self, event: &CtEvent) -> Result<(), Contradiction> {
        let CtEntry { original, reply, .. } = event.entry;
        if self.flushes.explain(event) {
            return Ok(());
        }
        self.forget_until(event.at);
        let Some((id, Way::Original)) = self.by_tuple.get(&original).copied() else { return Ok(()) };
        // What the NAT itself tells of its end, without a contradiction, leaves nothing that a later packet could use.
        let told_later = self.entries[id].reply == reply && self.entries[id].since + REPLACED < event.after;
        // What came meanwhile may have begun it again before the end was read.
        let given_up = told_later && !self.came_between(&self.entries[id], event.after, event.at);
        let judged = self.ended_in_time(id, event).or_else(|broken| self.evicted(id).ok_or(broken));
        if told_later && judged.is_ok() {
            (self.entries[id].lost, self.entries[id].given_up) = (true, given_up);
        }
        judged
    }

    /// Whether a packet of a connection came after a time, and not later than another.
    fn came_between(&self, entry: &Entry, after: Nanos, until: Nanos) -> bool {
        let all = &self.passages.all;
        let first = all.partition_point(|passage| passage.input.at <= after);
        let meanwhile =
            all[first..].iter().map(|passage| &passage.input).take_while(|input| input.at <= until);
        let tuples = [entry.original, entry.reply];
        meanwhile.into_iter().any(|input| tuples.contains(&input.head.tuple))
    }

    fn ended_in_time(&self, id: usize, event: &CtEvent) -> Result<(), Contradiction> {
        let CtEntry { original, reply, .. } = event.entry;
        let entry = &self.entries[id];
        let alive = entry.at(event.at).iter().all(Option::is_some);
        if entry.lost || entry.reply != reply || !self.is_of(entry, event) {
            return Ok(());
        }
        let last = entry.before.as_ref().map_or(entry.opener, |(index, ..)| *index);
        let last = &self.passages.all[last].input;
        let lived = Duration::from_nanos(event.at.saturating_sub(entry.since)).as_secs_f64();
        let what =
            format!("the connection {original} was forgotten {lived:.1} s after it began, before its time");
        let held = self.rules.hold(rules::TIMERS, if alive { Err(what) } else { Ok(()) });
        held.map_err(|(rule, what)| Contradiction {
            rule,
            sentence: self.sentence(rule, &what),
            frames: vec![(last.frame, "the last packet of the connection".to_owned())],
        })
    }

    /// Whether an event surely tells the end of this entry, and not that of one which it has replaced: it came long after, or
    /// nothing was replaced and a single entry has begun, before the event. (Numbers do not tell: the kernel may give that of an entry to
    /// the next one of the same flow.)
    fn is_of(&self, entry: &Entry, event: &CtEvent) -> bool {
        let is_only = entry.is_first && entry.since == entry.opened;
        let begun = self.begun.get(&entry.original).map_or(&[][..], Vec::as_slice);
        let mut meanwhile = begun.iter().filter(|begun| (entry.since..=event.at).contains(&begun.at));
        let single = match (meanwhile.next(), meanwhile.next()) {
            // Both are events of one list, which is in order.
            (Some(begun), None) => ptr::from_ref::<CtEvent>(begun) < ptr::from_ref(event),
            _ => false,
        };
        is_only && single || entry.since + REPLACED < event.after
    }
}
