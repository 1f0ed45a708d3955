//! This process' side of an init: programs are started, waited for and ended from the async runtime.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::command::{Command, Identity, Stdio};
use super::protocol::{self, Failure, InitRequest, REPLY, Reply};
use super::{nursery, raw};
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Namespace;
use crate::kernel::readiness;
use crate::kernel::time_namespace::TimeNamespace;

/// A lab's own PID namespace. Dropping it ends everything in there.
#[derive(Debug)]
pub struct Init {
    shared: Arc<Shared>,
    reader: AbortHandle,
    pid: i32,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The network that it sees.
    pub namespace: &'a Namespace,
    /// The clocks that it sees; this process' own if `None`. Under one init either all programs have clocks of their
    /// own or none has: the init takes them on, and an unprivileged one could not go back.
    pub clocks: Option<&'a TimeNamespace>,
}

/// A program that was started. It goes on when this is dropped, until its lab ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    end: Option<Ended>,
    ended: oneshot::Receiver<Ended>,
    init: Weak<Shared>,
    /// Its standard input, if piped.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output, if piped.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error, if piped.
    pub stderr: Option<pipe::Receiver>,
}

/// All that a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to a piped standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to a piped standard error.
    pub stderr: Vec<u8>,
}

/// What is left of a program.
#[derive(Debug, Clone, Copy)]
struct Ended {
    status: ExitStatus,
    cpu_time: CpuTime,
    was_stopped: bool,
}

/// What the first thread of a program had of the processors, as `/proc/PID/schedstat` tells; zero where the kernel does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run and had no processor.
    pub waited: Duration,
}

/// What an init saw while programs ran, since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InitReport {
    /// For how long at most the init, which has something to do every 20 ms, did nothing: then this machine was paused, or had
    /// no processor for it.
    pub gap: Duration,
    /// For how long programs ran, on all processors together, with all that they started. A process whose parent ignores the
    /// end of its children is not counted (getrusage(2)).
    pub used: Duration,
}

impl InitReport {
    /// What two inits saw together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { gap: self.gap.max(other.gap), used: self.used + other.used }
    }
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

/// Who waits for which reply. Requests are answered in their order.
#[derive(Debug, Default)]
struct Waiting {
    birth: Option<oneshot::Sender<nix::Result<i32>>>,
    starts: VecDeque<oneshot::Sender<nix::Result<Started>>>,
    running: HashMap<i32, oneshot::Sender<Ended>>,
    drains: VecDeque<oneshot::Sender<InitReport>>,
    /// How many programs were asked for, and how many had been when all were ended last.
    asked: u64,
    ended: u64,
    /// Programs that somebody has stopped, and that have not ended.
    stopped: HashSet<i32>,
    confinements: VecDeque<oneshot::Sender<Option<Failure>>>,
    gone: bool,
}

/// A forked program: its number in the init's namespace, and how one learns that it ended.
type Started = (i32, oneshot::Receiver<Ended>);

