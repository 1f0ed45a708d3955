//! What a measurement says a NAT does, and the text of the profile that says the same: a file that the catalogue reads.
//!
//! Each axis carries how it is known. What could not be told, and what no profile can say, is written beside it as a
//! comment, so that nothing that was only assumed looks like something that was seen.

use std::fmt::Write as _;

use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Collision, ExternalAddresses, Pool, Translation};
use crate::model::catalogue::{ForeignNames, Ruleset};
use crate::model::datapath::Datapath;
use crate::model::port_set::{MapShare, PortSet};

/// A measured NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What its profile is called: lower-case letters, digits and dashes.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// With what it was measured, and on what.
    pub source: String,
    /// Where its rules come from.
    pub ruleset: Ruleset,
    /// What carries its packets across.
    pub datapath: Datapath,
    /// What they call the devices and networks of a NAT.
    pub foreign: ForeignNames,
    /// What it does: as measured, or nearest to it; defaults where nothing could be told.
    pub behavior: Behavior,
    /// How each axis is known; those that mean nothing to its kind of translation are left out.
    pub axes: Vec<DescribedAxis>,
}

/// An axis of a measured NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedAxis {
    /// Which.
    pub axis: NatAxis,
    /// How its value is known.
    pub known: Known,
}

/// How the value of an axis is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It was measured; `by` says with what, and how sure that is.
    Measured {
        /// Such as "24,000 mappings".
        by: String,
    },
    /// It was measured, and no value says it; the behaviour has the nearest.
    Undeclarable {
        /// What was seen.
        seen: String,
    },
    /// It could not be told; the behaviour has the default.
    Untold {
        /// Why.
        why: String,
    },
}

impl Description {
    /// Whether every axis was told, and can be declared.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.axes.iter().all(|axis| matches!(axis.known, Known::Measured { .. }))
    }

    /// The axes that were not told, or cannot be declared, each with a sentence.
    #[must_use]
    pub fn gaps(&self) -> Vec<(NatAxis, &str)> {
        let gaps = self.axes.iter().filter_map(|described| match &described.known {
            Known::Measured { .. } => None,
            Known::Undeclarable { seen: text } | Known::Untold { why: text } => {
                Some((described.axis, text.as_str()))
            }
        });
        gaps.collect()
    }

    /// The profile as TOML, with a comment above each key.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("[nat.{}]\n", self.name);
        for (key, value) in [("summary", &self.summary), ("source", &self.source)] {
            line(&mut text, key, &quoted(value));
        }
        match &self.ruleset {
            Ruleset::Generated => {}
            Ruleset::File(file) => line(&mut text, "ruleset-file", &quoted(file)),
            Ruleset::Command(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                line(&mut text, "command", &format!("[{}]", words.join(", ")));
            }
        }
        if self.datapath != Datapath::default() {
            line(&mut text, "datapath", &quoted(self.datapath.name()));
        }
        for (key, names) in [("devices", &self.foreign.devices), ("networks", &self.foreign.networks)] {
            if !names.is_empty() {
                let pairs = names.iter().map(|(name, ours)| format!("{} = {}", quoted(name), quoted(ours)));
                line(&mut text, key, &format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", ")));
            }
        }
        // A table ends the keys before it, so that timers come last.
        let last = |described: &&DescribedAxis| described.axis == NatAxis::Timeouts;
        let (timers, others): (Vec<_>, Vec<_>) = self.axes.iter().partition(last);
        for described in others.into_iter().chain(timers) {
            self.axis(&mut text, described);
        }
        text
    }

    /// The comment and the keys of one axis.
    fn axis(&self, text: &mut String, described: &DescribedAxis) {
        let axis = described.axis;
        let comment = match &described.known {
            Known::Measured { by } if self.has_keys(axis) => format!("{axis}: {by}"),
            Known::Measured { by } => format!("{axis}: {by}; that is the default and needs no key"),
            Known::Undeclarable { seen } => {
                format!("{axis}: {seen}; no value says so, this one is the nearest")
            }
            Known::Untold { why } => format!("{axis}: could not be told: {why}"),
        };
        for part in comment.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# {}", part.trim_end());
        }
        if matches!(described.known, Known::Untold { .. }) {
            return;
        }
        if axis == NatAxis::Timeouts {
            let _ = write!(text, "{}", self.timers());
            return;
        }
        for (key, value) in self.behavior.keys(axis) {
            line(text, key, &value);
        }
    }

    /// Whether a profile names the axis, rather than leave it at its default.
    fn has_keys(&self, axis: NatAxis) -> bool {
        !self.behavior.keys(axis).is_empty() || axis == NatAxis::Timeouts && !self.timers().is_empty()
    }

    /// The timers that are not the kernel's own, as a table; nothing if there are none.
    fn timers(&self) -> String {
        let timers = self.behavior.timeouts.timers().into_iter();
        let set: Vec<(String, u64)> = timers
            .filter_map(|(name, value, default)| {
                let value = value.filter(|value| *value != default)?;
                Some((name.replace('_', "-"), value.as_secs()))
            })
            .chain(self.behavior.timeouts.absolute.map(|value| ("absolute".to_owned(), value.as_secs())))
            .chain(
                self.behavior.timeouts.flush_every.map(|value| ("flush-every".to_owned(), value.as_secs())),
            )
            .collect();
        if set.is_empty() {
            return String::new();
        }
        let mut text = format!("[nat.{}.timeouts]\n", self.name);
        for (name, seconds) in set {
            line(&mut text, &name, &quoted(&format!("{seconds}s")));
        }
        text
    }
}

