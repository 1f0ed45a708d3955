use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};

use puncher::internals::Sealed;
use puncher::internals::bind_shared;
use puncher::internals::{Reply, Request, VERSION, frame, take_frame};
use serde::de::DeserializeOwned;

use crate::fixture::{Key, LONG, Running, address, connect, puncher, read_to_end};

/// A server that lies.
struct Liar {
    listener: TcpListener,
}

impl Liar {
    fn new() -> Self {
        Self { listener: TcpListener::bind((address(), 0)).expect("a port") }
    }

    fn endpoint(&self) -> SocketAddrV4 {
        match self.listener.local_addr().expect("an endpoint") {
            std::net::SocketAddr::V4(endpoint) => endpoint,
            std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    /// Welcomes one peer and returns what it joins with.
    fn welcome(&self) -> (TcpStream, Vec<u8>) {
        let (mut stream, from) = self.listener.accept().expect("a peer");
        let std::net::SocketAddr::V4(external) = from else { unreachable!("bound to IPv4") };
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        say(
            &mut stream,
            &Reply::Welcome { version: VERSION, external, endpoints: vec![self.endpoint()], challenge: None },
        );
        let mut buffer = Vec::new();
        assert_eq!(hear::<Request>(&mut stream, &mut buffer), Request::Hello);
        (stream, buffer)
    }
}

fn say(stream: &mut TcpStream, reply: &Reply) {
    stream.write_all(&frame(reply).expect("a frame")).expect("the peer reads");
}

fn hear<T: DeserializeOwned>(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> T {
    loop {
        if let Some(message) = take_frame(buffer).expect("a frame") {
            return message;
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).expect("the peer speaks");
        assert!(count > 0, "the peer hung up");
        buffer.extend(&bytes[..count]);
    }
}

fn peer(role: &str, key: &Key, server: SocketAddrV4) -> Running {
    let (server, bind) = (server.to_string(), format!("{}:0", address()));
    let how = ["--json", "--meeting", "m", "--rendezvous", &server, "--bind", &bind];
    Running::start(connect(role, key, "10s").args(how))
}

/// Hears what a peer joins with and its first message.
fn card(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Sealed {
    assert!(matches!(hear::<Request>(stream, buffer), Request::Join { .. }));
    match hear::<Request>(stream, buffer) {
        Request::Relay { body } => body,
        other => panic!("expected a card, got {other:?}"),
    }
}

#[test]
fn the_server_learns_neither_the_meetings_name_nor_the_key() {
    let (liar, key) = (Liar::new(), Key::new());
    let _peer = peer("a", &key, liar.endpoint());
    let (mut stream, mut buffer) = liar.welcome();
    let Request::Join { meeting, .. } = hear(&mut stream, &mut buffer) else { panic!("expected a join") };
    assert!(meeting != "m" && !key.text().contains(&meeting));
}

/// The kernel accepts for it. A person who waits is told for what, and for how long at most.
#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (silent, key) = (Liar::new(), Key::new());
    let server = silent.endpoint().to_string();
    let probe = Running::start(puncher().args(["probe", "--rendezvous", &server])).end();
    assert_eq!(probe.code(), Some(3), "{probe:?}");
    assert!(
        probe.stderr.contains("measuring the NAT") && probe.stderr.contains("no answer within 5s"),
        "{probe:?}"
    );
    let mut command = connect("a", &key, "500ms");
    let connect = Running::start(command.args(["--meeting", "m", "--rendezvous", &server])).end();
    assert_eq!(connect.code(), Some(3), "{connect:?}");
    assert!(connect.stderr.contains("connecting to the rendezvous server, for at most 500ms"), "{connect:?}");
}

/// Whatever a terminal or a log would act upon is written out.
#[test]
fn what_the_server_says_is_text() {
    let evil = "\u{1b}[2J\u{1b}]0;pwn\u{7}\n::error::x";
    let (liar, key) = (Liar::new(), Key::new());
    for says in ["error", "garbage", "unknown"] {
        let a = peer("a", &key, liar.endpoint());
        let (mut stream, _) = liar.welcome();
        match says {
            "error" => say(&mut stream, &Reply::Error { why: evil.repeat(100) }),
            "garbage" => {
                let json = serde_json::json!({ "type": evil }).to_string();
                let length = u16::try_from(json.len()).expect("short").to_be_bytes();
                stream.write_all(&[&length, json.as_bytes()].concat()).expect("the peer reads");
            }
            _ => {
                let body = Sealed { text: evil.into(), seal: "0".into() };
                say(&mut stream, &Reply::Relay { body });
            }
        }
        let ended = a.end();
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        let told = ended.stderr.strip_suffix('\n').expect("a line");
        assert!(!told.chars().any(char::is_control) && told.len() < 1000, "{says}: {told:?}");
        assert!(ended.stdout.iter().all(|byte| *byte == b'\n' || !byte.is_ascii_control()), "{ended:?}");
    }
}

#[test]
fn a_message_the_server_made_up_is_refused() {
    let (liar, key) = (Liar::new(), Key::new());
    let a = peer("a", &key, liar.endpoint());
    let (mut stream, mut buffer) = liar.welcome();
    let own = card(&mut stream, &mut buffer);
    let text = own.text.replace("auto", "spray");
    say(&mut stream, &Reply::Relay { body: Sealed { text, ..own } });
    let ended = a.end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the seal does not fit"), "{}", ended.stderr);
}

#[test]
fn a_peers_own_message_sent_back_is_refused() {
    let (liar, key) = (Liar::new(), Key::new());
    let a = peer("a", &key, liar.endpoint());
    let (mut stream, mut buffer) = liar.welcome();
    let body = card(&mut stream, &mut buffer);
    say(&mut stream, &Reply::Relay { body });
    let ended = a.end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the seal does not fit"), "{}", ended.stderr);
}

/// The card of an earlier session opens, but nothing sealed under its nonce can follow.
#[test]
fn a_replayed_card_makes_no_peer_send_a_syn() {
    let (liar, key) = (Liar::new(), Key::new());
    let b = peer("b", &key, liar.endpoint());
    let (mut stream, mut buffer) = liar.welcome();
    let old = card(&mut stream, &mut buffer);
    drop((stream, b));
    let a = peer("a", &key, liar.endpoint());
    let (mut stream, mut buffer) = liar.welcome();
    card(&mut stream, &mut buffer);
    say(&mut stream, &Reply::Relay { body: old.clone() });
    // Its confirmation, sealed under both nonces, cannot be made: the server can only repeat what it has.
    say(&mut stream, &Reply::Relay { body: old });
    say(&mut stream, &Reply::Go { round: 1 });
    let ended = a.end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.events().iter().all(|event| event["event"] != "attempt"), "{ended:?}");
}

#[test]
fn a_start_before_the_peer_has_confirmed_is_refused() {
    let (liar, key) = (Liar::new(), Key::new());
    let a = peer("a", &key, liar.endpoint());
    let b = peer("b", &key, liar.endpoint());
    let (mut first, mut first_buffer) = liar.welcome();
    let (mut second, mut second_buffer) = liar.welcome();
    let (one, two) = (card(&mut first, &mut first_buffer), card(&mut second, &mut second_buffer));
    say(&mut first, &Reply::Relay { body: two });
    say(&mut second, &Reply::Relay { body: one });
    for stream in [&mut first, &mut second] {
        say(stream, &Reply::Go { round: 1 });
    }
    for ended in [a.end(), b.end()] {
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        assert!(ended.events().iter().all(|event| event["event"] != "attempt"), "{ended:?}");
    }
}

/// Somebody else listens where the peer is expected, and says all kinds of things; then the peer comes.
#[test]
fn strangers_at_the_peers_endpoint_are_refused_and_the_search_goes_on() {
    let key = Key::new();
    let shared = bind_shared(SocketAddrV4::new(address().parse().expect("an address"), 0)).expect("a port");
    shared.listen(8).expect("listening");
    shared.set_nonblocking(false).expect("blocking");
    let stranger = TcpListener::from(shared);
    let endpoint = stranger.local_addr().expect("an endpoint").to_string();
    let own =
        TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("an endpoint").to_string();
    let start = |role: &str, bind: &str, peer: &str| {
        let how = ["--json", "--meeting", "m", "--bind", bind, "--peer", peer];
        Running::start(connect(role, &key, "20s").args(how))
    };
    let a = start("a", &own, &endpoint);
    let garbage: [&[u8]; 3] = [
        &[0; 200],
        b"HTTP/1.1 400 Bad Request\r\n\r\n, and so on, for longer than a frame is, so that it can be judged",
        b"",
    ];
    for garbage in garbage {
        let (mut stream, _) = stranger.accept().expect("puncher dials");
        stream.write_all(garbage).expect("puncher reads");
        if !garbage.is_empty() {
            // It ends the stream, because it is not the peer's.
            read_to_end(&mut stream);
        }
    }
    drop(stranger);
    let b = start("b", &endpoint, &own);
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
}
