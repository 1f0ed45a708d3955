//! Programs run in their namespace, and nothing of them outlives their lab or this process.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use testbed::kernel::namespace::Namespace;
use testbed::kernel::process::{Capabilities, Command, CpuTime, Init, Place, Process, Stdio, Terminal};
use testbed::kernel::time_namespace::TimeNamespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{is_readable_within, lab_is_possible};

const PATIENCE: Duration = Duration::from_secs(20);

/// An init and a namespace to run programs in.
struct Ward {
    init: Init,
    namespace: Namespace,
}

impl Ward {
    async fn new() -> Option<Self> {
        lab_is_possible().then_some(())?;
        let namespace = Namespace::new().expect("a namespace");
        Some(Self { init: Init::start().await.expect("an init"), namespace })
    }

    async fn try_spawn(&self, command: &Command) -> testbed::kernel::Result<Process> {
        self.init.spawn(command, Place { namespace: &self.namespace, clocks: None }).await
    }

    async fn spawn(&self, command: &Command) -> Process {
        self.try_spawn(command).await.expect("a program")
    }

    /// What a shell says and how it ends.
    async fn shell(&self, script: &str) -> (String, Option<i32>) {
        let output = self.spawn(&shell(script)).await.output().await.expect("output");
        (String::from_utf8_lossy(&output.stdout).trim_end().to_owned(), output.status.code())
    }

    /// The processes in the PID namespace of the init, as seen from outside.
    fn population(&self) -> Vec<i32> {
        population(&pid_namespace(self.init.pid()).expect("the init lives"))
    }
}

