//! The things that are tried, one function each.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use super::{Finding, State};
use crate::kernel::conntrack::Events;
use crate::kernel::error::{Error, Result};
use crate::kernel::limits::raise_descriptor_limit;
use crate::kernel::link::{Device, Links};
use crate::kernel::namespace::{Inside, Namespace};
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::process::{self, Init, Place};
use crate::kernel::ruleset::Nft;
use crate::kernel::scheduling::{ThreadPriority, make_urgent};
use crate::kernel::sysctl::Sysctl;
use crate::kernel::tcp_sockets::TcpSockets;
use crate::kernel::time_namespace::TimeNamespace;
use crate::kernel::user_namespace;

/// Events of a burst of a thousand connections fit into this.
const ENOUGH_ROOM: usize = 1 << 20;

/// A lab of two peers and two NATs has some sixty descriptors, including its programs' pipes.
const ENOUGH_DESCRIPTORS: u64 = 4096;

/// The rules that every NAT is made of, one of each kind.
const RULES: &str = "table ip nat {
    map mapping { type ipv4_addr . inet_service : inet_service; flags dynamic,timeout; timeout 5m; size 65535; }
    chain post {
        type nat hook postrouting priority srcnat
        meta l4proto tcp snat to 192.0.2.2:ip saddr . tcp sport map @mapping
        meta l4proto tcp snat to 192.0.2.2:numgen inc mod 2 map { 0 : 20000, 1 : 20001 }
        meta l4proto tcp masquerade fully-random
    }
    chain pre {
        type nat hook prerouting priority dstnat
    }
    chain inp {
        type filter hook input priority filter
        ct state new,invalid reject with tcp reset
    }
    chain learn {
        type filter hook postrouting priority 101
        meta l4proto tcp update @mapping { ct original ip saddr . ct original proto-src : tcp sport }
    }
}
";

/// Something to try.
pub(super) struct Probe {
    what: &'static str,
    how: &'static str,
    needed_for: &'static str,
    /// What it means if it fails.
    failing: State,
    run: fn() -> Result<ProbeAnswer>,
}

/// What a probe that did not fail has seen.
struct ProbeAnswer {
    state: State,
    text: String,
    help: Option<&'static str>,
}

impl ProbeAnswer {
    fn works(text: impl Into<String>) -> Self {
        Self { state: State::Works, text: text.into(), help: None }
    }

    fn limited(text: impl Into<String>, help: &'static str) -> Self {
        Self { state: State::Limited, text: text.into(), help: Some(help) }
    }
}

impl Probe {
    const fn new(
        what: &'static str,
        run: fn() -> Result<ProbeAnswer>,
        how: &'static str,
        needed_for: &'static str,
        failing: State,
    ) -> Self {
        Self { what, how, needed_for, failing, run }
    }

    pub(super) fn run(&self) -> Finding {
        let Self { what, how, needed_for, .. } = *self;
        match (self.run)() {
            Ok(ProbeAnswer { state, text, help }) => {
                Finding { what, state, seen: text, how, needed_for, help: help.map(str::to_owned) }
            }
            Err(error) => Finding {
                what,
                state: self.failing,
                seen: error.to_string(),
                how,
                needed_for,
                help: error.help().map(str::to_owned),
            },
        }
    }
}

