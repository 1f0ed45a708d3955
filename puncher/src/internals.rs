//! For the tests and fuzz targets of this crate only: what they feed with bytes of their own. Nothing here is stable.

use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::unbounded_channel;

use crate::classify::Observation;
use crate::config::Protection;
use crate::meeting::{Meeting, Role};
use crate::own_channel::OwnChannel;
use crate::secret::Secret;
use crate::session::{EphemeralKey, Session};
use crate::signalling::{Breadth, Observed, Observer};
use crate::stream;

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
