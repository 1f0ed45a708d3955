use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::{Ended, Key, Running, Server, address, connect, puncher};

/// A peer's command; each has an address of its own, so they are two hosts without a NAT.
fn peer(role: &str, key: &Key, how: &[String]) -> Command {
    let mut command = connect(role, key, "20s");
    command.args(["--bind", &format!("{}:0", address())]).args(how);
    command
}

fn at(server: &Server, meeting: &str, more: &[&str]) -> Vec<String> {
    let meeting = ["--meeting".to_owned(), meeting.to_owned()];
    [server.arguments(), meeting.to_vec(), more.iter().map(ToString::to_string).collect()].concat()
}

fn both(key: &Key, how: &[String]) -> (Ended, Ended) {
    let a = Running::start(&mut peer("a", key, how));
    let b = Running::start(&mut peer("b", key, how));
    (a.end(), b.end())
}

#[test]
fn two_peers_tell_what_the_contract_asks_for() {
    let (server, key) = (Server::start(&[]), Key::new());
    for method in [
        "auto",
        "simultaneous-open",
        "observed-port",
        "preserved-port",
        "sequential",
        "low-ttl",
        "listen",
        "private",
    ] {
        let (a, b) = both(&key, &at(&server, method, &["--json", "--method", method]));
        assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{method}: {a:?} {b:?}");
        let (at_a, at_b) = (a.result(), b.result());
        assert_eq!((&at_a["ok"], &at_b["ok"]), (&true.into(), &true.into()));
        assert_eq!((&at_a["local"], &at_a["remote"]), (&at_b["remote"], &at_b["local"]), "one connection");
        let mut attempts = 0;
        for ended in [&a, &b] {
            let result = ended.result();
            assert!(result["method"].is_string());
            let times = [result["established_ms"].as_f64(), result["authenticated_ms"].as_f64()];
            assert!(matches!(times, [Some(up), Some(proved)] if up >= 0.0 && proved >= up), "{times:?}");
            let kinds: Vec<_> = ended.events().iter().map(|event| event["event"].clone()).collect();
            for kind in ["mapped", "predicted"] {
                assert!(
                    kinds.iter().any(|found| found == kind) || method == "listen",
                    "{method}: {kind} in {kinds:?}"
                );
            }
            attempts += kinds.iter().filter(|kind| *kind == "attempt").count();
        }
        // A host without a NAT listens: whoever is dialled before it dials has nothing to attempt any more.
        assert!(attempts > 0, "{method}: nobody attempted anything");
    }
}

#[test]
fn what_goes_in_at_one_end_comes_out_at_the_other() {
    let (server, key) = (Server::start(&[]), Key::new());
    let how = at(&server, "cat", &[]);
    let mut a = Running::start(peer("a", &key, &how).stdin(Stdio::piped()));
    let mut b = Running::start(peer("b", &key, &how).stdin(Stdio::piped()));
    let (forth, back) = (vec![b'x'; 3_000_000], b"and back".to_vec());
    let writer = {
        let forth = forth.clone();
        std::thread::spawn(move || {
            a.write(&forth);
            a.end()
        })
    };
    b.write(&back);
    let b = b.end();
    let a = writer.join().expect("the writer ends");
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{} {}", a.stderr, b.stderr);
    assert!(b.stdout == forth && a.stdout == back, "{} and {} bytes", b.stdout.len(), a.stdout.len());
}

#[test]
fn each_end_may_go_on_when_the_other_has_ended() {
    let (server, key) = (Server::start(&[]), Key::new());
    let start = |role: &str| {
        let mut command = peer(role, &key, &at(&server, "m", &[]));
        Running::start(command.stdin(std::process::Stdio::piped()))
    };
    let (mut a, mut b) = (start("a"), start("b"));
    let sent: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        a.write(&copy);
        a.end()
    });
    b.write(b"answer");
    let (b, a) = (b.end(), writing.join().expect("a ends"));
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
    assert!(b.stdout == sent && a.stdout == b"answer");
}