impl Behavior {
    /// The keys of the catalogue that set an axis to its value here, as TOML; none for timers, which are a table, and none
    /// for what a profile says by leaving a key out.
    #[must_use]
    pub fn keys(&self, axis: NatAxis) -> Vec<(&'static str, String)> {
        let word = |key| vec![(key, quoted(&self.value(axis)))];
        match axis {
            NatAxis::Translation => word("translation"),
            NatAxis::Mapping => word("mapping"),
            NatAxis::Allocation => match self.allocation {
                Allocation::Preserving => vec![("allocation", quoted("preserving"))],
                Allocation::Random => vec![("allocation", quoted("random"))],
                Allocation::Sequential { step } => {
                    vec![("allocation", quoted("sequential")), ("step", step.to_string())]
                }
                Allocation::Hash { seed } => {
                    vec![("allocation", quoted("hash")), ("seed", seed.to_string())]
                }
            },
            NatAxis::Collision => match self.collision {
                Collision::Random => Vec::new(),
                Collision::Sequential => word("collision"),
            },
            NatAxis::Pool => match self.pool {
                Pool::Kernel => vec![("ports", quoted("kernel"))],
                Pool::Range(range) => vec![("ports", quoted(&range.to_string()))],
                Pool::Ranges(ports) => vec![("ports", ranges(ports))],
                Pool::Blocks { range, size } => {
                    vec![("ports", quoted(&range.to_string())), ("block-size", size.to_string())]
                }
            },
            NatAxis::Addresses => match self.addresses {
                ExternalAddresses { count: 1, .. } => Vec::new(),
                ExternalAddresses { count, pooling } => {
                    vec![("addresses", count.to_string()), ("pooling", quoted(pooling.name()))]
                }
            },
            NatAxis::Filtering => word("filtering"),
            NatAxis::UnsolicitedSyn => word("unsolicited-syn"),
            NatAxis::SynAfterSyn => word("syn-after-syn"),
            NatAxis::InvalidPackets => word("invalid-packets"),
            NatAxis::Hairpinning => word("hairpinning"),
            NatAxis::Overloading => word("overloading"),
            NatAxis::Strictness => word("strictness"),
            NatAxis::Timeouts => Vec::new(),
            NatAxis::Quota => self.quota.map(|quota| ("quota", quota.to_string())).into_iter().collect(),
        }
    }
}

