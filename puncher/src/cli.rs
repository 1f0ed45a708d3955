//! The command line: arguments into requests, requests carried out, outcomes into exit codes.

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::contract::{Event, Outcome};
use crate::rendezvous::server::{Limits, Server};
use crate::{Config, ConnectError, Connection, LowPorts, Meeting, MethodName, Puncher, Role, Secret};

/// Gets a direct TCP connection through NATs.
#[derive(Debug, Parser)]
#[command(name = "puncher", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a rendezvous server.
    Rendezvous(RendezvousArgs),
    /// Connect to a peer.
    Connect(ConnectArgs),
}

#[derive(Debug, Args)]
struct RendezvousArgs {
    /// Where to listen; give two endpoints that differ in address and port, so that peers can learn their mapping.
    #[arg(long = "listen", required = true, value_name = "IP:PORT")]
    listen: Vec<SocketAddrV4>,
}

#[derive(Debug, Args)]
struct ConnectArgs {
    /// Endpoints of the rendezvous server, in the order to use them.
    #[arg(long = "rendezvous", required = true, value_name = "IP:PORT")]
    rendezvous: Vec<SocketAddrV4>,
    /// The meeting's name: the same for both peers, another each time.
    #[arg(long)]
    meeting: String,
    /// Which of the two peers this is: a or b.
    #[arg(long)]
    role: Role,
    /// A file with the secret both peers share: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The local endpoint to punch from.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    bind: SocketAddrV4,
    /// The way to punch.
    #[arg(long, default_value_t)]
    method: MethodName,
    /// SYNs this side may send.
    #[arg(long, value_name = "N", default_value_t = 1280)]
    budget_syns: u32,
    /// The time this side may take.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// Whether source ports below 1024 may be used, if this process may bind them: with them a NAT that draws its ports
    /// draws from a small pool.
    #[arg(long, value_enum, default_value = "when-permitted")]
    low_ports: LowPortsArg,
    /// Hops that a SYN must live to have passed this side's own NATs.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    hops: u8,
    /// Seeds the random decisions, never the secrets.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell events as JSON lines on standard output, and close the connection once it is won.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LowPortsArg {
    /// If the process may bind them.
    WhenPermitted,
    /// Never.
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

/// Exit code when there is no path.
const NO_PATH: u8 = 1;

/// Exit code when the command could not run.
const CANNOT_RUN: u8 = 2;

/// Carries out the command.
///
/// # Errors
/// When it could not run; finding no path is an exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command {
        Command::Rendezvous(args) => runtime.block_on(rendezvous(args)),
        Command::Connect(args) => runtime.block_on(connect(args)),
    }
}

/// The exit code for an error that kept the command from running.
#[must_use]
pub fn cannot_run() -> ExitCode {
    ExitCode::from(CANNOT_RUN)
}

async fn rendezvous(args: RendezvousArgs) -> anyhow::Result<ExitCode> {
    let server = Server::bind(&args.listen, Limits::default())?;
    tell(&Event::Listening { endpoints: server.endpoints().to_vec() });
    server.run().await;
    Ok(ExitCode::SUCCESS)
}

async fn connect(args: ConnectArgs) -> anyhow::Result<ExitCode> {
    let secret = Secret::from_file(&args.key_file)?;
    let config = Config {
        bind: args.bind,
        method: args.method,
        budget_syns: args.budget_syns,
        deadline: args.deadline,
        low_ports: args.low_ports.into(),
        hops: args.hops,
        seed: args.seed.unwrap_or_else(rand::random),
        ..Config::new(args.rendezvous)
    };
    let meeting = Meeting { name: args.meeting, role: args.role, secret };
    let mut puncher = Puncher::new(config)?;
    if args.json {
        puncher = puncher.on_event(tell);
    }
    match puncher.connect(&meeting).await {
        Ok(connection) => {
            if args.json {
                tell(&won(&connection));
                finish(connection).await;
            } else {
                pipe(connection).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => failed(&error, &args.method, args.json),
    }
}

fn won(connection: &Connection) -> Event {
    let report = &connection.report;
    Event::Result(Outcome {
        ok: true,
        error: None,
        local: Some(report.local),
        remote: Some(report.remote),
        method: report.method.to_owned(),
        established_ms: Some(report.established),
        authenticated_ms: Some(report.authenticated),
    })
}

fn failed(error: &ConnectError, method: &MethodName, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        tell(&Event::Result(Outcome {
            ok: false,
            error: Some(error.to_string()),
            local: None,
            remote: None,
            method: method.to_string(),
            established_ms: None,
            authenticated_ms: None,
        }));
    }
    let _ = writeln!(io::stderr(), "puncher: {error}");
    Ok(ExitCode::from(NO_PATH))
}

/// Writes one event. A reader that has gone is no reason to stop punching.
fn tell(event: &Event) {
    let mut line = serde_json::to_vec(event).expect("events have a JSON form");
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

/// Ends this half and waits for the peer to end the other, so that nothing under way is lost.
async fn finish(mut connection: Connection) {
    let _ = connection.stream.shutdown().await;
    let mut rest = [0; 1024];
    while matches!(connection.stream.read(&mut rest).await, Ok(1..)) {}
}

/// Standard input to the peer, the peer to standard output, until both have ended.
async fn pipe(connection: Connection) -> anyhow::Result<()> {
    let (mut from_peer, mut to_peer) = connection.stream.into_split();
    let sending = async {
        tokio::io::copy(&mut tokio::io::stdin(), &mut to_peer).await?;
        to_peer.shutdown().await
    };
    let receiving = async {
        let mut out = tokio::io::stdout();
        tokio::io::copy(&mut from_peer, &mut out).await?;
        out.flush().await
    };
    tokio::try_join!(sending, receiving).context("lost the connection")?;
    Ok(())
}