impl Init {
    /// Starts an init; nothing runs under it yet.
    ///
    /// # Errors
    /// When the kernel refuses a process or a PID namespace.
    pub async fn start() -> Result<Self> {
        const TRIED: &str = "start a lab's init";
        let socket = nursery::bear_init()?;
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Error::call(TRIED, "fcntl(O_NONBLOCK)", errno))?;
        let socket = readiness::watch(socket).map_err(|e| Error::io(TRIED, "epoll_ctl", &e))?;
        let (birth, born) = oneshot::channel();
        let waiting = Mutex::new(Waiting { birth: Some(birth), ..Waiting::default() });
        let shared = Arc::new(Shared { socket, waiting });
        let reader = tokio::spawn(read_replies(Arc::clone(&shared))).abort_handle();
        let mut init = Self { shared, reader, pid: 0 };
        init.pid = born
            .await
            .map_err(|_| gone(TRIED))?
            .map_err(|errno| Error::call(TRIED, "clone(CLONE_NEWPID)", errno))?;
        Ok(init)
    }

    /// Its process number, as this process sees it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Starts a program and waits until it has been executed.
    ///
    /// # Errors
    /// When there is no such program, or the kernel refuses: with the step and errno that failed.
    pub async fn spawn(&self, command: &Command, place: Place<'_>) -> Result<Process> {
        self.start_as(command, place, None).await
    }

    /// Starts a program, as somebody else if it is confined.
    pub(super) async fn start_as(
        &self,
        command: &Command,
        place: Place<'_>,
        identity: Option<Identity>,
    ) -> Result<Process> {
        let tried = || format!("start \"{}\"", command.name());
        let message = command.encode(identity)?;
        let streams = Streams::open(command).map_err(|errno| Error::call(tried(), "pipe", errno))?;
        let descriptors = streams.descriptors(place);
        let (started, answer) = oneshot::channel();
        let mut started = Some(started);
        self.shared
            .send(&message, &descriptors, |waiting| {
                waiting.starts.extend(started.take());
                waiting.asked += 1;
            })
            .await
            .map_err(|errno| Error::call(tried(), "sendmsg to the lab's init", errno))?;
        let (ours, mut report) = streams.keep_ours().map_err(|e| Error::io(tried(), "epoll_ctl", &e))?;
        let (pid, ended) =
            answer.await.map_err(|_| gone(tried()))?.map_err(|errno| Error::call(tried(), "clone", errno))?;
        let mut failure = Vec::new();
        report.read_to_end(&mut failure).await.map_err(|e| Error::io(tried(), "read", &e))?;
        if let Some(Failure { step, errno }) = Failure::decode(&failure).filter(|_| !failure.is_empty()) {
            return Err(Error::call(tried(), step.call(), errno));
        }
        let init = Arc::downgrade(&self.shared);
        let [stdin, stdout, stderr] = ours;
        let as_sender = |end| if let Some(End::Sender(pipe)) = end { Some(pipe) } else { None };
        let as_receiver = |end| if let Some(End::Receiver(pipe)) = end { Some(pipe) } else { None };
        let (stdin, stdout, stderr) = (as_sender(stdin), as_receiver(stdout), as_receiver(stderr));
        Ok(Process { name: command.name(), pid, end: None, ended, init, stdin, stdout, stderr })
    }

    /// Ends everything under this init, grandchildren and daemons too, and waits until nothing is left. Tells what the init saw
    /// since the last time.
    ///
    /// # Errors
    /// When the init itself is gone; then nothing is left either.
    pub async fn kill_all(&self) -> Result<InitReport> {
        const TRIED: &str = "end the programs of a lab";
        let (drained, answer) = oneshot::channel();
        let (mut drained, mut asked) = (Some(drained), 0);
        if self.shared.waiting().is_drained() {
            return Ok(InitReport::default());
        }
        let note = |waiting: &mut Waiting| {
            waiting.drains.extend(drained.take());
            asked = waiting.asked;
        };
        self.shared
            .send(&InitRequest::Drain.encode(), &[], note)
            .await
            .map_err(|errno| Error::call(TRIED, "sendmsg to the lab's init", errno))?;
        let report = answer.await.map_err(|_| gone(TRIED))?;
        let mut waiting = self.shared.waiting();
        waiting.ended = waiting.ended.max(asked);
        Ok(report)
    }
}

impl Init {
    /// Asks for something about the sandbox, and waits until it is done.
    pub(super) async fn confine(&self, tried: &str, message: &[u8], descriptors: &[RawFd]) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let mut done = Some(done);
        self.shared
            .send(message, descriptors, |waiting| waiting.confinements.extend(done.take()))
            .await
            .map_err(|errno| Error::call(tried, "sendmsg to the lab's init", errno))?;
        match answer.await.map_err(|_| gone(tried))? {
            None => Ok(()),
            Some(Failure { step, errno }) => Err(Error::call(tried, step.call(), errno)),
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.reader.abort();
        // The reader and the runtime may hold on to the socket for a moment; the init is not to wait for that.
        let _ = shutdown(self.shared.socket.as_raw_fd(), Shutdown::Both);
    }
}

