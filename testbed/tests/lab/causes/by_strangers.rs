//! Causes that programs bring about which know nothing of testbed: what comes with Python, an HTTP server and an HTTP client.

use testbed::model::cause::Cause;

use super::{Kept, all_are_proved, all_have, repeats, suite, trials};
use crate::lab::lab_is_possible;

/// It serves what is in its folder, and ends when it is told to.
const SERVER: &str = "exec /usr/bin/python3 -m http.server {local_port} --bind {local_ip}";

/// It asks for the page of a server, and exits with 1 if there is none.
const CLIENT: &str = "/usr/bin/python3 -c 'import urllib.request as it; it.urlopen(\\\"http://{peer_ip}:{peer_port}/\\\", timeout=1).read()' 2>/dev/null || exit 1";

/// Runs a line of the shell at each peer.
fn run(nats: [&str; 2], [a, b]: [&str; 2]) -> Vec<Kept> {
    let rest = format!(
        "deadline = \"4s\"\n[axes]\nmethod = [\"http\"]\n[program]\njudge = \"exit\"\n\
         peer = [\"/bin/sh\", \"-c\", \"if [ {{role}} = a ]; then {a}; else {b}; fi\"]\n"
    );
    trials(suite(nats, repeats(), &rest))
}

#[track_caller]
fn provoked(cause: Cause, nats: [&str; 2], lines: [&str; 2]) {
    if lab_is_possible() {
        let kept = run(nats, lines);
        all_have(&kept, cause);
        all_are_proved(&kept);
    }
}

/// Two clients on public addresses ask where nobody serves.
#[test]
fn reset_by_host() {
    provoked(Cause::ResetByHost, ["none", "none"], [CLIENT; 2]);
}

/// Each client dials the port of the other that its suite names, and leaves from a port of its kernel's choice.
#[test]
fn predicted_port_wrong() {
    provoked(Cause::PredictedPortWrong, ["port-preserving", "port-preserving"], [CLIENT; 2]);
}

/// The server waits, and its NAT lets nobody in.
#[test]
fn peer_never_started() {
    provoked(Cause::PeerNeverStarted, ["port-preserving", "port-preserving"], [CLIENT, SERVER]);
}

/// The client has its page and is content; the server goes on and says nothing.
#[test]
fn program_hung() {
    let later = format!("sleep 1.5; {CLIENT}");
    provoked(Cause::ProgramHung, ["none", "port-preserving"], [SERVER, &later]);
}
