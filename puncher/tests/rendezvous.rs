use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use puncher::Role;
use puncher::internals::Client;
use puncher::internals::Sealed;
use puncher::internals::bind_shared;
use puncher::internals::{Reply, Request, VERSION, frame};
use puncher::nat::Answer;
use puncher::rendezvous::{Limits, Server as Library};

use crate::fixture::{LONG, Server, address, next_event, read_to_end};

/// Idle clients that a server must endure.
const CROWD: u64 = 10_000;

pub(crate) async fn client(server: &Server) -> Client {
    let endpoints: Vec<SocketAddrV4> =
        server.endpoints.iter().map(|endpoint| endpoint.parse().expect("an endpoint")).collect();
    let local = SocketAddrV4::new(address().parse().expect("an address"), 0);
    Client::connect(local, &endpoints).await.expect("the server answers")
}

pub(crate) fn body(text: &str) -> Sealed {
    Sealed { text: text.into(), seal: String::new() }
}

/// Two honest peers meet, talk and start.
pub(crate) async fn honest_meeting(server: &Server, label: &str) {
    tokio::time::timeout(LONG, meet_and_start(server, label)).await.expect("nothing hinders them");
}

async fn meet_and_start(server: &Server, label: &str) {
    let (mut a, mut b) = (client(server).await, client(server).await);
    a.say(&[join(label, Role::A)]).await.expect("joined");
    b.say(&[join(label, Role::B)]).await.expect("joined");
    a.relay(body("from a")).await.expect("relayed");
    b.relay(body("from b")).await.expect("relayed");
    assert_eq!(a.next().await.expect("a message"), Reply::Relay { body: body("from b") });
    assert_eq!(b.next().await.expect("a message"), Reply::Relay { body: body("from a") });
    a.say(&[Request::Ready { round: 1 }]).await.expect("ready");
    b.say(&[Request::Ready { round: 1 }]).await.expect("ready");
    assert_eq!(a.next().await.expect("a start"), Reply::Go { round: 1 });
    assert_eq!(b.next().await.expect("a start"), Reply::Go { round: 1 });
}

/// An idle client, from one of many addresses.
fn idle(server: &Server, number: u32) -> Option<socket2::Socket> {
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 251, 0, 1)) + number % 200);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    socket.bind(&SocketAddrV4::new(from, 0).into()).ok()?;
    let endpoint: SocketAddrV4 = server.endpoints[0].parse().ok()?;
    socket.connect(&endpoint.into()).ok()?;
    Some(socket)
}

#[tokio::test]
async fn a_crowd_of_idle_clients_harms_nobody() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it can be raised to the hard limit");
    let room = CROWD.min(hard.saturating_sub(200));
    // The crowd is one network, to which the default limits would not give so much.
    let server = Server::start(&["--max-per-address=10000", "--connections-per-second=10000"]);
    let crowd: Vec<_> = (0..room).map(|number| idle(&server, number as u32)).collect();
    let came = crowd.iter().flatten().count() as u64;
    assert_eq!(came, room, "of {CROWD} clients wanted");
    honest_meeting(&server, "crowded").await;
    drop(crowd);
    honest_meeting(&server, "empty again").await;
}

/// What a stranger sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Garbage {
    /// Enough to be seen for what it is.
    Whole,
    /// The beginning of what may become a frame.
    Half,
}

#[tokio::test]
async fn garbage_half_frames_and_abrupt_ends_harm_nobody() {
    let mut server = Server::start(&[]);
    let endpoint = server.endpoints[0].clone();
    let connect = || TcpStream::connect(&endpoint).expect("the server accepts");
    let mut open = Vec::new();
    for number in 0..300u32 {
        let mut stream = connect();
        let (kind, garbage): (_, &[u8]) = match number % 5 {
            0 => (Garbage::Whole, &[0xff; 100]),
            1 => (Garbage::Half, b"\x00\x05{\"ty"),
            2 => (Garbage::Whole, b"\x00\x02{}"),
            3 => (Garbage::Whole, b"GET / HTTP/1.1\r\n\r\n"),
            _ => (Garbage::Whole, b"\x00\x00"),
        };
        stream.write_all(garbage).expect("the server reads");
        match number % 3 {
            0 => drop(stream),
            1 => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a reset at its end")
            }
            _ => open.push((kind, stream)),
        }
    }
    honest_meeting(&server, "amid garbage").await;
    // Whoever stayed and has said something that can be judged is ended for it; of the others nobody knows.
    let judged = open.iter_mut().filter(|(kind, _)| *kind == Garbage::Whole);
    let ended = judged.map(|(_, stream)| read_to_end(stream)).count() as u64;
    server.signal(Signal::SIGUSR1);
    let metrics = next_event(&mut server.lines);
    assert!(metrics["refused"].as_u64().expect("a number") >= ended, "{ended} of {metrics}");
    assert_eq!(metrics["starts"], 2, "{metrics}");
}