/// What was typed arrives although the one who types goes on thinking, and the peer has said all.
#[test]
fn nothing_waits_for_more_to_be_said() {
    let (server, key) = (Server::start(&[]), Key::new());
    let start =
        |role: &str| Running::start(peer(role, &key, &at(&server, "tail", &[])).stdin(Stdio::piped()));
    let (mut a, mut b) = (start("a"), start("b"));
    b.write(b"");
    let said: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let copy = said.clone();
    let typing = std::thread::spawn(move || {
        a.keep_writing(&copy);
        a
    });
    let mut heard = vec![0; said.len()];
    b.stdout_ref().read_exact(&mut heard).expect("all of it arrives");
    assert!(heard == said);
    drop(typing.join().expect("a has written"));
}

#[test]
fn a_command_gets_the_connection_and_its_exit_code_counts() {
    let (server, key) = (Server::start(&[]), Key::new());
    let mut a = Running::start(peer("a", &key, &at(&server, "exec", &[])).stdin(Stdio::piped()));
    let b = Running::start(&mut peer("b", &key, &at(&server, "exec", &["--exec", "tr a-z A-Z; exit 7"])));
    a.write(b"shout");
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(7)), "{a:?} {b:?}");
    assert_eq!(a.stdout, b"SHOUT");
}

#[test]
fn a_port_is_forwarded_to_a_service() {
    let (server, key) = (Server::start(&[]), Key::new());
    let service = TcpListener::bind((address(), 0)).expect("a service");
    let to = service.local_addr().expect("an endpoint").to_string();
    let local = format!("{}:0", address());
    let mut a = Running::start(&mut peer("a", &key, &at(&server, "forward", &["--forward", &local])));
    let b = Running::start(&mut peer("b", &key, &at(&server, "forward", &["--to", &to])));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = service.accept().expect("puncher connects");
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).expect("a question");
        stream.write_all(&asked.map(|byte| byte + 1)).expect("an answer");
    });
    let mut said = BufReader::new(a.stderr()).lines().map_while(Result::ok);
    let listening = said.find_map(|line| line.strip_prefix("puncher: listening on ").map(str::to_owned));
    let mut client = TcpStream::connect(listening.expect("where to connect")).expect("puncher listens");
    client.write_all(&[1, 2, 3, 4]).expect("a question");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [2, 3, 4, 5]);
    drop(client);
    serving.join().expect("the service ends");
    assert_eq!((a.end().code(), b.end().code()), (Some(0), Some(0)));
}

#[test]
fn tickets_make_a_meeting_without_a_server() {
    let key = Key::new();
    let kept = tempfile::tempdir().expect("a folder");
    let ticket = |name: &str| {
        let port = TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("an endpoint");
        let ended = Running::start(
            puncher()
                .args([
                    "ticket",
                    "--start-in",
                    "500ms",
                    "--tolerance",
                    "10s",
                    "--external",
                    &port.to_string(),
                    "--bind",
                    &port.to_string(),
                ])
                .arg("--key-file")
                .arg(key.path())
                .arg("--keep")
                .arg(kept.path().join(name)),
        );
        String::from_utf8(ended.end().stdout).expect("text").trim().to_owned()
    };
    let (here, there) = (ticket("a"), ticket("b"));
    let connect = |own: &str, peer: &str| {
        let own = kept.path().join(own);
        let own = own.to_str().expect("a path in UTF-8");
        let mut command = puncher();
        command.args([
            "connect",
            "--json",
            "--deadline",
            "20s",
            "--ticket",
            own,
            "--peer-ticket",
            peer,
            "--key-file",
        ]);
        Running::start(command.arg(key.path()))
    };
    let (a, b) = (connect("a", &there), connect("b", &here));
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
    assert_eq!(a.result()["method"], "preserved-port");
}

