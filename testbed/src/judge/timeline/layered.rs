//! What went on between the NATs of a side that has several: a SYN may open the inner ones and come to the vantage later, or never. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::arrivals::{Identity, identity, opens};
use super::{Role, SegmentTrace, Vantage};
use crate::model::evidence::{Direction, Evidence, Fate, Nanos};
use crate::model::packet::Packet;

/// The opening SYNs of and for the hosts that have several NATs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LayeredNats {
    /// By whom they were sent.
    sent: Vec<(Role, InnerOpening)>,
    /// When they came to a host.
    came: BTreeMap<(Role, Identity), Vec<Nanos>>,
}

/// A SYN on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InnerOpening {
    identity: Identity,
    to: SocketAddrV4,
    /// When its host sent it.
    sent: Nanos,
    /// When it was on the vantage, if it came there before the host sent it again.
    left: Option<Nanos>,
}

impl LayeredNats {
    pub(super) fn read(evidence: &Evidence, a: &Vantage, b: &Vantage) -> Self {
        let mut layered = Self::default();
        for (role, vantage) in [(Role::A, a), (Role::B, b)] {
            if vantage.nats.len() > 1 {
                layered.read_side(evidence, role, vantage);
            }
        }
        layered
    }

    fn read_side(&mut self, evidence: &Evidence, role: Role, vantage: &Vantage) {
        for frame in &evidence.frames {
            let Some(packet) = Packet::of(frame).filter(opens) else { continue };
            let (identity, to) = (identity(&packet), packet.destination);
            match frame.direction {
                Direction::Up if frame.link == vantage.host_link => {
                    let opening = InnerOpening { identity, to, sent: frame.entered, left: None };
                    self.sent.push((role, opening));
                }
                Direction::Up if frame.link == vantage.link => {
                    let same = |(of, opening): &&mut (Role, InnerOpening)| {
                        (*of, opening.identity) == (role, identity)
                    };
                    if let Some((_, opening)) = self.sent.iter_mut().rfind(same) {
                        opening.left.get_or_insert(frame.entered);
                    }
                }
                Direction::Down if frame.link == vantage.host_link && frame.fate == Fate::Delivered => {
                    self.came.entry((role, identity)).or_default().push(frame.left);
                }
                _ => {}
            }
        }
    }

    /// Whether an inner NAT of the side that a SYN came to may have been open for it, though no SYN had come to the vantage that opens
    /// the side.
    pub(super) fn may_be_open_inside(&self, syn: &SegmentTrace) -> bool {
        let (to, sender) = (syn.from.other(), *syn.far.unwrap_or(syn.tuple).source.ip());
        let Some(arrived) = syn.arrived else { return false };
        let came = self.came.get(&(to, identity(&syn.packet))).into_iter().flatten();
        let Some(came) = came.filter(|at| **at >= arrived).min() else { return false };
        let opens = |opening: &InnerOpening| {
            let of_sender: Ipv4Addr = *opening.to.ip();
            of_sender == sender && opening.sent < *came && opening.left.is_none_or(|left| left > arrived)
        };
        self.sent.iter().any(|(role, opening)| *role == to && opens(opening))
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{A, B};
    use crate::judge::staged::{StagedEvidence, StagedPacket, vantage};
    use crate::judge::timeline::Timeline;
    use crate::model::topology::NodeName;

    /// Whether b's SYN, which comes to a's host at 60 ms, may have been let in by an inner NAT of these.
    fn may_be_open(staged: StagedEvidence, nats: usize) -> bool {
        let outer = NodeName::new("outer-a").expect("a good name");
        let mut a = vantage(A);
        a.nats.resize(nats, outer);
        let staged = staged.packet(StagedPacket::new(B, 30.0, "S")).reaches(StagedPacket::new(B, 60.0, "S"));
        let mut evidence = staged.evidence;
        evidence.frames.sort_by_key(|frame| frame.entered);
        let timeline = Timeline::read(&evidence, &a, &vantage(B));
        let syn = *timeline.syns(B).next().expect("b sent one");
        timeline.may_be_open_inside(&syn)
    }

    #[test]
    fn a_syn_that_was_lost_between_two_nats_may_have_opened_the_inner_one() {
        let sent_at = |at: f64| StagedEvidence::met().inside(StagedPacket::new(A, at, "S"));
        assert!(may_be_open(sent_at(20.0), 2));
        assert!(!may_be_open(sent_at(20.0), 1), "there is no inner one");
        assert!(!may_be_open(sent_at(61.0), 2), "too late");
        assert!(!may_be_open(StagedEvidence::met(), 2), "nothing was sent");
    }

    #[test]
    fn a_syn_that_came_to_the_vantage_opened_both() {
        let left_at = |at: f64| {
            let sent = StagedEvidence::met().inside(StagedPacket::new(A, 20.0, "S"));
            sent.packet(StagedPacket::new(A, at, "S"))
        };
        assert!(!may_be_open(left_at(30.0), 2), "the vantage shows it");
        assert!(may_be_open(left_at(50.0), 2), "it opens the inner one before the outer one");
    }
}
