//! A command that a user runs in a node of a lab: its words and surroundings, and its streams, which may be a terminal.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::command_error::CommandError;
use crate::kernel::process::{Command, Stdio, Terminal};
use crate::kernel::terminal::{Pty, Raw, Window};

/// What is to run, and where: all that another process has to know to start it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeCommand {
    pub(super) node: String,
    words: Vec<String>,
    variables: Vec<(String, String)>,
    folder: PathBuf,
    terminal: bool,
}

impl NodeCommand {
    /// The program, its arguments, and variables besides those of this process.
    pub(super) fn new(node: &str, words: &[String], more: &[(&str, String)]) -> Self {
        let own = std::env::vars_os();
        let own = own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self {
            node: node.to_owned(),
            words: words.to_owned(),
            variables: own.chain(more).collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            terminal: io::stdin().is_terminal(),
        }
    }

    /// The same with these as its standard streams.
    pub(super) fn with_streams(&self, streams: [Arc<OwnedFd>; 3]) -> Command {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let command = Command::new(program).args(arguments).env_clear().directory(&self.folder);
        let command = self.variables.iter().fold(command, |command, (name, value)| command.env(name, value));
        let [stdin, stdout, stderr] = streams.map(Stdio::Descriptor);
        let terminal = if self.terminal { Terminal::Controlling } else { Terminal::None };
        command.stdin(stdin).stdout(stdout).stderr(stderr).terminal(terminal)
    }
}

/// What the user has for a program to read and write.
#[derive(Debug)]
pub(super) struct Streams {
    theirs: [Arc<OwnedFd>; 3],
    /// The other end of theirs, if they are a terminal of the program's own.
    pty: Option<Pty>,
}

impl Streams {
    /// A terminal of its own for an command that has one, else this process' own streams.
    pub(super) fn open(command: &NodeCommand) -> Result<Self, CommandError> {
        if command.terminal {
            let pty = Pty::open()?;
            return Ok(Self { theirs: [(); 3].map(|()| pty.end()), pty: Some(pty) });
        }
        let own = |fd: BorrowedFd<'_>| {
            let copy = fd.try_clone_to_owned().map(Arc::new);
            copy.map_err(|why| CommandError::new(format!("cannot hand over an input or output: {why}")))
        };
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let theirs = [own(stdin.as_fd())?, own(stdout.as_fd())?, own(stderr.as_fd())?];
        Ok(Self { theirs, pty: None })
    }

    /// The program's ends.
    pub(super) fn theirs(&self) -> [Arc<OwnedFd>; 3] {
        self.theirs.clone()
    }

    /// Joins the user to the program's terminal, if it has one, until it `ended`; `after` ends what it left behind there.
    pub(super) async fn join<E>(
        self,
        ended: impl Future<Output = Result<ExitStatus, E>>,
        after: impl AsyncFnOnce() -> Result<(), CommandError>,
    ) -> Result<ExitStatus, CommandError>
    where
        CommandError: From<E>,
    {
        // The program has its ends, and ours would keep its terminal open.
        drop(self.theirs);
        let Some(pty) = self.pty else {
            let status = wait(ended, None).await;
            after().await?;
            return status;
        };
        let size = pty.window()?;
        let raw = Raw::enter()?;
        let printed = pty.carry()?;
        let status = wait(ended, Some(&size)).await;
        after().await?;
        let _ = tokio::task::spawn_blocking(move || printed.join()).await;
        drop(raw);
        status
    }
}

/// Waits for the end of a program, or for somebody who wants us to end; meanwhile the window may change.
async fn wait<E>(
    ended: impl Future<Output = Result<ExitStatus, E>>,
    size: Option<&Window>,
) -> Result<ExitStatus, CommandError>
where
    CommandError: From<E>,
{
    let listen =
        |kind| signal(kind).map_err(|why| CommandError::new(format!("cannot wait for signals: {why}")));
    let (mut window, mut terminate) =
        (listen(SignalKind::window_change())?, listen(SignalKind::terminate())?);
    let (mut interrupt, mut hangup) = (listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    tokio::pin!(ended);
    loop {
        let by = |signal: SignalKind| Ok(ExitStatus::from_raw(signal.as_raw_value()));
        tokio::select! {
            status = &mut ended => return Ok(status?),
            _ = window.recv() => size.iter().for_each(|size| size.follow()),
            _ = terminate.recv() => return by(SignalKind::terminate()),
            _ = interrupt.recv() => return by(SignalKind::interrupt()),
            _ = hangup.recv() => return by(SignalKind::hangup()),
        }
    }
}
