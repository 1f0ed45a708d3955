//! One program of a trial: started, read, and waited for.

use std::future::{Future, pending};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::judge::program_output::{self, ProgramEnd};
use crate::kernel::error::{Error, Result};
use crate::kernel::process::{Command, ConfinedInit, CpuTime, Process, Stdio};
use crate::lab::Node;
use crate::lab::nat_program::telling_lines;
use crate::model::event::ProgramLog;
use crate::model::program::AfterInput;
use crate::model::suite::ResultFormat;
use crate::run::sandbox::{ProgramGrant, USUAL_PATH, in_path_of_root};

/// What is kept of each output of a program.
const KEPT: usize = 1 << 20;

/// A program that was started.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    command: Vec<String>,
    process: Process,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    /// Whether it has claimed success on its standard output.
    claimed: watch::Receiver<bool>,
    /// Its standard input once all has been written: kept, for as long as it is to stay open.
    _input: Option<JoinHandle<Option<Input>>>,
    end: Option<ProgramEnd>,
}

/// The way to a program's standard input.
type Input = tokio::net::unix::pipe::Sender;

/// What a peer reads, and how its claim is recognised.
#[derive(Debug, Clone)]
pub(super) struct Conversation<'a> {
    pub(super) claim: &'a ResultFormat,
    /// The text, and what comes after it.
    pub(super) input: Option<(String, AfterInput)>,
}

/// Starts a peer in a node, with an environment that holds nothing but what the contract promises.
pub(super) async fn start(
    node: &Node,
    name: &str,
    command: Vec<String>,
    given: &ProgramGrant,
    Conversation { claim, input }: Conversation<'_>,
) -> Result<Running> {
    let mut process = spawn_with(node, &command, given).await?;
    let stdin = process.stdin.take();
    let (tell, claimed) = watch::channel(false);
    let stdout = tokio::spawn(watched(process.stdout.take(), claim.clone(), tell));
    let stderr = tokio::spawn(keep(process.stderr.take()));
    let input = stdin.zip(input).map(|(stdin, (text, then))| tokio::spawn(feed(stdin, text, then)));
    Ok(Running { claimed, _input: input, ..Running::new(name, command, process, [stdout, stderr]) })
}

/// Writes a text to a standard input, and hands the input back if it is to stay open. A program need not read it.
async fn feed(mut stdin: Input, text: String, then: AfterInput) -> Option<Input> {
    let written = stdin.write_all(text.as_bytes()).await;
    (written.is_ok() && then == AfterInput::Wait).then_some(stdin)
}

/// Starts a program whose standard input has ended.
pub(super) async fn spawn(node: &Node, command: &[String], given: &ProgramGrant) -> Result<Process> {
    let mut process = spawn_with(node, command, given).await?;
    drop(process.stdin.take());
    Ok(process)
}

async fn spawn_with(node: &Node, command: &[String], given: &ProgramGrant) -> Result<Process> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Error::other("start a program", "no command"))?;
    let program = match given.root.as_deref().filter(|_| !program.contains('/')) {
        Some(root) => in_path_of_root(root, program, &given.environment)
            .map_err(|why| Error::other(format!("start \"{program}\""), why))?,
        None => program.to_owned(),
    };
    let mut request = Command::new(program).args(arguments).env_clear().limits(given.limits);
    // A pipe, and not a device of the host's: the owner of a device may change its permissions.
    request = request.directory(ConfinedInit::FOLDER).env("HOME", ConfinedInit::HOME).stdin(Stdio::Pipe);
    for name in ["PATH", "RUST_LOG"] {
        if let Some(value) = std::env::var_os(name) {
            request = request.env(name, value);
        }
    }
    if given.root.is_some() {
        request = request.env("PATH", USUAL_PATH);
    }
    request = given.environment.iter().fold(request, |request, (name, value)| request.env(name, value));
    node.spawn_confined(&request).await
}

impl Running {
    /// A program, and who reads its standard output and its standard error.
    pub(super) fn new(
        name: &str,
        command: Vec<String>,
        process: Process,
        [stdout, stderr]: [JoinHandle<Vec<u8>>; 2],
    ) -> Self {
        let (name, claimed) = (name.to_owned(), watch::channel(false).1);
        Self { name, command, process, stdout, stderr, claimed, _input: None, end: None }
    }

