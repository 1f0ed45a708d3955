//! What wires saw, written as pcapng, says the same to an independent reader.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use testbed::kernel::clock::ClockPair;
use testbed::lab::wire::WireEngine;
use testbed::report::pcapng::{Heading, LinkName, Pcapng};

use super::cable::{Cable, LOWER, UPPER};
use crate::lab::lab_is_possible;

/// Whether tshark is installed. Says so loudly if not.
fn tshark_is_there() -> bool {
    let there = Command::new("tshark").arg("--version").output().is_ok();
    if !there {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: a_capture_reads_back_in_tshark: tshark is not installed");
    }
    there
}

fn tshark(file: &std::path::Path, fields: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_capture_reads_back_in_tshark() {
    if !lab_is_possible() || !tshark_is_there() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::from_millis(5));
    cable.warm_up();
    let listener = cable.listen();
    let stream = cable.connect();
    listener.accept().expect("a connection");
    let port = stream.local_addr().expect("a port").port();
    let frames = cable.take().frames;

    let link = |number: u16| LinkName { name: format!("link-{number}"), description: "a wire".to_owned() };
    let links: Vec<LinkName> = (0..8).map(link).collect();
    let unix_offset = ClockPair::read().unix_offset();
    let heading = Heading { comment: "a cell, a trial, its outcome", links: &links, unix_offset };
    let mut capture = Pcapng::new(&heading);
    for frame in &frames {
        capture.add(frame, &["first", "second"]).expect("a known link");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&capture.into_bytes()).expect("room for it");

    let fields =
        ["frame.time_epoch", "frame.interface_name", "ip.src", "ip.dst", "tcp.srcport", "tcp.flags.str"];
    let read = tshark(file.path(), &fields);
    let expected = [(LOWER, UPPER, port, "··········S·"), (UPPER, LOWER, 5000, "·······A··S·")];
    for ((line, (from, to, port, flags)), frame) in read.lines().zip(expected).zip(&frames) {
        let time = frame.entered + unix_offset;
        let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        assert_eq!(line, format!("{seconds}.{nanos:09}|link-7|{from}|{to}|{port}|{flags}"));
    }
    assert_eq!(read.lines().count(), frames.len());
    let comments = tshark(file.path(), &["frame.comment"]);
    let first = comments.lines().next().expect("a line");
    assert!(first.starts_with("first,second,left the link after 5."), "{first}");
}
