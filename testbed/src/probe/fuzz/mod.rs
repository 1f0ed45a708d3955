//! Random but meaningful packets through a real NAT, compared with the reference. Where they disagree the reference is wrong, or
//! a rule of the NAT is, or the kernel does something that is documented nowhere.
//!
//! A sequence is a list of `Action`s about a few flows between a few hosts and remotes. It is played on the bench, one
//! packet after another, and what went over the cables becomes evidence as in a trial. The first disagreement is shrunk:
//! actions are left out as long as one shows.

mod action;
mod play;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::judge::reference::{Contradiction, Negation, Rulebook};
use crate::kernel::error::{Error, Result};
use crate::model::behavior::Timeouts;
use crate::model::datapath::Datapath;
use crate::model::kernel_rules::KernelRules;
use crate::probe::kernel_checks::kernel_rules;
use crate::probe::prove::Subject;
use crate::probe::prove::benches::{LONG_WATCH, on_bench, while_it_stays};
use crate::probe::prove::prober::Prober;

use action::Action;
use play::{PlayedSequence, play};

/// Actions of a sequence.
const LENGTH: usize = 40;

/// Benches on which a sequence has a wait in it.
const WAITING: u64 = 8;

/// How often a shorter sequence is played: what chance draws may differ from one time to the next.
const AGAIN: usize = 2;

/// The result of comparing the reference with a NAT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FuzzReport {
    /// The NAT.
    pub nat: String,
    /// Sequences that were played.
    pub sequences: u64,
    /// Packets that had to be handled in one way.
    pub judged: u64,
    /// Packets that could be handled in more than one.
    pub either: u64,
    /// Packets that the reference could not judge.
    pub not_judged: u64,
    /// The first disagreement, as short as it could be made.
    pub disagreement: Option<Disagreement>,
}

impl FuzzReport {
    /// One of a NAT of which nothing is known yet.
    #[must_use]
    pub fn of(nat: &str) -> Self {
        Self { nat: nat.to_owned(), ..Self::default() }
    }

    /// Adds a sequence that was played.
    fn add(&mut self, played: &PlayedSequence) {
        self.sequences += 1;
        self.judged += played.findings.judged as u64;
        self.either += played.findings.either.values().sum::<usize>() as u64;
        self.not_judged += played.findings.not_judged.values().sum::<usize>() as u64;
        if self.disagreement.is_none() {
            self.disagreement = played.disagreement();
        }
    }
}

/// A sequence with which the reference and the NAT do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The packets in order: what went in, and what came out.
    pub ladder: Vec<String>,
    /// The rule that was broken, and how.
    pub contradiction: Contradiction,
}

/// What is compared, and for how long.
#[derive(Debug, Clone)]
struct Comparison {
    subject: Subject,
    rules: Rulebook,
    kernel: KernelRules,
    time: Duration,
    /// Benches on which each sequence has a wait in it.
    waiting: u64,
}

/// Plays random sequences for a time, or until the reference and the NAT do not agree. What is `seen` is told as it is, so that whoever
/// gives this up knows it as well.
///
/// # Errors
/// When the bench cannot be built, the program of the NAT ends by itself, or the kernel refuses.
pub async fn fuzz(subject: Subject, seed: u64, time: Duration, seen: &Arc<Mutex<FuzzReport>>) -> Result<()> {
    let subject = with_idle_timers_alone(subject);
    let config = subject.config.clone();
    if config.datapath != Datapath::Conntrack {
        let why = format!(
            "its datapath is {}: the reference knows what connection tracking remembers, and no other records",
            config.datapath
        );
        return Err(Error::other("compare it with the reference", why));
    }
    let (rules, kernel) = (Rulebook::default(), kernel_rules().await?);
    let comparison = Comparison { subject, rules, kernel, time, waiting: WAITING };
    let found = while_it_stays(&config, time.max(LONG_WATCH), compare(&comparison, seed, seen)).await?;
    if let Some(found) = found {
        let shortest = on_bench(&config, move |prober| shrink(prober, found)).await?;
        seen.lock().disagreement = shortest;
    }
    Ok(())
}

/// A bench puts off what ends connections however busy they are, and the times that sequences are given are not those at which they are
/// played.
fn with_idle_timers_alone(mut subject: Subject) -> Subject {
    let Timeouts { absolute, flush_every, .. } = &mut subject.declared.timeouts;
    (*absolute, *flush_every) = (None, None);
    subject
}

