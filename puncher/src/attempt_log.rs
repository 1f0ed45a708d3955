//! What was tried in vain, in words: the part of the error that helps.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::classify::Allocation;
use crate::method::Outlook;
use crate::text::counted;

/// With this chance a method has the budget that it needs.
const NEARLY_CERTAIN: f64 = 0.99;

/// What stood in the way of a connection: enough to choose between trying again, a relay, and telling the user. See
/// [`ConnectError::kind`](crate::ConnectError::kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// What was asked for cannot be: tell the user.
    CannotRun,
    /// The rendezvous server cannot be reached, refused, or went away: try again, or another one.
    Server,
    /// The peer did not come, was not ready, or left: tell the user, or try again.
    Peer,
    /// The two NATs let nothing through: use a relay.
    Path,
    /// All SYNs of the budget were sent, and more would make success likelier: try again with more, or use a relay.
    Budget,
    /// The other end does not hold the same secret: tell the user.
    Secret,
}

/// What was tried in vain. Part of [`ConnectError::NoPath`](crate::ConnectError::NoPath), whose
/// [`kind`](crate::ConnectError::kind) sums it up.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AttemptLog {
    /// What was expected of the last round, and how likely it was.
    pub outlook: Option<Outlook>,
    /// SYNs, and what became of them.
    pub tally: Tally,
    /// Rounds that were begun.
    pub rounds: u32,
    /// How this side's NAT chose its ports, as last seen.
    pub own_nat: Option<Allocation>,
    /// How the peer's NAT did, as the peer last said.
    pub peer_nat: Option<Allocation>,
    /// Streams whose other end did not hold the keys of this meeting.
    pub strangers: u32,
    /// Whether the peer gave up first.
    pub peer_left: bool,
    pub(crate) waiting_for: WaitingFor,
    /// What could have been spent.
    pub(crate) budget_syns: u32,
    /// Whether the two sides had a rendezvous server in common, and so the same secret.
    pub(crate) has_met: bool,
}

/// How far it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WaitingFor {
    #[default]
    Server,
    Peer,
    Go,
    Stream,
}

/// Sockets by what became of them. Part of an [`AttemptLog`].
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// SYNs sent by each method, retransmissions by the kernel not counted.
    pub syns: BTreeMap<&'static str, u32>,
    /// Dials that came to nothing, by what happened.
    pub ended: BTreeMap<String, u32>,
}

impl Tally {
    pub(crate) fn count(&mut self, what: &str) {
        *self.ended.entry(what.to_owned()).or_default() += 1;
    }

    /// Counts a SYN; whether it is the method's first.
    pub(crate) fn is_first(&mut self, by: &'static str) -> bool {
        let count = self.syns.entry(by).or_default();
        *count += 1;
        *count == 1
    }

    /// SYNs of all methods.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.syns.values().sum()
    }
}

impl AttemptLog {
    /// What stood in the way.
    pub(crate) fn kind(&self) -> FailureKind {
        let chance = self.outlook.as_ref().map_or(1.0, |outlook| outlook.probability);
        match self.waiting_for {
            WaitingFor::Server => FailureKind::Server,
            WaitingFor::Peer | WaitingFor::Go => FailureKind::Peer,
            WaitingFor::Stream if self.strangers > 0 && !self.has_met => FailureKind::Secret,
            WaitingFor::Stream if self.tally.total() >= self.budget_syns && chance < NEARLY_CERTAIN => {
                FailureKind::Budget
            }
            WaitingFor::Stream => FailureKind::Path,
        }
    }

    pub(crate) fn punching(&mut self) {
        self.waiting_for = WaitingFor::Stream;
        self.rounds += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent", counted(self.total() as usize, "SYN"))?;
        if self.syns.len() > 1 {
            let each: Vec<_> = self.syns.iter().map(|(by, count)| format!("{by} {count}")).collect();
            write!(f, " ({})", each.join(", "))?;
        }
        for (what, count) in &self.ended {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waiting_for {
            WaitingFor::Server => return f.write_str(": the rendezvous server did not answer"),
            WaitingFor::Peer => return f.write_str(": the peer did not come to the meeting"),
            WaitingFor::Go => return f.write_str(": the peer was not ready in time"),
            WaitingFor::Stream => {}
        }
        if self.peer_left {
            f.write_str(": the peer gave up")?;
        }
        if let Some(Outlook { peer, probability, because }) = &self.outlook {
            match peer {
                Some(peer) => write!(f, "\n  predicted {peer} ({because})")?,
                None => write!(f, "\n  expected {because}")?,
            }
            if *probability < 1.0 {
                write!(f, ", a chance of {probability:.2e}")?;
            }
        }
        write!(f, "\n  {} in {}", self.tally, counted(self.rounds as usize, "round"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_in_the_way_is_told_apart() {
        let punched = AttemptLog { waiting_for: WaitingFor::Stream, budget_syns: 2, ..AttemptLog::default() };
        let because = String::new();
        let outlook = |probability| Some(Outlook { peer: None, probability, because: because.clone() });
        let mut spent = AttemptLog { outlook: outlook(0.04), ..punched.clone() };
        assert_eq!(spent.kind(), FailureKind::Path, "not all was sent");
        spent.tally.syns.insert("spray", 2);
        assert_eq!(spent.kind(), FailureKind::Budget);
        spent.outlook = outlook(1.0);
        assert_eq!(spent.kind(), FailureKind::Path, "more would not help");
        let stranger = AttemptLog { strangers: 1, ..punched.clone() };
        assert_eq!(stranger.kind(), FailureKind::Secret);
        assert_eq!(AttemptLog { has_met: true, ..stranger }.kind(), FailureKind::Path, "somebody else");
        for (waiting_for, kind) in [
            (WaitingFor::Server, FailureKind::Server),
            (WaitingFor::Peer, FailureKind::Peer),
            (WaitingFor::Go, FailureKind::Peer),
            (WaitingFor::Stream, FailureKind::Path),
        ] {
            assert_eq!(AttemptLog { waiting_for, ..punched.clone() }.kind(), kind);
        }
    }

    #[test]
    fn what_was_tried_is_told() {
        let mut tried = AttemptLog::default();
        assert_eq!(tried.to_string(), ": the rendezvous server did not answer");
        tried.punching();
        let peer = Some("203.0.113.9:41822".parse().unwrap());
        tried.outlook =
            Some(Outlook { peer, probability: 1.0, because: "sequential: +1 seen in 2 mappings".into() });
        tried.tally.is_first("simultaneous-open");
        tried.tally.count("refused");
        assert_eq!(
            tried.to_string(),
            "\n  predicted 203.0.113.9:41822 (sequential: +1 seen in 2 mappings)\n  1 SYN sent, 1 refused in 1 round"
        );
    }

    #[test]
    fn a_small_chance_is_told() {
        let mut tried = AttemptLog::default();
        tried.punching();
        let because = "both ports are drawn".into();
        tried.outlook = Some(Outlook { peer: None, probability: 0.00153, because });
        assert!(tried.to_string().contains("both ports are drawn, a chance of 1.53e-3"), "{tried}");
    }
}
