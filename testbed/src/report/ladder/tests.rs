//! Ladders of hand-drawn scenes: two NATs, watched on their outer links.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Ladder, Lane, Leg, LegEnd, Step, StepKind, Tone, svg, text};
use crate::judge::staged::{StagedEvidence, StagedPacket, external};
use crate::judge::timeline::Role::{A, B};
use crate::model::event::{Artefacts, LinkRecord};
use crate::model::evidence::CtChange;
use crate::model::outcome::{Expectation, NoExpectation};
use crate::report::escape::HOSTILE;

fn kept(staged: StagedEvidence) -> Artefacts {
    let link = |lower: &str, upper: &str| LinkRecord { lower: lower.to_owned(), upper: upper.to_owned() };
    let node = |name: &str, last| (name.to_owned(), Ipv4Addr::new(10, 0, 0, last));
    Artefacts {
        evidence: staged.evidence,
        links: vec![
            link("nat-a", "core"),
            link("nat-b", "core"),
            link("peer-a", "nat-a"),
            link("peer-b", "nat-b"),
        ],
        addresses: vec![node("peer-a", 2), node("peer-b", 3)],
        judgement: "failed, filtered: a's SYN".to_owned(),
        ..Artefacts::default()
    }
}

fn drawn(ladder: &Ladder, width: usize) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    text::write(ladder, width, &mut out).expect("a vector takes everything");
    String::from_utf8(out.into_inner()).expect("text")
}

#[test]
fn a_refused_syn_ends_at_the_nat_that_refused_it() {
    let staged = StagedEvidence::met()
        .packet(StagedPacket::new(A, 0.0, "S"))
        .packet(StagedPacket::new(B, 10.2, "RA").acknowledging(101).ttl(64))
        .lost(StagedPacket::new(B, 50.0, "S"));
    let mut kept = kept(staged);
    let syn = kept.evidence.frames.iter().position(|f| f.entered == 0 && f.bytes.len() < 60).expect("a SYN");
    kept.marks = vec![(syn, "refused".to_owned())];
    let text = drawn(&Ladder::of("cell, trial 1", &kept), 100);
    let lines: Vec<&str> = text.lines().skip(5).take(4).collect();
    let expected = [
        "     0.000    │                 ├─SYN 4000→5000 ──┼─────────────────✗                 │",
        "           ╰ frame 3: refused",
        "    10.200    │                 ✗─5000→4000 ──────┼─RST ACK ────────┤                 │",
        "    50.000    │                 │                 │        ✗─SYN ───┤                 │",
    ];
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn what_theory_expects_is_told_with_its_reason_and_why_it_says_nothing() {
    let with = |expected| {
        let kept = Artefacts { expected, ..kept(StagedEvidence::crossing()) };
        drawn(&Ladder::of("cell, trial 1", &kept), 100)
    };
    let because = || "the flush may fall into the trial".to_owned();
    let silent = with(Err(NoExpectation { because: because() }));
    assert!(
        silent.ends_with("theory says nothing of this cell: the flush may fall into the trial\n"),
        "{silent}"
    );
    let certain = with(Ok(Expectation::exactly(1.0, because())));
    assert!(certain.ends_with("theory expects 100 %: the flush may fall into the trial\n"), "{certain}");
    // A file that was written before there was a reason.
    let old = Ladder { theory: None, ..Ladder::of("cell", &kept(StagedEvidence::crossing())) };
    assert!(drawn(&old, 100).ends_with("theory says nothing of this cell\n"));
}

#[test]
fn an_entry_that_follows_one_whose_time_was_up_begins_with_its_own_packet() {
    let mut staged = StagedEvidence::met();
    for at_ms in [1.0, 725.0, 1_451.0] {
        staged = staged.packet(StagedPacket::new(B, at_ms, "S"));
    }
    let remote = SocketAddrV4::new(external(A), 4000);
    let changes = [(CtChange::New, 4), (CtChange::Destroy, 1_004), (CtChange::New, 1_468)];
    let staged = staged.told(B, remote, &changes);
    let text = drawn(&Ladder::of("cell, trial 1", &kept(staged)), 120);
    let times = |word: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains(word));
        lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    assert_eq!(
        (times("new"), times("end")),
        (vec!["0.000".to_owned(), "1450.000".to_owned()], vec![]),
        "{text}"
    );
}

