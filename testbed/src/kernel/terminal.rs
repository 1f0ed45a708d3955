//! Terminals: a pseudo terminal for a program that needs its own, while the user's terminal is in raw mode.
//!
//! A shell in a lab lives in another session than the user's terminal, so it cannot control that one. It gets a pseudo
//! terminal, and this process carries what is typed and printed between the two. What Ctrl-C, Ctrl-Z and job control
//! mean is decided by the pseudo terminal, for the shell; the user's passes every key on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::pty::openpty;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::kernel::error::{Error, Result};

/// A pseudo terminal.
#[derive(Debug)]
pub struct Pty {
    master: Arc<File>,
    slave: Arc<OwnedFd>,
}

/// The user's terminal while it passes every key on; as it was again when this is dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Pty {
    /// Opens one, as large as the user's terminal on standard input if there is one.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn open() -> Result<Self> {
        let pair =
            openpty(None, None).map_err(|e| Error::call("make a terminal for a shell", "openpty", e))?;
        let pty = Self { master: Arc::new(pair.master.into()), slave: Arc::new(pair.slave) };
        pty.window()?.follow();
        Ok(pty)
    }

    /// The end for the program.
    #[must_use]
    pub fn end(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.slave)
    }

    /// What keeps its size equal to that of the user's terminal.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn window(&self) -> Result<Window> {
        let copy = self.master.try_clone();
        copy.map(Window).map_err(|e| Error::io("make a terminal for a shell", "dup", &e))
    }

    /// Carries what is typed to the program, for as long as this process lives, and what it prints to standard output,
    /// until nobody has the program's end open any more. Drop all other ends, and join.
    ///
    /// # Errors
    /// When there is no room for the threads.
    pub fn carry(self) -> Result<JoinHandle<()>> {
        let failed = |e: io::Error| Error::io("carry what a shell prints", "clone", &e);
        let (typed, printed) = (Arc::clone(&self.master), self.master);
        let carry_typed = move || {
            let _ = copy(&mut io::stdin().lock(), &mut &*typed);
        };
        let carry_printed = move || {
            // The kernel reports the last close of the other end as an error.
            let _ = copy(&mut &*printed, &mut io::stdout().lock());
        };
        thread::Builder::new().name("typed".to_owned()).spawn(carry_typed).map_err(failed)?;
        thread::Builder::new().name("printed".to_owned()).spawn(carry_printed).map_err(failed)
    }
}

/// The size of a pseudo terminal.
#[derive(Debug)]
pub struct Window(File);

impl Window {
    /// Takes over the size of the user's terminal, if there is one.
    pub fn follow(&self) {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        let (user, master) = (io::stdin(), self.0.as_raw_fd());
        // SAFETY: TIOCGWINSZ writes a `winsize` to the address it is given, which is one, and outlives the call.
        let known = unsafe { libc::ioctl(user.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0;
        if known {
            // SAFETY: TIOCSWINSZ reads a `winsize` from the address it is given, which is one, and outlives the call.
            let _ = unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) };
        }
    }
}

/// As it comes, without waiting for more.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Raw {
    /// Has the terminal on standard input pass every key on.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> Result<Self> {
        const TRIED: &str = "take over the terminal";
        let user = io::stdin();
        let before = tcgetattr(user.as_fd()).map_err(|e| Error::call(TRIED, "tcgetattr", e))?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(user.as_fd(), SetArg::TCSADRAIN, &raw).map_err(|e| Error::call(TRIED, "tcsetattr", e))?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}
