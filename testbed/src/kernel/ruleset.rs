//! Rulesets as nft text: loaded, checked and listed in the namespace that this thread is in, and their sets emptied.
//!
//! The text goes through libnftables in this process where the library is there, and through the `nft` program where it
//! is not, or where a user wrote the rules; both give the same answers. What the text says is `lab::nat_rules`' business or the user's.

mod library;
mod program;
mod set_flush;

use std::fmt;
use std::sync::OnceLock;

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;

pub use set_flush::SetFlusher;

/// Who reads nft text here.
#[derive(Debug)]
pub enum Nft {
    /// libnftables, in this process.
    Library(library::Library),
    /// The `nft` program.
    Program,
}

/// Who wrote rules, and so where nft may read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RulesSource {
    /// They were generated here.
    #[default]
    Testbed,
    /// A user, or a user's program: nft may fail an assertion over them, and that ends the process that it is in.
    User,
}

/// What becomes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Apply,
    Check,
}

/// The command that shows all rules.
const LIST: &str = "list ruleset\n";

/// How rules know devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Devices {
    /// By nothing but their names, which are text to nft.
    ByName,
    /// Perhaps by index: nft then looks up all devices that there are.
    ByIndex,
}

impl Devices {
    /// The words of nft(8) whose arguments are devices by index or must be there, and those that say more than is written
    /// here.
    const BY_INDEX: [&'static str; 11] =
        ["iif", "oif", "sdif", "iface_index", "fib", "dup", "fwd", "device", "devices", "include", "list"];

    /// How the rules of a text do.
    fn of(text: &str) -> Self {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if words.any(|word| Self::BY_INDEX.contains(&word)) { Self::ByIndex } else { Self::ByName }
    }
}

/// Whether the devices that rules name must be there before them: for all but plain names, which are text to nft.
#[must_use]
pub fn needs_devices(rules: &str) -> bool {
    Devices::of(rules) == Devices::ByIndex
}

/// A named set or map that rules fill by themselves, so that it outlives a flush of connection tracking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicSet {
    /// `map` or `set`.
    kind: String,
    /// Family and name of its table: `ip nat`.
    table: String,
    /// Its name.
    name: String,
}

impl fmt::Display for DynamicSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.table, self.name)
    }
}

impl Nft {
    /// The library if this machine has it, else the program; found out once.
    #[must_use]
    pub fn get() -> &'static Self {
        static NFT: OnceLock<Nft> = OnceLock::new();
        NFT.get_or_init(|| library::Library::open().map_or(Self::Program, Self::Library))
    }

    /// Who is to read the rules: a user's, the program, which has a time limit.
    #[must_use]
    pub fn of(source: RulesSource) -> &'static Self {
        match source {
            RulesSource::Testbed => Self::get(),
            RulesSource::User => &Self::Program,
        }
    }

    /// Adds `text` to the rules of this namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] with nft's own words; nothing of the text is in force then.
    pub fn load(&self, inside: &Inside, text: &str) -> Result<()> {
        self.run(inside, text, Mode::Apply).map(drop)
    }

    /// Puts `text` in the place of all rules of this namespace, in one step.
    ///
    /// # Errors
    /// [`Error::Refused`] with nft's own words; the old rules are in force then.
    pub fn replace(&self, inside: &Inside, text: &str) -> Result<()> {
        let all = format!("flush ruleset\n{text}");
        self.run(inside, &all, Mode::Apply).map(drop).map_err(|error| match error {
            Error::Refused(refusal) => refusal.moved_up(1).into(),
            error => error,
        })
    }

    /// Asks nft and the kernel whether `text` is good, without putting it into force.
    ///
    /// # Errors
    /// [`Error::Refused`] with nft's own words.
    pub fn check(&self, inside: &Inside, text: &str) -> Result<()> {
        self.run(inside, text, Mode::Check).map(drop)
    }

    /// The rules of this namespace, without counters and without the contents of sets.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(&self, inside: &Inside) -> Result<String> {
        self.run_with(inside, LIST, Mode::Apply, Devices::ByIndex)
    }

    /// The sets and maps of this namespace that rules fill; `rules` is their text, where it is known.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub fn dynamic_sets(&self, inside: &Inside, rules: Option<&str>) -> Result<Vec<DynamicSet>> {
        let devices = rules.map_or(Devices::ByIndex, Devices::of);
        self.run_with(inside, LIST, Mode::Apply, devices).map(|listing| find_dynamic_sets(&listing))
    }

    fn run(&self, inside: &Inside, text: &str, mode: Mode) -> Result<String> {
        self.run_with(inside, text, mode, Devices::of(text))
    }

    fn run_with(&self, _: &Inside, text: &str, mode: Mode, devices: Devices) -> Result<String> {
        match self {
            Self::Library(library) => library.run(text, mode, devices),
            Self::Program => program::run(text, mode),
        }
    }
}

/// Reads the sets with the flag `dynamic` from what nft lists: one set a block, one property a line.
fn find_dynamic_sets(listing: &str) -> Vec<DynamicSet> {
    let mut found = Vec::new();
    let (mut table, mut set) = (String::new(), None);
    for line in listing.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, "{"] => table = format!("{family} {name}"),
            [kind @ ("map" | "set"), name, "{"] => set = Some((kind.to_string(), name.to_string())),
            ["flags", flags @ ..] if flags.iter().flat_map(|f| f.split(',')).any(|f| f == "dynamic") => {
                let dynamic = set.take().map(|(kind, name)| DynamicSet { kind, table: table.clone(), name });
                found.extend(dynamic);
            }
            ["}"] => set = None,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_index_are_told_from_devices_by_name() {
        for text in [
            "iif lan0 accept",
            "meta oif 3",
            "type iface_index",
            "fib daddr oif",
            "hook ingress device wan",
            "include \"x\"",
        ] {
            assert_eq!(Devices::of(text), Devices::ByIndex, "{text}");
        }
        let by_name = "table ip nat {\n chain iif_c {\n  iifname \"wan\" oifname lan0 masquerade\n }\n}";
        assert_eq!(Devices::of(by_name), Devices::ByName);
    }

    #[test]
    fn dynamic_sets_are_found_and_others_are_not() {
        let listing = "table ip nat {\n\tmap eim {\n\t\ttype ipv4_addr . inet_service : inet_service\n\
            \t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 5m\n\t}\n\n\tmap ports {\n\
            \t\ttype integer : inet_service\n\t\telements = { 0 : 20000 }\n\t}\n\n\tset seen {\n\
            \t\tflags timeout, dynamic\n\t}\n\n\tchain post {\n\t\tmasquerade\n\t}\n}\n\
            table inet f {\n\tset x {\n\t\tflags dynamic\n\t}\n}\n";
        let found: Vec<_> = find_dynamic_sets(listing).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["map ip nat eim", "set ip nat seen", "set inet f x"]);
    }
}
