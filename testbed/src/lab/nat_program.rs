//! A program that makes its node a NAT: started when the NAT is set, ended with it.
//!
//! A program that ends with exit code 0 has put its rules in place. One that prints a line `ready` stays: what it
//! remembers is its own affair, so that it is started again, in a node without rules, whenever the NAT is to remember
//! nothing. Both live in a sandbox of their own, because what ends the programs of a trial must not end the NAT: they have
//! rights in the network of their node and none elsewhere, and what they leave of it has to stay.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::{Error, Result};
use crate::kernel::link::Links;
use crate::kernel::namespace::Namespace;
use crate::kernel::network_state::{NetworkState, Rules};
use crate::kernel::process::{
    Capabilities, Command, ConfinedInit, Limits, NetworkSettings, Place, Process, Signal,
};
use crate::kernel::ruleset::Nft;
use crate::kernel::sandbox::image::{self, Shown};
use crate::kernel::sandbox::{Sandbox, ShownFiles};
use crate::kernel::script;
use crate::lab::nat_rules::NatCommand;

/// How long a program may take until its NAT works.
const READY_DEADLINE: Duration = Duration::from_secs(5);

/// How long a program that is asked to end may take to tidy up.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// The line that says that the NAT works while the program goes on.
const READY: &str = "ready";

/// What is kept of what a program says on standard error, in bytes: so much of its begin, and so much of its end.
const KEPT: usize = 2_000;

/// How many of its first lines are told, if not all are: a tool that finds several faults names the one that led to the others first,
/// and `nft` takes three lines for it.
const TOLD_FIRST: usize = 3;

/// How many of its last lines are told.
const TOLD_LAST: usize = 5;

/// What the program may do, as bits of capabilities(7): change the network of its node, open packet sockets and low ports, and
/// load BPF programs.
const RIGHTS: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 39;

/// What it may have: a NAT in user space has some descriptors for each mapping.
const LIMITS: Limits = Limits { files: 1 << 16, processes: 512 };

/// Where system programs such as `nft` lie, which are not in everybody's `PATH`.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// A NAT's program, running or done.
#[derive(Debug)]
pub(crate) struct NatProgram {
    init: ConfinedInit,
    command: NatCommand,
    /// What the NAT declares, which the program must leave alone.
    declared: NetworkState,
    /// What its node is like since it is ready.
    made: Option<NetworkState>,
    /// The program, if it stays, and who listens to its standard error.
    running: Option<(Process, JoinHandle<()>)>,
    /// Whether a program that stays was ended, to be started again.
    is_paused: bool,
    stderr: SharedStderr,
}

/// What programs that make NATs and stay are doing, the busiest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NatPrograms {
    /// There are none.
    Absent,
    /// They have nothing to do.
    Resting,
    /// One runs or waits for a processor, so that more of it may come.
    Working,
}

/// What it says on standard error.
type SharedStderr = Arc<Mutex<KeptStderr>>;

/// The begin and the end of what a program said on standard error.
#[derive(Debug, Default)]
struct KeptStderr {
    begin: Vec<u8>,
    end: Vec<u8>,
    /// Whether something between them was dropped.
    has_gap: bool,
}

impl KeptStderr {
    fn add(&mut self, said: &[u8]) {
        let (begin, more) = said.split_at(said.len().min(KEPT - self.begin.len()));
        self.begin.extend_from_slice(begin);
        self.end.extend_from_slice(more);
        let surplus = self.end.len().saturating_sub(KEPT);
        self.end.drain(..surplus);
        self.has_gap |= surplus > 0;
    }

    fn text(&self) -> String {
        let gap: &[u8] = if self.has_gap { b"\n" } else { b"" };
        String::from_utf8_lossy(&[&self.begin[..], gap, &self.end[..]].concat()).into_owned()
    }
}

