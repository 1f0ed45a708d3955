//! Ladders of hand-drawn scenes: two NATs, watched on their outer links.

use std::net::Ipv4Addr;

use super::{Ladder, LegEnd, StepKind, svg, text};
use crate::judge::staged::{StagedEvidence, StagedPacket};
use crate::judge::timeline::Role::{A, B};
use crate::model::event::{Artefacts, LinkRecord};
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
fn hundreds_of_alike_packets_are_one_line() {
    let spray = (0..500).fold(StagedEvidence::met(), |staged, n: u16| {
        staged.packet(StagedPacket::new(A, f64::from(n) * 0.01, "S").ports(1024 + n, 5000))
    });
    let ladder = Ladder::of("spray", &kept(spray));
    assert!(ladder.steps.len() < 10, "{}", ladder.steps.len());
    let folded = ladder.steps.iter().find(|step| step.count > 1).expect("a fold");
    assert_eq!(folded.count, 497);
    assert!(matches!(&folded.what, StepKind::Packet { end: LegEnd::Dropped, .. }), "{folded:?}");
    assert!(drawn(&ladder, 100).contains("497 × SYN"));
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
