//! No failure is without a cause, whatever went wrong.

use std::time::Duration;

use proptest::prelude::*;

use crate::judge::judgement::{Case, Rendezvous, judge};
use crate::judge::oracle::DeclaredNats;
use crate::judge::program_output::Claim;
use crate::judge::staged::{StagedEvidence, StagedPacket, vantage};
use crate::judge::timeline::Role;
use crate::model::behavior::{Behavior, UnsolicitedSyn};
use crate::model::outcome::Outcome;

/// A SYN that may go wrong: whose, when, how far its aim is off, and whether its link loses it.
fn syn() -> impl Strategy<Value = (bool, u16, u16, bool)> {
    (any::<bool>(), 0_u16..900, 0_u16..3, any::<bool>())
}

/// Draws SYNs, and the reset that one draws where the NAT gives one.
fn draw(syns: &[(bool, u16, u16, bool)], answers: bool) -> StagedEvidence {
    let mut syns = syns.to_vec();
    syns.sort_by_key(|(_, at, ..)| *at);
    syns.iter().zip(1_u32..).fold(StagedEvidence::met(), |staged, ((of_a, at, off, lost), number)| {
        let from = if *of_a { Role::A } else { Role::B };
        let (source, target) = if *of_a { (4000, 5000) } else { (5000, 4000) };
        let at_ms = f64::from(*at) + f64::from(number) / 1e3;
        let syn = StagedPacket {
            sequence: number * 1000,
            ..StagedPacket::new(from, at_ms, "S").ports(source, target + off)
        };
        if *lost {
            return staged.lost(syn);
        }
        let reset = StagedPacket::new(from.other(), at_ms + 10.1, "RA").ports(target + off, source);
        let staged = staged.packet(syn);
        match answers && *off > 0 {
            true => staged.packet(reset.acknowledging(number * 1000 + 1).ttl(64)),
            false => staged,
        }
    })
}

proptest! {
    #[test]
    fn every_failure_has_a_cause(syns in proptest::collection::vec(syn(), 0..12), answers: bool, needed: bool) {
        let staged = draw(&syns, answers);
        let unsolicited_syn = if answers { UnsolicitedSyn::Reset } else { UnsolicitedSyn::Drop };
        let nat = [Behavior { unsolicited_syn, ..Behavior::port_preserving() }];
        let said = Claim::Failure("no path".to_owned());
        let judgement = judge(&Case {
            evidence: &staged.evidence,
            a: &vantage(Role::A),
            b: &vantage(Role::B),
            declared: DeclaredNats { a: &nat, b: &nat, common: &[] },
            nats: &[],
            claim_a: &said,
            claim_b: &said,
            rendezvous: if needed { Rendezvous::Needed } else { Rendezvous::NotNeeded },
            method: "m",
            lateness: Duration::from_millis(5),
        });
        let Outcome::Failed(failure) = judgement.outcome else { panic!("{:?}", judgement.outcome) };
        prop_assert!(!failure.detail.is_empty());
        prop_assert!(syns.is_empty() || !judgement.marks.is_empty(), "nothing proves {failure}");
    }
}
