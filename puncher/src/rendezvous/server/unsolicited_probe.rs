//! Unsolicited SYNs on request: what does the asker's NAT do with them?
//!
//! They go to the endpoint the asking connection itself comes from and nowhere else, so nobody can have them sent to a
//! stranger; one request makes two SYNs, and a retransmission each if the wait is long.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::timeout;

use crate::classify::Answer;
use crate::platform::{Host, System as _};
use crate::rendezvous::message::Reply;
use crate::socket::{self, DialFailure, SynTtl};

/// Longest wait: RFC 5382 REQ-4 lets a NAT answer after 6 s.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The answer to an asker who has had its share of probes.
pub(super) const UNTRIED: Reply =
    Reply::UnsolicitedAnswers { same_address: Answer::Untried, other_address: Answer::Untried };

/// Sends a SYN to `target` from each of the two addresses.
pub(super) async fn run(from_addresses: ProbeSources, target: SocketAddrV4, wait_ms: u32) -> Reply {
    let wait = Duration::from_millis(wait_ms.into()).min(LONGEST_WAIT);
    let ProbeSources { same, other } = from_addresses;
    let (same_address, other_address) =
        tokio::join!(from(Some(same), target, wait), from(other, target, wait));
    Reply::UnsolicitedAnswers { same_address, other_address }
}

/// Where probes come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeSources {
    /// The address that the asker is connected to.
    pub(super) same: Ipv4Addr,
    /// Another of the server's, if it has one.
    pub(super) other: Option<Ipv4Addr>,
}

async fn from(address: Option<Ipv4Addr>, target: SocketAddrV4, wait: Duration) -> Answer {
    let Some(address) = address else { return Answer::Untried };
    let stream = match socket::dial(SocketAddrV4::new(address, 0), target, SynTtl::Full) {
        Ok(stream) => stream,
        Err(error) => return answer(DialFailure::from(&error), false),
    };
    // Without it a reset and an ICMP port unreachable look alike.
    let kept = Host::keep_icmp_errors(&SockRef::from(&stream)).is_ok();
    match timeout(wait, socket::settled(&stream)).await {
        Ok(Ok(())) => Answer::Accepted,
        Ok(Err(refusal)) => answer(refusal, kept && Host::icmp_error(&stream).is_some()),
        Err(_) => Answer::Silence,
    }
}

fn answer(refusal: DialFailure, by_icmp: bool) -> Answer {
    match refusal {
        DialFailure::Reset if by_icmp => Answer::IcmpPort,
        DialFailure::Reset => Answer::Reset,
        DialFailure::Unreachable => Answer::Icmp,
        DialFailure::TimedOut => Answer::Silence,
        DialFailure::InUse | DialFailure::Stranger | DialFailure::Other(_) => Answer::Untried,
    }
}
