//! Honest pairs meet while others misbehave, from other addresses than theirs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use puncher::internals::{Client, Reply, Request, Sealed, VERSION, frame};
use puncher::nat::Answer;
use puncher::rendezvous::Limits;
use puncher::{Meeting, Role, Secret};

use crate::fixture::{Key, LONG, Running, Server, address, connect};
use crate::rendezvous::{body, honest_meeting, join, library, metrics, until};

/// The time within which an honest pair meets.
const SOON: Duration = Duration::from_secs(2);

/// A blocking stream to the server from an address of one network that no honest peer is in.
fn misbehaving(endpoint: &str, host: u32) -> std::io::Result<TcpStream> {
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 252, 1, 1)) + host % 250);
    let socket = puncher::internals::bind_shared(SocketAddrV4::new(from, 0))?;
    socket.set_nonblocking(false)?;
    let endpoint: SocketAddrV4 = endpoint.parse().expect("an endpoint");
    socket.connect(&endpoint.into())?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(LONG))?;
    stream.set_read_timeout(Some(LONG))?;
    Ok(stream)
}

fn say(stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
    stream.write_all(&frame(request).expect("a frame"))
}

async fn soon(server: &Server, label: &str) {
    let began = Instant::now();
    honest_meeting(server, label).await;
    let took = began.elapsed();
    assert!(took < SOON, "{label}: it took {took:?}");
}

/// One network fills the server with clients that join and wait; one honest peer has waited from before that.
#[tokio::test]
async fn a_crowd_that_has_joined_neither_keeps_others_out_nor_evicts_who_waits() {
    let mut server = Server::start(&[
        "--max-connections=400",
        "--max-per-address=400",
        "--connections-per-second=1000",
        "--max-meetings=150",
        "--max-meetings-per-address=400",
        "--joins-per-second=1000",
    ]);
    let mut waiting = crate::rendezvous::client(&server).await;
    waiting.say(&[join("patient", Role::A)]).await.expect("joined");
    waiting.relay(body("are you there?")).await.expect("relayed");
    let mut crowd = Vec::new();
    for number in 0..1000 {
        let mut stream = misbehaving(&server.endpoints[0], number / 100).expect("the server accepts");
        say(&mut stream, &join(&format!("crowd {number}"), Role::A)).expect("the server reads");
        crowd.push(stream);
        if number % 250 == 249 {
            soon(&server, &format!("after {number}")).await;
        }
    }
    let figures = metrics(&mut server);
    assert!(figures["connections"].as_u64() <= Some(400), "{figures}");
    assert!(
        figures["meetings"].as_u64().is_some_and(|meetings| (100..=300).contains(&meetings)),
        "{figures}"
    );
    assert!(figures["evicted"].as_u64() > Some(100), "the crowd evicts its own: {figures}");
    let mut late = crate::rendezvous::client(&server).await;
    late.say(&[join("patient", Role::B)]).await.expect("joined");
    let heard = tokio::time::timeout(SOON, late.next()).await.expect("soon");
    assert_eq!(heard.expect("a message"), Reply::Relay { body: body("are you there?") });
    late.relay(body("yes")).await.expect("relayed");
    let heard = tokio::time::timeout(SOON, waiting.next()).await.expect("soon");
    assert_eq!(heard.expect("a message"), Reply::Relay { body: body("yes") });
}

/// Swallows every SYN that comes to this endpoint, so that a probe of it waits as long as it may.
fn black_hole(endpoint: SocketAddrV4) -> socket2::Socket {
    // A classic BPF program of one instruction: return 0, keep no byte of the packet.
    let nothing = socket2::SockFilter::new(0x06, 0, 0, 0);
    let listener = puncher::internals::bind_shared(endpoint).expect("shared");
    listener.attach_filter(&[nothing]).expect("a filter");
    listener.listen(1).expect("listening");
    listener
}