    /// Waits until it has claimed success on its standard output; for ever if it never does.
    pub(super) fn claimed(&self) -> impl Future<Output = ()> + use<> {
        let mut claimed = self.claimed.clone();
        async move {
            if claimed.wait_for(|claimed| *claimed).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Waits until it ends, but not beyond `deadline`.
    pub(super) async fn wait_until(&mut self, deadline: Instant) -> Result<()> {
        use std::os::unix::process::ExitStatusExt as _;
        if let Ok(status) = timeout_at(deadline, self.process.wait()).await {
            let status = status?;
            self.end = Some(match (status.code(), status.signal()) {
                (Some(code), _) => ProgramEnd::Exited(code),
                (None, signal) => ProgramEnd::Signalled(signal.unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// How it ended, if it has. Ends are told in their order: knowing a later one implies knowing this one.
    pub(super) async fn ended_already(&mut self) -> Result<Option<ProgramEnd>> {
        self.wait_until(Instant::now()).await?;
        Ok(self.end)
    }

    /// What it had of the processors, once it has ended.
    pub(super) async fn cpu_time(&mut self) -> Result<CpuTime> {
        self.process.cpu_time().await
    }

    /// Whether somebody had stopped it, once it has ended.
    pub(super) async fn was_stopped(&mut self) -> Result<bool> {
        self.process.was_stopped().await
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How it ended; killed, if it had not when it was last waited for.
    pub(super) fn end(&self) -> ProgramEnd {
        self.end.unwrap_or(ProgramEnd::Killed)
    }

    /// What it said, once all programs of its lab have been ended.
    pub(super) async fn log(self) -> ProgramLog {
        let ended = match self.end() {
            ProgramEnd::Exited(code) => format!("exited with code {code}"),
            ProgramEnd::Signalled(signal) => format!("ended by signal {signal}"),
            ProgramEnd::Killed => "killed when its time was up".to_owned(),
        };
        let Self { name, command, stdout, stderr, .. } = self;
        let stdout = stdout.await.unwrap_or_default();
        let stderr = stderr.await.unwrap_or_default();
        ProgramLog { name, command, stdout, stderr, ended }
    }

    /// Why it could not be used, with what it said on standard error.
    pub(super) async fn refused(mut self, why: String) -> Error {
        let tried = format!("start \"{}\"", self.command.join(" "));
        // Its outputs close when it ends; one that goes on is ended with its lab.
        let soon = Instant::now() + Duration::from_millis(100);
        let _ = self.wait_until(soon).await;
        if self.end.is_none() {
            return Error::other(tried, why);
        }
        let log = self.log().await;
        let stderr = String::from_utf8_lossy(&log.stderr);
        Error::other(tried, format!("{why}; it {}: {}", log.ended, telling_lines(stderr.trim())))
    }
}

/// Reads an output to its end and keeps its beginning, so that no program blocks on us.
pub(super) async fn keep(output: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    keep_after(Vec::new(), output).await
}

/// The same of an output whose beginning was read before.
pub(super) async fn keep_after(kept: Vec<u8>, output: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    keep_and_show(kept, output, |_| ()).await
}

/// The same, and tells when one of its lines claims success.
async fn watched(
    output: Option<impl AsyncReadExt + Unpin>,
    claim: ResultFormat,
    tell: watch::Sender<bool>,
) -> Vec<u8> {
    let mut seen = 0;
    let look = |kept: &[u8]| {
        while let Some(length) = kept[seen..].iter().position(|byte| *byte == b'\n') {
            if program_output::claims_success(&claim, &kept[seen..seen + length]) {
                let _ = tell.send(true);
            }
            seen += length + 1;
        }
    };
    let kept = keep_and_show(Vec::new(), output, look).await;
    drop(tell);
    kept
}

/// Reads to the end and keeps the beginning, which is shown each time that there is more of it.
async fn keep_and_show(
    mut kept: Vec<u8>,
    output: Option<impl AsyncReadExt + Unpin>,
    mut look: impl FnMut(&[u8]),
) -> Vec<u8> {
    let Some(mut output) = output else { return kept };
    let mut buffer = vec![0; 8192];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
        look(&kept);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_output_is_read_to_its_end_and_its_beginning_is_kept() {
        let long = vec![b'x'; KEPT + 10_000];
        let mut rest = &long[..];
        let kept = keep_after(b"first".to_vec(), Some(&mut rest)).await;
        assert_eq!((kept.len(), &kept[..6], rest.len()), (KEPT, &b"firstx"[..], 0));
        assert_eq!(keep(None::<&[u8]>).await, b"");
    }
}
