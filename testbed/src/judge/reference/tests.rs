//! Tables of packets for the reference NAT: what came in, what came out, and whether that is what it had to do.

/// What goes through besides TCP.
mod datagrams;
mod handover;
mod kernels;
mod twice;
mod untracked;

use std::net::SocketAddrV4;

use etherparse::PacketBuilder;

use super::*;
use crate::model::behavior::{
    ExternalAddresses, Filtering, InvalidPackets, Pooling, SynAfterSyn, UnsolicitedSyn,
};
use crate::model::evidence::{CtCounters, CtEntry, Direction, Fate, Frame};

const MS: Nanos = 1_000_000;
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const UP: u16 = 0;
const DOWN: u16 = 1;

/// The usual host, external and remote endpoint; a stranger at another port, and one at another address.
const HOST: &str = "10.0.0.2:4000";
const EXTERNAL: &str = "192.0.2.2:4000";
const REMOTE: &str = "198.51.100.2:5000";
const OTHER_PORT: &str = "198.51.100.2:5001";
const OTHER: &str = "198.51.100.9:5000";

/// Draws what both sides of a NAT saw.
#[derive(Default)]
struct Drawing {
    frames: Vec<Frame>,
    ended: Vec<CtEvent>,
    counted: CtCounters,
    kernel: KernelRules,
    datapath: Datapath,
    now: Nanos,
}

