//! What no suite asks for: a NAT that restarts or moves in the middle of a trial, a wire that is held up, a NAT that is
//! not what it declares. The lab, the programs and the evidence are real; only who stands where is done by hand.

use std::time::Duration;

use testbed::judge::judgement::{Case, Judgement, Rendezvous, judge};
use testbed::judge::oracle::DeclaredNats;
use testbed::judge::program_output::Claim;
use testbed::judge::timeline::Vantage;
use testbed::kernel::clock::monotonic;
use testbed::kernel::process::{Command, Process};
use testbed::lab::nat_rules::{NatSite, render};
use testbed::lab::{Lab, Watch};
use testbed::model::behavior::{Behavior, Filtering, Overloading, UnsolicitedSyn};
use testbed::model::cause::Cause;
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::embedded;
use testbed::model::evidence::{Direction, Evidence};
use testbed::model::outcome::Outcome;
use testbed::model::packet::Packet;
use testbed::model::topology::{NodeName, Topology};
use testbed::model::topology_file;
use tokio::time::{sleep, timeout};

use super::{ATTEMPTS, count, repeats, was_too_slow};
use crate::lab::lab_is_possible;
use crate::lab::pair::pair;

/// The ports that both peers dial from and to.
const PORT: &str = "4000";

/// From peer to peer: two wires of 5 ms.
const TRIP: Duration = Duration::from_millis(10);

/// How late a frame may be without that being the machine's fault.
const LATENESS: Duration = Duration::from_millis(20);

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a good name")
}

/// A lab of two NATs of this kind, every link of it watched.
async fn lab(nat: &Behavior) -> Lab {
    lab_of(&pair(), nat).await
}

async fn lab_of(topology: &Topology, nat: &Behavior) -> Lab {
    let lab = Lab::new(topology).nat("nat-a", *nat).nat("nat-b", *nat).watch(Watch::EveryLink);
    lab.build().await.expect("a lab")
}

/// Starts peer a, lets `between` happen once its first SYN has come to the core, and then starts peer b.
async fn play(lab: &Lab, scripts: [&str; 2], between: impl AsyncFnOnce(&Lab)) -> Evidence {
    lab.reset(1).await.expect("a reset");
    let link = lab.plan().uplink(&node("nat-a")).expect("an uplink");
    let opening = |packet: &Packet| packet.tcp().is_some_and(|segment| segment.flags.is_opening());
    let seen = lab.wire(link).expect("a wire").watch(Direction::Up, opening).expect("the engine lives");
    let a = start(lab, scripts, "a").await;
    timeout(PATIENCE, seen.delivered()).await.expect("a SYN in time").expect("the engine lives");
    between(lab).await;
    let b = start(lab, scripts, "b").await;
    for mut program in [a, b] {
        timeout(PATIENCE, program.wait()).await.expect("an end in time").expect("an end");
    }
    // What was sent last travels for a trip, and may be late by what is tolerated.
    sleep(TRIP + LATENESS).await;
    lab.evidence().expect("the engine lives")
}

async fn start(lab: &Lab, [a, b]: [&str; 2], role: &str) -> Process {
    let (own, other) = if role == "a" { ("10.0.0.2", "198.51.100.2") } else { ("10.0.1.2", "192.0.2.2") };
    let actor = super::program("actor.py");
    let command =
        Command::new("/usr/bin/python3").args([actor.as_str(), a, b, role, own, PORT, other, PORT, "0"]);
    let peer = lab.node(&format!("peer-{role}")).expect("a peer");
    peer.spawn(&command).await.expect("python3")
}

fn judged(lab: &Lab, evidence: &Evidence, declared: &Behavior) -> Judgement {
    let vantage = |own: &str, other: &str| {
        Vantage::of(&pair(), lab.plan(), &Default::default(), [&node(own), &node(other)]).expect("a way up")
    };
    let said = Claim::Failure("gave up".to_owned());
    let declared = [*declared];
    judge(&Case {
        evidence,
        a: &vantage("peer-a", "peer-b"),
        b: &vantage("peer-b", "peer-a"),
        declared: DeclaredNats { a: &declared, b: &declared, common: &[] },
        nats: &[],
        claim_a: &said,
        claim_b: &said,
        rendezvous: Rendezvous::NotNeeded,
        method: "act",
        lateness: LATENESS,
    })
}

#[track_caller]
fn has(judgement: &Judgement, cause: Cause) {
    match &judgement.outcome {
        Outcome::Failed(failure) | Outcome::Error(failure) => assert_eq!(failure.cause, cause, "{failure}"),
        other => panic!("expected {cause}, got {other:?}"),
    }
    assert!(cause == Cause::LabError || !judgement.marks.is_empty(), "nothing proves it");
}

/// Plays a cause by hand, until the machine was fast enough for it to show.
fn on_a_stage(cause: Cause, test: impl AsyncFn() -> Judgement) {
    if !lab_is_possible() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    for _ in 0..repeats() {
        let says_something =
            |judgement: &Judgement| cause == Cause::MachineTooSlow || !was_too_slow(&judgement.outcome);
        let played = (0..ATTEMPTS).map(|_| runtime.block_on(test())).find(says_something);
        has(&played.expect("a machine that is fast enough once"), cause);
        count(cause, 1, 1);
    }
}

