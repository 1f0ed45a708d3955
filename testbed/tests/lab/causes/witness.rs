//! An independent witness: reads the capture file by its own few lines, derives which ports a NAT gave and who made the
//! first reset or ICMP error, and is held against the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use testbed::report::artefacts;

use super::{Kept, act, all_have};
use crate::lab::{has_tool, lab_is_possible};
use testbed::model::cause::Cause;

/// A frame as the file has it.
struct Seen {
    link: String,
    /// Away from the node that the link is named after.
    outward: bool,
    ip: Vec<u8>,
}

/// Reads a pcapng file: little-endian, one section, Ethernet.
fn read(file: &Path) -> Vec<Seen> {
    let bytes = std::fs::read(file).expect("a capture");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let (mut links, mut frames, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let (kind, length) = (word(at), word(at + 4));
        assert_eq!(word(at + length - 4), length, "a block ends with its length");
        match kind {
            1 => links.push(String::from_utf8(option(&bytes[at + 16..at + length - 4], 2)).expect("a name")),
            6 => {
                let kept = word(at + 20);
                let flags = option(&bytes[at + 28 + kept.next_multiple_of(4)..at + length - 4], 2);
                let ip = bytes[at + 28 + 14..at + 28 + kept].to_vec();
                frames.push(Seen { link: links[word(at + 8)].clone(), outward: flags[0] & 3 == 2, ip });
            }
            _ => {}
        }
        at += length;
    }
    frames
}

/// The value of an option.
fn option(mut bytes: &[u8], wanted: u16) -> Vec<u8> {
    while let [a, b, c, d, rest @ ..] = bytes {
        let (code, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        if code == wanted {
            return rest[..length].to_vec();
        }
        bytes = &rest[length.next_multiple_of(4)..];
    }
    panic!("no option {wanted}")
}

impl Seen {
    fn protocol(&self) -> u8 {
        self.ip[9]
    }

    fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.ip[12], self.ip[13], self.ip[14], self.ip[15])
    }

    fn port(&self) -> u16 {
        u16::from_be_bytes([self.ip[20], self.ip[21]])
    }

    fn number(&self) -> [u8; 4] {
        self.ip[24..28].try_into().expect("a number")
    }

    fn flags(&self) -> u8 {
        if self.protocol() == 6 { self.ip[33] } else { 0 }
    }

    fn is_syn(&self) -> bool {
        self.flags() & 0x16 == 0x02
    }
}

/// What the file alone tells.
struct Account {
    /// The ports that each side's SYNs had inside, and then outside; each pair once, however often it was used.
    ports: BTreeSet<(u16, u16)>,
    /// The node that made the first reset or ICMP error: the one below the first link that had it.
    first_refusal: Option<String>,
}

fn account(frames: &[Seen]) -> Account {
    let mut inside = BTreeMap::new();
    let mut ports = BTreeSet::new();
    for frame in frames.iter().filter(|f| f.outward && f.is_syn()) {
        if frame.link.starts_with("peer") {
            inside.insert(frame.number(), frame.port());
        } else if let Some(own) = inside.get(&frame.number()) {
            ports.insert((*own, frame.port()));
        }
    }
    let refuses = |f: &&Seen| f.protocol() == 1 || f.flags() & 0x04 != 0;
    // The link is named after its lower node; whatever goes down it was made above.
    let first = frames.iter().find(refuses);
    let maker = first.map(|f| if f.outward { f.link.clone() } else { format!("above {}", f.link) });
    Account { ports, first_refusal: maker }
}

/// The account of a kept trial, from its files.
fn told(kept: &Kept) -> (Account, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    artefacts::write(folder.path(), "the trial", &kept.artefacts).expect("room on the disk");
    let frames = read(&folder.path().join(artefacts::CAPTURE));
    assert_eq!(frames.len(), kept.artefacts.evidence.frames.len());
    let text = |name| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    tshark(&folder.path().join(artefacts::CAPTURE), frames.len());
    (account(&frames), text(artefacts::JUDGEMENT), text(artefacts::CONNTRACK))
}

/// The file opens without a complaint, and all its frames are there.
fn tshark(file: &Path, frames: usize) {
    if !has_tool("tshark") {
        return;
    }
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-e", "frame.interface_name"]);
    let output = command.output().expect("tshark");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !stderr.contains("cut short") && !stderr.contains("damaged"),
        "{stderr}"
    );
    let names = String::from_utf8(output.stdout).expect("text");
    assert_eq!(names.lines().count(), frames);
    assert!(["peer-a", "nat-a", "nat-b", "peer-b"].iter().all(|link| names.contains(link)), "{names}");
}

#[test]
fn the_ports_that_a_judgement_names_are_those_in_the_packets() {
    if !lab_is_possible() {
        return;
    }
    let kept = act(["sequential", "random"], ["dial; at 700; fail"; 2], "");
    all_have(&kept, Cause::PredictedPortWrong);
    for kept in &kept {
        let (account, judgement, conntrack) = told(kept);
        assert_eq!(account.ports.len(), 2, "one mapping a side");
        assert!(account.ports.iter().any(|(inside, outside)| inside != outside), "{:?}", account.ports);
        for (inside, outside) in &account.ports {
            assert!(
                conntrack.contains(&format!(":{inside} ")) && conntrack.contains(&format!(":{outside}\n")),
                "{conntrack}"
            );
            assert!(judgement.contains(&format!(":{outside}")), "{outside}: {judgement}");
        }
    }
}

#[test]
fn who_refused_first_is_who_the_packets_say() {
    if !lab_is_possible() {
        return;
    }
    let late = ["dial; at 1200; fail", "at 800; dial; at 1200; fail"];
    let slow = "delay = [\"60ms\"]\n";
    let host = ["at 600; dial; at 1700; fail", "dial server=13; at 100; close; at 1300; dial; at 1700; fail"];
    for (nats, scripts, judged, maker) in [
        (["reset", "reset"], late, "reset by NAT", "nat-b"),
        (["icmp", "icmp"], late, "ICMP from NAT", "nat-b"),
        (
            ["port-preserving", "port-preserving"],
            ["dial; at 300; fail", "at 900; dial; at 1500; fail"],
            "started too late",
            "peer-a",
        ),
        (["port-preserving", "full-cone"], host, "reset by host", "above nat-b"),
    ] {
        for kept in &act(nats, scripts, slow) {
            let (account, judgement, _) = told(kept);
            assert!(judgement.contains(judged), "{judgement}");
            assert_eq!(account.first_refusal.as_deref(), Some(maker), "{judgement}");
        }
    }
}

#[test]
fn a_witness_is_no_echo() {
    let frame = |link: &str, outward, flags| {
        let mut ip = vec![0; 40];
        (ip[9], ip[33]) = (6, flags);
        Seen { link: link.to_owned(), outward, ip }
    };
    let told = account(&[frame("peer-a", true, 2), frame("nat-a", true, 2), frame("nat-b", true, 4)]);
    assert_eq!((told.ports.len(), told.first_refusal.as_deref()), (1, Some("nat-b")));
    assert_eq!(frame("x", true, 2).source(), Ipv4Addr::UNSPECIFIED);
}
