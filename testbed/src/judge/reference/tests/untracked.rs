//! A NAT that keeps records of its own: what it remembers of a connection is its affair, what it declares is not.

use super::*;
use crate::judge::reference::mappings_seen;

/// Data from far beyond the window.
const FAR: Drawn = ("A", 101 + (1 << 29), 901, 4);

fn own() -> Drawing {
    Drawing { datapath: Datapath::Packets, ..Drawing::default() }
}

fn stands() -> Drawing {
    let opened = own().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN);
    let answered = opened.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK);
    answered.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ACK)
}

#[test]
fn numbers_are_not_looked_at_and_each_packet_passes() {
    let passed = |drawing: Drawing| drawing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), FAR).says(&plain());
    let kept = |drawing: Drawing| drawing.out((HOST, REMOTE), None, FAR).says(&plain());
    assert_eq!((passed(stands()), kept(stands())), (None, Some("connection")));
    let tracked = Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), FAR);
    assert_eq!(tracked.says(&plain()), Some("invalid-packets"), "connection tracking is strict");
}

#[test]
fn after_a_reset_both_are_right() {
    let reset = || stands().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 901, 101, 0));
    let data = ("A", 101, 901, 9);
    assert_eq!(reset().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), data).says(&plain()), None);
    assert_eq!(reset().out((HOST, REMOTE), None, data).says(&plain()), None);
    let other = "192.0.2.2:4001";
    let moved = reset().out((HOST, REMOTE), Some((other, REMOTE)), SYN);
    assert_eq!(moved.says(&plain()), Some("mapping"), "what it declares holds all the same");
}

#[test]
fn a_connection_lives_while_its_timer_runs() {
    let mut declared = plain();
    declared.timeouts.established = Some(std::time::Duration::from_secs(10));
    let after = |seconds: u64| stands().later(seconds * 1000 * MS);
    let kept = |drawing: Drawing| drawing.back((REMOTE, EXTERNAL), None, ("A", 901, 101, 4)).says(&declared);
    assert_eq!(kept(after(9)), Some("connection"));
    assert_eq!(kept(after(11)), None);
    let passes = after(11).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 901, 101, 4));
    assert_eq!(passes.says(&declared), None, "longer than declared, which only the proof can tell");
}

#[test]
fn what_it_declares_is_asked_as_of_any_nat() {
    let moved = own().out((HOST, REMOTE), Some(("192.0.2.2:4001", REMOTE)), SYN);
    assert_eq!(moved.says(&plain()), Some("allocation"));
    let knock = own().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN).back(
        (OTHER_PORT, EXTERNAL),
        Some((OTHER_PORT, HOST)),
        SYN_BACK,
    );
    assert_eq!(knock.says(&plain()), Some("filtering"));
}

#[test]
fn what_begins_no_connection_is_filtered_all_the_same() {
    let data = ("A", 901, 101, 4);
    let knock = |filtering, from| {
        let drawing = own().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN);
        let passed = drawing.back((from, EXTERNAL), Some((from, HOST)), data);
        passed.says(&Behavior { filtering, ..plain() })
    };
    let [port, address, anyone] =
        [Filtering::AddressAndPortDependent, Filtering::AddressDependent, Filtering::EndpointIndependent];
    assert_eq!([OTHER_PORT, OTHER].map(|from| knock(port, from)), [Some("filtering"); 2]);
    assert_eq!([OTHER_PORT, OTHER].map(|from| knock(address, from)), [None, Some("filtering")]);
    assert_eq!([OTHER_PORT, OTHER].map(|from| knock(anyone, from)), [None, None]);
    let stranger = own().back((OTHER, EXTERNAL), Some((OTHER, HOST)), data);
    assert_eq!(stranger.says(&plain()), Some("filtering"), "nobody inside had sent anything");
    let elsewhere = own().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN);
    let elsewhere = elsewhere.back((OTHER, EXTERNAL), Some((OTHER, "10.0.0.3:4000")), data);
    let anyone = Behavior { filtering: anyone, ..plain() };
    assert_eq!(elsewhere.says(&anyone), Some("filtering"), "it went to another host");
    assert_eq!(own().back((OTHER, EXTERNAL), None, data).says(&plain()), None, "it may be kept");
}

#[test]
fn what_begins_no_connection_and_goes_out_has_an_address_of_the_nat_and_lets_answers_in() {
    let data = ("A", 101, 901, 4);
    let out = |as_seen| own().out((HOST, REMOTE), as_seen, data);
    let back = ("A", 901, 105, 4);
    assert_eq!(out(None).says(&plain()), None, "it may be kept");
    let passed = || out(Some((EXTERNAL, REMOTE)));
    assert_eq!(passed().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), back).says(&plain()), None);
    let stranger = passed().back((OTHER, EXTERNAL), Some((OTHER, HOST)), back);
    assert_eq!(stranger.says(&plain()), Some("filtering"));
    assert_eq!(out(Some((HOST, REMOTE))).says(&plain()), Some("translation"));
    assert_eq!(out(Some(("192.0.2.9:4000", REMOTE))).says(&plain()), Some("translation"));
    let leaks = Behavior { invalid_packets: InvalidPackets::Leak, ..plain() };
    assert_eq!(out(Some((HOST, REMOTE))).says(&leaks), None);
    // A reset and a SYN ACK may go out as well, and flags that do not go together.
    for flags in ["R", "SA", "FA", "SF"] {
        for as_seen in [Some((EXTERNAL, REMOTE)), None] {
            let sent = own().out((HOST, REMOTE), as_seen, (flags, 101, 901, 0));
            assert_eq!(sent.says(&plain()), None, "{flags}");
        }
    }
}

#[test]
fn its_mappings_are_those_that_packets_show() {
    let node = NodeName::new("nat-a").expect("a good name");
    let declared = plain();
    let nat = NatView { datapath: Datapath::Packets, ..nat_view(&node, &declared) };
    // Its SYN comes twice, and the other side's crosses it: one mapping.
    let drawing = stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN);
    let drawing = drawing.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK);
    let drawing = drawing.out((HOST, OTHER_PORT), None, SYN);
    let seen = mappings_seen(&Evidence { frames: drawing.frames, ..Evidence::default() }, &nat);
    let tuple = |source, destination| Tuple { source: end(source), destination: end(destination) };
    let entries: Vec<_> = seen.iter().map(|event| (event.entry.original, event.entry.reply)).collect();
    assert_eq!(entries, [(tuple(HOST, REMOTE), tuple(REMOTE, EXTERNAL))]);
}
