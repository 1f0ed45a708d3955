//! Named NATs, from `topologies/nats.toml`: text in, checked profiles or clear problems out.
//!
//! Reads no file itself: the caller passes the text. A profile's own ruleset file stays a path here, and is read
//! by the code that loads it.

mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Timeouts, Translation};
use crate::model::datapath::Datapath;
use crate::model::problem::{Checker, Problems, nearest, suggestion};
use crate::model::quantity;
use crate::model::words::UnknownWord;

use ports::RawPorts;

/// The catalogue that comes with testbed.
const EMBEDDED: &str = include_str!("../../topologies/nats.toml");
/// What the embedded catalogue is called in messages.
const EMBEDDED_PATH: &str = "topologies/nats.toml";
/// The seed of a hash unless told otherwise.
const DEFAULT_SEED: u32 = 0x5eed;

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
        let folder = Path::new(path).parent().unwrap_or(Path::new("")).to_owned();
        let mut reader = Reader { checker: Checker::new(path, text), folder, nat: String::new() };
        let file: RawFile = reader.checker.read()?;
        let mut profiles = BTreeMap::new();
        for (name, raw) in &file.nat {
            if let Some(profile) = reader.profile(name, raw) {
                profiles.insert(name.get_ref().clone(), profile);
            }
        }
        reader.checker.finish(Some(Self { path: path.to_owned(), profiles }))
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

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    nat: BTreeMap<Spanned<String>, Spanned<RawProfile>>,
}

/// A profile as it is written: every word still a word, so that each problem has its line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawProfile {
    summary: String,
    #[serde(default)]
    equipment: String,
    #[serde(default)]
    source: String,
    translation: Option<Spanned<String>>,
    mapping: Option<Spanned<String>>,
    allocation: Option<Spanned<String>>,
    step: Option<Spanned<i16>>,
    seed: Option<Spanned<u32>>,
    ports: Option<Spanned<RawPorts>>,
    block_size: Option<Spanned<u16>>,
    filtering: Option<Spanned<String>>,
    unsolicited_syn: Option<Spanned<String>>,
    syn_after_syn: Option<Spanned<String>>,
    invalid_packets: Option<Spanned<String>>,
    hairpinning: Option<Spanned<String>>,
    overloading: Option<Spanned<String>>,
    strictness: Option<Spanned<String>>,
    timeouts: Option<RawTimeouts>,
    quota: Option<u32>,
    ruleset_file: Option<Spanned<String>>,
    command: Option<Spanned<Vec<String>>>,
    datapath: Option<Spanned<String>>,
    #[serde(default)]
    devices: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    networks: BTreeMap<String, Spanned<String>>,
}

impl RawProfile {
    /// The axes of which it says something.
    fn axes(&self) -> BTreeSet<NatAxis> {
        let is_written = |axis: &NatAxis| match axis {
            NatAxis::Translation => self.translation.is_some(),
            NatAxis::Mapping => self.mapping.is_some(),
            NatAxis::Allocation => self.allocation.is_some(),
            NatAxis::Pool => self.ports.is_some(),
            NatAxis::Filtering => self.filtering.is_some(),
            NatAxis::UnsolicitedSyn => self.unsolicited_syn.is_some(),
            NatAxis::SynAfterSyn => self.syn_after_syn.is_some(),
            NatAxis::InvalidPackets => self.invalid_packets.is_some(),
            NatAxis::Hairpinning => self.hairpinning.is_some(),
            NatAxis::Overloading => self.overloading.is_some(),
            NatAxis::Strictness => self.strictness.is_some(),
            NatAxis::Timeouts => self.timeouts.is_some(),
            NatAxis::Quota => self.quota.is_some(),
        };
        NatAxis::ALL.iter().copied().filter(is_written).collect()
    }
}

/// Timeouts as they are written: `"7440s"`, `"2h 4m"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawTimeouts {
    syn_sent: Option<Spanned<String>>,
    syn_sent2: Option<Spanned<String>>,
    syn_recv: Option<Spanned<String>>,
    established: Option<Spanned<String>>,
    fin_wait: Option<Spanned<String>>,
    close_wait: Option<Spanned<String>>,
    last_ack: Option<Spanned<String>>,
    time_wait: Option<Spanned<String>>,
    close: Option<Spanned<String>>,
    unacknowledged: Option<Spanned<String>>,
    max_retrans: Option<Spanned<String>>,
}

