//! NATs past connection tracking: proved and judged by the packets on both their sides alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use testbed::model::catalogue::{Catalogue, Profile};
use testbed::model::cause::Cause;
use testbed::model::datapath::Datapath;
use testbed::model::event::ProofResult;
use testbed::model::outcome::{CellResult, Outcome, Verdict};
use testbed::probe::conformance::conform;
use testbed::probe::fuzz::{FuzzReport, fuzz};
use testbed::probe::measure::measure;
use testbed::probe::prove::{Depth, Subject, prove};
use testbed::run::RunRequest;

use super::causes::suite_over;
use super::run::{cells_of_request, puncher, request};
use super::{has_tool, lab_is_possible};

/// The NATs that come with testbed, and the programs that make them.
const NATS: &str = include_str!("../../../topologies/user-space/nats.toml");
const PACKET_NAT: &str = include_str!("../../../topologies/user-space/packet_nat.py");
const PASST_NAT: &str = include_str!("../../../topologies/user-space/passt_nat.py");
const BPF_NAT: &str = include_str!("../../../topologies/user-space/bpf_nat.c");
const LOADER: &str = include_str!("../../../topologies/user-space/bpf_nat.sh");

/// A NAT whose program keeps the source port, and what is said of it.
fn profile_of(keys: &str) -> String {
    format!("[nat.packets]\nsummary = \"a test\"\n{keys}\n")
}

const HONEST: &str =
    "command = [\"/usr/bin/python3\", \"packet_nat.py\"]\ndatapath = \"packets\"\nstrictness = \"liberal\"";

/// The catalogue with these NATs, in a folder that has their programs; `program` is the one of `packets`.
fn catalogue(folder: &Path, nats: &str, program: &str) -> Catalogue {
    let others = [("passt_nat.py", PASST_NAT), ("bpf_nat.c", BPF_NAT), ("bpf_nat.sh", LOADER)];
    for (file, text) in [("packet_nat.py", program)].into_iter().chain(others) {
        std::fs::write(folder.join(file), text).expect("room on the disk");
    }
    let file = folder.join("nats.toml");
    let own = Catalogue::parse(nats, file.to_str().expect("UTF-8")).unwrap_or_else(|why| panic!("{why}"));
    Catalogue::embedded().with(own)
}

fn proved(catalogue: &Catalogue, name: &str, depth: Depth) -> ProofResult {
    let profile = catalogue.get(name).expect("it is there");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(prove(Subject::of(profile).expect("a NAT"), depth))
}

/// What was observed of each row, and whether it agrees.
fn row<'a>(proof: &'a ProofResult, axis: &str) -> (&'a str, bool) {
    let found = proof.rows.iter().find(|row| row.axis == axis);
    found
        .map(|row| (row.observed.as_str(), row.agrees))
        .unwrap_or_else(|| panic!("no row {axis}: {proof:#?}"))
}

#[test]
fn a_program_that_rewrites_packets_is_proved_and_says_what_was_not_looked_at() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let quick = proved(&catalogue, "packet-nat", Depth::Quick);
    assert!(quick.holds(), "{quick:#?}");
    assert_eq!(row(&quick, "datapath"), ("packets", true));
    assert!(row(&quick, "timeouts").0.starts_with("not looked at: connection tracking"), "{quick:#?}");
    let full = proved(&catalogue, "packet-nat", Depth::Full);
    assert!(full.holds(), "{full:#?}");
    let by_packets = "syn_sent more than 7 s, established more than 7 s, by packets";
    assert_eq!(row(&full, "timeouts"), (by_packets, true));
}

