//! From all that happened to what is worth a line: exchanges with the rendezvous server become one line each, and what
//! is alike and proves nothing is shown once, with its number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::model::event::Artefacts;
use crate::model::evidence::{CtChange, CtEvent, Nanos};
use crate::model::plural::counted;
use crate::report::ladder::journey::{Journey, undirected};
use crate::report::ladder::tracking::{self, FlowEnds};
use crate::report::ladder::{ENDS, Lane, Leg, LegEnd, Mark, Step, StepKind, Tone, millis, state};

/// How many of a kind are shown one by one.
const FEW: usize = 3;

/// All that happened, not folded yet.
pub(super) struct UnfoldedLadder {
    told: Vec<UnfoldedStep>,
    pub(super) elsewhere: usize,
}

/// A step before it is known whether it is shown by itself.
struct UnfoldedStep {
    step: Step,
    key: Key,
    /// Whether it belongs to a flow that the judgement is about.
    matters: bool,
}

/// What makes steps alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Packet(Vec<usize>, Tone, String, LegEnd),
    Talk(usize, Ipv4Addr),
    State(usize, &'static str, String),
}

/// What every packet is compared with.
struct LadderContext<'a> {
    kept: &'a Artefacts,
    lanes: &'a [Lane],
    matters: &'a BTreeSet<FlowEnds>,
    zero: Nanos,
}

impl UnfoldedLadder {
    /// Everything that touches only nodes with a lane.
    pub(super) fn of(kept: &Artefacts, lanes: &[Lane], journeys: Vec<Journey>, zero: Nanos) -> Self {
        let place: HashMap<&str, usize> =
            lanes.iter().enumerate().map(|(at, lane)| (lane.name.as_str(), at)).collect();
        let matters = flows_that_matter(kept, &journeys);
        let seen = LadderContext { kept, lanes, matters: &matters, zero };
        let mut unfolded = Self { told: Vec::new(), elsewhere: 0 };
        for journey in &journeys {
            match legs(journey, &place) {
                Some(legs) => unfolded.told.push(packet(&seen, journey, legs)),
                None => unfolded.elsewhere += 1,
            }
        }
        let of_lane = |event: &CtEvent| place.get(event.node.as_str()).copied();
        let events = kept.evidence.conntrack.iter().zip(tracking::times(kept, &journeys));
        let tracked = |(event, at)| Some(tracked(&seen, event, of_lane(event)?, at));
        unfolded.told.extend(events.filter_map(tracked));
        unfolded.told.sort_by(|a, b| a.step.at_ms.total_cmp(&b.step.at_ms));
        unfolded
    }
}

/// The flows, on every link, of the packets that the judgement rests on.
fn flows_that_matter(kept: &Artefacts, journeys: &[Journey]) -> BTreeSet<FlowEnds> {
    let proven: BTreeSet<usize> = kept.marks.iter().map(|(frame, _)| *frame).collect();
    let pairs = |journey: &Journey| journey.hops.iter().map(|hop| undirected(hop.tuple)).collect::<Vec<_>>();
    let mut matters: BTreeSet<FlowEnds> = BTreeSet::new();
    for journey in journeys.iter().filter(|j| j.hops.iter().any(|hop| proven.contains(&hop.frame))) {
        matters.extend(pairs(journey));
    }
    // What answers those may carry other addresses further on.
    for journey in journeys {
        let pairs = pairs(journey);
        if pairs.iter().any(|pair| matters.contains(pair)) {
            matters.extend(pairs);
        }
    }
    matters
}

/// The links that a packet crossed, if all their nodes have a lane.
fn legs(journey: &Journey, place: &HashMap<&str, usize>) -> Option<Vec<Leg>> {
    let leg = |hop: &crate::report::ladder::journey::Hop| {
        let ports = format!("{}→{}", hop.tuple.source.port(), hop.tuple.destination.port());
        Some(Leg { from: *place.get(hop.from.as_str())?, to: *place.get(hop.to.as_str())?, ports })
    };
    journey.hops.iter().map(leg).collect()
}

fn packet(seen: &LadderContext<'_>, journey: &Journey, legs: Vec<Leg>) -> UnfoldedStep {
    let LadderContext { kept, lanes, matters, zero } = *seen;
    let (tone, text) = journey.looks();
    let end = journey.end();
    let marked = |frame: usize| kept.marks.iter().filter(move |(of, _)| *of == frame);
    let marks = journey.hops.iter().flat_map(|hop| marked(hop.frame));
    let marks = marks.map(|(frame, note)| Mark { frame: frame + 1, note: note.clone() }).collect();
    let way: Vec<usize> =
        legs.first().map(|leg| leg.from).into_iter().chain(legs.iter().map(|leg| leg.to)).collect();
    let key = match journey.server {
        Some(server) => Key::Talk(near_peer(&way, lanes), server),
        // Every payload is another text, and no more worth telling for that.
        None => Key::Packet(way, tone, if tone == Tone::Data { String::new() } else { text.clone() }, end),
    };
    let matters = journey.hops.iter().any(|hop| matters.contains(&undirected(hop.tuple)));
    let step = Step {
        at_ms: millis(zero, journey.at),
        until_ms: Some(millis(zero, journey.until)),
        count: 1,
        what: StepKind::Packet { tone, text, legs, end },
        marks,
    };
    UnfoldedStep { step, key, matters }
}

