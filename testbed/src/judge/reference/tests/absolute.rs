//! NATs that end their connections however busy these are, and those that declare it and do not.

use std::time::Duration;

use super::*;
use crate::model::behavior::{Mapping, Overloading, Timeouts};

const S: Nanos = 1_000 * MS;

/// A NAT that keeps ports and ends each connection after so many seconds.
fn ends_after(seconds: u64) -> Behavior {
    let timeouts = Timeouts { absolute: Some(Duration::from_secs(seconds)), ..Timeouts::default() };
    Behavior { timeouts, ..plain() }
}

/// Data of the usual connection, the other way as well.
fn data(drawing: Drawing, round: u32) -> Drawing {
    let (ours, theirs) = (101 + 10 * round, 901 + 10 * round);
    drawing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", ours, theirs, 10)).back(
        (REMOTE, EXTERNAL),
        Some((REMOTE, HOST)),
        ("A", theirs, ours + 10, 10),
    )
}

/// The usual connection, over which something passes each second; its age is not much more than that of the rounds.
fn busy_for(seconds: u32) -> Drawing {
    (0..seconds).fold(Drawing::stands(), |drawing, round| data(drawing, round).later(S - 20 * MS))
}

#[test]
fn a_busy_connection_ends_when_it_is_declared_to() {
    let ended = |after: Nanos| busy_for(4).later(after).forgotten();
    assert_eq!(ended(980 * MS).later(2 * S).says(&ends_after(5)), None, "in time");
    assert_eq!(ended(1_150 * MS).later(2 * S).says(&ends_after(5)), None, "a little late");
    assert_eq!(ended(0).later(2 * S).says(&ends_after(5)), Some("timeouts"), "too early");
    assert_eq!(ended(1_150 * MS).says(&plain()), Some("timeouts"), "not declared");
    assert_eq!(ended(1_150 * MS).says(&ends_after(6)), Some("timeouts"), "declared to live longer");
    assert_eq!(
        ended(1_150 * MS).later(2 * S).says(&ends_after(3)),
        Some("timeouts"),
        "declared to live shorter"
    );
}

#[test]
fn what_ends_by_itself_before_is_told_of_by_then() {
    let reset = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0));
    assert_eq!(reset().forgotten().later(7 * S).says(&ends_after(5)), None);
    assert_eq!(
        reset().later(4 * S).forgotten().later(3 * S).says(&ends_after(5)),
        None,
        "found when it is due"
    );
    assert_eq!(
        reset().later(6 * S).forgotten().later(S).says(&ends_after(5)),
        Some("timeouts"),
        "never looked for"
    );
    assert_eq!(Drawing::opened().later(7 * S).says(&ends_after(5)), Some("timeouts"));
}

#[test]
fn a_connection_that_goes_on_is_found_by_packets_or_by_the_missing_record() {
    let declared = ends_after(5);
    let inward = busy_for(5).later(S).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 951, 151, 10));
    assert_eq!(inward.says(&declared), Some("timeouts"));
    // Something passes at the very moment when it is to end, so that it may have begun anew.
    assert_eq!(busy_for(8).says(&declared), Some("timeouts"));
    assert_eq!(busy_for(8).says(&plain()), None);
    let outward = busy_for(5).later(S / 2).out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 151, 951, 10));
    assert_eq!(outward.says(&declared), Some("timeouts"));
    assert_eq!(busy_for(5).later(2 * S).says(&declared), Some("timeouts"), "its end was not told");
    assert_eq!(busy_for(5).later(S / 2).says(&declared), None, "its end may not have been told yet");
}

#[test]
fn what_goes_on_from_inside_begins_anew() {
    let picked_up = || {
        let gone = busy_for(5).later(50 * MS).forgotten();
        gone.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 151, 951, 10))
    };
    assert_eq!(picked_up().later(3 * S).says(&ends_after(5)), None);
    let kept = busy_for(5).later(50 * MS).forgotten();
    let inward = kept.back((REMOTE, EXTERNAL), None, ("A", 951, 151, 10));
    assert_eq!(inward.says(&ends_after(5)), None, "nothing leads in any more");
}

#[test]
fn data_of_both_sides_that_meet_when_the_connection_has_ended_may_come_in_either_order() {
    // The entry ends, and its record is read late. Then what comes from outside is dropped, what goes out begins the connection
    // anew, and what comes later is let in. By the stamps the host's came first.
    let met = || {
        let mut drawing = busy_for(5).later(40 * MS);
        drawing.put(DOWN, Direction::Up, (HOST, REMOTE), ("A", 151, 951, 10), 64);
        drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), ("A", 151, 951, 10), 63);
        drawing.put(UP, Direction::Down, (REMOTE, EXTERNAL), ("A", 951, 151, 10), 60);
        drawing.forgotten_after(10 * MS).begun()
    };
    let went_on = met().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 951, 161, 10));
    assert_eq!(went_on.says(&ends_after(5)), None);
}

#[test]
fn data_from_outside_begins_a_connection_anew_where_everybody_is_let_in() {
    let cone = Behavior {
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::EndpointIndependent,
        overloading: Overloading::Off,
        ..ends_after(5)
    };
    let goes_on =
        |drawing: Drawing| drawing.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 951, 151, 10));
    let over = |drawing: Drawing| {
        drawing
            .later(100 * MS)
            .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("FA", 151, 961, 0))
            .later(400 * MS)
            .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("FA", 961, 152, 0))
    };
    let told = || Drawing::opened().begun().later(5_050 * MS);
    // Nothing has been read of its records since it began, so that the end may have come at any time since.
    let read_at_once = over(goes_on(told().forgotten_after(20 * MS)));
    assert_eq!(read_at_once.says(&cone), None);
    let read_late = over(goes_on(busy_for(5).later(60 * MS)).forgotten_after(5_000 * MS));
    assert_eq!(read_late.says(&cone), None);
}

#[test]
fn a_connection_that_began_again_before_the_end_of_the_last_one_was_read_is_as_old_as_that() {
    let go_out =
        |drawing: Drawing, number| drawing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("S", number, 0, 0));
    // The host goes on with it once it is over, the other end resets that, and the host dials again.
    let over = Drawing::opened().later(1_040 * MS).forgotten_after(600 * MS);
    let goes_on = over.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 10));
    let reset = goes_on.later(200 * MS).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("R", 901, 0, 0));
    let told = go_out(reset.later(340 * MS), 500).later(15 * MS).forgotten_after(1_200 * MS).begun();
    let again = |drawing: Drawing| go_out(drawing.later(190 * MS), 600).later(850 * MS);
    let comes = |drawing: Drawing| again(drawing).back((REMOTE, EXTERNAL), None, SYN_BACK).forgotten();
    assert_eq!(comes(told).says(&ends_after(1)), None, "it is over a second old");
    let begun_later = go_out(Drawing::opened().later(1_200 * MS).forgotten().later(600 * MS), 500);
    assert_eq!(comes(begun_later).says(&ends_after(1)), None);
    let young = go_out(Drawing::opened().later(1_200 * MS).forgotten().later(700 * MS), 500).later(500 * MS);
    let young = young.back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(young.says(&ends_after(1)), Some("connection"), "it lives");
}
