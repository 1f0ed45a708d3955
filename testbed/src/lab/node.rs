//! A node that lives: a namespace to enter, programs to start in it, and for a NAT its rules and its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::{Inside, Namespace};
use crate::kernel::network_state::{NetworkState, Rules};
use crate::kernel::process::{
    Capabilities, Command, ConfinedInit, Init, InitReport, NetworkSettings, Place, Process,
};
use crate::kernel::ruleset::{Nft, SetFlusher};
use crate::kernel::sandbox::Sandbox;
use crate::kernel::sysctl::Sysctl;
use crate::kernel::tcp_sockets::TcpSockets;
use crate::lab::absolute_timeout::AbsoluteTimeout;
use crate::lab::clocks;
use crate::lab::nat_program::{NatProgram, NatPrograms};
use crate::lab::nat_rules::{NatCommand, NatConfig};
use crate::lab::nat_state::NatState;
use crate::lab::nat_thread::Enforcement;
use crate::lab::periodic_flush::PeriodicFlush;
use crate::lab::recorder::Recorder;
use crate::lab::settings::{FIRST_FREE_PORT, keys_to_keep};
use crate::model::evidence::{CtCounters, CtEntry};
use crate::model::topology::NodeName;

/// A node of a lab.
#[derive(Debug)]
pub struct Node {
    pub(super) name: NodeName,
    pub(super) namespace: Namespace,
    pub(super) init: Arc<Init>,
    /// The way to its TCP sockets, where anybody opens some.
    pub(super) sockets: Option<TcpSockets>,
    pub(super) nat: Option<Nat>,
    /// Where programs under test live, once there is to be one.
    pub(super) confined: OnceCell<ConfinedInit>,
    /// The first port that everybody may bind.
    pub(super) first_free_port: AtomicU16,
    /// What its network was like when it was made ready for programs under test.
    pub(super) before: Mutex<Option<NetworkState>>,
}

/// What a node has in addition when it is a NAT.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) conntrack: Conntrack,
    /// What it had counted when the evidence was taken last.
    pub(super) counted: Mutex<CtCounters>,
    pub(super) recorder: Recorder,
    pub(super) sets: SetFlusher,
    /// What its rules and settings have left.
    pub(super) state: NatState,
    /// What ends its connections at their absolute timeout, if it has one.
    pub(super) absolute: Option<AbsoluteTimeout>,
    /// What has it forget everything at regular intervals, if it is to.
    pub(super) flushing: Option<PeriodicFlush>,
    /// The user's program that makes the NAT, if there is one.
    pub(super) program: AsyncMutex<Option<NatProgram>>,
}

