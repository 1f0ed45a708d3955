//! One program of a trial: started, read, and waited for.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::judge::program_output::ProgramEnd;
use crate::kernel::error::{Error, Result};
use crate::kernel::process::{Command, ConfinedInit, Process, Share, Stdio};
use crate::kernel::tcp_sockets;
use crate::lab::Node;
use crate::model::event::ProgramLog;
use crate::model::suite::ResultFormat;
use crate::run::sandbox::Surroundings;

/// What is kept of each output of a program.
const KEPT: usize = 1 << 20;

/// How long a rendezvous server may take until it listens.
const LISTEN_DEADLINE: Duration = Duration::from_secs(5);

/// A program that was started.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    command: Vec<String>,
    process: Process,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    end: Option<ProgramEnd>,
}

/// Starts a program in a node, with an environment that holds nothing but what the contract promises.
pub(super) async fn start(
    node: &Node,
    name: &str,
    command: Vec<String>,
    given: &Surroundings,
) -> Result<Running> {
    let mut process = spawn(node, &command, given).await?;
    let stdout = tokio::spawn(keep(process.stdout.take()));
    let stderr = tokio::spawn(keep(process.stderr.take()));
    Ok(Running { name: name.to_owned(), command, process, stdout, stderr, end: None })
}

/// How a rendezvous server says that it listens, and where it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening<'a> {
    pub(super) claim: &'a ResultFormat,
    pub(super) endpoint: SocketAddrV4,
}

/// Starts a rendezvous server and waits until it listens.
pub(super) async fn start_server(
    node: &Node,
    command: Vec<String>,
    Listening { claim, endpoint }: Listening<'_>,
    given: &Surroundings,
) -> Result<Running> {
    let deadline = Instant::now() + LISTEN_DEADLINE;
    let mut process = spawn(node, &command, given).await?;
    let mut stdout = process.stdout.take().map(BufReader::new);
    let stderr = tokio::spawn(keep(process.stderr.take()));
    let mut said = String::new();
    let listens = async {
        match (claim, &mut stdout) {
            (ResultFormat::Json, Some(lines)) => lines.read_line(&mut said).await.is_ok_and(|n| n > 0),
            _ => until_listening(node, endpoint).await,
        }
    };
    let listens = timeout_at(deadline, listens).await;
    let stdout = tokio::spawn(keep_after(said.clone().into_bytes(), stdout));
    let running = Running { name: "rendezvous".into(), command, process, stdout, stderr, end: None };
    let wrong = match listens {
        Err(_) => Some(format!("it did not listen within {LISTEN_DEADLINE:?}")),
        Ok(false) => Some("it ended before it listened".to_owned()),
        Ok(true) if *claim == ResultFormat::Json && !said.contains("\"listening\"") => {
            Some(format!("its first line was {said:?}, not that it listens"))
        }
        Ok(true) => None,
    };
    match wrong {
        None => Ok(running),
        Some(why) => Err(running.refused(why).await),
    }
}

async fn spawn(node: &Node, command: &[String], given: &Surroundings) -> Result<Process> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Error::other("start a program", "no command"))?;
    let mut request = Command::new(program).args(arguments).env_clear().limits(given.limits);
    // A pipe that ends at once, and not a device of the host's: whoever owns a device may change its permissions.
    request = request.directory(ConfinedInit::FOLDER).env("HOME", ConfinedInit::HOME).stdin(Stdio::Pipe);
    for name in ["PATH", "RUST_LOG"] {
        if let Some(value) = std::env::var_os(name) {
            request = request.env(name, value);
        }
    }
    request = given.environment.iter().fold(request, |request, (name, value)| request.env(name, value));
    let mut process = node.spawn_confined(&request).await?;
    drop(process.stdin.take());
    Ok(process)
}

/// Waits until a socket in the node listens on `endpoint`.
async fn until_listening(node: &Node, endpoint: SocketAddrV4) -> bool {
    loop {
        match node.enter(|inside| tcp_sockets::is_listening(inside, endpoint)) {
            Ok(true) => return true,
            Ok(false) => sleep(Duration::from_millis(2)).await,
            Err(_) => return false,
        }
    }
}

impl Running {
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

    /// How it ended, if it has. Ends are told in their order: whoever knows a later one gets to know this one.
    pub(super) async fn ended_already(&mut self) -> Result<Option<ProgramEnd>> {
        self.wait_until(Instant::now()).await?;
        Ok(self.end)
    }

    /// What it had of the processors, once it has ended.
    pub(super) async fn share(&mut self) -> Result<Share> {
        self.process.share().await
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
    async fn refused(mut self, why: String) -> Error {
        let tried = format!("start \"{}\"", self.command.join(" "));
        // Its outputs close when it ends; one that goes on is ended with its lab.
        let soon = Instant::now() + Duration::from_millis(100);
        let _ = self.wait_until(soon).await;
        if self.end.is_none() {
            return Error::other(tried, why);
        }
        let log = self.log().await;
        let stderr = String::from_utf8_lossy(&log.stderr);
        Error::other(tried, format!("{why}; it {}: {}", log.ended, stderr.trim()))
    }
}

/// Reads an output to its end and keeps its beginning, so that no program blocks on us.
async fn keep(output: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    keep_after(Vec::new(), output).await
}

async fn keep_after(mut kept: Vec<u8>, output: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    let Some(mut output) = output else { return kept };
    let mut buffer = vec![0; 8192];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
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