/// NAT-a forgets a's mapping before b comes.
#[test]
fn nat_rebooted() {
    on_a_stage(Cause::NatRebooted, async || {
        let nat = Behavior::port_preserving();
        let lab = lab(&nat).await;
        let evidence = play(&lab, ["dial; at 300; fail", "dial; at 400; fail"], async |lab| {
            lab.restart_nat(&node("nat-a")).await.expect("a restart");
        });
        judged(&lab, &evidence.await, &nat)
    });
}

/// The link between b and its NAT loses what b dials.
#[test]
fn lost_before_it_came_to_the_nat() {
    on_a_stage(Cause::LostByLink, async || {
        let nat = Behavior::port_preserving();
        let wired = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is built in");
        let wired = wired.text.replace("up = \"nat-b\"", "up = \"nat-b\"\nwire = { delay = \"5ms\" }");
        let lab = lab_of(&topology_file::parse("wired.toml", &wired).expect("a good topology"), &nat).await;
        let link = lab.plan().uplink(&node("peer-b")).expect("an uplink");
        let evidence = play(&lab, ["dial; at 700; fail", "dial; at 400; fail"], async |lab| {
            let loses = |planned: LinkConditions| LinkConditions {
                up: Conditions { loss: 1.0, ..planned.up },
                ..planned
            };
            let change = |number, planned| if number == link { loses(planned) } else { planned };
            lab.set_conditions(change).expect("the engine lives");
        });
        judged(&lab, &evidence.await, &nat)
    });
}

/// What b dials is let in and accepted, and no answer of a's listener comes back.
#[test]
fn lost_answer_of_a_listener() {
    on_a_stage(Cause::LostByLink, async || {
        let (filtering, overloading) = (Filtering::EndpointIndependent, Overloading::Off);
        let nat = Behavior { filtering, overloading, ..Behavior::port_preserving() };
        let lab = lab(&nat).await;
        let link = lab.plan().uplink(&node("nat-b")).expect("an uplink");
        let scripts = ["dial server=13; listen; at 1500; fail", "dial; at 700; fail"];
        let evidence = play(&lab, scripts, async |lab| {
            let loses = |planned: LinkConditions| LinkConditions {
                down: Conditions { loss: 1.0, ..planned.down },
                ..planned
            };
            let change = |number, planned| if number == link { loses(planned) } else { planned };
            lab.set_conditions(change).expect("the engine lives");
        });
        let judgement = judged(&lab, &evidence.await, &nat);
        let Outcome::Failed(failure) = &judgement.outcome else { return judgement };
        assert!(failure.detail.contains("the answer to b's SYN"), "{failure}");
        judgement
    });
}

/// NAT-a goes by another address before b dials the old one.
#[test]
fn nat_changed_its_address() {
    on_a_stage(Cause::NatRebooted, async || {
        let nat = Behavior::port_preserving();
        let lab = lab(&nat).await;
        let evidence = play(&lab, ["dial; at 1300; fail", "dial; at 400; fail"], async |lab| {
            let rules = |site: &NatSite| Ok(render(&nat, site));
            lab.renumber(&node("nat-a"), rules).await.expect("another address");
        });
        judged(&lab, &evidence.await, &nat)
    });
}

/// The thread that carries the frames is busy with one of them, and another is due meanwhile.
#[test]
fn machine_too_slow() {
    on_a_stage(Cause::MachineTooSlow, async || {
        let nat = Behavior::port_preserving();
        let lab = lab(&nat).await;
        let link = lab.plan().uplink(&node("nat-b")).expect("an uplink");
        let evidence = play(&lab, ["dial; at 1500; fail", "dial count=2; at 400; fail"], async |lab| {
            // It takes its time over each of b's SYNs and lets them pass: the first is late when the second is looked at.
            let slow = |packet: &Packet| {
                if packet.tcp().is_some_and(|segment| segment.flags.is_opening()) {
                    keep_busy_for(Duration::from_millis(60));
                }
                false
            };
            let held = lab.wire(link).expect("a wire").hold(Direction::Up, slow).expect("the engine lives");
            std::mem::forget(held);
        });
        judged(&lab, &evidence.await, &nat)
    });
}

/// Keeps this thread busy until the clock of the evidence has moved on so far.
fn keep_busy_for(time: Duration) {
    let until = monotonic() + u64::try_from(time.as_nanos()).expect("a short time");
    while monotonic() < until {
        std::hint::spin_loop();
    }
}

/// The NATs answer SYNs that they declare to drop.
#[test]
fn lab_error() {
    on_a_stage(Cause::LabError, async || {
        let answers = Behavior { unsolicited_syn: UnsolicitedSyn::Reset, ..Behavior::port_preserving() };
        let lab = lab(&answers).await;
        let evidence = play(&lab, ["dial; at 700; fail", "dial; at 400; fail"], async |_| {}).await;
        judged(&lab, &evidence, &Behavior::port_preserving())
    });
}
