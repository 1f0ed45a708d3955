//! Punches by way of the application's own channel and its own servers; no rendezvous server of puncher's takes part.
//!
//! ```sh
//! own_channel server IP:PORT...            # anywhere that both can reach: two addresses or more
//! own_channel a KEY-FILE IP:PORT...        # on one host; says hello to the peer
//! own_channel b KEY-FILE IP:PORT...        # on the other
//! ```
//!
//! The application here is a tiny chat: its server tells each connection where it comes from, in one line, and passes on what
//! one of two users says to the other, line by line. That is all that puncher needs.

use std::io::{self, Write as _};
use std::net::{SocketAddr, SocketAddrV4};

use puncher::nat::Observation;
use puncher::{Breadth, Config, Meeting, Observed, Observer, Puncher, Role, Secret, Signalling, dial};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error>;

/// The chat as the channel: each message is a line of hexadecimal digits.
struct Chat {
    lines: Lines<BufReader<OwnedReadHalf>>,
    queue: mpsc::UnboundedSender<Vec<u8>>,
}

impl Chat {
    async fn join(server: SocketAddrV4) -> io::Result<Self> {
        let (reader, writer) = TcpStream::connect(server).await?.into_split();
        let mut lines = BufReader::new(reader).lines();
        lines.next_line().await?; // where this connection comes from
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(write_all(queued, writer));
        Ok(Self { lines, queue })
    }
}

async fn write_all(mut queued: mpsc::UnboundedReceiver<Vec<u8>>, mut writer: OwnedWriteHalf) {
    while let Some(message) = queued.recv().await {
        if writer.write_all(format!("{}\n", hex::encode(message)).as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Signalling for Chat {
    fn send(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.queue.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let line = self.lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        hex::decode(line).map_err(io::Error::other)
    }
}

/// The chat's servers as those that look.
struct Servers(Vec<SocketAddrV4>);

impl Observer for Servers {
    fn observe(
        &self,
        local: SocketAddrV4,
        breadth: Breadth,
    ) -> impl Future<Output = Vec<Observed>> + Send + 'static {
        // The SYNs leave here, in order.
        let dials: Vec<_> = breadth.of(&self.0).iter().map(|to| (*to, dial(local, *to))).collect();
        async move {
            let mut seen = Vec::new();
            for (server, dialled) in dials {
                seen.extend(look(server, dialled).await.ok());
            }
            seen
        }
    }
}

async fn look(
    server: SocketAddrV4,
    dialled: impl Future<Output = io::Result<TcpStream>>,
) -> Result<Observed, Failure> {
    let mut stream = BufReader::new(dialled.await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let SocketAddr::V4(local) = stream.get_ref().local_addr()? else { return Err("not IPv4".into()) };
    Ok(Observed::new(Observation { local, server, external: line.trim().parse()? }, stream))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [what, endpoints @ ..] if what == "server" => serve(&parsed(endpoints)?).await,
        [role, key, servers @ ..] => greet(role.parse()?, key, parsed(servers)?).await,
        _ => Err("expected: own_channel server IP:PORT..., or own_channel ROLE KEY-FILE IP:PORT...".into()),
    }
}

fn parsed(endpoints: &[String]) -> Result<Vec<SocketAddrV4>, Failure> {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| endpoint.parse()).collect::<Result<_, _>>()?;
    if endpoints.is_empty() { Err("no endpoint given".into()) } else { Ok(endpoints) }
}

async fn greet(role: Role, key: &str, servers: Vec<SocketAddrV4>) -> Result<(), Failure> {
    let meeting = Meeting { name: "chat".into(), role, secret: Secret::from_file(key.as_ref())? };
    let mut chat = Chat::join(servers[0]).await?;
    let mut puncher = Puncher::new(Config::new(Vec::new()))?;
    let mut stream = puncher.connect_through(&meeting, &mut chat, &Servers(servers)).await?.stream;
    stream.write_all(format!("hello from {role}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    writeln!(io::stdout(), "{heard}")?;
    Ok(())
}

/// All that was ever said, and by whom.
type History = watch::Sender<Vec<(SocketAddr, String)>>;

/// The application's server.
async fn serve(endpoints: &[SocketAddrV4]) -> Result<(), Failure> {
    let history = History::default();
    let mut serving = JoinSet::new();
    for endpoint in endpoints {
        let (listener, history) = (TcpListener::bind(endpoint).await?, history.clone());
        serving.spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                tokio::spawn(converse(stream, from, history.clone()));
            }
        });
    }
    writeln!(io::stdout(), "listening")?;
    serving.join_all().await;
    Ok(())
}

/// One connection. Who has spoken hears what others have said and say; others only ask where they come from.
async fn converse(stream: TcpStream, from: SocketAddr, history: History) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (mut lines, mut changes) = (BufReader::new(reader).lines(), history.subscribe());
    writer.write_all(format!("{from}\n").as_bytes()).await?;
    let (mut has_spoken, mut told) = (false, 0);
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => history.send_modify(|said| said.push((from, line))),
                None => return Ok(()),
            },
            _ = changes.changed() => {}
        }
        has_spoken |= history.borrow().iter().any(|(by, _)| *by == from);
        if has_spoken {
            let new = history.borrow()[told..].to_vec();
            told += new.len();
            for (_, line) in new.into_iter().filter(|(by, _)| *by != from) {
                writer.write_all(format!("{line}\n").as_bytes()).await?;
            }
        }
    }
}
