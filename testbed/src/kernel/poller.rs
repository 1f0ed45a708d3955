//! Waits for descriptors, for a moment, and for a call from another thread, whichever comes first.
//!
//! The moment is a timerfd: exact to the hrtimer on every kernel, where epoll itself counts milliseconds.
//!
//! A descriptor that is in no hurry is watched *patiently*: the first one to have something wakes the poller once, and then
//! none of them does until all were asked.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::kernel::clock::monotonic;
use crate::model::evidence::Nanos;

/// Tokens from here on belong to the poller itself.
const TIMER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const PATIENT: u64 = u64::MAX - 2;

/// Events taken from the kernel at a time.
const BATCH: usize = 256;

/// An epoll with one timer and one way to be woken.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    patient: Epoll,
    timer: TimerFd,
    armed: Option<Nanos>,
    wake: Arc<EventFd>,
}

/// Wakes a [`Poller`] from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Makes the poller's current or next wait return.
    pub fn wake(&self) {
        // Fails only when 2^64 - 2 calls are pending, and then the poller wakes anyway.
        let _ = self.0.write(1);
    }
}

impl Poller {
    /// Makes one.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let patient = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&patient.0, Self::once())?;
        Ok(Self { epoll, patient, timer, armed: None, wake })
    }

    /// A way to wake it from elsewhere.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Reports `token` for as long as `descriptor` has something to read. The three highest tokens are taken.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Has [`Self::wait`] tell of `descriptor`, but only that it or another such has something to read, and only once
    /// until [`Self::patient`] was asked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_patient(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.patient.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Reports it no more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(descriptor)?)
    }

    /// Reports it no more, if it was added by [`Self::add_patient`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_patient(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.patient.delete(descriptor)?)
    }

    /// Adds the tokens of patient descriptors that have something to read to `ready`, and has [`Self::wait`] tell of them
    /// again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn patient(&self, ready: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = self.patient.wait(&mut events, EpollTimeout::ZERO)?;
        ready.extend(events[..count].iter().map(EpollEvent::data));
        Ok(self.epoll.modify(&self.patient.0, &mut Self::once())?)
    }

    fn once() -> EpollEvent {
        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, PATIENT)
    }

    /// Waits until something is readable, `until` has come (`None`: however long it takes) or somebody calls, and
    /// puts the tokens of what is readable into `ready`. Says whether there is something for the patient.
    ///
    /// # Errors
    /// The kernel's; an interruption by a signal is none.
    pub fn wait(&mut self, until: Option<Nanos>, ready: &mut Vec<u64>) -> io::Result<bool> {
        let timeout = if until.is_some_and(|moment| moment <= monotonic()) {
            EpollTimeout::ZERO
        } else {
            self.arm(until)?;
            EpollTimeout::NONE
        };
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        ready.clear();
        let mut patient = false;
        for event in &events[..count] {
            match event.data() {
                TIMER => self.expired(),
                WAKE => drop(self.wake.read()),
                PATIENT => patient = true,
                token => ready.push(token),
            }
        }
        Ok(patient)
    }

    fn arm(&mut self, until: Option<Nanos>) -> io::Result<()> {
        if until == self.armed {
            return Ok(());
        }
        match until {
            // A time of 0 would disarm it.
            Some(moment) => self.timer.set(
                Expiration::OneShot(TimeSpec::nanoseconds(i64::try_from(moment.max(1)).unwrap_or(i64::MAX))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.timer.unset()?,
        }
        self.armed = until;
        Ok(())
    }

    fn expired(&mut self) {
        let mut expirations = [0; 8];
        // Nothing to read means that it was armed again in the meantime.
        let _ = nix::unistd::read(&self.timer, &mut expirations);
        self.armed = None;
    }
}
