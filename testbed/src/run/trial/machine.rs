//! Whether a trial counts: what the machine could not give to it, less what the trial's own processes took. Pure.
//!
//! A trial that does not count is played again. That must not depend on how it ended, or a program could hide its failures
//! behind a machine that it makes slow itself. So a trial is void only if its programs waited longer than its own processes
//! can have made them wait. A program waits for a processor while other processes run, and the trial's own processes are
//! among these for no longer than they ran. On a machine that is busy anyway a program that needs more time also waits
//! longer, so the tolerated wait grows with the time that the processes had. Any other waiting counts against the program:
//! the outcome stands, or it is an error if the trial's processes had most of the processors.

use std::time::Duration;

use crate::kernel::heartbeat::BEAT;
use crate::model::outcome::{Cause, Failure, ProgramLoad, TrialLoad};
use crate::run::prepared_cell::PreparedCell;

/// How much longer than the cell tolerates a program may wait for the time that the trial's processes run: one that sprays
/// has work for a whole processor. What was measured is in docs/judging.md.
const WAITS_A_RUN: u32 = 4;

/// The share of a peer's time that the other may be started late: a machine that takes longer tells nothing about NATs.
const MOST_APART: u32 = 4;

/// Beats in a row that are missed in a pause, and hardly ever on a machine that is only busy.
const MISSED_BEATS: u32 = 3;

/// A trial's share of all processors: half of them, while it lasts, but not less than some programs need to start.
const SHARE: f64 = 0.5;
const LEAST_SHARE: Duration = Duration::from_millis(500);

/// How much disturbance by the machine a trial tolerates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    /// For how long a frame may be late.
    pub(super) lateness: Duration,
    /// For how long a program may be without a processor.
    pub(super) wait: Duration,
    /// The time that the programs have.
    pub(super) deadline: Duration,
}

/// What was measured while a trial was played.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    /// What the programs had of the machine.
    pub(super) load: TrialLoad,
    /// For how long testbed, the thread of the wires, and a process that starts programs did nothing, at most.
    pub(super) gaps: [(&'static str, Duration); 3],
    /// How much later than the first peer the second one ran.
    pub(super) apart: Duration,
    /// A program that somebody has stopped by a signal.
    pub(super) stopped: Option<String>,
    /// How much later than drawn a neighbour's connection was opened, at most.
    pub(super) neighbours_late: Duration,
    /// Frames that the kernel had no room for, of all trials.
    pub(super) dropped: u64,
    /// The time from the start of the first program to the end of the last.
    pub(super) took: Duration,
    /// Processors that may be used.
    pub(super) processors: usize,
}

/// Why a trial does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Void {
    pub(super) why: Failure,
    /// Whether the whole machine was paused, which no program can cause.
    pub(super) paused: bool,
}

impl Tolerance {
    /// What a trial of the cell tolerates.
    pub(super) fn of(prepared: &PreparedCell) -> Self {
        let deadline = prepared.part.budget.deadline;
        Self { lateness: prepared.lateness, wait: prepared.wait_tolerated(), deadline }
    }
}

impl Measured {
    /// Why the trial does not count, if the machine is to blame.
    pub(super) fn void(&self, tolerance: Tolerance) -> Option<Void> {
        let too_slow =
            |why| Void { why: Cause::MachineTooSlow.because(why), paused: self.is_paused(tolerance) };
        let most = tolerance.wait + WAITS_A_RUN * self.load.used;
        let waiting = || self.load.programs.iter().find_map(|program| waited(program, most));
        let late = || self.started_late(tolerance.deadline / MOST_APART + self.load.used);
        // The kernel does not tell of which trial these frames were.
        let no_room = || {
            let frames = self.dropped;
            (frames > 0)
                .then(|| format!("the kernel had no room for {frames} frames (net.core.netdev_max_backlog)"))
        };
        let neighbours = || self.neighbours_came_late(tolerance.lateness + self.load.used);
        self.paused(tolerance)
            .or_else(late)
            .or_else(waiting)
            .or_else(neighbours)
            .or_else(no_room)
            .map(too_slow)
    }

