use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use puncher::internals::{Client, Reply, Request, VERSION, frame, take_frame};

use crate::fixture::{Ended, Key, Running, address, connect, read_to_end};

/// A server that does all that it should, but says of one peer that it is somebody else.
struct Aiming {
    endpoints: Vec<SocketAddrV4>,
}

#[derive(Default)]
struct Meeting {
    joined: Vec<TcpStream>,
    kept: Vec<Reply>,
    ready: Vec<u32>,
}

impl Aiming {
    /// Every connection from `whom` is said to come from `stranger`, each from another port.
    fn at(stranger: Ipv4Addr, whom: IpAddr) -> Self {
        Self::saying(move |from| if from.ip() == &whom { SocketAddrV4::new(stranger, draw()) } else { from })
    }

    /// Every connection is said to come from what this makes of where it comes from.
    fn saying(lie: impl Fn(SocketAddrV4) -> SocketAddrV4 + Send + Sync + 'static) -> Self {
        let lie = Arc::new(lie);
        let meeting = Arc::new(Mutex::new(Meeting::default()));
        let listeners = [(); 2].map(|()| TcpListener::bind((address(), 0)).expect("a port"));
        let endpoints: Vec<_> = listeners.iter().map(endpoint).collect();
        for listener in listeners {
            let (meeting, endpoints, lie) = (Arc::clone(&meeting), endpoints.clone(), Arc::clone(&lie));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (Ok(stream), meeting) = (stream, Arc::clone(&meeting)) else { return };
                    let external = match stream.peer_addr().expect("an endpoint") {
                        std::net::SocketAddr::V4(from) => lie(from),
                        std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
                    };
                    let welcome = Reply::Welcome {
                        version: VERSION,
                        external,
                        endpoints: endpoints.clone(),
                        challenge: None,
                    };
                    thread::spawn(move || serve(stream, &welcome, &meeting));
                }
            });
        }
        Self { endpoints }
    }
}

/// Ports as a NAT draws them: no two are close together.
fn draw() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let drawn = [36_424, 13_999, 52_000, 4_711, 60_001, 23_456, 9_876, 44_444, 18_018];
    drawn[NEXT.fetch_add(1, Ordering::Relaxed) % drawn.len()]
}