#[test]
fn what_such_a_program_does_not_do_as_declared_is_found() {
    if !lab_is_possible() {
        return;
    }
    let timers = "timeouts = { syn-sent = \"3s\", established = \"5s\" }";
    let short = |words: &str| {
        format!(
            "command = [\"/usr/bin/python3\", \"packet_nat.py\"{words}]\ndatapath = \"packets\"\nstrictness = \"liberal\"\n{timers}"
        )
    };
    let cases = [
        (HONEST.replace("packets\"", "conntrack\""), Depth::Quick, "datapath", "packets"),
        (HONEST.replace("packets\"", "sockets\""), Depth::Quick, "datapath", "packets"),
        (format!("{HONEST}\nunsolicited-syn = \"reset\""), Depth::Quick, "unsolicited-syn", "drop"),
        (short(", \"3\", \"5\""), Depth::Full, "timeouts", "syn_sent 3 s, established 5 s, by packets"),
        (short(", \"1\", \"5\""), Depth::Full, "timeouts", "syn_sent ended within 2.0 s"),
        (short(", \"3\", \"50\""), Depth::Full, "timeouts", "established lives after 6.0 s"),
        // Gone by the time that the probe would ask if it began to count when nothing more came.
        (short(", \"3\", \"6.3\""), Depth::Full, "timeouts", "established lives after 6.0 s"),
    ];
    let found_out = |(keys, depth, axis, observed): (String, Depth, &str, &str)| {
        let folder = tempfile::tempdir().expect("a folder");
        let catalogue = catalogue(folder.path(), &profile_of(&keys), PACKET_NAT);
        let proof = proved(&catalogue, "packets", depth);
        assert_eq!(proof.error, None);
        assert_eq!(row(&proof, axis), (observed, observed.ends_with("by packets")), "{keys}");
    };
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| found_out(case));
        }
    });
}

/// What the program does with a packet of a connection that it knows.
const KNOWN: &str = "                connection.saw(packet[header + 13], True)\n";

/// The same, and a reset for each SYN that nobody asked for, after a while that a hasty probe takes for silence.
const REFUSES_LATE: &str = r#"                connection.saw(packet[header + 13], True)
            elif packet[header + 13] & SYN:
                threading.Timer(0.15, self.refuse, [bytes(packet), header]).start()

    def refuse(self, packet, header):
        answer = bytearray(packet[:header + 20])
        answer[2:4] = struct.pack("!H", header + 20)
        answer[12:16], answer[16:20] = packet[16:20], packet[12:16]
        there, here, number = struct.unpack("!HHI", packet[header:header + 8])
        pseudo = bytes(answer[12:20]) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20)
        partial = ~checksum(pseudo) & 0xFFFF
        answer[header:] = struct.pack("!HHIIBBHHH", here, there, 0, number + 1, 0x50, RST | ACK, 0, partial, 0)
        self.send(answer, to_checksum=True)
"#;

#[test]
fn a_refusal_that_takes_its_time_is_not_silence() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(PACKET_NAT.matches(KNOWN).count(), 1);
    let program =
        PACKET_NAT.replace("import time\n", "import threading\nimport time\n").replace(KNOWN, REFUSES_LATE);
    let catalogue = catalogue(folder.path(), &profile_of(HONEST), &program);
    let proof = proved(&catalogue, "packets", Depth::Quick);
    assert_eq!(proof.error, None);
    assert_eq!(row(&proof, "unsolicited-syn"), ("reset", false), "{proof:#?}");
}

#[test]
fn what_carries_the_packets_of_a_program_across_is_measured() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing is declared of it.
    let keys = "command = [\"/usr/bin/python3\", \"packet_nat.py\"]";
    let catalogue = catalogue(folder.path(), &profile_of(keys), PACKET_NAT);
    let profile: &Profile = catalogue.get("packets").expect("it is there");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let measured = runtime.block_on(measure(profile)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(measured.description.datapath, Datapath::Packets);
    assert!(measured.proof.holds(), "{:#?}", measured.proof);
    let text = measured.description.text();
    for line in ["datapath = \"packets\"", "allocation = \"preserving\"", "strictness = \"liberal\""] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}:\n{text}");
    }
    let gaps = measured.description.gaps();
    assert!(matches!(gaps[..], [(axis, _)] if axis.name() == "timeouts"), "{gaps:?}");
}

/// The cells of a suite with `nat` on side a.
fn played(catalogue: Catalogue, nat: &str, others: &str, methods: &str) -> Vec<CellResult> {
    let text = format!(
        "name = \"past\"\nsummary = \"past connection tracking\"\ntopology = \"pair\"\ntrials = 4\n[axes]\n\
         nat-a = [\"{nat}\"]\nnat-b = [{others}]\nmethod = [{methods}]\n"
    );
    let suite = suite_over(&catalogue, &text);
    cells_of_request(RunRequest { catalogue, jobs: 4, ..request(suite, puncher()) })
}

#[test]
fn trials_with_it_are_judged_by_the_packets_alone() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let others = "\"port-preserving\", \"random\", \"reset\", \"packet-nat\"";
    let cells = played(catalogue, "packet-nat", others, "\"simultaneous-open\", \"low-ttl\"");
    assert_eq!(cells.len(), 8);
    for cell in &cells {
        assert_eq!(cell.verdict, Verdict::AsExpected, "{}: {} {:#?}", cell.cell.id, cell.note, cell.trials);
    }
}

