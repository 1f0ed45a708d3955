//! Which NATs of a catalogue this machine's kernel has the code for.

use std::collections::BTreeMap;

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Namespace;
use crate::kernel::ruleset::Nft;
use crate::lab::nat_rules::render;
use crate::model::catalogue::Catalogue;
use crate::probe::prove::site;

/// A rule that the kernel has no code for, and the NATs that need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRule {
    /// The line of the rules, and what the kernel said of it.
    pub rule: String,
    /// The NATs, in the order of the catalogue.
    pub nats: Vec<String>,
}

/// What the NATs of a catalogue need that this kernel lacks. Asks the kernel to check the rules of each behaviour, and puts none
/// into force. Takes some milliseconds a NAT, and blocks.
///
/// # Errors
/// When no namespace can be made, or nft cannot be run.
pub fn missing_rules(catalogue: &Catalogue) -> Result<Vec<MissingRule>> {
    let rulesets = catalogue.profiles().map(|nat| (nat.name.clone(), render(&nat.behavior, &site()).ruleset));
    missing(&rulesets.collect::<Vec<_>>())
}

/// The same of named rulesets.
///
/// # Errors
/// As above.
pub fn missing(rulesets: &[(String, String)]) -> Result<Vec<MissingRule>> {
    let namespace = Namespace::new()?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, ruleset) in rulesets {
        match namespace.enter(|inside| Nft::get().check(inside, ruleset))? {
            Ok(()) => {}
            Err(Error::Refused(refusal)) if refusal.may_be_unsupported() => {
                let rule = format!("{} ({})", refusal.source_line.trim(), refusal.message);
                found.entry(rule).or_default().push(name.clone());
            }
            Err(error) => return Err(error.at(format!("NAT \"{name}\""))),
        }
    }
    Ok(found.into_iter().map(|(rule, nats)| MissingRule { rule, nats }).collect())
}
