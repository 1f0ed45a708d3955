//! Two packets of a connection that came from both sides within the margin: either may have been handled first.

use super::{Checker, unique};
use crate::judge::reference::head::TcpHead;
use crate::judge::reference::order::Way;
use crate::judge::reference::passage::Passage;
use crate::judge::reference::tracker::Tracked;
use crate::model::evidence::Tuple;

impl Checker<'_> {
    /// The states that there may be if this packet was handled before the one that came just before it, from the other
    /// side; and whether the packet could then have been handled in one way only, which is how it was.
    pub(super) fn swapped(
        &self,
        index: usize,
        head: &TcpHead,
        (id, way): (usize, Way),
    ) -> (Vec<Option<Tracked>>, bool) {
        let passage = &self.passages.all[index];
        let Some((earlier, earlier_way, states)) = &self.entries[id].before else {
            return (Vec::new(), true);
        };
        let earlier = &self.passages.all[*earlier];
        if *earlier_way == way || earlier.handled_by(self.margin) < passage.input.at {
            return (Vec::new(), true);
        }
        let Some(earlier_head) = earlier.input.head.tcp() else { return (Vec::new(), true) };
        let mut same = true;
        let mut swapped = Vec::new();
        for state in states.iter().flatten() {
            match self.after(id, way, state, passage, head) {
                Ok(Some(Some(between))) => {
                    let then = self.after(id, *earlier_way, &between, earlier, earlier_head);
                    swapped.extend(then.ok().flatten());
                }
                Ok(Some(None) | None) | Err(_) => same = false,
            }
        }
        (swapped, same)
    }

    /// Whether what became of this packet fits if it was handled after one that came a moment later, or before the first
    /// packet of its connection.
    pub(super) fn fits_another_order(
        &mut self,
        index: usize,
        head: &TcpHead,
        (id, way): (usize, Way),
    ) -> bool {
        if self.after_the_next(index, head, (id, way)) {
            return true;
        }
        let near = self.entries[id].stood_by >= self.passages.all[index].input.at;
        let before_the_first = near && self.fresh(index, head).is_ok();
        self.entries[id].lost |= before_the_first;
        before_the_first
    }

    /// A packet of a connection that ended it, and that was handled before this one although it came a moment later: what one host
    /// sends from two processors may be handled by two. This one begins another connection in that one's place.
    pub(super) fn over_by_the_next(&self, index: usize, id: usize, new: &Tracked) -> Option<usize> {
        let (passage, entry) = (&self.passages.all[index], &self.entries[id]);
        let latest = passage.handled_by(self.margin);
        let later = (index + 1..).zip(&self.passages.all[index + 1..]);
        let later = later.take_while(|(_, later)| later.input.at <= latest);
        let states = entry.at(passage.input.at);
        let left_first =
            |later: &Passage| later.output.zip(passage.output).is_some_and(|(one, other)| one.at <= other.at);
        let mut of_it =
            later.filter(|(_, later)| later.input.head.tuple == entry.original && left_first(later));
        let found = of_it.find(|(_, later)| {
            let Some(head) = later.input.head.tcp() else { return false };
            let after =
                |state: &Option<Tracked>| self.after(id, Way::Original, state.as_ref()?, later, head).ok()?;
            let gives_way =
                |state: Option<Tracked>| state.is_none_or(|then| then.gives_way_to(new, self.rules));
            states.iter().filter_map(after).any(gives_way)
        });
        found.map(|(next, _)| next)
    }

    /// Whether what became of this packet fits if one that came after it, from the other side, was handled first. If so,
    /// both are done.
    fn after_the_next(&mut self, index: usize, head: &TcpHead, (id, way): (usize, Way)) -> bool {
        let passage = &self.passages.all[index];
        let latest = passage.handled_by(self.margin);
        let later = (index + 1..).zip(&self.passages.all[index + 1..]);
        let later = later.take_while(|(_, later)| later.input.at <= latest);
        let of_other_way = |later: &Tuple| self.by_tuple.get(later) == Some(&(id, way.other()));
        let states = self.entries[id].at(passage.input.at);
        let found =
            later.filter(|(_, later)| of_other_way(&later.input.head.tuple)).find_map(|(next, later)| {
                let later_head = later.input.head.tcp()?;
                let both = |state: &Option<Tracked>| {
                    let between = self.after(id, way.other(), state.as_ref()?, later, later_head).ok()??;
                    self.after(id, way, between.as_ref()?, passage, head).ok()?
                };
                let states = unique(states.iter().filter_map(both));
                (!states.is_empty()).then_some((next, states))
            });
        let Some((next, states)) = found else { return false };
        let entry = &mut self.entries[id];
        (entry.possible, entry.before) = (states, None);
        entry.ahead.push(next);
        true
    }
}
