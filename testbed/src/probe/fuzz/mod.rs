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

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::judge::reference::{Contradiction, Negation, Rulebook};
use crate::kernel::error::Result;
use crate::probe::prove::Subject;
use crate::probe::prove::benches::{on_bench, while_it_stays};
use crate::probe::prove::prober::Prober;

use action::Action;
use play::{PlayedSequence, play};

/// Actions of a sequence.
const LENGTH: usize = 40;

/// Benches on which a sequence has a wait in it.
const WAITING: u64 = 8;

/// How often a shorter sequence is played: what chance draws may differ from one time to the next.
const AGAIN: usize = 2;

/// How long the program of a NAT is left alone meanwhile.
const WATCH: Duration = Duration::from_secs(1);

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
    time: Duration,
    /// Benches on which each sequence has a wait in it.
    waiting: u64,
}

/// Plays random sequences for a time, or until the reference and the NAT do not agree, or until it is to `stop`.
///
/// # Errors
/// When the bench cannot be built, or the kernel refuses.
pub async fn fuzz(subject: Subject, seed: u64, time: Duration, stop: Arc<AtomicBool>) -> Result<FuzzReport> {
    let config = subject.config.clone();
    let comparison = Comparison { subject, rules: Rulebook::default(), time, waiting: WAITING };
    // A watch that outlives the time would keep the command from ending when it is to stop.
    let compared = while_it_stays(&config, time.min(WATCH), compare(&comparison, seed, stop));
    let (mut report, found) = compared.await?;
    if let Some(found) = found {
        report.disagreement = on_bench(&config, move |prober| shrink(prober, found)).await?;
    }
    Ok(report)
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
    let rules = Rulebook::without(negation);
    let waiting = if negation.needs_time() { WAITING } else { 0 };
    let comparison = Comparison { subject, rules, time, waiting };
    let (mut report, found) = compare(&comparison, seed, Arc::default()).await?;
    report.disagreement = found.and_then(|found| found.played.disagreement());
    Ok(report)
}

/// A sequence with which the reference and the NAT did not agree.
#[derive(Debug)]
struct Found {
    comparison: Comparison,
    actions: Vec<Action>,
    played: PlayedSequence,
}

/// Plays sequences side by side: one bench is never idle, the others wait most of the time.
async fn compare(
    comparison: &Comparison,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> Result<(FuzzReport, Option<Found>)> {
    let found = Arc::new(AtomicBool::new(false));
    let benches = (0..=comparison.waiting).map(|number| {
        let own = comparison.clone();
        let (found, stop) = (Arc::clone(&found), Arc::clone(&stop));
        on_bench(&comparison.subject.config, move |prober| {
            play_until(prober, &own, (seed.wrapping_add(number), number > 0), [&found, &stop])
        })
    });
    let mut whole = FuzzReport { nat: comparison.subject.name.clone(), ..FuzzReport::default() };
    let mut found = None;
    for played in futures::future::join_all(benches).await {
        let (report, of_bench) = played?;
        whole.sequences += report.sequences;
        whole.judged += report.judged;
        whole.either += report.either;
        whole.not_judged += report.not_judged;
        found = found.or(of_bench);
    }
    Ok((whole, found))
}

/// Plays sequences on one bench until the time is up, or somebody has found something.
fn play_until(
    prober: &mut Prober,
    comparison: &Comparison,
    (seed, waits): (u64, bool),
    [found, stop]: [&AtomicBool; 2],
) -> Result<(FuzzReport, Option<Found>)> {
    let over = || [found, stop].iter().any(|flag| flag.load(Ordering::Relaxed));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut report = FuzzReport::default();
    let until = Instant::now() + comparison.time;
    while Instant::now() < until && !over() {
        let actions = match waits {
            true => Action::sequence_with_wait(&mut random, LENGTH),
            false => Action::sequence(&mut random, LENGTH),
        };
        let Some(played) = surely(prober, comparison, &actions)? else { continue };
        report.sequences += 1;
        report.judged += played.findings.judged as u64;
        report.either += played.findings.either.values().sum::<usize>() as u64;
        report.not_judged += played.findings.not_judged.values().sum::<usize>() as u64;
        if !played.findings.contradictions.is_empty() {
            found.store(true, Ordering::Relaxed);
            return Ok((report, Some(Found { comparison: comparison.clone(), actions, played })));
        }
    }
    Ok((report, None))
}

/// Plays a sequence; nothing when the processor dropped frames meanwhile, or was busy with other things for too long.
fn surely(
    prober: &mut Prober,
    comparison: &Comparison,
    actions: &[Action],
) -> Result<Option<PlayedSequence>> {
    let before = prober.bench.dropped()?;
    let played = play(&mut prober.bench, &comparison.subject, comparison.rules, actions)?;
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
    fn disagreement(self) -> Option<Disagreement> {
        let contradiction = self.findings.contradictions.into_iter().next()?;
        Some(Disagreement { ladder: self.ladder, contradiction })
    }
}
