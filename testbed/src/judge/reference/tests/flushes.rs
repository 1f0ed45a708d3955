//! NATs that forget everything at regular intervals, and those that declare it and do not.

use std::time::Duration;

use super::*;
use crate::model::behavior::{Allocation, Mapping, Overloading, Timeouts};

const S: Nanos = 1_000 * MS;
const NEIGHBOUR: &str = "10.0.0.3:4000";

/// The same NAT, which forgets everything every so many seconds.
fn flushed_every(seconds: u64, behavior: Behavior) -> Behavior {
    let timeouts = Timeouts { flush_every: Some(Duration::from_secs(seconds)), ..behavior.timeouts };
    Behavior { timeouts, ..behavior }
}

/// Forgets everything a second later, or does nothing then.
fn a_second_later(drawing: Drawing, forgets: bool) -> Drawing {
    let later = drawing.later(S);
    if forgets { later.flushed() } else { later }
}

/// Forgets everything a second later, just when the next packet comes.
fn just_when_it_forgets(drawing: Drawing) -> Drawing {
    let drawing = a_second_later(drawing, true);
    Drawing { now: drawing.now - 10 * MS, ..drawing }
}

/// Data of the usual connection from inside, and from outside.
fn outward(drawing: Drawing) -> Drawing {
    drawing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 10))
}

fn inward(drawing: Drawing, arrives: bool) -> Drawing {
    drawing.back((REMOTE, EXTERNAL), arrives.then_some((REMOTE, HOST)), ("A", 901, 101, 10))
}

#[test]
fn nothing_leads_in_any_more_until_something_goes_out_again() {
    let declared = flushed_every(5, plain());
    let stood = |forgets| a_second_later(Drawing::stands(), forgets);
    assert_eq!(inward(stood(true), true).says(&declared), Some("filtering"), "it outlived the flush");
    assert_eq!(inward(stood(true), false).says(&declared), None);
    assert_eq!(inward(stood(false), false).says(&declared), Some("connection"), "there was no flush");
    assert_eq!(inward(stood(true), false).says(&plain()), Some("connection"), "not declared");
    let again = || outward(stood(true));
    assert_eq!(inward(again(), true).says(&declared), None);
    assert_eq!(inward(again().later(S), false).says(&declared), Some("connection"), "it lives again");
}

#[test]
fn what_comes_at_about_the_time_may_have_found_everything_or_nothing() {
    let declared = flushed_every(5, plain());
    let near = || just_when_it_forgets(Drawing::stands());
    for arrives in [true, false] {
        assert_eq!(inward(near(), arrives).says(&declared), None, "{arrives}");
        // What went out at that time may have gone before, and be forgotten.
        assert_eq!(inward(outward(near()), arrives).says(&declared), None, "{arrives}");
    }
    // Afterwards it is surely gone.
    let later = || inward(near(), true).later(S);
    assert_eq!(inward(later(), true).says(&declared), Some("filtering"));
    assert_eq!(inward(later(), false).says(&declared), None);
    // Once more makes it sure.
    assert_eq!(inward(outward(outward(near()).later(S)), false).says(&declared), Some("connection"));
}

/// Connections are forgotten before mappings are: what comes in between from outside makes an entry of its own, which lets more in.
#[test]
fn what_comes_from_outside_at_about_the_time_may_turn_a_connection_round() {
    let open = flushed_every(5, Behavior { filtering: Filtering::EndpointIndependent, ..plain() });
    let near = just_when_it_forgets;
    let turned = || outward(inward(near(Drawing::stands()), true).later(S));
    for passes in [Some((OTHER, HOST)), None] {
        let knock = turned().back((OTHER, EXTERNAL), passes, SYN_BACK);
        assert_eq!(knock.says(&open), None, "{passes:?}");
    }
    // What goes out by another port has made another mapping, of the same connection.
    let (drawn, redrawn) = ("192.0.2.2:20001", "192.0.2.2:20002");
    let same = Behavior { allocation: Allocation::Random, mapping: Mapping::EndpointIndependent, ..plain() };
    let same = Behavior { filtering: Filtering::EndpointIndependent, overloading: Overloading::Off, ..same };
    let asked = near(Drawing::default().out((HOST, REMOTE), Some((drawn, REMOTE)), SYN));
    let answered = asked.back((REMOTE, drawn), Some((REMOTE, HOST)), SYN_ACK_BACK);
    let sent = answered.later(S).out((HOST, REMOTE), Some((redrawn, REMOTE)), ("A", 101, 901, 10));
    let reset = sent.back((REMOTE, redrawn), Some((REMOTE, HOST)), ("R", 901, 0, 0));
    assert_eq!(reset.says(&flushed_every(5, same)), None);
    let crossed = near(Drawing::opened()).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
    let answered = crossed.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK);
    assert_eq!(answered.says(&open), None);
    // The next flush ends that as well.
    let over = a_second_later(turned(), true).back((OTHER, EXTERNAL), Some((OTHER, HOST)), SYN_BACK);
    let open = flushed_every(1, Behavior { filtering: Filtering::EndpointIndependent, ..plain() });
    assert_eq!(over.says(&open), Some("filtering"));
}

