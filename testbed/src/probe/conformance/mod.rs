//! Measures how far a NAT does what the RFCs ask: RFC 5382, and what can be tested of RFC 7857 and RFC 6888.
//!
//! Each check is a named requirement with the packets that it sends. What a NAT should be found to do follows from its
//! declared behaviour, so that a surprise either way is seen. The words of a requirement are the RFC's own.

mod outbound;
mod rfc5382;
mod rfc6888;
mod rfc7857;

use std::fmt;
use std::time::{Duration, Instant};

use crate::kernel::error::Result;
use crate::model::behavior::{Behavior, Translation};
use crate::model::datapath::Datapath;
use crate::probe::prove::Subject;
use crate::probe::prove::benches::{LONG_WATCH, on_bench, while_it_stays};
use crate::probe::prove::datapath::{BY_NUMBER, BY_TRACKING};
use crate::probe::prove::places::PLACES;
use crate::probe::prove::prober::Prober;

/// How strongly an RFC asks for something (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequirementLevel {
    /// MUST or MUST NOT.
    Must,
    /// SHOULD, SHOULD NOT or RECOMMENDED.
    Should,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConformanceVerdict {
    /// The NAT does what is asked.
    Pass,
    /// It does something else.
    Fail,
    /// Nothing of the kind is asked of this NAT.
    NotApplicable,
}

/// What tells whether a requirement is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToldBy {
    /// Packets alone.
    Packets,
    /// Connection tracking, which says how long an entry has left.
    Tracking,
}

/// A requirement that can be tested.
#[derive(Debug, Clone, Copy)]
pub struct ConformanceCheck {
    /// RFC and requirement: `RFC 5382 REQ-4`.
    pub id: &'static str,
    /// How strongly it is asked for.
    pub level: RequirementLevel,
    /// What is asked, in the RFC's words.
    pub asks: &'static str,
    /// The packets that are sent.
    pub packets: &'static str,
    told_by: ToldBy,
    expect: fn(&Behavior) -> ConformanceVerdict,
    measure: fn(&mut Prober, &Behavior) -> Result<Observation>,
}

/// One check of one NAT.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The requirement.
    pub check: ConformanceCheck,
    /// What follows from the declared behaviour.
    pub expected: ConformanceVerdict,
    /// What was found.
    pub verdict: ConformanceVerdict,
    /// What was seen.
    pub observed: String,
}

/// All checks of one NAT.
#[derive(Debug, Clone)]
pub struct Conformance {
    /// Name of the NAT.
    pub nat: String,
    /// Its checks, in the order of the RFCs; empty if it could not be measured.
    pub checks: Vec<Checked>,
    /// Why nothing could be measured, if so.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Checked {
    /// Whether the NAT is found to do what its declaration says it does, pass or fail.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        self.expected == self.verdict
    }
}

impl fmt::Display for ConformanceVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotApplicable => "not applicable",
        })
    }
}

impl fmt::Display for RequirementLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        })
    }
}

/// What was seen, and what it means.
#[derive(Debug, Clone)]
struct Observation {
    verdict: ConformanceVerdict,
    seen: String,
}

impl Observation {
    fn new(verdict: ConformanceVerdict, seen: impl Into<String>) -> Self {
        Self { verdict, seen: seen.into() }
    }

    fn not_applicable(why: &str) -> Self {
        Self::new(ConformanceVerdict::NotApplicable, why)
    }
}

/// Pass if so, else fail.
fn pass_if(passes: bool) -> ConformanceVerdict {
    if passes { ConformanceVerdict::Pass } else { ConformanceVerdict::Fail }
}

/// Every check, in the order of the RFCs.
pub fn checks() -> impl Iterator<Item = &'static ConformanceCheck> {
    rfc5382::CHECKS.iter().chain([&outbound::CHECK]).chain(rfc7857::CHECKS).chain(rfc6888::CHECKS)
}

/// Measures a NAT against every requirement.
pub async fn conform(subject: Subject) -> Conformance {
    let _place = PLACES.take(subject.config.datapath).await;
    let began = Instant::now();
    let declared = subject.declared;
    if subject.config.datapath == Datapath::Sockets {
        let error = Some(format!("the checks know segments by their numbers, and {BY_NUMBER}"));
        return Conformance { nat: subject.name, checks: Vec::new(), error, took: began.elapsed() };
    }
    let measured = on_bench(&subject.config, move |prober| {
        checks().map(|check| measure(prober, &declared, check)).collect::<Result<Vec<_>>>()
    });
    let (checks, error) = match while_it_stays(&subject.config, LONG_WATCH, measured).await {
        Ok(checks) => (checks, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Conformance { nat: subject.name, checks, error, took: began.elapsed() }
}

fn measure(prober: &mut Prober, declared: &Behavior, check: &'static ConformanceCheck) -> Result<Checked> {
    let translates = declared.translation == Translation::Nat;
    let (expected, observation) =
        if check.told_by == ToldBy::Tracking && prober.bench.datapath() != Datapath::Conntrack {
            (ConformanceVerdict::NotApplicable, Observation::not_applicable(BY_TRACKING))
        } else if translates {
            prober.bench.forget()?;
            let expected = (check.expect)(declared);
            let measure = |prober: &mut Prober| (check.measure)(prober, declared);
            (expected, prober.surely(measure, |observation| observation.verdict == expected)?)
        } else {
            (ConformanceVerdict::NotApplicable, Observation::not_applicable("it translates nothing"))
        };
    Ok(Checked { check: *check, expected, verdict: observation.verdict, observed: observation.seen })
}
