//! `testbed shell` and `testbed exec`: the lab of a cell, brought up and held as long as a program runs in one of its
//! nodes.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::{ExecArgs, OwnNats, RightsArgs, ShellArgs};
use crate::cli::cells;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, print_error};
use crate::cli::select;
use crate::kernel::process::{Command, Process, Stdio, Terminal};
use crate::kernel::terminal::{Pty, Raw};
use crate::lab::{self, Lab};
use crate::model::problem::suggestion;
use crate::model::suite::Cell;
use crate::model::topology::{NodeName, Topology};
use crate::run;

/// The word that lists the cells, in the place of one.
const LIST: &str = "list";

/// `testbed shell`.
///
/// # Errors
/// When there is no such cell or node, or the lab cannot be built here.
pub fn shell(args: &ShellArgs) -> Result<ExitCode, CommandError> {
    if args.cell == LIST {
        let suite = select::suite(&args.suite, &args.nats.catalogue()?)?;
        return print(|out| suite.cells().iter().try_for_each(|cell| writeln!(out, "{}", cell.id)));
    }
    let wanted = ShellTarget { suite: &args.suite, cell: &args.cell, node: &args.node, nats: &args.nats };
    enter(wanted, args.rights, |cell, topology| {
        let nodes: Vec<&str> = topology.nodes.keys().map(NodeName::as_str).collect();
        print_error(&format!(
            "the lab of {} stands: {}\nthis is {}; the lab is gone when its shell ends",
            cell.id,
            nodes.join(", "),
            args.node
        ));
        interactive(&args.node)
    })
}

/// `testbed exec`: ends with the exit code of the command.
///
/// # Errors
/// When there is no such cell or node, the lab cannot be built here, or the command cannot be started.
pub fn exec(args: &ExecArgs) -> Result<ExitCode, CommandError> {
    let wanted = ShellTarget { suite: &args.suite, cell: &args.cell, node: &args.node, nats: &args.nats };
    enter(wanted, args.rights, |_, _| Command::new(&args.command[0]).args(&args.command[1..]))
}

/// A shell whose prompt shows the node. It reads no start-up file: one could change the prompt.
fn interactive(node: &str) -> Command {
    let prompt = format!("[{node}] \\w \\$ ");
    if Path::new("/bin/bash").exists() {
        Command::new("/bin/bash").args(["--norc", "--noprofile", "-i"]).env("PS1", prompt)
    } else {
        Command::new("/bin/sh").arg("-i").env("PS1", format!("[{node}] # ")).env("ENV", "")
    }
}

/// Which node of which lab.
#[derive(Debug, Clone, Copy)]
struct ShellTarget<'a> {
    suite: &'a str,
    cell: &'a str,
    node: &'a str,
    nats: &'a OwnNats,
}

/// Builds the lab and runs in it what `command` says once it stands.
fn enter(
    wanted: ShellTarget<'_>,
    rights: RightsArgs,
    command: impl FnOnce(&Cell, &Topology) -> Command,
) -> Result<ExitCode, CommandError> {
    let ShellTarget { suite, cell, node, nats } = wanted;
    let catalogue = nats.catalogue()?;
    let (name, suite) = (suite, select::suite(suite, &catalogue)?);
    let cells = suite.cells();
    let help = format!("list the cells with: testbed shell {name} {LIST}");
    let cell = cells::pick(&cells, |cell| cell.id.as_str(), cell, (&format!("\"{name}\""), &help))?;
    let topology = &suite.part(cell).topology;
    let names = || topology.nodes.keys().map(NodeName::as_str);
    if !names().any(|known| known == node) {
        let listed = format!("there are {}", names().collect::<Vec<_>>().join(", "));
        let help = suggestion(node, names(), listed);
        return Err(CommandError::with_help(
            format!("the lab of \"{}\" has no node \"{node}\"", cell.id),
            help,
        ));
    }
    lab::setup(rights.into())?.block_on(async {
        let lab = run::open_lab(&suite, &catalogue, cell).await.map_err(|why| match why {
            run::RunError::Kernel(error) => CommandError::from(error),
            other => CommandError::new(other.to_string()),
        })?;
        let command = command(cell, topology);
        let status = match io::stdin().is_terminal() {
            true => on_a_terminal(&lab, node, command).await,
            false => piped(&lab, node, command).await,
        }?;
        lab.kill_all().await?;
        Ok(exit_code(status))
    })
}

/// Runs a program on a terminal of its own, which the user's is joined to meanwhile.
async fn on_a_terminal(lab: &Lab, node: &str, command: Command) -> Result<ExitStatus, CommandError> {
    let pty = Pty::open()?;
    let command = command.stdin(pty.stdio()).stdout(pty.stdio()).stderr(pty.stdio());
    let command = command.terminal(Terminal::Controlling);
    let mut program = lab.node(node)?.spawn(&command).await?;
    // It has the terminal now, and we must not keep it open.
    drop(command);
    let size = pty.window()?;
    let raw = Raw::enter()?;
    let printed = pty.carry()?;
    let status = wait(&mut program, || size.follow()).await;
    // Whatever it left behind holds the terminal open.
    lab.kill_all().await?;
    let _ = tokio::task::spawn_blocking(move || printed.join()).await;
    drop(raw);
    status
}

/// Runs a program on our own input and outputs.
async fn piped(lab: &Lab, node: &str, command: Command) -> Result<ExitStatus, CommandError> {
    let own = |fd: BorrowedFd<'_>| {
        let copy = fd.try_clone_to_owned();
        copy.map(|fd| Stdio::Descriptor(Arc::new(fd)))
            .map_err(|why| CommandError::new(format!("cannot hand over an input or output: {why}")))
    };
    let command = command
        .stdin(own(io::stdin().as_fd())?)
        .stdout(own(io::stdout().as_fd())?)
        .stderr(own(io::stderr().as_fd())?);
    let mut program = lab.node(node)?.spawn(&command).await?;
    wait(&mut program, || {}).await
}

/// Waits for the end of a program, or for somebody who wants us to end; meanwhile the window may change.
async fn wait(program: &mut Process, resized: impl Fn()) -> Result<ExitStatus, CommandError> {
    let listen =
        |kind| signal(kind).map_err(|why| CommandError::new(format!("cannot wait for signals: {why}")));
    let (mut window, mut terminate) =
        (listen(SignalKind::window_change())?, listen(SignalKind::terminate())?);
    let (mut interrupt, mut hangup) = (listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    loop {
        let ended = |signal: SignalKind| Ok(ExitStatus::from_raw(signal.as_raw_value()));
        tokio::select! {
            status = program.wait() => return Ok(status?),
            _ = window.recv() => resized(),
            _ = terminate.recv() => return ended(SignalKind::terminate()),
            _ = interrupt.recv() => return ended(SignalKind::interrupt()),
            _ = hangup.recv() => return ended(SignalKind::hangup()),
        }
    }
}

/// As shells tell how a program ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