impl NatProgram {
    /// Starts the program in a node, and returns when the NAT works. The settings of the node are as the NAT declares them.
    ///
    /// # Errors
    /// When it cannot be started, fails, is neither done nor ready in time, or changed a setting; with what it said on
    /// standard error.
    pub(crate) async fn start(command: &NatCommand, namespace: &Namespace) -> Result<Self> {
        let sandbox = Sandbox::shared(&shown(command)?)?;
        let init = ConfinedInit::start(sandbox, NetworkSettings::Open, Capabilities::Only(RIGHTS)).await?;
        let declared =
            namespace.enter(|inside| NetworkState::read(inside, pinned(command), Rules::Free))??;
        let (command, stderr) = (command.clone(), SharedStderr::default());
        let mut program =
            Self { init, command, declared, made: None, running: None, is_paused: false, stderr };
        program.start_again(namespace).await?;
        Ok(program)
    }

    /// Ends a program that stays, to be renewed: from then on it sends nothing. Returns whether it is one that stays.
    ///
    /// # Errors
    /// When it has ended by itself, or its init has died.
    pub(crate) async fn pause(&mut self, namespace: &Namespace) -> Result<bool> {
        if self.stays() {
            self.check(namespace).await?;
            self.end().await?;
            self.is_paused = true;
        }
        Ok(self.is_paused)
    }

    /// Ends a program that stays and starts it again, with nothing left of what it and its node knew. Returns whether it is one that
    /// stays.
    ///
    /// # Errors
    /// When it has ended by itself, or as [`NatProgram::start`].
    pub(crate) async fn renew(&mut self, namespace: &Namespace, conntrack: &Conntrack) -> Result<bool> {
        if !self.pause(namespace).await? {
            return Ok(false);
        }
        namespace.enter(|inside| Nft::get().replace(inside, ""))??;
        Links::within(namespace)?.clear_devices().await?;
        conntrack.flush(&[])?;
        self.is_paused = false;
        self.start_again(namespace).await?;
        Ok(true)
    }

    async fn start_again(&mut self, namespace: &Namespace) -> Result<()> {
        self.stderr = SharedStderr::default();
        self.init.renew(None).await?;
        let place = Place { namespace, clocks: None };
        let mut process =
            self.init.spawn(&request(&self.command), place).await.map_err(|e| self.failed(e))?;
        let listening = tokio::spawn(keep_ends(process.stderr.take(), Arc::clone(&self.stderr)));
        let found = timeout(READY_DEADLINE, until_ready(&mut process)).await;
        let why = match found {
            Ok(Ok(Readiness::Stays(stdout))) => {
                tokio::spawn(read_on(stdout));
                self.running = Some((process, listening));
                return self.learn(namespace);
            }
            Ok(Ok(Readiness::Ended(status))) if status.success() => {
                // What it left behind would go on changing things.
                self.init.kill_all().await?;
                return self.learn(namespace);
            }
            Ok(Ok(Readiness::Ended(status))) => format!("it ended with {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it has neither ended nor printed a line \"{READY}\" after {READY_DEADLINE:?}"),
        };
        Err(self.gave_up(why, listening).await)
    }

    /// Remembers what the node is like from now on.
    fn learn(&mut self, namespace: &Namespace) -> Result<()> {
        let state =
            namespace.enter(|inside| NetworkState::read(inside, pinned(&self.command), Rules::Free))??;
        if let Some(why) = state.setting_that_differs(&self.declared) {
            return Err(Error::other(
                self.tried(),
                format!("it changed a setting that the NAT declares: {why}"),
            ));
        }
        self.made = Some(state);
        Ok(())
    }