#[tokio::test]
async fn what_is_not_allowed_is_answered_with_a_reason_and_an_end() {
    let server = Server::start(&[]);
    for (requests, why) in [
        (vec![Request::Ready { round: 1 }], "join a meeting first"),
        (vec![Request::Relay { body: body("x") }], "join a meeting first"),
        (vec![join("one", Role::A), join("two", Role::A)], "this connection has joined already"),
        (vec![join("", Role::A)], "a meeting's label has 1 to 64 bytes"),
    ] {
        let mut stream = TcpStream::connect(&server.endpoints[0]).expect("the server accepts");
        for request in &requests {
            stream.write_all(&frame(request).expect("a frame")).expect("the server reads");
        }
        let said = read_to_end(&mut stream);
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(why), "{why} in {said}");
    }
}

pub(crate) fn join(label: &str, role: Role) -> Request {
    Request::Join { version: VERSION, meeting: label.into(), role, lock: None, token: None }
}

/// A server's figures at present.
pub(crate) fn metrics(server: &mut Server) -> serde_json::Value {
    server.signal(Signal::SIGUSR1);
    next_event(&mut server.lines)
}

/// Waits until one of a server's figures is as it has to be.
pub(crate) async fn until(server: &mut Server, figure: &str, is_so: impl Fn(u64) -> bool) {
    let began = Instant::now();
    loop {
        let figures = metrics(server);
        if figures[figure].as_u64().is_some_and(&is_so) {
            return;
        }
        assert!(began.elapsed() < LONG, "{figure} did not come to be as expected: {figures}");
        tokio::task::yield_now().await;
    }
}

/// Runs a server of the library with these limits.
pub(crate) fn library(limits: Limits) -> (Library, SocketAddrV4) {
    let endpoint = SocketAddrV4::new(address().parse().expect("an address"), 0);
    let server = Library::bind(&[endpoint], limits).expect("it binds");
    let endpoint = server.endpoints()[0];
    (server, endpoint)
}

async fn wait_for_end(stream: &mut tokio::net::TcpStream) {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = [0; 4096];
    let ends = async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} };
    tokio::time::timeout(LONG, ends).await.expect("the server ends it");
}

#[tokio::test]
async fn half_a_frame_may_not_stay() {
    use tokio::io::AsyncWriteExt as _;
    let (server, endpoint) = library(Limits { frame: Duration::from_millis(50), ..Limits::default() });
    let metrics = server.metrics();
    tokio::spawn(server.run(std::future::pending()));
    let mut stream = tokio::net::TcpStream::connect(endpoint).await.expect("the server accepts");
    stream.write_all(b"\x00\x20{").await.expect("the server reads");
    wait_for_end(&mut stream).await;
    assert_eq!(metrics.read().refused, 1);
}

#[tokio::test]
async fn when_it_is_full_the_oldest_idle_one_makes_room_and_members_stay() {
    let (server, endpoint) = library(Limits { connections: 4, ..Limits::default() });
    let metrics = server.metrics();
    tokio::spawn(server.run(std::future::pending()));
    let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut member = Client::connect(local, &[endpoint]).await.expect("the first comes in");
    member.say(&[join("m", Role::A)]).await.expect("joined");
    let mut oldest = tokio::net::TcpStream::connect(endpoint).await.expect("the server accepts");
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(Client::connect(local, &[endpoint]).await.expect("there is always room"));
    }
    wait_for_end(&mut oldest).await;
    assert_eq!((metrics.read().evicted, metrics.read().connections), (1, 4));
    let mut other = Client::connect(local, &[endpoint]).await.expect("there is always room");
    other.say(&[join("m", Role::B)]).await.expect("joined");
    other.relay(body("still there?")).await.expect("relayed");
    let heard = tokio::time::timeout(LONG, member.next()).await.expect("in time");
    assert_eq!(heard.expect("a message"), Reply::Relay { body: body("still there?") });
}

