use super::*;

fn limit(allowed: usize) -> Limit {
    Limit { working: 0, allowed, least: 2, most: 32, cut: FIRST_CUT, growth: FIRST_GROWTH }
}

#[test]
fn a_busy_machine_runs_fewer_and_an_idle_one_more() {
    let mut limit = Limit { working: 8, ..limit(8) };
    let mut after = |working: usize, idle: f64| {
        limit.working = working;
        limit.adapt(ProcessorLoad::Leaves(idle));
        limit.allowed
    };
    assert_eq!(after(8, 0.5), 15);
    assert_eq!(after(15, 0.24), 19, "nineteen would leave a twentieth over");
    assert_eq!(after(18, 0.5), 19, "nobody waits for more");
    assert_eq!(after(19, SPARE), 19);
    assert_eq!(after(19, 0.02), 18);
    assert_eq!([after(18, 0.0), after(15, 0.0), after(11, 0.005), after(8, 0.0)], [15, 11, 8, 6]);
    assert_eq!(after(11, 0.0), 4, "those that still run are not counted twice");
    assert_eq!([after(3, 0.0), after(2, 0.0)], [2, 2], "somebody else keeps it busy");
    assert_eq!(after(2, 0.9), 3, "slowly, now that there have been too many");
    assert_eq!(after(3, 0.0), 2, "one at least");
    assert_eq!(after(2, 0.03), 2);
    let most = (0..30).map(|_| after(32, 0.9)).last();
    assert_eq!(most, Some(32));
    limit.working = 32;
    limit.adapt(ProcessorLoad::TooMuch);
    assert_eq!(limit.allowed, 24);
}

#[tokio::test]
async fn nobody_begins_before_there_is_room() {
    let throttle = Throttle::new(1);
    let first = throttle.permit().await;
    let second = throttle.permit();
    tokio::pin!(second);
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    let _second = second.await;
    assert_eq!(throttle.state().limit.working, 1);
}

#[tokio::test]
async fn a_trial_that_only_waits_makes_room() {
    let throttle = Throttle::new(1);
    let first = throttle.permit().await;
    let next = throttle.permit();
    tokio::pin!(next);
    let samples = |load| (0..9).for_each(|_| throttle.state().sampled(load));
    samples(ProcessorLoad::Leaves(0.9));
    assert!(futures::poll!(&mut next).is_pending(), "its programs do not run yet");
    first.programs_run(Traffic::default());
    samples(ProcessorLoad::Leaves(0.0));
    samples(ProcessorLoad::TooMuch);
    assert!(futures::poll!(&mut next).is_pending(), "what keeps the processors busy may be its programs");
    throttle.state().sampled(ProcessorLoad::Leaves(0.2));
    throttle.changed.notify_one();
    let second = next.await;
    assert_eq!(throttle.state().limit.working, 1);
    samples(ProcessorLoad::Leaves(0.0));
    first.programs_ended();
    assert_eq!(throttle.state().limit.working, 2, "the first one works again");
    drop(first);
    drop(second);
    assert_eq!(throttle.state().limit.working, 0);
}

#[tokio::test]
async fn a_trial_that_waits_may_end_at_any_time() {
    let throttle = Throttle::new(1);
    let permit = throttle.permit().await;
    permit.programs_run(Traffic::default());
    (0..3).for_each(|_| throttle.state().sampled(ProcessorLoad::Leaves(0.9)));
    assert_eq!(throttle.state().limit.working, 0);
    drop(permit);
    let state = throttle.state();
    assert_eq!((state.limit.working, state.running.len()), (0, 0));
}
