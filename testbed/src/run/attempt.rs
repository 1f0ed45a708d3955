//! One trial: a clean lab, the programs of the cell, what they and the kernel say, the judgement.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::judge::judgement::{Case, Judgement, Rendezvous, judge};
use crate::judge::oracle::{CommonNat, Declared};
use crate::judge::program_output::{self, ProgramEnd};
use crate::judge::timeline::{Role, Vantage};
use crate::kernel::backlog;
use crate::kernel::clock::ClockPair;
use crate::kernel::error::{Error, Result};
use crate::kernel::process::{ConfinedInit, Share};
use crate::lab::nat_rules::NatConfig;
use crate::lab::{Lab, Node};
use crate::model::address_plan::{AddressPlan, LinkPlan, RENDEZVOUS, RENDEZVOUS_ALT};
use crate::model::event::{Artefacts, LinkRecord, NatRecord};
use crate::model::evidence::Evidence;
use crate::model::outcome::{Cause, Failure, Outcome, Trial};
use crate::model::quantity::{Offset, Sign};
use crate::model::suite::{LowPorts, Section};
use crate::model::template::Values;
use crate::model::topology::NodeName;
use crate::run::conntrack_check;
use crate::run::nat_views::nat_views;
use crate::run::neighbours::disturb;
use crate::run::ordering::Ordering;
use crate::run::pool::{LabPool, PooledLab};
use crate::run::prepared_cell::{PreparedCell, peer};
use crate::run::programs::{self, Listening, Running};
use crate::run::request::{Keep, RunRequest};
use crate::run::sandbox;
use crate::run::seed::TrialSeed;
use crate::run::trouble;

/// How long after its deadline a program may still tell its result.
const GRACE: Duration = Duration::from_millis(500);

/// How long from the start of the programs until both are to begin, for those that are told when.
const HEAD_START: Duration = Duration::from_millis(150);

/// The first port that is not for root alone where low ports are (RFC 6335 section 6).
const FIRST_USUAL_PORT: u16 = 1024;

/// How much longer than a trip the last packets may take until they have arrived.
const SETTLE: Duration = Duration::from_millis(3);

/// What the programs of a trial left behind.
struct Performance {
    evidence: Evidence,
    peers: [Heard; 2],
    /// How the rendezvous server ended, if it did so before it was told to.
    server: Option<ProgramEnd>,
    programs: Vec<Running>,
    took: Duration,
    /// Why nothing can be concluded from it, if so.
    fault: Option<Failure>,
}

/// The share of a peer's time that the other may be started late: a machine that takes longer tells nothing about NATs.
const MOST_APART: u32 = 4;

/// How long a program may have to wait for a processor in all, and how much longer for each time that it runs: one that
/// sprays has work for a whole processor. What was measured is in docs/judging.md.
const MOST_WAITED: Duration = Duration::from_millis(250);
const WAITS_A_RUN: u32 = 4;

/// The programs of a trial that were started.
#[derive(Default)]
struct Cast {
    peers: Vec<Running>,
    server: Option<Running>,
    /// How much later than the first peer the second one ran.
    apart: Duration,
}

/// A peer's end.
#[derive(Debug, Clone, Copy)]
struct Heard {
    end: ProgramEnd,
}

/// Runs one trial in a lab of the pool.
pub(super) async fn attempt(
    request: &RunRequest,
    pool: &LabPool,
    ready: &PreparedCell,
    number: u32,
) -> (Trial, Option<Artefacts>) {
    let seed = TrialSeed::new(request.seed, &ready.cell.id, number);
    let broken = |why: String| Trial {
        number,
        seed: seed.number(),
        outcome: Outcome::Error(Cause::LabError.because(why)),
        took: Duration::ZERO,
        artefacts: None,
    };
    let pooled = match pool.take(&ready.setting).await {
        Ok(pooled) => pooled,
        Err(error) => return (broken(error.to_string()), None),
    };
    let scene = Scene { request, ready, seed: &seed };
    match scene.play(&pooled.lab, pool).await {
        Ok(performance) => {
            let (trial, artefacts) = scene.judge(pool, &pooled, performance, number).await;
            if trouble::spoils_lab(ready) {
                drop(pooled);
                pool.dropped();
            } else {
                pool.give_back(pooled);
            }
            (trial, artefacts)
        }
        Err(error) => {
            // Whatever is wrong with this lab, nobody else shall have it.
            drop(pooled);
            pool.dropped();
            (broken(error.to_string()), None)
        }
    }
}