#[test]
fn an_entry_that_the_other_end_begins_again_begins_with_a_packet_of_its_own() {
    let remote = SocketAddrV4::new(external(A), 4000);
    let changes = [(CtChange::New, 4), (CtChange::Destroy, 1_004), (CtChange::New, 1_468)];
    let mut staged = StagedEvidence::met()
        .packet(StagedPacket::new(B, 1.0, "S"))
        .packet(StagedPacket::new(A, 300.0, "A").data(101, 20))
        .packet(StagedPacket::new(A, 1_450.0, "A").data(121, 20))
        .told(B, remote, &changes);
    let again = staged.evidence.conntrack.last_mut().expect("it was told");
    (again.entry.original, again.entry.reply) = (again.entry.reply, again.entry.original);
    let text = drawn(&Ladder::of("cell, trial 1", &kept(staged)), 120);
    let begun: Vec<&str> = text.lines().filter(|line| line.contains("new")).collect();
    let last = begun.last().and_then(|line| line.split_whitespace().next());
    assert_eq!(last, Some("1459.000"), "{text}");
}

#[test]
fn hundreds_of_alike_packets_are_one_line() {
    let spray = (0..500).fold(StagedEvidence::met(), |staged, n: u16| {
        staged.packet(StagedPacket::new(A, f64::from(n) * 0.01, "S").ports(1024 + n, 5000))
    });
    let ladder = Ladder::of("spray", &kept(spray));
    assert!(ladder.steps.len() < 10, "{}", ladder.steps.len());
    let folded = ladder.steps.iter().find(|step| step.count > 1).expect("a fold");
    assert_eq!(folded.count, 497);
    assert!(matches!(&folded.what, StepKind::Packet { end: LegEnd::Dropped, .. }), "{folded:?}");
    let text = drawn(&ladder, 100);
    assert!(text.contains("497 × SYN"), "{text}");
    // An exchange says what it counts.
    assert!(text.contains(" 1 packet with 203.0.113.1"), "{text}");
}

