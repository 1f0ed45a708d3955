//! How fast the encrypted stream is beside plain TCP, over the same path, in the same run:
//!
//! ```sh
//! throughput a KEY-FILE MEBIBYTES IP:PORT...      # on one host; the endpoints are those of a rendezvous server
//! throughput b KEY-FILE MEBIBYTES IP:PORT...      # on the other
//! ```
//!
//! Role a sends, role b reads. They meet six times: plain TCP and the encrypted stream take turns, three times each. Both
//! are connections that puncher won, moved by the same code; the one difference is `Config::protection`. Each side prints medians:
//! the rate, and the processor time that it took itself, which says more where other programs run.

use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use puncher::{Config, Meeting, PeerStream, Protection, Puncher, Role, Secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Failure = Box<dyn std::error::Error>;

/// What is read or written at once.
const PART: usize = 256 * 1024;

/// Times that each kind of stream is tried.
const TURNS: usize = 3;

const MEBIBYTE: f64 = 1_048_576.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, key, mebibytes, servers @ ..] = &arguments[..] else {
        return Err("expected: throughput ROLE KEY-FILE MEBIBYTES IP:PORT...".into());
    };
    let role: Role = role.parse()?;
    let secret = Secret::from_file(key.as_ref())?;
    let bytes = mebibytes.parse::<usize>()? << 20;
    let mut config = Config::new(servers.iter().map(|server| server.parse()).collect::<Result<_, _>>()?);
    config.deadline = Duration::from_secs(10);
    let (mut rates, mut costs) = ([(); 2].map(|()| Vec::new()), [(); 2].map(|()| Vec::new()));
    for turn in 0..2 * TURNS {
        let kind = turn % 2;
        config.protection = [Protection::UnprotectedUntilChannelBound, Protection::Encrypted][kind];
        let meeting = Meeting { name: format!("turn {turn}"), role, secret: secret.clone() };
        let stream = Puncher::new(config.clone())?.connect(&meeting).await?.stream;
        let before = processor_seconds()?;
        let took = if role == Role::A { send(stream, bytes).await? } else { receive(stream, bytes).await? };
        rates[kind].push(bytes as f64 / MEBIBYTE / took.as_secs_f64());
        costs[kind].push((processor_seconds()? - before) / (bytes as f64 / MEBIBYTE / 1024.0));
    }
    let ([plain, encrypted], [cost, more]) = (rates.map(median), costs.map(median));
    let ratio = encrypted / plain;
    writeln!(
        std::io::stdout(),
        "plain {plain:.0} MiB/s and {cost:.2} s of processor a GiB, encrypted {encrypted:.0} MiB/s and {more:.2} s, ratio {ratio:.2}"
    )?;
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[TURNS / 2]
}

/// What this process has taken so far, the kernel's work for it included.
fn processor_seconds() -> nix::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// Until the peer has said that it has all of it.
async fn send(mut stream: PeerStream, bytes: usize) -> std::io::Result<Duration> {
    let part = vec![7; PART];
    let start = Instant::now();
    for _ in 0..bytes / PART {
        stream.write_all(&part).await?;
    }
    stream.shutdown().await?;
    stream.read_u8().await?;
    Ok(start.elapsed())
}

async fn receive(mut stream: PeerStream, bytes: usize) -> Result<Duration, Failure> {
    let (mut part, mut count) = (vec![0; PART], 0);
    let start = Instant::now();
    loop {
        match stream.read(&mut part).await? {
            0 => break,
            more => count += more,
        }
    }
    if count != bytes {
        return Err(format!("{count} of {bytes} bytes came").into());
    }
    stream.write_all(&[1]).await?;
    stream.shutdown().await?;
    Ok(start.elapsed())
}