/// An endpoint that is free.
fn endpoint() -> SocketAddr {
    TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("an endpoint")
}

/// A peer that knows where the other is.
fn known(role: &str, key: &Key, (own, peer): (SocketAddr, SocketAddr)) -> Running {
    let how = ["--json", "--meeting", "m", "--bind", &own.to_string(), "--peer", &peer.to_string()];
    Running::start(connect(role, key, "20s").args(how))
}

#[test]
fn a_known_endpoint_needs_no_server() {
    let (key, here, there) = (Key::new(), endpoint(), endpoint());
    let (a, b) = (known("a", &key, (here, there)), known("b", &key, (there, here)));
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
}

/// Waits for a peer that does not come, for this long.
fn wait_in_vain(server: &Server, key: &Key, patience: &str, more: &[&str]) -> Ended {
    let how = at(server, "alone", &[&["--patience", patience], more].concat());
    Running::start(connect("a", key, "1s").args(how)).end()
}

#[test]
fn a_peer_that_does_not_come_is_awaited_and_named() {
    let (server, key) = (Server::start(&[]), Key::new());
    let ended = wait_in_vain(&server, &key, "2s", &["--json"]);
    assert_eq!(ended.code(), Some(1));
    assert_eq!(ended.result()["failure"], "peer");
    let error = ended.result()["error"].as_str().expect("text").to_owned();
    let told = error.strip_prefix("no path to peer \"b\" after ");
    let told = told.and_then(|rest| rest.strip_suffix(" s: the peer did not come to the meeting"));
    let seconds: f64 = told.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{error}"));
    assert!(seconds >= 2.0, "{error}");
    assert_eq!(wait_in_vain(&server, &key, "100ms", &[]).code(), Some(4));
}

/// The deadline is for punching.
#[test]
fn peers_that_come_later_than_the_deadline_meet() {
    let (server, key) = (Server::start(&[]), Key::new());
    let start = |role: &str| {
        let mut command = connect(role, &key, "1s");
        let how = at(&server, "apart", &["--json"]);
        Running::start(command.args(["--bind", &format!("{}:0", address())]).args(how))
    };
    let a = start("a");
    // Meanwhile somebody else waits for longer than the deadline.
    wait_in_vain(&server, &key, "2s", &[]);
    let b = start("b");
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
}

#[test]
fn a_connection_that_breaks_later_is_told_from_one_that_never_was() {
    let (server, key) = (Server::start(&[]), Key::new());
    let start =
        |role: &str| Running::start(peer(role, &key, &at(&server, "broken", &[])).stdin(Stdio::piped()));
    let (mut a, mut b) = (start("a"), start("b"));
    b.keep_writing(b"before");
    let mut heard = [0; 6];
    a.stdout_ref().read_exact(&mut heard).expect("b speaks");
    drop(b);
    let a = a.end();
    assert_eq!(a.code(), Some(5), "{a:?}");
    assert!(a.stderr.contains("lost the connection"), "{a:?}");
}

#[test]
fn events_end_when_the_connection_is_won_even_if_the_peer_goes_on() {
    let (server, key) = (Server::start(&[]), Key::new());
    let a = Running::start(&mut peer("a", &key, &at(&server, "json", &["--json"])));
    let b = Running::start(peer("b", &key, &at(&server, "json", &[])).stdin(Stdio::piped()));
    let a = a.end();
    assert_eq!(a.code(), Some(0), "{a:?}");
    drop(b);
}

#[test]
fn another_secret_is_named() {
    let keys = [Key::new(), Key::new()];
    let port = || TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("an endpoint");
    let (here, there) = (port().to_string(), port().to_string());
    let start = |role: &str, key: &Key, own: &str, peer: &str| {
        let how = ["--json", "--meeting", "m", "--bind", own, "--peer", peer];
        Running::start(connect(role, key, "2s").args(how))
    };
    let (a, b) = (start("a", &keys[0], &here, &there), start("b", &keys[1], &there, &here));
    let kinds = [a.end(), b.end()].map(|ended| ended.result()["failure"].clone());
    assert!(kinds.contains(&"secret".into()), "{kinds:?}");
}

