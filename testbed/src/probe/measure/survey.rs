//! All that is asked of a NAT of which nothing is known, and what it answered. Nothing is concluded here.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::kernel::error::Result;
use crate::lab::nat_rules::NatConfig;
use crate::model::behavior::{
    Behavior, ExternalAddresses, Filtering, Hairpinning, InvalidPackets, Mapping, Pooling, Strictness,
    SynAfterSyn, Translation, UnsolicitedSyn,
};
use crate::model::datapath::Datapath;
use crate::probe::prove::address_draws::{self, AddressDraws};
use crate::probe::prove::addresses::{self, AddressesSeen};
use crate::probe::prove::benches::{LONG_WATCH, on_bench, while_it_stays};
use crate::probe::prove::datapath::read_datapath;
use crate::probe::prove::expiry::read_late_answer;
use crate::probe::prove::filtering::{
    self, read_filtering, read_hairpinning, read_invalid_packets, read_strictness, read_syn_after_syn,
    read_unsolicited_syn,
};
use crate::probe::prove::lifetimes::read_flush_interval;
use crate::probe::prove::mapping::{Quartet, Room, classify, quartets, read_translation};
use crate::probe::prove::prober::Prober;
use crate::probe::prove::reading::Reading;

use super::ports::{self, PortsSeen};
use super::timers::{self, TimersSeen};

/// Inside endpoints that the mapping is read from. With eight, random ports from a pool of 8 look endpoint-independent with
/// probability 8^-24.
pub(super) const ENDPOINTS: usize = 8;

/// The same where ports come again, as they do from a small pool: random ports from a pool of two look endpoint-independent with
/// probability 2^-96, and an address-dependent mapping does with 2^-32.
const MORE_ENDPOINTS: usize = 32;

/// Mappings at a time while the mapping is read: those of one endpoint.
const QUARTET: u32 = 4;

/// What was seen of a NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) translation: Reading<Translation>,
    /// What carries the packets across.
    pub(super) datapath: Datapath,
    /// Whether connection tracking knows the connections that pass.
    pub(super) tracked: bool,
    /// What more there is, unless nothing gets out or everything passes.
    pub(super) answers: Option<Answers>,
    /// What is seen of a NAT that translates.
    pub(super) translating: Option<Translating>,
}

/// What was seen of whom a NAT lets in, and of how long it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) filtering: Reading<Filtering>,
    /// At once.
    pub(super) unsolicited_syn: Reading<UnsolicitedSyn>,
    /// After more than six seconds.
    pub(super) late_answer: Reading<UnsolicitedSyn>,
    pub(super) syn_after_syn: Reading<SynAfterSyn>,
    pub(super) invalid_packets: Reading<InvalidPackets>,
    pub(super) strictness: Reading<Strictness>,
    pub(super) timers: TimersSeen,
    /// How long a connection lives at most, if the NAT ends those that are busy.
    pub(super) absolute: Option<Duration>,
    /// From one time that the NAT forgets everything to the next, if it is to.
    pub(super) flush_every: Option<Duration>,
    /// How many mappings one host got before it got no more.
    pub(super) connections: PortsSeen,
}

/// What was seen of a NAT's mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translating {
    pub(super) quartets: Reading<Vec<Quartet>>,
    pub(super) addresses: AddressesSeen,
    /// How one of several addresses is drawn, where they are arbitrary.
    pub(super) draws: Option<AddressDraws>,
    pub(super) hairpinning: Reading<Hairpinning>,
}

/// Surveys a NAT on benches of its own.
pub(super) async fn survey(config: &NatConfig) -> Result<Survey> {
    // What takes the NAT's own time is asked beside the rest.
    let both = futures::future::try_join(on_bench(config, all), on_bench(config, late));
    let (mut survey, late) = while_it_stays(config, LONG_WATCH, both).await?;
    if let (Some(answers), Some(late)) = (&mut survey.answers, late) {
        answers.late_answer = late;
    }
    Ok(survey)
}

/// What carries the packets of a NAT across; connection tracking, where nothing gets out that would tell.
pub(super) async fn datapath(config: &NatConfig) -> Result<Datapath> {
    let told = |read: &Reading<Datapath>| read.value().is_some();
    let read = on_bench(config, move |prober| prober.surely(read_datapath, told)).await?;
    Ok(read.value().copied().unwrap_or_default())
}

/// Asks once more if the processor dropped frames meanwhile, and leaves a NAT that remembers nothing.
fn ask<T>(prober: &mut Prober, question: impl Fn(&mut Prober) -> Result<T>) -> Result<T> {
    let answer = prober.surely(question, |_| false)?;
    prober.bench.forget()?;
    Ok(answer)
}

