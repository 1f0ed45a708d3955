//! What may be typed.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::rendezvous::RendezvousArgs;
use puncher::{LowPorts, MethodName, Role};

/// Gets a direct TCP connection through NATs.
#[derive(Debug, Parser)]
#[command(name = "puncher", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a rendezvous server
    ///
    /// It prints a JSON line when it listens, one with its figures for each SIGUSR1, one when it was asked to stop and takes
    /// nobody new, and its figures again when it ends.
    Rendezvous(Box<RendezvousArgs>),
    /// Connect to a peer
    ///
    /// Exit codes: 0 the connection was used to its end, 1 no path, 2 could not run, 3 no rendezvous server, 4 no peer, 5 the
    /// connection broke later. With --json 1 stands for 3 and 4, too, and the result line says which. With --exec the code is
    /// the command's, and those of puncher itself are 120 higher.
    ///
    /// Once connected, standard input goes to the peer and what it sends to standard output, until both have ended;
    /// --json, --exec, --forward and --to do otherwise.
    Connect(Box<ConnectArgs>),
    /// Find out what the local NAT does
    Probe(ProbeArgs),
    /// Print a ticket, for a meeting without a rendezvous server; its private half is kept in a file
    Ticket(TicketArgs),
    /// Write a new key file
    Key(KeyArgs),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of puncher and of each of its commands to a folder
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

/// The name is looked up later.
fn endpoint(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(1..)) => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT".into()),
    }
}

#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// Endpoints of one rendezvous server, by address or name, in the order to use them
    #[arg(long = "rendezvous", value_name = "HOST:PORT", value_parser = endpoint, required_unless_present_any = ["peer", "ticket"])]
    pub(super) rendezvous: Vec<String>,
    /// The meeting's name: the same for both peers, another each time
    #[arg(long, required_unless_present = "ticket")]
    pub(super) meeting: Option<String>,
    /// Which of the two peers this is: a or b
    #[arg(long, required_unless_present = "ticket")]
    pub(super) role: Option<Role>,
    /// A file with the secret both peers share: 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// A file with a token for the rendezvous server, where it asks for one
    #[arg(long, value_name = "FILE", requires = "rendezvous")]
    pub(super) token_file: Option<PathBuf>,
    /// The local endpoint to punch from
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    pub(super) bind: SocketAddrV4,
    /// The way to punch
    #[arg(long, default_value_t)]
    pub(super) method: MethodName,
    /// SYNs this side may send
    #[arg(long, value_name = "N", default_value_t = 1280)]
    pub(super) budget_syns: u32,
    /// The time this side may take; waiting for the peer is not counted
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(super) deadline: Duration,
    /// How long to wait for the peer at the rendezvous server
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(super) patience: Duration,
    /// Whether source ports below 1024 may be used: with them a NAT that draws its ports draws from a small pool
    #[arg(long, value_enum, default_value = "when-permitted")]
    pub(super) low_ports: LowPortsArg,
    /// Hops that a SYN must live to have passed this side's own NATs; found out when it matters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) hops: Option<u8>,
    /// Believe what the rendezvous server says of the peer's external address even if no router on the peer's way confirms
    /// it; otherwise this side then sends few SYNs there, too few to spray
    #[arg(long)]
    pub(super) trust_server: bool,
    /// Send SYNs to this host's own addresses and to loopback and link-local ones, too, if the peer or the server names them
    #[arg(long)]
    pub(super) allow_special_addresses: bool,
    /// Seeds the random decisions, never the secrets
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Say something this often while the connection is idle, so that no NAT forgets it
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) keep_alive: Option<Duration>,
    /// Start this much later than agreed, to see what unequal starts do
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(super) start_delay: Duration,

    /// The peer's external endpoint, if it is known: no rendezvous server is needed when both NATs keep ports
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["rendezvous", "ticket"])]
    pub(super) peer: Option<SocketAddrV4>,
    /// With --peer: how long from now both start
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "peer")]
    pub(super) start_in: Option<Duration>,
    /// This side's ticket: the file that was written by puncher ticket --keep
    #[arg(long, value_name = "FILE", requires = "peer_ticket", conflicts_with_all = ["rendezvous", "meeting", "role"])]
    pub(super) ticket: Option<PathBuf>,
    /// The peer's ticket, as printed by: puncher ticket
    #[arg(long, value_name = "LINE", requires = "ticket")]
    pub(super) peer_ticket: Option<String>,

    /// Print events as JSON lines on standard output; the connection is closed once it is won
    #[arg(long)]
    pub(super) json: bool,
    /// Run this shell command with the connection as its standard input and output
    #[arg(long, value_name = "COMMAND", group = "use")]
    pub(super) exec: Option<String>,
    /// Accept one connection here and join it to the peer's; where it listens is said on standard error
    #[arg(long, value_name = "IP:PORT", group = "use")]
    pub(super) forward: Option<SocketAddrV4>,
    /// Connect to this service and join it to the peer's
    #[arg(long, value_name = "IP:PORT", group = "use")]
    pub(super) to: Option<SocketAddrV4>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LowPortsArg {
    /// If the process may bind them
    WhenPermitted,
    /// Never
    Never,
}

impl From<LowPortsArg> for LowPorts {
    fn from(arg: LowPortsArg) -> Self {
        match arg {
            LowPortsArg::WhenPermitted => Self::WhenPermitted,
            LowPortsArg::Never => Self::Never,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// Endpoints of one rendezvous server; it names its others itself
    #[arg(long = "rendezvous", required = true, value_name = "HOST:PORT", value_parser = endpoint)]
    pub(super) rendezvous: Vec<String>,
    /// The local endpoint to look from
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    pub(super) bind: SocketAddrV4,
    /// How many local ports to try; a bias among the ports shows from about a thousand
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(super) samples: u16,
    /// How long to wait for the answer to a SYN that may be dropped
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(super) wait: Duration,
    /// Write what was found as a NAT file for testbed, named "mine" in it; the file must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) nat: Option<PathBuf>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TicketArgs {
    /// The external endpoint this side will have: its NAT's address, and the port if it is kept
    #[arg(long, value_name = "IP:PORT")]
    pub(super) external: SocketAddrV4,
    /// The local endpoint to punch from
    #[arg(long, value_name = "IP:PORT")]
    pub(super) bind: SocketAddrV4,
    /// How long from now to start; the later of two tickets counts
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) start_in: Duration,
    /// By how much the two clocks may differ
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(super) tolerance: Duration,
    /// A file with the secret both peers share
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// The file to keep this side's half in, for: puncher connect --ticket; it must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) keep: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The file to write; it must not exist
    pub(super) file: PathBuf,
}