/// Everything that is tried.
pub(super) const ALL: &[Probe] = &[
    Probe::new("kernel", kernel, "uname(2)", "the record of a run", State::Limited),
    Probe::new("network namespaces", network_namespaces, "made one", "every lab", State::Missing),
    Probe::new(
        "user namespaces",
        user_namespaces,
        "a child made one, and a network namespace in it",
        "--rootless",
        State::Absent,
    ),
    Probe::new(
        "PID namespaces",
        pid_namespaces,
        "ran /bin/true in one",
        "programs that cannot outlive their lab",
        State::Missing,
    ),
    Probe::new(
        "time namespaces",
        time_namespaces,
        "made one",
        "peers with clocks of their own",
        State::Missing,
    ),
    Probe::new("links", links, "made a veth pair and a bridge", "every lab", State::Missing),
    Probe::new(
        "settings",
        settings,
        "wrote net.ipv4.icmp_ratemask in a namespace",
        "every lab",
        State::Missing,
    ),
    Probe::new("nftables", nftables, "asked it to check one rule of each kind", "every NAT", State::Missing),
    Probe::new(
        "connection tracking events",
        events,
        "listened in a namespace",
        "judging trials",
        State::Missing,
    ),
    Probe::new(
        "ending connections",
        ending,
        "tried to end one that does not exist",
        "trials that get no packets of connections of the trial before",
        State::Limited,
    ),
    Probe::new(
        "packet sockets",
        packet_sockets,
        "opened one with PACKET_VNET_HDR",
        "links that delay and lose packets",
        State::Missing,
    ),
    Probe::new(
        "real-time threads",
        urgency,
        "asked for SCHED_FIFO",
        "links that deliver packets on time on a busy machine",
        State::Limited,
    ),
    Probe::new("open files", descriptors, "raised the soft limit", "many labs at once", State::Limited),
    Probe::new("python3", || tool("python3"), "looked in PATH", "tests with foreign programs", State::Absent),
    Probe::new("tshark", || tool("tshark"), "looked in PATH", "reading captures by hand", State::Absent),
];

fn kernel() -> Result<ProbeAnswer> {
    let name = uname().map_err(|errno| Error::call("ask for the kernel's release", "uname", errno))?;
    Ok(ProbeAnswer::works(name.release().to_string_lossy()))
}

fn network_namespaces() -> Result<ProbeAnswer> {
    let rights = if geteuid().is_root() { "as root" } else { "without being root" };
    Namespace::new().map(|_| ProbeAnswer::works(rights))
}

