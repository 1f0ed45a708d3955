//! What is the same of a packet on both sides of a NAT.

use super::*;

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
