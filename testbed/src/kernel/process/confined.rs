//! The init of one node's programs under test: it lives in a copy of a sandbox, and what it starts can do little.
//!
//! Each node has its own, and so a PID namespace of its own: where programs cannot get users of their own, that is what keeps
//! those of one node from those of another.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;

use super::command::{Capabilities, Command, Identity};
use super::protocol::{EnterRequest, InitRequest, KEEP_USER, RenewRequest};
use super::session::{Init, InitReport, Place, Process};
use crate::kernel::error::{Error, Result};
use crate::kernel::sandbox::Sandbox;
use crate::kernel::sandbox::image::{self, Shown};
use crate::kernel::users::User;

/// Whether programs may change the settings of their network, if their capabilities let them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkSettings {
    /// They can only be read.
    Fixed,
    /// They may.
    Open,
}

/// An init in a sandbox. Dropping it ends everything in there.
#[derive(Debug)]
pub struct ConfinedInit {
    init: Init,
    sandbox: Arc<Sandbox>,
    user: Option<User>,
}

impl ConfinedInit {
    /// Where programs find HOME, which is empty at the begin of each trial.
    pub const HOME: &str = "/tmp/home";

    /// The folder that they start in, which is empty as well.
    pub const FOLDER: &str = "/tmp/work";

    /// The file with the secret that the peers share.
    pub const KEY: &str = "/tmp/key";

    /// Starts one. [`ConfinedInit::renew`] makes it ready for programs. None of them gets other rights than `rights`; by default,
    /// none at all.
    ///
    /// # Errors
    /// When the kernel refuses a process, a namespace or a mount.
    pub async fn start(
        sandbox: Arc<Sandbox>,
        settings: NetworkSettings,
        rights: Capabilities,
    ) -> Result<Self> {
        const TRIED: &str = "enter the programs' root folder";
        let init = Init::start().await?;
        let capabilities = rights.bits_if_confined();
        let entry = EnterRequest { settings: u32::from(settings == NetworkSettings::Open), capabilities };
        let message = InitRequest::Enter(entry).encode();
        let entered = init.confine(TRIED, &message, &[sandbox.as_fd().as_raw_fd()]).await;
        entered.map_err(|error| match error.errno() {
            Some(Errno::EPERM) => {
                error.with_help("a container hides parts of /proc: run it with --privileged")
            }
            _ => error,
        })?;
        Ok(Self { init, sandbox, user: User::take() })
    }

    /// Whether a program has something to do, as far as the kernel lists children: it runs, or waits for a processor.
    #[must_use]
    pub fn has_work(&self) -> bool {
        super::runnable::any_below(self.init.pid())
    }

    /// Gives the node an empty `/tmp`, with the peers' secret if there is one. All programs must have been ended.
    ///
    /// # Errors
    /// When the kernel refuses a mount, or the init is gone.
    pub async fn renew(&self, key: Option<&str>) -> Result<()> {
        let late = self.sandbox.late();
        let paths = u32::try_from(late.len()).unwrap_or(u32::MAX);
        let mut message =
            InitRequest::Renew(RenewRequest { user: self.user_number(), paths }).encode().to_vec();
        message.extend(key.unwrap_or_default().bytes());
        message.push(0);
        for path in late {
            message.extend(path.as_os_str().as_bytes());
            message.push(0);
        }
        self.init.confine("make the programs' folders anew", &message, &[]).await
    }

    /// Starts a program without any right but those that the command names, and waits until it has been executed.
    ///
    /// # Errors
    /// When there is no such program, or the kernel refuses: with the step and errno that failed.
    pub async fn spawn(&self, command: &Command, place: Place<'_>) -> Result<Process> {
        let identity = Identity(self.user.as_ref().map(User::number));
        let started = self.init.start_as(command, place, Some(identity)).await;
        started.map_err(|error| match error.errno() {
            Some(Errno::ENOENT | Errno::EACCES | Errno::ENOEXEC) if self.why_not(command).is_some() => {
                let tried = format!("start \"{}\"", command.name());
                Error::other(tried, self.why_not(command).unwrap_or_default()).with_help(
                    "docs/programs.md says what a program needs, and how to give it a root of its own",
                )
            }
            Some(Errno::ENOENT | Errno::EACCES) => error.with_help(
                "programs see the system's folders, the suite's and what the suite names under \"files\", \
                 as a user who owns nothing",
            ),
            _ => error,
        })
    }

    /// Why a program cannot be executed in there, if its file tells.
    fn why_not(&self, command: &Command) -> Option<String> {
        let path = command.path_from(Path::new(Self::FOLDER))?;
        let shown = match self.sandbox.shows(&path) {
            true => Shown::AtItsOwnPath,
            false => Shown::WithTheRoot,
        };
        image::obstacle(self.sandbox.root(), &path, shown)
    }

    /// Ends everything under this init and waits until nothing is left; as [`Init::kill_all`].
    ///
    /// # Errors
    /// When the init itself is gone; then nothing is left either.
    pub async fn kill_all(&self) -> Result<InitReport> {
        self.init.kill_all().await
    }

    fn user_number(&self) -> u32 {
        self.user.as_ref().map_or(KEEP_USER, User::number)
    }
}