#[test]
fn a_program_in_bpf_is_proved_and_judged_by_the_packets_alone() {
    if !lab_is_possible() || !has_tool("bpf-gcc") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let proof = proved(&catalogue, "bpf-nat", Depth::Full);
    assert!(proof.holds(), "{proof:#?}");
    assert_eq!(row(&proof, "datapath"), ("packets", true));
    let by_packets = "syn_sent more than 7 s, established more than 7 s, by packets";
    assert_eq!(row(&proof, "timeouts"), (by_packets, true));
    let others = "\"port-preserving\", \"random\", \"reset\", \"bpf-nat\"";
    for cell in played(catalogue, "bpf-nat", others, "\"simultaneous-open\"") {
        assert_eq!(cell.verdict, Verdict::AsExpected, "{}: {} {:#?}", cell.cell.id, cell.note, cell.trials);
    }
}

#[test]
fn what_a_program_has_left_in_the_kernel_is_gone_when_it_is_started_again() {
    if !lab_is_possible() || !has_tool("bpf-gcc") {
        return;
    }
    // It fails where something is left. The proof starts it several times.
    let asks = "set -eu\nmkdir /sys/fs/bpf/left\n\
                if tc qdisc show | grep clsact >&2 || ip -o link show | grep xdp >&2; then exit 7; fi\n";
    let leaves = "tc filter add block 1 bpf direct-action object-file \"$compiled\" section translation\n";
    let more = format!(
        "{leaves}ip link set dev \"$NAT_WAN_DEVICE\" xdpgeneric object \"$compiled\" section first\n"
    );
    let first = "\nSECTION(\"first\") int see_first(struct xdp_md *frame) {\n  return XDP_PASS;\n}\n";
    assert_eq!([LOADER.matches("set -eu\n").count(), LOADER.matches(leaves).count()], [1, 1]);
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let loader = LOADER.replace("set -eu\n", asks).replace(leaves, &more);
    std::fs::write(folder.path().join("bpf_nat.sh"), loader).expect("room on the disk");
    std::fs::write(folder.path().join("bpf_nat.c"), format!("{BPF_NAT}{first}")).expect("room on the disk");
    let proof = proved(&catalogue, "bpf-nat", Depth::Quick);
    assert!(proof.holds(), "{proof:#?}");
}

#[test]
fn what_a_program_in_bpf_does_not_do_as_declared_is_found() {
    if !lab_is_possible() || !has_tool("bpf-gcc") {
        return;
    }
    let admits_all = (
        "living(&flow);\n  if (!connection) return TC_ACT_SHOT;\n  saw(connection, tcp.flags, BY_OUTSIDE);",
        "lookup(&connections, &flow);\n  if (!connection) return TC_ACT_OK;\n  saw(connection, tcp.flags, BY_OUTSIDE);",
    );
    let cases = [
        (("flow->port = inside->port;", "flow->port = inside->port ^ 256;"), "allocation", Depth::Quick),
        (admits_all, "unsolicited-syn", Depth::Quick),
        (("#define STANDING (432000", "#define STANDING (4"), "timeouts", Depth::Full),
    ];
    let found_out = |((honest, lie), axis, depth): ((&str, &str), &str, Depth)| {
        assert_eq!(BPF_NAT.matches(honest).count(), 1, "{honest}");
        let folder = tempfile::tempdir().expect("a folder");
        let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
        let program = BPF_NAT.replace(honest, lie);
        std::fs::write(folder.path().join("bpf_nat.c"), program).expect("room on the disk");
        let proof = proved(&catalogue, "bpf-nat", depth);
        assert_eq!(proof.error, None);
        assert!(!row(&proof, axis).1, "{lie}: {proof:#?}");
    };
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || found_out(case));
        }
    });
}

#[test]
fn one_that_lies_in_the_lab_alone_is_named() {
    if !lab_is_possible() {
        return;
    }
    // On the bench nobody sends to these addresses.
    let honest = "        first = self.ports.get(inside, inside[1])\n";
    let liar = "        first = inside[1] + (remote[0][0] == 198 and remote[0][1] == 51)\n";
    let program = PACKET_NAT.replace(honest, liar);
    assert_ne!(program, PACKET_NAT);
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), &profile_of(HONEST), &program);
    let cells = played(catalogue, "packets", "\"port-preserving\"", "\"simultaneous-open\"");
    let named = "NAT \"packets\" in \"nat-a\" does not do what it declares (";
    assert!(cells[0].note.contains(named), "{:#?}", cells[0]);
}

