//! The way to nftables where there is no library: `nft -f -`, started in the namespace of this thread.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};
use std::thread;

use super::Mode;
use crate::kernel::error::{Error, Refusal, Result};

/// Runs nft over `text` and returns what it prints.
pub(super) fn run(text: &str, mode: Mode) -> Result<String> {
    let output = feed(text, mode).map_err(|e| {
        let error = Error::io("load a ruleset", "nft -f -", &e);
        match e.kind() {
            ErrorKind::NotFound => {
                error.with_help("install nftables (Debian, Ubuntu: apt-get install nftables)")
            }
            _ => error,
        }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.trim().is_empty() {
        return Err(Error::other("load a ruleset", format!("nft ended with {}", output.status)));
    }
    Err(Refusal::parse(&said, text).into())
}

fn feed(text: &str, mode: Mode) -> std::io::Result<Output> {
    let mut command = Command::new("nft");
    // Without counters and contents of sets, as the library is asked for.
    command.args(["-s", "-t"]);
    if mode == Mode::Check {
        command.arg("--check");
    }
    let mut nft = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdin = nft.stdin.take();
    thread::scope(|scope| {
        // nft may answer before it has read all: writing and reading go side by side, and a broken pipe is its right.
        let write = move || stdin.map(|mut stdin| stdin.write_all(text.as_bytes()));
        let writer = thread::Builder::new().name("testbed-nft".into()).spawn_scoped(scope, write);
        let output = nft.wait_with_output();
        writer.and(output)
    })
}