    /// Whether it stays while its NAT works, and so has a memory of its own.
    pub(crate) fn stays(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it runs or waits for a processor, so that an answer of it may still come.
    pub(crate) fn has_work(&self) -> bool {
        self.stays() && self.init.has_work()
    }

    /// Ends it, with all that it started: politely first.
    ///
    /// # Errors
    /// When its init has died.
    pub(crate) async fn end(&mut self) -> Result<()> {
        if let Some((mut process, _)) = self.running.take() {
            process.signal(Signal::SIGTERM).await?;
            let _ = timeout(END_DEADLINE, process.wait()).await;
        }
        self.init.kill_all().await.map(drop)
    }

    /// Whether a program that was to stay is still there, and the node is as it was when the NAT was ready.
    ///
    /// # Errors
    /// When it has ended, with what it said on standard error, or changed its node.
    pub(crate) async fn check(&mut self, namespace: &Namespace) -> Result<()> {
        if let (Some(made), true) = (&self.made, self.stays()) {
            let state = namespace
                .enter(|inside| NetworkState::read(inside, pinned(&self.command), Rules::Free))??;
            if let Some(why) = state.difference(made) {
                let tried = format!("keep the NAT \"{}\" as it was", self.command.nat);
                return Err(Error::other(tried, format!("its program changed its node: {why}")));
            }
        }
        let Some((process, listening)) = &mut self.running else { return Ok(()) };
        let Ok(status) = timeout(Duration::ZERO, process.wait()).await else { return Ok(()) };
        let status = status?;
        let words = Self::last_words(&self.init, listening, &self.stderr).await;
        let tried = format!("keep the NAT \"{}\" up", self.command.nat);
        Err(Error::other(tried, format!("the program ended with {status}{words}")))
    }

    /// Leaves a program that stays alone for so long.
    ///
    /// # Errors
    /// As [`NatProgram::check`], as soon as it ends.
    pub(crate) async fn outlives(&mut self, time: Duration, namespace: &Namespace) -> Result<()> {
        if let Some((process, _)) = &mut self.running {
            // How it ended, if it did, is told by the check.
            let _ = timeout(time, process.wait()).await;
        }
        self.check(namespace).await
    }

    async fn gave_up(&self, why: String, mut listening: JoinHandle<()>) -> Error {
        let words = Self::last_words(&self.init, &mut listening, &self.stderr).await;
        Error::other(self.tried(), format!("{why}{words}"))
    }

    fn failed(&self, error: Error) -> Error {
        Error::other(self.tried(), error.to_string())
    }

    fn tried(&self) -> String {
        format!("make the NAT \"{}\" by its command \"{}\"", self.command.nat, self.command)
    }

    /// What it said on standard error, the begin and the end of it: complete when all that could say more is gone.
    async fn last_words(
        init: &ConfinedInit,
        listening: &mut JoinHandle<()>,
        stderr: &SharedStderr,
    ) -> String {
        if !listening.is_finished() && init.kill_all().await.is_ok() {
            let _ = listening.await;
        }
        match stderr.lock().text().trim() {
            "" => "; it said nothing on standard error".to_owned(),
            words => format!("; on standard error: {}", telling_lines(words)),
        }
    }
}

/// The first and the last lines of what a program said, or all if they are few.
pub(crate) fn telling_lines(words: &str) -> String {
    let lines: Vec<&str> = words.lines().collect();
    match lines.len().checked_sub(TOLD_FIRST + TOLD_LAST) {
        Some(1..) => {
            let (first, last) = (&lines[..TOLD_FIRST], &lines[lines.len() - TOLD_LAST..]);
            format!("{}\n…\n{}", first.join("\n"), last.join("\n"))
        }
        _ => words.to_owned(),
    }
}

/// The settings that are to stay as they are: those that every node has, and those of the NAT.
fn pinned(command: &NatCommand) -> impl Iterator<Item = &str> {
    command.pinned.iter().map(String::as_str)
}

/// Why the program cannot be started or shown what it is to see, as far as its files tell.
#[must_use]
pub(crate) fn obstacle(command: &NatCommand) -> Option<Error> {
    let (program, arguments) = command.words.split_first()?;
    let of_program = || match request(command).path() {
        None if !program.contains('/') => Some("no folder of PATH has it".to_owned()),
        found => {
            let path = found.unwrap_or_else(|| command.folder.join(program));
            image::obstacle(Path::new("/"), &path, Shown::AtItsOwnPath)
        }
    };
    let of_script = || {
        let path = script::of_command(program, arguments.first()?)?;
        let why = script::obstacle(program, &command.folder.join(path))?;
        Some(format!("cannot execute the script \"{}\": {why}", path.display()))
    };
    let tried = format!("make the NAT \"{}\" by its command \"{command}\"", command.nat);
    match of_program().or_else(of_script) {
        Some(why) => Some(Error::other(tried, why)),
        None => shown(command).err(),
    }
}

/// What the program sees of the machine: its folder, itself, and what else its command names.
fn shown(command: &NatCommand) -> Result<ShownFiles> {
    let mut shown = ShownFiles::default();
    shown.add(&command.folder)?;
    if let Some(program) = request(command).path() {
        shown.add(&program)?;
    }
    let named = command.words.iter().skip(1).map(Path::new);
    for path in named.filter(|path| path.is_absolute() && (path.is_file() || path.is_dir())) {
        shown.add(path)?;
    }
    command.writable.iter().try_for_each(|folder| shown.add_writable(folder))?;
    Ok(shown)
}

/// The program with its surroundings: nothing of ours but the path.
fn request(command: &NatCommand) -> Command {
    let (program, arguments) = command.words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(SYSTEM_PATH);
    let request = Command::new(program).args(arguments).env_clear().env("PATH", path);
    let request = request.directory(&command.folder).capabilities(Capabilities::Only(RIGHTS)).limits(LIMITS);
    let request = request.env("HOME", ConfinedInit::HOME);
    command.variables.iter().fold(request, |request, (name, value)| request.env(name, value))
}

/// How a program says that its NAT works.
#[derive(Debug)]
enum Readiness {
    /// It has put rules in place and gone, or failed.
    Ended(ExitStatus),
    /// It stays, and this is what it goes on to say.
    Stays(BufReader<pipe::Receiver>),
}

async fn until_ready(process: &mut Process) -> Result<Readiness> {
    if let Some(stdout) = process.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        // What can be read no longer ends the loop: then only its end can tell.
        while let Ok(1..) = (&mut stdout).take(KEPT as u64).read_until(b'\n', &mut line).await {
            if line.trim_ascii() == READY.as_bytes() {
                return Ok(Readiness::Stays(stdout));
            }
            line.clear();
        }
    }
    process.wait().await.map(Readiness::Ended)
}

/// Reads what nobody wants to know, so that the program never blocks on us.
async fn read_on(mut output: BufReader<pipe::Receiver>) {
    let mut buffer = vec![0; 4_096];
    while let Ok(1..) = output.read(&mut buffer).await {}
}

/// Reads an output to its end, and keeps what came first and last.
async fn keep_ends(output: Option<pipe::Receiver>, kept: SharedStderr) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; 4_096];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        kept.lock().add(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_first_and_the_last_are_told() {
        let lines = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(telling_lines(&lines(8)), lines(8));
        assert_eq!(telling_lines(&lines(9)), "1\n2\n3\n…\n5\n6\n7\n8\n9");
    }

    #[test]
    fn of_long_words_the_begin_and_the_end_are_kept() {
        let mut kept = KeptStderr::default();
        kept.add(b"first");
        kept.add(b" words");
        assert_eq!(kept.text(), "first words");
        for _ in 0..3 {
            kept.add(&[b'.'; 2 * KEPT]);
        }
        kept.add(b"last words");
        let text = kept.text();
        assert!(text.starts_with("first words.") && text.ends_with(".last words"), "{text}");
        assert_eq!((text.len(), text.lines().count()), (2 * KEPT + 1, 2));
    }
}