/// What a trial is made of.
struct Scene<'a> {
    request: &'a RunRequest,
    ready: &'a PreparedCell,
    seed: &'a TrialSeed,
}

impl Scene<'_> {
    fn part(&self) -> &Section {
        &self.ready.part
    }

    /// Plays the trial. A program that cannot be started is a fault of the trial, an error one of the lab.
    async fn play(&self, lab: &Lab, pool: &LabPool) -> Result<Performance> {
        lab.reset(self.seed.wires()).await?;
        lab.set_conditions(|_, planned| self.ready.conditions(planned))?;
        trouble::shrink_packets(lab, self.ready).await?;
        self.admit(lab, pool).await?;
        let began = Instant::now();
        let dropped = backlog::dropped_by_all();
        // Far enough: what the programs did not do when they have ended, they will not do.
        let deadline = began + 10 * (self.part().budget.deadline + GRACE);
        let [a, b] = self.vantages(lab.plan());
        let order = self.ready.cell.order().unwrap_or_default();
        let ordering = Ordering::arm(lab, order, [&a, &b], deadline)?;
        let trouble = trouble::arm(lab, self.ready, [&a, &b])?;
        let mut cast = Cast::default();
        let broken = |error: Error| Cause::LabError.because(error.to_string());
        let rules = |nat: &_, site: &_| pool.rules_at(&self.ready.setting, nat, site);
        let mut fault = tokio::select! {
            ended = self.perform(lab, &mut cast) => ended.err().map(broken),
            struck = trouble::strike(trouble, lab, rules) => struck.err().map(broken),
            disturbed = disturb(lab, self.ready, self.seed) => disturbed.err().map(broken),
        };
        let took = began.elapsed();
        let out_of_order = match ordering {
            Some(ordering) => ordering.fault().await.map(|why| Cause::LabError.because(why)),
            None => None,
        };
        // The last acknowledgments are still on their way: the evidence is complete when they have arrived.
        sleep_until(Instant::now() + self.ready.trip + SETTLE).await;
        let evidence = lab.evidence()?;
        lab.check_nat_programs().await?;
        let server = match &mut cast.server {
            Some(server) => server.ended_already().await?,
            None => None,
        };
        lab.kill_all().await?;
        fault = match fault {
            None => self.starved(&mut cast, dropped).await?.or(out_of_order),
            fault => fault,
        };
        let end = |at: usize| Heard { end: cast.peers.get(at).map_or(ProgramEnd::Killed, Running::end) };
        let peers = [end(0), end(1)];
        let programs = cast.peers.into_iter().chain(cast.server).collect();
        Ok(Performance { evidence, peers, server, programs, took, fault })
    }

    /// Makes the nodes ready for the programs of this trial: empty folders, the secret for the peers, and the low ports as the
    /// budget says.
    async fn admit(&self, lab: &Lab, pool: &LabPool) -> Result<()> {
        let first_port = match self.part().budget.low_ports {
            LowPorts::Allowed => 0,
            LowPorts::Forbidden => FIRST_USUAL_PORT,
        };
        let key: String = self.seed.key().iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        for role in Role::BOTH {
            let name =
                peer(&self.part().topology, role).map_err(|e| Error::other("find a peer", e.to_string()))?;
            let node = lab.node(&name)?;
            node.free_ports_from(first_port)?;
            node.admit(pool.sandbox(), Some(&key)).await?;
        }
        if self.part().program.rendezvous.is_some() {
            lab.node(&NodeName::core())?.admit(pool.sandbox(), None).await?;
        }
        Ok(())
    }

    /// What the machine had no time or no room for.
    async fn starved(&self, cast: &mut Cast, dropped: io::Result<u64>) -> Result<Option<Failure>> {
        let too_slow = |why: String| Ok(Some(Cause::MachineTooSlow.because(why)));
        if cast.apart > self.part().budget.deadline / MOST_APART {
            return too_slow(format!("peer b was started {:.1} s after peer a", cast.apart.as_secs_f64()));
        }
        for program in cast.peers.iter_mut().chain(&mut cast.server) {
            let Share { ran, waited } = program.share().await?;
            if waited > MOST_WAITED + WAITS_A_RUN * ran {
                let (name, waited, ran) = (program.name(), waited.as_secs_f64(), ran.as_secs_f64());
                return too_slow(format!(
                    "{name} waited {waited:.2} s for a processor to run for {ran:.3} s"
                ));
            }
        }
        // Which trial's frames they were the kernel does not tell.
        let lost = backlog::dropped_by_all()
            .ok()
            .zip(dropped.ok())
            .map_or(0, |(now, then)| now.saturating_sub(then));
        if lost > 0 {
            return too_slow(format!(
                "the kernel had no room for {lost} frames (net.core.netdev_max_backlog)"
            ));
        }
        Ok(None)
    }

    /// Starts the programs of the trial and waits until the peers have ended, or their time is up.
    async fn perform(&self, lab: &Lab, cast: &mut Cast) -> Result<()> {
        self.start(lab, cast).await?;
        let deadline = Instant::now() + self.part().budget.deadline + GRACE;
        for running in &mut cast.peers {
            running.wait_until(deadline).await?;
        }
        Ok(())
    }

    /// Starts the programs of the trial, as far as they can be started.
    async fn start(&self, lab: &Lab, cast: &mut Cast) -> Result<()> {
        let program = &self.part().program;
        let budget = self.part().budget_of(&self.ready.cell);
        let given = sandbox::surroundings(&budget, program, &self.request.puncher);
        if let Some(template) = &program.rendezvous {
            let command = self.command(template, &self.common_values())?;
            let core = lab.node(&NodeName::core())?;
            let listening = Listening { claim: &program.claim, endpoint: RENDEZVOUS };
            cast.server = Some(programs::start_server(core, command, listening, &given).await?);
        }
        let begin = Instant::now() + HEAD_START;
        // Peer a may be under way before this process comes to know of it.
        let starting = Instant::now();
        for role in Role::BOTH {
            let name =
                peer(&self.part().topology, role).map_err(|e| Error::other("find a peer", e.to_string()))?;
            let values = self.values(lab.plan(), role, begin)?;
            let command = self.command(&program.peer, &values)?;
            cast.peers.push(programs::start(lab.node(&name)?, name.as_str(), command, &given).await?);
            cast.apart = starting.elapsed();
        }
        Ok(())
    }

    /// Where each side is watched.
    fn vantages(&self, plan: &AddressPlan) -> [Vantage; 2] {
        let topology = &self.part().topology;
        let names =
            Role::BOTH.map(|role| peer(topology, role).expect("checked when the cell was made ready"));
        [(0, 1), (1, 0)].map(|(one, other): (usize, usize)| {
            Vantage::of(topology, plan, &self.ready.setting.transparent, [&names[one], &names[other]])
                .expect("a peer has a way up")
        })
    }

    async fn judge(
        &self,
        pool: &LabPool,
        pooled: &PooledLab,
        performance: Performance,
        number: u32,
    ) -> (Trial, Option<Artefacts>) {
        let Performance { evidence, peers, server, programs, took, fault } = performance;
        let mut logs = Vec::new();
        for running in programs {
            logs.push(running.log().await);
        }
        let claim = &self.part().program.claim;
        let said = [0, 1].map(|i| {
            let (stdout, stderr) = logs.get(i).map_or((&[][..], &[][..]), |log| (&log.stdout, &log.stderr));
            program_output::with_last_words(program_output::read(claim, stdout, peers[i].end), stderr)
        });
        let mut judgement = self.judgement(pooled.lab.plan(), &evidence, &said);
        // Peers that were left alone by it say nothing of the NATs.
        if let (Outcome::Failed(_), Some(why)) = (&judgement.outcome, server.and_then(program_output::broke))
        {
            let why = format!("the rendezvous server {why}");
            judgement.outcome = Outcome::Error(Cause::ProgramCrashed.because(why));
        }
        // A NAT that was made to restart, or to go by another address, does not do what it did before.
        let tracked = || {
            if trouble::changes_nat(self.ready) {
                return None;
            }
            let (catalogue, plan) = (&self.request.catalogue, pooled.lab.plan());
            conntrack_check::contradiction(catalogue, plan, &pooled.setting, &evidence)
        };
        // A program that broke has done so however slow the machine was.
        if !matches!(judgement.outcome, Outcome::Error(_))
            && let Some(fault) = fault.or_else(tracked)
        {
            judgement.outcome = Outcome::Error(fault);
        }
        let outcome = judgement.outcome.clone();
        let keep = match (self.request.keep, &outcome) {
            (Keep::None, _) => false,
            (Keep::Failed, Outcome::Passed(_)) => number == 1,
            (Keep::All | Keep::Failed, _) => true,
        };
        let artefacts = keep.then(|| Artefacts::folder(&self.ready.cell.id, number));
        let trial = Trial { number, seed: self.seed.number(), outcome, took, artefacts };
        let artefacts = keep.then(|| Artefacts {
            unix_offset: ClockPair::read().unix_offset(),
            links: links(pooled.lab.plan()),
            addresses: addresses(pooled.lab.plan()),
            nats: self.nat_records(pool, pooled),
            judgement: sentence(&judgement),
            marks: judgement.marks,
            expected: self.ready.expected.clone().ok(),
            programs: logs,
            evidence,
        });
        (trial, artefacts)
    }

    fn judgement(
        &self,
        plan: &Arc<AddressPlan>,
        evidence: &Evidence,
        said: &[program_output::Claim; 2],
    ) -> Judgement {
        let [a, b] = self.vantages(plan);
        let rendezvous = match self.part().program.rendezvous {
            Some(_) => Rendezvous::Needed,
            None => Rendezvous::NotNeeded,
        };
        let common: Vec<CommonNat<'_>> = self
            .ready
            .common
            .iter()
            .filter_map(|(node, declared)| {
                let address = plan.address(node)?;
                Some(CommonNat { node, address, declared, events: &evidence.conntrack })
            })
            .collect();
        let changed = a.nats.last().filter(|_| trouble::changes_nat(self.ready));
        let nats = nat_views(&self.request.catalogue, plan, &self.ready.setting, changed);
        judge(&Case {
            evidence,
            nats: &nats,
            a: &a,
            b: &b,
            declared: Declared { a: &self.ready.a, b: &self.ready.b, common: &common },
            claim_a: &said[0],
            claim_b: &said[1],
            rendezvous,
            method: self.ready.cell.method(),
            lateness: self.ready.lateness,
        })
    }

    fn nat_records(&self, pool: &LabPool, pooled: &PooledLab) -> Vec<NatRecord> {
        let record = |(node, profile): (&NodeName, &String)| {
            let config = pool.config(pooled.lab.plan(), node, profile).unwrap_or_default();
            NatRecord {
                node: node.to_string(),
                profile: profile.clone(),
                ruleset: ruleset_of(&pooled.lab, node, &config),
                sysctls: config.sysctls.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
            }
        };
        pooled.setting.nats.iter().map(record).collect()
    }

    fn command(&self, template: &[String], values: &Values) -> Result<Vec<String>> {
        programs::command(template, values)
            .map_err(|why| Error::other(format!("make the command \"{}\"", template.join(" ")), why))
    }

    /// The placeholders that are the same for every program of the trial.
    fn common_values(&self) -> Values {
        let budget = self.part().budget_of(&self.ready.cell);
        Values::from([
            ("puncher", self.request.puncher.display().to_string()),
            ("rendezvous", RENDEZVOUS.to_string()),
            ("rendezvous_ip", RENDEZVOUS.ip().to_string()),
            ("rendezvous_port", RENDEZVOUS.port().to_string()),
            ("rendezvous_alt", RENDEZVOUS_ALT.to_string()),
            ("meeting", self.seed.meeting()),
            ("method", self.ready.cell.method().to_owned()),
            ("budget_syns", budget.syns.to_string()),
            ("low_ports", budget.low_ports.to_string()),
            ("deadline", format!("{}ms", budget.deadline.as_millis())),
            ("key_file", ConfinedInit::KEY.to_owned()),
        ])
    }

    /// All placeholders of a peer that is to begin at `begin`, or later by the cell's skew.
    fn values(&self, plan: &AddressPlan, role: Role, begin: Instant) -> Result<Values> {
        let mut values = self.common_values();
        let delay = self.delay(role);
        let start = begin + delay;
        let in_ms = start.saturating_duration_since(Instant::now()).as_millis();
        values.extend([
            ("role", role.letter().to_owned()),
            ("peer_role", role.other().letter().to_owned()),
            ("local_ip", self.address(plan, role)?.to_string()),
            ("local_port", self.seed.local_port(role).to_string()),
            ("seed", self.seed.of(role).to_string()),
            ("peer_ip", self.external(plan, role.other())?.to_string()),
            ("peer_port", self.seed.local_port(role.other()).to_string()),
            ("start_in_ms", in_ms.to_string()),
            ("start_delay", whole_units(delay)),
        ]);
        Ok(values)
    }

    /// How much later than agreed a side is to begin.
    fn delay(&self, role: Role) -> Duration {
        let skew: Offset = self.ready.cell.skew().unwrap_or_default();
        match (role, skew.sign) {
            (Role::A, Sign::Earlier) | (Role::B, Sign::Later) => skew.by,
            (Role::A, Sign::Later) | (Role::B, Sign::Earlier) => Duration::ZERO,
        }
    }

    fn address(&self, plan: &AddressPlan, role: Role) -> Result<Ipv4Addr> {
        let name =
            peer(&self.part().topology, role).map_err(|e| Error::other("find a peer", e.to_string()))?;
        plan.address(&name)
            .ok_or_else(|| Error::other(format!("find the address of \"{name}\""), "it has none"))
    }

    /// The address that the world sees a peer by: of its outermost NAT that translates, or its own.
    fn external(&self, plan: &AddressPlan, role: Role) -> Result<Ipv4Addr> {
        let topology = &self.part().topology;
        let name = peer(topology, role).map_err(|e| Error::other("find a peer", e.to_string()))?;
        let nats = topology.nats_above(&name);
        let translating = nats.iter().rev().find(|nat| !self.ready.setting.transparent.contains(nat));
        match translating {
            Some(nat) => plan
                .address(nat)
                .ok_or_else(|| Error::other(format!("find the address of \"{nat}\""), "it has none")),
            None => self.address(plan, role),
        }
    }
}

