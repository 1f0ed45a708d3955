//! The wire: how late frames leave it, idle and beside other work, and how much it carries.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testbed::lab::Lab;
use testbed::lab::wire::TapLimits;
use testbed::model::evidence::Frame;
use testbed::model::packet::{Packet, PacketKind};
use testbed::{Conditions, Topology};

use crate::table::Table;

const PINGS: u32 = 400;
const BYTES: usize = 1 << 29;
const DATAGRAMS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// One host, a wire, and the core.
struct Cable {
    lab: Lab,
}

impl Cable {
    fn new(delay: Duration) -> Self {
        let topology =
            Topology::builder("cable").host("host", "core").wire("host", Conditions::delayed(delay));
        let topology = topology.build().expect("a tree");
        let runtime = testbed::setup(testbed::Rights::Own).expect("labs are possible here");
        Self { lab: runtime.block_on(Lab::new(&topology).build()).expect("a lab") }
    }

    fn inside<T: Send>(&self, node: &str, work: impl FnOnce() -> T + Send) -> T {
        self.lab.node(node).expect("a node").enter(|_| work()).expect("a namespace")
    }

    /// Where the core is reached from the host.
    fn core(&self) -> SocketAddr {
        SocketAddr::from((*testbed::model::address_plan::RENDEZVOUS.ip(), 5000))
    }

    fn udp_pair(&self) -> (UdpSocket, UdpSocket) {
        let core = self.core();
        let upper = self.inside("core", move || UdpSocket::bind(core).expect("a port"));
        let lower = self.inside("host", || UdpSocket::bind("0.0.0.0:0").expect("a port"));
        for socket in [&upper, &lower] {
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        lower.connect(core).expect("a route");
        lower.send(b"who").expect("a route");
        receive(&upper, &mut [0; 8]).expect("the first datagram");
        upper.connect(lower.local_addr().expect("an address")).expect("a route");
        self.frames();
        (lower, upper)
    }

    fn frames(&self) -> Vec<Frame> {
        self.lab.evidence().expect("the wire lives").frames
    }
}

pub(crate) fn wire(table: &mut Table) {
    for delay in [0, 5, 20].map(Duration::from_millis) {
        lateness(table, delay, "idle");
    }
    let loops: Vec<Loop> = (0..4).map(|_| Loop::start()).collect();
    lateness(table, Duration::from_millis(5), "beside four loops that start processes");
    drop(loops);
    throughput(table);
    packet_rate(table);
}

/// Waits for a datagram. A socket with a time limit is interrupted by signals (signal(7)), here by SIGCHLD: it comes to this
/// thread while the one that starts processes has it blocked.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// How much later than asked each frame left.
fn lateness(table: &mut Table, delay: Duration, when: &str) {
    let cable = Cable::new(delay);
    let (lower, upper) = cable.udp_pair();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 16];
            for _ in 0..PINGS {
                let length = receive(&upper, &mut buffer).expect("a ping");
                upper.send(&buffer[..length]).expect("a way back");
            }
        });
        for _ in 0..PINGS {
            lower.send(b"ping").expect("a way out");
            receive(&lower, &mut [0; 16]).expect("an answer");
        }
    });
    let late =
        |frame: &Frame| frame.left.saturating_sub(frame.entered) as f64 / 1e6 - delay.as_secs_f64() * 1e3;
    let late = cable.frames().iter().filter(|f| is_udp(f)).map(late).collect();
    table.add(format!("wire of {} ms, {when}: over the asked delay", delay.as_millis()), "ms", late);
}

fn is_udp(frame: &Frame) -> bool {
    !matches!(
        Packet::of(frame).map(|packet| packet.kind),
        None | Some(PacketKind::Tcp(_) | PacketKind::Icmp(_))
    )
}

fn throughput(table: &mut Table) {
    let rates = (0..3).map(|_| {
        let cable = Cable::new(Duration::from_millis(5));
        let core = cable.core();
        let listener = cable.inside("core", move || TcpListener::bind(core).expect("a port"));
        let mut sender = cable.inside("host", move || TcpStream::connect(core).expect("a connection"));
        let (mut receiver, _) = listener.accept().expect("a connection");
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                let chunk = vec![7; 1 << 17];
                for _ in 0..BYTES / chunk.len() {
                    sender.write_all(&chunk).expect("an open connection");
                }
                sender.shutdown(Shutdown::Write).expect("an open connection");
            });
            let mut chunk = vec![0; 1 << 20];
            while receiver.read(&mut chunk).expect("an open connection") > 0 {}
        });
        BYTES as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9
    });
    table.add("wire of 5 ms: one TCP stream", "Gbit/s", rates.collect());
}

fn packet_rate(table: &mut Table) {
    let rates = (0..3).map(|_| {
        let cable = Cable::new(Duration::ZERO);
        for wire in (0..=u16::MAX).map_while(|link| cable.lab.wire(link)) {
            wire.set_tap_limits(TapLimits { frames: 1 << 20, ..TapLimits::default() })
                .expect("the wire lives");
        }
        let (lower, upper) = cable.udp_pair();
        for _ in 0..DATAGRAMS {
            let _ = lower.send(b"ping");
        }
        // What was sent last comes through last.
        upper.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        while receive(&upper, &mut [0; 16]).is_ok() {}
        let frames = cable.frames();
        let span = frames.iter().map(|f| f.left).max().unwrap_or(0) - frames.first().map_or(0, |f| f.entered);
        frames.len() as f64 / span as f64 * 1e6
    });
    table.add("wire without delay: small datagrams one way", "1000/s", rates.collect());
}

/// A thread that starts one process after the other, until dropped.
struct Loop {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loop {
    fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let spawn = move || {
            while !seen.load(Ordering::Relaxed) {
                Command::new("true").status().expect("true");
            }
        };
        Self { done, thread: Some(thread::spawn(spawn)) }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
