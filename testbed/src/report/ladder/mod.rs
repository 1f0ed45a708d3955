//! A trial as a sequence diagram: one data structure, made from what is kept of the trial, and two renderers.
//!
//! The structure is written beside the packets as `ladder.json`, so that a trial of any old run can be drawn again
//! without reading packets. What is told again and again, as the SYNs of a spray are, is folded when it is made.

mod fold;
mod journey;
mod label;
pub mod svg;
pub mod text;
mod tracking;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::event::Artefacts;
use crate::model::evidence::{CtChange, CtEvent, Nanos};
use crate::model::plain_words::of_json;
use crate::report::ladder::fold::{UnfoldedLadder, fold};
use crate::report::ladder::journey::{Journey, journeys};

/// Version of the file.
pub const SCHEMA: u32 = 1;

/// What is said of a cell of which theory expects nothing.
const NO_THEORY: &str = "theory says nothing of this cell";

/// The two ends of every ladder.
const ENDS: [&str; 2] = ["peer-a", "peer-b"];

/// A trial, drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Version of the file.
    pub schema: u32,
    /// The cell and the trial.
    pub title: String,
    /// How the trial was judged, in a sentence.
    pub judgement: String,
    /// What theory expects of the cell and why, or why it says nothing. Old files have it only where theory expects something.
    pub theory: Option<String>,
    /// The nodes from one peer to the other; the nodes above both at the end.
    pub lanes: Vec<Lane>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Packets of hosts that have no lane.
    pub elsewhere: usize,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// Its address: of a NAT, the external one.
    pub address: Option<Ipv4Addr>,
}

/// One thing that happened, or several alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Milliseconds from the first punching SYN.
    pub at_ms: f64,
    /// When the last of several alike happened.
    pub until_ms: Option<f64>,
    /// How many alike this stands for.
    pub count: usize,
    /// What.
    pub what: StepKind,
    /// What the judgement rests on, if it does on this.
    pub marks: Vec<Mark>,
}

/// A packet that a judgement rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Its number in the capture, from 1.
    pub frame: usize,
    /// What it shows.
    pub note: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StepKind {
    /// A packet went from lane to lane.
    Packet {
        /// What it is, for the eye.
        tone: Tone,
        /// `SYN`, `RST ACK`, `ICMP 3/3`, `data 32`.
        text: String,
        /// The links that it crossed.
        legs: Vec<Leg>,
        /// How it ended.
        end: LegEnd,
    },
    /// A whole exchange with the rendezvous server.
    Talk {
        /// The peer's lane.
        from: usize,
        /// The server's lane.
        to: usize,
        /// What was said, in short.
        text: String,
    },
    /// Connection tracking of a NAT changed.
    State {
        /// The NAT's lane.
        lane: usize,
        /// What changed.
        text: String,
    },
}

/// A packet's way over one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// The lane that it left.
    pub from: usize,
    /// The lane that it went to.
    pub to: usize,
    /// Its ports on this link.
    pub ports: String,
}

/// What a packet is, for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Opens a connection.
    Syn,
    /// Answers a SYN.
    SynAck,
    /// Ends everything.
    Reset,
    /// An ICMP message.
    Icmp,
    /// Carries data.
    Data,
    /// All else.
    Other,
}

/// How a packet's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegEnd {
    /// It came to the host that it was meant for.
    Arrived,
    /// The last node did not let it pass.
    Dropped,
    /// The last link lost it.
    Lost,
    /// It was on its way when the trial ended.
    InFlight,
}

impl Ladder {
    /// Draws what is kept of a trial.
    #[must_use]
    pub fn of(title: &str, kept: &Artefacts) -> Self {
        let lanes = lanes(kept);
        let all = journeys(kept);
        let zero = start(&all, kept);
        let unfolded = UnfoldedLadder::of(kept, &lanes, all, zero);
        let theory = match &kept.expected {
            Ok(expected) => format!("theory expects {}: {}", expected.rates(), expected.because),
            Err(silence) => format!("{NO_THEORY}: {}", silence.because),
        };
        Self {
            schema: SCHEMA,
            title: title.to_owned(),
            judgement: kept.judgement.clone(),
            theory: Some(theory),
            elsewhere: unfolded.elsewhere,
            steps: fold(unfolded),
            lanes,
        }
    }

