//! The rendezvous server's sockets: accepts, reads frames, sends what the lobby decides, and keeps to its limits.
//!
//! One task per connection, all on the runtime of the caller. What they share is in `state`. Who may hold how much of what
//! is decided by `shares` (places that can be taken back), `quota` (what cannot) and `rate` (what is done a second), all of
//! them pure. A connection that does not read its replies, sends garbage, or stays too long is ended; nobody else notices.

mod connection;
mod end;
mod limits;
mod mailbox;
mod metrics;
mod network;
mod quota;
mod rate;
mod shares;
mod state;
mod tokens;
mod unread;
mod unsolicited_probe;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use connection::Client;
pub use limits::Limits;
pub use metrics::Metrics;
use state::Shared;
pub use tokens::{TokenError, Tokens};

/// Bytes that the kernel may keep for one connection in each direction (it doubles them, socket(7)): four frames.
const KERNEL_BUFFER: usize = 16 * 1024;

/// A client that has vanished without a word is noticed after this and four questions.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_QUESTIONS: u32 = 4;

/// How long to wait when the system has no descriptor or memory for a connection. Ours are counted, those of the rest of
/// the process and of other processes are not.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What to serve, where and to whom.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use puncher::rendezvous::{Server, Setup, Tokens};
///
/// let server = Server::new(Setup {
///     listen: vec!["0.0.0.0:7000".parse()?, "0.0.0.0:7001".parse()?],
///     advertise: vec!["203.0.113.1:7000".parse()?, "203.0.113.2:7001".parse()?],
///     tokens: Some(Tokens::from_file("tokens".as_ref())?),
///     ..Setup::default()
/// })?;
/// # drop(server);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where to listen.
    pub listen: Vec<SocketAddrV4>,
    /// What clients are told instead, one for each: the public address of a host behind a 1:1 NAT. Port 0 stands for the
    /// port that is listened on. Empty where clients reach the addresses that are listened on.
    pub advertise: Vec<SocketAddrV4>,
    /// How much the server takes upon itself.
    pub limits: Limits,
    /// Who may meet here; everybody, if there are none.
    pub tokens: Option<Tokens>,
}

/// A server that has bound its endpoints.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
    descriptors: Arc<Semaphore>,
}

/// Reads the figures of a running server.
#[derive(Debug, Clone)]
pub struct MetricsReader(Arc<Shared>);

impl MetricsReader {
    /// The figures at present.
    #[must_use]
    pub fn read(&self) -> Metrics {
        self.0.metrics()
    }
}

