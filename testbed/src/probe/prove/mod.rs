//! Proves that a NAT does what it declares: the harness's own behaviour probe.
//!
//! Each proof builds the NAT afresh on a bench of its own, sends hand-made packets from all sides, and reads what comes
//! out, what connection tracking says, and nothing else. It shares no code with any puncher. Which packets each axis is
//! measured with, and how likely a false alarm is, stands in `docs/nat-behaviour.md`.

pub(in crate::probe) mod absolute;
pub(in crate::probe) mod address_draws;
pub(in crate::probe) mod addresses;
pub(in crate::probe) mod bench;
pub(in crate::probe) mod benches;
pub(in crate::probe) mod bulk;
pub(in crate::probe) mod collision;
mod consistent;
pub(in crate::probe) mod datapath;
pub(in crate::probe) mod distribution;
pub(in crate::probe) mod draws;
mod endings;
pub(in crate::probe) mod expiry;
pub(in crate::probe) mod filtering;
pub(in crate::probe) mod finding;
mod flushes;
pub(in crate::probe) mod frame;
pub(in crate::probe) mod hash;
pub(in crate::probe) mod lifetimes;
mod loss;
pub(in crate::probe) mod low_ports;
pub(in crate::probe) mod mapping;
pub(in crate::probe) mod places;
pub(in crate::probe) mod prober;
pub(in crate::probe) mod reading;
pub(in crate::probe) mod room;
mod udp;

use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::kernel::ruleset::RulesSource;
use crate::lab::nat_rules::{NatConfig, NatSite, render};
use crate::lab::nat_source;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Behavior, Timeouts};
use crate::model::catalogue::Profile;
use crate::model::datapath::Datapath;
use crate::model::event::ProofResult;

pub use consistent::{Inconsistency, consistent};
pub use datapath::DATAPATH;

use benches::{LONG_WATCH, SHORT_WATCH, on_bench, while_it_stays};
use finding::Finding;
use places::PLACES;
use prober::Prober;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything that needs neither many packets nor waiting: what every run asks of each of its NATs.
    Quick,
    /// Everything.
    Full,
}

/// A NAT to be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is called in the result.
    pub name: String,
    /// What it is declared to do.
    pub declared: Behavior,
    /// What it is, at [`site`].
    pub config: NatConfig,
}

impl Subject {
    /// A NAT whose rules come from its behaviour.
    #[must_use]
    pub fn generated(name: impl Into<String>, behavior: &Behavior) -> Self {
        Self { name: name.into(), declared: *behavior, config: render(behavior, &site()) }
    }

    /// A NAT of the catalogue, wherever its rules come from.
    ///
    /// # Errors
    /// When the user's ruleset file cannot be read.
    pub fn of(profile: &Profile) -> Result<Self> {
        let config = nat_source::config(profile, &site())?;
        Ok(Self { name: profile.name.clone(), declared: profile.behavior, config })
    }

    /// The same NAT with an absolute timeout, and times from one flush to the next, that can be waited for, if it has such.
    fn cut_short(&self) -> Self {
        let cut = |time: Option<Duration>| time.map(|_| absolute::TIMEOUT);
        let (mut declared, mut config) = (self.declared, self.config.clone());
        let Timeouts { absolute, flush_every, .. } = &mut declared.timeouts;
        for time in [absolute, flush_every, &mut config.absolute, &mut config.flush_every] {
            *time = cut(*time);
        }
        Self { name: self.name.clone(), declared, config }
    }

    /// The same NAT with timers that can be waited for. Where a user made the rules, only the sysctls can be scaled.
    fn scaled(&self) -> Self {
        let declared = expiry::scaled(&self.declared);
        let mut config = render(&declared, &site());
        if self.config != render(&self.declared, &site()) {
            config = NatConfig { sysctls: config.sysctls, ..self.config.clone() };
        }
        Self { name: self.name.clone(), declared, config }
    }
}

/// The surroundings of every NAT while it is proved.
#[must_use]
pub fn site() -> NatSite {
    bench::site()
}

