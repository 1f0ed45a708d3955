//! The command line: arguments into requests, requests carried out, outcomes into exit codes.

mod args;
mod carry;
mod rendezvous;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

pub use args::Cli;
use args::{Command, ConnectArgs, KeyArgs, ProbeArgs, TicketArgs};

use crate::classify::class::classify;
use crate::contract::{Event, Outcome};
use crate::limits;
use crate::probe::ProbeConfig;
use crate::{Config, ConnectError, Connection, Meeting, Puncher, SealedTicket, Secret, ServerWord, Ticket};

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
    let result = match cli.command {
        Command::Rendezvous(args) => runtime.block_on(rendezvous::rendezvous(*args)),
        Command::Connect(args) => runtime.block_on(connect(*args)),
        Command::Probe(args) => runtime.block_on(probe(args)),
        Command::Ticket(args) => ticket(&args),
        Command::Key(args) => key(&args),
    };
    // A read of standard input cannot be ended; nothing waits for it.
    runtime.shutdown_background();
    result
}

/// The exit code for an error that kept the command from running.
#[must_use]
pub fn cannot_run() -> ExitCode {
    ExitCode::from(CANNOT_RUN)
}

async fn connect(args: ConnectArgs) -> anyhow::Result<ExitCode> {
    let secret = Secret::from_file(&args.key_file)?;
    let token = args.token_file.as_deref().map(Secret::from_file).transpose()?;
    let mut puncher = Puncher::new(Config { token, ..config(&args) })?;
    let json = args.json;
    puncher = puncher.on_event(move |event| match event {
        _ if json => tell(event),
        Event::Limited { budget_syns, wanted } => {
            say(&format!(
                "the limit of open files leaves {budget_syns} of {wanted} sockets, raise it with: ulimit -n"
            ));
        }
        _ => {}
    });
    match meet(&args, &mut puncher, secret).await? {
        Ok(connection) => {
            if json {
                tell(&won(&connection));
            }
            carry::carry(connection, &args).await
        }
        Err(error) => Ok(failed(&error, &args)),
    }
}

fn config(args: &ConnectArgs) -> Config {
    Config {
        bind: args.bind,
        method: args.method,
        budget_syns: args.budget_syns,
        deadline: args.deadline,
        low_ports: args.low_ports.into(),
        hops: args.hops,
        server_word: if args.trust_server { ServerWord::Enough } else { ServerWord::Confirmed },
        keep_alive: args.keep_alive,
        start_delay: args.start_delay,
        seed: args.seed.unwrap_or_else(rand::random),
        ..Config::new(args.rendezvous.clone())
    }
}

/// By whichever way the arguments name.
async fn meet(
    args: &ConnectArgs,
    puncher: &mut Puncher,
    secret: Secret,
) -> anyhow::Result<Result<Connection, ConnectError>> {
    if let (Some(own), Some(peer)) = (&args.ticket, &args.peer_ticket) {
        let read = |what: &str, ticket: &str| {
            ticket.parse::<SealedTicket>().with_context(|| format!("cannot read {what} ticket"))
        };
        let (own, peer) = (read("the own", own)?, read("the peer's", peer)?);
        return Ok(puncher.connect_by_tickets(&own, &peer, &secret).await);
    }
    let meeting = meeting_with(args, secret)?;
    Ok(match args.peer {
        Some(peer) => puncher.connect_to(&meeting, peer, args.start_in.unwrap_or(Duration::ZERO)).await,
        None => puncher.connect(&meeting).await,
    })
}

fn meeting_with(args: &ConnectArgs, secret: Secret) -> anyhow::Result<Meeting> {
    let (Some(name), Some(role)) = (args.meeting.clone(), args.role) else {
        anyhow::bail!("a meeting needs --meeting and --role, or two tickets");
    };
    Ok(Meeting { name, role, secret })
}

/// The meeting that the arguments name.
#[cfg(feature = "noise")]
fn meeting(args: &ConnectArgs) -> anyhow::Result<Meeting> {
    meeting_with(args, Secret::from_file(&args.key_file)?)
}

async fn probe(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    // Each sample holds a connection; what the system does not allow is not sampled.
    let samples = u16::try_from(limits::make_room(args.samples.into())?).unwrap_or(args.samples);
    let config = ProbeConfig { rendezvous: args.rendezvous, bind: args.bind, samples, wait: args.wait };
    let json = args.json;
    let evidence = crate::probe::probe(&config, |event| {
        if json {
            tell(event);
        }
    });
    let class = match evidence.await {
        Ok(evidence) => classify(&evidence),
        Err(error) => {
            say(&error.to_string());
            return Ok(ExitCode::from(NO_PATH));
        }
    };
    if json {
        tell(&Event::Nat(class));
    } else {
        writeln!(io::stdout(), "{class}").context("cannot write the result")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ticket(args: &TicketArgs) -> anyhow::Result<ExitCode> {
    let secret = Secret::from_file(&args.key_file)?;
    let ticket = Ticket::new(args.external, args.bind, args.start_in, args.tolerance);
    writeln!(io::stdout(), "{}", ticket.seal(&secret)).context("cannot write the ticket")?;
    Ok(ExitCode::SUCCESS)
}

fn key(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let named = || format!("cannot write key file {}", args.file.display());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .with_context(named)?;
    writeln!(file, "{}", Secret::random().to_hex()).with_context(named)?;
    Ok(ExitCode::SUCCESS)
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

/// Whether it is the world's fault (no path) or the caller's (could not run) decides the exit code.
fn failed(error: &ConnectError, args: &ConnectArgs) -> ExitCode {
    if args.json {
        tell(&Event::Result(Outcome {
            ok: false,
            error: Some(error.to_string()),
            local: None,
            remote: None,
            method: args.method.to_string(),
            established_ms: None,
            authenticated_ms: None,
        }));
    }
    say(&error.to_string());
    ExitCode::from(if error.could_not_run() { CANNOT_RUN } else { NO_PATH })
}

/// Writes one event. A reader that has gone is no reason to stop punching.
fn tell(event: &Event) {
    let mut line = serde_json::to_vec(event).expect("events have a JSON form");
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "puncher: {text}");
}