fn shell(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

fn pid_namespace(pid: i32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn population(namespace: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| pid_namespace(*pid).is_some_and(|n| n == namespace)).collect()
}

/// Waits until a script has said that all its programs have started.
async fn started(program: &mut Process) {
    let mut said = [0; 3];
    let reading = program.stdout.as_mut().expect("a pipe").read_exact(&mut said);
    timeout(PATIENCE, reading).await.expect("a sign of life in time").expect("a sign of life");
    assert_eq!(&said, b"up\n");
}

/// Waits until nothing is left that could write to the standard output of this program: neither it nor its children.
async fn silenced(program: &mut Process) {
    let mut rest = Vec::new();
    let reading = program.stdout.as_mut().expect("a pipe").read_to_end(&mut rest);
    timeout(PATIENCE, reading).await.expect("an end of its output in time").expect("a pipe to read");
}

#[tokio::test]
async fn a_program_sees_its_namespace_and_is_alone_with_its_init() {
    let Some(ward) = Ward::new().await else { return };
    let inside = ward
        .namespace
        .enter(|_| fs::read_link("/proc/thread-self/ns/net"))
        .expect("the way in")
        .expect("a namespace");
    let (seen, status) = ward.shell("readlink /proc/self/ns/net; exit 7").await;
    assert_eq!(seen, inside.to_string_lossy());
    assert_eq!(status, Some(7));
    assert_eq!(ward.population(), [ward.init.pid()]);
}

#[tokio::test]
async fn a_program_inherits_no_descriptor_and_no_ignored_signal() {
    let Some(ward) = Ward::new().await else { return };
    // Number 3 is the folder that is being listed.
    let (open, _) = ward.shell("ls /proc/self/fd").await;
    assert_eq!(open, "0\n1\n2\n3");
    let (ignored, _) = ward.shell("grep -E 'SigBlk|SigIgn' /proc/self/status").await;
    assert_eq!(ignored, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
}

#[tokio::test]
async fn input_reaches_the_program_and_output_comes_back() {
    let Some(ward) = Ward::new().await else { return };
    let mut cat = ward.spawn(&Command::new("cat").stdin(Stdio::Pipe)).await;
    let mut stdin = cat.stdin.take().expect("a pipe");
    stdin.write_all(b"there and back").await.expect("a reader");
    drop(stdin);
    let output = cat.output().await.expect("output");
    assert_eq!(output.stdout, b"there and back");
    assert!(output.status.success());
}

#[tokio::test]
async fn environment_and_directory_are_as_asked() {
    let Some(ward) = Ward::new().await else { return };
    let command =
        Command::new("/bin/sh").args(["-c", "pwd; env"]).env_clear().env("ONE", "1").directory("/proc/sys");
    let output = ward.spawn(&command).await.output().await.expect("output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with("_=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["/proc/sys", "ONE=1", "PWD=/proc/sys"]);
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_refused_with_its_errno() {
    let Some(ward) = Ward::new().await else { return };
    let cases = [
        (Command::new("/no/such/program"), Errno::ENOENT, "execve"),
        (Command::new("/etc/passwd"), Errno::EACCES, "execve"),
        (Command::new("/bin/true").directory("/no/such/folder"), Errno::ENOENT, "chdir"),
    ];
    for (command, errno, call) in cases {
        let error = ward.try_spawn(&command).await.expect_err("not a program");
        assert_eq!(error.errno(), Some(errno), "{error}");
        assert!(error.to_string().contains(call), "{error}");
    }
    assert_eq!(ward.shell("echo still alive").await.0, "still alive");
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group() {
    let Some(ward) = Ward::new().await else { return };
    let mut program = ward.spawn(&shell("sleep 1000 & echo up; sleep 1000")).await;
    started(&mut program).await;
    program.signal(Signal::SIGKILL).await.expect("the init lives");
    let status = program.wait().await.expect("the init lives");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert_eq!(program.wait().await.expect("asked again"), status);
    silenced(&mut program).await;
}

#[tokio::test]
async fn ending_all_gets_grandchildren_and_daemons() {
    let Some(ward) = Ward::new().await else { return };
    let script = "setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & echo up; sleep 1000' & sleep 1000";
    let mut programs = Vec::new();
    for _ in 0..3 {
        let mut program = ward.spawn(&shell(script)).await;
        started(&mut program).await;
        programs.push(program);
    }
    ward.init.kill_all().await.expect("the init lives");
    assert_eq!(ward.population(), [ward.init.pid()]);
    for program in &mut programs {
        assert_eq!(program.wait().await.expect("a status").signal(), Some(libc::SIGKILL));
    }
    assert_eq!(ward.shell("echo still usable").await.0, "still usable");
}

/// Leaves a daemon behind, and says when it has.
const DAEMON: &str = "setsid sleep 1000 & echo up; sleep 1000";

#[tokio::test]
async fn dropping_the_init_ends_everything() {
    let Some(ward) = Ward::new().await else { return };
    let mut program = ward.spawn(&shell(DAEMON)).await;
    started(&mut program).await;
    drop(ward);
    let error = program.wait().await.expect_err("the init is gone");
    assert!(error.to_string().ends_with("the lab's init is gone"), "{error}");
    silenced(&mut program).await;
}

#[tokio::test]
async fn an_init_that_is_killed_is_reported() {
    let Some(ward) = Ward::new().await else { return };
    let mut program = ward.spawn(&shell("sleep 1000")).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(ward.init.pid()), Signal::SIGKILL).expect("our init");
    program.wait().await.expect_err("the init is gone");
    ward.try_spawn(&shell("true")).await.expect_err("the init is gone");
    ward.init.kill_all().await.expect_err("the init is gone");
}

#[tokio::test]
async fn many_programs_start_and_end_side_by_side() {
    let Some(ward) = Ward::new().await else { return };
    let runs = (0..60).map(|number| {
        let ward = &ward;
        async move {
            let (said, status) = ward.shell(&format!("echo {number}; exit {number}")).await;
            assert_eq!((said, status), (number.to_string(), Some(number)));
        }
    });
    futures::future::join_all(runs).await;
    assert_eq!(ward.population(), [ward.init.pid()]);
}

#[tokio::test]
async fn a_program_has_only_the_capabilities_that_are_left_to_it() {
    let Some(ward) = Ward::new().await else { return };
    let net_bind_service = 1 << 10;
    let command =
        shell("grep -E 'CapEff|CapBnd' /proc/self/status").capabilities(Capabilities::Only(net_bind_service));
    let output = ward.spawn(&command).await.output().await.expect("output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\n");
}

/// Where nothing may be taken from what programs could ever have, as in a container of few capabilities.
#[tokio::test]
async fn a_program_gets_no_capability_back_where_the_bounding_set_has_to_stay() {
    const FEW: &str = "TESTBED_TEST_FEW_CAPABILITIES";
    if !lab_is_possible() {
        return;
    }
    if std::env::var_os(FEW).is_none() {
        let again = process::Command::new("setpriv")
            .arg("--bounding-set=-setpcap")
            .arg(std::env::current_exe().expect("this test"))
            .args(["--exact", "--nocapture"])
            .arg("lab::process::a_program_gets_no_capability_back_where_the_bounding_set_has_to_stay")
            .env(FEW, "1")
            .output()
            .expect("setpriv, which is part of util-linux");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{again:?}");
        return;
    }
    let ward = Ward::new().await.expect("the test has checked");
    // Also what root gets by executing something.
    let script = "grep -E 'CapPrm|CapEff' /proc/self/status; sh -c \"grep -E 'CapPrm' /proc/self/status\"";
    let command = shell(script).capabilities(Capabilities::Only(1 << 10));
    let output = ward.spawn(&command).await.output().await.expect("output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let one = "0000000000000400";
    assert_eq!(text, format!("CapPrm:\t{one}\nCapEff:\t{one}\nCapPrm:\t{one}\n"));
}

#[tokio::test]
async fn a_shell_may_control_its_terminal() {
    let Some(ward) = Ward::new().await else { return };
    let terminal = nix::pty::openpty(None, None).expect("a pseudo terminal");
    let slave: Arc<OwnedFd> = Arc::new(terminal.slave);
    let stdio = || Stdio::Descriptor(Arc::clone(&slave));
    let command = shell("echo mine > /dev/tty").stdin(stdio()).stdout(stdio()).stderr(stdio());
    let mut program = ward.spawn(&command.terminal(Terminal::Controlling)).await;
    assert!(program.wait().await.expect("a status").success());
    let mut said = [0; 4];
    fs::File::from(terminal.master).read_exact(&mut said).expect("what was said");
    assert_eq!(&said, b"mine");
}

#[tokio::test]
async fn clocks_are_shifted_by_what_was_asked() {
    let Some(ward) = Ward::new().await else { return };
    let ahead = Duration::from_secs(1_000_000);
    let clocks = TimeNamespace::new(ahead).expect("a time namespace");
    let uptime = |text: &[u8]| -> f64 {
        let text = String::from_utf8_lossy(text);
        text.split(' ').next().and_then(|t| t.parse().ok()).expect("an uptime")
    };
    let place = Place { namespace: &ward.namespace, clocks: Some(&clocks) };
    let before = uptime(&fs::read("/proc/uptime").expect("an uptime"));
    let program = ward.init.spawn(&"cat /proc/uptime".into(), place).await.expect("a program");
    let inside = uptime(&program.output().await.expect("output").stdout);
    let after = uptime(&fs::read("/proc/uptime").expect("an uptime"));
    let shift = ahead.as_secs_f64();
    // The file has hundredths of seconds.
    assert!((before + shift - 0.02..=after + shift + 0.02).contains(&inside), "{before} {inside} {after}");
}

/// Two programs on one processor: while one runs, the other waits at least, and one that sleeps does neither.
#[tokio::test]
async fn it_is_known_how_long_a_program_waited_for_a_processor() {
    let Some(ward) = Ward::new().await else { return };
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("a set");
    let first = (0..nix::sched::CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let there = Command::new("taskset").args(["-c", &first.expect("a processor").to_string(), "sh", "-c"]);
    let busy = there.clone().arg("while :; do :; done");
    let mut programs = [ward.spawn(&busy).await, ward.spawn(&busy).await];
    let mut asleep = ward.spawn(&Command::new("sleep").arg("60")).await;
    let began = std::time::Instant::now();
    // A third has work to do on the same processor: when it is done, all have had their turns.
    let mut third = ward.spawn(&there.arg("i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done")).await;
    assert!(third.wait().await.expect("it has ended").success());
    let both_ran = began.elapsed();
    ward.init.kill_all().await.expect("an init");
    let most = began.elapsed() + PATIENCE;
    let [mut all, one] = [Duration::ZERO, asleep.cpu_time().await.expect("it has ended").waited];
    for program in &mut programs {
        let CpuTime { ran, waited } = program.cpu_time().await.expect("it has ended");
        assert!(!ran.is_zero() && ran < most, "{ran:?}");
        assert!(waited < most, "{waited:?}");
        all += waited;
    }
    assert!(all >= both_ran / 2, "both together waited {all:?} of {both_ran:?}");
    assert!(one < all, "one that slept waited {one:?}, those that worked {all:?}");
}

/// A program that is waited for, a daemon that outlives it, and one that is killed: all of them count.
#[tokio::test]
async fn it_is_known_for_how_long_all_programs_of_an_init_ran() {
    let Some(ward) = Ward::new().await else { return };
    let burn = "import time\nwhile time.process_time() < 0.2: pass";
    let script =
        format!("python3 -c '{burn}'; setsid python3 -c '{burn}' & wait; echo up; while :; do :; done");
    let mut program = ward.spawn(&shell(&script)).await;
    started(&mut program).await;
    let seen = ward.init.kill_all().await.expect("an init");
    assert!(seen.used >= Duration::from_millis(400), "{seen:?}");
    let nothing = ward.init.kill_all().await.expect("an init");
    assert!(nothing.used.is_zero(), "{nothing:?}");
}

/// A process that is no child of ours, and whose end we wait for.
struct Watched(OwnedFd);

impl Watched {
    fn of(pid: i32) -> Self {
        // SAFETY: this call takes numbers only.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let pidfd = i32::try_from(Errno::result(pidfd).expect("it is there")).expect("a descriptor");
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        Self(unsafe { OwnedFd::from_raw_fd(pidfd) })
    }

    fn wait(&self) {
        assert!(is_readable_within(&self.0, PATIENCE), "a process is left");
    }
}

/// Plays the victim when asked to by the test below, of which it is a copy.
async fn be_the_victim() {
    let ward = Ward::new().await.expect("the test has checked");
    let mut program = ward.spawn(&shell(DAEMON)).await;
    started(&mut program).await;
    let init = ward.init.pid();
    let nursery = fs::read_to_string(format!("/proc/{init}/stat")).expect("the init lives");
    let nursery = nursery.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    // Past the capture of the test harness.
    writeln!(std::io::stdout(), "\nvictim {init} {}", nursery.expect("a parent")).expect("a reader");
    std::future::pending::<()>().await;
    drop(program);
}

#[tokio::test]
async fn a_killed_harness_leaves_nothing() {
    const VICTIM: &str = "TESTBED_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim().await;
    }
    if !lab_is_possible() {
        return;
    }
    let mut victim = process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "lab::process::a_killed_harness_leaves_nothing", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(process::Stdio::piped())
        .spawn()
        .expect("a copy of this test");
    let lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    let told = lines.map_while(Result::ok).find(|line| line.starts_with("victim "));
    let told = told.expect("the victim's account");
    let numbers: Vec<i32> = told.split(' ').skip(1).map(|number| number.parse().expect("a number")).collect();
    let [init, _nursery] = numbers[..] else { panic!("{told}") };
    let left: Vec<_> = numbers.iter().map(|pid| Watched::of(*pid)).collect();
    assert!(population(&pid_namespace(init).expect("the init lives")).len() >= 3);
    victim.kill().expect("our child");
    victim.wait().expect("our child");
    // An init has not ended before every program of its PID namespace has.
    for process in left {
        process.wait();
    }
}
