//! Mappings that ended before a SYN came for them.

use std::net::SocketAddrV4;

use super::*;
use crate::judge::staged::SERVER;
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
    StagedEvidence::met()
        .packet(StagedPacket::new(B, 1_490.0, "S").ports(port, 4000))
        .packet(StagedPacket::new(A, 1_500.0, "S"))
        .told(B, SERVER, &[(CtChange::New, 4), (CtChange::Destroy, 1_004)])
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
fn an_answer_whose_way_back_was_forgotten_outweighs_what_drew_a_reset() {
    // b alone dials, as a listens. Its SYN to another port is reset by a's NAT.
    let peer = SocketAddrV4::new(external(A), 4000);
    let syn = StagedPacket::new(B, 0.0, "S");
    let dials = |forgotten: &[(CtChange, u64)]| {
        let opener = StagedPacket::new(A, 11.0, "RA").acknowledging(951).ports(9, 5000).ttl(64);
        StagedEvidence::met()
            .says_to_server(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket { sequence: 950, ..StagedPacket::new(B, 0.0, "S").ports(5000, 9) })
            .packet(opener)
            .inside(syn)
            .packet(syn)
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .told(B, peer, forgotten)
            .flushed(B, 5)
    };
    let nat = || Behavior {
        filtering: Filtering::EndpointIndependent,
        unsolicited_syn: UnsolicitedSyn::Reset,
        ..flushed()
    };
    let found = failure(nat(), &dials(&[(CtChange::New, 0), (CtChange::Destroy, 6)]));
    assert_eq!(found.cause, Cause::NatRebooted, "{}", found.detail);
    assert!(found.detail.starts_with("a's SYN ACK"), "{}", found.detail);
    let kept = failure(nat(), &dials(&[]));
    assert_eq!(kept.cause, Cause::ResetByNat, "{}", kept.detail);
}

