//! What is kept of a trial, as files: the packets, conntrack's events, the NATs' rules and settings, what the programs
//! said, and the judgement.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::model::event::{Artefacts, LinkRecord, NatRecord, ProgramLog};
use crate::model::evidence::{CtChange, CtEvent, Nanos, SNAP_LENGTH};
use crate::report::ladder::Ladder;
use crate::report::pcapng::{CaptureHeader, LinkName, Pcapng};

/// Every frame of every watched link; for Wireshark.
pub const CAPTURE: &str = "capture.pcapng";
/// What connection tracking told of every NAT.
pub const CONNTRACK: &str = "conntrack.txt";
/// The trial as a sequence diagram, for `testbed explain` and the page of the run.
pub const LADDER: &str = "ladder.json";
/// The commands of the programs, and how they ended.
pub const PROGRAMS: &str = "programs.txt";
/// How the trial was judged.
pub const JUDGEMENT: &str = "judgement.txt";

/// Writes everything that is kept of a trial into `folder`, which is made.
///
/// # Errors
/// What the file system says.
pub fn write(folder: &Path, title: &str, artefacts: &Artefacts) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(CAPTURE), capture(title, artefacts)?)?;
    fs::write(folder.join(CONNTRACK), conntrack(artefacts))?;
    fs::write(folder.join(LADDER), Ladder::of(title, artefacts).to_json())?;
    fs::write(folder.join(JUDGEMENT), format!("{title}\n{}\n", artefacts.judgement))?;
    fs::write(folder.join(PROGRAMS), programs(&artefacts.programs))?;
    for program in &artefacts.programs {
        said(folder, &format!("{}.stdout", program.name), &program.stdout)?;
        said(folder, &format!("{}.stderr", program.name), &program.stderr)?;
    }
    nats(folder.parent().unwrap_or(folder), &artefacts.nats)
}

/// The NATs are the same in all trials of a cell, and stand beside them.
fn nats(cell: &Path, nats: &[NatRecord]) -> io::Result<()> {
    for nat in nats {
        let rules = cell.join(format!("{}.nft", nat.node));
        if !rules.exists() {
            let head = format!("# {} is \"{}\"\n", nat.node, nat.profile);
            fs::write(rules, head.clone() + &nat.ruleset)?;
            fs::write(cell.join(format!("{}.sysctl", nat.node)), head + &nat.sysctls.join("\n") + "\n")?;
        }
    }
    Ok(())
}

/// Each program with its command and its end.
fn programs(programs: &[ProgramLog]) -> String {
    let told = |p: &ProgramLog| format!("{}: {}\n  {}\n", p.name, p.command.join(" "), p.ended);
    programs.iter().map(told).collect()
}

/// A program that said nothing gets no file.
fn said(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { fs::write(folder.join(name), text) }
}

fn capture(title: &str, artefacts: &Artefacts) -> io::Result<Vec<u8>> {
    let name = |link: &LinkRecord| LinkName {
        name: link.lower.clone(),
        description: format!("{} - {}", link.lower, link.upper),
    };
    let links: Vec<_> = artefacts.links.iter().map(name).collect();
    let comment = format!("{title}: {}", artefacts.judgement);
    let heading = CaptureHeader {
        links: &links,
        comment: &comment,
        unix_offset: artefacts.unix_offset,
        snap_length: SNAP_LENGTH,
    };
    let mut file = Pcapng::new(&heading);
    for (number, frame) in artefacts.evidence.frames.iter().enumerate() {
        let notes = artefacts.marks.iter().filter(|(of, _)| *of == number).map(|(_, note)| note.as_str());
        let comments: Vec<&str> = notes.collect();
        file.add(frame, &comments).map_err(io::Error::other)?;
    }
    Ok(file.into_bytes())
}

/// One event a line; times in milliseconds from the first thing that was seen.
fn conntrack(artefacts: &Artefacts) -> String {
    let evidence = &artefacts.evidence;
    let first_frame = evidence.frames.first().map(|f| f.entered);
    let first =
        evidence.conntrack.first().map(|e| e.at).into_iter().chain(first_frame).min().unwrap_or_default();
    let mut text = String::new();
    for event in &evidence.conntrack {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line(event, first));
    }
    for lost in &evidence.lost {
        let _ = writeln!(text, "lost: {lost}");
    }
    text
}

fn line(event: &CtEvent, first: Nanos) -> String {
    let CtEvent { node, at, change, entry, .. } = event;
    let change = match change {
        CtChange::New => "NEW",
        CtChange::Update => "UPDATE",
        CtChange::Destroy => "DESTROY",
    };
    let state = entry.state.map_or_else(|| "-".to_owned(), |state| state.to_string());
    let at = at.saturating_sub(first) as f64 / 1e6;
    let (original, reply) = (entry.original, entry.reply);
    format!("{at:10.3} ms  {node:12} {change:7} {state:11} {original}  answers {reply}")
}
