//! Evidence and claims -> the outcome of a trial. Pure.
//!
//! The kernel is the judge: a claim without evidence is a lie, evidence that contradicts a NAT's declaration is an
//! error of the lab, and lost evidence proves nothing. `docs/puncher-contract.md` has the table.

use std::net::SocketAddrV4;
use std::time::Duration;

pub use crate::judge::case::{Case, Rendezvous};
use crate::judge::cause::{self, Diagnosis, Marks};
use crate::judge::claim_check::{ClaimCheck, check_claims};
use crate::judge::oracle::{Expected, OracleReport, replay};
use crate::judge::program_output::Claim;
use crate::judge::reference::{self, Findings};
use crate::judge::timeline::{Flow, Role, Timeline};
use crate::model::cause::CauseKind;
use crate::model::evidence::{Evidence, Fate, Frame, Nanos};
use crate::model::outcome::{Cause, Outcome, Success};
use crate::model::packet::Packet;

/// A judged trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What came of it.
    pub outcome: Outcome,
    /// The flows between the two sides.
    pub timeline: Timeline,
    /// What had to happen.
    pub oracle: OracleReport,
    /// What the reference says of each NAT, in the order of [`Case::nats`].
    pub reference: Vec<Findings>,
    /// The packets that the outcome rests on, by their index in the evidence, and what each shows.
    pub marks: Vec<(usize, String)>,
}

/// Judges a trial.
#[must_use]
pub fn judge(case: &Case<'_>) -> Judgement {
    let timeline = Timeline::read(case.evidence, case.a, case.b);
    let oracle = replay(&timeline, case.declared);
    let reference: Vec<Findings> = case.nats.iter().map(|nat| reference::check(case.evidence, nat)).collect();
    let (outcome, marks) = outcome(case, &timeline, &oracle, &reference);
    Judgement { outcome, timeline, oracle, reference, marks }
}

/// What came of it, and the packets that this rests on.
fn outcome(
    case: &Case<'_>,
    timeline: &Timeline,
    oracle: &OracleReport,
    reference: &[Findings],
) -> (Outcome, Marks) {
    let error = |found: Diagnosis| (Outcome::Error(found.failure), found.marks);
    let failed = |found: Diagnosis| (Outcome::Failed(found.failure), found.marks);
    if let Some(found) = unusable(case).or_else(|| broken(case)) {
        return error(found);
    }
    if let Some(found) = reference.iter().flat_map(|findings| &findings.contradictions).next() {
        let failure = Cause::LabError.because(&found.sentence);
        return (Outcome::Error(failure), found.frames.clone());
    }
    if let Some(contradiction) = oracle.contradictions.first()
        && !cause::is_shaken(case, timeline, oracle)
    {
        return error(undeclared(contradiction));
    }
    match check_claims(case, &timeline.flows) {
        ClaimCheck::Lie(why) => error(Diagnosis::new(Cause::ProgramLied, why)),
        ClaimCheck::ByBoth(flow, method) if oracle.expected == Expected::CannotConnect => {
            let what = format!("{} connected by {method}, and no SYN of either side could pass", flow.a);
            error(Diagnosis { marks: cause::marks_of_success(flow), ..undeclared(&what) })
        }
        ClaimCheck::ByBoth(flow, method) => {
            (Outcome::Passed(success(flow, timeline, method)), cause::marks_of_success(flow))
        }
        ClaimCheck::ByOne(role, flow) => failed(cause::one_sided(case, role, flow)),
        ClaimCheck::ByNone => without_claim(case, timeline, oracle),
    }
}

fn undeclared(what: &str) -> Diagnosis {
    Diagnosis::new(Cause::LabError, format!("the lab does not do what it declares: {what}"))
}

/// Neither peer claims success: a failure, unless the packets say that there had to be a connection.
fn without_claim(case: &Case<'_>, timeline: &Timeline, oracle: &OracleReport) -> (Outcome, Marks) {
    let stood = cause::stood(case, timeline);
    let excused =
        || cause::is_shaken(case, timeline, oracle) || cause::answers_were_lost(case, timeline, oracle);
    let found = match (stood, oracle.expected) {
        // Where the reference has looked at every NAT and found nothing, a host or its program is why there is none.
        (None, Expected::MustConnect) if case.nats.is_empty() && !excused() => Diagnosis::new(
            Cause::LabError,
            "a SYN was let in and answered, and yet no connection came of it: see the packets",
        ),
        (stood, _) => cause::find(case, timeline, oracle, stood),
    };
    // A failure that nothing explains says something of the lab, or of the judge, and nothing of the NATs.
    match found.failure.cause.kind() {
        CauseKind::Error | CauseKind::Void => (Outcome::Error(found.failure), found.marks),
        CauseKind::Failure => (Outcome::Failed(found.failure), found.marks),
    }
}

