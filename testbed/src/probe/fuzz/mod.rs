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

use crate::judge::reference::Contradiction;
use crate::kernel::error::Result;
use crate::probe::prove::Subject;
use crate::probe::prove::benches::{on_bench, while_it_stays};
use crate::probe::prove::prober::Prober;

use action::Action;
use play::{PlayedSequence, play};

/// Actions of a sequence.
const LENGTH: usize = 40;

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

/// Plays random sequences for a time, or until the reference and the NAT do not agree, or until it is to `stop`.
///
/// # Errors
/// When the bench cannot be built, or the kernel refuses.
pub async fn fuzz(subject: Subject, seed: u64, time: Duration, stop: Arc<AtomicBool>) -> Result<FuzzReport> {
    let config = subject.config.clone();
    let played = on_bench(&config, move |prober| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut report = FuzzReport { nat: subject.name.clone(), ..FuzzReport::default() };
        let until = Instant::now() + time;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            let actions: Vec<Action> = (0..LENGTH).map(|_| Action::random(&mut random)).collect();
            let Some(played) = surely(prober, &subject, &actions)? else { continue };
            report.sequences += 1;
            report.judged += played.findings.judged as u64;
            report.either += played.findings.either.values().sum::<usize>() as u64;
            report.not_judged += played.findings.not_judged.values().sum::<usize>() as u64;
            if !played.findings.contradictions.is_empty() {
                report.disagreement = shrink(prober, &subject, actions, played)?;
                break;
            }
        }
        Ok(report)
    });
    // A watch that outlives the time would keep the command from ending when it is to stop.
    while_it_stays(&config, time.min(WATCH), played).await
}

/// Plays a sequence; nothing when the processor dropped frames meanwhile.
fn surely(prober: &mut Prober, subject: &Subject, actions: &[Action]) -> Result<Option<PlayedSequence>> {
    let before = prober.bench.dropped()?;
    let played = play(&mut prober.bench, subject, actions)?;
    Ok((prober.bench.dropped()? == before).then_some(played))
}

/// Leaves out actions as long as there is a disagreement.
fn shrink(
    prober: &mut Prober,
    subject: &Subject,
    mut actions: Vec<Action>,
    mut shortest: PlayedSequence,
) -> Result<Option<Disagreement>> {
    let mut at = actions.len();
    while at > 0 {
        at -= 1;
        let mut fewer = actions.clone();
        fewer.remove(at);
        for _ in 0..AGAIN {
            let played = surely(prober, subject, &fewer)?;
            if let Some(played) = played.filter(|played| !played.findings.contradictions.is_empty()) {
                (actions, shortest) = (fewer, played);
                break;
            }
        }
    }
    let contradiction = shortest.findings.contradictions.into_iter().next();
    Ok(contradiction.map(|contradiction| Disagreement { ladder: shortest.ladder, contradiction }))
}