/// Builds the NAT and measures it. What could not be measured is the `error` of the result.
pub async fn prove(subject: Subject, depth: Depth) -> ProofResult {
    let config = &subject.config;
    let _place = PLACES.take(config.datapath).await;
    let started = Instant::now();
    let measured = match depth {
        Depth::Quick => while_it_stays(config, SHORT_WATCH, measured(&subject, all_quick(&subject))).await,
        Depth::Full => while_it_stays(config, LONG_WATCH, full(&subject)).await,
    };
    let mut result = ProofResult { nat: subject.name.clone(), ..ProofResult::default() };
    match measured {
        Ok(findings) => result.rows = merge(findings).into_iter().map(Into::into).collect(),
        Err(error) if is_unsupported(&subject, &error) => result.unsupported = Some(error.to_string()),
        Err(error) => result.error = Some(error.to_string()),
    }
    ProofResult { took: started.elapsed(), ..result }
}

/// Whether the machine is to blame: our own rules are right, so that the kernel has no code for them. A user's may name
/// what is not there.
fn is_unsupported(subject: &Subject, error: &Error) -> bool {
    error.may_be_unsupported() && subject.config == render(&subject.declared, &site())
}

/// Makes all measurements. Those that take the NAT's own time come last, side by side, and are left out if the NAT is
/// known by then not to be what it declares.
async fn full(subject: &Subject) -> Result<Vec<Finding>> {
    let (quick, many) = futures::future::try_join(
        measured(subject, all_quick(subject)),
        measured(subject, all_many(subject)),
    )
    .await?;
    let mut findings = [quick, many].concat();
    if findings.iter().all(|finding| finding.agrees) {
        let scaled = subject.scaled();
        let (whose, timers): (&Subject, &[Measurement]) = match subject.config.datapath {
            Datapath::Conntrack => (&scaled, timers_of(subject.config.source)),
            // A program's timers cannot be scaled.
            Datapath::Packets => (subject, &OWN_TIMERS),
            Datapath::Sockets => (subject, &[]),
        };
        let late = measured(subject, LATE.to_vec());
        let timers = measured(whose, timers.to_vec());
        let (late, timers, absolute) = futures::future::try_join3(late, timers, busy(subject)).await?;
        findings.extend(late.into_iter().chain(timers).chain(absolute));
    }
    Ok(findings)
}

/// Whether busy connections end as declared, by their age or because all are forgotten. What testbed made itself ends no others.
async fn busy(subject: &Subject) -> Result<Vec<Finding>> {
    let NatConfig { absolute, flush_every, source, .. } = subject.config;
    if source == RulesSource::User {
        return measured(subject, vec![absolute::none]).await;
    }
    let short = subject.cut_short();
    // Each on a bench of its own, on which the other is put off.
    let ask = async |is_there: bool, measurement: Measurement| match is_there {
        true => measured(&short, vec![measurement]).await,
        false => Ok(Vec::new()),
    };
    let absolute = ask(absolute.is_some(), absolute::absolute);
    let flushes = ask(flush_every.is_some(), flushes::flushes);
    let (absolute, flushes) = futures::future::try_join(absolute, flushes).await?;
    Ok([absolute, flushes].concat())
}

/// Makes the measurements on a bench of their own.
async fn measured(subject: &Subject, measurements: Vec<Measurement>) -> Result<Vec<Finding>> {
    let declared = subject.declared;
    on_bench(&subject.config, move |prober| {
        let mut findings = Vec::new();
        for measurement in measurements {
            let agree = |found: &Vec<Finding>| found.iter().all(|finding| finding.agrees);
            findings.extend(prober.surely(|prober| measurement(prober, &declared), agree)?);
            // Each begins with a NAT that remembers nothing, so that none uses up what another needs.
            prober.bench.forget()?;
        }
        Ok(findings)
    })
    .await
}

/// One measurement: no, one or several rows.
type Measurement = fn(&mut Prober, &Behavior) -> Result<Vec<Finding>>;