#[test]
fn what_only_connection_tracking_tells_is_not_asked_of_it() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let subject = |name| Subject::of(catalogue.get(name).expect("it is there")).expect("a NAT");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let conformance = runtime.block_on(conform(subject("packet-nat")));
    assert_eq!(conformance.error, None);
    let asks_tracking =
        ["RFC 5382 REQ-5 (established)", "RFC 5382 REQ-5 (transitory)", "RFC 7857 section 2.2 (session)"];
    for checked in &conformance.checks {
        assert!(checked.as_expected(), "{checked:?}");
        let of_timers = asks_tracking.contains(&checked.check.id);
        assert_eq!(of_timers, checked.observed.starts_with("connection tracking, which"), "{checked:?}");
    }
    let of_sockets = runtime.block_on(conform(subject("passt")));
    assert!(of_sockets.error.is_some_and(|why| why.contains("sequence numbers of their own")));
    for name in ["packet-nat", "passt"] {
        let seen = Arc::new(Mutex::new(FuzzReport::of(name)));
        let refused = runtime.block_on(fuzz(subject(name), 1, Duration::from_secs(1), &seen));
        let why = refused.expect_err("nothing to compare with").to_string();
        assert!(why.contains("the reference knows what connection tracking remembers"), "{why}");
    }
}

#[test]
fn passt_is_proved_by_the_endpoints_alone() {
    if !lab_is_possible() || !has_tool("passt") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let proof = proved(&catalogue, "passt", Depth::Full);
    assert!(proof.holds(), "{proof:#?}");
    for axis in ["strictness", "timeouts", "draws", "after a reset", "after an ICMP error"] {
        assert!(row(&proof, axis).0.starts_with("not looked at: "), "{proof:#?}");
    }
    let other = NATS.replace("ports = \"32768-60999\"", "ports = \"40000-60999\"");
    let catalogue = self::catalogue(folder.path(), &other, PACKET_NAT);
    let proof = proved(&catalogue, "passt", Depth::Quick);
    assert!(!row(&proof, "ports").1, "{proof:#?}");
}

#[test]
fn trials_behind_passt_are_judged_as_of_a_host_at_its_node() {
    if !lab_is_possible() || !has_tool("passt") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    let cells = played(catalogue, "passt", "\"none\", \"random\", \"passt\"", "\"listen\"");
    let allowed = [Cause::PredictedPortWrong, Cause::ResetByHost, Cause::Filtered];
    for cell in &cells {
        let (id, trials) = (&cell.cell.id, &cell.trials);
        assert_eq!(cell.verdict, Verdict::NoExpectation, "{id}: {} {trials:#?}", cell.note);
        let passed = trials.iter().filter(|trial| matches!(trial.outcome, Outcome::Passed(_))).count();
        // Whoever is reachable is reached; whoever draws a port for each connection is not met by one guess.
        assert_eq!(passed > 0, id.contains("/none/"), "{id}: {trials:#?}");
        let is_explained = |outcome: &Outcome| match outcome {
            Outcome::Passed(_) => true,
            Outcome::Failed(failure) => allowed.contains(&failure.cause),
            _ => false,
        };
        assert!(trials.iter().all(|trial| is_explained(&trial.outcome)), "{id}: {trials:#?}");
    }
}

#[test]
fn a_nat_of_sockets_that_swallows_what_goes_to_the_peer_is_named() {
    if !lab_is_possible() || !has_tool("passt") {
        return;
    }
    let honest = "if kind == socket.PACKET_HOST and frame[12:14] != ARP:";
    // Its frames to 198.51.0.0/16 go nowhere.
    let liar = PASST_NAT.replace(
        honest,
        "if kind == socket.PACKET_HOST and frame[12:14] != ARP and frame[30:32] != b\"\\xc6\\x33\":",
    );
    assert_ne!(liar, PASST_NAT);
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = catalogue(folder.path(), NATS, PACKET_NAT);
    std::fs::write(folder.path().join("passt_nat.py"), liar).expect("room on the disk");
    let cells = played(catalogue, "passt", "\"port-preserving\"", "\"simultaneous-open\"");
    let named = "NAT \"passt\" in \"nat-a\" does not carry across what it is asked for";
    assert!(cells[0].note.contains(named), "{:#?}", cells[0]);
}