/// The process has threads by now and cannot enter one itself.
fn user_namespaces() -> Result<ProbeAnswer> {
    const TRIED: &str = "create a user namespace";
    let mut child = Command::new("/proc/self/exe");
    // The child is never executed: the error tells how far it came.
    let enter = || {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        // Where AppArmor restricts them, the first succeeds and gives no rights.
        unshare(CloneFlags::CLONE_NEWNET)?;
        Err(std::io::Error::from_raw_os_error(libc::ECANCELED))
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { child.pre_exec(enter) };
    let result = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    match result.err().and_then(|e| e.raw_os_error()) {
        Some(libc::ECANCELED) => Ok(ProbeAnswer::works("yes")),
        number => {
            let errno = Errno::from_raw(number.unwrap_or_default());
            let error = Error::call(TRIED, "unshare(CLONE_NEWUSER | CLONE_NEWNET)", errno);
            Err(match user_namespace::forbidden_by() {
                Some(setting) => error.with_help(format!("sysctl -w {setting}")),
                None => error,
            })
        }
    }
}

fn pid_namespaces() -> Result<ProbeAnswer> {
    process::prepare()?;
    in_runtime(async || {
        let init = Init::start().await?;
        let namespace = Namespace::new()?;
        let place = Place { namespace: &namespace, clocks: None };
        let mut program = init.spawn(&"/bin/true".into(), place).await?;
        let status = program.wait().await?;
        if status.success() {
            return Ok(ProbeAnswer::works("yes"));
        }
        Err(Error::other("run /bin/true in a PID namespace", status.to_string()))
    })
}

fn time_namespaces() -> Result<ProbeAnswer> {
    TimeNamespace::new(Duration::from_secs(3600)).map(|_| ProbeAnswer::works("yes"))
}

fn links() -> Result<ProbeAnswer> {
    in_runtime(async || {
        let there = Namespace::new()?;
        let runtime = tokio::runtime::Handle::current();
        let (_here, links) = Namespace::create(|inside| {
            let _context = runtime.enter();
            Links::open(inside)
        })?;
        let links = links?;
        let near = Device { index: 2, name: "near", mac: [2, 0, 0, 0, 0, 1] };
        let far = Device { index: 2, name: "far", mac: [2, 0, 0, 0, 0, 2] };
        links.add_veth(near, far, &there).await?;
        links.add_bridge(Device { index: 3, name: "bridge", mac: [2, 0, 0, 0, 0, 3] }).await?;
        Ok(ProbeAnswer::works("veth, bridge"))
    })
}

fn settings() -> Result<ProbeAnswer> {
    inside(|inside| Sysctl::new("net.ipv4.icmp_ratemask", 0).write(inside))?;
    Ok(ProbeAnswer::works("each namespace has its own"))
}

fn nftables() -> Result<ProbeAnswer> {
    let nft = Nft::get();
    inside(|inside| nft.check(inside, RULES))?;
    let version = nft_version().unwrap_or_else(|| "unknown version".into());
    Ok(match nft {
        Nft::Library(_) => ProbeAnswer::works(format!("{version}, through libnftables")),
        Nft::Program => ProbeAnswer::limited(
            format!("{version}, through the nft program"),
            "with libnftables1 installed, NATs are changed faster",
        ),
    })
}

/// `nftables v1.0.6 (Lester Gooch #5)` becomes `1.0.6`.
fn nft_version() -> Option<String> {
    let said = Command::new("nft").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Some(said.split_whitespace().nth(1)?.trim_start_matches('v').to_owned())
}

fn events() -> Result<ProbeAnswer> {
    let events = inside(Events::open)?;
    let room = getsockopt(&events, sockopt::RcvBuf)
        .map_err(|errno| Error::call("ask for the room for events", "getsockopt(SO_RCVBUF)", errno))?;
    let text = format!("room for {} KiB of events", room / 1024);
    if room >= ENOUGH_ROOM {
        return Ok(ProbeAnswer::works(text));
    }
    Ok(ProbeAnswer::limited(text, "as root there is room for more; or: sysctl -w net.core.rmem_max=8388608"))
}

fn ending() -> Result<ProbeAnswer> {
    inside(|inside| TcpSockets::open(inside)?.check()).map(|()| ProbeAnswer::works("by SOCK_DESTROY"))
}

fn packet_sockets() -> Result<ProbeAnswer> {
    inside(|inside| PacketSocket::carrier(inside, "lo")).map(|_| ProbeAnswer::works("yes"))
}

/// In a thread that ends at once, so that nobody else stays urgent.
fn urgency() -> Result<ProbeAnswer> {
    const TRIED: &str = "ask for SCHED_FIFO";
    let thread = thread::Builder::new().spawn(make_urgent).map_err(|e| Error::io(TRIED, "clone", &e))?;
    match thread.join().map_err(|_| Error::other(TRIED, "the thread panicked"))? {
        ThreadPriority::Fifo => Ok(ProbeAnswer::works("SCHED_FIFO")),
        ThreadPriority::Ordinary(errno) => Err(Error::call(TRIED, "sched_setscheduler", errno)),
    }
}

fn descriptors() -> Result<ProbeAnswer> {
    let limit = raise_descriptor_limit()?;
    let text = format!("up to {limit}");
    if limit >= ENOUGH_DESCRIPTORS {
        return Ok(ProbeAnswer::works(text));
    }
    Ok(ProbeAnswer::limited(text, "ulimit -Hn 65536 as root, or fewer trials at once with --jobs"))
}

fn tool(name: &str) -> Result<ProbeAnswer> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        env::split_paths(&path).map(|folder| folder.join(name)).find(|file| fs::metadata(file).is_ok());
    let found = found.ok_or_else(|| Error::other(format!("find {name}"), "it is not in PATH"))?;
    Ok(ProbeAnswer::works(found.display().to_string()))
}

/// Does something in a new namespace.
fn inside<T: Send>(work: impl FnOnce(&Inside) -> Result<T> + Send) -> Result<T> {
    Namespace::create(work)?.1
}

/// Does something that needs a runtime, in a thread with one of its own: the caller may be within another.
fn in_runtime<T: Send>(work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    const TRIED: &str = "start a runtime";
    thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| Error::io(TRIED, "epoll_create", &e))?.block_on(work())
        };
        let thread = thread::Builder::new().spawn_scoped(scope, run);
        let thread = thread.map_err(|e| Error::io(TRIED, "clone", &e))?;
        thread.join().unwrap_or_else(|_| Err(Error::other(TRIED, "the thread panicked")))
    })
}
