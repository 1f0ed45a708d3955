//! rndz (crates.io) as it comes: one side listens, the other connects, through rndz's own server.
//!
//! usage: driver server IP:PORT | driver peer ROLE SERVER LOCAL SECONDS
//!
//! A peer exits 0 once a line has gone both ways over the connection that rndz gave it, and 1 when there was none.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rndz::tcp::{Client, Server};

const LINE: &[u8] = b"hello\n";

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", at] => serve(at).map(|()| ExitCode::SUCCESS),
        ["peer", role, server, local, seconds] => {
            let local = local.parse().expect("IP:PORT");
            let seconds = seconds.parse().expect("seconds");
            // What waits for the other side for ever is left behind.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                std::process::exit(1);
            });
            let stream = if role == "a" { accept(server, local)? } else { connect(server, local)? };
            Ok(if greet(stream).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => {
            eprintln!("usage: driver server IP:PORT | driver peer ROLE SERVER LOCAL SECONDS");
            Ok(ExitCode::from(2))
        }
    }
}

fn serve(at: &str) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { Server::new(at).await?.run().await })
}

fn accept(server: &str, local: SocketAddr) -> Result<TcpStream> {
    let mut client = Client::new(server, "a", Some(local))?;
    client.listen()?;
    let (stream, from) = client.accept()?;
    eprintln!("accepted {from}");
    // Dropping the client would end the listening socket, not the stream.
    std::mem::forget(client);
    Ok(stream)
}

/// Asks again while the server does not know the other side yet; the time that a dial takes ends the search.
fn connect(server: &str, local: SocketAddr) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        let mut client = Client::new(server, "b", Some(local))?;
        match client.connect("a") {
            Err(why) if began.elapsed() < Duration::from_secs(1) && why.to_string().contains("not found") => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(why) => eprintln!("connect: {why}"),
            Ok(stream) => return Ok(stream),
        }
        if began.elapsed() > Duration::from_secs(4) {
            return Err(std::io::Error::other("no path"));
        }
    }
}

fn greet(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(LINE)?;
    let mut answer = [0; LINE.len()];
    stream.read_exact(&mut answer)?;
    (answer == LINE).then_some(()).ok_or_else(|| std::io::Error::other("another line"))
}
