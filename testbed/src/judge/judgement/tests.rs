//! Trials that are staged, and what they are judged to be.

mod endings;
mod order;

use std::net::Ipv4Addr;

use super::*;
use crate::judge::oracle::DeclaredNats;
use crate::judge::program_output::SuccessClaim;
use crate::judge::staged::{StagedEvidence, StagedPacket, external, vantage};
use crate::judge::timeline::Vantage;
use crate::model::address_pool::AddressPool;
use crate::model::behavior::{Behavior, ExternalAddresses, Filtering, Pooling, UnsolicitedSyn};
use crate::model::outcome::How;
use Role::{A, B};

fn won(role: Role) -> Claim {
    let ports = if role == A { (4000, 5000) } else { (5000, 4000) };
    let local = SocketAddrV4::new(vantage(role).internal, ports.0);
    let remote = SocketAddrV4::new(external(role.other()), ports.1);
    Claim::Success(SuccessClaim { connection: Some((local, remote)), method: Some("m".into()) })
}

fn lost() -> Claim {
    Claim::Failure("no path".into())
}

fn outcome(
    staged: &StagedEvidence,
    claim_a: &Claim,
    claim_b: &Claim,
    unsolicited_syn: UnsolicitedSyn,
) -> Outcome {
    outcome_behind(Behavior { unsolicited_syn, ..Behavior::port_preserving() }, staged, claim_a, claim_b)
}

/// The outcome of a trial in which both NATs behave so.
fn outcome_behind(nat: Behavior, staged: &StagedEvidence, claim_a: &Claim, claim_b: &Claim) -> Outcome {
    outcome_behind_all(&[nat], staged, claim_a, claim_b)
}

/// Each side has these NATs, the innermost first.
fn outcome_behind_all(
    nats: &[Behavior],
    staged: &StagedEvidence,
    claim_a: &Claim,
    claim_b: &Claim,
) -> Outcome {
    let count = nats.last().expect("there is one").addresses.count;
    let [at_a, at_b] = Role::BOTH.map(|role| {
        let vantage = vantage(role);
        Vantage { external: AddressPool { count, ..vantage.external }, ..vantage }
    });
    let case = Case {
        evidence: &staged.evidence,
        a: &at_a,
        b: &at_b,
        declared: DeclaredNats { a: nats, b: nats, common: &[] },
        nats: &[],
        claim_a,
        claim_b,
        rendezvous: Rendezvous::Needed,
        method: "m",
        lateness: Duration::from_millis(5),
    };
    judge(&case).outcome
}

fn cause(staged: &StagedEvidence, unsolicited_syn: UnsolicitedSyn) -> Cause {
    match outcome(staged, &lost(), &lost(), unsolicited_syn) {
        Outcome::Failed(failure) => failure.cause,
        other => panic!("{other:?}"),
    }
}