/// Sixty clients of one network ask for probes that nobody answers, of a server with few descriptors.
#[tokio::test]
async fn probes_take_no_descriptor_from_connections() {
    let mut server = Server::start_within(256, &[]);
    let mut askers = Vec::new();
    for number in 0..60 {
        let mut stream = misbehaving(&server.endpoints[0], number).expect("the server accepts");
        let std::net::SocketAddr::V4(local) = stream.local_addr().expect("an endpoint") else {
            unreachable!("it is bound to IPv4")
        };
        let hole = black_hole(local);
        say(&mut stream, &Request::UnsolicitedProbe { wait_ms: 8000 }).expect("the server reads");
        askers.push((stream, hole));
    }
    until(&mut server, "probes", |probes| probes > 0).await;
    let figures = metrics(&mut server);
    // An eighth of the descriptors at most, two for each; and of those one network gets no more than half.
    assert!(figures["probes"].as_u64() <= Some(256 / 8 / 2 / 2), "{figures}");
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", server.running.id())).expect("its descriptors").count();
    assert!(open < 256, "{open} descriptors");
    soon(&server, "while others probe").await;
    let client = crate::rendezvous::client(&server).await;
    let mut link = client.measure(0).await.expect("connected");
    let answer =
        tokio::time::timeout(SOON, link.probe_unsolicited(8000)).await.expect("soon").expect("an answer");
    assert_eq!(answer, (Answer::Reset, Answer::Reset), "an honest client is probed meanwhile");
}

/// Bytes that the server's kernel keeps for peers that have not acknowledged them, as another witness tells. The server,
/// which runs in this thread, goes on meanwhile.
async fn send_queues(endpoint: SocketAddrV4) -> u64 {
    let table = tokio::fs::read_to_string("/proc/net/tcp").await.expect("the kernel's table");
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(endpoint.ip().octets()), endpoint.port());
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row.get(1) == Some(&local.as_str()));
    let queues = own.filter_map(|row| {
        row.get(4)
            .and_then(|queues| queues.split_once(':'))
            .map(|(sent, _)| u64::from_str_radix(sent, 16).expect("a number"))
    });
    queues.sum()
}

const PAIRS: u64 = 20;

