//! The programs that a suite runs: command templates, what they are given, and how success is claimed.
//!
//! What each key means stands in `docs/puncher-contract.md`; `suite_file/program.rs` reads them.

use std::time::Duration;

use crate::model::topology::NodeName;
use crate::model::words::words;

/// Command templates and how success is claimed; see `docs/puncher-contract.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The rendezvous server's command, program first; `None` where the method needs none.
    pub rendezvous: Option<Vec<String>>,
    /// The peers' command, program first.
    pub peer: Vec<String>,
    /// What else runs beside them, in the order in which it is started, before the rendezvous server.
    pub services: Vec<Service>,
    /// How a peer claims success.
    pub claim: ResultFormat,
    /// What it does after a refusal; `None` for what the contract says of the method.
    pub redial: Option<Redial>,
    /// How long after the peers' start both begin, for programs that are told when.
    pub start: Duration,
    /// How long both peers go on once both have claimed success; `None` lets them end by themselves, or by the deadline.
    pub linger: Option<Duration>,
    /// What a peer reads on its standard input; `None` for an input that has ended.
    pub stdin: Option<StandardInput>,
    /// A folder of the machine that all programs see as their root file system; `None` for the machine's own system.
    pub root: Option<String>,
    /// Files and folders of the machine that programs may read, besides the system's and the suite's.
    pub files: Vec<String>,
    /// Folders of the machine that programs may write to.
    pub writable: Vec<String>,
    /// Environment variables of all programs, with placeholders in their values that are known before any trial.
    pub environment: Vec<(String, String)>,
}

/// How long after their start peers begin unless the suite says otherwise: enough for both to be running.
pub const DEFAULT_START: Duration = Duration::from_millis(150);

/// A program that is neither a peer nor the rendezvous server: a relay, a STUN server, a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is called in logs.
    pub name: String,
    /// The node that it runs in: a host or a router.
    pub node: NodeName,
    /// Its command, program first.
    pub command: Vec<String>,
    /// How one knows that it can be used.
    pub ready: Readiness,
}

/// How a service shows that it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// A TCP socket listens on this port.
    Tcp(u16),
    /// A UDP socket is bound to this port.
    Udp(u16),
    /// A line on its standard output contains this text.
    Stdout(String),
}

/// What a peer reads on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandardInput {
    /// A template of the text.
    pub text: String,
    /// What comes after it.
    pub then: AfterInput,
}

/// What comes after the text on a standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterInput {
    /// Its end.
    End,
    /// Nothing until the trial is over: for programs that leave when their input ends.
    Wait,
}

words!(AfterInput { End => "end", Wait => "wait" });

impl Program {
    /// A peer's command, without anything that may be left out.
    #[must_use]
    pub fn new(peer: Vec<String>, claim: ResultFormat) -> Self {
        Self {
            rendezvous: None,
            peer,
            services: Vec::new(),
            claim,
            redial: None,
            start: DEFAULT_START,
            linger: None,
            stdin: None,
            root: None,
            files: Vec::new(),
            writable: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Every command.
    pub fn commands(&self) -> impl Iterator<Item = &Vec<String>> {
        let services = self.services.iter().map(|service| &service.command);
        services.chain(&self.rendezvous).chain([&self.peer])
    }

    /// Every text that may hold placeholders.
    pub fn templates_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let services = self.services.iter_mut().flat_map(|service| &mut service.command);
        let commands = services.chain(self.rendezvous.iter_mut().flatten()).chain(&mut self.peer);
        let values = self.environment.iter_mut().map(|(_, value)| value);
        let input = self.stdin.iter_mut().map(|input| &mut input.text);
        let folders = self.root.iter_mut().chain(&mut self.files).chain(&mut self.writable);
        commands.chain(folders).chain(values).chain(input)
    }
}

/// What a program does when a dial is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Redial {
    /// It does not dial again.
    None,
    /// It dials again from the same port, until it gives up.
    AfterRefusal,
}

words!(Redial { None => "none", AfterRefusal => "after-refusal" });

/// How a peer claims success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultFormat {
    /// By a `result` line of JSON and exit code 0.
    Json,
    /// By exit code 0.
    Exit,
    /// By a line on standard output that contains this text.
    Stdout(String),
}
