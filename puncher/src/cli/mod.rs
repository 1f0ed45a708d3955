//! The command line: arguments into requests, requests carried out, outcomes into exit codes.

mod args;
mod carry;
mod manual;
mod nat_file;
mod rendezvous;

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use zeroize::Zeroizing;

pub(crate) use args::Cli;
use args::{Command, ConnectArgs, KeyArgs, ProbeArgs, TicketArgs};
use carry::ConnectionLost;

use puncher::nat::{self, ProbeConfig};
use puncher::rendezvous::resolve;
use puncher::{
    Awaited, ClientError, Config, ConnectError, Connection, Event, FailureKind, Meeting, Outcome, OwnTicket,
    Puncher, Secret, SecretError, ServerTrust, SpecialAddresses,
};

/// Exit code when there is no path; with `--json` when there is no connection for any other reason either.
const NO_PATH: u8 = 1;

/// Exit code when the command could not run.
const CANNOT_RUN: u8 = 2;

/// Exit code when the rendezvous server is to blame.
const NO_SERVER: u8 = 3;

/// Exit code when the peer did not come or left.
const NO_PEER: u8 = 4;

/// Exit code when the connection broke after it was won.
const BROKEN: u8 = 5;

/// With `--exec` codes below are the command's own, and puncher's are so much higher.
const BESIDE_EXEC: u8 = 120;

/// Carries out the command.
///
/// # Errors
/// When it could not run; finding no path is an exit code.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = match cli.command {
        Command::Rendezvous(args) => runtime.block_on(rendezvous::rendezvous(*args)),
        Command::Connect(args) => runtime.block_on(connect(*args)),
        Command::Probe(args) => runtime.block_on(probe(args)),
        Command::Ticket(args) => ticket(&args),
        Command::Key(args) => key(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::pages(&folder),
    };
    // A read of standard input cannot be ended; nothing waits for it.
    runtime.shutdown_background();
    result
}

/// The exit code for an error that kept the command from running.
#[must_use]
pub(crate) fn cannot_run() -> ExitCode {
    ExitCode::from(CANNOT_RUN)
}

async fn connect(args: ConnectArgs) -> anyhow::Result<ExitCode> {
    connect_and_use(&args).await.or_else(|error| {
        say(&format!("{error:#}"));
        Ok(own_code(CANNOT_RUN, &args))
    })
}

async fn connect_and_use(args: &ConnectArgs) -> anyhow::Result<ExitCode> {
    let secret = shared_secret(&args.key_file)?;
    let token = args.token_file.as_deref().map(Secret::from_file).transpose()?;
    let servers = match look_up(&args.rendezvous).await {
        Ok(servers) => servers,
        Err(error) => return Ok(failed(&error.into(), args)),
    };
    let mut config = config(args, servers);
    config.token = token;
    let mut puncher = Puncher::new(config)?;
    let json = args.json;
    puncher = puncher.on_event(move |event| if json { tell(event) } else { progress(event) });
    match meet(args, &mut puncher, secret).await? {
        Ok(connection) => {
            if json {
                tell(&Event::Result(Outcome::won(&connection.report)));
            }
            carry::carry(connection, args).await.or_else(|error| {
                match error.downcast_ref::<ConnectionLost>() {
                    Some(broken) => {
                        say(&broken.to_string());
                        Ok(own_code(BROKEN, args))
                    }
                    None => Err(error),
                }
            })
        }
        Err(error) => Ok(failed(&error, args)),
    }
}

/// Says whose address is looked up before it is: a resolver may take its time.
async fn look_up(servers: &[String]) -> Result<Vec<SocketAddrV4>, ClientError> {
    for name in servers.iter().filter(|server| server.parse::<SocketAddrV4>().is_err()) {
        say(&format!("looking up {name}"));
    }
    resolve(servers).await
}

/// What a person at a terminal wants to know while nothing else happens.
fn progress(event: &Event) {
    match event {
        Event::Limited { budget_syns, wanted } => {
            say(&format!(
                "the limit of open files leaves {budget_syns} of {wanted} sockets, raise it with: ulimit -n"
            ));
        }
        Event::Waiting { at_most, .. } if at_most.is_zero() => {}
        Event::Waiting { until, at_most } => {
            let time = humantime::format_duration(rounded(*at_most));
            match until {
                Awaited::Server => say(&format!("connecting to the rendezvous server, for at most {time}")),
                Awaited::Peer => say(&format!("waiting for the peer, for at most {time}")),
                Awaited::Start => say(&format!("starting in {time}")),
                _ => {}
            }
        }
        _ => {}
    }
}

/// As exact as a reader wants it.
fn rounded(duration: Duration) -> Duration {
    let unit = if duration < Duration::from_secs(1) { 1 } else { 1000 };
    Duration::from_millis(u64::try_from(duration.as_millis() / unit * unit).unwrap_or(u64::MAX))
}

