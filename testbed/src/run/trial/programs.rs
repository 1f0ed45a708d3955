//! The programs of a trial: started in order and waited for.

use std::future::{Future, pending};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::judge::program_output::ProgramEnd;
use crate::judge::timeline::Role;
use crate::kernel::error::Result;
use crate::kernel::process::CpuTime;
use crate::lab::Lab;
use crate::model::outcome::ProgramLoad;
use crate::run::sandbox;
use crate::run::trial::TrialSetup;
use crate::run::trial::running::{self, Conversation, Running};
use crate::run::trial::{placeholders, services};

/// How long after its deadline a program may still tell its result.
pub(in crate::run) const GRACE: Duration = Duration::from_millis(500);

/// The programs of a trial that were started.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// The peers, a first.
    peers: Vec<Running>,
    /// The services and the rendezvous server, in the order in which they were started.
    servers: Vec<Running>,
    /// How much later than the first peer the second one ran.
    apart: Duration,
}

impl Programs {
    /// Starts the programs of the trial and waits until the peers have ended, have lingered long enough after their success,
    /// or their time is up.
    pub(super) async fn perform(&mut self, setup: TrialSetup<'_>, lab: &Lab) -> Result<()> {
        self.start(setup, lab).await?;
        // Who opens their connections has work to do, however few they are.
        if !setup.prepared.has_neighbours() {
            setup.permit.programs_run(lab.traffic());
        }
        let part = &setup.prepared.part;
        let deadline = Instant::now() + part.budget.deadline + GRACE;
        let lingered = self.have_lingered(part.program.linger);
        tokio::select! {
            ended = wait_for(&mut self.peers, deadline) => return ended,
            () = lingered => {}
        }
        wait_for(&mut self.peers, Instant::now()).await
    }

    /// Waits until both peers have claimed success and gone on for so long; for ever where they are to end by themselves.
    fn have_lingered(&self, linger: Option<Duration>) -> impl Future<Output = ()> + use<> {
        let claims: Vec<_> = self.peers.iter().map(Running::claimed).collect();
        async move {
            match linger {
                Some(linger) => {
                    join_all(claims).await;
                    sleep(linger).await;
                }
                None => pending().await,
            }
        }
    }

    /// Starts the programs of the trial, as far as they can be started.
    async fn start(&mut self, setup: TrialSetup<'_>, lab: &Lab) -> Result<()> {
        let part = &setup.prepared.part;
        let (program, budget) = (&part.program, part.budget_of(&setup.prepared.cell));
        let given = sandbox::grant(&budget, program, &setup.request.puncher);
        let common = placeholders::common_values(setup, lab.plan());
        services::start(part, lab, (&common, &given), &mut self.servers).await?;
        let begin = Instant::now() + program.start;
        // Peer a may be under way before this process comes to know of it.
        let starting = Instant::now();
        for role in Role::BOTH {
            let name = &setup.prepared.peer(role).vantage.peer;
            let values = placeholders::peer_values(setup, &common, role, begin);
            let command = placeholders::command(&program.peer, &values)?;
            let input = placeholders::input(program.stdin.as_ref(), &values)?;
            let conversation = Conversation { claim: &program.claim, input };
            let peer = running::start(lab.node(name)?, name.as_str(), command, &given, conversation);
            self.peers.push(peer.await?);
            self.apart = starting.elapsed();
        }
        Ok(())
    }

    /// The first of the services and the rendezvous server that has ended, and how.
    pub(super) async fn ended_server(&mut self) -> Result<Option<(String, ProgramEnd)>> {
        for server in &mut self.servers {
            if let Some(end) = server.ended_already().await? {
                return Ok(Some((server.name().to_owned(), end)));
            }
        }
        Ok(None)
    }

    /// How each peer ended; killed, if it did not end or was not even started.
    pub(super) fn peer_ends(&self) -> [ProgramEnd; 2] {
        [0, 1].map(|at| self.peers.get(at).map_or(ProgramEnd::Killed, Running::end))
    }

    /// What each program had of the processors, once all have ended, peers first.
    pub(super) async fn loads(&mut self) -> Result<Vec<ProgramLoad>> {
        let mut loads = Vec::new();
        for program in self.peers.iter_mut().chain(&mut self.servers) {
            let CpuTime { ran, waited } = program.cpu_time().await?;
            loads.push(ProgramLoad { name: program.name().to_owned(), ran, waited });
        }
        Ok(loads)
    }

    /// How much later than the first peer the second one ran.
    pub(super) fn apart(&self) -> Duration {
        self.apart
    }

    /// A program that somebody has stopped, once all have ended.
    pub(super) async fn stopped(&mut self) -> Result<Option<String>> {
        for program in self.peers.iter_mut().chain(&mut self.servers) {
            if program.was_stopped().await? {
                return Ok(Some(program.name().to_owned()));
            }
        }
        Ok(None)
    }

    /// All of them, the peers first.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Running> {
        self.peers.into_iter().chain(self.servers)
    }
}

/// Waits until all have ended, but not beyond `deadline`.
async fn wait_for(peers: &mut [Running], deadline: Instant) -> Result<()> {
    for running in peers {
        running.wait_until(deadline).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_not_started_counts_as_killed() {
        assert_eq!(Programs::default().peer_ends(), [ProgramEnd::Killed; 2]);
    }
}