    /// The error that the trial's own processes had more than its share of the processors, if anything of the trial waited or
    /// was late meanwhile.
    pub(super) fn overload(&self, tolerance: Tolerance, was_late: Option<&str>) -> Option<Failure> {
        let (used, took) = (self.load.used, self.took);
        let share = took.mul_f64(SHARE * self.processors as f64).max(LEAST_SHARE);
        if used <= share {
            return None;
        }
        let own = |program: &ProgramLoad| waited(program, tolerance.wait + WAITS_A_RUN * program.ran);
        let waiting = || self.load.programs.iter().find_map(own);
        let apart = || self.started_late(tolerance.deadline / MOST_APART);
        let neighbours = || self.neighbours_came_late(tolerance.lateness);
        let what = was_late.map(str::to_owned).or_else(waiting).or_else(apart).or_else(neighbours)?;
        let (used, took) = (used.as_secs_f64(), took.as_secs_f64());
        let why = format!(
            "the processes of this trial ran for {used:.2} s in {took:.2} s on {} processors, which is more than half, and {what}",
            self.processors
        );
        Some(Cause::OverloadByProgram.because(why))
    }

    /// The error that a program was stopped while the machine ran on, if so: nobody can tell who did it.
    pub(super) fn stopped_alone(&self) -> Option<Failure> {
        let name = self.stopped.as_ref().filter(|_| !self.stood_still())?;
        let why = format!("{name} was stopped by a signal while the machine ran on");
        Some(Cause::ProgramCrashed.because(why))
    }

    /// Whether testbed and the thread of the wires, which is urgent, missed beats.
    fn stood_still(&self) -> bool {
        let [(_, own), (_, of_wires), _] = self.gaps;
        own.min(of_wires) > MISSED_BEATS * BEAT
    }

    /// The largest gap, if it is longer than the trial can bear; any where a program was stopped along with the machine. What is
    /// late by a beat or two is no pause.
    fn paused(&self, tolerance: Tolerance) -> Option<String> {
        let (whose, gap) = self.gaps.into_iter().max_by_key(|(_, gap)| *gap)?;
        let ms = gap.as_millis();
        let with_a_program = self.stopped.is_some() && self.stood_still();
        (gap > self.longest_gap(tolerance) || with_a_program)
            .then(|| format!("the machine was paused: {whose} did not run for {ms} ms"))
    }

    /// Whether testbed and the thread of the wires, which is urgent, stood still for longer than that.
    pub(super) fn is_paused(&self, tolerance: Tolerance) -> bool {
        let [(_, own), (_, of_wires), _] = self.gaps;
        own.min(of_wires) > self.longest_gap(tolerance) || self.stopped.is_some() && self.stood_still()
    }

    fn longest_gap(&self, tolerance: Tolerance) -> Duration {
        tolerance.lateness + 2 * BEAT + self.load.used
    }

    fn started_late(&self, most: Duration) -> Option<String> {
        (self.apart > most)
            .then(|| format!("peer b was started {:.1} s after peer a", self.apart.as_secs_f64()))
    }

    fn neighbours_came_late(&self, most: Duration) -> Option<String> {
        let late = self.neighbours_late;
        (late > most)
            .then(|| format!("a neighbour's connection was opened {:.1} ms late", late.as_secs_f64() * 1e3))
    }
}

