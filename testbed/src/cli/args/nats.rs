//! What the commands take that measure NATs, and how NATs are named.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::cli::args::{RightsArgs, how_long, seed};
use crate::model::catalogue::is_nat_device;
use crate::report::origin::quoted;

/// NATs of your own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OwnNats {
    /// A file like topologies/nats.toml with NATs of your own, beside those that come with testbed
    #[arg(long, value_name = "FILE")]
    pub nats: Vec<PathBuf>,
}

/// Which NATs take the place of a suite's.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NatsInstead {
    /// The NATs of the node nat-a, instead of those of the suite
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub nat_a: Vec<String>,
    /// The NATs of the node nat-b, instead of those of the suite
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub nat_b: Vec<String>,
}

impl OwnNats {
    /// The same as it is typed, with a blank before each word.
    pub(in crate::cli) fn typed(&self) -> String {
        self.nats.iter().map(|file| format!(" --nats {}", quoted(&file.display().to_string()))).collect()
    }
}

impl NatsInstead {
    /// Whether a suite keeps its own.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.by_node().next().is_none()
    }

    /// Each node that gets other NATs, with their names.
    pub fn by_node(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let both = [("nat-a", self.nat_a.as_slice()), ("nat-b", self.nat_b.as_slice())];
        both.into_iter().filter(|(_, names)| !names.is_empty())
    }
}

/// `testbed nat`.
#[derive(Debug, Subcommand)]
pub enum NatAction {
    /// List the NATs that come with testbed, and those of --nats
    List(OwnNats),
    /// Print the rules and settings of a NAT, or the program that makes it
    Show {
        /// Name of the NAT
        name: String,
        /// NATs of your own.
        #[command(flatten)]
        nats: OwnNats,
    },
    /// Measure whether NATs behave as declared; needs root, or --rootless
    Prove(ProveArgs),
    /// Measure what rules or a program do, and print that as a NAT for --nats; needs root, or --rootless
    Measure(MeasureArgs),
}

/// Which NATs are to be measured.
#[derive(Debug, clap::Args)]
pub struct WantedNats {
    /// Names of the NATs [default: those of --nats]
    #[arg(required_unless_present_any = ["all", "nats"], conflicts_with = "all")]
    pub names: Vec<String>,
    /// Every NAT that comes with testbed, and those of --nats
    #[arg(long)]
    pub all: bool,
    /// NATs of your own.
    #[command(flatten)]
    pub own: OwnNats,
}

/// `testbed nat prove`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 every NAT behaves as declared, 1 some NAT does not, 2 some NAT could not be measured, \
                        3 interrupted before any of these. In a run, a NAT that does not behave as declared is an error: \
                        its cells are not run, and the run ends with 2."
)]
pub struct ProveArgs {
    /// Which NATs.
    #[command(flatten)]
    pub wanted: WantedNats,
    /// Only the quick proof that every run makes, not the full one
    #[arg(long)]
    pub quick: bool,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// `testbed nat measure`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "testbed nat measure [OPTIONS] <RULES>\n       testbed nat measure [OPTIONS] -- <COMMAND>...\n       \
                      testbed nat measure [OPTIONS] --nat <NAME>",
    after_help = "Exit code: 0 every axis was determined and the proof of the printed NAT holds, 1 the proof found something \
                        else, 2 the NAT could not be measured, 3 some axis could not be determined or declared. \
                        What carries the packets across (datapath) is found out as well."
)]
pub struct MeasureArgs {
    /// A file with rules for `nft -f`, which may use $wan_address, $lan0_network and so on, or with the output of iptables-save
    #[arg(required_unless_present_any = ["nat", "all", "command"], conflicts_with_all = ["nat", "all", "command"])]
    pub rules: Option<PathBuf>,
    /// The name of a device in the rules, and the NAT's device that takes its place: eth0=wan, docker0=lans (all LAN devices)
    #[arg(long, value_name = "THEIRS=OURS", value_parser = foreign_name, requires = "rules")]
    pub device: Vec<(String, String)>,
    /// A network or address in the rules, and the device whose network it becomes: 172.17.0.0/16=lans
    #[arg(long, value_name = "THEIRS=OURS", value_parser = foreign_name, requires = "rules")]
    pub network: Vec<(String, String)>,
    /// Measure NATs by name, whatever they declare
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all", "command"])]
    pub nat: Vec<String>,
    /// Every NAT that comes with testbed, and those of --nats
    #[arg(long, conflicts_with = "command")]
    pub all: bool,
    /// The name to print for the NAT [default: the name of the file, of the program, or of the NAT]
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub name: Option<String>,
    /// NATs of your own.
    #[command(flatten)]
    pub own: OwnNats,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// A program that makes its node a NAT, after `--`
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// `testbed fuzz-nat`.
#[derive(Debug, clap::Args)]
pub struct FuzzArgs {
    /// Which NATs.
    #[command(flatten)]
    pub wanted: WantedNats,
    /// Seed of the packets [default: the time]
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
    /// How long to test each NAT
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = how_long)]
    pub time: Duration,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// `testbed conformance`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 every NAT passes and fails what its declaration says, 1 some NAT surprises, 2 some NAT \
                        could not be measured, 3 interrupted before any of these."
)]
pub struct ConformanceArgs {
    /// Which NATs.
    #[command(flatten)]
    pub wanted: WantedNats,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// Reads what rules call something, and the device of a NAT that stands for it.
fn foreign_name(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(theirs, ours)| !theirs.is_empty() && is_nat_device(ours));
    let (theirs, ours) =
        pair.ok_or("expected THEIRS=OURS, where OURS is wan, lan0, lan1 and so on, or lans")?;
    Ok((theirs.to_owned(), ours.to_owned()))
}