#[test]
fn peers_with_different_methods_are_told() {
    let (server, key) = (Server::start(&[]), Key::new());
    let a = Running::start(&mut peer("a", &key, &at(&server, "differ", &["--method", "spray"])));
    let b = Running::start(&mut peer("b", &key, &at(&server, "differ", &["--method", "listen"])));
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(2), Some(2)), "{a:?} {b:?}");
    assert!(a.stderr.contains("the peer uses method listen, this side spray"), "{}", a.stderr);
}

#[test]
fn a_budget_that_does_not_fit_is_lowered_with_a_word() {
    let (server, key) = (Server::start(&[]), Key::new());
    let how = at(&server, "limited", &["--budget-syns", "100000"]).join(" ");
    let program = env!("CARGO_BIN_EXE_puncher");
    let line = |role: &str| {
        let bind = address();
        let key = key.path();
        let key = key.display();
        format!(
            "ulimit -n 200; exec {program} connect {how} --deadline 20s --role {role} --bind {bind}:0 --key-file {key} --json"
        )
    };
    let start = |role: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line(role)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(&mut shell)
    };
    let (a, b) = (start("a"), start("b"));
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
    let limited = &a.events()[0];
    assert_eq!(
        (&limited["event"], &limited["budget_syns"], &limited["wanted"]),
        (&"limited".into(), &136.into(), &100_000.into())
    );
}

/// A peer, once it listens: it does so before it dials for the first time, and says so.
fn listening(key: &Key, (own, peer): (SocketAddr, SocketAddr)) -> Running {
    let mut b = known("b", key, (own, peer));
    let mut said = BufReader::new(b.stdout());
    while crate::fixture::next_event(&mut said)["event"] != "attempt" {}
    b
}

/// Strangers who connect and say nothing, more than may stand.
#[test]
fn silent_strangers_shut_no_listener() {
    let (key, here, there) = (Key::new(), endpoint(), endpoint());
    let b = listening(&key, (there, here));
    let mut strangers = vec![TcpStream::connect(there).expect("b listens")];
    strangers.extend((0..400).filter_map(|_| TcpStream::connect(there).ok()));
    assert!(strangers.len() > 300, "{} strangers came in", strangers.len());
    let a = known("a", &key, (here, there));
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
    drop(strangers);
}

/// Strangers who connect without end. Every other one talks nonsense.
#[test]
fn a_flood_of_strangers_keeps_no_peer_out() {
    let (key, here, there) = (Key::new(), endpoint(), endpoint());
    let b = listening(&key, (there, here));
    let stop = AtomicBool::new(false);
    let counts = [const { AtomicUsize::new(0) }; 2];
    let flood = |came: &AtomicUsize| {
        let mut strangers = VecDeque::new();
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stranger) = TcpStream::connect_timeout(&there, Duration::from_millis(100)) else {
                continue;
            };
            if came.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                // Whoever was turned away meanwhile is not heard.
                let _ = stranger.write_all(&[7; 113]);
            }
            strangers.push_back(stranger);
            if strangers.len() > 300 {
                strangers.pop_front();
            }
        }
    };
    std::thread::scope(|threads| {
        for came in &counts {
            threads.spawn(|| flood(came));
        }
        let flooded = || counts.iter().all(|came| came.load(Ordering::Relaxed) > 10);
        let begun = Instant::now();
        while !flooded() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let flooded = flooded();
        let a = known("a", &key, (here, there));
        let (a, b) = (a.end(), b.end());
        stop.store(true, Ordering::Relaxed);
        assert!(flooded, "{counts:?} strangers came in");
        assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
    });
}
