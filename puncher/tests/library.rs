use std::net::{SocketAddr, SocketAddrV4, TcpListener};

use puncher::nat::Observation;
use puncher::rendezvous::{Limits, Server};
use puncher::{
    Breadth, Config, ConnectError, Connection, FailureKind, Meeting, Observed, Observer, PeerStream,
    Protection, Puncher, Role, Secret, dial,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::unbounded_channel;

use crate::fixture::{LONG, address};

/// A server of the library on two addresses.
fn server() -> Vec<SocketAddrV4> {
    let endpoints = [(); 2].map(|()| SocketAddrV4::new(address().parse().expect("an address"), 0));
    let server = Server::bind(&endpoints, Limits::default()).expect("it binds");
    let endpoints = server.endpoints().to_vec();
    tokio::spawn(server.run(std::future::pending()));
    endpoints
}

fn config(servers: Vec<SocketAddrV4>, protection: Protection) -> Config {
    let mut config = Config::new(servers);
    config.bind = SocketAddrV4::new(address().parse().expect("an address"), 0);
    (config.deadline, config.protection) = (LONG, protection);
    config
}

/// Two peers of one program meet at a server.
async fn both(
    protections: [Protection; 2],
) -> (Result<Connection, ConnectError>, Result<Connection, ConnectError>) {
    let (servers, secret) = (server(), Secret::random());
    let connect = |role, protection| {
        let mut puncher = Puncher::new(config(servers.clone(), protection)).expect("it can work");
        let meeting = Meeting { name: "m".into(), role, secret: secret.clone() };
        async move { puncher.connect(&meeting).await }
    };
    tokio::join!(connect(Role::A, protections[0]), connect(Role::B, protections[1]))
}

async fn talk(mut a: PeerStream, mut b: PeerStream) {
    a.write_all(b"hello").await.expect("a speaks");
    a.shutdown().await.expect("a ends");
    let mut heard = String::new();
    b.read_to_string(&mut heard).await.expect("b hears");
    assert_eq!(heard, "hello");
    b.write_all(b"bye").await.expect("b speaks");
    b.shutdown().await.expect("b ends");
    heard.clear();
    a.read_to_string(&mut heard).await.expect("a hears");
    assert_eq!(heard, "bye");
}

#[tokio::test]
async fn two_peers_talk_in_either_protection_and_know_the_same_binding() {
    for protection in [Protection::Encrypted, Protection::UnprotectedUntilChannelBound] {
        let (a, b) = both([protection; 2]).await;
        let (a, b) = (a.expect("a connects"), b.expect("b connects"));
        assert_eq!(a.stream.channel_binding(), b.stream.channel_binding());
        assert_ne!(a.stream.channel_binding(), &[0; 32]);
        assert_eq!((a.report.local, a.report.remote), (b.report.remote, b.report.local));
        talk(a.stream, b.stream).await;
    }
}

#[tokio::test]
async fn no_peer_talks_another_into_less_protection() {
    let (a, b) = both([Protection::Encrypted, Protection::UnprotectedUntilChannelBound]).await;
    for result in [a, b] {
        let error = result.expect_err("they differ");
        assert!(matches!(error, ConnectError::ProtectionsDiffer { .. }), "{error}");
        assert_eq!(error.kind(), FailureKind::CannotRun);
    }
}

#[tokio::test]
async fn a_peer_at_an_address_of_this_host_is_not_dialled_unasked() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = v4(listener.local_addr());
    let mut puncher = Puncher::new(Config::new(Vec::new())).expect("it can work");
    let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
    let error = puncher.connect_to(&meeting, peer, std::time::Duration::ZERO).await;
    let error = error.expect_err("a loopback address");
    assert!(matches!(error, ConnectError::AddressRefused { .. }), "{error}");
}

/// Two of the application's own servers, which say nothing: without a NAT the peer knows its endpoint.
struct OwnServers(Vec<SocketAddrV4>);

impl OwnServers {
    fn start() -> Self {
        let endpoints = [(); 2].map(|()| {
            let listener = TcpListener::bind((address(), 0)).expect("a port");
            let endpoint = v4(listener.local_addr());
            std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
            endpoint
        });
        Self(endpoints.to_vec())
    }
}

impl Observer for OwnServers {
    fn observe(
        &self,
        local: SocketAddrV4,
        breadth: Breadth,
    ) -> impl Future<Output = Vec<Observed>> + Send + 'static {
        let dials: Vec<_> = breadth.of(&self.0).iter().map(|server| dial(local, *server)).collect();
        async move {
            let mut seen = Vec::new();
            for dialled in dials {
                let stream = dialled.await.expect("the server accepts");
                let own = v4(stream.local_addr());
                let observation = Observation { local: own, server: v4(stream.peer_addr()), external: own };
                seen.push(Observed::new(observation, stream));
            }
            seen
        }
    }
}

fn v4(address: std::io::Result<SocketAddr>) -> SocketAddrV4 {
    match address.expect("an endpoint") {
        SocketAddr::V4(endpoint) => endpoint,
        SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

#[tokio::test]
async fn two_peers_meet_through_the_applications_own_channel() {
    let ((to_b, from_a), (to_a, from_b)) = (unbounded_channel(), unbounded_channel());
    let (secret, servers) = (Secret::random(), OwnServers::start());
    let connect = |role, mut channel| {
        let (meeting, servers) = (Meeting { name: "m".into(), role, secret: secret.clone() }, &servers);
        let mut puncher = Puncher::new(config(Vec::new(), Protection::Encrypted)).expect("it can work");
        async move { puncher.connect_through(&meeting, &mut channel, servers).await }
    };
    let (a, b) = tokio::join!(connect(Role::A, (to_b, from_b)), connect(Role::B, (to_a, from_a)));
    talk(a.expect("a connects").stream, b.expect("b connects").stream).await;
}

#[tokio::test]
async fn a_channel_that_breaks_or_says_nonsense_is_named() {
    let servers = OwnServers::start();
    for nonsense in [None, Some(b"nonsense".to_vec()), Some(vec![b'['; 5000])] {
        let ((to_b, _from_a), (to_a, from_b)) = (unbounded_channel(), unbounded_channel());
        nonsense.into_iter().for_each(|said| to_a.send(said).expect("a listens"));
        drop(to_a);
        let mut puncher = Puncher::new(config(Vec::new(), Protection::Encrypted)).expect("it can work");
        let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
        let error = puncher.connect_through(&meeting, &mut (to_b, from_b), &servers).await;
        assert_eq!(error.expect_err("no peer").kind(), FailureKind::Server);
    }
}

#[tokio::test]
async fn servers_that_do_not_look_are_named() {
    struct Blind;
    impl Observer for Blind {
        fn observe(
            &self,
            _: SocketAddrV4,
            _: Breadth,
        ) -> impl Future<Output = Vec<Observed>> + Send + 'static {
            std::future::ready(Vec::new())
        }
    }
    let (to_b, _from_a) = unbounded_channel();
    let (_to_a, from_b) = unbounded_channel();
    let mut puncher = Puncher::new(config(Vec::new(), Protection::Encrypted)).expect("it can work");
    let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
    let error = puncher.connect_through(&meeting, &mut (to_b, from_b), &Blind).await.expect_err("no servers");
    assert!(error.to_string().contains("no server told which endpoint it sees"), "{error}");
}
