//! Mappings that ended before a SYN came for them.

use std::net::SocketAddrV4;

use super::*;
use crate::model::behavior::{Allocation, Filtering, Mapping, Timeouts};
use crate::model::evidence::CtChange;
use crate::model::outcome::Failure;

fn at_most_a_second() -> Timeouts {
    Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() }
}

fn every_five_seconds() -> Timeouts {
    Timeouts { flush_every: Some(Duration::from_secs(5)), ..Timeouts::default() }
}

fn failure(nat: Behavior, staged: &StagedEvidence) -> Failure {
    match outcome_behind(nat, staged, &lost(), &lost()) {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A mapping of b's towards the server was forgotten, a dials it later, and b dials a from `port`.
fn after_the_mapping_of_the_server(port: u16) -> StagedEvidence {
    let server = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 7000);
    StagedEvidence::met()
        .packet(StagedPacket::new(B, 1_490.0, "S").ports(port, 4000))
        .packet(StagedPacket::new(A, 1_500.0, "S"))
        .told(B, server, &[(CtChange::New, 4), (CtChange::Destroy, 1_004)])
        .flushed(B, 1_003)
}

#[test]
fn a_mapping_that_ended_is_the_cause_only_where_it_would_have_let_the_syn_in() {
    let staged = after_the_mapping_of_the_server(33_333);
    for (timeouts, cause) in
        [(at_most_a_second(), Cause::MappingExpired), (every_five_seconds(), Cause::NatRebooted)]
    {
        let behind = |filtering| {
            failure(Behavior { filtering, timeouts, ..Behavior::port_preserving() }, &staged).cause
        };
        assert_eq!(behind(Filtering::AddressAndPortDependent), Cause::PredictedPortWrong);
        assert_eq!(behind(Filtering::EndpointIndependent), cause);
    }
}

#[test]
fn a_mapping_that_ended_is_the_cause_where_its_inside_endpoint_got_another_since() {
    let mut staged = after_the_mapping_of_the_server(33_333).told(
        B,
        SocketAddrV4::new(external(A), 4000),
        &[(CtChange::New, 1_491)],
    );
    let newer = staged.evidence.conntrack.last_mut().expect("it was told");
    newer.entry.reply.destination.set_port(33_333);
    let random = Behavior { allocation: Allocation::Random, ..Behavior::port_preserving() };
    for (timeouts, cause) in
        [(at_most_a_second(), Cause::MappingExpired), (every_five_seconds(), Cause::NatRebooted)]
    {
        let behind = |mapping| failure(Behavior { mapping, timeouts, ..random }, &staged).cause;
        assert_eq!(behind(Mapping::EndpointIndependent), cause);
        assert_eq!(behind(Mapping::AddressAndPortDependent), Cause::PredictedPortWrong);
    }
}

#[test]
fn an_answer_that_comes_when_its_mapping_was_forgotten_is_not_filtered() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let syn = StagedPacket::new(B, 605.0, "S");
    let staged = StagedEvidence::met()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .inside(syn)
        .packet(syn)
        .packet(StagedPacket::new(A, 620.0, "SA").acknowledging(901))
        .told(B, peer, &[(CtChange::New, 605), (CtChange::Destroy, 626)])
        .flushed(B, 625);
    let forgotten = failure(flushed(), &staged);
    assert_eq!(forgotten.cause, Cause::NatRebooted, "{}", forgotten.detail);
    assert!(forgotten.detail.contains("as it forgets everything every 5 s"), "{}", forgotten.detail);
    let back = failure(flushed(), &staged.told(B, peer, &[(CtChange::New, 627)]));
    assert_eq!(back.cause, Cause::Filtered, "{}", back.detail);
}

#[test]
fn a_mapping_that_ended_at_its_absolute_timeout_was_not_forgotten_however_late_its_beginning_was_told() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let staged = StagedEvidence::met()
        .told(B, peer, &[(CtChange::New, 40), (CtChange::Destroy, 1_004)])
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(B, 725.0, "S"))
        .packet(StagedPacket::new(A, 1_500.0, "S"));
    let found = failure(Behavior { timeouts: at_most_a_second(), ..Behavior::port_preserving() }, &staged);
    assert_eq!(found.cause, Cause::MappingExpired, "{}", found.detail);
    assert!(found.detail.contains("1.0 s after its first packet"), "{}", found.detail);
}

/// Both NATs keep ports and forget everything every five seconds.
fn flushed() -> Behavior {
    Behavior { timeouts: every_five_seconds(), ..Behavior::port_preserving() }
}

#[test]
fn a_mapping_that_was_forgotten_with_all_others_is_told_from_one_that_its_nat_lost() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let staged = StagedEvidence::met()
        .told(B, peer, &[(CtChange::New, 1), (CtChange::Destroy, 1_000)])
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(A, 1_500.0, "S"));
    let detail = |staged: &StagedEvidence| {
        let found = failure(flushed(), staged);
        assert_eq!(found.cause, Cause::NatRebooted, "{}", found.detail);
        found.detail
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
    let found = failure(flushed(), &staged.flushed(B, 5));
    assert_eq!(found.cause, Cause::NatRebooted, "{}", found.detail);
    assert!(found.detail.contains("nat-b forgot everything that it held"), "{}", found.detail);
}
