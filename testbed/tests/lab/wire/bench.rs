//! How exact and how fast the wire is. Figures depend on the machine, so these are no tests; run them with
//! `cargo test --release --test tests wire::bench -- --ignored --nocapture --test-threads 1`.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testbed::lab::wire::{TapLimits, WireEngine};
use testbed::model::evidence::Frame;

use super::cable::{Cable, PATIENCE, is_udp, receive};

const PINGS: u32 = 500;

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Median, 95th percentile and maximum, in microseconds.
fn spread(mut nanos: Vec<u64>) -> String {
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    format!("median {:.0} us, p95 {:.0} us, max {:.0} us", at(0.5), at(0.95), at(1.0))
}

/// Round trips one after the other; their times, and the frames that made them.
fn ping(cable: &Cable) -> (Vec<u64>, Vec<Frame>) {
    cable.warm_up();
    cable.wire.begin_epoch(1).expect("the engine lives");
    let (lower, upper) = cable.udp_pair();
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            for _ in 0..PINGS {
                let length = receive(&upper, &mut buffer);
                upper.send(&buffer[..length]).expect("a way back");
            }
        });
        let mut buffer = [0; 64];
        let one = |_| {
            let start = Instant::now();
            lower.send(b"ping").expect("a way out");
            receive(&lower, &mut buffer);
            start.elapsed().as_nanos() as u64
        };
        (0..PINGS).map(one).collect()
    });
    (times, cable.take().frames)
}

fn accuracy(engine: &WireEngine, what: &str) {
    for millis in [0, 1, 5, 20] {
        let delay = Duration::from_millis(millis);
        let cable = Cable::delayed(engine, delay);
        let (times, frames) = ping(&cable);
        let asked = 2 * delay.as_nanos() as u64;
        let beyond = times.iter().map(|time| time - asked).collect();
        let late = frames.iter().filter(|f| is_udp(f)).map(|frame| frame.left - frame.due).collect();
        say(&format!("{what}, {millis:2} ms: left after due: {}", spread(late)));
        say(&format!("{what}, {millis:2} ms: round trip beyond twice that: {}", spread(beyond)));
    }
}

#[test]
#[ignore = "a benchmark"]
fn delay_when_idle() {
    let engine = WireEngine::start().expect("an engine");
    say(&format!("the wire runs with {}", engine.urgency()));
    accuracy(&engine, "idle");
}

#[test]
#[ignore = "a benchmark"]
fn delay_beside_four_loops_that_start_processes() {
    let engine = WireEngine::start().expect("an engine");
    let _loops: Vec<Loop> = (0..4).map(|_| Loop::start()).collect();
    accuracy(&engine, "loaded");
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
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
#[ignore = "a benchmark"]
fn throughput() {
    const BYTES: usize = 1 << 30;
    let engine = WireEngine::start().expect("an engine");
    for millis in [0, 5, 20] {
        let cable = Cable::delayed(&engine, Duration::from_millis(millis));
        let listener = cable.listen();
        let mut sender = cable.connect();
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
        let gigabits = BYTES as f64 * 8.0 / start.elapsed().as_nanos() as f64;
        let tapped = cable.take();
        let (frames, late, lost) = (tapped.frames.len(), tapped.lateness, tapped.lost);
        say(&format!(
            "throughput, {millis:2} ms: {gigabits:.2} Gbit/s, {frames} frames, latest {late:?}, {lost:?}"
        ));
    }
}

#[test]
#[ignore = "a benchmark"]
fn packet_rate() {
    const DATAGRAMS: u32 = 200_000;
    let engine = WireEngine::start().expect("an engine");
    for millis in [0, 5] {
        let cable = Cable::delayed(&engine, Duration::from_millis(millis));
        cable.warm_up();
        cable
            .wire
            .set_tap_limits(TapLimits { frames: 1 << 20, ..TapLimits::default() })
            .expect("the engine lives");
        let (lower, upper) = cable.udp_pair();
        upper.set_read_timeout(Some(PATIENCE / 20)).expect("a timeout");
        cable.wire.begin_epoch(1).expect("the engine lives");
        let start = Instant::now();
        let got = thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut buffer = [0; 64];
                let mut count = 0;
                while upper.recv(&mut buffer).is_ok() {
                    count += 1;
                }
                count
            });
            for _ in 0..DATAGRAMS {
                let _ = lower.send(b"ping");
            }
            receiver.join().expect("a count")
        });
        let sent = start.elapsed();
        let tapped = cable.take();
        let span = tapped.frames.iter().map(|f| f.left).max().unwrap_or(0) - tapped.frames[0].entered;
        let rate = tapped.frames.len() as f64 / span as f64 * 1e6;
        say(&format!(
            "packet rate, {millis} ms: {rate:.0} k/s through the wire, {got} of {DATAGRAMS} received, latest {:?}, {:?}, {sent:?}",
            tapped.lateness, tapped.lost
        ));
    }
}
