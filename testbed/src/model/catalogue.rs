//! Named NATs, from `topologies/nats.toml`: text in, checked profiles or clear problems out.
//!
//! Reads no file itself: the caller passes the text. A profile's own ruleset file stays a path here, and is read
//! by the code that loads it.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::axis::NatAxis;
use crate::model::behavior::{Behavior, Translation};
use crate::model::datapath::Datapath;
use crate::model::problem::{Problems, nearest, suggestion};

/// The catalogue that comes with testbed.
const EMBEDDED: &str = include_str!("../../topologies/nats.toml");
/// What the embedded catalogue is called in messages.
const EMBEDDED_PATH: &str = "topologies/nats.toml";

/// All NATs that a run may use, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    path: String,
    profiles: BTreeMap<String, Profile>,
}

/// A named point in the space of behaviours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// One sentence for people: what it does and what it is good for.
    pub summary: String,
    /// Real equipment that behaves so; empty if none is known.
    pub equipment: String,
    /// Where that is written.
    pub source: String,
    /// What it is declared to do.
    pub behavior: Behavior,
    /// The axes of which its file says something; the others it inherits.
    pub written: BTreeSet<NatAxis>,
    /// Where its rules come from.
    pub ruleset: Ruleset,
    /// What carries its packets across.
    pub datapath: Datapath,
    /// What its ruleset file calls the devices and networks of a NAT.
    pub foreign: ForeignNames,
    /// The folder of its catalogue, which its files and programs are looked for in; empty for the current one.
    pub folder: PathBuf,
}

/// What rules that were made for another machine call its devices and networks, each with the device of a NAT that stands for it:
/// `wan`, `lan0` and so on, or `lans` for all of these. A network becomes that of the device, for `lans` the smallest one that holds
/// them all, and for `wan` the NAT's address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignNames {
    /// Devices by the name that the rules use.
    pub devices: BTreeMap<String, String>,
    /// Networks and addresses as the rules write them.
    pub networks: BTreeMap<String, String>,
}

/// Where the rules of a NAT come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruleset {
    /// From its behaviour, by `lab::nat_rules`.
    Generated,
    /// From an nftables file, relative to the catalogue.
    File(String),
    /// From a program that is run in the node, program first; a relative path counts from the catalogue.
    Command(Vec<String>),
}

impl Profile {
    /// A NAT of this name that behaves so, with generated rules.
    #[must_use]
    pub fn generated(name: impl Into<String>, behavior: Behavior) -> Self {
        Self {
            name: name.into(),
            summary: String::new(),
            equipment: String::new(),
            source: String::new(),
            behavior,
            written: BTreeSet::new(),
            ruleset: Ruleset::Generated,
            datapath: Datapath::Conntrack,
            foreign: ForeignNames::default(),
            folder: PathBuf::new(),
        }
    }
}

impl Profile {
    /// The NAT of the catalogue that has the values which this one leaves out.
    #[must_use]
    pub fn base(&self) -> &'static str {
        match self.behavior.translation {
            Translation::Nat => "port-preserving",
            Translation::Firewall => "firewall",
            Translation::Router => "none",
        }
    }
}

impl Catalogue {
    /// The catalogue that comes with testbed.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED, EMBEDDED_PATH).expect("the embedded catalogue is tested")
    }

    /// Reads a catalogue; `path` is what messages call it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line.
    pub fn parse(text: &str, path: &str) -> Result<Self, Problems> {
        Ok(Self { path: path.to_owned(), profiles: reader::profiles(text, path)? })
    }

    /// This catalogue with the profiles of `other` added, which win where names are the same.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.profiles.extend(other.profiles);
        self.path = other.path;
        self
    }

    /// The profile called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// All profiles, in the order of their names.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// What the catalogue is called in messages.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name that `typed` was probably meant to be.
    #[must_use]
    pub fn suggestion(&self, typed: &str) -> Option<&str> {
        nearest(typed, self.profiles.keys().map(String::as_str))
    }

    /// What to tell somebody who asked for a NAT that does not exist: a message and a line of help.
    #[must_use]
    pub fn unknown(&self, typed: &str) -> (String, String) {
        let names = self.profiles.keys().map(String::as_str);
        let help = suggestion(typed, names, "list them with: testbed nat list");
        (format!("unknown NAT \"{typed}\""), help)
    }
}