/// Turns what is written into what is meant, noting every problem on the way.
struct Reader<'a> {
    checker: Checker<'a>,
    folder: PathBuf,
    /// The name of the NAT that is read.
    nat: String,
}

impl Reader<'_> {
    fn profile(&mut self, name: &Spanned<String>, raw: &Spanned<RawProfile>) -> Option<Profile> {
        self.check_name(name);
        self.nat.clone_from(name.get_ref());
        let written = raw.get_ref();
        let behavior = self.behavior(written)?;
        let possible = behavior.check().map_err(|why| format!("NAT \"{}\": {why}", name.get_ref()));
        self.checker.keep(name.span(), possible)?;
        Some(Profile {
            name: name.get_ref().clone(),
            summary: written.summary.clone(),
            equipment: written.equipment.clone(),
            source: written.source.clone(),
            behavior,
            written: written.axes(),
            ruleset: self.ruleset(written)?,
            datapath: self.datapath(written)?,
            foreign: self.foreign(written)?,
            folder: self.folder.clone(),
        })
    }

    fn check_name(&mut self, name: &Spanned<String>) {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.get_ref().is_empty() || !name.get_ref().bytes().all(good) {
            let message = format!("bad NAT name \"{}\"", name.get_ref());
            let help = "a name is made of lower-case letters, digits and dashes";
            self.checker.report_with_help(name.span(), message, help);
        }
    }

    fn behavior(&mut self, raw: &RawProfile) -> Option<Behavior> {
        let translation = self.word(&raw.translation, "translation", Translation::Nat)?;
        let base = match translation {
            Translation::Nat => Behavior::port_preserving(),
            Translation::Firewall => Behavior::firewall(),
            Translation::Router => Behavior::router(),
        };
        let allocation = self.allocation(raw);
        // Each is read before the first `?` can leave, so that all problems are found at once.
        let mapping = self.word(&raw.mapping, "mapping", base.mapping);
        let pool = allocation.and_then(|allocation| self.pool(raw, allocation));
        let filtering = self.word(&raw.filtering, "filtering", base.filtering);
        let unsolicited_syn = self.word(&raw.unsolicited_syn, "unsolicited-syn", base.unsolicited_syn);
        let syn_after_syn = self.word(&raw.syn_after_syn, "syn-after-syn", base.syn_after_syn);
        let invalid_packets = self.word(&raw.invalid_packets, "invalid-packets", base.invalid_packets);
        let hairpinning = self.word(&raw.hairpinning, "hairpinning", base.hairpinning);
        let overloading = self.word(&raw.overloading, "overloading", base.overloading);
        let strictness = self.word(&raw.strictness, "strictness", base.strictness);
        let timeouts = raw.timeouts.as_ref().map_or_else(Timeouts::default, |t| self.timeouts(t));
        Some(Behavior {
            translation,
            mapping: mapping?,
            allocation: allocation?,
            pool: pool?,
            filtering: filtering?,
            unsolicited_syn: unsolicited_syn?,
            syn_after_syn: syn_after_syn?,
            invalid_packets: invalid_packets?,
            hairpinning: hairpinning?,
            overloading: overloading?,
            strictness: strictness?,
            timeouts,
            quota: raw.quota,
        })
    }

    /// The value that a word stands for, or `default` where none is written.
    fn word<T>(&mut self, written: &Option<Spanned<String>>, key: &str, default: T) -> Option<T>
    where
        T: FromStr<Err = UnknownWord>,
    {
        let Some(word) = written else { return Some(default) };
        word.get_ref().parse().map_err(|e| self.unknown_word(word, key, &e)).ok()
    }

    fn unknown_word(&mut self, word: &Spanned<String>, key: &str, error: &UnknownWord) {
        let message = format!("unknown {key} \"{}\"", word.get_ref());
        let known = format!("known are: {}", error.known.join(", "));
        let help = suggestion(word.get_ref(), error.known.iter().copied(), known);
        self.checker.report_with_help(word.span(), message, help);
    }

    fn allocation(&mut self, raw: &RawProfile) -> Option<Allocation> {
        let allocation = match &raw.allocation {
            None => Allocation::Preserving,
            Some(word) => match word.get_ref().as_str() {
                "preserving" => Allocation::Preserving,
                "sequential" => {
                    Allocation::Sequential { step: raw.step.as_ref().map_or(1, |s| *s.get_ref()) }
                }
                "random" => Allocation::Random,
                "hash" => Allocation::Hash { seed: raw.seed.as_ref().map_or(DEFAULT_SEED, |s| *s.get_ref()) },
                _ => {
                    self.unknown_word(word, "allocation", &UnknownWord { known: Allocation::WORDS.to_vec() });
                    return None;
                }
            },
        };
        if let (Some(step), false) = (&raw.step, matches!(allocation, Allocation::Sequential { .. })) {
            self.checker.report(step.span(), format!("a step means nothing to allocation {allocation}"));
        }
        if let (Some(seed), false) = (&raw.seed, matches!(allocation, Allocation::Hash { .. })) {
            self.checker.report(seed.span(), format!("a seed means nothing to allocation {allocation}"));
        }
        Some(allocation)
    }

    fn timeouts(&mut self, raw: &RawTimeouts) -> Timeouts {
        let mut time = |written: &Option<Spanned<String>>| -> Option<Duration> {
            let word = written.as_ref()?;
            self.checker.keep(word.span(), quantity::timeout(word.get_ref()))
        };
        Timeouts {
            syn_sent: time(&raw.syn_sent),
            syn_sent2: time(&raw.syn_sent2),
            syn_recv: time(&raw.syn_recv),
            established: time(&raw.established),
            fin_wait: time(&raw.fin_wait),
            close_wait: time(&raw.close_wait),
            last_ack: time(&raw.last_ack),
            time_wait: time(&raw.time_wait),
            close: time(&raw.close),
            unacknowledged: time(&raw.unacknowledged),
            max_retrans: time(&raw.max_retrans),
        }
    }

    fn ruleset(&mut self, raw: &RawProfile) -> Option<Ruleset> {
        let (span, wrong) = match (&raw.ruleset_file, &raw.command) {
            (None, None) => return Some(Ruleset::Generated),
            (Some(file), None) if file.get_ref().is_empty() => (file.span(), "ruleset-file names no file"),
            (Some(file), None) => return Some(Ruleset::File(file.get_ref().clone())),
            (Some(_), Some(command)) => (command.span(), "a NAT has a ruleset file or a command, not both"),
            (None, Some(command)) => match command.get_ref().as_slice() {
                [] => (command.span(), "a command has at least a program"),
                words if words.iter().any(|word| word.contains('\0')) => {
                    (command.span(), "an argument of the command has a NUL character")
                }
                words => return Some(Ruleset::Command(words.to_vec())),
            },
        };
        self.checker.report(span, wrong);
        None
    }
}