/// What comes of a SYN that nobody asked for, over more than six seconds; `None` where nothing gets out.
fn late(prober: &mut Prober) -> Result<Option<Reading<UnsolicitedSyn>>> {
    let Reading::Value(translation) = ask(prober, read_translation)? else { return Ok(None) };
    let addresses = match translation {
        Translation::Nat => Some(ask(prober, |prober| addresses::look(prober, &addresses::all_hosts()))?),
        Translation::Firewall | Translation::Router => None,
    };
    let filtering = ask(prober, read_filtering)?;
    let known = closed_by(translation, addresses.as_ref(), &filtering);
    let targets = filtering::closed_targets(prober, &known)?;
    read_late_answer(prober, &targets).map(Some)
}

fn all(prober: &mut Prober) -> Result<Survey> {
    let translation = ask(prober, read_translation)?;
    let tracked = ask(prober, is_tracked)?;
    let datapath = prober.bench.datapath();
    let mut survey = Survey { translation, datapath, tracked, answers: None, translating: None };
    let Reading::Value(translation @ (Translation::Nat | Translation::Firewall)) = survey.translation else {
        return Ok(survey);
    };
    let mut mapping = Mapping::EndpointIndependent;
    if translation == Translation::Nat {
        let read =
            |endpoints| move |prober: &mut Prober| quartets(prober, endpoints, Room::Mappings(QUARTET));
        let mut quartets = ask(prober, read(ENDPOINTS))?;
        if quartets.value().is_some_and(|quartets| have_port_in_common(quartets)) {
            quartets = ask(prober, read(MORE_ENDPOINTS))?;
        }
        mapping = quartets.value().map_or(mapping, |quartets| classify(quartets));
        let addresses = ask(prober, |prober| addresses::look(prober, &addresses::all_hosts()))?;
        let arbitrary = addresses.reading().value().is_some_and(|seen| seen.pooling == Pooling::Arbitrary);
        // Few enough mappings for a pool of hardly any ports.
        let plan = address_draws::Plan { mapping, at_once: QUARTET as usize, pool: None };
        let draws = arbitrary.then(|| ask(prober, |prober| address_draws::draw(prober, plan))).transpose()?;
        let known = addresses.reading().value().copied().unwrap_or(ExternalAddresses::ONE);
        let known = Behavior { addresses: known, ..Behavior::port_preserving() };
        let hairpinning = ask(prober, |prober| read_hairpinning(prober, &known))?;
        survey.translating = Some(Translating { quartets, addresses, draws, hairpinning });
    }
    let filtering = ask(prober, read_filtering)?;
    let addresses = survey.translating.as_ref().map(|translating| &translating.addresses);
    let known = closed_by(translation, addresses, &filtering);
    let unsolicited_syn = ask(prober, |prober| {
        let targets = filtering::closed_targets(prober, &known)?;
        read_unsolicited_syn(prober, translation, &targets)
    })?;
    survey.answers = Some(Answers {
        filtering,
        unsolicited_syn,
        late_answer: Reading::Other("not waited for".to_owned()),
        syn_after_syn: ask(prober, read_syn_after_syn)?,
        invalid_packets: ask(prober, read_invalid_packets)?,
        strictness: ask(prober, read_strictness)?,
        timers: ask(prober, timers::survey)?,
        absolute: ask(prober, timers::absolute)?,
        flush_every: read_flush_interval(prober),
        connections: ask(prober, |prober| ports::survey(prober, mapping))?,
    });
    Ok(survey)
}

/// Whether two of these inside endpoints had the same external one.
fn have_port_in_common(quartets: &[Quartet]) -> bool {
    let mut owner: BTreeMap<SocketAddrV4, SocketAddrV4> = BTreeMap::new();
    quartets.iter().any(|(inside, towards)| {
        towards
            .iter()
            .filter_map(|(_, external)| *external)
            .any(|external| *owner.entry(external).or_insert(*inside) != *inside)
    })
}

/// What says which endpoints are closed to strangers, as far as it is known.
fn closed_by(
    translation: Translation,
    addresses: Option<&AddressesSeen>,
    filtering: &Reading<Filtering>,
) -> Behavior {
    let addresses = addresses.and_then(|seen| seen.reading().value().copied());
    Behavior {
        translation,
        addresses: addresses.unwrap_or(ExternalAddresses::ONE),
        // Of a mapping whose filtering is not known, nobody can say to whom it is closed.
        filtering: filtering.value().copied().unwrap_or(Filtering::EndpointIndependent),
        ..Behavior::port_preserving()
    }
}

/// Whether connection tracking has an entry for a connection that passes.
fn is_tracked(prober: &mut Prober) -> Result<bool> {
    prober.bench.new_entries()?;
    let (flow, external) = prober.open_fresh(crate::probe::prove::bench::Side::Inside0)?;
    Ok(external.is_some() && prober.bench.new_entries()?.contains(&(flow.inside, flow.remote)))
}