fn gone(tried: impl Into<String>) -> Error {
    Error::other(tried, "the lab's init is gone")
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sends a request, and notes who waits for its answer before the answer can come.
    async fn send(
        &self,
        message: &[u8],
        descriptors: &[RawFd],
        note: impl FnOnce(&mut Waiting),
    ) -> nix::Result<()> {
        loop {
            {
                let mut waiting = self.waiting();
                if waiting.gone {
                    return Err(Errno::EPIPE);
                }
                match raw::send(self.socket.as_raw_fd(), message, &[], descriptors) {
                    Ok(()) => {
                        note(&mut waiting);
                        return Ok(());
                    }
                    Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno),
                }
            }
            let io_errno = |e: io::Error| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            let mut ready = self.socket.writable().await.map_err(io_errno)?;
            ready.clear_ready();
        }
    }
}

async fn read_replies(shared: Arc<Shared>) {
    let next = |socket: &AsyncFd<OwnedFd>| -> io::Result<Option<Reply>> {
        let mut buffer = [0; REPLY];
        let received = raw::receive(socket.as_raw_fd(), &mut buffer)?;
        Ok(Reply::decode(&buffer).filter(|_| received.length == REPLY))
    };
    while let Ok(mut ready) = shared.socket.readable().await {
        match ready.try_io(next) {
            Ok(Ok(Some(reply))) => shared.waiting().deliver(reply),
            Ok(_) => break,
            Err(_would_block) => {}
        }
    }
    // Dropping the senders tells everybody who waits.
    *shared.waiting() = Waiting { gone: true, ..Waiting::default() };
}

impl Waiting {
    /// Whether nothing was started since all were ended last.
    fn is_drained(&self) -> bool {
        self.asked == self.ended && !self.gone
    }

    /// Hands a reply to who waits for it. Whoever has stopped waiting does not want it any more.
    fn deliver(&mut self, reply: Reply) {
        match reply {
            Reply::Born(pid) => drop(self.birth.take().map(|birth| birth.send(Ok(pid)))),
            Reply::Stillborn(errno) => drop(self.birth.take().map(|birth| birth.send(Err(errno)))),
            Reply::Started(pid) => {
                let (sender, receiver) = oneshot::channel();
                self.running.insert(pid, sender);
                drop(self.starts.pop_front().map(|start| start.send(Ok((pid, receiver)))));
            }
            Reply::NotStarted(errno) => drop(self.starts.pop_front().map(|start| start.send(Err(errno)))),
            Reply::Exited { pid, status, cpu_time: protocol::CpuTime { ran, waited } } => {
                let [ran, waited] = [ran, waited].map(|us| Duration::from_micros(us.into()));
                let (status, cpu_time) = (ExitStatus::from_raw(status), CpuTime { ran, waited });
                let end = Ended { status, cpu_time, was_stopped: self.stopped.remove(&pid) };
                // Orphans of programs are reaped, too; nobody waits for those.
                let waiter = self.running.remove(&pid);
                let _ = waiter.map(|waiter| waiter.send(end));
            }
            Reply::Confined(failure) => drop(self.confinements.pop_front().map(|asked| asked.send(failure))),
            Reply::Stopped(pid) => drop(self.stopped.insert(pid)),
            Reply::Drained { gap, used } => {
                let [gap, used] = [gap, used].map(|us| Duration::from_micros(us.into()));
                let _ = self.drains.pop_front().map(|drain| drain.send(InitReport { gap, used }));
            }
        }
    }
}