/// Whether a program waited for a processor for longer than that.
fn waited(program: &ProgramLoad, most: Duration) -> Option<String> {
    let ProgramLoad { name, ran, waited } = program;
    let (waited_s, ran_s) = (waited.as_secs_f64(), ran.as_secs_f64());
    (*waited > most).then(|| format!("{name} waited {waited_s:.3} s for a processor to run for {ran_s:.3} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance {
        lateness: Duration::from_millis(5),
        wait: Duration::from_millis(10),
        deadline: Duration::from_secs(2),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn load(used: u64, ran: u64, waited: u64) -> TrialLoad {
        let program = ProgramLoad { name: "peer-a".to_owned(), ran: ms(ran), waited: ms(waited) };
        TrialLoad { used: ms(used), gap: Duration::ZERO, programs: vec![program] }
    }

    fn measured(load: &TrialLoad) -> Measured {
        let load = load.clone();
        let gaps = [("testbed", ms(20)), ("the thread of the wires", ms(20)), ("an init", ms(20))];
        Measured {
            load,
            gaps,
            apart: ms(3),
            stopped: None,
            neighbours_late: ms(1),
            dropped: 0,
            took: ms(1000),
            processors: 2,
        }
    }

    fn void_because(measured: &Measured) -> Option<String> {
        measured.void(TOLERANCE).map(|void| void.why.detail)
    }

    #[test]
    fn only_what_the_trial_s_own_processes_cannot_explain_makes_it_void() {
        for (used, ran, waited, void) in [
            (5, 5, 30, false),
            (5, 5, 31, true),
            // Other processes of the trial ran for 100 ms.
            (105, 5, 430, false),
            (105, 5, 431, true),
            (2000, 5, 1900, false),
        ] {
            let load = load(used, ran, waited);
            assert_eq!(measured(&load).void(TOLERANCE).is_some(), void, "{load:?}");
        }
        let load = load(5, 5, 31);
        let why = void_because(&measured(&load)).expect("void");
        assert_eq!(why, "peer-a waited 0.031 s for a processor to run for 0.005 s");
    }

    #[test]
    fn a_trial_that_makes_itself_slow_is_an_error_and_not_void() {
        let greedy = load(1900, 100, 900);
        let measured_greedy = measured(&greedy);
        assert_eq!(void_because(&measured_greedy), None);
        let error = measured_greedy.overload(TOLERANCE, None).expect("an error");
        assert_eq!(error.cause, Cause::OverloadByProgram);
        assert!(
            error.detail.starts_with("the processes of this trial ran for 1.90 s in 1.00 s on 2"),
            "{error}"
        );
        assert!(
            error.detail.ends_with("peer-a waited 0.900 s for a processor to run for 0.100 s"),
            "{error}"
        );
        // As long as nothing waits, everybody may use what there is.
        assert_eq!(measured(&load(1900, 1900, 5)).overload(TOLERANCE, None), None);
        assert!(measured(&load(1900, 1900, 5)).overload(TOLERANCE, Some("a frame was late")).is_some());
        // And who waits without having used much is not to blame.
        assert_eq!(measured(&load(400, 5, 900)).overload(TOLERANCE, Some("a frame was late")), None);
    }

    #[test]
    fn a_pause_is_told_from_what_is_late_by_a_beat() {
        let load = load(0, 0, 0);
        let with = |own, wires, init| Measured {
            gaps: [("testbed", ms(own)), ("the thread of the wires", ms(wires)), ("an init", ms(init))],
            ..measured(&load)
        };
        assert_eq!(with(45, 45, 45).void(TOLERANCE), None);
        let all = with(4000, 4001, 3999).void(TOLERANCE).expect("void");
        assert_eq!(all.why.detail, "the machine was paused: the thread of the wires did not run for 4001 ms");
        assert!(all.paused);
        assert!(!with(20, 21, 400).void(TOLERANCE).expect("void").paused);
    }

    #[test]
    fn a_program_that_is_stopped_with_the_machine_makes_a_trial_void_and_one_alone_is_an_error() {
        let load = load(0, 0, 0);
        let with = |gap| Measured {
            gaps: [("testbed", ms(gap)), ("the thread of the wires", ms(gap)), ("an init", ms(20))],
            stopped: Some("peer-a".to_owned()),
            ..measured(&load)
        };
        let alone = with(25).stopped_alone().expect("an error");
        assert_eq!(alone.detail, "peer-a was stopped by a signal while the machine ran on");
        assert_eq!((with(25).void(TOLERANCE), with(200).stopped_alone()), (None, None));
        let far = Tolerance { lateness: ms(250), ..TOLERANCE };
        assert!(with(200).void(far).is_some_and(|void| void.paused), "the gap alone is bearable");
        assert_eq!(Measured { stopped: None, ..with(200) }.void(far), None);
    }

    #[test]
    fn neighbours_that_come_later_than_the_cell_bears_make_a_trial_void() {
        let load = load(10, 5, 0);
        let with = |late| Measured { neighbours_late: ms(late), ..measured(&load) };
        assert_eq!(with(15).void(TOLERANCE), None, "the trial's own processes ran for 10 ms");
        let why = void_because(&with(16)).expect("too late");
        assert_eq!(why, "a neighbour's connection was opened 16.0 ms late");
        let greedy = Measured { load: self::load(1900, 1900, 0), ..with(16) };
        assert_eq!(void_because(&greedy), None);
        assert!(greedy.overload(TOLERANCE, None).is_some_and(|why| why.detail.contains("a neighbour's")));
    }

    #[test]
    fn a_peer_that_is_started_after_a_quarter_of_the_time_is_too_late() {
        let load = load(100, 50, 0);
        let with = |apart| Measured { apart: ms(apart), ..measured(&load) };
        assert_eq!(with(600).void(TOLERANCE), None, "the first one may have kept it from starting");
        let why = void_because(&with(601)).expect("too late");
        assert_eq!(why, "peer b was started 0.6 s after peer a");
    }
}
