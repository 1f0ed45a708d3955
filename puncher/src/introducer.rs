//! What introduces the two peers to each other: our rendezvous server, or the application's own channel and servers.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::Instant;

use crate::classify::Observation;
use crate::own_channel::OwnChannel;
use crate::rendezvous::client::{Client, ClientError, ServerLink};
use crate::rendezvous::message::Reply;
use crate::sealed::Sealed;
use crate::signalling::{Boxed, Breadth, Observed};
use crate::socket;

pub(crate) enum Introducer<'a> {
    Server(Box<Client>),
    Own(OwnChannel<'a>),
}

/// A mapping that was seen, and the connection that holds it.
#[derive(Debug)]
pub(crate) enum SeenMapping {
    Server(ServerLink),
    Own(Instant, Observed),
}

impl SeenMapping {
    pub(crate) fn observation(&self) -> Observation {
        match self {
            Self::Server(link) => link.observation(),
            Self::Own(_, seen) => seen.observation,
        }
    }

    /// When its SYN left: mappings are made in this order.
    pub(crate) fn dialled(&self) -> Instant {
        match self {
            Self::Server(link) => link.dialled(),
            Self::Own(dialled, _) => *dialled,
        }
    }
}

/// Mappings that are being looked at; their SYNs have left.
pub(crate) type Looking = Boxed<'static, Vec<SeenMapping>>;

impl Introducer<'_> {
    /// The port and address that is punched from.
    pub(crate) fn local(&self) -> SocketAddrV4 {
        match self {
            Self::Server(client) => client.local(),
            Self::Own(own) => own.local(),
        }
    }

    /// A server that answers.
    pub(crate) fn server(&self) -> SocketAddrV4 {
        match self {
            Self::Server(client) => client.server(),
            Self::Own(own) => own.observations()[0].server,
        }
    }

    pub(crate) fn observations(&self) -> Vec<Observation> {
        match self {
            Self::Server(client) => client.observations(),
            Self::Own(own) => own.observations().to_vec(),
        }
    }

    /// The time to whoever introduces, one way.
    pub(crate) fn one_way(&self) -> Duration {
        match self {
            Self::Server(client) => client.one_way(),
            Self::Own(own) => own.one_way(),
        }
    }

    /// Keeps a connection, and so its mapping, open as long as this lives.
    pub(crate) fn keep(&mut self, mapping: SeenMapping) {
        match (self, mapping) {
            (Self::Server(client), SeenMapping::Server(link)) => client.keep(link),
            (Self::Own(own), SeenMapping::Own(_, seen)) => own.keep(seen),
            _ => {}
        }
    }

    /// Looks at one more mapping, of this port, 0 for any.
    pub(crate) fn measure(&self, port: u16) -> Looking {
        match self {
            Self::Server(client) => {
                let link = client.measure(port);
                Box::pin(async move { link.await.into_iter().map(SeenMapping::Server).collect() })
            }
            Self::Own(own) => own_mappings(own.observe(port, Breadth::One)),
        }
    }

    /// Looks at the port that is punched from, with the servers that have not answered it.
    pub(crate) fn measure_the_rest(&self) -> Looking {
        match self {
            Self::Server(client) => server_mappings(client.connect_to_the_rest()),
            Self::Own(own) => {
                let known: Vec<_> = own.observations().iter().map(|seen| seen.server).collect();
                let seen = own.observe(own.local().port(), Breadth::All);
                let unknown = move |seen: &Observed| !known.contains(&seen.observation.server);
                own_mappings(Box::pin(async move { seen.await.into_iter().filter(unknown).collect() }))
            }
        }
    }

    /// Looks at another port with all servers; `None` when the system gives none.
    pub(crate) fn measure_anew(&self) -> Option<Looking> {
        match self {
            Self::Server(client) => Some(server_mappings(client.connect_anew().ok()?)),
            Self::Own(own) => {
                let holder = socket::bind_shared(SocketAddrV4::new(*own.local().ip(), 0)).ok()?;
                let seen = own.observe(holder.local_addr().ok()?.as_socket_ipv4()?.port(), Breadth::All);
                Some(own_mappings(Box::pin(async move {
                    let seen = seen.await;
                    drop(holder);
                    seen
                })))
            }
        }
    }

    /// Has a sealed message handed to the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn relay(&mut self, body: Sealed) -> Result<(), ClientError> {
        match self {
            Self::Server(client) => client.relay(body).await,
            Self::Own(own) => own.relay(body),
        }
    }

    /// The same, and says that this side is ready for a round.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn relay_and_be_ready(&mut self, body: Sealed, round: u32) -> Result<(), ClientError> {
        match self {
            Self::Server(client) => client.relay_and_be_ready(body, round).await,
            Self::Own(own) => {
                own.relay(body)?;
                own.be_ready(round)
            }
        }
    }

    /// What is said next. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn next(&mut self) -> Result<Reply, ClientError> {
        match self {
            Self::Server(client) => client.next().await,
            Self::Own(own) => own.next().await,
        }
    }
}

fn server_mappings(links: impl Future<Output = Vec<ServerLink>> + Send + 'static) -> Looking {
    Box::pin(async move { links.await.into_iter().map(SeenMapping::Server).collect() })
}

fn own_mappings(seen: Boxed<'static, Vec<Observed>>) -> Looking {
    let dialled = Instant::now();
    Box::pin(async move { seen.await.into_iter().map(|seen| SeenMapping::Own(dialled, seen)).collect() })
}
