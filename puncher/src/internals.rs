//! For the tests and fuzz targets of this crate only: what they feed with bytes of their own. Nothing here is stable.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::unbounded_channel;

use crate::address_policy::ServerTrust;
use crate::classify::Observation;
use crate::config::{Config, Protection};
use crate::meeting::{Meeting, Role};
use crate::method::view::{RoundView, SideFacts};
use crate::method::{Action, MethodName, RoundNote};
use crate::own_channel::OwnChannel;
use crate::secret::Secret;
use crate::session::Session;
use crate::signalling::{Breadth, Observed, Observer};
use crate::socket::DialFailure;
use crate::stream;
use crate::x25519::EphemeralKey;

pub use crate::handshake::{Agreement, HandshakeError};
pub use crate::method::view::UNCONFIRMED_SYNS;
pub use crate::rendezvous::client::Client;
pub use crate::rendezvous::message::{Reply, Request, VERSION, frame, take_frame};
pub use crate::sealed::Sealed;
pub use crate::socket::bind_shared;

/// An agreement upon streams with a peer that nobody is.
#[must_use]
pub fn lonely_agreement(role: Role) -> Agreement {
    let keys = (EphemeralKey::generate(), EphemeralKey::generate().public());
    let session = Session::new(&Secret::random(), "m", role, keys);
    Agreement::new(session, role, Protection::Encrypted)
}

/// The same where the public keys are exchanged on the stream.
#[must_use]
pub fn lonely_agreement_in_band(role: Role) -> Agreement {
    let meeting = Meeting { name: "m".into(), role, secret: Secret::random() };
    Agreement::in_band(&meeting, Protection::Encrypted)
}

/// The two ends of an encrypted stream, over the two ends of another.
pub fn encrypted_ends<S: AsyncRead + AsyncWrite + Unpin>(
    left: S,
    right: S,
) -> (impl AsyncRead + AsyncWrite + Unpin, impl AsyncRead + AsyncWrite + Unpin) {
    stream::encrypted_ends(left, right)
}

/// What every method makes of a peer that says this of itself, in each role and in some rounds: the most SYNs that one of them asks
/// for at a time. `None` when a peer could not have said it.
///
/// # Panics
/// When a method does.
pub fn most_dials(card: &[u8]) -> Option<usize> {
    let peer: SideFacts = serde_json::from_slice(card).ok()?;
    let mut most = 0;
    for external in [[5000, 5000], [20_000, 20_001], [36_424, 13_999]] {
        for (method, role) in
            MethodName::ALL.iter().flat_map(|method| [(*method, Role::A), (*method, Role::B)])
        {
            let mut method = method.build(1);
            for round in 1..=3 {
                let (own, peer) = (own_side(external), peer.clone());
                let trip = Duration::from_millis(20);
                let mut view = RoundView { round, role, own, peer, trip, agreed: [7; 32] };
                view.limit_unconfirmed_syns(ServerTrust::Full);
                let mut actions = method.begin(&view);
                actions.extend(method.told(RoundNote::Open));
                let dials: Vec<_> = actions.iter().filter_map(Action::dial).collect();
                most = most.max(dials.len());
                for dial in dials.into_iter().take(3) {
                    most = most.max(method.refused(dial, DialFailure::Reset).len());
                }
            }
        }
    }
    Some(most)
}

/// A side behind a NAT that gave these two ports, with the budget that is usual.
fn own_side(external: [u16; 2]) -> SideFacts {
    let local = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 2), 5000);
    let seen = |(place, port)| Observation {
        local: SocketAddrV4::new(
            *local.ip(),
            local.port() + if external[0] == external[1] { 0 } else { place },
        ),
        server: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 7000),
        external: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), port),
    };
    SideFacts {
        local,
        addresses: Vec::new(),
        observations: (0..).zip(external).map(seen).collect(),
        low: None,
        kept_once: false,
        refused: false,
        syns: Config::new(Vec::new()).budget_syns,
        hops: 2,
        address_confirmed: true,
    }
}

/// Whoever is asked sees the endpoint itself.
struct Mirror;

impl Observer for Mirror {
    fn observe(
        &self,
        local: SocketAddrV4,
        _: Breadth,
    ) -> impl Future<Output = Vec<Observed>> + Send + 'static {
        let seen = Observation { local, server: local, external: local };
        std::future::ready(vec![Observed::new(seen, ())])
    }
}

/// Reads messages of an application's channel until one is refused; how many were understood and meant something.
///
/// # Panics
/// When this host has no loopback address.
pub async fn hear_from_channel(role: Role, messages: Vec<Vec<u8>>) -> usize {
    let ((to_channel, from_peer), (to_peer, _from_channel)) = (unbounded_channel(), unbounded_channel());
    messages.into_iter().for_each(|message| to_channel.send(message).expect("the other end is here"));
    drop(to_channel);
    let mut signalling = (to_peer, from_peer);
    let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut channel = OwnChannel::observed(local, role, (&mut signalling, &Mirror)).await.expect("a port");
    channel.be_ready(1).expect("the other end is here");
    let mut heard = 0;
    while channel.next().await.is_ok() {
        heard += 1;
    }
    heard
}
