//! Pins what the kernel's own NAT does: the behaviour that applications rely on and that differs between releases.
//!
//! Each check is named, says which packets it sends, and sees one word. What word is expected depends on the release: a
//! table of first releases, as a kernel's history is. Every check has a bench and a ruleset of its own; nothing of the
//! catalogue is used, so that a NAT profile that changes moves nothing here.

mod bridges;
mod entries;
mod numbers;
mod ports;
mod rules;
mod states;
mod strays;

use std::time::Instant;

use futures::{StreamExt as _, stream};

use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::NatConfig;
use crate::model::event::KernelCheck;
use crate::probe::prove::benches::on_bench;
use crate::probe::prove::lifetimes::{ProbeConnection, drive, way_to};
use crate::probe::prove::prober::Prober;

pub use strays::kernel_rules;

/// A release: major and minor number.
pub type Release = (u32, u32);

/// From the first release on that anybody measured.
const ALWAYS: Release = (0, 0);

/// What is seen, and why that is known.
#[derive(Debug, Clone, Default)]
struct Observed {
    /// One of a few words.
    word: String,
    /// The figures behind it.
    detail: String,
}

impl Observed {
    fn new(word: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { word: word.into(), detail: detail.into() }
    }
}

/// One thing that a kernel's NAT does.
#[derive(Debug, Clone, Copy)]
pub struct CheckSpec {
    /// What it is called.
    pub id: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// The packets that are sent.
    pub packets: &'static str,
    /// What kernels do, each from this release on; the oldest first. Several words where stable releases of one series differ.
    pub expected: &'static [(Release, &'static [&'static str])],
    rules: fn() -> NatConfig,
    measure: fn(&mut Prober) -> Result<Observed>,
}

/// Every check, in the order in which they are told.
pub fn checks() -> impl Iterator<Item = &'static CheckSpec> {
    ports::CHECKS
        .iter()
        .chain(numbers::CHECKS)
        .chain(states::CHECKS)
        .chain(strays::CHECKS)
        .chain(entries::CHECKS)
        .chain(bridges::CHECKS)
}

impl CheckSpec {
    /// What this release is expected to do, and since which.
    #[must_use]
    pub fn expected_of(&self, release: Release) -> (Release, &'static [&'static str]) {
        let known = self.expected.iter().rev().find(|(first, _)| *first <= release);
        known.or(self.expected.first()).copied().unwrap_or((ALWAYS, &[]))
    }
}

/// The release in what `uname -r` says: `6.18.44-cloud` is 6.18.
#[must_use]
pub fn release(text: &str) -> Release {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Makes the checks, several at a time, and tells of each in their order.
pub async fn run(
    wanted: Vec<&'static CheckSpec>,
    kernel: &str,
    at_once: usize,
    mut tell: impl FnMut(KernelCheck),
) {
    let release = release(kernel);
    let mut results =
        stream::iter(wanted.into_iter().map(|check| make(check, release))).buffered(at_once.max(1));
    while let Some(result) = results.next().await {
        tell(result);
    }
}

async fn make(check: &'static CheckSpec, release: Release) -> KernelCheck {
    let began = Instant::now();
    let (first, expected) = check.expected_of(release);
    let rules = (check.rules)();
    let measured = on_bench(&rules, move |prober| {
        prober.surely(check.measure, |sight| expected.contains(&sight.word.as_str()))
    });
    let (sight, error, unsupported) = match measured.await {
        Ok(sight) => (sight, None, None),
        // The rules are our own, so that what they name is there.
        Err(error) if error.may_be_unsupported() => (Observed::default(), None, Some(error.to_string())),
        Err(error) => (Observed::default(), Some(error.to_string()), None),
    };
    KernelCheck {
        id: check.id.to_owned(),
        asks: check.asks.to_owned(),
        packets: check.packets.to_owned(),
        since: (first > ALWAYS).then(|| format!("{}.{}", first.0, first.1)),
        expected: expected.iter().map(ToString::to_string).collect(),
        observed: sight.word,
        detail: sight.detail,
        error,
        unsupported,
        took: began.elapsed(),
    }
}

/// A fresh connection in the state of this timer.
fn connection_in(prober: &mut Prober, timer: &str) -> Result<ProbeConnection> {
    drive(prober, way_to(timer))?.ok_or_else(not_opened)
}

fn not_opened() -> Error {
    Error::other("open a connection", "its SYN did not leave the NAT")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn releases_are_read_from_whatever_is_behind_them() {
        for (text, expected) in [
            ("6.18.44-fc", (6, 18)),
            ("5.10.0-34-cloud-amd64", (5, 10)),
            ("6.19-rc3", (6, 19)),
            ("6.1+", (6, 1)),
            ("7.3", (7, 3)),
            ("x", (0, 0)),
        ] {
            assert_eq!(release(text), expected, "{text}");
        }
    }

    #[test]
    fn every_check_has_a_name_of_its_own_and_its_history_in_order() {
        let ids: BTreeSet<&str> = checks().map(|check| check.id).collect();
        assert_eq!(ids.len(), checks().count());
        for check in checks() {
            assert!(check.expected.is_sorted_by(|a, b| a.0 < b.0), "{}", check.id);
            assert_eq!(check.expected.first().map(|(first, _)| *first), Some(ALWAYS), "{}", check.id);
        }
    }

    #[test]
    fn a_release_is_held_to_what_was_last_before_it() {
        let check = checks().find(|check| check.id == "dnat-range").expect("it is there");
        assert_eq!(check.expected_of((5, 10)).1, ["random"]);
        assert_eq!(check.expected_of((6, 8)), ((6, 8), &["first"][..]));
        assert_eq!(check.expected_of((7, 3)), ((6, 8), &["first"][..]));
    }
}
