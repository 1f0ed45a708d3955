//! A meeting by way of the application's own channel: what the rendezvous server does otherwise, done by the two peers.
//!
//! Role a says go when both are ready, and starts itself half a round trip of the channel later, when b hears of it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::Socket;
use tokio::time::{Instant, sleep_until, timeout};

use crate::classify::Observation;
use crate::meeting::Role;
use crate::rendezvous::client::ClientError;
use crate::rendezvous::message::{MAX_FRAME, Reply};
use crate::sealed::Sealed;
use crate::signalling::{AnyObserver, AnySignalling, Boxed, Breadth, Observed};
use crate::socket;

/// How long the application's servers may take to look.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the two sides say to each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Said {
    /// Sealed.
    Relay {
        body: Sealed,
    },
    /// For the round trip.
    Ping,
    Pong,
    Ready {
        round: u32,
    },
    /// Role a only.
    Go {
        round: u32,
    },
}

/// The application's channel and servers.
pub(crate) type OwnMeans<'a> = (&'a mut (dyn AnySignalling + 'a), &'a (dyn AnyObserver + 'a));

/// The two sides of one meeting, as far as the channel knows.
pub(crate) struct OwnChannel<'a> {
    channel: &'a mut (dyn AnySignalling + 'a),
    observer: &'a (dyn AnyObserver + 'a),
    role: Role,
    local: SocketAddrV4,
    observations: Vec<Observation>,
    held: Vec<Observed>,
    round_trip: Duration,
    /// The newest round that each side is ready for.
    own_ready: u32,
    peer_ready: u32,
    /// The round that this side is about to start.
    go: Option<(u32, Instant)>,
    /// What has come before it was asked for.
    early: VecDeque<Reply>,
    _port: Socket,
}

impl<'a> OwnChannel<'a> {
    /// Has the application's servers look at the port that will be punched from.
    ///
    /// # Errors
    /// When the port cannot be bound, or no server answers.
    pub(crate) async fn observed(
        bind: SocketAddrV4,
        role: Role,
        (channel, observer): OwnMeans<'a>,
    ) -> Result<Self, ClientError> {
        let refused = |source| ClientError::Bind { local: bind, source };
        let port = socket::bind_shared(bind).map_err(refused)?;
        let bound = port.local_addr().map_err(refused)?.as_socket_ipv4().unwrap_or(bind);
        let held = within(observer.observe(bound, Breadth::All)).await;
        let observations: Vec<_> = held.iter().map(|seen| seen.observation).collect();
        let local = observations.first().ok_or(ClientError::Unobserved)?.local;
        Ok(Self {
            channel,
            observer,
            role,
            local,
            observations,
            held,
            round_trip: Duration::ZERO,
            own_ready: 0,
            peer_ready: 0,
            go: None,
            early: VecDeque::new(),
            _port: port,
        })
    }

    pub(crate) fn local(&self) -> SocketAddrV4 {
        self.local
    }

    pub(crate) fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Half of the channel's round trip.
    pub(crate) fn one_way(&self) -> Duration {
        self.round_trip / 2
    }

    pub(crate) fn keep(&mut self, seen: Observed) {
        self.held.push(seen);
    }

    /// What the application's servers see of a connection from this port; 0 for any.
    pub(crate) fn observe(&self, port: u16, breadth: Breadth) -> Boxed<'static, Vec<Observed>> {
        let local = SocketAddrV4::new(*self.local.ip(), port);
        let seen = self.observer.observe(local, breadth);
        Box::pin(within(seen))
    }

    fn say(&mut self, said: &Said) -> Result<(), ClientError> {
        let message = serde_json::to_vec(said).map_err(io::Error::from)?;
        self.channel.send(message).map_err(ClientError::Channel)
    }

    pub(crate) fn relay(&mut self, body: Sealed) -> Result<(), ClientError> {
        self.say(&Said::Relay { body })
    }

    pub(crate) fn be_ready(&mut self, round: u32) -> Result<(), ClientError> {
        self.own_ready = round;
        self.say(&Said::Ready { round })?;
        self.start_if_ready()
    }

    /// Exchanges the first messages, and measures the channel.
    ///
    /// # Errors
    /// When the channel is lost, or something else comes.
    pub(crate) async fn greet(&mut self, hello: Sealed) -> Result<Sealed, ClientError> {
        self.relay(hello)?;
        let peer = match self.next().await? {
            Reply::Relay { body } => body,
            other => return Err(ClientError::unexpected(&other)),
        };
        let asked = Instant::now();
        self.say(&Said::Ping)?;
        let mut early = VecDeque::new();
        loop {
            match self.hear().await? {
                Said::Pong => break,
                said => early.extend(self.understand(said)?),
            }
        }
        self.round_trip = asked.elapsed();
        self.early = early;
        Ok(peer)
    }

    /// The next thing that the peer says, or that it is time to start. Cancel-safe.
    ///
    /// # Errors
    /// When the channel is lost, or something comes that does not belong here.
    pub(crate) async fn next(&mut self) -> Result<Reply, ClientError> {
        if let Some(reply) = self.early.pop_front() {
            return Ok(reply);
        }
        loop {
            let go = self.go;
            let start = async {
                match go {
                    Some((_, at)) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let said = tokio::select! {
                () = start => None,
                said = self.hear() => Some(said?),
            };
            let reply = match said {
                Some(said) => self.understand(said)?,
                None => self.go.take().map(|(round, _)| Reply::Go { round }),
            };
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    async fn hear(&mut self) -> Result<Said, ClientError> {
        let message = self.channel.receive().await.map_err(ClientError::Channel)?;
        if message.len() > MAX_FRAME {
            return Err(ClientError::Unexpected(format!("a message of {} bytes", message.len())));
        }
        serde_json::from_slice(&message).map_err(|error| ClientError::unexpected(&error.to_string()))
    }

    fn understand(&mut self, said: Said) -> Result<Option<Reply>, ClientError> {
        match said {
            Said::Relay { body } => return Ok(Some(Reply::Relay { body })),
            Said::Go { round } if self.role == Role::B => return Ok(Some(Reply::Go { round })),
            Said::Ping => self.say(&Said::Pong)?,
            Said::Ready { round } => {
                self.peer_ready = round;
                self.start_if_ready()?;
            }
            Said::Pong => {}
            Said::Go { .. } => return Err(ClientError::unexpected(&said)),
        }
        Ok(None)
    }

    /// Role a: b hears it half a round trip later.
    fn start_if_ready(&mut self) -> Result<(), ClientError> {
        let round = self.own_ready;
        if self.role == Role::B || round == 0 || self.peer_ready != round {
            return Ok(());
        }
        self.peer_ready = 0;
        self.say(&Said::Go { round })?;
        self.go = Some((round, Instant::now() + self.one_way()));
        Ok(())
    }
}

async fn within(seen: Boxed<'static, Vec<Observed>>) -> Vec<Observed> {
    timeout(PATIENCE, seen).await.unwrap_or_default()
}