/// A segment: flags, sequence and acknowledgment number, bytes of data.
type Drawn = (&'static str, u32, u32, usize);

const SYN: Drawn = ("S", 100, 0, 0);
const SYN_BACK: Drawn = ("S", 900, 0, 0);
const SYN_ACK_BACK: Drawn = ("SA", 900, 101, 0);
const ACK: Drawn = ("A", 101, 901, 0);

impl Drawing {
    /// Puts a frame on a link.
    fn put(&mut self, link: u16, direction: Direction, (from, to): (&str, &str), drawn: Drawn, ttl: u8) {
        self.record(link, direction, bytes(from, to, drawn, ttl));
    }

    fn record(&mut self, link: u16, direction: Direction, bytes: Vec<u8>) {
        let (at, length) = (self.now, u32::try_from(bytes.len()).expect("short"));
        let fate = Fate::Delivered;
        self.frames.push(Frame {
            link,
            direction,
            entered: at,
            due: at,
            left: at,
            fate,
            is_copy: false,
            length,
            bytes: bytes.into(),
        });
        self.now += MS / 100;
    }

    /// A packet from inside, and what of it leaves to the outside.
    fn out(mut self, from: (&str, &str), left_as: Option<(&str, &str)>, drawn: Drawn) -> Self {
        self.now += 10 * MS;
        self.put(DOWN, Direction::Up, from, drawn, 64);
        if let Some(ends) = left_as {
            self.put(UP, Direction::Up, ends, drawn, 63);
        }
        self
    }

    /// A packet from outside, and what of it goes in.
    fn back(mut self, from: (&str, &str), left_as: Option<(&str, &str)>, drawn: Drawn) -> Self {
        self.now += 10 * MS;
        self.put(UP, Direction::Down, from, drawn, 60);
        if let Some(ends) = left_as {
            self.put(DOWN, Direction::Down, ends, drawn, 59);
        }
        self
    }

    /// A packet that the NAT makes itself, to the outside.
    fn made(mut self, ends: (&str, &str), drawn: Drawn) -> Self {
        self.put(UP, Direction::Up, ends, drawn, 64);
        self
    }

    /// What the NAT says of a packet that had no hop left.
    fn complaint(&mut self, to: &str, about: (&str, &str), sequence: u32) {
        let quoted = &bytes(about.0, about.1, ("S", sequence, 0, 0), 1)[14..];
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(OUTER.octets(), end(to).ip().octets(), 64)
            .icmpv4(etherparse::Icmpv4Type::TimeExceeded(
                etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit,
            ))
            .write(&mut bytes, quoted)
            .expect("a writable packet");
        self.record(UP, Direction::Up, bytes);
    }

    /// The usual SYN, which went out.
    fn opened() -> Self {
        Self::default().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN)
    }

    /// The usual connection.
    fn stands() -> Self {
        Self::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK).out(
            (HOST, REMOTE),
            Some((EXTERNAL, REMOTE)),
            ACK,
        )
    }

    /// The NAT tells that the usual connection's entry ended.
    fn forgotten(mut self) -> Self {
        let tuple = |source, destination| Tuple { source: end(source), destination: end(destination) };
        let (original, reply) = (tuple(HOST, REMOTE), tuple(REMOTE, EXTERNAL));
        self.ended.push(CtEvent {
            node: NodeName::new("nat-a").expect("a good name"),
            at: self.now,
            change: CtChange::Destroy,
            entry: CtEntry { original, reply, state: None, status: 0, id: 1 },
        });
        self.now += MS / 100;
        self
    }

    /// The kernel of the NAT does this.
    fn by_kernel(mut self, kernel: KernelRules) -> Self {
        self.kernel = kernel;
        self
    }

    /// The NAT's connection tracking counted failures of its own.
    fn counted(mut self, counted: CtCounters) -> Self {
        self.counted = counted;
        self
    }

    fn later(mut self, time: Nanos) -> Self {
        self.now += time;
        self
    }

    /// What the reference says: the axis of the first contradiction.
    fn says(self, declared: &Behavior) -> Option<&'static str> {
        self.findings(declared).contradictions.first().map(|found| {
            assert!(found.sentence.contains("\"nat-a\""), "{}", found.sentence);
            assert!(!found.frames.is_empty(), "nothing proves it: {}", found.sentence);
            found.rule.axis
        })
    }

    fn findings(mut self, declared: &Behavior) -> Findings {
        self.now += 100 * MS;
        self.put(7, Direction::Up, (HOST, REMOTE), SYN, 64);
        let node = NodeName::new("nat-a").expect("a good name");
        let lan = Network { address: Ipv4Addr::new(10, 0, 0, 1), prefix: 24 };
        let outer = AddressPool { first: OUTER, count: declared.addresses.count };
        let (down, kernel) = (vec![(DOWN, lan)], self.kernel);
        let nat = NatView {
            node: &node,
            profile: "x",
            declared,
            outer,
            up: UP,
            down,
            datapath: self.datapath,
            kernel,
        };
        let counters = vec![(node.clone(), self.counted)];
        let (frames, conntrack) = (self.frames, self.ended);
        check(&Evidence { frames, conntrack, counters, ..Evidence::default() }, &nat)
    }
}

fn end(text: &str) -> SocketAddrV4 {
    text.parse().expect("an endpoint")
}

fn bytes(from: &str, to: &str, (flags, sequence, acknowledgment, data): Drawn, ttl: u8) -> Vec<u8> {
    let (from, to) = (end(from), end(to));
    let mut tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from.ip().octets(), to.ip().octets(), ttl)
        .tcp(from.port(), to.port(), sequence, 64_000);
    for flag in flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'A' => tcp.ack(acknowledgment),
            'R' => tcp.rst(),
            'F' => tcp.fin(),
            other => panic!("no such flag: {other}"),
        };
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, &vec![7; data]).expect("a writable packet");
    frame
}

fn plain() -> Behavior {
    Behavior::port_preserving()
}

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
fn a_mapping_is_kept() {
    let other = "192.0.2.2:4001";
    let two = |second: &str| {
        let syn = ("S", 7_000, 0, 0);
        Drawing::opened().out((HOST, OTHER_PORT), Some((second, OTHER_PORT)), syn)
    };
    assert_eq!(two(EXTERNAL).says(&plain()), None);
    assert_eq!(two(other).says(&plain()), Some("mapping"));
    assert_eq!(two("192.0.2.77:4000").says(&plain()), Some("addresses"));
    assert_eq!(two("10.0.0.2:4000").says(&plain()), Some("translation"));
    assert_eq!(two("192.0.2.2:80").says(&plain()), Some("ports"));
}

