//! What is known of packets that came close together, and of what the kernel counted.

use super::*;
use crate::model::behavior::{Mapping, Overloading, Pool, PortRange};

#[test]
fn two_packets_within_the_margin_may_come_in_either_order() {
    // The remote's SYN comes a moment before the host's goes out, and is let in; and a moment after, and is not.
    let mut early = Drawing::default();
    early.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    early.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
    early.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
    early.put(DOWN, Direction::Down, (REMOTE, HOST), SYN_BACK, 59);
    assert_eq!(early.says(&plain()), None);
    let mut late = Drawing::default();
    late.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
    late.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    late.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
    assert_eq!(late.says(&plain()), None);
}

#[test]
fn two_packets_of_which_one_was_done_before_the_other_came_have_one_order() {
    // The margin is 0.5 ms at least; the host's SYN had left 0.01 ms after it came, and the other one came 0.1 ms later.
    let both = |gap: Nanos| {
        let mut drawing = Drawing::default();
        drawing.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
        drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
        drawing.now += gap;
        drawing
    };
    let mut swallowed = both(MS / 10);
    swallowed.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    assert_eq!(swallowed.says(&plain()), Some("connection"));
    let mut passed = both(MS / 10);
    passed.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    passed.put(DOWN, Direction::Down, (REMOTE, HOST), SYN_BACK, 59);
    let findings = passed.findings(&plain());
    assert_eq!((findings.judged, findings.either.len()), (2, 0), "{findings:?}");
    let mut at_once = both(0);
    at_once.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    assert_eq!(at_once.says(&plain()), None, "the clocks of both sides do not agree so closely");
}

#[test]
fn what_connection_tracking_counts_of_its_own_failures_is_not_held_against_the_nat() {
    let swallowed = || Drawing::default().out((HOST, REMOTE), None, SYN);
    assert_eq!(swallowed().says(&plain()), Some("outward"));
    let failed = |insert_failed| CtCounters { insert_failed, drop: insert_failed, ..CtCounters::default() };
    let findings = swallowed().counted(failed(1)).findings(&plain());
    assert_eq!(findings.contradictions, []);
    assert_eq!(findings.not_judged.into_iter().collect::<Vec<_>>(), [(Doubt::Counted, 1)]);
    // It explains as many packets as it counted, and no more.
    let twice = || swallowed().out(("10.0.0.2:4001", REMOTE), None, SYN);
    assert_eq!(twice().counted(failed(1)).says(&plain()), Some("outward"));
    assert_eq!(twice().counted(failed(2)).says(&plain()), None);
    // An entry that gave way in a full table: only one that no data confirmed does.
    let early = CtCounters { early_drop: 1, ..CtCounters::default() };
    let opened = || Drawing::opened().later(1_000 * MS).forgotten();
    assert_eq!(opened().says(&plain()), Some("timeouts"));
    assert_eq!(opened().counted(early).says(&plain()), None);
    let stands = || Drawing::stands().later(1_000 * MS).forgotten();
    assert_eq!(stands().counted(early).says(&plain()), Some("timeouts"));
}

#[test]
fn an_end_that_is_read_late_may_be_that_of_an_earlier_connection() {
    let opened = || Drawing::opened().later(2_000 * MS);
    assert_eq!(opened().forgotten().says(&plain()), Some("timeouts"));
    assert_eq!(opened().forgotten_after(0).says(&plain()), None);
    // This one goes on, and what comes of it is judged.
    let stands = Drawing::stands().later(2_000 * MS).forgotten_after(0);
    let swallowed = stands.out((HOST, REMOTE), None, ("A", 101, 901, 5));
    assert!(swallowed.says(&plain()).is_some());
    // The packet that begins it ends the other one.
    assert_eq!(Drawing::opened().forgotten().says(&plain()), None);
}

#[test]
fn an_end_that_is_read_late_is_that_of_the_only_connection_there_was() {
    let quiet = |drawing: Drawing| drawing.begun().later(2_000 * MS).forgotten_after(0);
    assert_eq!(quiet(Drawing::opened()).says(&plain()), Some("timeouts"));
    assert_eq!(Drawing::opened().begun().forgotten().says(&plain()), Some("timeouts"), "at once");
    // Another one between the same ends was before, or the beginning was told later.
    let again = Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0));
    let again = again.later(MS).out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("S", 300, 0, 0));
    assert_eq!(quiet(again).says(&plain()), None);
    assert_eq!(Drawing::opened().later(2_000 * MS).forgotten_after(0).begun().says(&plain()), None);
    // What is read at once is told in its order: the beginning that comes after an end is not that of what ended.
    let ended = Drawing::opened().forgotten();
    let at_once = Drawing { now: ended.told[0].at, ..ended };
    assert_eq!(at_once.begun().says(&plain()), None);
}