fn config(args: &ConnectArgs, servers: Vec<SocketAddrV4>) -> Config {
    let mut config = Config::new(servers);
    config.bind = args.bind;
    config.method = args.method;
    config.budget_syns = args.budget_syns;
    config.deadline = args.deadline;
    config.patience = args.patience;
    config.low_ports = args.low_ports.into();
    config.hops = args.hops;
    config.server_trust = if args.trust_server { ServerTrust::Full } else { ServerTrust::Confirmed };
    if args.allow_special_addresses {
        config.special_addresses = SpecialAddresses::Allow;
    }
    config.keep_alive = args.keep_alive;
    config.start_delay = args.start_delay;
    config.seed = args.seed.unwrap_or(config.seed);
    config
}

/// By whichever way the arguments name.
async fn meet(
    args: &ConnectArgs,
    puncher: &mut Puncher,
    secret: Secret,
) -> anyhow::Result<Result<Connection, ConnectError>> {
    if let (Some(own), Some(peer)) = (&args.ticket, &args.peer_ticket) {
        let text = puncher::read_private(own)?;
        let own = text.parse().with_context(|| format!("cannot read the own ticket in {}", own.display()))?;
        let peer = peer.parse().context("cannot read the peer's ticket")?;
        return Ok(puncher.connect_by_tickets(&own, &peer, &secret).await);
    }
    let meeting = meeting(args, secret)?;
    Ok(match args.peer {
        Some(peer) => puncher.connect_to(&meeting, peer, args.start_in.unwrap_or(Duration::ZERO)).await,
        None => puncher.connect(&meeting).await,
    })
}

fn meeting(args: &ConnectArgs, secret: Secret) -> anyhow::Result<Meeting> {
    let (Some(name), Some(role)) = (args.meeting.clone(), args.role) else {
        anyhow::bail!("a meeting needs --meeting and --role, or two tickets");
    };
    Ok(Meeting { name, role, secret })
}

async fn probe(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    let ProbeArgs { rendezvous, bind, samples, wait, nat: file, json } = args;
    let measured = async {
        let config = ProbeConfig { rendezvous: look_up(&rendezvous).await?, bind, samples, wait };
        if !json {
            say("measuring the NAT: this takes some seconds");
        }
        let tell_json = |event: &Event| {
            if json {
                tell(event)
            }
        };
        nat::probe(&config, tell_json).await
    };
    let evidence = match measured.await {
        Ok(evidence) => evidence,
        Err(error @ ClientError::Bind { .. }) => return Err(error.into()),
        Err(error) => {
            say(&error.to_string());
            return Ok(ExitCode::from(NO_SERVER));
        }
    };
    let class = nat::classify(&evidence);
    if let Some(path) = &file {
        write_new(path, "the NAT file", &nat_file::text(&class, &evidence.many_ports, wait))?;
    }
    if json {
        tell(&Event::Nat(class));
    } else {
        writeln!(io::stdout(), "{class}").context("cannot write the result")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ticket(args: &TicketArgs) -> anyhow::Result<ExitCode> {
    let secret = shared_secret(&args.key_file)?;
    let ticket = OwnTicket::new(args.external, args.bind, args.start_in, args.tolerance);
    write_private(&args.keep, "what is kept of the ticket", &ticket.to_text())?;
    writeln!(io::stdout(), "{}", ticket.seal(&secret)).context("cannot write the ticket")?;
    say(&format!("this ticket starts in {}", humantime::format_duration(args.start_in)));
    Ok(ExitCode::SUCCESS)
}

/// The secret that both peers share.
fn shared_secret(file: &Path) -> anyhow::Result<Secret> {
    Secret::from_file(file).map_err(|error| match error {
        SecretError::Read { ref why, .. } if why.kind() == io::ErrorKind::NotFound => {
            let file = file.display();
            anyhow::anyhow!(
                "{error}\n  help: make a key with: puncher key {file}; the peer needs the same file"
            )
        }
        error => error.into(),
    })
}

fn key(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    let secret = Zeroizing::new(format!("{}\n", *Secret::random().to_hex()));
    write_private(&args.file, "key file", &secret)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a new file that nobody else may read.
fn write_private(path: &Path, what: &str, text: &str) -> anyhow::Result<()> {
    puncher::write_private(path, text).with_context(|| format!("cannot write {what} {}", path.display()))
}

/// Writes a file that must not exist, and that everybody may read.
fn write_new(path: &Path, what: &str, text: &str) -> anyhow::Result<()> {
    let named = || format!("cannot write {what} {}", path.display());
    let mut file = std::fs::File::create_new(path).with_context(named)?;
    file.write_all(text.as_bytes()).with_context(named)
}

/// What stood in the way decides the exit code.
fn failed(error: &ConnectError, args: &ConnectArgs) -> ExitCode {
    if args.json {
        tell(&Event::Result(Outcome::failed(error, args.method)));
    }
    say(&error.to_string());
    let code = match error.kind() {
        FailureKind::CannotRun => CANNOT_RUN,
        FailureKind::Server if !args.json => NO_SERVER,
        FailureKind::Peer if !args.json => NO_PEER,
        _ => NO_PATH,
    };
    own_code(code, args)
}

/// A code of puncher itself, told apart from those of a command that it was to run.
fn own_code(code: u8, args: &ConnectArgs) -> ExitCode {
    ExitCode::from(if args.exec.is_some() { BESIDE_EXEC + code } else { code })
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
