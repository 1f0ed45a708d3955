//! The command that runs a rendezvous server.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use super::tell;
use puncher::Event;
use puncher::rendezvous::{Limits, Server, Setup, Tokens};

#[derive(Debug, Args)]
pub(super) struct RendezvousArgs {
    /// An endpoint to listen on; peers need two that differ in address and port to measure their mapping
    #[arg(long = "listen", required = true, value_name = "IP:PORT")]
    listen: Vec<SocketAddrV4>,
    /// The endpoint that peers are told instead, one for each --listen and in the same order: for a host behind a 1:1 NAT, or
    /// one that listens on 0.0.0.0
    #[arg(long, value_name = "IP[:PORT]", value_parser = advertised)]
    advertise: Vec<SocketAddrV4>,
    /// A file with the tokens of those who may meet here, one a line, as "puncher key" writes them; by default everybody may meet
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(
        flatten,
        next_help_heading = "Limits; a network (/24) may have four times what one address may"
    )]
    limits: LimitArgs,
    /// The level of the log on standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn", env = "PUNCHER_LOG")]
    log: Level,
}

#[derive(Debug, Args)]
struct LimitArgs {
    /// Connections at once, in all
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Connections at once from one address
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_per_address)]
    max_per_address: usize,
    /// New connections a second from one address
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_per_second)]
    connections_per_second: u32,
    /// Meetings at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().meetings)]
    max_meetings: usize,
    /// Sides of meetings at once that one address may hold
    #[arg(long, value_name = "N", default_value_t = Limits::default().meetings_per_address)]
    max_meetings_per_address: usize,
    /// Joins a second from one address
    #[arg(long, value_name = "N", default_value_t = Limits::default().joins_per_second)]
    joins_per_second: u32,
    /// Bytes a second that are read from one address
    #[arg(long, value_name = "N", default_value_t = Limits::default().bytes_per_second)]
    bytes_per_second: u32,
    /// Bytes of messages that may wait for their readers, in all
    #[arg(long, value_name = "N", default_value_t = Limits::default().waiting_bytes)]
    max_waiting_bytes: usize,
    /// Unsolicited probes at once, in all
    #[arg(long, value_name = "N", default_value_t = Limits::default().probes)]
    max_probes: usize,
    /// The longest time a connection may last
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    lifetime: Duration,
    /// The time that meetings under way have left when the server is stopped
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    grace: Duration,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            connections: args.max_connections,
            connections_per_address: args.max_per_address,
            connections_per_second: args.connections_per_second,
            meetings: args.max_meetings,
            meetings_per_address: args.max_meetings_per_address,
            joins_per_second: args.joins_per_second,
            bytes_per_second: args.bytes_per_second,
            waiting_bytes: args.max_waiting_bytes,
            probes: args.max_probes,
            lifetime: args.lifetime,
            grace: args.grace,
            ..Self::default()
        }
    }
}

/// An address alone stands for the port that is listened on.
fn advertised(text: &str) -> Result<SocketAddrV4, String> {
    let address = text.parse().map(|address: Ipv4Addr| SocketAddrV4::new(address, 0));
    address.or_else(|_| text.parse()).map_err(|_| "expected IP or IP:PORT".into())
}

/// Serves until it is told to stop.
pub(super) async fn rendezvous(args: RendezvousArgs) -> anyhow::Result<ExitCode> {
    log_to_stderr(args.log);
    let tokens = args.token_file.as_deref().map(Tokens::from_file).transpose()?;
    let setup = Setup { listen: args.listen, advertise: args.advertise, limits: args.limits.into(), tokens };
    let wanted = setup.limits.connections;
    let server = Server::new(setup)?;
    let metrics = server.metrics();
    // Whoever reads that it listens may send signals.
    let mut report = signal(SignalKind::user_defined1())?;
    let (stop, killed) = (stopped(1)?, stopped(2)?);
    tell(&Event::Listening { endpoints: server.endpoints().to_vec() });
    let connections = server.limits().connections;
    if connections < wanted {
        tracing::warn!(
            connections,
            wanted,
            "the limit of open files leaves fewer connections: raise it with ulimit -n"
        );
    }
    let serving = async {
        let rest = server.serve_until(stop).await;
        tell(&Event::Stopping);
        rest.finish().await;
    };
    tokio::pin!(serving, killed);
    loop {
        tokio::select! {
            () = &mut serving => break,
            () = &mut killed => break,
            _ = report.recv() => tell(&Event::Metrics(metrics.read())),
        }
    }
    tell(&Event::Metrics(metrics.read()));
    Ok(ExitCode::SUCCESS)
}

/// Standard output is for events.
fn log_to_stderr(level: Level) {
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_target(false).init();
}

/// Ready at the n-th signal to end: the first is a request, the second an order.
fn stopped(times: u32) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for _ in 0..times {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    })
}