    /// Reads `ladder.json`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let ladder: Self = serde_json::from_str(text).map_err(|why| of_json(&why))?;
        if ladder.schema != SCHEMA {
            return Err(format!("it has schema {}, and this testbed reads schema {SCHEMA}", ladder.schema));
        }
        let lanes = ladder.lanes.len();
        let ways = || ladder.steps.iter().map(|step| &step.what);
        if let Some(lane) = ways().flat_map(StepKind::named).find(|lane| *lane >= lanes) {
            return Err(format!("it names the lane {lane}, and has {lanes}"));
        }
        match ways().find_map(StepKind::stays) {
            Some(lane) => Err(format!("something goes from lane {lane} to lane {lane}")),
            None => Ok(ladder),
        }
    }

    /// The text of `ladder.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data has a JSON form") + "\n"
    }
}

impl StepKind {
    /// Every lane that it touches, in the order of its way.
    #[must_use]
    pub fn lanes(&self) -> Vec<usize> {
        match self {
            Self::Packet { legs, .. } => {
                let first = legs.first().map(|leg| leg.from);
                first.into_iter().chain(legs.iter().map(|leg| leg.to)).collect()
            }
            Self::Talk { from, to, .. } => vec![*from, *to],
            Self::State { lane, .. } => vec![*lane],
        }
    }

    /// Every lane that it names.
    fn named(&self) -> Vec<usize> {
        match self {
            Self::Packet { legs, .. } => legs.iter().flat_map(|leg| [leg.from, leg.to]).collect(),
            Self::Talk { .. } | Self::State { .. } => self.lanes(),
        }
    }

    /// The lane that it leaves without coming to another, which nothing real does and nobody can draw.
    fn stays(&self) -> Option<usize> {
        let to_itself = |from: usize, to: usize| (from == to).then_some(from);
        match self {
            Self::Packet { legs, .. } => legs.iter().find_map(|leg| to_itself(leg.from, leg.to)),
            Self::Talk { from, to, .. } => to_itself(*from, *to),
            Self::State { .. } => None,
        }
    }
}

/// The nodes from peer to peer, then those above both.
fn lanes(kept: &Artefacts) -> Vec<Lane> {
    let up = |from: &str| {
        let mut way = vec![from.to_owned()];
        while let Some(link) = kept.links.iter().find(|link| Some(&link.lower) == way.last()) {
            if way.contains(&link.upper) {
                break;
            }
            way.push(link.upper.clone());
        }
        way
    };
    let (mut a, b) = (up(ENDS[0]), up(ENDS[1]));
    let top = a.iter().position(|node| b.contains(node)).unwrap_or(a.len() - 1);
    let above = a.split_off(top + 1);
    let down = b.iter().take_while(|node| Some(*node) != a.last()).cloned().collect::<Vec<_>>();
    let names = a.into_iter().chain(down.into_iter().rev()).chain(above);
    let address = |name: &str| kept.addresses.iter().find(|(node, _)| node == name).map(|(_, at)| *at);
    names.map(|name| Lane { address: address(&name), name }).collect()
}

/// The first punching SYN, or else the first thing of all.
fn start(journeys: &[Journey], kept: &Artefacts) -> Nanos {
    let punching =
        journeys.iter().find(|j| j.packet.tcp().is_some_and(|s| s.flags.is_opening()) && j.server.is_none());
    let first = journeys.first().map(|j| j.at).or_else(|| kept.evidence.conntrack.first().map(|e| e.at));
    punching.map(|j| j.at).or(first).unwrap_or_default()
}

/// Milliseconds from `zero` to `at`, to the microsecond.
fn millis(zero: Nanos, at: Nanos) -> f64 {
    let nanos = i128::from(at) - i128::from(zero);
    (nanos as f64 / 1e3).round() / 1e3
}

/// What connection tracking says, in short.
fn state(event: &CtEvent) -> String {
    let (inside, outside) = (event.entry.original.source, event.entry.reply.destination);
    let state = event.entry.state.map_or_else(String::new, |state| format!(" {state}"));
    let ports = match inside.port() == outside.port() {
        true => inside.port().to_string(),
        false => format!("{} as {}", inside.port(), outside.port()),
    };
    match event.change {
        CtChange::New => format!("new {ports} to {}{state}", event.entry.original.destination),
        CtChange::Update => format!("{ports}{state}"),
        CtChange::Destroy => format!("{ports} forgotten"),
    }
}

#[cfg(test)]
mod tests;