fn endpoint(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().expect("an endpoint") {
        std::net::SocketAddr::V4(endpoint) => endpoint,
        std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

fn say(mut stream: &TcpStream, reply: &Reply) {
    // A peer that has gone hears nothing.
    let _ = stream.write_all(&frame(reply).expect("a frame"));
}

fn serve(mut stream: TcpStream, welcome: &Reply, meeting: &Mutex<Meeting>) {
    say(&stream, welcome);
    let (mut buffer, mut bytes) = (Vec::new(), [0; 4096]);
    let mut own = None;
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        buffer.extend(&bytes[..count]);
        while let Ok(Some(request)) = take_frame::<Request>(&mut buffer) {
            let mut meeting = meeting.lock().expect("nobody panicked");
            match request {
                Request::Join { .. } => {
                    own = Some(meeting.joined.len());
                    let copy = stream.try_clone().expect("a copy");
                    std::mem::take(&mut meeting.kept).iter().for_each(|reply| say(&copy, reply));
                    meeting.joined.push(copy);
                }
                Request::Relay { body } => match meeting.joined.get(1 - own.expect("it has joined")) {
                    Some(other) => say(other, &Reply::Relay { body }),
                    None => meeting.kept.push(Reply::Relay { body }),
                },
                Request::Ready { round } => {
                    meeting.ready.push(round);
                    if meeting.ready.iter().filter(|ready| **ready == round).count() == 2 {
                        meeting.joined.iter().for_each(|peer| say(peer, &Reply::Go { round }));
                    }
                }
                Request::Hello | Request::UnsolicitedProbe { .. } | Request::TakeOver { .. } => {}
            }
        }
    }
}

/// SYNs that a peer says it has sent.
fn syns(ended: &Ended) -> u32 {
    let text = ended.stderr.lines().find(|line| line.contains("SYNs sent")).expect("it tells");
    let number = text.trim_start().split(' ').next().expect("a number");
    number.parse().expect("a number")
}

/// What peer a does when the server says that b is a stranger, and the two were started with these options.
fn aimed_at_a_stranger(options_of_a: &[&str], options_of_b: &[&str]) -> Ended {
    let (key, own, other) = (Key::new(), address(), address());
    let stranger: Ipv4Addr = address().parse().expect("an address");
    let server = Aiming::at(stranger, other.parse().expect("an address"));
    let start = |role: &str, bind: &str, options: &[&str]| {
        let mut command = connect(role, &key, "4s");
        command.args(["--json", "--method", "spray", "--meeting", "m", "--bind", &format!("{bind}:0")]);
        for endpoint in &server.endpoints {
            command.args(["--rendezvous", &endpoint.to_string()]);
        }
        Running::start(command.args(options))
    };
    let (a, b) = (start("a", &own, options_of_a), start("b", &other, options_of_b));
    let (a, _) = (a.end(), b.end());
    assert_eq!(a.code(), Some(1), "{a:?}");
    a
}

/// The addresses of these tests are this host's.
const ALLOWED: &str = "--allow-special-addresses";

#[test]
fn a_server_has_nobody_try_the_ports_of_this_host() {
    let a = aimed_at_a_stranger(&[], &[]);
    assert_eq!(syns(&a), 0, "{a:?}");
    assert!(a.events().iter().all(|event| event["event"] != "attempt"), "{a:?}");
    assert!(a.stderr.contains("not sent to a loopback address"), "{a:?}");
}

#[test]
fn a_server_cannot_aim_a_spray_at_a_stranger() {
    assert_eq!(syns(&aimed_at_a_stranger(&[ALLOWED], &[])), puncher::internals::UNCONFIRMED_SYNS);
}

#[test]
fn whom_the_peer_trusts_has_this_side_send_no_more() {
    let a = aimed_at_a_stranger(&[ALLOWED], &[ALLOWED, "--trust-server"]);
    assert_eq!(syns(&a), puncher::internals::UNCONFIRMED_SYNS);
}

/// The control: without the check the lie would work.
#[test]
fn a_server_that_is_trusted_could() {
    assert_eq!(syns(&aimed_at_a_stranger(&[ALLOWED, "--trust-server"], &[])), 1024);
}

/// A place where two peers meet who take it for each other.
struct Between {
    for_a: TcpListener,
    for_b: TcpListener,
}

impl Between {
    fn new() -> Self {
        let listen = || TcpListener::bind((address(), 0)).expect("a port");
        Self { for_a: listen(), for_b: listen() }
    }

    fn peer(&self, role: &str, key: &Key) -> Running {
        Running::start(self.command(role, key).arg("--json"))
    }

    fn command(&self, role: &str, key: &Key) -> Command {
        let listener = if role == "a" { &self.for_a } else { &self.for_b };
        let (peer, bind) = (endpoint(listener).to_string(), format!("{}:0", address()));
        let mut command = connect(role, key, "20s");
        command.args(["--meeting", "m", "--peer", &peer, "--bind", &bind]);
        command
    }

    /// Joins the two, and returns what b said.
    fn join(&self) -> Vec<u8> {
        self.join_with(|_| ()).1
    }

    /// Joins the two, does this to what a says, and returns what both said.
    fn join_with(&self, meddle: impl FnMut(&mut [u8]) + Send + 'static) -> (Vec<u8>, Vec<u8>) {
        let (to_a, _) = self.for_a.accept().expect("a dials");
        let (to_b, _) = self.for_b.accept().expect("b dials");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a copy");
        let (from_a, into_b) = (copy(&to_a), copy(&to_b));
        let forth = thread::spawn(move || carry(from_a, into_b, meddle));
        let said_by_b = carry(to_b, to_a, |_| ());
        (forth.join().expect("it ends"), said_by_b)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut meddle: impl FnMut(&mut [u8])) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        all.extend(&bytes[..count]);
        meddle(&mut bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    all
}

/// A stream of an earlier punch comes up again, and says what the peer said then; afterwards the peer itself comes.
#[test]
fn a_stale_stream_is_refused_and_the_search_goes_on() {
    let (key, between) = (Key::new(), Between::new());
    let (a, b) = (between.peer("a", &key), between.peer("b", &key));
    let stale = between.join();
    assert_eq!((a.end().code(), b.end().code()), (Some(0), Some(0)), "the first punch");
    assert!(!stale.is_empty());

    let a = between.peer("a", &key);
    let (mut stream, _) = between.for_a.accept().expect("a dials");
    stream.write_all(&stale).expect("a reads");
    read_to_end(&mut stream);
    let b = between.peer("b", &key);
    between.join();
    let (a, b) = (a.end(), b.end());
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)), "{a:?} {b:?}");
}