impl Server {
    /// Binds all endpoints, with these limits and for everybody.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn bind(endpoints: &[SocketAddrV4], limits: Limits) -> io::Result<Self> {
        Self::new(Setup { listen: endpoints.to_vec(), limits, ..Setup::default() })
    }

    /// Binds all endpoints, and makes room for as many connections as the system allows.
    ///
    /// # Errors
    /// When one of them cannot be bound, or there is no address to tell clients; the message names it.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let Setup { listen, advertise, limits, tokens } = setup;
        let descriptors = limits.descriptors().make_room()?;
        let limits = limits.within(descriptors);
        let listeners = listen.iter().map(|endpoint| bind(*endpoint)).collect::<io::Result<Vec<_>>>()?;
        let bound = listeners.iter().map(local_v4).collect::<io::Result<Vec<_>>>()?;
        let endpoints = advertised(&bound, &advertise)?;
        let addresses = bound.iter().map(|endpoint| *endpoint.ip()).collect();
        let shared = Arc::new(Shared::new(limits, endpoints, addresses, tokens));
        let descriptors = Arc::new(Semaphore::new(descriptors.connections + descriptors.turnover));
        Ok(Self { listeners, shared, descriptors })
    }

    /// The endpoints that clients are told.
    #[must_use]
    pub fn endpoints(&self) -> &[SocketAddrV4] {
        &self.shared.endpoints
    }

    /// Its limits, as far as the system allows them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Reads its figures while it runs.
    #[must_use]
    pub fn metrics(&self) -> MetricsReader {
        MetricsReader(Arc::clone(&self.shared))
    }

    /// Serves until `stop` is ready, then takes nobody new and waits for meetings under way, for a while. Dropping the
    /// future ends every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        self.serve_until(stop).await.finish().await;
    }

    /// Serves until `stop` is ready and its listeners are closed. Meetings under way by then are left over.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> DrainingServer {
        let Self { listeners, shared, descriptors } = self;
        let (send, mut accepted) = mpsc::channel(64);
        let mut listening = JoinSet::new();
        for listener in listeners {
            let (shared, descriptors) = (Arc::clone(&shared), Arc::clone(&descriptors));
            listening.spawn(accept(listener, shared, descriptors, send.clone()));
        }
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(client) = accepted.recv() => {
                    connections.spawn(connection::serve(client, Arc::clone(&shared)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        listening.shutdown().await;
        shared.stop();
        DrainingServer { connections, shared }
    }
}

/// Meetings under way on a server that takes nobody new. Dropping it ends every connection at once.
#[derive(Debug)]
pub struct DrainingServer {
    connections: JoinSet<()>,
    shared: Arc<Shared>,
}

impl DrainingServer {
    /// Waits until all meetings have ended, for no longer than the grace of the server's limits.
    pub async fn finish(self) {
        let Self { connections, shared } = self;
        let all_ended = async {
            loop {
                let emptied = shared.emptied.notified();
                if shared.meetings() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        if timeout(shared.limits.grace, all_ended).await.is_err() {
            tracing::warn!(meetings = shared.meetings(), "meetings did not end in time");
        }
        // Ends those who are in no meeting, or have not finished theirs.
        drop(connections);
    }
}

/// What clients are told of where it listens.
fn advertised(bound: &[SocketAddrV4], advertise: &[SocketAddrV4]) -> io::Result<Vec<SocketAddrV4>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    if advertise.is_empty() {
        return match bound.iter().find(|endpoint| endpoint.ip().is_unspecified()) {
            None => Ok(bound.to_vec()),
            Some(endpoint) => {
                Err(invalid(format!("{endpoint} is no endpoint to tell clients: advertise one")))
            }
        };
    }
    if advertise.len() != bound.len() {
        let (told, bound) = (advertise.len(), bound.len());
        return Err(invalid(format!("{told} endpoints are advertised, {bound} are listened on")));
    }
    if let Some(endpoint) = advertise.iter().find(|endpoint| endpoint.ip().is_unspecified()) {
        return Err(invalid(format!("{endpoint} is no endpoint to tell clients")));
    }
    let port = |told: &SocketAddrV4, bound: &SocketAddrV4| match told.port() {
        0 => bound.port(),
        port => port,
    };
    Ok(advertise
        .iter()
        .zip(bound)
        .map(|(told, bound)| SocketAddrV4::new(*told.ip(), port(told, bound)))
        .collect())
}

/// Accepted connections inherit what is set here.
fn bind(endpoint: SocketAddrV4) -> io::Result<TcpListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {endpoint}: {error}"));
    let listen = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(KERNEL_BUFFER)?;
        socket.set_recv_buffer_size(KERNEL_BUFFER)?;
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keep_alive.with_retries(KEEP_ALIVE_QUESTIONS))?;
        socket.bind(&endpoint.into())?;
        socket.listen(4096)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(named)
}

fn local_v4(listener: &TcpListener) -> io::Result<SocketAddrV4> {
    match listener.local_addr()? {
        SocketAddr::V4(endpoint) => Ok(endpoint),
        SocketAddr::V6(endpoint) => Err(io::Error::other(format!("{endpoint} is no IPv4 endpoint"))),
    }
}

/// Takes a descriptor, then a connection for it. A client that gets no place is closed at once.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    descriptors: Arc<Semaphore>,
    accepted: mpsc::Sender<Client>,
) {
    while let Ok(descriptor) = Arc::clone(&descriptors).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(from))) => {
                if let Some(place) = shared.admit(from)
                    && accepted.send(Client { stream, place, descriptor }).await.is_err()
                {
                    return;
                }
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(list: &[&str]) -> Vec<SocketAddrV4> {
        list.iter().map(|endpoint| endpoint.parse().unwrap()).collect()
    }

    #[test]
    fn clients_are_told_what_is_advertised_for_each_listener() {
        let bound = endpoints(&["0.0.0.0:7000", "10.0.0.2:7001"]);
        let told =
            |advertise: &[&str]| advertised(&bound, &endpoints(advertise)).map_err(|error| error.to_string());
        assert_eq!(
            told(&["203.0.113.1:0", "203.0.113.2:9001"]),
            Ok(endpoints(&["203.0.113.1:7000", "203.0.113.2:9001"]))
        );
        let why = |advertise: &[&str]| told(advertise).unwrap_err();
        assert!(why(&[]).contains("0.0.0.0:7000 is no endpoint to tell clients"));
        assert!(why(&["203.0.113.1:0"]).contains("1 endpoints are advertised, 2 are listened on"));
        assert!(why(&["203.0.113.1:0", "0.0.0.0:1"]).contains("0.0.0.0:1 is no endpoint"));
        let own = endpoints(&["10.0.0.2:7001"]);
        assert_eq!(advertised(&own, &[]).unwrap(), own);
    }

    #[tokio::test]
    async fn accepted_connections_inherit_what_the_listener_has() {
        let listener = bind(endpoints(&["127.0.0.1:0"])[0]).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_INTERVAL);
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_QUESTIONS);
        // Linux doubles what it was asked for.
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * KERNEL_BUFFER);
        assert_eq!(accepted.recv_buffer_size().unwrap(), 2 * KERNEL_BUFFER);
    }
}
