//! What is the same of a packet on both sides of a NAT.

use super::*;
use crate::model::behavior::Overloading;

#[test]
fn a_connection_through_an_honest_nat_fits() {
    let data = ("A", 101, 901, 50);
    let drawing = Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), data);
    assert_eq!(drawing.says(&plain()), None);
    let crossing = Drawing::opened()
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK)
        .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("SA", 100, 901, 0))
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("SA", 900, 101, 0));
    assert_eq!(crossing.says(&plain()), None);
}

#[test]
fn hops_and_data_are_looked_at() {
    let mut wrong_ttl = Drawing::default();
    wrong_ttl.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
    wrong_ttl.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 3);
    assert_eq!(wrong_ttl.says(&plain()), Some("hops"));
    let mut changed = Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 9));
    let last = changed.frames.last_mut().expect("a frame");
    let end = last.bytes.len() - 1;
    last.bytes[end] ^= 1;
    assert_eq!(changed.says(&plain()), Some("rewriting"));
}

#[test]
fn hops_are_looked_at_before_what_a_nat_keeps() {
    // A connection from outside was closed by a reset, and its remote endpoint is sent a SYN.
    let cone =
        Behavior { filtering: Filtering::EndpointIndependent, overloading: Overloading::Off, ..plain() };
    let closed = || {
        Drawing::opened()
            .back((OTHER, EXTERNAL), Some((OTHER, HOST)), SYN_BACK)
            .out((HOST, OTHER), Some((EXTERNAL, OTHER)), ("SA", 100, 901, 0))
            .back((OTHER, EXTERNAL), Some((OTHER, HOST)), ("R", 901, 0, 0))
            .later(MS)
    };
    for (ttl, answered, found) in
        [(1, true, None), (1, false, None), (2, false, None), (2, true, Some("invalid-packets"))]
    {
        let mut drawing = closed();
        drawing.put(DOWN, Direction::Up, (HOST, OTHER), SYN, ttl);
        if answered {
            drawing.error_on((DOWN, Direction::Down), TOO_MANY_HOPS, HOST, (HOST, OTHER), SYN.1);
        }
        assert_eq!(drawing.says(&cone), found, "TTL {ttl}, answered: {answered}");
    }
    // The second SYN of a simultaneous open.
    for (refusal, ttl, found) in [
        (SynAfterSyn::Drop, 1, None),
        (SynAfterSyn::Reset, 1, None),
        (SynAfterSyn::Drop, 2, Some("syn-after-syn")),
        (SynAfterSyn::Reset, 2, Some("syn-after-syn")),
    ] {
        let mut drawing = Drawing::opened().later(10 * MS);
        drawing.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, ttl);
        drawing.complaint(REMOTE, (REMOTE, EXTERNAL), SYN_BACK.1);
        let declared = Behavior { syn_after_syn: refusal, ..plain() };
        assert_eq!(drawing.says(&declared), found, "{refusal:?}, TTL {ttl}");
    }
    let mut reset = Drawing::opened().later(10 * MS);
    reset.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 1);
    let reset = reset.made((EXTERNAL, REMOTE), ("RA", 0, 901, 0));
    let declared = Behavior { syn_after_syn: SynAfterSyn::Drop, ..plain() };
    assert_eq!(reset.says(&declared), Some("syn-after-syn"));
}

#[test]
fn nothing_comes_from_nothing() {
    let drawing = Drawing::opened().made((EXTERNAL, OTHER_PORT), SYN);
    assert_eq!(drawing.says(&plain()), Some("own packets"));
}

#[test]
fn a_packet_that_came_last_may_have_ended_its_connection() {
    let (fin, fin_back) = (("FA", 101, 901, 0), ("FA", 901, 102, 0));
    let ended = || {
        Drawing::stands()
            .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), fin)
            .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), fin_back)
            .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 102, 902, 0))
            .later(1_000 * MS)
    };
    // A SYN that was on its way for long ends a connection in TIME_WAIT, and passes no more.
    let late_syn = || ended().back((REMOTE, EXTERNAL), None, SYN_BACK).forgotten();
    let first = |findings: Findings| findings.contradictions.first().map(|found| found.rule.axis);
    assert_eq!(first(late_syn().findings_at_once(&plain())), None);
    assert_eq!(first(late_syn().findings(&plain())), None);
    assert_eq!(first(ended().forgotten().findings_at_once(&plain())), Some("timeouts"));
}