/// What the two sides make of a payment, when somebody between them does this to the bytes from a.
fn pay(meddle: impl FnMut(&mut [u8]) + Send + 'static) -> (Ended, Vec<u8>) {
    let (key, between) = (Key::new(), Between::new());
    let mut a = Running::start(between.command("a", &key).stdin(Stdio::piped()));
    let b = Running::start(&mut between.command("b", &key));
    let paying = thread::spawn(move || {
        a.write(b"pay 10 to Bob");
        a.end()
    });
    let (said_by_a, _) = between.join_with(meddle);
    let b = b.end();
    paying.join().expect("a ends");
    (b, said_by_a)
}

#[test]
fn whoever_sits_between_the_peers_reads_nothing() {
    let (b, said) = pay(|_| ());
    assert_eq!((b.code(), b.stdout.as_slice()), (Some(0), b"pay 10 to Bob".as_slice()), "{b:?}");
    assert!(said.len() > 100 && !said.windows(3).any(|window| window == b"pay"), "{said:?}");
}

#[test]
fn what_somebody_between_the_peers_alters_is_refused() {
    let mut passed = 0;
    let (b, said) = pay(move |bytes| {
        for byte in bytes {
            // Hello and keys, select: 64 + 49 + 49 bytes; then the length of the first message.
            *byte ^= u8::from(passed == 64 + 49 + 49 + 2 + 4);
            passed += 1;
        }
    });
    assert!(said.len() > 64 + 49 + 49 + 2 + 13, "{} bytes", said.len());
    assert!(b.stdout.is_empty() && b.code() != Some(0), "{b:?}");
}

/// A server that names endpoints of its own as those of the peers, and carries what they say.
#[test]
fn a_server_in_the_middle_reads_nothing() {
    let (key, between) = (Key::new(), Between::new());
    let (own, other) = (address(), address());
    let (as_b, as_a) = (endpoint(&between.for_a), endpoint(&between.for_b));
    let address_of_b: IpAddr = other.parse().expect("an address");
    let server = Aiming::saying(move |from| if from.ip() == &address_of_b { as_b } else { as_a });
    let command = |role: &str, bind: &str| {
        let mut command = connect(role, &key, "20s");
        command.args(["--meeting", "m", ALLOWED, "--bind", &format!("{bind}:0")]);
        for endpoint in &server.endpoints {
            command.args(["--rendezvous", &endpoint.to_string()]);
        }
        command
    };
    let mut a = Running::start(command("a", &own).stdin(Stdio::piped()));
    let b = Running::start(&mut command("b", &other));
    let paying = thread::spawn(move || {
        a.write(b"pay 10 to Bob");
        a.end()
    });
    let (said, _) = between.join_with(|_| ());
    let (a, b) = (paying.join().expect("a ends"), b.end());
    assert!(said.len() > 100 && !said.windows(3).any(|window| window == b"pay"), "{said:?}");
    assert!(b.stdout == b"pay 10 to Bob" || (b.stdout.is_empty() && b.code() != Some(0)), "{a:?} {b:?}");
}

/// What a client learns of a server whose endpoints say welcome after such times, or never.
async fn learnt_from(after: &[Option<Duration>]) -> usize {
    let bound = after.iter().map(|_| TcpListener::bind((address(), 0)).expect("a port"));
    let listeners: Vec<TcpListener> = bound.collect();
    let endpoints: Vec<_> = listeners.iter().map(endpoint).collect();
    for (listener, after) in listeners.into_iter().zip(after.to_vec()) {
        let endpoints = endpoints.clone();
        thread::spawn(move || {
            let (stream, from) = listener.accept().expect("a client");
            let IpAddr::V4(ip) = from.ip() else { unreachable!("bound to IPv4") };
            let external = SocketAddrV4::new(ip, from.port());
            if let Some(after) = after {
                thread::sleep(after);
                say(&stream, &Reply::Welcome { version: VERSION, external, endpoints, challenge: None });
            }
            // Until the client has gone.
            let _ = (&stream).read(&mut [0; 1024]).and_then(|_| (&stream).read(&mut [0; 1]));
        });
    }
    let local = SocketAddrV4::new(address().parse().expect("an address"), 0);
    let client = Client::connect(local, &endpoints[..1]).await.expect("the first endpoint");
    1 + client.connect_to_the_rest().await.len()
}

#[tokio::test]
async fn an_endpoint_that_never_answers_costs_no_observation_of_the_others() {
    // The rest has a second. The slow one comes so late that the silent one would be waited for beyond that.
    let slow = Some(Duration::from_millis(600));
    assert_eq!(learnt_from(&[Some(Duration::ZERO), slow, None]).await, 2);
}
