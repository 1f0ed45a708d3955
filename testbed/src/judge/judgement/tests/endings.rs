//! Mappings that ended before a SYN came for them.

use std::net::SocketAddrV4;

use super::*;
use crate::model::behavior::{Filtering, Timeouts};
use crate::model::evidence::CtChange;

#[test]
fn a_mapping_that_ended_is_the_cause_only_where_it_would_have_let_the_syn_in() {
    let server = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 7000);
    let staged = || {
        let late = StagedEvidence::met()
            .packet(StagedPacket::new(B, 1_490.0, "S").ports(33_333, 4000))
            .packet(StagedPacket::new(A, 1_500.0, "S"));
        late.told(B, server, &[(CtChange::New, 4), (CtChange::Destroy, 1_004)])
    };
    let cause = |filtering| {
        let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let nat = Behavior { filtering, timeouts, ..Behavior::port_preserving() };
        match outcome_behind(nat, &staged(), &lost(), &lost()) {
            Outcome::Failed(failure) => failure.cause,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cause(Filtering::AddressAndPortDependent), Cause::PredictedPortWrong);
    assert_eq!(cause(Filtering::EndpointIndependent), Cause::MappingExpired);
}

#[test]
fn a_mapping_that_ended_at_its_absolute_timeout_was_not_forgotten_however_late_its_beginning_was_told() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let staged = StagedEvidence::met()
        .told(B, peer, &[(CtChange::New, 40), (CtChange::Destroy, 1_004)])
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(B, 725.0, "S"))
        .packet(StagedPacket::new(A, 1_500.0, "S"));
    let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let nat = Behavior { timeouts, ..Behavior::port_preserving() };
    let Outcome::Failed(failure) = outcome_behind(nat, &staged, &lost(), &lost()) else {
        panic!("a failure")
    };
    assert_eq!(failure.cause, Cause::MappingExpired, "{}", failure.detail);
    assert!(failure.detail.contains("1.0 s after its first packet"), "{}", failure.detail);
}

/// Both NATs keep ports and forget everything every five seconds.
fn flushed() -> Behavior {
    let timeouts = Timeouts { flush_every: Some(Duration::from_secs(5)), ..Timeouts::default() };
    Behavior { timeouts, ..Behavior::port_preserving() }
}

#[test]
fn a_mapping_that_was_forgotten_with_all_others_is_told_from_one_that_its_nat_lost() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let staged = StagedEvidence::met()
        .told(B, peer, &[(CtChange::New, 1), (CtChange::Destroy, 1_000)])
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(A, 1_500.0, "S"));
    let detail = |staged: &StagedEvidence| match outcome_behind(flushed(), staged, &lost(), &lost()) {
        Outcome::Failed(failure) => {
            assert_eq!(failure.cause, Cause::NatRebooted, "{}", failure.detail);
            failure.detail
        }
        other => panic!("{other:?}"),
    };
    let early = detail(&staged);
    assert!(early.contains("long before its time"), "{early}");
    let staged = staged.flushed(A, 1_000).flushed(B, 3_000);
    let elsewhere = detail(&staged);
    assert!(elsewhere.contains("long before its time"), "another NAT, another time: {elsewhere}");
    let flush = detail(&staged.flushed(B, 1_000));
    assert!(flush.contains("as it forgets everything every 5 s"), "{flush}");
}

#[test]
fn a_nat_that_forgot_everything_excuses_that_no_connection_came_of_what_was_let_in() {
    let staged = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 2.0, "S"))
        .lost(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
        .packet(StagedPacket::new(A, 12.1, "SA").acknowledging(901));
    assert!(error(&staged, &lost(), &lost()).contains("let in and answered"));
    let outcome = outcome_behind(flushed(), &staged.flushed(B, 5), &lost(), &lost());
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

#[test]
fn what_nothing_else_explains_is_put_down_to_a_nat_that_forgot_everything() {
    // What a answers comes to b's NAT and not to b's host.
    let answer = StagedPacket::new(B, 6.0, "SA").acknowledging(101);
    let staged = StagedEvidence::met()
        .inside(answer)
        .packet(answer)
        .packet(StagedPacket::new(A, 8.0, "SA").acknowledging(901));
    assert!(error(&staged, &lost(), &lost()).contains("shows no reason"));
    let outcome = outcome_behind(flushed(), &staged.flushed(B, 5), &lost(), &lost());
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.cause, Cause::NatRebooted, "{}", failure.detail);
    assert!(failure.detail.contains("nat-b forgot everything that it held"), "{}", failure.detail);
}
