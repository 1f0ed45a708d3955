//! What is kept of a trial, as files: the packets, conntrack's events, the NATs' rules and settings, what the programs
//! said, and the judgement.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::model::event::{Artefacts, LinkRecord, ProgramLog};
use crate::model::evidence::{CtChange, CtEvent, Nanos};
use crate::report::ladder::Ladder;
use crate::report::pcapng::{Heading, LinkName, Pcapng};

/// Every frame of every watched link; for Wireshark.
pub const CAPTURE: &str = "capture.pcapng";
/// What connection tracking told of every NAT.
pub const CONNTRACK: &str = "conntrack.txt";
/// The trial as a sequence diagram, for `testbed explain` and the page of the run.
pub const LADDER: &str = "ladder.json";
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
    for nat in &artefacts.nats {
        let head = format!("# {} is \"{}\"\n", nat.node, nat.profile);
        fs::write(folder.join(format!("{}.nft", nat.node)), head.clone() + &nat.ruleset)?;
        fs::write(folder.join(format!("{}.sysctl", nat.node)), head + &nat.sysctls.join("\n") + "\n")?;
    }
    artefacts.programs.iter().try_for_each(|program| program_files(folder, program))
}

fn program_files(folder: &Path, program: &ProgramLog) -> io::Result<()> {
    let file = |kind: &str| folder.join(format!("{}.{kind}", program.name));
    fs::write(file("command"), format!("{}\n{}\n", program.command.join(" "), program.ended))?;
    fs::write(file("stdout"), &program.stdout)?;
    fs::write(file("stderr"), &program.stderr)
}

fn capture(title: &str, artefacts: &Artefacts) -> io::Result<Vec<u8>> {
    let name = |link: &LinkRecord| LinkName {
        name: link.lower.clone(),
        description: format!("{} - {}", link.lower, link.upper),
    };
    let links: Vec<_> = artefacts.links.iter().map(name).collect();
    let comment = format!("{title}: {}", artefacts.judgement);
    let heading = Heading { links: &links, comment: &comment, unix_offset: artefacts.unix_offset };
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
    let CtEvent { node, at, change, entry } = event;
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