#[tokio::test]
async fn what_is_not_read_is_bounded_and_ended_when_nothing_is_acknowledged() {
    let (server, endpoint) = library(Limits { write: Duration::from_millis(500), ..Limits::default() });
    let figures = server.metrics();
    tokio::spawn(server.run(std::future::pending()));
    let filler = Sealed { text: "x".repeat(3900), seal: "0".repeat(64) };
    let mut deaf = Vec::new();
    for number in 0..PAIRS {
        let label = format!("deaf {number}");
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(2304).expect("a small buffer");
        socket.connect(&endpoint.into()).expect("the server accepts");
        let mut stream = TcpStream::from(socket);
        say(&mut stream, &join(&label, Role::B)).expect("the server reads");
        let local = SocketAddrV4::new(address().parse().expect("an address"), 0);
        let mut sender = Client::connect(local, &[endpoint]).await.expect("in");
        sender.say(&[join(&label, Role::A)]).await.expect("joined");
        // Enough for the kernel's buffers and not for the mailbox, so that only the deadline ends it.
        for _ in 0..20 {
            sender.relay(filler.clone()).await.expect("relayed");
        }
        deaf.push((stream, sender));
    }
    // Linux doubles a buffer, and lets the packet that exceeds it in.
    let bound = PAIRS * (2 * 16 * 1024 + 4096);
    let ended = async {
        while figures.read().unread < PAIRS {
            let queued = send_queues(endpoint).await;
            assert!(queued <= bound, "{queued} bytes in the kernel's queues");
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("all of them are ended");
    let empty = async { while send_queues(endpoint).await > 0 || figures.read().waiting_bytes > 0 {} };
    tokio::time::timeout(LONG, empty).await.expect("and nothing of them is kept");
}

/// Peers of one network that leave messages for others who never come.
#[tokio::test]
async fn messages_that_nobody_fetches_are_bounded() {
    const WAITING: u64 = 100_000;
    let mut server = Server::start(&[&format!("--max-waiting-bytes={WAITING}")]);
    let filler = Request::Relay { body: Sealed { text: "x".repeat(3900), seal: "0".repeat(64) } };
    let leave = |number: u32| {
        let mut stream = misbehaving(&server.endpoints[0], number).expect("the server accepts");
        say(&mut stream, &join(&format!("nobody {number}"), Role::A)).expect("the server reads");
        for _ in 0..7 {
            // Whoever has left too much is ended, perhaps before it has said all.
            let _ = say(&mut stream, &filler);
        }
        stream
    };
    let crowd: Vec<_> = (0..20).map(leave).collect();
    until(&mut server, "refused", |refused| refused > 10).await;
    let figures = metrics(&mut server);
    assert!(
        figures["waiting_bytes"].as_u64().is_some_and(|bytes| bytes > 0 && bytes <= WAITING / 2),
        "{figures}"
    );
    soon(&server, "while others hoard").await;
    drop(crowd);
    until(&mut server, "waiting_bytes", |bytes| bytes == 0).await;
}

/// What one stranger does until it is told to stop; how often it was done.
fn until_told(stop: &AtomicBool, mut act: impl FnMut(u32)) -> u32 {
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) {
        act(times);
        times += 1;
    }
    times
}

/// Connects, joins and leaves, as soon as the server has said something or hung up.
fn churn(endpoint: &str, number: u32) {
    if let Ok(mut stream) = misbehaving(endpoint, number) {
        let _ = say(&mut stream, &join(&format!("churn {number}"), Role::A));
        let _ = stream.read(&mut [0; 4096]);
    }
}

/// Connects and says something that is no request, or only the beginning of one.
fn babble(endpoint: &str, number: u32) {
    let words: [&[u8]; 4] = [b"\xff\xff", b"\x00\x05{\"ty", b"GET / HTTP/1.1\r\n\r\n", b"\x0f\xa0[[[[[["];
    if let Ok(mut stream) = misbehaving(endpoint, number) {
        let _ = stream.write_all(words[number as usize % words.len()]);
        let _ = stream.read(&mut [0; 4096]);
    }
}

/// Two peers of which one floods the other.
fn flood(endpoint: &str, number: u32, stop: &AtomicBool) {
    let (Ok(mut from), Ok(mut to)) = (misbehaving(endpoint, number), misbehaving(endpoint, number)) else {
        return;
    };
    let label = format!("flood {number}");
    let _ = say(&mut from, &join(&label, Role::A));
    let _ = say(&mut to, &join(&label, Role::B));
    to.set_nonblocking(true).expect("it can be");
    from.set_write_timeout(Some(Duration::from_millis(100))).expect("it can be");
    let message = Request::Relay { body: Sealed { text: "x".repeat(3900), seal: String::new() } };
    while !stop.load(Ordering::Relaxed) && say(&mut from, &message).is_ok() {
        while matches!(to.read(&mut [0; 65_536]), Ok(1..)) {}
    }
}

#[tokio::test]
async fn churn_babble_and_floods_harm_nobody() {
    let mut server = Server::start(&["--connections-per-second=32"]);
    let stop = Arc::new(AtomicBool::new(false));
    let workers: [fn(&str, u32, &AtomicBool); 3] = [
        |endpoint, number, _| churn(endpoint, number),
        |endpoint, number, _| babble(endpoint, number),
        flood,
    ];
    let threads = workers.map(|work| {
        let (endpoint, stop) = (server.endpoints[0].clone(), Arc::clone(&stop));
        std::thread::spawn(move || until_told(&stop, |number| work(&endpoint, number, &stop)))
    });
    for number in 0..20 {
        soon(&server, &format!("amid floods {number}")).await;
    }
    until(&mut server, "refused", |refused| refused > 100).await;
    until(&mut server, "turned_away", |turned_away| turned_away > 100).await;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        assert!(thread.join().expect("it ends") > 0);
    }
}

#[tokio::test]
async fn who_joins_too_often_is_told_and_others_are_not_concerned() {
    let server = Server::start(&["--joins-per-second=1"]);
    let often = |number: u32| {
        let mut stream = misbehaving(&server.endpoints[0], 1).expect("the server accepts");
        say(&mut stream, &join(&format!("often {number}"), Role::A)).expect("the server reads");
        stream
    };
    let mut streams: Vec<_> = (0..40).map(often).collect();
    // Eight seconds' worth at once, and perhaps some more while the forty connect.
    let said = crate::fixture::read_to_end(streams.last_mut().expect("there are forty"));
    assert!(String::from_utf8_lossy(&said).contains("too many joins a second"));
    soon(&server, "while one joins too often").await;
}

#[tokio::test]
async fn a_network_may_do_four_times_what_an_address_may() {
    let mut server = Server::start(&["--max-meetings-per-address=2", "--joins-per-second=1000"]);
    let crowd: Vec<_> = (0..20)
        .map(|number| {
            let mut stream = misbehaving(&server.endpoints[0], number).expect("the server accepts");
            say(&mut stream, &join(&format!("member {number}"), Role::A)).expect("the server reads");
            stream
        })
        .collect();
    until(&mut server, "refused", |refused| refused == 12).await;
    let figures = metrics(&mut server);
    assert_eq!(figures["meetings"], 8, "{figures}");
    drop(crowd);
}