#[tokio::test]
async fn one_address_gets_no_more_than_its_share() {
    let (server, endpoint) = library(Limits { connections_per_address: 2, ..Limits::default() });
    let metrics = server.metrics();
    tokio::spawn(server.run(std::future::pending()));
    let from = |last| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0);
    let _first = Client::connect(from(2), &[endpoint]).await.expect("the first");
    let _second = Client::connect(from(2), &[endpoint]).await.expect("the second");
    assert!(Client::connect(from(2), &[endpoint]).await.is_err(), "a third from the same address");
    assert!(Client::connect(from(3), &[endpoint]).await.is_ok(), "one from another");
    assert_eq!(metrics.read().turned_away, 1);
}

/// A peer that never reads costs the server a bounded number of messages, and the other peer nothing.
#[tokio::test]
async fn a_peer_that_does_not_read_is_ended_at_last() {
    let limits = Limits { write: Duration::from_millis(100), ..Limits::default() };
    let (server, endpoint) = library(limits);
    tokio::spawn(server.run(std::future::pending()));
    let slow = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    slow.set_recv_buffer_size(4096).expect("a small buffer");
    slow.connect(&endpoint.into()).expect("the server accepts");
    (&slow).write_all(&frame(&join("m", Role::B)).expect("a frame")).expect("the server reads");
    let mut flood =
        Client::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), &[endpoint]).await.expect("in");
    flood.say(&[join("m", Role::A)]).await.expect("joined");
    let filler = "x".repeat(3900);
    // More than the kernel keeps for the slow one, and fewer requests than one connection may make.
    for _ in 0..1000 {
        if flood.relay(body(&filler)).await.is_err() {
            break;
        }
    }
    let told = async { while flood.next().await.is_ok_and(|reply| reply != Reply::Gone) {} };
    tokio::time::timeout(LONG, told).await.expect("the flooding one hears that the other was ended");
    let read = tokio::task::spawn_blocking(|| read_to_end(&mut slow.into()));
    read.await.expect("the slow one was ended");
    drop(flood);
}

/// How long the server may wait for an answer to its knock; here one comes at once.
const PATIENT_MS: u32 = 8_000;

#[tokio::test]
async fn a_knock_goes_where_the_asker_is_and_nowhere_else() {
    let (server, endpoint) = library(Limits::default());
    tokio::spawn(server.run(std::future::pending()));
    let client = Client::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), &[endpoint]).await.expect("in");
    let mut closed = client.measure(0).await.expect("connected");
    assert_eq!(
        closed.probe_unsolicited(PATIENT_MS).await.expect("an answer"),
        (Answer::Reset, Answer::Untried)
    );
    let mut open = client.measure(0).await.expect("connected");
    let listening = bind_shared(open.observation().local).expect("shared");
    listening.listen(1).expect("listening");
    assert_eq!(
        open.probe_unsolicited(PATIENT_MS).await.expect("an answer"),
        (Answer::Accepted, Answer::Untried)
    );
}

#[tokio::test]
async fn a_stop_lets_those_finish_who_are_in_a_meeting() {
    let mut server = Server::start(&[]);
    let mut a = client(&server).await;
    a.say(&[join("last", Role::A)]).await.expect("joined");
    let mut b = client(&server).await;
    b.say(&[join("last", Role::B)]).await.expect("joined");
    a.relay(body("before")).await.expect("relayed");
    assert!(b.next().await.is_ok());
    server.signal(Signal::SIGTERM);
    assert_eq!(next_event(&mut server.lines)["event"], "stopping");
    for endpoint in &server.endpoints {
        let refused = TcpStream::connect(endpoint).expect_err("nobody new is taken");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    a.relay(body("after")).await.expect("relayed");
    assert_eq!(b.next().await.expect("a message"), Reply::Relay { body: body("after") });
    drop((a, b));
    assert_eq!(server.running.end().code(), Some(0));
}