/// Whether a NAT may have a device of this name, or this stands for all of them downwards.
#[must_use]
pub fn is_nat_device(name: &str) -> bool {
    let number = name.strip_prefix("lan");
    name == "wan"
        || name == "lans"
        || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::behavior::{Allocation, Filtering, Mapping};

    fn refused(body: &str) -> String {
        let text = format!("[nat.x]\nsummary = \"a test\"\n{body}\n");
        Catalogue::parse(&text, "nats.toml").expect_err("a bad profile").to_string()
    }

    #[test]
    fn the_embedded_catalogue_has_the_classic_three() {
        let catalogue = Catalogue::embedded();
        let get = |name| &catalogue.get(name).expect("a classic NAT").behavior;
        assert_eq!(*get("port-preserving"), Behavior::port_preserving());
        assert_eq!(get("sequential").allocation, Allocation::Sequential { step: 1 });
        assert_eq!(get("random").mapping, Mapping::AddressAndPortDependent);
        for profile in catalogue.profiles() {
            assert!(!profile.summary.is_empty(), "{}", profile.name);
            assert_eq!(profile.equipment.is_empty(), profile.source.is_empty(), "{}", profile.name);
        }
    }

    #[test]
    fn a_small_profile_is_a_port_preserving_nat() {
        let text = "[nat.mine]\nsummary = \"mine\"\ntimeouts = { established = \"2h 4m\" }\n";
        let catalogue = Catalogue::parse(text, "nats.toml").expect("a good profile");
        let mine = catalogue.get("mine").expect("it is there");
        assert_eq!(mine.behavior.filtering, Filtering::AddressAndPortDependent);
        assert_eq!(mine.behavior.timeouts.established, Some(Duration::from_secs(7440)));
        assert_eq!(mine.ruleset, Ruleset::Generated);
    }

    #[test]
    fn what_is_left_out_is_as_in_the_profile_that_is_named_as_its_base() {
        for (translation, base) in [("nat", "port-preserving"), ("firewall", "firewall"), ("router", "none")]
        {
            let text = format!("[nat.mine]\nsummary = \"mine\"\ntranslation = \"{translation}\"\n");
            let own = Catalogue::parse(&text, "nats.toml").expect("a good profile");
            let mine = own.get("mine").expect("it is there");
            assert_eq!(mine.base(), base);
            assert_eq!(
                Some(&mine.behavior),
                Catalogue::embedded().get(base).map(|profile| &profile.behavior)
            );
        }
    }

    #[test]
    fn problems_name_their_line_and_the_way_out() {
        let cases = [
            ("maping = \"x\"", 3, "unknown key \"maping\"\n  help: did you mean \"mapping\"? known are: "),
            (
                "mapping = \"endpoint-independant\"",
                3,
                "unknown mapping \"endpoint-independant\"\n  help: did you mean \"endpoint-independent\"? known",
            ),
            (
                "filtering = \"address-dependent\"",
                1,
                "NAT \"x\": filtering address-dependent with overloading on cannot be: when two inside",
            ),
            ("allocation = \"random\"\nstep = 2", 4, "a step means nothing to allocation random"),
            (
                "allocation = \"random\"\ncollision = \"sequential\"",
                4,
                "a collision means nothing to allocation random",
            ),
            (
                "ports = \"20000-20999\"\ncollision = \"sequential\"",
                4,
                "NAT \"x\": collision sequential with overloading on cannot be: the counter skips",
            ),
            (
                "collision = \"counted\"",
                3,
                "unknown collision \"counted\"\n  help: known are: random, sequential",
            ),
            (
                "block-size = 64",
                3,
                "NAT \"x\": block-size 64 with ports kernel cannot be: blocks are cut from one range\n  help: give one range",
            ),
            ("[nat.x.timeouts]\nclose = \"ten\"", 4, "\"ten\" is not a duration such as"),
            ("timeouts = { absolute = \"0s\" }", 3, "\"0s\" must be longer than nothing"),
            ("timeouts = { absolute = \"40days\" }", 3, "\"40days\" is too long: at most 23 days 3h 33m 20s"),
            (
                "timeouts = { absolute = \"1500ms\" }",
                3,
                "NAT \"x\": timeouts absolute 1.5 s cannot be: testbed times absolute and flush-every in whole seconds, from 1 to 2,000,000",
            ),
            (
                "translation = \"router\"\ntimeouts = { absolute = \"60s\" }",
                4,
                "NAT \"x\": timeouts absolute 60 s with translation router cannot be: a router keeps no state",
            ),
            (
                "ruleset-file = \"x\"\ntimeouts = { absolute = \"60s\" }",
                4,
                "an absolute timeout of a NAT that your own rules or program make: testbed ends connections of its own",
            ),
            (
                "command = [\"x\"]\ndatapath = \"packets\"\ntimeouts = { close = \"9s\", absolute = \"60s\" }",
                5,
                "an absolute timeout of a NAT that your own rules or program make: testbed ends connections of its own",
            ),
            ("timeouts = { flush-every = \"0s\" }", 3, "\"0s\" must be longer than nothing"),
            (
                "timeouts = { flush-every = \"40days\" }",
                3,
                "\"40days\" is too long: at most 23 days 3h 33m 20s",
            ),
            (
                "[nat.x.timeouts]\nabsolute = \"60s\"\nflush-every = \"1500ms\"",
                5,
                "NAT \"x\": timeouts absolute 60 s, flush-every 1.5 s cannot be: testbed times absolute and flush-every in whole seconds",
            ),
            (
                "[nat.x.timeouts]\nabsolute = \"60s\"\nclose = \"1500ms\"",
                5,
                "NAT \"x\": timeouts close 1.5 s, absolute 60 s cannot be: the kernel counts timeouts in whole seconds",
            ),
            (
                "translation = \"router\"\ntimeouts = { close = \"9s\" }",
                4,
                "NAT \"x\": timeouts close 9 s with translation router cannot be: a router keeps no state",
            ),
            (
                "translation = \"router\"\ntimeouts = { flush-every = \"60s\" }",
                4,
                "NAT \"x\": timeouts flush-every 60 s with translation router cannot be: a router keeps no state",
            ),
            (
                "ruleset-file = \"x\"\ntimeouts = { flush-every = \"60s\" }",
                4,
                "\"flush-every\" of a NAT that your own rules or program make: testbed has its own NATs alone forget everything",
            ),
            (
                "command = [\"x\"]\ndatapath = \"sockets\"\ntimeouts = { close = \"9s\", flush-every = \"60s\" }",
                5,
                "\"flush-every\" of a NAT that your own rules or program make: testbed has its own NATs alone forget everything",
            ),
            ("quota = 0", 1, "NAT \"x\": quota 0 cannot be: "),
            ("ruleset-file = \"\"", 3, "ruleset-file names no file"),
            ("command = [\"x\\u0000\"]", 3, "an argument of the command has a NUL character"),
            ("devices = { docker0 = \"lan0\" }", 3, "devices and networks are those of a ruleset file"),
            (
                "ruleset-file = \"x\"\ndevices = { docker0 = \"eth0\" }",
                4,
                "a NAT has no device \"eth0\"\n  help: its devices are wan, lan0",
            ),
            ("command = []", 3, "a command has at least a program"),
            ("datapath = \"packet\"", 3, "unknown datapath \"packet\"\n  help: did you mean \"packets\"?"),
            ("datapath = \"sockets\"", 3, "datapath sockets without a ruleset file or a command: generated"),
        ];
        for (body, line, expected) in cases {
            let text = refused(body);
            assert!(text.starts_with(&format!("nats.toml:{line}: {expected}")), "{body}: {text}");
        }
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion() {
        let (what, help) = Catalogue::embedded().unknown("port-preservin");
        assert_eq!(what, "unknown NAT \"port-preservin\"");
        assert_eq!(help, "did you mean \"port-preserving\"? list them with: testbed nat list");
    }
}