#[test]
fn a_copy_that_is_handled_after_the_answer_to_the_first_is_invalid() {
    let answer = ("SA", 100, 901, 0);
    let mut copies = Drawing::opened();
    copies.now += 10 * MS;
    copies.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    copies.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    copies.put(DOWN, Direction::Down, (REMOTE, HOST), SYN_BACK, 59);
    copies.put(DOWN, Direction::Up, (HOST, REMOTE), answer, 64);
    copies.put(UP, Direction::Up, (EXTERNAL, REMOTE), answer, 63);
    assert_eq!(copies.says(&plain()), None);
}

#[test]
fn an_answer_belongs_to_what_did_not_pass() {
    // A SYN that had no hop left and the SYN/ACK that came right after it have the same number.
    let mut drawing = Drawing::opened();
    drawing.now += 10 * MS;
    let (knock, answer) = ("S", ("SA", 900, 101, 0));
    drawing.put(UP, Direction::Down, (REMOTE, EXTERNAL), (knock, 900, 0, 0), 1);
    drawing.put(UP, Direction::Down, (REMOTE, EXTERNAL), answer, 60);
    drawing.put(DOWN, Direction::Down, (REMOTE, HOST), answer, 59);
    drawing.complaint(REMOTE, (REMOTE, EXTERNAL), 900);
    assert_eq!(drawing.says(&plain()), None);
}

#[test]
fn which_of_two_copies_passed_cannot_be_told() {
    // One of them comes a moment before the host's SYN, and is not let in.
    let mut crossing = Drawing::default();
    crossing.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    crossing.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
    crossing.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
    crossing.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    let passed = |mut drawing: Drawing| {
        drawing.put(DOWN, Direction::Down, (REMOTE, HOST), SYN_BACK, 59);
        drawing
    };
    let crossing = passed(crossing);
    assert_eq!(crossing.says(&plain()), None);
    // The first reset ends the connection, so that the second one is of none.
    let copies = |resets: usize| {
        let mut resetting = Drawing::stands();
        resetting.now += 10 * MS;
        for _ in 0..resets {
            resetting.put(UP, Direction::Down, (REMOTE, EXTERNAL), ("R", 901, 0, 0), 60);
        }
        resetting
    };
    let mut one = copies(2);
    one.put(DOWN, Direction::Down, (REMOTE, HOST), ("R", 901, 0, 0), 59);
    assert_eq!(one.says(&plain()), None);
    assert_eq!(copies(2).later(1_000 * MS).says(&plain()), Some("connection"), "none passed");
}

#[test]
fn what_passed_is_the_copy_that_came_just_before() {
    // The other comes a millisecond later, when the host has answered, and is invalid.
    let mut copies = Drawing::opened();
    let start = copies.now + 10 * MS;
    let mut put_at = |after: Nanos, link, direction, ends, drawn, ttl| {
        copies.now = start + after;
        copies.put(link, direction, ends, drawn, ttl);
    };
    let answer = ("SA", 100, 901, 0);
    put_at(0, UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    put_at(35_000, DOWN, Direction::Down, (REMOTE, HOST), SYN_BACK, 59);
    put_at(100_000, DOWN, Direction::Up, (HOST, REMOTE), answer, 64);
    put_at(130_000, UP, Direction::Up, (EXTERNAL, REMOTE), answer, 63);
    put_at(1_030_000, UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    assert_eq!(copies.says(&plain()), None);
}

#[test]
fn of_two_packets_that_a_host_sends_at_once_the_later_may_keep_the_port() {
    let mapping = Mapping::AddressAndPortDependent;
    let pool = Pool::Range(PortRange { low: 4_000, high: 20_010 });
    let exclusive = Behavior { mapping, pool, overloading: Overloading::Off, ..plain() };
    let both = |declared: &Behavior, first_out: [(&str, &str); 2]| {
        let mut drawing = Drawing::default();
        drawing.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
        drawing.put(DOWN, Direction::Up, (HOST, OTHER), ("S", 500, 0, 0), 64);
        for (ends, number) in first_out.into_iter().zip([500, 100]) {
            drawing.put(UP, Direction::Up, ends, ("S", number, 0, 0), 63);
        }
        drawing.says(declared)
    };
    let kept = (EXTERNAL, OTHER);
    let moved = |external| (external, REMOTE);
    assert_eq!(both(&exclusive, [kept, moved("192.0.2.2:20001")]), None);
    let both_moved = [("192.0.2.2:20002", OTHER), moved("192.0.2.2:20001")];
    assert_eq!(both(&exclusive, both_moved), Some("allocation"));
    // Order explains no port outside the pool, and nothing where several mappings may have a port.
    assert_eq!(both(&exclusive, [kept, moved("192.0.2.2:30000")]), Some("ports"));
    let shared = Behavior { overloading: Overloading::On, ..exclusive };
    assert_eq!(both(&shared, [kept, moved("192.0.2.2:20001")]), Some("allocation"));
}