/// The same with one rule of the reference turned round; what the two do not agree about is left as it was found.
///
/// # Errors
/// As [`fuzz`].
pub async fn fuzz_negated(
    subject: Subject,
    seed: u64,
    time: Duration,
    negation: Negation,
) -> Result<FuzzReport> {
    let subject = with_idle_timers_alone(subject);
    let rules = Rulebook::without(negation);
    let waiting = if negation.needs_time() { WAITING } else { 0 };
    let seen = Arc::new(Mutex::new(FuzzReport::of(&subject.name)));
    let kernel = kernel_rules().await?;
    compare(&Comparison { subject, rules, kernel, time, waiting }, seed, &seen).await?;
    let report = seen.lock().clone();
    Ok(report)
}

/// A sequence with which the reference and the NAT did not agree.
#[derive(Debug)]
struct Found {
    comparison: Comparison,
    actions: Vec<Action>,
    played: PlayedSequence,
}

/// Tells all benches to stop when one has found something, or nobody waits for them any more.
#[derive(Debug, Default)]
struct StopAll(Arc<AtomicBool>);

impl Drop for StopAll {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plays sequences side by side: one bench is never idle, the others wait most of the time.
async fn compare(comparison: &Comparison, seed: u64, seen: &Arc<Mutex<FuzzReport>>) -> Result<Option<Found>> {
    let stop = StopAll::default();
    let benches = (0..=comparison.waiting).map(|number| {
        let own = comparison.clone();
        let (stop, seen) = (Arc::clone(&stop.0), Arc::clone(seen));
        on_bench(&comparison.subject.config, move |prober| {
            play_until(prober, &own, (seed.wrapping_add(number), number > 0), (&stop, &seen))
        })
    });
    let found = futures::future::try_join_all(benches).await?;
    Ok(found.into_iter().flatten().next())
}

/// Plays sequences on one bench until the time is up, or it is to stop.
fn play_until(
    prober: &mut Prober,
    comparison: &Comparison,
    (seed, waits): (u64, bool),
    (stop, seen): (&AtomicBool, &Mutex<FuzzReport>),
) -> Result<Option<Found>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let until = Instant::now() + comparison.time;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let actions = match waits {
            true => Action::sequence_with_wait(&mut random, LENGTH),
            false => Action::sequence(&mut random, LENGTH),
        };
        let Some(played) = surely(prober, comparison, &actions)? else { continue };
        let disagrees = !played.findings.contradictions.is_empty();
        if disagrees {
            // A program that is gone is no NAT that disagrees.
            prober.bench.leave_alone(Duration::ZERO)?;
        }
        seen.lock().add(&played);
        if disagrees {
            stop.store(true, Ordering::Relaxed);
            return Ok(Some(Found { comparison: comparison.clone(), actions, played }));
        }
    }
    Ok(None)
}

/// Plays a sequence; nothing when the processor dropped frames meanwhile, or was busy with other things for too long.
fn surely(
    prober: &mut Prober,
    comparison: &Comparison,
    actions: &[Action],
) -> Result<Option<PlayedSequence>> {
    let before = prober.bench.dropped()?;
    let played =
        play(&mut prober.bench, &comparison.subject, (comparison.rules, comparison.kernel), actions)?;
    Ok((prober.bench.dropped()? == before && played.in_time).then_some(played))
}

/// Leaves out actions as long as there is a disagreement.
fn shrink(prober: &mut Prober, found: Found) -> Result<Option<Disagreement>> {
    let Found { comparison, mut actions, played: mut shortest } = found;
    let mut at = actions.len();
    while at > 0 {
        at -= 1;
        let mut fewer = actions.clone();
        fewer.remove(at);
        for _ in 0..AGAIN {
            let played = surely(prober, &comparison, &fewer)?;
            if let Some(played) = played.filter(|played| !played.findings.contradictions.is_empty()) {
                (actions, shortest) = (fewer, played);
                break;
            }
        }
    }
    Ok(shortest.disagreement())
}

impl PlayedSequence {
    fn disagreement(&self) -> Option<Disagreement> {
        let contradiction = self.findings.contradictions.first()?.clone();
        Some(Disagreement { ladder: self.ladder.clone(), contradiction })
    }
}
