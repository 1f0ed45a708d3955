//! What all trials of a run together say of its NATs: ports that cannot have been drawn by chance, and how many packets the
//! reference could judge. Pure.
//!
//! The bets go on from trial to trial in the order in which trials start: that order does not depend on what they draw.

use std::collections::{BTreeMap, VecDeque};

use crate::judge::betting::Games;
use crate::judge::reference::Findings;
use crate::model::event::PacketCount;
use crate::model::outcome::{Cause, Failure};
use crate::run::prepared_cell::LabSpec;
use crate::run::queue::Task;

/// What is known of the NATs so far.
#[derive(Debug, Default)]
pub(super) struct NatWatch {
    games: BTreeMap<String, Games>,
    /// The NATs that do not draw as they declare, and why that is sure.
    refuted: BTreeMap<String, String>,
    /// The trials that were started and not yet played on with, with what they showed if they are done.
    started: VecDeque<(Task, Option<Vec<Findings>>)>,
    /// How many trials were started in all.
    in_all: usize,
    pub(super) packets: PacketCount,
}

impl NatWatch {
    /// A trial starts.
    pub(super) fn start(&mut self, task: Task) {
        self.started.push_back((task, None));
        self.in_all += 1;
    }

    /// A trial is done.
    pub(super) fn finish(&mut self, task: Task, findings: Vec<Findings>) {
        for of_nat in &findings {
            let count = |packets: usize| u64::try_from(packets).unwrap_or(u64::MAX);
            self.packets.judged += count(of_nat.judged);
            for (all, these) in [
                (&mut self.packets.either, &of_nat.either),
                (&mut self.packets.not_judged, &of_nat.not_judged),
            ] {
                these.iter().for_each(|(doubt, packets)| *all.entry(*doubt).or_default() += count(*packets));
            }
        }
        if let Some((_, found)) =
            self.started.iter_mut().find(|(other, found)| *other == task && found.is_none())
        {
            *found = Some(findings);
        }
        self.play_on();
    }

    /// How many trials have started so far.
    pub(super) fn started(&self) -> usize {
        self.in_all
    }

    /// Whether the bets have gone on with the first `count` trials that started.
    pub(super) fn has_played(&self, count: usize) -> bool {
        self.in_all - self.started.len() >= count
    }

    /// The trials that are not done will never be: the bets go on without them.
    pub(super) fn give_up_unfinished(&mut self) {
        self.started.retain(|(_, findings)| findings.is_some());
        self.play_on();
    }

    fn play_on(&mut self) {
        while let Some((_, Some(findings))) = self.started.front() {
            for of_nat in findings {
                let games = self.games.entry(of_nat.profile.clone()).or_default();
                if let Some(why) = games.play(&of_nat.draws) {
                    self.refuted.entry(of_nat.profile.clone()).or_insert(why);
                }
            }
            self.started.pop_front();
        }
    }

    /// Why nothing that a lab shows counts: one of its NATs was refuted.
    pub(super) fn refutes(&self, setting: &LabSpec) -> Option<Failure> {
        let mut refuted =
            setting.nats.iter().filter_map(|(node, nat)| Some((node, nat, self.refuted.get(nat)?)));
        let (node, nat, why) = refuted.next()?;
        let what = format!(
            "NAT \"{nat}\" in \"{node}\" does not do what it declares (allocation; RFC 4787, section 4.2.1)"
        );
        Some(Cause::LabError.because(format!("{what}: {why}")))
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::judge::reference::Draw;
    use crate::model::address_pool::NatAddressing;
    use crate::model::behavior::PortRange;
    use crate::model::topology::NodeName;

    fn findings(ports: [u16; 2]) -> Vec<Findings> {
        let pool = PortRange { low: 1024, high: u16::MAX }.into();
        let draw = |port, of_same, before: Option<u16>| Draw {
            port,
            pool,
            taken: 0,
            of_same,
            is_of_same: before == Some(port),
            is_own: false,
            of_all: of_same,
            is_of_all: before == Some(port),
            before,
        };
        let draws = vec![draw(ports[0], 0, None), draw(ports[1], 1, Some(ports[0]))];
        vec![Findings { profile: "liar".into(), judged: 4, draws, ..Findings::default() }]
    }

    #[test]
    fn a_nat_is_refuted_by_many_trials_in_the_order_in_which_they_started() {
        let mut watch = NatWatch::default();
        let nats = BTreeMap::from([(NodeName::new("nat-a").expect("a good name"), "liar".to_owned())]);
        let setting = LabSpec { wiring: 0, addressing: NatAddressing::default(), nats };
        let task = |number| Task { cell: 0, number };
        (0..12).for_each(|number| watch.start(task(number)));
        for number in (1..12).rev() {
            watch.finish(task(number), findings([2000 + number as u16 * 7; 2]));
            assert_eq!(watch.refutes(&setting), None, "the first is not done");
        }
        watch.finish(task(0), findings([9000, 1234]));
        let failure = watch.refutes(&setting).expect("refuted");
        assert!(failure.detail.contains("NAT \"liar\" in \"nat-a\""), "{failure:?}");
        assert_eq!((watch.packets.judged, watch.started.len()), (48, 0));
    }

    #[test]
    fn the_bets_wait_for_trials_that_started_before() {
        let mut watch = NatWatch::default();
        let task = |number| Task { cell: 0, number };
        (0..4).for_each(|number| watch.start(task(number)));
        (1..3).for_each(|number| watch.finish(task(number), findings([2000, 2001])));
        assert_eq!((watch.started(), watch.has_played(0), watch.has_played(1)), (4, true, false));
        watch.finish(task(0), findings([2000, 2001]));
        assert_eq!((watch.has_played(3), watch.has_played(4)), (true, false));
        watch.start(task(4));
        watch.finish(task(4), findings([2000, 2001]));
        assert!(!watch.has_played(4), "the fourth is not done");
        watch.give_up_unfinished();
        assert!(watch.has_played(5));
    }
}
