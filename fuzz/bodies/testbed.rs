//! Every reader of testbed that bytes from files, programs, packets or the kernel come to.

use std::sync::LazyLock;

use testbed::judge::program_output::{self, ProgramEnd};
use testbed::kernel::conntrack;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::model::address_plan::AddressPlan;
use testbed::model::address_pool::NatAddressing;
use testbed::model::catalogue::Catalogue;
use testbed::model::packet::Packet;
use testbed::model::suite::ResultFormat;
use testbed::model::suite_file::{self, KnownNames};
use testbed::model::topology::{NodeKind, NodeName};
use testbed::model::{embedded, theory, topology_file};
use testbed::report::ladder::{self, Ladder};
use testbed::report::results::{Results, Totals};
use testbed::report::view::{Detail, Screen};
use testbed::report::{csv, escape, expect, html, junit, markdown, svg, terminal};

/// A target's name and its body.
pub type Body = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Body; 8] = [
    ("suite", suite),
    ("nats", nats),
    ("topology", topology),
    ("contract", contract),
    ("packet", packet),
    ("conntrack", conntrack_events),
    ("results", results),
    ("ladder", drawn),
];

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::embedded);

/// A suite of a user's. Its cells can be counted when it is good and not enormous.
pub fn suite(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let nats: Vec<&str> = CATALOGUE.profiles().map(|profile| profile.name.as_str()).collect();
    let find = |name: &str| {
        let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("there is none")?;
        Ok((found.file.to_owned(), found.text.to_owned()))
    };
    let known = KnownNames { nats: &nats, methods: theory::METHODS, topology: &find, path: &|_, _| Ok(()) };
    match suite_file::parse("hostile.toml", text, &known) {
        Ok(suite) => drop(suite.cells()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// A catalogue of a user's: what is possible can be written as rules.
pub fn nats(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(catalogue) = Catalogue::parse(text, "hostile.toml") else { return };
    let pair = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is embedded");
    let pair = topology_file::parse(pair.file, pair.text).expect("a good file");
    let plan = AddressPlan::new(&pair, &NatAddressing::default()).expect("a good topology");
    let node = NodeName::new("nat-a").expect("a good name");
    let site = NatSite::of(&plan, &node).expect("it has an address");
    for profile in catalogue.profiles() {
        let _ = render(&profile.behavior, &site);
    }
}

/// A topology of a user's: what is a tree has addresses.
pub fn topology(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(topology) = topology_file::parse("hostile.toml", text) else { return };
    let nats = || topology.of_kind(NodeKind::Nat).cloned();
    let transparent = NatAddressing { transparent: nats().collect(), ..NatAddressing::default() };
    let pools =
        NatAddressing { pools: nats().map(|nat| (nat, u8::MAX)).collect(), ..NatAddressing::default() };
    for addressing in [NatAddressing::default(), transparent, pools] {
        let _ = AddressPlan::new(&topology, &addressing);
    }
}

/// What a program under test prints.
pub fn contract(data: &[u8]) {
    let ends = [ProgramEnd::Exited(0), ProgramEnd::Exited(1), ProgramEnd::Signalled(9), ProgramEnd::Killed];
    let claims = [ResultFormat::Json, ResultFormat::Exit, ResultFormat::Stdout("ok".to_owned())];
    for claim in &claims {
        for end in ends {
            let _ = program_output::read(claim, data, end);
        }
    }
    let shown = escape::harmless(&String::from_utf8_lossy(data)).into_owned();
    assert!(!shown.contains('\u{1b}'), "an escape sequence reached the terminal");
}

/// The first bytes of a frame.
pub fn packet(data: &[u8]) {
    for length in [0, data.len() as u32, u32::MAX] {
        if let Some(packet) = Packet::decode(data, length) {
            let _ = (packet.tuple().to_string(), packet.tcp().is_some());
        }
    }
}

/// What the kernel says of its conntrack table.
pub fn conntrack_events(data: &[u8]) {
    let _ = conntrack::decode(data);
}

/// The results of an old run, which may be anybody's: every format can be made from what is read.
pub fn results(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(results) = Results::from_json(text) {
        reported(&results);
    }
    // Few mutants have the totals of their cells.
    let Ok(mut mended) = serde_json::from_str::<Results>(text) else { return };
    mended.totals = Totals::of(&mended.cells);
    if let Ok(results) = Results::from_json(&mended.to_json()) {
        reported(&results);
    }
}

fn reported(results: &Results) {
    let texts = [
        junit::text(results, None),
        markdown::text(results),
        csv::text(results),
        html::text(results, None),
        svg::text(results),
        expect::text(results),
    ];
    for text in texts {
        assert!(!text.contains('\u{1b}'), "an escape sequence reached a report");
    }
    let mut shown = Vec::new();
    terminal::write(results, Screen { width: 80, detail: Detail::Everything }, &mut shown)
        .expect("a Vec takes everything");
}

/// A kept trial of an old run: what is read can be drawn, in a terminal of any width and on the page.
pub fn drawn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(ladder) = Ladder::from_json(text) else { return };
    assert!(!ladder::svg::text(&ladder).contains('\u{1b}'), "an escape sequence reached the page");
    for width in [0, 40, 100, 200] {
        let mut shown = Vec::new();
        ladder::text::write(&ladder, width, &mut shown).expect("a Vec takes everything");
        let shown = String::from_utf8(shown).expect("it is text");
        assert!(!without_colours(&shown).contains('\u{1b}'), "an escape sequence reached the terminal");
    }
}

/// The text without the sequences that only choose colours.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| {
        let end = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        end.strip_prefix('m').map_or_else(|| format!("\u{1b}[{piece}"), str::to_owned)
    });
    first + &rest.collect::<String>()
}
