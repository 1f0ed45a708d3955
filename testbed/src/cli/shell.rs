//! `testbed shell` and `testbed exec`: the lab of a cell, brought up and held as long as a program runs in one of its
//! nodes. The lab that a shell holds is open to further ones of the same user.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use fnv::FnvHasher;
use tokio::task::JoinSet;

use crate::cli::args::{ExecArgs, NatsInstead, OwnNats, RightsArgs, ShellArgs};
use crate::cli::cells;
use crate::cli::command_error::CommandError;
use crate::cli::node_command::{NodeCommand, Streams};
use crate::cli::output::{print, print_error};
use crate::cli::select;
use crate::kernel::process::{Signal, UserConnection, UserListener, UserRequest, send_request, socket_name};
use crate::lab::{self, Lab};
use crate::model::catalogue::Catalogue;
use crate::model::problem::suggestion;
use crate::model::suite::{Cell, Suite};
use crate::model::topology::NodeName;
use crate::report::origin::quoted;
use crate::run;

/// The word that lists the cells, in the place of one.
const LIST: &str = "list";

/// `testbed shell`.
///
/// # Errors
/// When there is no such cell or node, or the lab cannot be built here.
pub fn shell(args: &ShellArgs) -> Result<ExitCode, CommandError> {
    let ShellArgs { suite, cell, node, instead, nats, rights } = args;
    let lab = WantedLab { suite, cell, instead, nats };
    if cell == LIST {
        let suite = lab.suite(&nats.catalogue()?)?;
        return print(|out| suite.cells().iter().try_for_each(|cell| writeln!(out, "{}", cell.id)));
    }
    run_in_lab(lab, *rights, Sharing::Open, interactive(node))
}

/// `testbed exec`: ends with the exit code of the command.
///
/// # Errors
/// When there is no such cell or node, the lab cannot be built here, or the command cannot be started.
pub fn exec(args: &ExecArgs) -> Result<ExitCode, CommandError> {
    let ExecArgs { suite, cell, node, command, instead, nats, rights } = args;
    let lab = WantedLab { suite, cell, instead, nats };
    run_in_lab(lab, *rights, Sharing::Closed, NodeCommand::new(node, command, &[]))
}

/// A shell whose prompt shows the node. It reads no start-up file: one could change the prompt.
fn interactive(node: &str) -> NodeCommand {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if Path::new("/bin/bash").exists() {
        let prompt = format!("[{node}] \\w \\$ ");
        NodeCommand::new(node, &words(&["/bin/bash", "--norc", "--noprofile", "-i"]), &[("PS1", prompt)])
    } else {
        let variables = [("PS1", format!("[{node}] # ")), ("ENV", String::new())];
        NodeCommand::new(node, &words(&["/bin/sh", "-i"]), &variables)
    }
}

/// Whether others may use a lab: those of commands are not, since two commands side by side must not meet by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Open,
    Closed,
}

/// The lab that is meant.
#[derive(Debug, Clone, Copy)]
struct WantedLab<'a> {
    suite: &'a str,
    cell: &'a str,
    instead: &'a NatsInstead,
    nats: &'a OwnNats,
}

impl WantedLab<'_> {
    /// The suite with the NATs of the command line.
    fn suite(&self, catalogue: &Catalogue) -> Result<Suite, CommandError> {
        let mut suite = select::suite(self.suite, catalogue)?;
        select::put_nats(&mut suite, self.instead, catalogue)?;
        Ok(suite)
    }

    /// What to do about a cell that is not there.
    fn help(&self) -> String {
        let put =
            self.instead.by_node().map(|(node, names)| format!(" --{node} {}", quoted(&names.join(","))));
        let options = self.nats.typed() + &put.collect::<String>();
        let list = format!("list the cells with: testbed shell {} {LIST}{options}", quoted(self.suite));
        match self.instead.is_empty() {
            true => format!("{list}; --nat-a and --nat-b put other NATs into them"),
            false => list,
        }
    }
}

