//! Axes by name, and what their values mean: the one place that knows how each is written.

use std::time::Duration;

use crate::model::quantity::{self, Offset};
use crate::model::suite::{AxisKey, Cell};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::model::words::words;

/// In which order the first punching SYNs are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// As they come.
    #[default]
    Free,
    /// a's before b sends its own.
    AFirst,
    /// b's before a sends its own.
    BFirst,
    /// Each after the other side has sent its own.
    Crossing,
}

words!(Order { Free => "free", AFirst => "a-first", BFirst => "b-first", Crossing => "crossing" });

/// What goes wrong while both peers' first punching SYNs are on their way, past their own NATs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// The link of a's outermost NAT loses everything for a second.
    LinkDown,
    /// A's outermost NAT restarts and has forgotten all mappings.
    NatRestarts,
    /// A's outermost NAT gets another address.
    NatRenumbered,
}

words!(Trouble {
    None => "none",
    LinkDown => "link-a-down",
    NatRestarts => "nat-a-restarts",
    NatRenumbered => "nat-a-renumbered",
});

/// Every axis that a suite over this topology may have, by name.
#[must_use]
pub fn keys(topology: &Topology) -> Vec<String> {
    let nats = topology.of_kind(NodeKind::Nat).map(NodeName::to_string);
    nats.chain(named(topology).map(AxisKey::to_string)).collect()
}

/// The axis of that name, if a suite over this topology may have it.
#[must_use]
pub fn key(name: &str, topology: &Topology) -> Option<AxisKey> {
    let nat = topology.of_kind(NodeKind::Nat).find(|nat| nat.as_str() == name);
    let other = || named(topology).find(|key| key.to_string() == name).cloned();
    nat.map(|nat| AxisKey::Nat(nat.clone())).or_else(other)
}

/// The axes that a suite over this topology may have beside its NATs.
fn named(topology: &Topology) -> impl Iterator<Item = &'static AxisKey> {
    let busy = !neighbours(topology).is_empty();
    AxisKey::NAMED.iter().filter(move |key| busy || **key != AxisKey::Neighbours)
}

/// The most connections a second that a neighbour may open: more are not opened evenly.
const BUSIEST: f64 = 1000.0;

/// The hosts that are not peers and open connections of their own.
#[must_use]
pub fn neighbours(topology: &Topology) -> Vec<&NodeName> {
    topology.of_kind(NodeKind::Host).filter(|host| host.as_str().starts_with("neighbour")).collect()
}

/// Reads how many connections a second are opened.
///
/// # Errors
/// A sentence that names the text.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|rate| (0.0..=BUSIEST).contains(rate));
    number.ok_or_else(|| format!("\"{text}\" is not a number of connections a second, 0 to {BUSIEST}"))
}

/// Checks a value of any axis but those of names.
///
/// # Errors
/// A sentence about the value.
pub fn check(key: &AxisKey, text: &str) -> Result<(), String> {
    match key {
        AxisKey::Nat(_) | AxisKey::Method => Ok(()),
        AxisKey::Skew => quantity::offset(text).map(drop),
        AxisKey::Delay => quantity::delay(text).map(drop),
        AxisKey::Loss => quantity::probability(text).map(drop),
        AxisKey::Order => order(text).map(drop),
        AxisKey::Neighbours => rate(text).map(drop),
        AxisKey::Jitter => quantity::delay(text).map(drop),
        AxisKey::Duplication | AxisKey::Reordering => quantity::probability(text).map(drop),
        AxisKey::Mtu => mtu(text).map(drop),
        AxisKey::Trouble => trouble(text).map(drop),
        AxisKey::BudgetSyns => budget_syns(text).map(drop),
    }
}

/// Reads an order of delivery.
///
/// # Errors
/// A sentence that names the text.
pub fn order(text: &str) -> Result<Order, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an order: {}", Order::WORDS.join(", ")))
}

/// Reads a trouble.
///
/// # Errors
/// A sentence that names the text.
pub fn trouble(text: &str) -> Result<Trouble, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a trouble: {}", Trouble::WORDS.join(", ")))
}

/// Reads the size of the largest packet in bytes: from the kernel's least for IPv4 to Ethernet's own.
///
/// # Errors
/// A sentence that names the text.
pub fn mtu(text: &str) -> Result<u32, String> {
    match quantity::digits(text) {
        Some(mtu @ 68..=1500) => Ok(mtu),
        _ => Err(format!("\"{text}\" is not an MTU from 68 to 1500 bytes")),
    }
}

/// Reads how many SYNs one side may spend.
///
/// # Errors
/// A sentence that names the text.
pub fn budget_syns(text: &str) -> Result<u32, String> {
    let number = quantity::digits(text).filter(|number| *number > 0);
    number.ok_or_else(|| format!("\"{text}\" is not a number of SYNs, at least 1"))
}

/// The values of a cell were checked when its suite was read; without the axis each is `None`.
impl Cell {
    /// How much later than peer a, peer b begins.
    #[must_use]
    pub fn skew(&self) -> Option<Offset> {
        quantity::offset(self.value(&AxisKey::Skew)?).ok()
    }

    /// The one-way delay of every wire.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        quantity::duration(self.value(&AxisKey::Delay)?).ok()
    }

    /// The probability that a wire loses a frame.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        quantity::probability(self.value(&AxisKey::Loss)?).ok()
    }

    /// Connections a second that each neighbour opens.
    #[must_use]
    pub fn neighbours(&self) -> Option<f64> {
        rate(self.value(&AxisKey::Neighbours)?).ok()
    }

    /// In which order the first punching SYNs are delivered.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        order(self.value(&AxisKey::Order)?).ok()
    }

    /// How much longer than its delay a frame may be on a wire.
    #[must_use]
    pub fn jitter(&self) -> Option<Duration> {
        quantity::duration(self.value(&AxisKey::Jitter)?).ok()
    }

    /// The probability that a wire delivers a frame twice.
    #[must_use]
    pub fn duplication(&self) -> Option<f64> {
        quantity::probability(self.value(&AxisKey::Duplication)?).ok()
    }

    /// The probability that a frame overtakes those before it.
    #[must_use]
    pub fn reordering(&self) -> Option<f64> {
        quantity::probability(self.value(&AxisKey::Reordering)?).ok()
    }

    /// The largest packet on every device, in bytes.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        mtu(self.value(&AxisKey::Mtu)?).ok()
    }

    /// SYNs that one side may spend.
    #[must_use]
    pub fn budget_syns(&self) -> Option<u32> {
        budget_syns(self.value(&AxisKey::BudgetSyns)?).ok()
    }

    /// What goes wrong during the punch.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        trouble(self.value(&AxisKey::Trouble)?).ok()
    }
}
