//! What may be typed.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};
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
    /// It prints a JSON line when it listens, one with its figures for each SIGUSR1, one when it was asked to stop and refuses
    /// newcomers, and its figures again when it ends.
    Rendezvous(Box<RendezvousArgs>),
    /// Connect to a peer
    ///
    /// Once connected, puncher sends standard input to the peer and writes what the peer sends to standard output, until both
    /// sides have ended; --json, --exec, --forward and --to use the connection differently.
    ///
    /// Exit codes: 0 the connection ended in order, 1 no path, 2 could not run, 3 no rendezvous server, 4 no peer, 5 the
    /// connection broke later. With --json 1 also stands for 3 and 4, and the result line says which. With --exec the code is
    /// the command's, and puncher's own codes are 120 higher.
    Connect(Box<ConnectArgs>),
    /// Measure what the local NAT does
    ///
    /// Exit codes: 0 measured, 2 could not run, 3 no rendezvous server.
    Probe(ProbeArgs),
    /// Print a ticket for a meeting without a rendezvous server, and keep its private half in a file
    Ticket(TicketArgs),
    /// Write a new key file
    Key(KeyArgs),
    /// Print completions for a shell
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

impl Cli {
    /// What was typed. What is wrong, or asks for help, ends this process.
    pub(crate) fn from_command_line() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::of_one_command(&words).unwrap_or_else(|| Self::parse_from(words))
    }

    /// The same by what is known of one command alone, for the commands that programs start: to describe the others, with all their
    /// help, takes longer than to read what was typed. `None` says nothing of why.
    fn of_one_command(words: &[OsString]) -> Option<Self> {
        let (name, words) = words.get(1..)?.split_first()?;
        let command = clap::Command::new("puncher").no_binary_name(true);
        let command = match name.to_str()? {
            "connect" => {
                let matches = ConnectArgs::augment_args(command).try_get_matches_from(words).ok()?;
                Command::Connect(Box::new(ConnectArgs::from_arg_matches(&matches).ok()?))
            }
            "rendezvous" => {
                let matches = RendezvousArgs::augment_args(command).try_get_matches_from(words).ok()?;
                Command::Rendezvous(Box::new(RendezvousArgs::from_arg_matches(&matches).ok()?))
            }
            _ => return None,
        };
        Some(Self { command })
    }
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
    /// An endpoint of the rendezvous server, by address or name; give two or more
    #[arg(long = "rendezvous", value_name = "HOST:PORT", value_parser = endpoint, required_unless_present_any = ["peer", "ticket"])]
    pub(super) rendezvous: Vec<String>,
    /// The meeting's name: the same for both peers, a different one each time
    #[arg(long, required_unless_present = "ticket")]
    pub(super) meeting: Option<String>,
    /// The role of this peer, a or b; the other peer has the other role
    #[arg(long, required_unless_present = "ticket")]
    pub(super) role: Option<Role>,
    /// A file with the secret both peers share: 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// A file with a token for the rendezvous server, if it asks for one
    #[arg(long, value_name = "FILE", requires = "rendezvous")]
    pub(super) token_file: Option<PathBuf>,
    /// The local endpoint to punch from
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    pub(super) bind: SocketAddrV4,
    #[arg(long, default_value_t, help = methods())]
    pub(super) method: MethodName,
    /// The number of SYNs this side may send
    #[arg(long, value_name = "N", default_value_t = 1280)]
    pub(super) budget_syns: u32,
    /// The time for punching; waiting for the peer does not count
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(super) deadline: Duration,
    /// How long to wait for the peer at the rendezvous server
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(super) patience: Duration,
    /// Whether to punch from local ports below 1024: many NATs map these to external ports below 1024, which are few and so
    /// easier to hit
    #[arg(long, value_enum, default_value = "when-permitted")]
    pub(super) low_ports: LowPortsArg,
    /// The TTL with which a SYN passes this side's own NATs, for SYNs that must not reach the peer's [default: measured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) hops: Option<u8>,
    /// Trust the rendezvous server with the peer's external address even if no measurement confirms it; otherwise this side
    /// sends at most 64 SYNs to an unconfirmed address
    #[arg(long)]
    pub(super) trust_server: bool,
    /// Allow SYNs to this host's own addresses and to loopback and link-local ones if the peer or the server names them
    #[arg(long)]
    pub(super) allow_special_addresses: bool,
    /// The seed of random decisions; secrets never depend on it
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Send a keep-alive packet this often while the connection is idle, so that no NAT forgets it
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) keep_alive: Option<Duration>,
    /// Start this much later than agreed, to test unequal starts
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(super) start_delay: Duration,

    /// The peer's external endpoint, if both NATs preserve ports: no rendezvous server is needed
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["rendezvous", "ticket"])]
    pub(super) peer: Option<SocketAddrV4>,
    /// With --peer: the time from now until both sides start
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "peer")]
    pub(super) start_in: Option<Duration>,
    /// This side's ticket: the file that "puncher ticket --keep" wrote
    #[arg(long, value_name = "FILE", requires = "peer_ticket", conflicts_with_all = ["rendezvous", "meeting", "role"])]
    pub(super) ticket: Option<PathBuf>,
    /// The peer's ticket, as "puncher ticket" printed it
    #[arg(long, value_name = "LINE", requires = "ticket")]
    pub(super) peer_ticket: Option<String>,

    /// Print events as JSON lines on standard output, and close the connection once it is won
    #[arg(long)]
    pub(super) json: bool,
    /// Run this shell command with the connection as its standard input and output
    #[arg(long, value_name = "COMMAND", group = "use")]
    pub(super) exec: Option<String>,
    /// Accept one connection here and join it to the peer's; standard error shows the endpoint
    #[arg(long, value_name = "IP:PORT", group = "use")]
    pub(super) forward: Option<SocketAddrV4>,
    /// Connect to this service and join it to the peer's
    #[arg(long, value_name = "IP:PORT", group = "use")]
    pub(super) to: Option<SocketAddrV4>,
}