/// A SYN that was let in and reset just then leaves nothing. A data packet may leave an entry in which the ends have changed places, which
/// is gone when the same inside endpoint goes out by another port.
#[test]
fn what_goes_out_by_another_port_is_a_connection_of_its_own() {
    let cone = Behavior { allocation: Allocation::Random, mapping: Mapping::EndpointIndependent, ..plain() };
    let cone = Behavior { filtering: Filtering::EndpointIndependent, overloading: Overloading::Off, ..cone };
    let declared = flushed_every(5, cone);
    let (drawn, redrawn) = ("192.0.2.2:20001", "192.0.2.2:20002");
    let opened = || Drawing::default().out((HOST, OTHER), Some((drawn, OTHER)), SYN);
    let let_in = || just_when_it_forgets(opened()).back((REMOTE, drawn), Some((REMOTE, HOST)), SYN_BACK);
    let at_once = |drawing: Drawing| Drawing { now: drawing.now - 10 * MS, ..drawing };
    for answer in [("RA", 0, 901, 0), ("SA", 100, 901, 0), ("A", 101, 901, 10)] {
        let answered = at_once(let_in()).out((HOST, REMOTE), Some((drawn, REMOTE)), answer);
        let again =
            || answered.clone().later(S).out((HOST, REMOTE), Some((redrawn, REMOTE)), ("S", 500, 0, 0));
        let reset = |passes: Option<(&str, &str)>| again().back((REMOTE, redrawn), passes, ("RA", 0, 501, 0));
        assert_eq!(reset(Some((REMOTE, HOST))).says(&declared), None, "{answer:?}");
        assert_eq!(reset(None).says(&declared), Some("connection"), "{answer:?}: it had to pass");
    }
}

#[test]
fn the_ends_of_entries_are_told_when_everything_is_forgotten_and_at_no_other_time() {
    let at_flush = |declared: &Behavior| {
        let drawing = Drawing::stands().later(S);
        let before = drawing.now;
        drawing.flushed().forgotten_after(before).says(declared)
    };
    assert_eq!(at_flush(&flushed_every(5, plain())), None);
    assert_eq!(at_flush(&plain()), Some("timeouts"));
    let told = Drawing::stands().later(S);
    let before = told.now;
    let told = told.flushed().forgotten_after(before).later(S);
    assert_eq!(inward(told, true).says(&flushed_every(5, plain())), Some("filtering"), "it outlived its end");
    let sooner = a_second_later(Drawing::stands().later(S).forgotten(), true);
    assert_eq!(sooner.says(&flushed_every(5, plain())), Some("timeouts"));
    let later = inward(outward(a_second_later(Drawing::stands(), true)), true).later(S).forgotten();
    assert_eq!(later.says(&flushed_every(5, plain())), Some("timeouts"));
}

#[test]
fn mappings_and_filters_are_forgotten_as_well() {
    let same = Behavior { allocation: Allocation::Random, mapping: Mapping::EndpointIndependent, ..plain() };
    let (first, other) = ("192.0.2.2:20001", "192.0.2.2:20002");
    let opened =
        |forgets| a_second_later(Drawing::default().out((HOST, REMOTE), Some((first, REMOTE)), SYN), forgets);
    let elsewhere = |forgets| opened(forgets).out((HOST, OTHER), Some((other, OTHER)), SYN);
    assert_eq!(elsewhere(true).says(&flushed_every(5, same)), None);
    assert_eq!(elsewhere(false).says(&flushed_every(5, same)), Some("mapping"));
    assert_eq!(elsewhere(true).says(&same), Some("mapping"), "not declared");

    let open = Behavior { filtering: Filtering::EndpointIndependent, ..plain() };
    let knock = |forgets| {
        a_second_later(Drawing::opened(), forgets).back((OTHER, EXTERNAL), Some((OTHER, HOST)), SYN_BACK)
    };
    assert_eq!(knock(false).says(&flushed_every(5, open)), None);
    assert_eq!(knock(true).says(&flushed_every(5, open)), Some("filtering"));

    let own = Behavior { overloading: Overloading::Off, ..plain() };
    let taken = |forgets| {
        a_second_later(Drawing::opened(), forgets).out((NEIGHBOUR, OTHER), Some((EXTERNAL, OTHER)), SYN)
    };
    assert_eq!(taken(true).says(&flushed_every(5, own)), None);
    assert_eq!(taken(false).says(&flushed_every(5, own)), Some("overloading"));
}

