//! What a connection is used for once it is won.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use super::args::ConnectArgs;
use puncher::{Connection, PeerStream};

/// Bytes moved at once.
const CHUNK: usize = 64 * 1024;

/// How long the other end may take to end its half, once this side has nothing more to say or to hear.
const PARTING: Duration = Duration::from_secs(2);

/// The connection broke after it was won.
#[derive(Debug, thiserror::Error)]
#[error("lost the connection: {0}")]
pub(super) struct ConnectionLost(std::io::Error);

/// Uses the connection as the arguments say, until it ends.
///
/// # Errors
/// When what it is used for cannot be had, or it breaks.
pub(super) async fn carry(connection: Connection, args: &ConnectArgs) -> anyhow::Result<ExitCode> {
    let stream = connection.stream;
    if let Some(command) = &args.exec {
        return exec(stream, command).await;
    }
    if let Some(local) = args.forward {
        forward(stream, local).await?;
    } else if let Some(service) = args.to {
        let to = TcpStream::connect(service).await.with_context(|| format!("cannot connect to {service}"))?;
        join(stream, to).await?;
    } else if args.json {
        finish(stream).await;
    } else {
        pipe(stream).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends this half and waits for the peer to end the other, so that nothing under way is lost; but no longer than parting takes.
async fn finish(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.shutdown().await;
    let _ = timeout(PARTING, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
}

/// Standard input to the peer, the peer to standard output, until both have ended.
async fn pipe(stream: impl AsyncRead + AsyncWrite) -> anyhow::Result<()> {
    let (from_peer, to_peer) = tokio::io::split(stream);
    let from_peer = BufReader::with_capacity(CHUNK, from_peer);
    let stdin = BufReader::with_capacity(CHUNK, tokio::io::stdin());
    let ended = tokio::try_join!(half(stdin, to_peer), half(from_peer, tokio::io::stdout()));
    ended.map_err(ConnectionLost)?;
    Ok(())
}

async fn forward(stream: impl AsyncRead + AsyncWrite, local: SocketAddrV4) -> anyhow::Result<()> {
    let listener = TcpListener::bind(local).await.with_context(|| format!("cannot listen on {local}"))?;
    super::say(&format!("listening on {}", listener.local_addr()?));
    let (client, _) = listener.accept().await.with_context(|| format!("cannot accept on {local}"))?;
    drop(listener);
    join(stream, client).await
}

/// Joins two connections, each direction until its source ends.
async fn join(left: impl AsyncRead + AsyncWrite, right: TcpStream) -> anyhow::Result<()> {
    let (from_left, to_left) = tokio::io::split(left);
    let (from_right, to_right) = right.into_split();
    let forth = half(BufReader::with_capacity(CHUNK, from_left), to_right);
    let back = half(BufReader::with_capacity(CHUNK, from_right), to_left);
    tokio::try_join!(forth, back).map_err(ConnectionLost)?;
    Ok(())
}

/// Copies until the source ends. Whenever it has nothing to say what was written is flushed, so that nothing waits here for more.
async fn half(mut from: impl AsyncBufRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut is_flushed = true;
    loop {
        let part = tokio::select! {
            biased;
            part = from.fill_buf() => part?,
            flushed = to.flush(), if !is_flushed => {
                flushed?;
                is_flushed = true;
                continue;
            }
        };
        if part.is_empty() {
            // Standard output is not flushed by its shutdown.
            to.flush().await?;
            return to.shutdown().await;
        }
        let count = to.write(part).await?;
        from.consume(count);
        is_flushed = false;
    }
}

/// The command's standard input and output are the connection; its exit code becomes this program's.
async fn exec(stream: PeerStream, command: &str) -> anyhow::Result<ExitCode> {
    let (own, its) = std::os::unix::net::UnixStream::pair().context("cannot make a pair of sockets")?;
    own.set_nonblocking(true)?;
    let (from_command, to_command) = UnixStream::from_std(own)?.into_split();
    let output = its.try_clone()?;
    let mut child = tokio::process::Command::new("/bin/sh");
    child.arg("-c").arg(command).stdin(OwnedFd::from(its)).stdout(OwnedFd::from(output));
    let mut running = child.spawn().with_context(|| format!("cannot run \"{command}\""))?;
    // The command's copies are the only ones now, so that its end is the connection's.
    drop(child);
    let (mut from_peer, to_peer) = tokio::io::split(stream);
    let back = half(BufReader::with_capacity(CHUNK, from_command), to_peer);
    let forth = async {
        let copied = half(BufReader::with_capacity(CHUNK, &mut from_peer), to_command).await;
        // The command may have ended without having read everything. What is not read would reset the connection.
        let mut nobody = tokio::io::sink();
        let _ = timeout(PARTING, tokio::io::copy(&mut from_peer, &mut nobody)).await;
        copied
    };
    tokio::pin!(forth);
    let ended = async { tokio::join!(running.wait(), back) };
    tokio::pin!(ended);
    let (status, _) = tokio::select! {
        ended = &mut ended => {
            let _ = timeout(PARTING, &mut forth).await;
            ended
        }
        _ = &mut forth => ended.await,
    };
    Ok(status?.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