/// The lane of the peer that a packet's way touches, or else comes nearest to.
fn near_peer(way: &[usize], lanes: &[Lane]) -> usize {
    let peers = (0..lanes.len()).filter(|lane| ENDS.contains(&lanes[*lane].name.as_str()));
    let distance = |peer: &usize| way.iter().map(|lane| lane.abs_diff(*peer)).min();
    peers.min_by_key(distance).unwrap_or(0)
}

fn tracked(seen: &LadderContext<'_>, event: &CtEvent, lane: usize, at: Nanos) -> UnfoldedStep {
    let (LadderContext { kept, matters, .. }, at_ms) = (seen, millis(seen.zero, at));
    let change = match event.change {
        CtChange::New => "new",
        CtChange::Update => "update",
        CtChange::Destroy => "destroy",
    };
    let entry = &event.entry;
    let tcp_state = entry.state.map_or_else(String::new, |state| state.to_string());
    let server = kept.evidence.is_server(*entry.original.destination.ip());
    let key = match server {
        true => Key::Talk(lane, *entry.original.destination.ip()),
        false => Key::State(lane, change, tcp_state),
    };
    let step = Step {
        at_ms,
        until_ms: None,
        count: 1,
        what: StepKind::State { lane, text: state(event) },
        marks: Vec::new(),
    };
    let matters = [entry.original, entry.reply].iter().any(|tuple| matters.contains(&undirected(*tuple)));
    UnfoldedStep { step, key, matters }
}

/// Tells every kind of thing as often as it is worth.
pub(super) fn fold(unfolded: UnfoldedLadder) -> Vec<Step> {
    let (talk, rest): (Vec<_>, Vec<_>) = unfolded
        .told
        .into_iter()
        .partition(|told| matches!(told.key, Key::Talk(..)) && told.step.marks.is_empty());
    let mut steps = talks(talk);
    let mut kinds: BTreeMap<(Key, bool), Vec<Step>> = BTreeMap::new();
    for UnfoldedStep { step, key, matters } in rest {
        if step.marks.is_empty() {
            kinds.entry((key, matters)).or_default().push(step);
        } else {
            steps.push(step);
        }
    }
    steps.extend(kinds.into_values().flat_map(shortened));
    steps.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    steps
}

/// The first few one by one, and the rest as one; a fold that would save only a line or two is none.
fn shortened(mut alike: Vec<Step>) -> Vec<Step> {
    if alike.len() <= FEW + 2 {
        return alike;
    }
    let rest = alike.split_off(FEW);
    let last = rest.last().map(|step| step.until_ms.unwrap_or(step.at_ms));
    let count = rest.len();
    if let Some(mut first) = rest.into_iter().next() {
        if let StepKind::Packet { legs, .. } = &mut first.what {
            legs.iter_mut().for_each(|leg| leg.ports = "…".to_owned());
        }
        if let StepKind::State { text, .. } = &mut first.what {
            // What they have in common is the change, and the state that stands last.
            *text = [text.split(' ').next(), text.split(' ').next_back()]
                .map(Option::unwrap_or_default)
                .join(" … ");
        }
        alike.push(Step { until_ms: last, count, ..first });
    }
    alike
}

/// One line for each exchange of a peer with an address of the rendezvous server.
fn talks(told: Vec<UnfoldedStep>) -> Vec<Step> {
    let mut exchanges: BTreeMap<Key, Vec<UnfoldedStep>> = BTreeMap::new();
    for one in told {
        exchanges.entry(one.key.clone()).or_default().push(one);
    }
    exchanges.into_iter().filter_map(|(key, told)| exchange(&key, &told)).collect()
}

fn exchange(key: &Key, told: &[UnfoldedStep]) -> Option<Step> {
    let Key::Talk(lane, server) = key else { return None };
    let packets: Vec<&UnfoldedStep> =
        told.iter().filter(|t| matches!(t.step.what, StepKind::Packet { .. })).collect();
    let first = packets.first()?;
    let StepKind::Packet { legs, .. } = &first.step.what else { return None };
    // The ports as the peer's side chose them and as the server saw them.
    let source = |leg: &Leg| leg.ports.split('→').next().unwrap_or_default().to_owned();
    let outward = legs.first().filter(|leg| leg.from == *lane).and(legs.last());
    let seen = outward.map_or_else(String::new, |leg| format!(", seen as {}", source(leg)));
    let to = packets.iter().flat_map(|t| t.step.what.lanes()).max_by_key(|other| other.abs_diff(*lane))?;
    let until = packets.iter().filter_map(|t| t.step.until_ms).fold(first.step.at_ms, f64::max);
    let text = format!("{} with {server}{seen}", counted(packets.len(), "packet"));
    Some(Step {
        at_ms: first.step.at_ms,
        until_ms: Some(until),
        count: 1,
        what: StepKind::Talk { from: *lane, to, text },
        marks: Vec::new(),
    })
}