/// Why the evidence proves nothing, if so.
fn unusable(case: &Case<'_>) -> Option<Diagnosis> {
    if let Some(lost) = case.evidence.lost.first() {
        return Some(Diagnosis::new(Cause::MachineTooSlow, format!("evidence was lost: {lost}")));
    }
    let left = |f: &Frame| matches!(f.fate, Fate::Delivered | Fate::Duplicated);
    let late = |f: &Frame| f.left.saturating_sub(f.due);
    let allowed = u64::try_from(case.lateness.as_nanos()).unwrap_or(Nanos::MAX);
    let frames = case.evidence.frames.iter().enumerate().filter(|(_, f)| left(f) && late(f) > allowed);
    let frames = frames.filter(|(_, f)| decides(case.evidence, f)).map(|(at, f)| (at, late(f)));
    let (frame, worst) = frames.max_by_key(|(_, late)| *late)?;
    let (worst, allowed) = (worst as f64 / 1e6, allowed as f64 / 1e6);
    let detail = format!("a frame left the wire {worst:.1} ms late, and this cell tolerates {allowed:.1} ms");
    Some(Diagnosis::new(Cause::MachineTooSlow, detail).mark(frame, format!("{worst:.1} ms late")))
}

/// Whether it matters when a frame left: what goes to and from a server only moves the start of a side, which the packets
/// between the sides show.
fn decides(evidence: &Evidence, frame: &Frame) -> bool {
    let of_server = |end: SocketAddrV4| evidence.is_server(*end.ip());
    Packet::of(frame).is_none_or(|packet| !of_server(packet.source) && !of_server(packet.destination))
}

/// Whether a program broke the contract.
fn broken(case: &Case<'_>) -> Option<Diagnosis> {
    Role::BOTH
        .into_iter()
        .find_map(|role| match case.said(role) {
            Claim::Crashed(why) => Some((Cause::ProgramCrashed, role, why.clone())),
            Claim::Broken(why) => Some((Cause::ContractBroken, role, why.clone())),
            // A program that only ends says by its packets whether it tried.
            Claim::Silent(why) if !sent_anything(case, role) => {
                Some((Cause::ProgramCrashed, role, format!("never started: it sent no packet and {why}")))
            }
            _ => None,
        })
        .map(|(cause, role, why)| {
            Diagnosis::new(cause, format!("the program of peer {} {why}", role.letter()))
        })
}

/// Whether a host sent any packet, to whomever; outside its NATs only a SYN is surely its own.
fn sent_anything(case: &Case<'_>, role: Role) -> bool {
    let vantage = case.vantage(role);
    let opens = |packet: &Packet| packet.tcp().is_some_and(|segment| segment.flags.is_opening());
    let mut packets = case.evidence.frames.iter().filter_map(Packet::of);
    packets.any(|packet| {
        let from = packet.source.ip();
        *from == vantage.internal || *from == vantage.external && opens(&packet)
    })
}

fn success(flow: &Flow, timeline: &Timeline, method: String) -> Success {
    let start =
        Role::BOTH.iter().filter_map(|w| timeline.first_syn(*w)).map(|s| s.sent).min().unwrap_or_default();
    let latest = |times: [Option<Nanos>; 2]| {
        Duration::from_nanos(times.into_iter().flatten().max().unwrap_or_default().saturating_sub(start))
    };
    Success {
        method,
        how: cause::how(flow, timeline),
        established: latest(Role::BOTH.map(|w| flow.established(w))),
        authenticated: latest(Role::BOTH.map(|w| flow.delivered_payload(w))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::oracle::DeclaredNats;
    use crate::judge::program_output::SuccessClaim;
    use crate::judge::staged::{StagedEvidence, StagedPacket, external, vantage};
    use crate::model::behavior::{Behavior, UnsolicitedSyn};
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
        let nat = [Behavior { unsolicited_syn, ..Behavior::port_preserving() }];
        let case = Case {
            evidence: &staged.evidence,
            a: &vantage(A),
            b: &vantage(B),
            declared: DeclaredNats { a: &nat, b: &nat, common: &[] },
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
        assert!(
            matches!(claim(&silent), Outcome::Error(f) if f.cause == Cause::ProgramLied),
            "b sent nothing"
        );
        let lossy = silent.lost(StagedPacket::new(B, 30.6, "A").data(901, 39).acknowledging(179));
        match claim(&lossy) {
            Outcome::Failed(failure) => assert_eq!(failure.cause, Cause::LostByLink, "{failure}"),
            other => panic!("{other:?}"),
        }
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
    fn an_answer_that_its_own_nat_takes_for_invalid_is_the_cause() {
        let (early, late) = (StagedPacket::new(A, 0.0, "S"), StagedPacket::new(B, 50.0, "S"));
        let answer =
            |sequence| StagedPacket { sequence, ..StagedPacket::new(A, 60.1, "SA").acknowledging(901) };
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
}