/// What every run asks about an axis.
const fn quick(axis: NatAxis) -> Measurement {
    match axis {
        NatAxis::Translation => |p, d| Ok(vec![mapping::translation(p, d)?]),
        NatAxis::Mapping => |p, d| Ok(vec![mapping::mapping(p, d)?]),
        NatAxis::Allocation => mapping::allocation,
        NatAxis::Collision => collision::collision,
        // The ends of the pool are measured together with the allocation; here, how it is drawn from.
        NatAxis::Pool => draws::few,
        NatAxis::Addresses => all_of_addresses,
        NatAxis::Filtering => |p, d| Ok(vec![filtering::filtering(p, d)?]),
        NatAxis::UnsolicitedSyn => |p, d| Ok(vec![filtering::unsolicited_syn(p, d)?]),
        NatAxis::SynAfterSyn => |p, d| Ok(vec![filtering::syn_after_syn(p, d)?]),
        NatAxis::InvalidPackets => |p, d| Ok(vec![filtering::invalid_packets(p, d)?]),
        NatAxis::Hairpinning => |p, d| Ok(filtering::hairpinning(p, d)?.into_iter().collect()),
        NatAxis::Overloading => |p, d| Ok(filtering::overloading(p, d)?.into_iter().collect()),
        NatAxis::Strictness => |p, d| Ok(filtering::strictness(p, d)?.into_iter().collect()),
        NatAxis::Timeouts => |p, d| Ok(lifetimes::timeouts(p, d)?.into_iter().collect()),
        NatAxis::Quota => |p, d| Ok(bulk::quota(p, d)?.into_iter().collect()),
    }
}

/// How many addresses there are, and whether they are drawn as declared.
fn all_of_addresses(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = addresses::addresses(prober, declared)?.into_iter().collect();
    if findings.iter().all(|finding| finding.agrees) {
        findings.extend(address_draws::address_draws(prober, declared)?);
    }
    Ok(findings)
}

/// What ends a mapping, which every run asks about as well.
const ENDINGS: [Measurement; 2] = [endings::reset, endings::icmp_error];

/// What every run asks.
fn all_quick(subject: &Subject) -> Vec<Measurement> {
    let udp: Measurement = match subject.config.source {
        RulesSource::Testbed => udp::like_tcp,
        RulesSource::User => {
            |_, _| Ok(vec![Finding::not_looked_at("udp", "your own rules may be about TCP alone")])
        }
    };
    let all = NatAxis::ALL.iter().map(|axis| quick(*axis)).chain(ENDINGS).chain([udp]);
    let by_user = subject.config.source == RulesSource::User;
    let datapath: Option<Measurement> = by_user.then_some(|p, _| Ok(vec![datapath::datapath(p)?]));
    datapath.into_iter().chain(all).chain(loss_of(subject)).collect()
}

/// Whether SYNs of all that was measured before vanished, of a user's NAT. What a program carries may come later than is waited for,
/// and is not lost.
fn loss_of(subject: &Subject) -> Option<Measurement> {
    let tells = subject.config.source == RulesSource::User && subject.config.datapath == Datapath::Conntrack;
    tells.then_some(|p, d| Ok(loss::loss(p.losses, d).into_iter().collect()))
}

/// What takes many packets, and how many of them vanished.
fn all_many(subject: &Subject) -> Vec<Measurement> {
    MANY.into_iter().chain(loss_of(subject)).collect()
}

/// What takes many packets.
const MANY: [Measurement; 2] = [bulk::bulk, draws::many];

/// What takes more than six seconds.
const LATE: [Measurement; 1] = [expiry::late_answer];

/// What is asked of a NAT that keeps records of its own: its timers are what they are.
const OWN_TIMERS: [Measurement; 1] = [expiry::own_timers];

/// What is asked of the NAT with its timers scaled down.
const fn timers_of(source: RulesSource) -> &'static [Measurement] {
    match source {
        RulesSource::Testbed => &[expiry::timers],
        RulesSource::User => &[expiry::timers_of_user],
    }
}

/// One row for each subject: where two measurements speak of the same, the one that differs.
fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|other| other.subject == finding.subject) {
            // What was looked at says more than what was not.
            Some(other) if !finding.looked_at && other.looked_at => {}
            Some(other) if other.agrees => *other = finding,
            Some(_) => {}
            None => merged.push(finding),
        }
    }
    let place = |finding: &Finding| NatAxis::ALL.iter().position(|axis| axis.name() == finding.subject);
    merged.sort_by_key(|finding| place(finding).unwrap_or(usize::MAX));
    merged
}