#[test]
fn a_ladder_fits_into_every_width() {
    let mut kept = kept(StagedEvidence::crossing());
    kept.marks = vec![(3, HOSTILE.repeat(9))];
    let ladder = Ladder::of(HOSTILE, &kept);
    for width in [20, 40, 79, 80, 100, 140] {
        let text = drawn(&ladder, width);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(width < 40 || widest <= Some(width), "{width}: {text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

/// A SYN that two NATs translate, a burst, one that is lost, one that is refused on its way back, and what goes with them.
fn with_long_numbers() -> Ladder {
    let lane = |name: &str, address: [u8; 4]| Lane { name: name.to_owned(), address: Some(address.into()) };
    let leg = |from, to, ports: &str| Leg { from, to, ports: ports.to_owned() };
    let there = || {
        vec![
            leg(0, 1, "37912→19440"),
            leg(1, 2, "58713→19440"),
            leg(2, 3, "58713→19440"),
            leg(3, 4, "58713→40001"),
        ]
    };
    let back = || vec![leg(4, 3, "40001→58713"), leg(3, 2, "19440→58713"), leg(2, 1, "19440→58713")];
    let packet = |tone, text: &str, legs, end| StepKind::Packet { tone, text: text.to_owned(), legs, end };
    let happenings = [
        (1, StepKind::Talk { from: 0, to: 2, text: "asks 12, begins 1284 ms late".to_owned() }),
        (
            1,
            StepKind::State { lane: 1, text: "new 37912 as 58713 to 198.51.100.2:19440 SYN_SENT".to_owned() },
        ),
        (
            1,
            StepKind::State { lane: 3, text: "new 40001 as 19440 to 198.51.100.1:58713 SYN_SENT".to_owned() },
        ),
        (1, packet(Tone::Syn, "SYN", there(), LegEnd::Arrived)),
        (12345, packet(Tone::SynAck, "SYN ACK", there(), LegEnd::Arrived)),
        (1, packet(Tone::Data, "data 1460", there()[..3].to_vec(), LegEnd::Lost)),
        (58, packet(Tone::Reset, "RST ACK", back(), LegEnd::Dropped)),
        (1, packet(Tone::Icmp, "ICMP 3/13", back()[..1].to_vec(), LegEnd::InFlight)),
    ];
    let step =
        |(count, what)| Step { at_ms: 12345.678, until_ms: Some(23456.789), count, what, marks: Vec::new() };
    Ladder {
        schema: super::SCHEMA,
        title: "cell, trial 7".to_owned(),
        judgement: "b's SYN from 198.51.100.202:42456 to 192.0.2.202:19821".to_owned(),
        theory: None,
        lanes: vec![
            lane("peer-a", [192, 168, 101, 102]),
            lane("nat-a", [198, 51, 100, 101]),
            lane("core", [198, 51, 100, 254]),
            lane("nat-b", [203, 100, 113, 102]),
            lane("peer-b", [192, 168, 102, 103]),
        ],
        steps: happenings.into_iter().map(step).collect(),
        elsewhere: 31337,
    }
}

/// The numbers in a text.
fn numbers(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_number_is_whole_and_none_is_missing_in_any_width() {
    let ladder = with_long_numbers();
    let told = numbers(&ladder.to_json());
    // The numbers of lanes are in the file and not in the drawing.
    let indices: BTreeSet<String> = (0..5).map(|lane| lane.to_string()).collect();
    for width in 40..=120 {
        let text = drawn(&ladder, width);
        let drawn = numbers(&text);
        let unknown: Vec<_> = drawn.difference(&told).collect();
        assert!(unknown.is_empty(), "{width}: {unknown:?}\n{text}");
        let lost: Vec<_> = told.difference(&drawn).filter(|number| !indices.contains(*number)).collect();
        // Words have no heading, and no time of arrival.
        let heading: String = ladder.lanes.iter().map(|lane| format!("{:?} ", lane.address)).collect();
        let only_drawn = numbers(&(heading + "23456.789"));
        let lost: Vec<_> =
            lost.into_iter().filter(|number| text.contains('│') || !only_drawn.contains(*number)).collect();
        assert!(lost.is_empty(), "{width}: {lost:?}\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
    }
}

#[test]
fn ports_stand_on_the_links_where_the_packet_has_them() {
    let text = drawn(&with_long_numbers(), 80);
    let syn: Vec<&str> = text.lines().skip_while(|line| !line.contains("├─SYN ─")).take(2).collect();
    let expected = [
        " 12345.678    ├─SYN ───────●58713→19440─┼────────────●58713→40001►│    23456.789",
        "              │37912→19440 │            │            │            │",
    ];
    assert_eq!(syn, expected, "{text}");
}

#[test]
fn a_picture_says_what_the_text_says_and_nothing_in_it_acts() {
    let mut kept = kept(StagedEvidence::crossing());
    kept.marks = vec![(2, HOSTILE.to_owned())];
    kept.judgement = HOSTILE.to_owned();
    let svg = svg::text(&Ladder::of(HOSTILE, &kept));
    for part in ["peer-a", "nat-b", "SYN ACK", "frame 3:", "10.0.0.2"] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("<b>") && !svg.contains('\u{1b}') && !svg.contains("NaN"), "{svg}");
}

#[test]
fn a_ladder_reads_back_and_damage_is_told() {
    let ladder = Ladder::of("cell", &kept(StagedEvidence::crossing()));
    let text = ladder.to_json();
    assert_eq!(Ladder::from_json(&text), Ok(ladder));
    for (good, bad) in
        [("\"schema\":1", "\"schema\":9"), ("\"to\":1", "\"to\":77"), ("\"steps\"", "\"stops\"")]
    {
        assert!(text.contains(good), "{good}");
        assert!(Ladder::from_json(&text.replacen(good, bad, 1)).is_err(), "{bad}");
    }
    assert!(Ladder::from_json(&text[..text.len() / 2]).is_err());
}
