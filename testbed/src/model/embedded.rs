//! The suites and topologies that come with the program.

/// A file that was built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// What users call it.
    pub name: &'static str,
    /// Where it lies in the repository: the name that problems carry.
    pub file: &'static str,
    /// What it holds.
    pub text: &'static str,
}

macro_rules! embedded {
    ($($name:literal),+) => {
        &[$(Embedded {
            name: $name,
            file: concat!("topologies/", $name, ".toml"),
            text: include_str!(concat!("../../topologies/", $name, ".toml")),
        }),+]
    };
}

/// The suites, in the order in which they are listed.
pub const SUITES: &[Embedded] = embedded!(
    "classic",
    "matrix",
    "predictability",
    "reach",
    "auto-vs-methods",
    "timing",
    "order",
    "unsolicited",
    "cgn",
    "hairpin",
    "noise",
    "faults",
    "full"
);

/// The topologies, in the order in which they are listed.
pub const TOPOLOGIES: &[Embedded] =
    embedded!("pair", "far", "same-nat", "lan", "layers", "triple", "behind-cgn", "same-cgn", "noisy");

/// The one of that name.
#[must_use]
pub fn find(all: &'static [Embedded], name: &str) -> Option<&'static Embedded> {
    all.iter().find(|embedded| embedded.name == name)
}