/// Runs it in the lab of a cell: in the one that a shell holds, or else in a new one.
fn run_in_lab(
    lab: WantedLab<'_>,
    rights: RightsArgs,
    sharing: Sharing,
    command: NodeCommand,
) -> Result<ExitCode, CommandError> {
    let WantedLab { suite: name, cell, nats, .. } = lab;
    let catalogue = nats.catalogue()?;
    let suite = lab.suite(&catalogue)?;
    let cells = suite.cells();
    let help = lab.help();
    let cell = cells::pick(&cells, |cell| cell.id.as_str(), cell, (&format!("\"{name}\""), &help))?;
    check_node(&suite, cell, &command.node)?;
    let socket = socket_name(&identity(name, cell, nats));
    if let Some(code) = join(&socket, cell, &command)? {
        return Ok(code);
    }
    lab::setup(rights.into())?.block_on(async {
        let lab = Arc::new(run::open_lab(&suite, &catalogue, cell).await?);
        if sharing == Sharing::Open {
            let nodes: Vec<&str> = lab.nodes().map(|node| node.name().as_str()).collect();
            let (id, nodes, node) = (&cell.id, nodes.join(", "), &command.node);
            print_error(&format!(
                "the lab of {id} is up: {nodes}\nthis shell runs in {node}, and the lab ends with it; until then, the same \
                 command with another node opens a shell in this lab"
            ));
        }
        let listener = if sharing == Sharing::Open { UserListener::open(&socket)? } else { None };
        let requests = listener.map(|listener| tokio::spawn(serve_requests(listener, Arc::clone(&lab))));
        let streams = Streams::open(&command)?;
        let mut program = lab.node(&command.node)?.spawn(command.with_streams(streams.theirs())).await?;
        let end_all = async || {
            // Who joined is to be told that the lab ends, and not how the programs there do.
            if let Some(requests) = requests {
                requests.abort();
                let _ = requests.await;
            }
            Ok(lab.kill_all().await.map(drop)?)
        };
        streams.join(async { program.wait().await }, end_all).await.map(exit_code)
    })
}

fn check_node(suite: &Suite, cell: &Cell, node: &str) -> Result<(), CommandError> {
    let names = || suite.part(cell).topology.nodes.keys().map(NodeName::as_str);
    if names().any(|known| known == node) {
        return Ok(());
    }
    let listed = format!("there are {}", names().collect::<Vec<_>>().join(", "));
    let help = suggestion(node, names(), listed);
    Err(CommandError::with_help(format!("the lab of \"{}\" has no node \"{node}\"", cell.id), help))
}

/// What tells the labs of a user apart: the suite, the cell and the NATs.
fn identity(suite: &str, cell: &Cell, nats: &OwnNats) -> String {
    let mut hasher = FnvHasher::default();
    fs::canonicalize(suite).unwrap_or_else(|_| suite.into()).hash(&mut hasher);
    cell.id.hash(&mut hasher);
    nats.nats.iter().for_each(|file| fs::canonicalize(file).ok().hash(&mut hasher));
    format!("lab-{:016x}", hasher.finish())
}

/// How something in somebody's lab has ended: what wait(2) says, or why it could not be started.
type Answer = Result<i32, String>;

/// Runs it in the lab that another process of this user holds, if one does.
fn join(socket: &str, cell: &Cell, command: &NodeCommand) -> Result<Option<ExitCode>, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| CommandError::new(format!("cannot start the async runtime: {why}")))?;
    runtime.block_on(async {
        let streams = Streams::open(command)?;
        let message = serde_json::to_vec(command).map_err(|why| CommandError::new(why.to_string()))?;
        let theirs = streams.theirs();
        let Some(connection) = send_request(socket, &message, theirs.each_ref().map(|end| end.as_fd()))?
        else {
            return Ok(None);
        };
        drop(theirs);
        print_error(&format!(
            "joined the lab of {}, which another shell holds: this is {}",
            cell.id, command.node
        ));
        let ended = async {
            let answer =
                connection.receive().await.and_then(|word| serde_json::from_slice::<Answer>(&word).ok());
            let status = answer.unwrap_or_else(|| Err("the shell that held the lab has ended".to_owned()));
            status.map(ExitStatus::from_raw).map_err(CommandError::new)
        };
        streams.join(ended, async || Ok(())).await.map(|status| Some(exit_code(status)))
    })
}

/// Starts in the lab what others of this user want there.
async fn serve_requests(listener: UserListener, lab: Arc<Lab>) {
    // They end with this task.
    let mut served = JoinSet::new();
    while let Ok(UserRequest { message, files, connection }) = listener.request().await {
        let lab = Arc::clone(&lab);
        served.spawn(async move {
            let answer = match serde_json::from_slice::<NodeCommand>(&message) {
                Ok(command) => serve(&lab, &command, files.map(Arc::new), &connection).await,
                Err(why) => Err(format!("another version of testbed holds the lab: {why}")),
            };
            connection.send(&serde_json::to_vec(&answer).unwrap_or_default());
        });
    }
}

/// Runs it until it ends, or whoever wanted it has gone.
async fn serve(
    lab: &Lab,
    command: &NodeCommand,
    streams: [Arc<OwnedFd>; 3],
    connection: &UserConnection,
) -> Answer {
    let program = async { lab.node(&command.node)?.spawn(command.with_streams(streams)).await };
    let mut program = program.await.map_err(|why| why.to_string())?;
    let status = tokio::select! {
        status = program.wait() => status,
        _ = connection.receive() => {
            let _ = program.signal(Signal::SIGHUP).await;
            return Err("whoever started it has gone".to_owned());
        }
    };
    status.map(ExitStatus::into_raw).map_err(|why| why.to_string())
}

/// As shells tell how a program ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
