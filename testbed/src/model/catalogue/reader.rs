//! A catalogue as TOML: the serde mirror, and the way from it to profiles, each problem with its line.

mod addresses;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Collision, Timeouts, Translation};
use crate::model::catalogue::{ForeignNames, Profile, Ruleset, is_nat_device};
use crate::model::datapath::Datapath;
use crate::model::problem::{Checker, Problems, suggestion};
use crate::model::quantity;
use crate::model::words::UnknownWord;

use ports::RawPorts;

/// The seed of a hash unless told otherwise.
const DEFAULT_SEED: u32 = 0x5eed;

/// The profiles of a catalogue by name; `path` is what messages call it.
///
/// # Errors
/// Everything that is wrong, each with its line.
pub(super) fn profiles(text: &str, path: &str) -> Result<BTreeMap<String, Profile>, Problems> {
    let folder = Path::new(path).parent().unwrap_or(Path::new("")).to_owned();
    let mut reader = Reader { checker: Checker::new(path, text), folder, nat: String::new() };
    let file: RawFile = reader.checker.read()?;
    let mut profiles = BTreeMap::new();
    for (name, raw) in &file.nat {
        if let Some(profile) = reader.profile(name, raw) {
            profiles.insert(name.get_ref().clone(), profile);
        }
    }
    reader.checker.finish(Some(profiles))
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
    collision: Option<Spanned<String>>,
    ports: Option<Spanned<RawPorts>>,
    block_size: Option<Spanned<u16>>,
    addresses: Option<Spanned<i64>>,
    pooling: Option<Spanned<String>>,
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
    /// Its absolute timeout, as it is written.
    fn absolute(&self) -> Option<&Spanned<String>> {
        self.timeouts.as_ref()?.absolute.as_ref()
    }

    /// How often it forgets everything, as it is written.
    fn flush_every(&self) -> Option<&Spanned<String>> {
        self.timeouts.as_ref()?.flush_every.as_ref()
    }

    /// The axes of which it says something.
    fn axes(&self) -> BTreeSet<NatAxis> {
        let is_written = |axis: &NatAxis| match axis {
            NatAxis::Translation => self.translation.is_some(),
            NatAxis::Mapping => self.mapping.is_some(),
            NatAxis::Allocation => self.allocation.is_some(),
            NatAxis::Collision => self.collision.is_some(),
            NatAxis::Pool => self.ports.is_some(),
            NatAxis::Addresses => self.addresses.is_some(),
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
    absolute: Option<Spanned<String>>,
    flush_every: Option<Spanned<String>>,
}

impl RawTimeouts {
    /// Those that are written.
    fn written(&self) -> impl Iterator<Item = &Spanned<String>> {
        let Self {
            syn_sent,
            syn_sent2,
            syn_recv,
            established,
            fin_wait,
            close_wait,
            last_ack,
            time_wait,
            close,
            unacknowledged,
            max_retrans,
            absolute,
            flush_every,
        } = self;
        let of_states = [syn_sent, syn_sent2, syn_recv, established, fin_wait, close_wait, last_ack];
        let others = [time_wait, close, unacknowledged, max_retrans, absolute, flush_every];
        of_states.into_iter().chain(others).flatten()
    }

    /// The one that cannot be where they cannot: one that is no whole number of seconds, or else the first.
    fn to_blame(&self) -> Option<&Spanned<String>> {
        let is_part = |word: &&Spanned<String>| {
            quantity::timeout(word.get_ref()).is_ok_and(|time| time.subsec_nanos() != 0)
        };
        self.written().find(is_part).or_else(|| self.written().next())
    }
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
        if let Err(why) = behavior.check() {
            // What names no line of its own is said of the profile.
            let span = match why.axes.first() {
                Some(NatAxis::Addresses) => written.addresses.as_ref().map(Spanned::span),
                Some(NatAxis::Collision) => written.collision.as_ref().map(Spanned::span),
                Some(NatAxis::Timeouts) => {
                    written.timeouts.as_ref().and_then(RawTimeouts::to_blame).map(Spanned::span)
                }
                _ => None,
            };
            let span = span.unwrap_or_else(|| name.span());
            self.checker.report(span, format!("NAT \"{}\": {why}", name.get_ref()));
            return None;
        }
        self.done_by_testbed(written)?;
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
        let collision = self.collision(raw, allocation);
        let pool = allocation.and_then(|allocation| self.pool(raw, allocation));
        let addresses = self.addresses(raw, translation);
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
            collision: collision?,
            pool: pool?,
            addresses: addresses?,
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

    /// What becomes of ports that collide, which only a NAT that keeps ports has.
    fn collision(&mut self, raw: &RawProfile, allocation: Option<Allocation>) -> Option<Collision> {
        let collision = self.word(&raw.collision, "collision", Collision::Random)?;
        if let (Some(word), Some(allocation)) = (&raw.collision, allocation)
            && allocation != Allocation::Preserving
        {
            let message = format!("a collision means nothing to allocation {allocation}");
            self.checker.report(word.span(), message);
            return None;
        }
        Some(collision)
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
            absolute: time(&raw.absolute),
            flush_every: time(&raw.flush_every),
        }
    }

    /// Connections end at an absolute timeout because testbed ends them, and a NAT forgets everything at regular intervals because testbed
    /// has it forget: it does so for rules of its own alone.
    fn done_by_testbed(&mut self, raw: &RawProfile) -> Option<()> {
        let absolute = raw.absolute().map(|word| {
            (word, "an absolute timeout of a NAT", "testbed ends connections of its own NATs alone")
        });
        let flushed = raw.flush_every().map(|word| {
            (word, "\"flush-every\" of a NAT", "testbed has its own NATs alone forget everything")
        });
        let found = absolute.or(flushed).filter(|_| raw.ruleset_file.is_some() || raw.command.is_some());
        let Some((word, what, why)) = found else { return Some(()) };
        let message = format!("{what} that your own rules or program make: {why}");
        let help = "without this key the full proof looks whether a busy connection is ended";
        self.checker.report_with_help(word.span(), message, help);
        None
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