#[test]
fn a_fresh_mapping_has_an_address_of_the_pool_and_of_its_host() {
    let of = |count, pooling| Behavior { addresses: ExternalAddresses { count, pooling }, ..plain() };
    let (paired, arbitrary) = (of(3, Pooling::Paired), of(3, Pooling::Arbitrary));
    let second = |external: &str| {
        let inside = "10.0.0.2:4001";
        Drawing::opened().out((inside, OTHER), Some((external, OTHER)), ("S", 7_000, 0, 0))
    };
    for (external, by_paired, by_arbitrary) in [
        ("192.0.2.2:4001", None, None),
        ("192.0.2.4:4001", Some("addresses"), None),
        ("192.0.2.5:4001", Some("addresses"), Some("addresses")),
        ("192.0.2.1:4001", Some("addresses"), Some("addresses")),
        ("192.0.2.4:4002", Some("addresses"), Some("allocation")),
    ] {
        assert_eq!(second(external).says(&paired), by_paired, "{external}");
        assert_eq!(second(external).says(&arbitrary), by_arbitrary, "{external}");
    }
    // What is observed of a mapping holds for all remote endpoints, whatever the pooling.
    let again = Drawing::opened().out((HOST, OTHER), Some(("192.0.2.3:4000", OTHER)), ("S", 7_000, 0, 0));
    assert_eq!(again.says(&arbitrary), Some("mapping"));
}

#[test]
fn a_host_whose_mappings_are_gone_may_get_another_address() {
    let addresses = ExternalAddresses { count: 3, pooling: Pooling::Paired };
    let paired = Behavior { addresses, ..plain() };
    let after = |time| {
        let syn = ("S", 7_000, 0, 0);
        Drawing::opened().later(time).out(("10.0.0.2:4001", OTHER), Some(("192.0.2.3:4001", OTHER)), syn)
    };
    assert_eq!(after(100_000 * MS).says(&paired), Some("addresses"));
    assert_eq!(after(130_000 * MS).says(&paired), None);
    let elsewhere = |drawing: Drawing, port: u16| {
        let (inside, external) = (format!("10.0.0.2:{port}"), format!("192.0.2.3:{port}"));
        drawing.out((&inside, OTHER), Some((&external, OTHER)), ("S", 7_000, 0, 0))
    };
    // A reset before any answer ends the only connection of the host.
    let refused = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0));
    assert_eq!(elsewhere(elsewhere(refused(), 4001), 4002).says(&paired), None);
    let back = |drawing: Drawing| {
        drawing.out(("10.0.0.2:4003", OTHER), Some(("192.0.2.2:4003", OTHER)), ("S", 7_000, 0, 0))
    };
    assert_eq!(back(elsewhere(refused(), 4001)).says(&paired), Some("addresses"), "it has the other one now");
    let one_left = Drawing::stands().out((HOST, OTHER), Some((EXTERNAL, OTHER)), ("S", 50, 0, 0));
    let one_left = one_left.back((OTHER, EXTERNAL), Some((OTHER, HOST)), ("RA", 0, 51, 0));
    assert_eq!(elsewhere(one_left, 4001).says(&paired), Some("addresses"), "another connection lives");
}

#[test]
fn a_reset_before_any_answer_ends_the_mapping_and_time_does() {
    let reset = ("RA", 0, 101, 0);
    let refused = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), reset);
    assert_eq!(refused().back((REMOTE, EXTERNAL), None, SYN_BACK).says(&plain()), None);
    let late = Drawing::opened().later(130_000 * MS).back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(late.says(&plain()), None);
    let early = Drawing::opened().later(100_000 * MS).back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(early.says(&plain()), Some("connection"));
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
fn nothing_comes_from_nothing() {
    let drawing = Drawing::opened().made((EXTERNAL, OTHER_PORT), SYN);
    assert_eq!(drawing.says(&plain()), Some("own packets"));
}