impl Reader<'_> {
    fn datapath(&mut self, raw: &RawProfile) -> Option<Datapath> {
        let datapath = self.word(&raw.datapath, "datapath", Datapath::Conntrack)?;
        let generated = raw.ruleset_file.is_none() && raw.command.is_none();
        if let (Some(word), true, Datapath::Packets | Datapath::Sockets) =
            (&raw.datapath, generated, datapath)
        {
            let message = format!(
                "datapath {datapath} without a ruleset file or a command: generated rules use conntrack"
            );
            self.checker.report(word.span(), message);
        }
        Some(datapath)
    }

    fn foreign(&mut self, raw: &RawProfile) -> Option<ForeignNames> {
        let mut names = |written: &BTreeMap<String, Spanned<String>>| {
            for device in written.values() {
                self.check_device(device, raw);
            }
            written.iter().map(|(name, device)| (name.clone(), device.get_ref().clone())).collect()
        };
        Some(ForeignNames { devices: names(&raw.devices), networks: names(&raw.networks) })
    }

    fn check_device(&mut self, device: &Spanned<String>, raw: &RawProfile) {
        if raw.ruleset_file.is_none() {
            self.checker.report(device.span(), "devices and networks are those of a ruleset file".to_owned());
        }
        if !is_nat_device(device.get_ref()) {
            let message = format!("a NAT has no device \"{}\"", device.get_ref());
            self.checker.report_with_help(
                device.span(),
                message,
                "its devices are wan, lan0, lan1 and so on, and lans is all below",
            );
        }
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
    use super::*;
    use crate::model::behavior::{Filtering, Mapping};

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
            ("ports = \"5-4\"", 3, "unknown ports \"5-4\"\n  help: known are: \"kernel\", \"LOW-HIGH\""),
            (
                "block-size = 64",
                3,
                "NAT \"x\": block-size 64 with ports kernel cannot be: blocks are cut from one range\n  help: give one range",
            ),
            ("[nat.x.timeouts]\nclose = \"ten\"", 4, "\"ten\" is not a duration such as"),
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
