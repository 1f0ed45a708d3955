//! Shells and commands in the lab of a cell: on a terminal, without one, and gone afterwards.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{make_pipe, testbed};
use crate::lab::{has_tool, is_readable_within, lab_is_possible};

const PATIENCE: Duration = Duration::from_secs(60);

/// A cell of the suite `classic`.
const CELL: &str = "random/sequential";

/// NATs of the user's, in a lab that no suite has.
#[test]
fn a_lab_has_the_nats_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "table ip nat {\n  chain out {\n    type nat hook postrouting priority srcnat;\n    oifname \"wan\" masquerade \
                 comment \"from corp\"\n  }\n}\n";
    let nats = "[nat.corp]\nsummary = \"\"\nruleset-file = \"corp.nft\"\n";
    for (file, text) in [("corp.nft", rules), ("nats.toml", nats)] {
        std::fs::write(folder.path().join(file), text).expect("room on the disk");
    }
    let of = |words: &[&str]| super::testbed_in(folder.path(), words);
    let listed = of(&["shell", "classic", "list", "--nats", "nats.toml", "--nat-a", "corp"]);
    let cells = ["port-preserving", "sequential", "random"].map(|b| format!("corp/{b}/simultaneous-open\n"));
    assert_eq!(listed.stdout, cells.concat(), "{}", listed.stderr);
    of(&["shell", "classic", "corp/random", "--nats", "nats.toml"]).refused(
        2,
        "no cell of \"classic\" is called \"corp/random\"\n  help: list the cells with: testbed shell classic list --nats \
         nats.toml; --nat-a and --nat-b put other NATs into them\n",
    );
    if !lab_is_possible() {
        return;
    }
    let inside = [
        "exec",
        "classic",
        "corp/random",
        "nat-a",
        "--nats",
        "nats.toml",
        "--nat-a",
        "corp",
        "--nat-b",
        "random",
    ];
    let done = of(&[&inside[..], &["--", "nft", "list", "ruleset"]].concat());
    assert!(done.code == 0 && done.stdout.contains("from corp"), "{}{}", done.stdout, done.stderr);
}

/// Somebody at a terminal, as script(1) makes one.
struct Typist {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Typist {
    fn at(line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qec", line, "/dev/null"]).env("TERM", "dumb");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        let keys = child.stdin.take().expect("its input");
        let mut output = child.stdout.take().expect("its output");
        let (tell, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let _ = tell.send(buffer[..length].to_vec());
            }
        });
        Self { child, keys, screen, seen: String::new() }
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("a living terminal");
    }

    /// Waits until this is on the screen, and forgets what was before it.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("waited for {text:?}, and saw {:?}", self.seen),
            }
        }
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }
}

/// A named pipe: whoever holds its writing end is told of by its end.
struct Pipe {
    folder: TempDir,
    /// Opened before anybody writes, so that nobody has to wait for us.
    reader: File,
}

impl Pipe {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        make_pipe(&path);
        let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("its end");
        Self { folder, reader }
    }

    fn path(&self) -> String {
        self.folder.path().join("pipe").display().to_string()
    }

    /// Waits until every program that had it open has ended. There must have been one.
    fn wait_for_end(mut self) {
        assert!(is_readable_within(&self.reader, PATIENCE), "a program still runs");
        assert_eq!(self.reader.read(&mut [0; 1]).expect("an end"), 0, "nobody writes to it");
    }
}

#[test]
fn a_shell_has_its_node_its_job_control_and_its_end() {
    if !lab_is_possible() || !has_tool("script") {
        return;
    }
    let pipe = Pipe::new();
    let mut typist = Typist::at(&format!("{} shell classic {CELL} nat-b", env!("CARGO_BIN_EXE_testbed")));
    typist.sees("this shell runs in nat-b");
    typist.sees("[nat-b] ");
    typist.types("ip -br -4 addr show wan\n");
    typist.sees("198.51.100.2/24");
    // Ctrl-C ends what the shell runs, and neither the shell nor us. The terminal shows what is typed, but not the sum.
    let sleeps = |sum: &str| format!("sh -c 'echo up-$(({sum})); exec sleep 1000' 3> {}\n", pipe.path());
    typist.types(&sleeps("1 + 1"));
    typist.sees("up-2");
    typist.types("\u{3}");
    typist.sees("[nat-b] ");
    typist.types("echo survived-$((40 + 2))\n");
    typist.sees("survived-42");
    // Ctrl-Z stops it, and the shell knows it as a job.
    typist.types(&sleeps("2 + 2"));
    typist.sees("up-4");
    typist.types("\u{1a}");
    typist.sees("Stopped");
    typist.types("bg; exit 5\n");
    typist.types("exit 5\n");
    assert_eq!(typist.ends(), Some(5));
    pipe.wait_for_end();
}