fn error(staged: &StagedEvidence, claim_a: &Claim, claim_b: &Claim) -> String {
    match outcome(staged, claim_a, claim_b, UnsolicitedSyn::Drop) {
        Outcome::Error(failure) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn crossing_syns_make_a_connection_in_two_trips() {
    match outcome(&StagedEvidence::crossing(), &won(A), &won(B), UnsolicitedSyn::Drop) {
        Outcome::Passed(success) => {
            assert_eq!(success.how, How::SynsCrossed);
            assert_eq!(success.established, Duration::from_micros(20_300));
            assert_eq!(success.authenticated, Duration::from_micros(30_500));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_claim_without_evidence_is_a_lie() {
    let nothing = StagedEvidence::met().recorded().packet(StagedPacket::new(A, 0.0, "S"));
    assert!(error(&nothing, &won(A), &won(B)).contains("peer a claims the connection"));
    let no_data = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
        .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101));
    assert!(error(&no_data, &won(A), &won(B)).contains("no evidence"));
}

#[test]
fn a_claim_of_another_connection_is_a_lie() {
    let elsewhere = SocketAddrV4::new(external(B), 5001);
    let local = SocketAddrV4::new(vantage(A).internal, 4000);
    let said = Claim::Success(SuccessClaim { connection: Some((local, elsewhere)), method: None });
    assert!(error(&StagedEvidence::crossing(), &said, &won(B)).contains("198.51.100.2:5001"));
}

#[test]
fn one_claim_is_a_failure_when_the_connection_is_there() {
    let outcome = outcome(&StagedEvidence::crossing(), &won(A), &Claim::Nothing, UnsolicitedSyn::Drop);
    assert!(matches!(outcome, Outcome::Failed(f) if f.cause == Cause::ProgramHung));
}

#[test]
fn one_claim_is_the_links_failure_when_it_lost_what_the_other_waits_for() {
    let staged = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
        .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
        .packet(StagedPacket::new(A, 20.3, "A").data(101, 78).acknowledging(901));
    let claim = |staged: &StagedEvidence| outcome(staged, &lost(), &won(B), UnsolicitedSyn::Drop);
    let silent = staged.packet(StagedPacket::new(B, 30.5, "A").data(901, 0).acknowledging(179));
    assert!(matches!(claim(&silent), Outcome::Error(f) if f.cause == Cause::ProgramLied), "b sent nothing");
    let lossy = silent.lost(StagedPacket::new(B, 30.6, "A").data(901, 39).acknowledging(179));
    match claim(&lossy) {
        Outcome::Failed(failure) => assert_eq!(failure.cause, Cause::LostByLink, "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_waited_for_what_a_link_had_lost_did_not_hang() {
    let stood = || {
        let carried = StagedEvidence::met()
            .recorded()
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101));
        carried.packet(StagedPacket::new(A, 20.3, "A").data(101, 20).acknowledging(901))
    };
    let of_b = |at: f64| StagedPacket::new(B, at, "A").data(901, 20).acknowledging(121);
    let until =
        |staged: StagedEvidence, end: f64| staged.packet(StagedPacket::new(A, end, "S").ports(4001, 9));
    let said = |of_a: &Claim, staged: &StagedEvidence| match outcome(
        staged,
        of_a,
        &Claim::Nothing,
        UnsolicitedSyn::Drop,
    ) {
        Outcome::Failed(failure) => failure.cause,
        other => panic!("{other:?}"),
    };
    for of_a in [lost(), Claim::Nothing] {
        let never_came = until(stood().lost(of_b(30.0)), 5_000.0);
        assert_eq!(said(&of_a, &never_came), Cause::LostByLink);
        let came_later = |end| until(stood().lost(of_b(30.0)).packet(of_b(300.0)), end);
        assert_eq!(said(&Claim::Nothing, &came_later(600.0)), Cause::LostByLink, "its time was up");
        assert_eq!(said(&Claim::Nothing, &came_later(5_000.0)), Cause::ProgramHung);
        let nothing_lost = until(stood().packet(of_b(300.0)), 600.0);
        assert_eq!(said(&of_a, &nothing_lost), Cause::ProgramHung);
    }
}

#[test]
fn a_program_that_waited_long_for_what_a_link_had_lost_refused_nothing() {
    let ended_at = |end: f64, loses: bool| {
        let stood = StagedEvidence::met()
            .recorded()
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
            .packet(StagedPacket::new(A, 20.3, "A").data(101, 20).acknowledging(901))
            .packet(StagedPacket::new(B, 30.4, "A").data(901, 20).acknowledging(121))
            .packet(StagedPacket::new(A, 40.5, "A").data(121, 0).acknowledging(921));
        let answer = StagedPacket::new(A, 40.6, "A").data(121, 20).acknowledging(921);
        let answered = if loses { stood.lost(answer) } else { stood };
        answered.packet(StagedPacket::new(B, end, "FA").data(921, 0).acknowledging(121))
    };
    let said =
        |of_a: &Claim, staged: &StagedEvidence| match outcome(staged, of_a, &lost(), UnsolicitedSyn::Drop) {
            Outcome::Failed(failure) => failure.cause,
            other => panic!("{other:?}"),
        };
    for of_a in [lost(), won(A)] {
        assert_eq!(said(&of_a, &ended_at(3_000.0, true)), Cause::LostByLink);
        assert_eq!(said(&of_a, &ended_at(60.0, true)), Cause::AuthenticationRefused, "at once");
        assert_eq!(said(&of_a, &ended_at(3_000.0, false)), Cause::ProgramHung, "a said no more");
    }
}

#[test]
fn who_ends_a_connection_before_it_has_heard_anything_refuses_it_or_has_waited() {
    let ended_at = |end: f64| {
        StagedEvidence::met()
            .recorded()
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
            .packet(StagedPacket::new(B, end, "FA").data(901, 0).acknowledging(101))
            .packet(StagedPacket::new(A, end + 5.0, "A").data(101, 20).acknowledging(901))
            .packet(StagedPacket::new(B, end + 15.1, "R").data(902, 0))
    };
    let failure = |staged: &StagedEvidence| match outcome(staged, &lost(), &lost(), UnsolicitedSyn::Drop) {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let at_once = failure(&ended_at(21.0));
    assert_eq!(at_once.cause, Cause::AuthenticationRefused, "{at_once}");
    assert!(at_once.detail.contains("before it had heard anything"), "{at_once}");
    let waited = failure(&ended_at(2_060.0));
    assert_eq!(waited.cause, Cause::ProgramHung, "{waited}");
    assert!(waited.detail.contains("peer b ended it 2.0 s after"), "{waited}");
}

#[test]
fn lost_evidence_and_late_frames_prove_nothing() {
    let mut staged = StagedEvidence::crossing();
    staged.evidence.frames[5].left += 6_000_000;
    assert!(error(&staged, &won(A), &won(B)).starts_with("machine too slow: a frame"));
    let mut staged = StagedEvidence::crossing();
    staged.evidence.lost.push("12 frames".into());
    assert_eq!(error(&staged, &won(A), &won(B)), "machine too slow: evidence was lost: 12 frames");
}

#[test]
fn a_connection_on_which_nobody_spoke_was_not_refused() {
    let stood = || {
        StagedEvidence::met()
            .recorded()
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
            .packet(StagedPacket::new(A, 20.3, "A").data(101, 0).acknowledging(901))
            .packet(StagedPacket::new(B, 20.3, "A").data(901, 0).acknowledging(101))
    };
    let half = stood()
        .packet(StagedPacket::new(A, 30.0, "A").data(101, 20).acknowledging(901))
        .packet(StagedPacket::new(B, 40.2, "A").data(901, 0).acknowledging(121));
    let lie = error(&half, &won(A), &won(B));
    assert!(lie.ends_with(" stood, but no data of peer b arrived on it"), "{lie}");
    let closed = stood().packet(StagedPacket::new(A, 300.0, "FA").data(101, 0).acknowledging(901));
    assert_eq!(cause(&closed, UnsolicitedSyn::Drop), Cause::NobodySpoke);
    let said = stood()
        .packet(StagedPacket::new(A, 30.0, "A").data(101, 20).acknowledging(901))
        .packet(StagedPacket::new(B, 40.2, "A").data(901, 0).acknowledging(121));
    let refused = said.packet(StagedPacket::new(B, 40.3, "FA").data(901, 0).acknowledging(121));
    assert_eq!(cause(&refused, UnsolicitedSyn::Drop), Cause::AuthenticationRefused);
}

#[test]
fn what_belongs_to_a_socket_that_is_closed_by_now_makes_no_connection_stand() {
    let numbered = |sequence, packet| StagedPacket { sequence, ..packet };
    // b's SYN is sent again, is on its way when a resets the first, and meets the socket that a opened since. b dials with another number.
    let first = StagedPacket::new(B, 0.0, "S");
    let reset = StagedPacket::new(A, 10.1, "RA").acknowledging(901);
    let of_a = StagedPacket::new(A, 40.0, "S");
    let again = |number| numbered(number, StagedPacket::new(B, 60.0, "S"));
    let answer_of_b = |number| numbered(number, StagedPacket::new(B, 70.1, "SA").acknowledging(101));
    let answer_of_a = StagedPacket::new(A, 80.1, "SA").acknowledging(901);
    let cause_with = |number| {
        let both = |staged: StagedEvidence, draw: StagedPacket| {
            let arrives = StagedPacket { at_ms: draw.at_ms + 10.0, ..draw };
            staged.inside(draw).packet(draw).reaches(arrives)
        };
        let sent = [first, reset, of_a, again(number), answer_of_b(number), answer_of_a];
        let met = StagedEvidence::met().says_to_server(StagedPacket::new(A, 0.0, "S")).recorded();
        let staged = sent.into_iter().fold(met, both);
        let open = Behavior { filtering: Filtering::EndpointIndependent, ..Behavior::port_preserving() };
        match outcome_behind(open, &staged, &lost(), &lost()) {
            Outcome::Failed(failure) => failure.cause,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cause_with(900), Cause::NobodySpoke);
    assert_eq!(cause_with(950), Cause::ResetByHost);
}

#[test]
fn an_outer_nat_may_let_in_what_an_inner_one_answers() {
    let outer = Behavior { filtering: Filtering::EndpointIndependent, ..Behavior::port_preserving() };
    let asks = StagedPacket::new(A, 0.0, "S");
    let syn = StagedPacket::new(B, 20.0, "S");
    // The answer has made a hop at the outer NAT.
    let reset = StagedPacket::new(A, 30.1, "RA").acknowledging(901).ttl(63);
    let staged = StagedEvidence::met().inside(asks).says_to_server(asks).recorded().packet(syn).packet(reset);
    let behind = |inner: UnsolicitedSyn| {
        let inner = Behavior { unsolicited_syn: inner, ..Behavior::port_preserving() };
        outcome_behind_all(&[inner, outer], &staged, &lost(), &lost())
    };
    match behind(UnsolicitedSyn::Reset) {
        Outcome::Failed(failure) => assert_eq!(failure.cause, Cause::Filtered, "{failure}"),
        other => panic!("{other:?}"),
    }
    let lies = behind(UnsolicitedSyn::Drop);
    assert!(matches!(&lies, Outcome::Error(f) if f.detail.contains("though it drops")), "{lies:?}");
}

#[test]
fn an_answer_that_its_own_nat_takes_for_invalid_is_the_cause() {
    let (early, late) = (StagedPacket::new(A, 0.0, "S"), StagedPacket::new(B, 50.0, "S"));
    let answer = |sequence| StagedPacket { sequence, ..StagedPacket::new(A, 60.1, "SA").acknowledging(901) };
    let staged = |sequence| {
        let syns = StagedEvidence::met().recorded().inside(early).packet(early).packet(late);
        syns.inside(answer(sequence))
    };
    assert_eq!(cause(&staged(5000), UnsolicitedSyn::Drop), Cause::InvalidDropped);
    assert_ne!(
        cause(&staged(100), UnsolicitedSyn::Drop),
        Cause::InvalidDropped,
        "with the SYN's number it passes"
    );
}

#[test]
fn a_host_that_does_not_answer_is_no_nat_s_doing() {
    // b's SYN finds a listener; a second one, which comes through like the first, finds silence; a's own was refused.
    let knock = |port, at_ms| StagedPacket::new(B, at_ms, "S").ports(port, 4000);
    let staged = |answer: &'static str| {
        let answer = StagedPacket::new(A, 20.1, answer).ports(4000, 5001).acknowledging(901);
        let reset = StagedPacket::new(B, 11.0, "RA").ports(5000, 4000).acknowledging(101).ttl(64);
        StagedEvidence::met()
            .inside(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(reset)
            .reaches(knock(5001, 20.0))
            .inside(answer)
            .packet(knock(5002, 30.0))
            .reaches(knock(5002, 40.0))
            .packet(knock(5002, 1_030.0))
    };
    let judged = |staged: &StagedEvidence| outcome(staged, &lost(), &lost(), UnsolicitedSyn::Reset);
    let Outcome::Error(failure) = judged(&staged("SA")) else { panic!("an error") };
    assert_eq!(failure.cause, Cause::HostSilent, "{failure}");
    // Where nothing was answered there, the socket may have been told to ignore it.
    let Outcome::Failed(failure) = judged(&staged("RA")) else { panic!("a failure") };
    assert_eq!(failure.cause, Cause::ProgramHung, "{failure}");
}

#[test]
fn a_host_that_ignores_the_only_syn_has_a_program() {
    // Nothing ever came from a's host: without a socket there, the kernel would have reset b's SYN.
    let staged = |reaches: bool| {
        let knock = |at_ms| StagedPacket::new(B, at_ms, "S").ports(5002, 4000);
        let staged = StagedEvidence::default().inside(knock(0.0)).packet(knock(1.0));
        let staged = if reaches { staged.reaches(knock(10.0)) } else { staged };
        staged.packet(knock(1_030.0))
    };
    assert_eq!(cause(&staged(true), UnsolicitedSyn::Drop), Cause::ProgramHung);
    assert_eq!(cause(&staged(false), UnsolicitedSyn::Drop), Cause::PeerNeverStarted);
}

#[test]
fn a_connection_stands_when_its_segments_came_to_the_hosts() {
    let crossing = || {
        StagedEvidence::met()
            .recorded()
            .inside(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 10.1, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
    };
    let came = crossing().reaches(StagedPacket::new(B, 20.1, "SA").acknowledging(101));
    assert_eq!(cause(&came, UnsolicitedSyn::Drop), Cause::NobodySpoke);
    // On the wire before a's NAT is not at a's host.
    assert!(error(&crossing(), &lost(), &lost()).contains("no connection came of it"));
}

#[test]
fn a_wrong_guess_is_named_with_both_ports() {
    let staged = StagedEvidence::met()
        .packet(StagedPacket::new(A, 0.0, "S").ports(4000, 5000))
        .packet(StagedPacket::new(B, 0.0, "S").ports(41_822, 4000));
    let Outcome::Failed(failure) = outcome(&staged, &lost(), &lost(), UnsolicitedSyn::Drop) else {
        panic!("a failure")
    };
    assert_eq!(failure.cause, Cause::PredictedPortWrong);
    assert!(failure.detail.contains("198.51.100.2:5000"), "{}", failure.detail);
    assert!(failure.detail.contains("198.51.100.2:41822"), "{}", failure.detail);
}

#[test]
fn a_right_port_at_another_address_is_told_before_every_other_wrong_guess() {
    let elsewhere = Ipv4Addr::new(198, 51, 100, 3);
    let opener = StagedPacket::new(A, 0.0, "S").ports(4000, 9);
    let guess = StagedPacket { sequence: 300, ..StagedPacket::new(A, 1.0, "S") };
    let from_pool = StagedPacket::new(B, 0.5, "S").leaving_as(elsewhere);
    let staged = StagedEvidence::met().packet(opener).packet(guess).packet(from_pool);
    let addresses = ExternalAddresses { count: 2, pooling: Pooling::Arbitrary };
    let nat = Behavior { addresses, ..Behavior::port_preserving() };
    let Outcome::Failed(failure) = outcome_behind(nat, &staged, &lost(), &lost()) else {
        panic!("a failure")
    };
    assert_eq!(failure.cause, Cause::PredictedAddressWrong);
    let same = "198.51.100.3:5000, with the same port at another address";
    assert!(
        failure.detail.contains(same) && failure.detail.contains("198.51.100.2:5000"),
        "{}",
        failure.detail
    );
}

#[test]
fn a_syn_that_only_opens_a_filter_is_no_wrong_guess_if_another_was_filtered() {
    let opener = StagedPacket::new(A, 0.0, "S").ports(4000, 9);
    let guess = StagedPacket::new(B, 500.0, "S");
    assert_eq!(
        cause(&StagedEvidence::met().packet(opener).packet(guess), UnsolicitedSyn::Drop),
        Cause::Filtered
    );
}

#[test]
fn a_nat_that_answers_although_it_declares_silence_is_caught_by_one_packet() {
    let staged = StagedEvidence::met()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 10.2, "RA").acknowledging(101).ttl(64))
        .packet(StagedPacket::new(B, 50.0, "S"));
    assert!(error(&staged, &lost(), &lost()).contains("though it drops what is unsolicited"));
    assert_eq!(cause(&staged, UnsolicitedSyn::Reset), Cause::ResetByNat);
}

#[test]
fn a_program_that_only_ends_must_have_sent_something() {
    let silent = || Claim::Silent("exited with code 1".into());
    let alone = StagedEvidence::default().packet(StagedPacket::new(A, 0.0, "S"));
    let crashed = error(&alone, &silent(), &silent());
    assert!(
        crashed.contains("of peer b never started: it sent no packet and exited with code 1"),
        "{crashed}"
    );
    // One that says so by the contract has run.
    assert_eq!(cause(&alone, UnsolicitedSyn::Drop), Cause::PeerNeverStarted);
}

#[test]
fn a_connection_that_could_not_be_is_an_error_of_the_lab() {
    // b answers a SYN that no mapping of NAT-b admits, and never sends one of its own.
    let staged = StagedEvidence::met()
        .recorded()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
        .with_data(20.2);
    assert!(error(&staged, &won(A), &won(B)).contains("though no mapping"));
}

#[test]
fn who_never_started_or_never_met_the_server_is_named() {
    let alone = StagedEvidence::met().packet(StagedPacket::new(A, 0.0, "S"));
    assert_eq!(cause(&alone, UnsolicitedSyn::Drop), Cause::PeerNeverStarted);
    assert_eq!(cause(&StagedEvidence::default(), UnsolicitedSyn::Drop), Cause::PeerNeverStarted);
    let unmet = StagedEvidence::default()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 0.0, "S"));
    assert_eq!(cause(&unmet, UnsolicitedSyn::Drop), Cause::NoRendezvous);
}

#[test]
fn a_lost_syn_is_the_links_fault() {
    let staged =
        StagedEvidence::met().lost(StagedPacket::new(A, 0.0, "S")).lost(StagedPacket::new(B, 0.0, "S"));
    assert_eq!(cause(&staged, UnsolicitedSyn::Drop), Cause::LostByLink);
}

#[test]
fn a_lost_answer_is_the_links_fault_and_a_missing_one_the_labs() {
    let crossed = || {
        let staged = StagedEvidence::met().recorded().packet(StagedPacket::new(A, 0.0, "S"));
        staged.packet(StagedPacket::new(B, 2.0, "S"))
    };
    let answers = || {
        [
            StagedPacket::new(B, 10.1, "SA").acknowledging(101),
            StagedPacket::new(A, 12.1, "SA").acknowledging(901),
        ]
    };
    let both_lost = answers().into_iter().fold(crossed(), StagedEvidence::lost);
    assert_eq!(cause(&both_lost, UnsolicitedSyn::Drop), Cause::LostByLink);
    let [b, a] = answers();
    let one_arrived = crossed().lost(b).packet(a);
    assert!(error(&one_arrived, &lost(), &lost()).contains("let in and answered"));
}

#[test]
fn a_late_side_is_told_from_a_crossing() {
    let how = |staged: StagedEvidence| match outcome(&staged, &won(A), &won(B), UnsolicitedSyn::Drop) {
        Outcome::Passed(success) => success.how,
        other => panic!("{other:?}"),
    };
    let next = |role| if role == A { 101 } else { 901 };
    for (early, late, expected) in [(A, B, How::BLate), (B, A, How::ALate)] {
        let syns = |second_at| {
            let staged = StagedEvidence::met().recorded().packet(StagedPacket::new(early, 0.0, "S"));
            staged.packet(StagedPacket::new(late, second_at, "S"))
        };
        let alone = syns(50.0)
            .packet(StagedPacket::new(early, 60.1, "SA").acknowledging(next(late)))
            .packet(StagedPacket::new(late, 70.2, "A").data(next(late), 0).acknowledging(next(early)));
        assert_eq!(how(alone.with_data(80.3)), expected);
        let met = syns(9.0)
            .packet(StagedPacket::new(late, 10.1, "SA").acknowledging(next(early)))
            .packet(StagedPacket::new(early, 19.1, "SA").acknowledging(next(late)));
        assert_eq!(how(met.with_data(29.3)), How::SynsCrossed, "{early:?} first");
    }
}

#[test]
fn a_program_that_broke_is_an_error() {
    let broke = Claim::Crashed("was ended by signal 11".into());
    assert_eq!(
        error(&StagedEvidence::crossing(), &won(A), &broke),
        "program crashed: the program of peer b was ended by signal 11"
    );
}