/// The axes that mean something to a kind of translation.
#[must_use]
pub fn axes_of(translation: Translation) -> Vec<NatAxis> {
    let of_ports = [
        NatAxis::Mapping,
        NatAxis::Allocation,
        NatAxis::Collision,
        NatAxis::Pool,
        NatAxis::Addresses,
        NatAxis::Hairpinning,
        NatAxis::Overloading,
    ];
    let all = NatAxis::ALL.iter().copied();
    match translation {
        Translation::Nat => all.collect(),
        Translation::Firewall => all.filter(|axis| !of_ports.contains(axis)).collect(),
        Translation::Router => vec![NatAxis::Translation],
    }
}

/// The name of a profile that is made of any text.
#[must_use]
pub fn profile_name(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(kept).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "measured".to_owned() } else { parts.join("-") }
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{key} = {value}");
}

/// Ranges of ports as TOML: the numbers of a share of MAP, or a list.
fn ranges(ports: PortSet) -> String {
    match MapShare::of(ports) {
        Some(MapShare { psid, length, offset }) => {
            format!("{{ psid = {psid}, length = {length}, offset = {offset} }}")
        }
        None => {
            let ranges: Vec<String> = ports.ranges().iter().map(|range| quoted(&range.to_string())).collect();
            format!("[{}]", ranges.join(", "))
        }
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Catalogue;

    fn described(name: &str, behavior: Behavior, ruleset: Ruleset) -> Description {
        let known = Known::Measured { by: "a test".to_owned() };
        let axes = axes_of(behavior.translation).into_iter();
        let axes = axes.map(|axis| DescribedAxis { axis, known: known.clone() }).collect();
        let (summary, source) = ("one \"sentence\"".to_owned(), "a test".to_owned());
        let foreign = match &ruleset {
            Ruleset::File(_) => ForeignNames {
                devices: [("docker0".to_owned(), "lan0".to_owned())].into(),
                networks: [("172.17.0.0/16".to_owned(), "lan0".to_owned())].into(),
            },
            Ruleset::Generated | Ruleset::Command(_) => ForeignNames::default(),
        };
        let datapath = match &ruleset {
            Ruleset::Command(_) => Datapath::Packets,
            Ruleset::Generated | Ruleset::File(_) => Datapath::Conntrack,
        };
        Description { name: name.to_owned(), summary, source, ruleset, datapath, foreign, behavior, axes }
    }

    #[test]
    fn the_catalogue_reads_back_what_is_written_of_each_of_its_profiles() {
        for profile in Catalogue::embedded().profiles() {
            let text = described(&profile.name, profile.behavior, Ruleset::Generated).text();
            let read = Catalogue::parse(&text, "measured.toml").unwrap_or_else(|why| panic!("{why}\n{text}"));
            let read = read.get(&profile.name).expect("the same name");
            for axis in NatAxis::ALL.iter().copied() {
                assert_eq!(profile.behavior.value(axis), read.behavior.value(axis), "{text}");
            }
        }
    }

    #[test]
    fn files_and_programs_are_named() {
        let command = Ruleset::Command(vec!["./nat.sh".to_owned(), "a b".to_owned()]);
        for ruleset in [Ruleset::File("rules.nft".to_owned()), command] {
            let described = described("mine", Behavior::port_preserving(), ruleset);
            let read = Catalogue::parse(&described.text(), "measured.toml").expect("a good profile");
            let read = read.get("mine").expect("it is there");
            assert_eq!((&read.ruleset, &read.foreign), (&described.ruleset, &described.foreign));
            assert_eq!(read.datapath, described.datapath);
        }
    }

    #[test]
    fn what_was_not_told_is_a_comment_and_no_key() {
        let mut described = described("mine", Behavior::port_preserving(), Ruleset::Generated);
        described.axes[1].known = Known::Untold { why: "nothing gets out".to_owned() };
        described.axes[2].known = Known::Undeclarable { seen: "odd ports only".to_owned() };
        let text = described.text();
        assert!(text.contains(
            "# mapping: could not be told: nothing gets out\n# allocation: odd ports only; no value"
        ));
        assert!(!text.contains("\nmapping ="), "{text}");
        assert_eq!(described.gaps().len(), 2);
        assert!(!described.is_complete());
    }

    #[test]
    fn any_text_makes_a_name() {
        assert_eq!(profile_name("My Router (v2).nft"), "my-router-v2-nft");
        assert_eq!(profile_name("..."), "measured");
    }
}