#[test]
fn a_command_runs_in_its_node_and_tells_its_exit_code() {
    if !lab_is_possible() {
        return;
    }
    let routes = testbed(&["exec", "classic", CELL, "peer-b", "--", "ip", "route"]);
    assert_eq!((routes.code, routes.stderr.as_str()), (0, ""));
    assert!(routes.stdout.contains("default via 10.0.1.1"), "{}", routes.stdout);
    let rules = testbed(&["exec", "classic", CELL, "nat-a", "--", "nft", "list", "ruleset"]);
    assert!(rules.stdout.contains("masquerade") || rules.stdout.contains("snat"), "{}", rules.stdout);
    assert_eq!(testbed(&["exec", "classic", CELL, "core", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(testbed(&["exec", "classic", CELL, "core", "--", "sh", "-c", "kill -TERM $$"]).code, 128 + 15);
    testbed(&["exec", "classic", CELL, "core", "--", "no-such-program"]).refused(2, "\"no-such-program\"");
}

#[test]
fn what_is_not_there_is_named_before_anything_is_built() {
    testbed(&["shell", "clasic", "x"]).refused(2, "unknown suite \"clasic\"");
    testbed(&["shell", "classic", "rando"]).refused(2, "\"rando\" is part of 5 names");
    testbed(&["exec", "classic", CELL, "nat-c", "--", "true"]).refused(2, "has no node \"nat-c\"");
    testbed(&["exec", "classic", CELL, "core"]).refused(2, "required arguments were not provided");
    let listed = testbed(&["shell", "classic", "list"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 9));
}

/// A suite of its own for a test: other tests may hold labs of those that come with testbed.
fn own_suite(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "name = \"{name}\"\nsummary = \"one cell\"\ntopology = \"pair\"\n[axes]\nnat-a = [\"port-preserving\"]\n\
         nat-b = [\"random\"]\nmethod = [\"simultaneous-open\"]\n"
    );
    std::fs::write(folder.path().join("own.toml"), text).expect("room on the disk");
    folder
}

#[test]
fn a_second_shell_joins_the_lab_of_the_first_and_sees_what_happens_there() {
    if !lab_is_possible() || !has_tool("script") {
        return;
    }
    let folder = own_suite("joined");
    let suite = folder.path().join("own.toml").display().to_string();
    let line = |node: &str| format!("{} shell {suite} port-preserving {node}", env!("CARGO_BIN_EXE_testbed"));
    let mut first = Typist::at(&line("peer-a"));
    first.sees("the lab of port-preserving/random/simultaneous-open is up");
    first.sees("[peer-a] ");
    let mut second = Typist::at(&line("nat-a"));
    second.sees("joined the lab of port-preserving/random/simultaneous-open, which another shell holds: this is nat-a");
    second.sees("[nat-a] ");
    // What peer-a does is seen in nat-a: a mapping.
    first.types("echo x > /dev/udp/203.0.113.1/9 && echo sent-$((1 + 1))\n");
    first.sees("sent-2");
    second.types("echo mappings-$(cat /proc/sys/net/netfilter/nf_conntrack_count)\n");
    second.sees("mappings-1");
    // A command joins as well, with its own streams and exit code.
    let exec = testbed(&["exec", &suite, "port-preserving", "nat-b", "--", "sh", "-c", "ip -o -4 a; exit 3"]);
    assert_eq!(exec.code, 3, "{}", exec.stderr);
    assert!(
        exec.stdout.contains("198.51.100.2/24") && exec.stderr.contains("which another shell holds"),
        "{}",
        exec.stdout
    );
    testbed(&["exec", &suite, "port-preserving", "nat-b", "--", "no-such-program"])
        .refused(2, "no-such-program");
    second.types("exit 4\n");
    assert_eq!(second.ends(), Some(4));
    // The lab goes with the first shell, and takes what others run in it along.
    let mut third = Typist::at(&line("core"));
    third.sees("[core] ");
    first.types("exit 5\n");
    assert_eq!(first.ends(), Some(5));
    third.sees("the shell that held the lab has ended");
    assert_eq!(third.ends(), Some(2));
}

#[test]
fn commands_side_by_side_have_labs_of_their_own() {
    if !lab_is_possible() {
        return;
    }
    let folder = own_suite("alone");
    let suite = folder.path().join("own.toml").display().to_string();
    let arguments = ["exec", &suite, "port-preserving", "peer-a", "--"];
    let mut waits = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let waits = waits.args(arguments).args(["sh", "-c", "echo up; read line"]);
    let mut waits =
        waits.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("testbed");
    let mut up = [0; 3];
    waits.stdout.take().expect("its output").read_exact(&mut up).expect("a line");
    let other = testbed(&[&arguments[..], &["true"]].concat());
    assert_eq!((other.code, other.stderr.as_str()), (0, ""));
    drop(waits.stdin.take());
    waits.wait().expect("an end");
}