impl Process {
    /// Its process number, in the lab's own PID namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The program, as it was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it ends; may be asked again, and given up at any time.
    ///
    /// # Errors
    /// When the lab is gone.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.end().await.map(|end| end.status)
    }

    /// Waits until it ends, and says what it had of the processors.
    ///
    /// # Errors
    /// When the lab is gone.
    pub async fn cpu_time(&mut self) -> Result<CpuTime> {
        self.end().await.map(|end| end.cpu_time)
    }

    /// Waits until it ends, and says whether somebody had stopped it in between (SIGSTOP).
    ///
    /// # Errors
    /// When the lab is gone.
    pub async fn was_stopped(&mut self) -> Result<bool> {
        self.end().await.map(|end| end.was_stopped)
    }

    async fn end(&mut self) -> Result<Ended> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let end = (&mut self.ended).await.map_err(|_| gone(format!("wait for \"{}\"", self.name)))?;
        self.end = Some(end);
        Ok(end)
    }

    /// Reads what it says until it ends.
    ///
    /// # Errors
    /// When the lab is gone, or a pipe breaks.
    pub async fn output(mut self) -> Result<Output> {
        let tried = format!("read from \"{}\"", self.name);
        drop(self.stdin.take());
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) =
            tokio::try_join!(read_all(stdout), read_all(stderr)).map_err(|e| Error::io(tried, "read", &e))?;
        Ok(Output { status: self.wait().await?, stdout, stderr })
    }

    /// Sends a signal to it and the rest of its process group.
    ///
    /// # Errors
    /// When the lab is gone. That it has ended already is no error.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let tried = || format!("send {signal} to \"{}\"", self.name);
        let init = self.init.upgrade().ok_or_else(|| gone(tried()))?;
        let request = InitRequest::Signal { pid: self.pid, signal: signal as i32 };
        init.send(&request.encode(), &[], |_| ())
            .await
            .map_err(|errno| Error::call(tried(), "sendmsg to the lab's init", errno))
    }
}

async fn read_all(pipe: Option<pipe::Receiver>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The descriptors for a program, and our ends of its pipes.
struct Streams {
    theirs: [Arc<OwnedFd>; 3],
    ours: [Option<OwnedFd>; 3],
    report: (OwnedFd, OwnedFd),
}

/// Our end of a pipe.
#[derive(Debug)]
enum End {
    Sender(pipe::Sender),
    Receiver(pipe::Receiver),
}

impl Streams {
    fn open(command: &Command) -> nix::Result<Self> {
        let (stdin, our_stdin) = Self::stream(&command.stdin, |(read, write)| (read, write))?;
        let outward = |(read, write)| (write, read);
        let (stdout, our_stdout) = Self::stream(&command.stdout, outward)?;
        let (stderr, our_stderr) = Self::stream(&command.stderr, outward)?;
        Ok(Self {
            theirs: [stdin, stdout, stderr],
            ours: [our_stdin, our_stdout, our_stderr],
            report: pipe2(OFlag::O_CLOEXEC)?,
        })
    }

    /// Their end and ours; `sort` says which end of a pipe is whose.
    fn stream(
        stdio: &Stdio,
        sort: impl FnOnce((OwnedFd, OwnedFd)) -> (OwnedFd, OwnedFd),
    ) -> nix::Result<(Arc<OwnedFd>, Option<OwnedFd>)> {
        Ok(match stdio {
            Stdio::Null => {
                (Arc::new(open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?), None)
            }
            Stdio::Descriptor(descriptor) => (Arc::clone(descriptor), None),
            Stdio::Pipe => {
                let (theirs, ours) = sort(pipe2(OFlag::O_CLOEXEC)?);
                (Arc::new(theirs), Some(ours))
            }
        })
    }

    /// In the order of [`super::protocol::PassedFds`].
    fn descriptors(&self, place: Place<'_>) -> Vec<RawFd> {
        let mut all: Vec<_> = self.theirs.iter().map(|fd| fd.as_raw_fd()).collect();
        all.push(self.report.1.as_raw_fd());
        all.push(place.namespace.as_fd().as_raw_fd());
        all.extend(place.clocks.map(|clocks| clocks.as_fd().as_raw_fd()));
        all
    }

    /// Closes the program's ends here, and brings ours into the runtime.
    fn keep_ours(self) -> io::Result<([Option<End>; 3], pipe::Receiver)> {
        let [stdin, stdout, stderr] = self.ours;
        let sender = |fd| pipe::Sender::from_owned_fd(fd).map(End::Sender);
        let receiver = |fd| pipe::Receiver::from_owned_fd(fd).map(End::Receiver);
        let ends = [
            stdin.map(sender).transpose()?,
            stdout.map(receiver).transpose()?,
            stderr.map(receiver).transpose()?,
        ];
        Ok((ends, pipe::Receiver::from_owned_fd(self.report.0)?))
    }
}
