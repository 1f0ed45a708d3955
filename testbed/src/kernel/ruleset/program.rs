//! The way to nftables by the `nft` program: `nft -f -`, started in the namespace of this thread.
//!
//! It serves where there is no library, and for rules that a user wrote: an assertion that fails in nft ends the process
//! that it is in.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Mode;
use crate::kernel::error::{Error, Refusal, Result};

/// How long nft may take; thousands of rules take it a second.
const LIMIT: Duration = Duration::from_secs(10);

const TRIED: &str = "load a ruleset";

/// What nft said, and how it ended; `None` when its time was up.
struct Answer {
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs nft over `text` and returns what it prints.
pub(super) fn run(text: &str, mode: Mode) -> Result<String> {
    let Answer { status, stdout, stderr } = feed(text, mode).map_err(|e| {
        let error = Error::io(TRIED, "nft -f -", &e);
        match e.kind() {
            ErrorKind::NotFound => {
                error.with_help("install nftables (Debian, Ubuntu: apt-get install nftables)")
            }
            _ => error,
        }
    })?;
    let said = String::from_utf8_lossy(&stderr);
    let Some(status) = status else {
        return Err(Error::other(TRIED, format!("nft did not end within {LIMIT:?}")));
    };
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    if status.signal().is_some() || said.trim().is_empty() {
        let why = format!("nft ended with {status}: {}", said.trim());
        return Err(
            Error::other(TRIED, why.trim_end_matches(": ")).with_help("another version of nft may take them")
        );
    }
    Err(Refusal::parse(&said, text).into())
}

fn feed(text: &str, mode: Mode) -> io::Result<Answer> {
    let mut command = Command::new("nft");
    // Without counters and contents of sets, as the library is asked for.
    command.args(["-s", "-t"]);
    if mode == Mode::Check {
        command.arg("--check");
    }
    let command =
        command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = command.spawn()?;
    let stdin = nft.stdin.take();
    thread::scope(|scope| {
        // nft may answer before it has read all: writing and reading go side by side, and a broken pipe is its right.
        let write = move || stdin.map(|mut stdin| stdin.write_all(text.as_bytes()));
        let writer = thread::Builder::new().name("testbed-nft".into()).spawn_scoped(scope, write);
        let answer = listen(&mut nft, Instant::now() + LIMIT);
        if !matches!(answer, Ok(Answer { status: Some(_), .. })) {
            // Without it, the writer would wait for ever.
            let _ = nft.kill();
            let _ = nft.wait();
        }
        writer.and(answer)
    })
}

/// Hears what it says until it has closed both outputs, and how it ended.
fn listen(nft: &mut Child, deadline: Instant) -> io::Result<Answer> {
    let (mut stdout, mut stderr) = (nft.stdout.take(), nft.stderr.take());
    let mut answer = Answer { status: None, stdout: Vec::new(), stderr: Vec::new() };
    while stdout.is_some() || stderr.is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waited: Vec<PollFd<'_>> = Vec::new();
        waited.extend(stdout.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        waited.extend(stderr.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut waited, timeout) {
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(0) => return Ok(answer),
            ready => ready?,
        };
        let mut ready = waited.iter().map(|fd| fd.any().unwrap_or(true)).collect::<Vec<_>>().into_iter();
        let (out, err) =
            (stdout.is_some() && ready.next() == Some(true), stderr.is_some() && ready.next() == Some(true));
        if out && read_some(&mut stdout, &mut answer.stdout)? == 0 {
            stdout = None;
        }
        if err && read_some(&mut stderr, &mut answer.stderr)? == 0 {
            stderr = None;
        }
    }
    answer.status = Some(nft.wait()?);
    Ok(answer)
}

fn read_some(pipe: &mut Option<impl io::Read>, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 8192];
    let length = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut buffer))?;
    into.extend_from_slice(&buffer[..length]);
    Ok(length)
}
