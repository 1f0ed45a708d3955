use std::net::{SocketAddrV4, TcpListener};

use puncher::rendezvous::{Limits, Server};
use puncher::{
    Config, ConnectError, Connection, FailureKind, Meeting, PeerStream, Protection, Puncher, Role, Secret,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
    let std::net::SocketAddr::V4(peer) = listener.local_addr().expect("an endpoint") else {
        unreachable!("bound to IPv4")
    };
    let mut puncher = Puncher::new(Config::new(Vec::new())).expect("it can work");
    let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
    let error = puncher.connect_to(&meeting, peer, std::time::Duration::ZERO).await;
    let error = error.expect_err("a loopback address");
    assert!(matches!(error, ConnectError::AddressRefused { .. }), "{error}");
}