/// What `--help` says of --method: all of them.
fn methods() -> String {
    let names: Vec<_> = MethodName::ALL.iter().map(|method| method.name()).collect();
    format!("The method to punch by, the same for both peers: {}", names.join(", "))
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LowPortsArg {
    /// If this process may bind them
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
    /// An endpoint of the rendezvous server; the server names its other endpoints
    #[arg(long = "rendezvous", required = true, value_name = "HOST:PORT", value_parser = endpoint)]
    pub(super) rendezvous: Vec<String>,
    /// The local endpoint to measure from
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    pub(super) bind: SocketAddrV4,
    /// The number of local ports to try; a bias among random ports shows from about a thousand
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(super) samples: u16,
    /// How long to wait for the answer to a SYN that may be dropped
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(super) wait: Duration,
    /// Write the result to this new file, as a NAT named "mine" for testbed
    #[arg(long, value_name = "FILE")]
    pub(super) nat: Option<PathBuf>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TicketArgs {
    /// The external endpoint this side will have: its NAT's address, and the local port if the NAT preserves ports
    #[arg(long, value_name = "IP:PORT")]
    pub(super) external: SocketAddrV4,
    /// The local endpoint to punch from
    #[arg(long, value_name = "IP:PORT")]
    pub(super) bind: SocketAddrV4,
    /// The time from now until the start; of two tickets the later start counts
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) start_in: Duration,
    /// The largest difference between the two clocks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(super) tolerance: Duration,
    /// A file with the secret both peers share
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// The new file for this side's private half, for "puncher connect --ticket"
    #[arg(long, value_name = "FILE")]
    pub(super) keep: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The new file to write
    pub(super) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is understood, by what is known of one command and by what is known of all.
    fn both(line: &str) -> [Option<String>; 2] {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let quick = Cli::of_one_command(&words);
        let full = Cli::try_parse_from(words).ok();
        [quick, full].map(|cli| cli.map(|cli| format!("{cli:?}")))
    }

    #[test]
    fn one_command_alone_is_understood_as_among_all() {
        for line in [
            "puncher connect --rendezvous h:1 --meeting m --role a --key-file k",
            "puncher connect --rendezvous h:1 --rendezvous h:2 --meeting=m --role b --key-file k --json --seed 7 --hops 3 \
             --deadline 2s --low-ports never --method spray",
            "puncher connect --peer 192.0.2.1:1 --meeting m --role a --key-file k --start-in 1s",
            "puncher rendezvous --listen 0.0.0.0:1 --listen 0.0.0.0:2 --advertise 192.0.2.1 --log info --max-probes 3",
        ] {
            let [quick, full] = both(line);
            assert!(full.is_some(), "{line}");
            assert_eq!(quick, full, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_or_asks_for_help_is_left_to_all() {
        for line in [
            "puncher",
            "puncher --version",
            "puncher help connect",
            "puncher connect",
            "puncher connect --help",
            "puncher connect --version",
            "puncher connect --rendezvous h:1 --meeting m --role a --key-file k --hops 17",
            "puncher connect --peer 192.0.2.1:1 --ticket x --peer-ticket y --key-file k",
            "puncher connect --rendezvous h:1 --meeting m --role a --key-file k --exec x --to 192.0.2.1:1",
            "puncher connect rendezvous --listen 0.0.0.0:1",
            "puncher rendezvous",
            "puncher rendezvous --version",
            "puncher rendezvous --listen 1",
        ] {
            assert_eq!(both(line), [None, None], "{line}");
        }
        assert_eq!(both("puncher key k")[0], None, "another command");
    }
}