#[tokio::test]
async fn who_says_nothing_is_ended() {
    let (server, endpoint) = library(Limits { frame: Duration::from_millis(50), ..Limits::default() });
    tokio::spawn(server.run(std::future::pending()));
    let silent = TcpStream::connect(endpoint).expect("the server accepts");
    let mut spoken = TcpStream::connect(endpoint).expect("the server accepts");
    say(&mut spoken, &Request::Hello).expect("the server reads");
    let said = tokio::task::spawn_blocking(move || crate::fixture::read_to_end(&mut { silent }));
    assert!(String::from_utf8_lossy(&said.await.expect("it was ended")).contains("nothing was said in time"));
    let later =
        Request::Join { version: VERSION, meeting: String::new(), role: Role::A, lock: None, token: None };
    say(&mut spoken, &later).expect("the server reads");
    let said = tokio::task::spawn_blocking(move || crate::fixture::read_to_end(&mut { spoken }));
    assert!(
        String::from_utf8_lossy(&said.await.expect("it was ended")).contains("1 to 64 bytes"),
        "it was heard"
    );
}

/// Clients of this many networks, one each, that they could hold every place of a small server; each says this.
fn from_everywhere(server: &Server, say_it: impl Fn(u32) -> Request) -> Vec<TcpStream> {
    let endpoint: SocketAddrV4 = server.endpoints[0].parse().expect("an endpoint");
    let connect = |number: u32| {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 200, 0, 1)) + (number << 8));
        let socket = puncher::internals::bind_shared(SocketAddrV4::new(from, 0)).expect("an address");
        socket.set_nonblocking(false).expect("it blocks");
        socket.connect(&endpoint.into()).expect("the server accepts");
        let mut stream = TcpStream::from(socket);
        say(&mut stream, &say_it(number)).expect("the server reads");
        stream
    };
    (0..400).map(connect).collect()
}

/// The control of the next test: places for all are the limit of what shares can do.
#[tokio::test]
async fn very_many_networks_can_shut_a_server_where_everybody_may_meet() {
    let mut server = Server::start(&["--max-connections=100"]);
    let crowd = from_everywhere(&server, |number| join(&format!("crowd {number}"), Role::A));
    until(&mut server, "meetings", |meetings| meetings == 100).await;
    let local = SocketAddrV4::new(address().parse().expect("an address"), 0);
    let endpoint = server.endpoints[0].parse().expect("an endpoint");
    assert!(
        Client::connect(local, &[endpoint]).await.is_err(),
        "everybody holds one place: there is none left"
    );
    drop(crowd);
}

#[tokio::test]
async fn very_many_networks_shut_nobody_out_who_has_a_token() {
    let (key, token) = (Key::new(), Key::new());
    let path = token.path();
    let path = path.to_str().expect("a path in UTF-8");
    let mut server = Server::start(&["--max-connections=100", "--token-file", path]);
    let with_token =
        |client: Client| client.with_token(Some(Secret::from_hex(&token.text()).expect("a token")));
    let mut waiting = with_token(crate::rendezvous::client(&server).await);
    let meeting = |role| Meeting { name: "patient".into(), role, secret: Secret::new([1; 32]) };
    waiting.join_with(&meeting(Role::A), body("are you there?")).await.expect("joined");
    until(&mut server, "meetings", |meetings| meetings == 1).await;
    let crowd = from_everywhere(&server, |_| Request::Hello);
    until(&mut server, "evicted", |evicted| evicted >= 300).await;
    let began = Instant::now();
    let pair = ["a", "b"].map(|role| {
        let mut command = connect(role, &key, "5s");
        command.args([
            "--json",
            "--allow-special-addresses",
            "--meeting",
            "m",
            "--token-file",
            path,
            "--bind",
            &format!("{}:0", address()),
        ]);
        Running::start(command.args(server.arguments()))
    });
    for ended in pair.map(Running::end) {
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
    let took = began.elapsed();
    assert!(took < SOON, "it took {took:?}");
    let mut late = with_token(crate::rendezvous::client(&server).await);
    late.join_with(&meeting(Role::B), body("at last")).await.expect("joined");
    let heard = tokio::time::timeout(SOON, waiting.next()).await.expect("soon");
    assert_eq!(
        heard.expect("a message"),
        Reply::Relay { body: body("at last") },
        "who waited is still there"
    );
    drop(crowd);
}
