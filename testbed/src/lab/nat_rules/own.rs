//! NATs that a user brings along: a ruleset file, or a program that makes its node a NAT. Pure; the program is started
//! by `lab::nat_program`.

use std::fmt;
use std::path::PathBuf;

use super::{NatConfig, NatSite, sysctls};
use crate::kernel::ruleset::RulesSource;
use crate::lab::settings;
use crate::model::behavior::Behavior;
use crate::model::topology::NodeKind;

/// A program that makes its node a NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatCommand {
    /// The name of the NAT, for messages.
    pub nat: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where it starts, and what a relative path to it counts from.
    pub folder: PathBuf,
    /// What it is given: environment variables.
    pub variables: Vec<(String, String)>,
    /// The settings that it must leave as they are.
    pub pinned: Vec<String>,
    /// Folders of the machine that it may write to.
    pub writable: Vec<PathBuf>,
}

/// Its first line: a script may be long.
impl fmt::Display for NatCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.join(" ");
        match words.split_once('\n') {
            Some((first, _)) => write!(f, "{first} …"),
            None => f.write_str(&words),
        }
    }
}

/// A user's own ruleset, with the addresses of the site defined in front of it: `$wan_address`, for a pool `$wan_addresses`, and
/// `$lan0_network` and so on for each device below. All of that is on the ruleset's own first line, so that nft counts its lines as
/// the user does.
///
/// The sysctls are those that `behavior` claims.
#[must_use]
pub fn render_own(text: &str, behavior: &Behavior, site: &NatSite) -> NatConfig {
    let mut definitions = vec![
        format!("define wan_address = {}; ", site.wan),
        format!("define wan_addresses = {}; ", site.external(behavior)),
    ];
    for (device, network) in &site.lans {
        definitions.push(format!("define {device}_network = {}/{}; ", network.address, network.prefix));
    }
    NatConfig {
        ruleset: text.to_owned(),
        definitions,
        source: RulesSource::User,
        further: site.further(behavior),
        sysctls: sysctls::sysctls(behavior),
        ..NatConfig::default()
    }
}

/// A NAT that a program makes, which starts in a node without rules, with the sysctls that `behavior` claims.
#[must_use]
pub fn by_program(
    nat: &str,
    words: &[String],
    folder: PathBuf,
    behavior: &Behavior,
    site: &NatSite,
) -> NatConfig {
    let sysctls = sysctls::sysctls(behavior);
    let command = NatCommand {
        nat: nat.to_owned(),
        words: words.to_vec(),
        folder,
        variables: variables(behavior, site),
        pinned: sysctls.iter().map(|(key, _)| key.clone()).chain(of_every_nat()).collect(),
        writable: Vec::new(),
    };
    let further = site.further(behavior);
    NatConfig { source: RulesSource::User, further, sysctls, command: Some(command), ..NatConfig::default() }
}

/// The settings that each NAT's node has from the begin, with the ones that change how packets look or pass.
fn of_every_nat() -> impl Iterator<Item = String> {
    let others = ["net.ipv4.ip_default_ttl", "net.ipv4.ip_unprivileged_port_start"];
    let every = settings::settings(NodeKind::Nat).into_iter().map(|setting| setting.key);
    every.chain(others.map(str::to_owned))
}

/// What a program is given: the same as a ruleset file, and which devices there are.
fn variables(behavior: &Behavior, site: &NatSite) -> Vec<(String, String)> {
    let lans: Vec<&str> = site.lans.iter().map(|(device, _)| device.as_str()).collect();
    let mut variables = vec![
        ("NAT_WAN_DEVICE".to_owned(), "wan".to_owned()),
        ("NAT_WAN_ADDRESS".to_owned(), site.wan.to_string()),
        ("NAT_WAN_ADDRESSES".to_owned(), site.external(behavior).to_string()),
        ("NAT_LAN_DEVICES".to_owned(), lans.join(" ")),
    ];
    variables.extend(site.lans.iter().map(|(device, network)| {
        let name = format!("NAT_{}_NETWORK", device.to_uppercase());
        (name, format!("{}/{}", network.address, network.prefix))
    }));
    variables
}
