//! Packets that a NAT sends once more than they came.

use super::*;

#[test]
fn what_comes_out_twice_is_said_to() {
    let again = |drawing: Drawing| {
        let mut drawing = drawing;
        drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
        drawing
    };
    let crossed = |drawing: Drawing| drawing.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
    let mut before = Drawing::default();
    before.put(UP, Direction::Down, (REMOTE, EXTERNAL), SYN_BACK, 60);
    // The other side's SYN crosses it, and what comes twice is no answer to that.
    for drawing in [again(Drawing::opened()), crossed(again(Drawing::opened())), again(opened_after(before))]
    {
        let found = drawing.findings(&plain()).contradictions;
        let (first, rest) = found.split_first().expect("a contradiction");
        let said = &first.sentence;
        assert!(said.contains("(own packets; ") && rest.is_empty(), "{said}");
        assert!(said.ends_with("on its outside came out of it once more than it had gone in"), "{said}");
        assert_eq!(first.frames.len(), 3, "{:?}", first.frames);
    }
    // What was sent again may come out again.
    let sent_again = crossed(Drawing::opened()).out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN);
    assert_eq!(sent_again.says(&plain()), None);
}

#[test]
fn what_may_be_stamped_late_is_no_copy() {
    let again = |mut drawing: Drawing| {
        drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
        drawing
    };
    let copies = |drawing: Drawing| {
        let node = NodeName::new("nat-a").expect("a good name");
        let declared = plain();
        let nat = nat_view(&node, &declared);
        Passages::read(&Evidence { frames: drawing.frames, ..Evidence::default() }, &nat).twice.len()
    };
    assert_eq!(copies(again(Drawing::opened())), 1);
    // Sent again, seen on the way out, and read late on the way in.
    assert_eq!(copies(again(Drawing::opened()).out((HOST, REMOTE), None, SYN)), 0);
    // Long after it, it is none, and neither is what was on its way for another hop less.
    assert_eq!(copies(again(Drawing::opened().later(300 * MS))), 0);
    let mut other_hops = Drawing::opened();
    other_hops.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 62);
    assert_eq!(copies(other_hops), 0);
}

#[test]
fn what_the_link_doubles_is_no_deed_of_the_nat() {
    for fate in [Fate::Delivered, Fate::InFlight] {
        let mut drawing = Drawing::opened();
        drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 63);
        let copy = drawing.frames.last_mut().expect("a frame");
        (copy.is_copy, copy.fate) = (true, fate);
        assert_eq!(drawing.says(&plain()), None, "{fate:?}");
    }
}

/// The usual SYN went out, after something else.
fn opened_after(before: Drawing) -> Drawing {
    before.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN)
}

#[test]
fn a_reset_comes_twice_only_from_a_nat_that_makes_none() {
    let reset = ("RA", 0, 901, 0);
    let drawing = || {
        let knocked = Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
        let mut refused = knocked.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), reset);
        refused.put(UP, Direction::Up, (EXTERNAL, REMOTE), reset, 63);
        refused
    };
    let twice = |declared: &Behavior| {
        let found = drawing().findings(declared).contradictions;
        found.iter().any(|found| found.sentence.ends_with("came out of it once more than it had gone in"))
    };
    assert!(twice(&plain()));
    for unsolicited_syn in [UnsolicitedSyn::Reset, UnsolicitedSyn::Kernel] {
        assert!(!twice(&Behavior { unsolicited_syn, ..plain() }));
    }
    assert!(!twice(&Behavior { syn_after_syn: SynAfterSyn::Reset, ..plain() }));
}