#[test]
fn mappings_and_filters_may_be_forgotten_by_what_comes_at_about_the_time() {
    let same = Behavior { allocation: Allocation::Random, mapping: Mapping::EndpointIndependent, ..plain() };
    let (first, other) = ("192.0.2.2:20001", "192.0.2.2:20002");
    let opened = || just_when_it_forgets(Drawing::default().out((HOST, REMOTE), Some((first, REMOTE)), SYN));
    for external in [first, other] {
        let elsewhere = opened().out((HOST, OTHER), Some((external, OTHER)), SYN);
        assert_eq!(elsewhere.says(&flushed_every(5, same)), None, "{external}");
    }

    let open = Behavior { filtering: Filtering::EndpointIndependent, ..plain() };
    for passes in [Some((OTHER, HOST)), None] {
        let knock = just_when_it_forgets(Drawing::opened()).back((OTHER, EXTERNAL), passes, SYN_BACK);
        assert_eq!(knock.says(&flushed_every(5, open)), None, "{passes:?}");
    }

    let own = Behavior { overloading: Overloading::Off, ..plain() };
    for external in [EXTERNAL, other] {
        let taken =
            just_when_it_forgets(Drawing::opened()).out((NEIGHBOUR, OTHER), Some((external, OTHER)), SYN);
        assert_eq!(taken.says(&flushed_every(5, own)), None, "{external}");
    }
}

#[test]
fn a_syn_that_was_refused_comes_for_the_first_time_again() {
    let late = Behavior { unsolicited_syn: UnsolicitedSyn::IcmpAfterSixSeconds, ..plain() };
    let again = |forgets| {
        let first = Drawing::default().back((REMOTE, EXTERNAL), None, SYN_BACK).later(2 * S);
        a_second_later(first, forgets).later(4 * S).back((REMOTE, EXTERNAL), None, SYN_BACK)
    };
    assert_eq!(again(true).says(&flushed_every(5, late)), None);
    assert_eq!(again(false).says(&late), Some("unsolicited-syn"));
    // Whoever answers it at once has not forgotten that it came before.
    let refused = |mut drawing: Drawing| {
        let port = etherparse::icmpv4::DestUnreachableHeader::Port;
        let kind = etherparse::Icmpv4Type::DestinationUnreachable(port);
        drawing.error(kind, REMOTE, (REMOTE, EXTERNAL), SYN_BACK.1);
        drawing
    };
    assert_eq!(refused(again(true)).says(&flushed_every(5, late)), Some("unsolicited-syn"));
    assert_eq!(refused(again(false)).says(&late), None);
    // At about the time, nobody knows which of the two it is.
    let near = || {
        let first = Drawing::default().back((REMOTE, EXTERNAL), None, SYN_BACK).later(6 * S);
        just_when_it_forgets(first).back((REMOTE, EXTERNAL), None, SYN_BACK)
    };
    assert_eq!(near().says(&flushed_every(10, late)), None);
    assert_eq!(refused(near()).says(&flushed_every(10, late)), None);
}

#[test]
fn the_interval_is_as_declared() {
    let declared = flushed_every(5, plain());
    assert_eq!(Drawing::opened().later(5 * S).says(&declared), None, "it may still come");
    assert_eq!(Drawing::opened().later(6 * S).says(&declared), Some("timeouts"), "never");
    let twice = |apart: Nanos| Drawing::opened().later(S).flushed().later(apart).flushed().later(S);
    for (apart, said) in
        [(4 * S, Some("timeouts")), (4_800 * MS, None), (5_200 * MS, None), (6 * S, Some("timeouts"))]
    {
        assert_eq!(twice(apart).says(&declared), said, "{apart}");
    }
    let last = Drawing::opened().later(S).flushed().later(6 * S);
    assert_eq!(last.says(&declared), Some("timeouts"), "no more");
}
