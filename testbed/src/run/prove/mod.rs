//! Proves that a NAT does what it declares: the harness's own behaviour probe.
//!
//! Each proof builds the NAT afresh on a bench of its own, sends hand-made packets from all sides, and reads what comes
//! out, what connection tracking says, and nothing else. It shares no code with any puncher. Which packets each axis is
//! measured with, and how likely a false alarm is, stands in `docs/nat-behaviour.md`.

mod bench;
mod bulk;
mod endings;
mod expiry;
mod filtering;
mod finding;
mod frame;
mod hash;
mod lifetimes;
mod mapping;
mod prober;

use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::{NatConfig, NatSite, render, render_own};
use crate::model::axis::NatAxis;
use crate::model::behavior::Behavior;
use crate::model::event::ProofResult;

use bench::Bench;
use finding::Finding;
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
    /// What it is.
    pub rules: Rules,
}

/// Where the rules of a subject come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// From this behaviour, which need not be the declared one.
    Generated(Behavior),
    /// From a user's own ruleset.
    Own(String),
}

impl Subject {
    /// A NAT whose rules come from its behaviour.
    #[must_use]
    pub fn generated(name: impl Into<String>, behavior: &Behavior) -> Self {
        Self { name: name.into(), declared: *behavior, rules: Rules::Generated(*behavior) }
    }

    /// Its rules and sysctls on the bench.
    #[must_use]
    pub fn config(&self) -> NatConfig {
        match &self.rules {
            Rules::Generated(behavior) => render(behavior, &site()),
            Rules::Own(text) => render_own(text, &self.declared, &site()),
        }
    }

    /// The same NAT with timers that can be waited for.
    fn scaled(&self) -> Self {
        let rules = match &self.rules {
            Rules::Generated(behavior) => Rules::Generated(expiry::scaled(behavior)),
            Rules::Own(text) => Rules::Own(text.clone()),
        };
        Self { name: self.name.clone(), declared: expiry::scaled(&self.declared), rules }
    }
}

/// The surroundings of every NAT while it is proved.
#[must_use]
pub fn site() -> NatSite {
    bench::site()
}

/// Builds the NAT and measures it. What could not be measured is the `error` of the result.
pub async fn prove(subject: Subject, depth: Depth) -> ProofResult {
    let started = Instant::now();
    let measured = match depth {
        Depth::Quick => on_bench(&subject, &QUICK).await,
        Depth::Full => futures::future::try_join3(
            on_bench(&subject, &QUICK),
            on_bench(&subject, &FULL),
            on_bench(&subject.scaled(), &WAITING),
        )
        .await
        .map(|(quick, full, waiting)| [quick, full, waiting].concat()),
    };
    let (findings, error) = match measured {
        Ok(findings) => (merge(findings), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let rows = findings.into_iter().map(Into::into).collect();
    ProofResult { nat: subject.name, rows, error, took: started.elapsed() }
}

/// Makes the measurements on a bench of their own.
async fn on_bench(subject: &Subject, measurements: &'static [Measurement]) -> Result<Vec<Finding>> {
    let (config, declared) = (subject.config(), subject.declared);
    in_thread(move || {
        let mut prober = Prober::new(Bench::build(&config)?);
        let mut findings = Vec::new();
        for measurement in measurements {
            findings.extend(measurement(&mut prober, &declared)?);
            // Each begins with a NAT that remembers nothing, so that none uses up what another needs.
            prober.bench.forget()?;
        }
        Ok(findings)
    })
    .await
}

/// Runs `work` in a thread that ends with it, because a bench ties its thread to one processor.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let runtime = Handle::current();
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("testbed-proof".to_owned()).spawn(move || {
        let _context = runtime.enter();
        // Nobody listens any more when the run was stopped.
        let _ = done.send(work());
    });
    thread.map_err(|e| Error::io("start a thread", "clone", &e))?;
    result.await.unwrap_or_else(|_| Err(Error::other("prove a NAT", "the probe panicked")))
}

/// One measurement: no, one or several rows.
type Measurement = fn(&mut Prober, &Behavior) -> Result<Vec<Finding>>;

/// What every run asks.
const QUICK: [Measurement; 14] = [
    |p, d| Ok(vec![mapping::translation(p, d)?]),
    |p, d| Ok(vec![mapping::mapping(p, d)?]),
    mapping::allocation,
    |p, d| Ok(vec![filtering::filtering(p, d)?]),
    |p, d| Ok(vec![filtering::unsolicited_syn(p, d)?]),
    |p, d| Ok(vec![filtering::syn_after_syn(p, d)?]),
    |p, d| Ok(vec![filtering::invalid_packets(p, d)?]),
    |p, d| Ok(filtering::hairpinning(p, d)?.into_iter().collect()),
    |p, d| Ok(filtering::overloading(p, d)?.into_iter().collect()),
    |p, d| Ok(filtering::strictness(p, d)?.into_iter().collect()),
    |p, d| Ok(lifetimes::timeouts(p, d)?.into_iter().collect()),
    |p, d| Ok(vec![endings::reset(p, d)?]),
    |p, d| Ok(vec![endings::icmp_error(p, d)?]),
    |p, d| Ok(bulk::quota(p, d)?.into_iter().collect()),
];

/// What takes many packets, or the time that the NAT takes.
const FULL: [Measurement; 2] = [bulk::bulk, expiry::late_answer];

/// What is asked of the NAT with its timers scaled down.
const WAITING: [Measurement; 1] = [expiry::timers];

/// One row for each subject: where two measurements speak of the same, the one that differs.
fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|other| other.subject == finding.subject) {
            Some(other) if other.agrees => *other = finding,
            Some(_) => {}
            None => merged.push(finding),
        }
    }
    let place = |finding: &Finding| NatAxis::ALL.iter().position(|axis| axis.name() == finding.subject);
    merged.sort_by_key(|finding| place(finding).unwrap_or(usize::MAX));
    merged
}
