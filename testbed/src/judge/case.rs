//! The case that is judged: all that is known of a trial when its programs have ended.

use std::time::Duration;

use crate::judge::oracle::DeclaredNats;
use crate::judge::program_output::Claim;
use crate::judge::reference::NatView;
use crate::judge::timeline::{Role, Vantage};
use crate::model::evidence::Evidence;

/// All that is known of a trial when its programs have ended.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What the wire and the kernel saw.
    pub evidence: &'a Evidence,
    /// Where side a is watched.
    pub a: &'a Vantage,
    /// Where side b is watched.
    pub b: &'a Vantage,
    /// What the NATs declare.
    pub declared: DeclaredNats<'a>,
    /// The NATs as the reference looks at them, each with the links on both its sides.
    pub nats: &'a [NatView<'a>],
    /// What peer a said.
    pub claim_a: &'a Claim,
    /// What peer b said.
    pub claim_b: &'a Claim,
    /// Whether the programs use a rendezvous server.
    pub rendezvous: Rendezvous,
    /// The method's name, for programs that name none.
    pub method: &'a str,
    /// How much later than due a frame may leave the wire before nothing can be concluded.
    pub lateness: Duration,
}

/// Whether a trial has a rendezvous server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendezvous {
    /// It has one, which both peers must reach.
    Needed,
    /// The peers need none.
    NotNeeded,
}

impl<'a> Case<'a> {
    /// Where the side of a peer is watched.
    #[must_use]
    pub fn vantage(&self, role: Role) -> &'a Vantage {
        match role {
            Role::A => self.a,
            Role::B => self.b,
        }
    }

    /// What a peer said.
    #[must_use]
    pub fn said(&self, role: Role) -> &Claim {
        match role {
            Role::A => self.claim_a,
            Role::B => self.claim_b,
        }
    }
}