#[test]
fn a_syn_that_never_came_to_the_host_was_not_let_in() {
    let open = Behavior { filtering: Filtering::EndpointIndependent, ..flushed() };
    let first = StagedPacket::new(A, 0.0, "S");
    let dialled = StagedPacket::new(B, 100.0, "S");
    let staged = || {
        StagedEvidence::met()
            .inside(first)
            .says_to_server(first)
            .told(A, SERVER, &[(CtChange::New, 0), (CtChange::Destroy, 51)])
            .flushed(A, 50)
            .packet(dialled)
    };
    let kept = failure(open, &staged());
    assert_eq!(kept.cause, Cause::NatRebooted, "{}", kept.detail);
    assert!(kept.detail.starts_with("b's SYN"), "{}", kept.detail);
    let let_in = failure(open, &staged().reaches(StagedPacket { at_ms: 110.0, ..dialled }));
    assert_eq!(let_in.cause, Cause::ProgramHung, "{}", let_in.detail);
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

#[test]
fn a_peer_whose_connection_to_the_server_its_nat_forgot_did_not_fail_to_start() {
    let alone = StagedEvidence::met().packet(StagedPacket::new(A, 1_500.0, "S"));
    assert_eq!(failure(flushed(), &alone).cause, Cause::PeerNeverStarted);
    let cut = |port| {
        let forgotten = [(CtChange::New, 0), (CtChange::Destroy, 1_001)];
        let staged = StagedEvidence::met().told(B, SERVER, &forgotten).flushed(B, 1_000);
        staged.server_says(port, StagedPacket::new(B, 1_010.0, "R"))
    };
    assert_eq!(failure(flushed(), &cut(33_333)).cause, Cause::NatRebooted, "neither had started");
    assert_eq!(failure(flushed(), &cut(5000)).cause, Cause::NoRendezvous);
    let cut = |port| cut(port).packet(StagedPacket::new(A, 1_500.0, "S"));
    let elsewhere = failure(flushed(), &cut(33_333));
    assert_eq!(elsewhere.cause, Cause::NatRebooted, "{}", elsewhere.detail);
    assert!(
        elsewhere.detail.contains("the rendezvous server reset the connection of peer b"),
        "{}",
        elsewhere.detail
    );
    // What came from the old mapping was reset for another reason.
    assert_eq!(failure(flushed(), &cut(5000)).cause, Cause::PeerNeverStarted);
}

#[test]
fn a_syn_that_came_to_no_mapping_any_more_outweighs_that_the_host_had_reset_an_earlier_one() {
    let cone = Behavior { filtering: Filtering::EndpointIndependent, ..flushed() };
    let early = StagedPacket::new(B, 500.0, "S");
    let reset = StagedPacket::new(A, 511.0, "RA").acknowledging(901);
    let again = StagedPacket::new(B, 1_500.0, "S").data(950, 0);
    let staged = || {
        StagedEvidence::met()
            .packet(early)
            .reaches(StagedPacket { at_ms: 510.0, ..early })
            .inside(reset)
            .packet(reset)
            .told(A, SERVER, &[(CtChange::New, 4), (CtChange::Destroy, 1_004)])
            .flushed(A, 1_003)
            .packet(StagedPacket::new(A, 0.0, "S").ports(4000, 9))
    };
    assert_eq!(failure(cone, &staged()).cause, Cause::ResetByHost, "it was not sent again");
    let kept = failure(cone, &staged().packet(again));
    assert_eq!(kept.cause, Cause::NatRebooted, "{}", kept.detail);
    let came = staged().packet(again).reaches(StagedPacket { at_ms: 1_510.0, ..again });
    assert_eq!(failure(cone, &came).cause, Cause::ResetByHost, "it was let in");
}

#[test]
fn a_peer_that_its_nat_did_not_let_hear_the_server_any_more_did_not_fail_to_start() {
    let forgotten = [(CtChange::New, 0), (CtChange::Destroy, 1_001)];
    let mapping = |staged: StagedEvidence| staged.told(B, SERVER, &forgotten).flushed(B, 1_000);
    let alone = || mapping(StagedEvidence::met()).packet(StagedPacket::new(A, 1_500.0, "S"));
    // The host's link is watched.
    let alone = || alone().inside(StagedPacket::new(B, 1.0, "A"));
    assert_eq!(failure(flushed(), &alone()).cause, Cause::PeerNeverStarted);
    let says = |ms, flags| StagedPacket::new(B, ms, flags).data(901, 20);
    let told = failure(flushed(), &alone().server_says(5000, says(1_010.0, "PA")));
    assert_eq!(told.cause, Cause::NatRebooted, "{}", told.detail);
    assert!(told.detail.contains("peer b did not hear the rendezvous server any more"), "{}", told.detail);
    // It comes again, and is let in when it is too late.
    let again = alone().server_says(5000, says(1_010.0, "PA")).server_says(5000, says(3_010.0, "PA"));
    let late = says(3_011.0, "PA");
    let target = StagedPacket { from: A, source_port: 7000, target_port: 5000, ..late };
    let again = failure(flushed(), &again.reaches(target));
    assert_eq!(again.cause, Cause::NatRebooted, "{}", again.detail);
    let before = failure(flushed(), &alone().server_says(5000, says(200.0, "PA")));
    assert_eq!(before.cause, Cause::PeerNeverStarted, "the mapping was there: {}", before.detail);
    let empty = failure(flushed(), &alone().server_says(5000, StagedPacket::new(B, 1_010.0, "A")));
    assert_eq!(empty.cause, Cause::PeerNeverStarted, "nothing was said: {}", empty.detail);
    // A reset that the host did not send is the NAT's.
    let reset = StagedPacket::new(B, 1_010.0, "R");
    let by_nat = failure(flushed(), &alone().says_to_server(reset));
    assert_eq!(by_nat.cause, Cause::NatRebooted, "{}", by_nat.detail);
    let by_host = failure(flushed(), &alone().inside(reset).says_to_server(reset));
    assert_eq!(by_host.cause, Cause::PeerNeverStarted, "{}", by_host.detail);
}

#[test]
fn a_server_whose_answer_a_nat_no_longer_let_in_was_there() {
    let forgotten = [(CtChange::New, 900), (CtChange::Destroy, 1_001)];
    let said = StagedPacket { payload: 20, ..StagedPacket::new(A, 0.0, "A") };
    let asked = || {
        let asks = StagedPacket::new(B, 900.0, "S");
        let staged = StagedEvidence::default().server_says(4000, said).inside(asks).says_to_server(asks);
        staged.told(B, SERVER, &forgotten).flushed(B, 1_000)
    };
    assert_eq!(failure(flushed(), &asked()).cause, Cause::NoRendezvous);
    let answered = asked().server_says(5000, StagedPacket::new(B, 1_010.0, "SA").acknowledging(901));
    let found = failure(flushed(), &answered);
    assert_eq!(found.cause, Cause::NatRebooted, "{}", found.detail);
}

#[test]
fn a_connection_that_a_nat_forgot_before_the_other_side_had_heard_all_was_not_refused() {
    let peer = SocketAddrV4::new(external(B), 5000);
    let second = StagedPacket::new(A, 85.0, "PA").data(121, 20).acknowledging(921);
    let both_spoke = [
        StagedPacket::new(A, 0.0, "S"),
        StagedPacket::new(B, 0.2, "S"),
        StagedPacket::new(A, 10.3, "SA").acknowledging(901),
        StagedPacket::new(B, 10.1, "SA").acknowledging(101),
        StagedPacket::new(A, 30.0, "A").data(101, 20).acknowledging(901),
        StagedPacket::new(B, 41.0, "A").data(901, 20).acknowledging(121),
        StagedPacket::new(A, 52.0, "A").data(121, 0).acknowledging(921),
    ];
    let stood = || {
        let came = |staged: StagedEvidence, packet| staged.packet(packet).reaches(packet);
        both_spoke.into_iter().fold(StagedEvidence::met().recorded(), came)
    };
    let refused = |staged: &StagedEvidence| match outcome_behind(flushed(), staged, &won(A), &lost()) {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&stood().inside(second)).cause, Cause::AuthenticationRefused);
    let forgotten = || stood().inside(second).told(A, peer, &[(CtChange::Destroy, 81)]).flushed(A, 80);
    let found = refused(&forgotten());
    assert_eq!(found.cause, Cause::NatRebooted, "{}", found.detail);
    assert!(found.detail.contains("did not come to peer b any more: nat-a forgot"), "{}", found.detail);
    assert_eq!(refused(&forgotten().reaches(second)).cause, Cause::AuthenticationRefused);
}

