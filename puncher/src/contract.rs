//! What a peer tells while it works, as JSON lines: one side of the contract with whoever started it.
//!
//! The meaning of each line is in the contract page; keys are only ever added.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::attempt_log::FailureKind;
use crate::classify::class::NatClass;
use crate::connection::Report;
use crate::error::ConnectError;
use crate::method::MethodName;
use crate::rendezvous::server::Metrics;

/// One line. [`Puncher::on_event`](crate::Puncher::on_event) has an example.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A rendezvous server has bound its endpoints.
    Listening {
        /// All of them.
        endpoints: Vec<SocketAddrV4>,
    },
    /// A rendezvous server takes nobody new, and waits for those who are connected.
    Stopping,
    /// A step begins that takes as long as somebody else makes it take.
    Waiting {
        /// What is awaited.
        until: Awaited,
        /// The longest that this side waits for it.
        #[serde(rename = "at_most_ms", serialize_with = "whole_millis")]
        at_most: Duration,
    },
    /// What the local NAT does.
    Nat(NatClass),
    /// A rendezvous server's figures.
    Metrics(Metrics),
    /// An external endpoint was learnt.
    Mapped {
        /// The internal endpoint.
        local: SocketAddrV4,
        /// What the server saw.
        external: SocketAddrV4,
        /// The server.
        server: SocketAddrV4,
    },
    /// The system gives fewer sockets than the budget asks for.
    Limited {
        /// What is left of the budget.
        budget_syns: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// It was decided where to send SYNs.
    Predicted {
        /// The endpoint.
        peer: SocketAddrV4,
        /// Why this one.
        because: String,
    },
    /// What a method that tries many endpoints expects.
    Expected {
        /// The chance that it succeeds.
        probability: f64,
        /// Why, in words.
        because: String,
    },
    /// The first SYN of a method is about to leave.
    Attempt {
        /// From.
        local: SocketAddrV4,
        /// To.
        remote: SocketAddrV4,
        /// By which method.
        method: &'static str,
    },
    /// The last line.
    Result(Outcome),
}

/// What a side waits for. Part of [`Event::Waiting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Awaited {
    /// The rendezvous server answers, or the application's own servers do.
    Server,
    /// The peer comes to the meeting.
    Peer,
    /// The agreed start, where there is no server.
    Start,
}

/// How it ended; made by [`Outcome::won`] and [`Outcome::failed`], and told by [`Event::Result`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether there is a connection.
    pub ok: bool,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What stood in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// This end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddrV4>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddrV4>,
    /// The method that won, or that was tried.
    pub method: String,
    /// From the agreed start to ESTABLISHED.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub established_ms: Option<Duration>,
    /// From the agreed start to the peer's proof.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub authenticated_ms: Option<Duration>,
}

impl Outcome {
    /// There is a connection.
    #[must_use]
    pub fn won(report: &Report) -> Self {
        Self {
            ok: true,
            error: None,
            failure: None,
            local: Some(report.local),
            remote: Some(report.remote),
            method: report.method.to_string(),
            established_ms: Some(report.established),
            authenticated_ms: Some(report.authenticated),
        }
    }

    /// There is none, although this method was tried.
    #[must_use]
    pub fn failed(error: &ConnectError, method: MethodName) -> Self {
        Self {
            ok: false,
            error: Some(error.to_string()),
            failure: Some(error.kind()),
            local: None,
            remote: None,
            method: method.to_string(),
            established_ms: None,
            authenticated_ms: None,
        }
    }
}

fn whole_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds to the microsecond.
fn millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn lines_read_as_the_contract_says() {
        let outcome = Outcome {
            ok: true,
            error: None,
            failure: None,
            local: Some("10.0.0.2:23417".parse().unwrap()),
            remote: Some("198.51.100.2:23901".parse().unwrap()),
            method: "simultaneous-open".into(),
            established_ms: Some(Duration::from_micros(20_400)),
            authenticated_ms: Some(Duration::from_micros(30_900)),
        };
        assert_eq!(
            line(&Event::Result(outcome)),
            r#"{"event":"result","ok":true,"local":"10.0.0.2:23417","remote":"198.51.100.2:23901","method":"simultaneous-open","established_ms":20.4,"authenticated_ms":30.9}"#
        );
        let peer = "198.51.100.2:23901".parse().unwrap();
        assert_eq!(
            line(&Event::Predicted { peer, because: "port preserved".into() }),
            r#"{"event":"predicted","peer":"198.51.100.2:23901","because":"port preserved"}"#
        );
        assert_eq!(
            line(&Event::Waiting { until: Awaited::Peer, at_most: Duration::from_secs(120) }),
            r#"{"event":"waiting","until":"peer","at_most_ms":120000}"#
        );
    }
}