/// A duration as programs read it: milliseconds, or microseconds where it is none of whole milliseconds.
fn whole_units(duration: Duration) -> String {
    match duration.subsec_micros() % 1000 {
        0 => format!("{}ms", duration.as_millis()),
        _ => format!("{}us", duration.as_micros()),
    }
}

/// The rules of a NAT as text; those that a program made, as nft lists them.
fn ruleset_of(lab: &Lab, node: &NodeName, config: &NatConfig) -> String {
    match &config.command {
        None => config.ruleset.clone(),
        Some(command) => {
            let listed =
                lab.node(node).and_then(Node::ruleset).unwrap_or_else(|error| format!("# {error}\n"));
            format!("# made by the program: {command}\n{listed}")
        }
    }
}

fn links(plan: &AddressPlan) -> Vec<LinkRecord> {
    let ends = |link: &LinkPlan| LinkRecord { lower: link.lower.to_string(), upper: link.upper.to_string() };
    plan.links.iter().map(ends).collect()
}

fn addresses(plan: &AddressPlan) -> Vec<(String, Ipv4Addr)> {
    plan.nodes.keys().filter_map(|node| Some((node.to_string(), plan.address(node)?))).collect()
}

fn sentence(judgement: &Judgement) -> String {
    match &judgement.outcome {
        Outcome::Passed(success) => format!("passed by {}: {}", success.method, success.how),
        Outcome::Failed(failure) => format!("failed, {failure}"),
        Outcome::Error(failure) => format!("error, {failure}"),
        Outcome::Skipped(why) => format!("skipped: {why}"),
    }
}