#[test]
fn a_connection_that_a_nat_forgot_when_nobody_said_anything_more_failed_for_another_reason() {
    let peer = SocketAddrV4::new(external(B), 5000);
    let handshake = [
        StagedPacket::new(A, 0.0, "S"),
        StagedPacket::new(B, 0.2, "S"),
        StagedPacket::new(A, 10.3, "SA").acknowledging(901),
        StagedPacket::new(B, 10.1, "SA").acknowledging(101),
    ];
    let came = |staged: StagedEvidence, packet| staged.packet(packet).reaches(packet);
    let stood = handshake.into_iter().fold(StagedEvidence::met().recorded(), came);
    let forgotten = stood.told(A, peer, &[(CtChange::Destroy, 81)]).flushed(A, 80);
    let data = StagedPacket::new(B, 85.0, "PA").data(901, 20).acknowledging(101);
    let said = StagedEvidence { evidence: forgotten.evidence.clone() }.inside(data);
    assert_eq!(failure(flushed(), &forgotten).cause, Cause::NobodySpoke);
    assert_eq!(failure(flushed(), &said).cause, Cause::NatRebooted);
    assert_eq!(failure(flushed(), &said.reaches(data)).cause, Cause::NobodySpoke);
}

#[test]
fn a_syn_that_only_opens_a_filter_was_not_predicted() {
    let opener = StagedPacket { target_port: 9, ..StagedPacket::new(A, 0.0, "S") };
    let staged =
        StagedEvidence::met().packet(opener).packet(StagedPacket::new(B, 1.0, "S").ports(33_333, 4_001));
    let found = failure(Behavior::port_preserving(), &staged);
    assert_eq!(found.cause, Cause::PredictedPortWrong);
    assert!(found.detail.contains("b's SYN"), "{}", found.detail);
}
