//! What cannot be told: which of two packets came first, and what a reset ended.

use super::*;
use crate::judge::oracle::Admission;

#[test]
fn a_nat_that_takes_some_ms_for_each_packet_may_let_in_a_syn_that_came_meanwhile() {
    // It emits a's SYN and lets in b's at 55.3 ms and later; b's came at 52.4 ms, a's when the case says.
    let crossing = |a_came: f64| {
        StagedEvidence::met()
            .recorded()
            .inside(StagedPacket::new(A, a_came, "S"))
            .packet(StagedPacket::new(B, 42.4, "S"))
            .packet(StagedPacket::new(A, 55.3, "S"))
            .reaches(StagedPacket::new(B, 55.4, "S"))
            .packet(StagedPacket::new(A, 55.6, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 65.4, "SA").acknowledging(101))
            .with_data(75.7)
    };
    let judged = |staged: &StagedEvidence| outcome(staged, &won(A), &won(B), UnsolicitedSyn::Drop);
    for a_came in [49.0, 54.0] {
        let judged = judged(&crossing(a_came));
        assert!(matches!(judged, Outcome::Passed(_)), "a's SYN came at {a_came} ms: {judged:?}");
    }
    // It let in a SYN before the one that makes the mapping had come.
    let early = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(B, 40.0, "S"))
        .reaches(StagedPacket::new(B, 50.1, "S"))
        .inside(StagedPacket::new(A, 54.0, "S"))
        .packet(StagedPacket::new(A, 55.3, "S"))
        .packet(StagedPacket::new(A, 55.6, "SA").acknowledging(901))
        .packet(StagedPacket::new(B, 65.4, "SA").acknowledging(101))
        .with_data(75.7);
    assert!(error(&early, &won(A), &won(B)).contains("though no mapping and filter of it admits the sender"));
}

#[test]
fn the_copy_of_a_syn_may_come_first_and_be_answered() {
    // a's SYN comes before b has sent one, and b's is overtaken by its copy.
    let mut staged = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 12.0, "S"));
    let mut copy = staged.evidence.frames.last().expect("b's SYN as it comes to a").clone();
    (copy.entered, copy.due, copy.left, copy.is_copy) = (copy.entered, 17_000_000, 17_000_000, true);
    staged.evidence.frames.push(copy);
    let staged = staged
        .packet(StagedPacket::new(A, 17.3, "SA").acknowledging(901))
        .packet(StagedPacket::new(B, 27.5, "A").acknowledging(101))
        .with_data(29.0);
    let judged = outcome(&staged, &won(A), &won(B), UnsolicitedSyn::Drop);
    assert!(matches!(judged, Outcome::Passed(_)), "{judged:?}");
}

#[test]
fn a_reset_that_came_late_may_have_ended_nothing() {
    // Of an earlier attempt from the same ports: its numbers are none of these SYNs', and it comes while both are on their way.
    let old = |from| StagedPacket { sequence: 0, ..StagedPacket::new(from, 0.0, "RA").acknowledging(77) };
    let staged = StagedEvidence::met()
        .recorded()
        .packet(old(A))
        .packet(old(B))
        .packet(StagedPacket::new(A, 6.0, "S"))
        .packet(StagedPacket::new(B, 5.0, "S"))
        .packet(StagedPacket::new(A, 15.3, "SA").acknowledging(901))
        .packet(StagedPacket::new(B, 16.5, "SA").acknowledging(101))
        .with_data(29.0);
    let judged = outcome(&staged, &won(A), &won(B), UnsolicitedSyn::Drop);
    assert!(matches!(judged, Outcome::Passed(_)), "{judged:?}");
}

#[test]
fn a_syn_that_is_refused_while_the_one_that_makes_the_mapping_is_inside_the_nat_is_too_close_to_call() {
    let nat = [Behavior::port_preserving()];
    // b's SYN comes to NAT-a at 52.4 ms, and a's leaves it at 55.3 ms.
    let admission = |a_came: f64| {
        let staged = StagedEvidence::met()
            .inside(StagedPacket::new(A, a_came, "S"))
            .packet(StagedPacket::new(B, 42.4, "S"))
            .packet(StagedPacket::new(A, 55.3, "S"));
        let timeline = Timeline::read(&staged.evidence, &vantage(A), &vantage(B));
        let report = replay(&timeline, DeclaredNats { a: &nat, b: &nat, common: &[] });
        report.syns.iter().find(|syn| syn.from == B).map(|syn| syn.admission)
    };
    assert_eq!(admission(49.0), Some(Admission::Close));
    assert_eq!(admission(54.0), Some(Admission::NoMapping));
}
