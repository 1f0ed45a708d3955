//! Starts programs and waits for what they say, each with a deadline.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) fn puncher() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_puncher"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A peer's command: who it is, and how long it may search. Where it meets the other is for the test to add.
pub(crate) fn connect(role: &str, key: &Key, deadline: &str) -> Command {
    let mut command = puncher();
    command.args(["connect", "--role", role, "--deadline", deadline, "--key-file"]).arg(key.path());
    command
}

/// A program that is ended with the test.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().expect("the program starts") }
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is piped")
    }

    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("standard error is piped")
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.child
            .stdin
            .take()
            .expect("standard input is piped")
            .write_all(bytes)
            .expect("the program reads");
    }

    /// Writes, and leaves standard input open.
    pub(crate) fn keep_writing(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("standard input is piped");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the program reads");
    }

    pub(crate) fn stdout_ref(&mut self) -> &mut ChildStdout {
        self.child.stdout.as_mut().expect("standard output is piped")
    }

    /// Waits for its end; what it wrote goes with it.
    pub(crate) fn end(mut self) -> Ended {
        let stdout = self.child.stdout.take().map(in_background);
        let stderr = self.child.stderr.take().map(in_background);
        let status = self.wait();
        let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            reader.map(|reader| reader.join().expect("the reader ends")).unwrap_or_default()
        };
        let stderr = String::from_utf8_lossy(&text(stderr)).into_owned();
        Ended { status, stdout: text(stdout), stderr }
    }

    fn wait(&mut self) -> ExitStatus {
        let process = Id::Pid(Pid::from_raw(self.id()));
        let (tell, ended) = channel();
        // It stays a zombie, whose number nobody else can get, until it is waited for below.
        thread::spawn(move || tell.send(waitid(process, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)));
        let ended =
            ended.recv_timeout(LONG).unwrap_or_else(|_| panic!("the program did not end within {LONG:?}"));
        ended.expect("the program can be waited for");
        self.child.wait().expect("the program has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_background(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A program that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said: String = String::from_utf8_lossy(&self.stdout).chars().take(1500).collect();
        write!(f, "{}\n{said}\n{}", self.status, self.stderr)
    }
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The JSON lines it wrote.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.lines().map(|line| serde_json::from_str(line).expect("a line is a JSON object")).collect()
    }

    /// The last of them.
    pub(crate) fn result(&self) -> Value {
        let last = self.events().pop().unwrap_or_else(|| panic!("no result line: {self:?}"));
        assert_eq!(last["event"], "result", "{self:?}");
        last
    }
}

/// A rendezvous server on this machine, on two addresses.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) endpoints: Vec<String>,
    pub(crate) lines: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on(&["127.0.0.1:0", "127.0.0.9:0"], options)
    }

    pub(crate) fn start_on(listen: &[&str], options: &[&str]) -> Self {
        let mut command = puncher();
        command
            .arg("rendezvous")
            .args(listen.iter().flat_map(|endpoint| ["--listen", endpoint]))
            .args(options);
        Self::started(Running::start(&mut command))
    }

    /// With a hard limit of this many open files.
    pub(crate) fn start_within(files: u32, options: &[&str]) -> Self {
        let mut command = Command::new("prlimit");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.arg(format!("--nofile={files}:{files}")).arg(env!("CARGO_BIN_EXE_puncher"));
        command.args(["rendezvous", "--listen", "127.0.0.1:0", "--listen", "127.0.0.9:0"]).args(options);
        Self::started(Running::start(&mut command))
    }

    fn started(mut running: Running) -> Self {
        let mut lines = BufReader::new(running.stdout());
        let listening = next_event(&mut lines);
        assert_eq!(listening["event"], "listening");
        let endpoints = listening["endpoints"].as_array().expect("endpoints").iter();
        let endpoints = endpoints.map(|endpoint| endpoint.as_str().expect("text").to_owned()).collect();
        Self { running, endpoints, lines }
    }

    /// Arguments that name it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.endpoints.iter().flat_map(|endpoint| ["--rendezvous".into(), endpoint.clone()]).collect()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.running.id()), signal).expect("it can be signalled");
    }
}

/// Reads until the other side ends the stream, which must be soon enough.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(why) if why.kind() != ErrorKind::ConnectionReset => panic!("it was not ended: {why}"),
        _ => said,
    }
}

pub(crate) fn next_event(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line comes");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// A key file of its own.
pub(crate) struct Key(tempfile::TempDir);

impl Key {
    pub(crate) fn new() -> Self {
        let key = Self(tempfile::tempdir().expect("a folder"));
        let written = puncher().arg("key").arg(key.0.path().join("key")).status().expect("the program runs");
        assert!(written.success());
        key
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("key")
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("a key file")
    }
}

/// An endpoint of this machine that nothing else uses: each test has addresses of its own.
pub(crate) fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) + 16;
    let process = std::process::id() % 250;
    format!("127.{process}.{}.{}", number / 200 + 1, number % 200 + 1)
}
