//! The rendezvous server and whatever else runs beside the peers: started one after the other, each until it can be used.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::{Instant, sleep, timeout_at};

use crate::kernel::error::Result;
use crate::kernel::listening::{self, PortKind};
use crate::lab::{Lab, Node};
use crate::model::address_plan::RENDEZVOUS;
use crate::model::program::{Program, Readiness, Service};
use crate::model::suite::{ResultFormat, Section};
use crate::model::template::Values;
use crate::model::topology::{NodeName, Topology};
use crate::run::sandbox::ProgramGrant;
use crate::run::trial::placeholders;
use crate::run::trial::running::{self, Running};

/// How long a program may take until it can be used.
const READY_DEADLINE: Duration = Duration::from_secs(5);

/// How a program shows that it can be used.
#[derive(Debug, Clone, Copy)]
enum Sign<'a> {
    /// Its first line is the contract's, which says that it listens.
    FirstLine,
    /// A socket listens there.
    Listening(SocketAddrV4),
    /// A socket takes what comes for the port.
    Port(PortKind, u16),
    /// One of its lines contains this text.
    Line(&'a str),
}

impl<'a> Sign<'a> {
    fn of_rendezvous(claim: &ResultFormat, topology: &Topology) -> Self {
        let [address, _] = topology.addresses.rendezvous();
        match claim {
            ResultFormat::Json => Self::FirstLine,
            ResultFormat::Exit | ResultFormat::Stdout(_) => {
                Self::Listening(SocketAddrV4::new(address, RENDEZVOUS.port()))
            }
        }
    }

    fn of_service(ready: &'a Readiness) -> Self {
        match ready {
            Readiness::Tcp(port) => Self::Port(PortKind::Tcp, *port),
            Readiness::Udp(port) => Self::Port(PortKind::Udp, *port),
            Readiness::Stdout(text) => Self::Line(text),
        }
    }

    /// What is missing.
    fn missing(self) -> String {
        match self {
            Self::FirstLine => "say that it listens".to_owned(),
            Self::Listening(endpoint) => format!("listen on {endpoint}"),
            Self::Port(PortKind::Tcp, port) => format!("listen on TCP port {port}"),
            Self::Port(PortKind::Udp, port) => format!("open UDP port {port}"),
            Self::Line(text) => format!("print \"{text}\""),
        }
    }
}

/// Starts the services of a part in their order, and then the rendezvous server, as far as they can be started.
pub(super) async fn start(
    part: &Section,
    lab: &Lab,
    (values, given): (&Values, &ProgramGrant),
    started: &mut Vec<Running>,
) -> Result<()> {
    let Program { services, rendezvous, claim, .. } = &part.program;
    for Service { name, node, command, ready } in services {
        let command = placeholders::command(command, values)?;
        let service = until_ready(lab.node(node)?, name, command, Sign::of_service(ready), given);
        started.push(service.await?);
    }
    if let Some(template) = rendezvous {
        let command = placeholders::command(template, values)?;
        let core = lab.node(&NodeName::core())?;
        let sign = Sign::of_rendezvous(claim, &part.topology);
        let server = until_ready(core, "rendezvous", command, sign, given);
        started.push(server.await?);
    }
    Ok(())
}

/// Starts a program and waits until it can be used.
async fn until_ready(
    node: &Node,
    name: &str,
    command: Vec<String>,
    sign: Sign<'_>,
    given: &ProgramGrant,
) -> Result<Running> {
    let deadline = Instant::now() + READY_DEADLINE;
    let mut process = running::spawn(node, &command, given).await?;
    let mut stdout = process.stdout.take().map(BufReader::new);
    let stderr = tokio::spawn(running::keep(process.stderr.take()));
    let mut said = String::new();
    let shown = async {
        tokio::select! {
            shown = until_shown(sign, node, stdout.as_mut(), &mut said) => shown,
            // What it said last may be yet to be read, so only a sign that is not read ends with it.
            _ = process.wait(), if !matches!(sign, Sign::FirstLine | Sign::Line(_)) => false,
        }
    };
    let shown = timeout_at(deadline, shown).await;
    let stdout = tokio::spawn(running::keep_after(said.clone().into_bytes(), stdout));
    let running = Running::new(name, command, process, [stdout, stderr]);
    let wrong = match shown {
        Err(_) => Some(format!("it did not {} within {READY_DEADLINE:?}", sign.missing())),
        Ok(false) => Some(format!("it ended and did not {}", sign.missing())),
        Ok(true) if matches!(sign, Sign::FirstLine) && !said.contains("\"listening\"") => {
            Some(format!("its first line was {said:?}, not that it listens"))
        }
        Ok(true) => None,
    };
    match wrong {
        None => Ok(running),
        Some(why) => Err(running.refused(why).await),
    }
}

/// Waits for the sign; `false` says that it will never come.
async fn until_shown(
    sign: Sign<'_>,
    node: &Node,
    lines: Option<&mut BufReader<impl AsyncReadExt + Unpin>>,
    said: &mut String,
) -> bool {
    match (sign, lines) {
        (Sign::FirstLine, Some(lines)) => lines.read_line(said).await.is_ok_and(|length| length > 0),
        (Sign::Line(text), Some(lines)) => loop {
            let before = said.len();
            match lines.read_line(said).await {
                Ok(1..) if said[before..].contains(text) => return true,
                Ok(1..) => {}
                _ => return false,
            }
        },
        (Sign::Listening(endpoint), _) => {
            until(|| node.enter(|inside| listening::is_listening(inside, endpoint))).await
        }
        (Sign::Port(kind, port), _) => {
            until(|| node.enter(|inside| listening::is_open(inside, kind, port))).await
        }
        (Sign::FirstLine | Sign::Line(_), None) => false,
    }
}

/// Asks again and again until it is so; `false` when that can no longer be asked.
async fn until(is_so: impl Fn() -> Result<bool>) -> bool {
    loop {
        match is_so() {
            Ok(true) => return true,
            Ok(false) => sleep(Duration::from_millis(2)).await,
            Err(_) => return false,
        }
    }
}
