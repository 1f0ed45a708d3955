//! How fast the encrypted stream is beside plain TCP, over the same path, in the same run:
//!
//! ```sh
//! throughput a KEY-FILE MEBIBYTES IP:PORT...      # on one host; the endpoints are those of a rendezvous server
//! throughput b KEY-FILE MEBIBYTES IP:PORT...      # on the other
//! ```
//!
//! Role a sends, role b reads. They meet six times: plain TCP and the encrypted stream take turns, three times each. Both
//! are connections that puncher won, moved by the same code; the one difference is `Config::protection`.

use std::io::Write as _;
use std::time::{Duration, Instant};

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
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 0..2 * TURNS {
        let kind = turn % 2;
        config.protection = [Protection::UnprotectedUntilChannelBound, Protection::Encrypted][kind];
        let meeting = Meeting { name: format!("turn {turn}"), role, secret: secret.clone() };
        let stream = Puncher::new(config.clone())?.connect(&meeting).await?.stream;
        let took = if role == Role::A { send(stream, bytes).await? } else { receive(stream, bytes).await? };
        rates[kind].push(bytes as f64 / MEBIBYTE / took.as_secs_f64());
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[TURNS / 2]
    };
    let [plain, encrypted] = rates.map(median);
    writeln!(
        std::io::stdout(),
        "plain {plain:.0} MiB/s, encrypted {encrypted:.0} MiB/s, ratio {:.2}",
        encrypted / plain
    )?;
    Ok(())
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