impl Nat {
    /// What its connection tracking counted of its own failures since this was last asked.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn take_counted(&self) -> Result<CtCounters> {
        let now = self.conntrack.counters()?;
        let before = std::mem::replace(&mut *self.counted.lock(), now);
        Ok(now.since(before))
    }
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Runs `work` inside, on a thread of its own; sockets made there belong to the node.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce(&Inside) -> T + Send) -> Result<T> {
        self.namespace.enter(work).map_err(at(&self.name))
    }

    /// Starts a program in the node, with the node's clocks, and waits until it runs. It ends with the lab.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub async fn spawn(&self, command: impl Into<Command>) -> Result<Process> {
        let clocks = clocks::of(&self.name).map_err(at(&self.name))?;
        let place = Place { namespace: &self.namespace, clocks: Some(&clocks) };
        self.init.spawn(&command.into(), place).await.map_err(at(&self.name))
    }

    /// Makes the node ready for programs under test, which see what `sandbox` shows and an empty `/tmp`. All that were
    /// there before must have been ended. The first sandbox of a node is its only one.
    ///
    /// # Errors
    /// When the kernel refuses a process, a namespace or a mount.
    pub async fn admit(&self, sandbox: &Arc<Sandbox>, key: Option<&str>) -> Result<()> {
        let start =
            || ConfinedInit::start(Arc::clone(sandbox), NetworkSettings::Fixed, Capabilities::Only(0));
        let confined = self.confined.get_or_try_init(start).await.map_err(at(&self.name))?;
        confined.renew(key).await.map_err(at(&self.name))?;
        let mut before = self.before.lock();
        if before.is_none() {
            *before = Some(self.enter(Self::state)?.map_err(at(&self.name))?);
        }
        Ok(())
    }

    /// What no program under test may change of the node that this thread is in.
    pub(super) fn state(inside: &Inside) -> Result<NetworkState> {
        NetworkState::read(inside, keys_to_keep().iter().map(String::as_str), Rules::Fixed)
    }

    /// Starts a program under test, which can do no more than [`Node::admit`] and the command allow, and waits until it runs.
    /// It ends with the lab. No program under test can have a capability.
    ///
    /// # Errors
    /// When the node was not made ready, the program cannot be executed, or the command asks for a capability.
    pub async fn spawn_confined(&self, command: &Command) -> Result<Process> {
        let missing = || Error::other(format!("start \"{}\"", command.name()), "the node admits no programs");
        let confined = self.confined.get().ok_or_else(missing).map_err(at(&self.name))?;
        let clocks = clocks::of(&self.name).map_err(at(&self.name))?;
        let place = Place { namespace: &self.namespace, clocks: Some(&clocks) };
        confined.spawn(command, place).await.map_err(at(&self.name))
    }

    /// Ends all programs under test in the node; as [`Init::kill_all`].
    ///
    /// # Errors
    /// When their init is gone.
    pub(super) async fn end_confined(&self) -> Result<InitReport> {
        match self.confined.get() {
            Some(confined) => confined.kill_all().await.map_err(at(&self.name)),
            None => Ok(InitReport::default()),
        }
    }

    /// Says from which port on everybody may bind: 0 for all, 1024 where the low ones are for root alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn free_ports_from(&self, first: u16) -> Result<()> {
        if self.first_free_port.load(Ordering::Relaxed) != first {
            let setting = Sysctl::new(FIRST_FREE_PORT, first);
            self.enter(|inside| setting.write(inside))?.map_err(at(&self.name))?;
            self.first_free_port.store(first, Ordering::Relaxed);
            *self.before.lock() = None;
        }
        Ok(())
    }

    /// The rules in force, as nft lists them: without counters and contents of sets.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ruleset(&self) -> Result<String> {
        let nft = self.nat.as_ref().map_or_else(Nft::get, |nat| nat.state.nft());
        self.enter(|inside| nft.list(inside))?.map_err(at(&self.name))
    }

    /// The entries of its connection tracking; none if it is no NAT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mappings(&self) -> Result<Vec<CtEntry>> {
        let dump = |nat: &Nat| nat.conntrack.dump().map_err(at(&self.name));
        self.nat.as_ref().map_or_else(|| Ok(Vec::new()), dump)
    }

    /// Gives the node the rules and settings of a NAT, in place of those it had. A NAT that a program makes is set by
    /// [`Node::become_nat`].
    ///
    /// # Errors
    /// When it is no NAT, nft refuses the rules, the kernel a setting, or a program has a part in it. The rules are then
    /// those that it had; the settings need not be.
    #[doc(hidden)]
    pub fn set_nat(&mut self, config: &NatConfig) -> Result<()> {
        let Some(nat) = &mut self.nat else {
            return Err(at(&self.name)(Error::other("set the rules of a NAT", "it is none")));
        };
        if config.command.is_some() || nat.program.get_mut().is_some() {
            return Err(at(&self.name)(Error::other("set the rules of a NAT", "a program makes them")));
        }
        // Those of the NAT before end nothing any more.
        (nat.absolute, nat.flushing) = (None, None);
        let load = |inside: &Inside| {
            nat.state.replace(inside, config)?;
            nat.absolute = AbsoluteTimeout::of(inside, config, Enforcement::Enforced)?;
            nat.flushing = PeriodicFlush::of(inside, config, nat.state.memory(), Enforcement::Enforced)?;
            Ok(())
        };
        self.namespace.enter(load).flatten().map_err(at(&self.name))?;
        self.forget()
    }

    /// Makes the node a NAT, in place of the one that it was, and returns when that works: with its rules, its settings and
    /// its program, if it has one.
    ///
    /// # Errors
    /// As [`Node::set_nat`], or when the program fails.
    #[doc(hidden)]
    pub async fn become_nat(&mut self, config: &NatConfig) -> Result<()> {
        if let Some(mut former) = self.nat.as_mut().and_then(|nat| nat.program.get_mut().take()) {
            former.end().await.map_err(at(&self.name))?;
        }
        self.set_nat(&NatConfig { command: None, ..config.clone() })?;
        let (Some(command), Some(nat)) = (&config.command, &mut self.nat) else { return Ok(()) };
        let program = NatProgram::start(command, &self.namespace).await.map_err(at(&self.name))?;
        *nat.program.get_mut() = Some(program);
        let sockets = self.namespace.enter(TcpSockets::open).flatten().map_err(at(&self.name))?;
        self.sockets = Some(sockets);
        self.namespace.enter(|inside| nat.state.learn(inside)).flatten().map_err(at(&self.name))
    }

    /// Whether the program that makes the NAT, if there is one, is as alive as it ought to be.
    ///
    /// # Errors
    /// When it has ended.
    #[doc(hidden)]
    pub async fn check_program(&self) -> Result<()> {
        let Some(nat) = &self.nat else { return Ok(()) };
        match nat.program.lock().await.as_mut() {
            Some(program) => program.check(&self.namespace).await.map_err(at(&self.name)),
            None => Ok(()),
        }
    }

    /// Makes a NAT as new: it forgets what it has learnt, and a program that stays is started again.
    ///
    /// # Errors
    /// When the kernel refuses, or the program fails.
    pub async fn renew(&self) -> Result<()> {
        if let Some(nat) = &self.nat
            && let Some(program) = nat.program.lock().await.as_mut()
            && program.renew(&self.namespace, &nat.conntrack).await.map_err(at(&self.name))?
        {
            return Ok(());
        }
        self.forget()
    }

    /// Ends a program that makes the NAT and stays, until the NAT is renewed: from now on it sends nothing.
    ///
    /// # Errors
    /// When the program has ended by itself, or its init has died.
    pub(super) async fn pause_program(&self) -> Result<()> {
        let Some(nat) = &self.nat else { return Ok(()) };
        match nat.program.lock().await.as_mut() {
            Some(program) => program.pause(&self.namespace).await.map(drop).map_err(at(&self.name)),
            None => Ok(()),
        }
    }

    /// What a program that makes the NAT is doing.
    pub(super) async fn nat_program(&self) -> NatPrograms {
        let Some(nat) = &self.nat else { return NatPrograms::Absent };
        match nat.program.lock().await.as_ref() {
            Some(program) if program.has_work() => NatPrograms::Working,
            Some(program) if program.stays() => NatPrograms::Resting,
            _ => NatPrograms::Absent,
        }
    }

    /// Sets up a NAT again where it has another address: with other rules, or by its program.
    ///
    /// # Errors
    /// When nft refuses the rules, or the program fails.
    pub(super) async fn replace_rules(&self, config: &NatConfig) -> Result<()> {
        self.enter(|inside| Nft::of(config.source).replace(inside, &config.script()))?
            .map_err(config.at_file())
            .map_err(at(&self.name))?;
        if let Some(nat) = &self.nat
            && let Some(command) = &config.command
        {
            let mut program = nat.program.lock().await;
            *program = Some(self.replace_program(program.take(), command).await.map_err(at(&self.name))?);
        }
        self.forget()
    }

    async fn replace_program(&self, former: Option<NatProgram>, command: &NatCommand) -> Result<NatProgram> {
        if let Some(mut former) = former {
            former.end().await?;
        }
        NatProgram::start(command, &self.namespace).await
    }

    /// Ends every TCP connection that a socket in the node has a part in; listeners stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn end_connections(&self) -> Result<()> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        sockets.end_all().map(drop).map_err(at(&self.name))
    }

    /// Makes a NAT forget every mapping and all that its rules have learnt.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&self) -> Result<()> {
        let Some(nat) = &self.nat else { return Ok(()) };
        nat.conntrack.flush(&nat.recorder.take_known()).map_err(at(&self.name))?;
        nat.sets.flush(nat.state.memory()).map_err(at(&self.name))
    }
}

/// Says at which node something happened.
pub(super) fn at(node: &NodeName) -> impl Fn(Error) -> Error {
    move |error| error.at(format!("node \"{node}\""))
}