#[test]
fn a_small_pool_may_be_full() {
    // The kernel has 424 ports for source ports from 512 to 1023.
    let symmetric = Behavior {
        mapping: crate::model::behavior::Mapping::AddressAndPortDependent,
        allocation: crate::model::behavior::Allocation::Random,
        ..plain()
    };
    let filled = |count: u16| {
        let mut drawing = Drawing::default();
        for n in 0..count {
            let (host, external) = (format!("10.0.0.2:{}", 512 + n), format!("192.0.2.2:{}", 600 + n));
            let syn = ("S", u32::from(n) * 10_000, 0, 0);
            drawing = drawing.out((&host, REMOTE), Some((&external, REMOTE)), syn);
        }
        drawing.out(("10.0.0.2:1000", REMOTE), None, ("S", 77_777_777, 0, 0))
    };
    assert_eq!(filled(10).says(&symmetric), Some("outward"));
    assert_eq!(filled(300).says(&symmetric), None);
}

#[test]
fn a_syn_right_after_the_reset_that_ended_its_mapping_begins_anew() {
    let reset = ("RA", 0, 101, 0);
    let mut drawing = Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), reset);
    // Within the margin, so that the reset may have come after it; its number is another.
    let again = ("S", 4_000_000, 0, 0);
    drawing.put(DOWN, Direction::Up, (HOST, REMOTE), again, 64);
    drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), again, 63);
    let drawing = drawing.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK).out(
        (HOST, REMOTE),
        Some((EXTERNAL, REMOTE)),
        ("SA", 4_000_000, 901, 0),
    );
    assert_eq!(drawing.says(&plain()), None);
}

#[test]
fn a_connection_that_was_forgotten_begins_anew_with_another_port() {
    let draws = Behavior {
        mapping: crate::model::behavior::Mapping::AddressAndPortDependent,
        allocation: crate::model::behavior::Allocation::Random,
        ..plain()
    };
    let (again, next, reset) = ("S", 4_000_000, ("RA", 0, 4_000_001, 0));
    let elsewhere = "192.0.2.2:33182";
    let refused = || {
        Drawing::opened().later(1_000 * MS).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0))
    };
    let dialled = |drawing: Drawing| {
        drawing.out((HOST, REMOTE), Some((elsewhere, REMOTE)), (again, next, 0, 0)).back(
            (REMOTE, elsewhere),
            Some((REMOTE, HOST)),
            reset,
        )
    };
    assert_eq!(dialled(refused()).says(&draws), None, "the record was lost");
    assert_eq!(dialled(refused().forgotten()).says(&draws), None, "the record came at once");
    // What is picked up in the middle stands, and lets a SYN pass that begins nothing.
    let picked_up = refused().forgotten().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 0));
    let and_refused = picked_up
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 901, 101, 0))
        .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("S", 101, 0, 0))
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 901, 102, 0));
    let more = and_refused.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 901, 102, 4));
    assert_eq!(more.says(&plain()), None);
    let closed = Drawing::stands().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 901, 101, 0));
    assert_eq!(dialled(closed.later(9_990 * MS).forgotten()).says(&draws), None, "its time was nearly over");
    // A connection that is begun anew is judged again.
    let swallowed = refused().forgotten().out((HOST, REMOTE), None, (again, next, 0, 0));
    assert_eq!(swallowed.says(&draws), Some("outward"));
}

#[test]
fn flags_that_do_not_go_together_are_invalid() {
    for flags in ["F", "SF", "SR", ""] {
        let odd = || Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), (flags, 101, 901, 0));
        assert_eq!(odd().says(&plain()), Some("invalid-packets"), "{flags}");
    }
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
