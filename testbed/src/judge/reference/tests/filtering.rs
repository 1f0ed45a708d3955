//! Who is let in, and what is answered to the others.

use super::*;

#[test]
fn what_has_to_pass_may_not_vanish() {
    let cases = [
        (Drawing::default().out((HOST, REMOTE), None, SYN), "outward"),
        (Drawing::opened().back((REMOTE, EXTERNAL), None, SYN_BACK), "connection"),
        (Drawing::opened().back((REMOTE, EXTERNAL), None, SYN_ACK_BACK), "connection"),
        (Drawing::stands().out((HOST, REMOTE), None, ("A", 101, 901, 9)), "connection"),
        (Drawing::stands().back((REMOTE, EXTERNAL), None, ("A", 901, 101, 9)), "connection"),
    ];
    for (drawing, axis) in cases {
        assert_eq!(drawing.says(&plain()), Some(axis));
    }
}

#[test]
fn what_has_to_be_kept_may_not_pass() {
    let knock = || Drawing::opened().back((OTHER_PORT, EXTERNAL), Some((OTHER_PORT, HOST)), SYN_BACK);
    assert_eq!(knock().says(&plain()), Some("filtering"));
    let open = Behavior { filtering: Filtering::AddressDependent, ..plain() };
    assert_eq!(knock().says(&open), None);
    let kept = || Drawing::opened().back((OTHER_PORT, EXTERNAL), None, SYN_BACK);
    assert_eq!(kept().says(&open), Some("filtering"));
    assert_eq!(kept().says(&plain()), None);
}

#[test]
fn an_unsolicited_syn_is_answered_as_declared() {
    let reset = ("RA", 0, 901, 0);
    let silent = || Drawing::opened().back((OTHER_PORT, EXTERNAL), None, SYN_BACK);
    let answered = || silent().made((EXTERNAL, OTHER_PORT), reset);
    let resets = Behavior { unsolicited_syn: UnsolicitedSyn::Reset, ..plain() };
    assert_eq!(answered().says(&plain()), Some("unsolicited-syn"));
    assert_eq!(answered().says(&resets), None);
    assert_eq!(silent().says(&resets), Some("unsolicited-syn"));
}

#[test]
fn a_reset_is_no_answer_to_a_reset_that_came_with_the_segment_that_it_answers() {
    let resets = Behavior { unsolicited_syn: UnsolicitedSyn::Reset, ..plain() };
    let data = Drawing::default().back((REMOTE, EXTERNAL), None, ("A", 901, 101, 10));
    let both = || data.clone().back((REMOTE, EXTERNAL), None, ("RA", 911, 101, 0));
    assert_eq!(both().made((EXTERNAL, REMOTE), ("R", 101, 0, 0)).says(&resets), None);
    assert_eq!(both().says(&resets), Some("unsolicited-syn"));
}

#[test]
fn a_reset_from_an_address_that_was_not_asked_is_no_answer_and_is_told() {
    let resets = Behavior {
        unsolicited_syn: UnsolicitedSyn::Reset,
        addresses: ExternalAddresses { count: 2, pooling: Pooling::Paired },
        ..plain()
    };
    let answered = |from| {
        let asked = Drawing::default().back((OTHER, EXTERNAL), None, SYN_BACK);
        asked.made((from, OTHER), ("RA", 0, 901, 0)).findings(&resets)
    };
    assert_eq!(answered(EXTERNAL).contradictions, []);
    let found = answered("192.0.2.3:4000").contradictions.remove(0);
    let told =
        "had to be answered by a reset and was answered by a reset from 192.0.2.3:4000, which was not asked";
    assert!(found.sentence.ends_with(told), "{}", found.sentence);
    assert_eq!(found.frames.len(), 2, "{:?}", found.frames);
}

#[test]
fn a_syn_after_a_syn_is_handled_as_declared() {
    let refuses = Behavior { syn_after_syn: SynAfterSyn::Drop, ..plain() };
    let passed = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
    assert_eq!(passed().says(&refuses), Some("syn-after-syn"));
    assert_eq!(Drawing::opened().back((REMOTE, EXTERNAL), None, SYN_BACK).says(&refuses), None);
}

#[test]
fn a_syn_ack_with_another_number_is_invalid() {
    let anew = ("SA", 500_000_000, 901, 0);
    let before = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
    assert_eq!(before().out((HOST, REMOTE), None, anew).says(&plain()), None);
    let passed = || before().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), anew);
    assert_eq!(passed().says(&plain()), Some("invalid-packets"));
    let leaks = Behavior { invalid_packets: InvalidPackets::Leak, ..plain() };
    assert_eq!(before().out((HOST, REMOTE), Some((HOST, REMOTE)), anew).says(&leaks), None);
}

#[test]
fn flags_that_do_not_go_together_are_invalid() {
    for flags in ["F", "SF", "SR", ""] {
        let odd = || Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), (flags, 101, 901, 0));
        assert_eq!(odd().says(&plain()), Some("invalid-packets"), "{flags}");
    }
}

#[test]
fn the_reset_of_a_second_syn_closes_the_connection() {
    let declared = Behavior { syn_after_syn: SynAfterSyn::Reset, ..plain() };
    let refused = || {
        Drawing::opened().back((REMOTE, EXTERNAL), None, SYN_BACK).made((EXTERNAL, REMOTE), ("RA", 0, 901, 0))
    };
    let goes_out = |drawing: Drawing, drawn| drawing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), drawn);
    // The same SYN comes again, and another socket's; each is answered.
    for number in [100, 700] {
        let again = || goes_out(refused(), ("S", number, 0, 0));
        assert_eq!(again().says(&declared), None, "{number}");
        for answer in [("SA", 900, number + 1, 0), ("RA", 0, number + 1, 0)] {
            let answered = again().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), answer);
            assert_eq!(answered.says(&declared), None, "{number}, {answer:?}");
        }
    }
    let not_refused = Drawing::opened().back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(not_refused.says(&declared), Some("syn-after-syn"));
}
