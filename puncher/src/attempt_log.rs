//! What was tried in vain, in words: the part of the error that helps.

use std::collections::BTreeMap;
use std::fmt;

use crate::method::Outlook;

/// What was tried in vain. Part of [`ConnectError::NoPath`](crate::ConnectError::NoPath).
#[derive(Debug, Clone, Default)]
pub struct AttemptLog {
    pub(crate) outlook: Option<Outlook>,
    pub(crate) tally: Tally,
    pub(crate) rounds: u32,
    pub(crate) waiting_for: WaitingFor,
    pub(crate) peer_left: bool,
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
    pub(crate) fn punching(&mut self) {
        self.waiting_for = WaitingFor::Stream;
        self.rounds += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syns = |count: u32| if count == 1 { "SYN" } else { "SYNs" };
        write!(f, "{} {} sent", self.total(), syns(self.total()))?;
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
        write!(f, "\n  {} in {} rounds", self.tally, self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "\n  predicted 203.0.113.9:41822 (sequential: +1 seen in 2 mappings)\n  1 SYN sent, 1 refused in 1 rounds"
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
